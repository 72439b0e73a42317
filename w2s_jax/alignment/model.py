"""The models of these experiments: a transformer over tokens that knows where in an example, and in which, it stands.

A document is a sequence of examples of one length, each a question, its mark and its answer. A place has, beside its
rotary position, an embedding of its place within the example and one of the example's number.
"""

from typing import Any, Protocol, overload, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from w2s_jax.alignment.world import END
from w2s_jax.transformer import Cache, LanguageModel, TransformerConfig, init_cache
from w2s_jax.types import Key, Scalar


@runtime_checkable
class Answering(Protocol):
    """A model that can be asked: an `AnswerModel`, or several that answer together."""

    def new_cache(self, num_examples: int) -> Any:
        """A cache of any kind with room for `num_examples` examples."""
        ...

    def __call__(self, ids: Int[Array, "*b L"], cache: Any) -> tuple[Float[Array, "*b L vocab"], Any]:
        """Logits of the token after each place, and the cache."""
        ...


class AnswerModel(nnx.Module):
    """A `LanguageModel` with embeddings of the place within an example and of the example's number.

    Args:
        config: of its decoder; max_length is a multiple of example_length.
        vocab_size: number of tokens.
        example_length: places of an example.
        rngs: as for `LanguageModel`.

    Raises:
        ValueError: if examples do not fill max_length.

    >>> config = TransformerConfig(num_layers=1, width=8, num_heads=2, max_length=12)
    >>> model = AnswerModel(config, vocab_size=11, example_length=6, rngs=nnx.Rngs(0))
    >>> model(jnp.array([[1, 2, 3]])).shape
    (1, 3, 11)
    """

    def __init__(self, config: TransformerConfig, vocab_size: int, example_length: int, *, rngs: nnx.Rngs):
        if example_length < 1 or config.max_length % example_length:
            raise ValueError(
                f"max_length must be a multiple of the example_length, got {config.max_length} and {example_length}; "
                f"give the model whole examples."
            )
        self.config, self.example_length = config, example_length
        self.language = LanguageModel(config, vocab_size, tied_head=True, rngs=rngs)
        self.place, self.example = (
            nnx.Embed(count, config.width, param_dtype=config.param_dtype, rngs=rngs)
            for count in (example_length, config.max_length // example_length)
        )

    def new_cache(self, num_examples: int) -> Cache:
        """A cache with room for `num_examples` >= 1 examples."""
        return init_cache(self.config, (), num_examples * self.example_length)

    @overload
    def __call__(self, ids: Array, cache: None = None) -> Array: ...
    @overload
    def __call__(self, ids: Array, cache: Cache) -> tuple[Array, Cache]: ...
    def __call__(
        self, ids: Int[Array, "*b L"], cache: Cache | None = None
    ) -> Float[Array, "*b L vocab"] | tuple[Float[Array, "*b L vocab"], Cache]:
        """Logits of the token after each place, as `LanguageModel` gives them; the cache determines the places."""
        places = jnp.arange(ids.shape[-1]) + (0 if cache is None else cache.length)
        where = self.place(places % self.example_length) + self.example(places // self.example_length)
        return self.language(ids, cache, extra=jnp.broadcast_to(where, (*ids.shape, self.config.width)))


def decode(
    key: Key, model: Answering, logits: Float[Array, "vocab"], cache: Any, length: int, temperature: Scalar = 1.0
) -> Int[Array, "length"]:
    """One answer, token by token; what comes after its END is END.

    Args:
        key: a typed key; the same key at another temperature or model uses the same random numbers.
        model: an `AnswerModel`, or several together.
        logits: of the answer's first token, `[vocab]`; -inf for a token that is never drawn.
        cache: what came before it.
        length: tokens, >= 1, static; the cache has room for all but the last.
        temperature: >= 0, traced: tokens are argmax(logits + temperature * gumbel), and so the likeliest ones at 0.
    """

    def draw(logits: Array, i: Array) -> Array:
        return jnp.argmax(logits + temperature * jax.random.gumbel(jax.random.fold_in(key, i), logits.shape), axis=-1)

    def step(carry, i):
        token, cache = carry
        logits, cache = model(token[None], cache)
        token = jnp.where(token == END, END, draw(logits[0], i))
        return (token, cache), token

    first = draw(logits, jnp.zeros((), jnp.int32))
    _, rest = jax.lax.scan(step, (first, cache), jnp.arange(1, length))
    return jnp.concatenate([first[None], rest])


def answer_log_probs(
    model: Answering, logits: Float[Array, "vocab"], cache: Any, answers: Int[Array, "N a"]
) -> Float[Array, "N"]:
    """Log probability of each of N answers, their END included: what comes after it does not count.

    Args:
        model, logits, cache: as for `decode`; the cache is read N times and copied never.
        answers: tokens `[N a]`, each with an END.
    """

    def of(answer: Int[Array, "a"]) -> Float[Array, ""]:
        later, _ = model(answer[:-1], cache)
        laws = jax.nn.log_softmax(jnp.concatenate([logits[None], later]))
        counts = jnp.cumsum(answer == END) - (answer == END) == 0
        return jnp.where(counts, jnp.take_along_axis(laws, answer[:, None], axis=-1)[:, 0], 0.0).sum()

    return jax.vmap(of)(answers)
