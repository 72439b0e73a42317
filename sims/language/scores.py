"""What a model makes of questions: the answer that it gives, the claim that it would make, and how far it has moved."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sims.language.students import Asked
from w2s_jax.transformer import Cache, LanguageModel, generate, read, with_scan

AT_ONCE = 32
"""Questions that are answered side by side."""


def answers(
    model: LanguageModel | tuple[LanguageModel, ...],
    asked: Asked,
    num_tokens: int,
    stop: tuple[int, ...],
    prefix: Cache | None = None,
    rule: Callable[[Array], Array] | None = None,
) -> Int[Array, "n num_tokens"]:
    """The likeliest answer to each question, token by token; after the token that ends it, that token alone.

    Args:
        model: the model, or several that write together.
        asked: the questions; of these `prefix` is read unless one is given.
        num_tokens: of an answer, at most.
        stop: tokens that end an answer.
        prefix: what one model reads before the questions instead, such as examples.
        rule: how several write each token, as for `generate`.
    """
    models = model if isinstance(model, tuple) else (model,)
    shared = tuple(read(each, asked.prefix)[1] for each in models) if prefix is None else (prefix,)
    apart = tuple(with_scan(each, False) for each in models)  # a CPU writes a token faster with blocks apart

    def some(rows: tuple[Array, Array]) -> Array:
        ids, lengths = rows
        return generate(None, apart, ids, lengths, num_tokens, stop=stop, prefix=shared, rule=rule)

    return _in_parts(some, (asked.ids, asked.lengths))


def counts_of(tokens: Int[Array, "*b T"], stop: tuple[int, ...]) -> Int[Array, "*b"]:
    """Tokens of an answer up to the one that ends it, that included; all of them where none does."""
    ended = jnp.isin(tokens, jnp.array(stop))
    return jnp.where(ended.any(axis=-1), jnp.argmax(ended, axis=-1) + 1, tokens.shape[-1])


def claims(
    model: LanguageModel,
    asked: Asked,
    values: Int[Array, "n V Lv"],
    counts: Int[Array, "n V"],
    prefix: Cache | None = None,
) -> Float[Array, "n V"]:
    """Log probability of each value after the opening of an answer, exact, in nats.

    Args:
        model: the model.
        asked: questions with the opening of an answer after each.
        values: tokens of the values that could follow, padded on the right.
        counts: tokens of each value; 0 for one that is not there, whose log probability is -inf.
        prefix: as in `answers`.
    """
    shared = read(model, asked.prefix)[1] if prefix is None else prefix

    def one(ids: Array, length: Array, values: Array, counts: Array) -> Array:
        hidden, own = read(model, ids, ids.size + values.shape[1], prefix=shared)
        own = own._replace(length=length)
        first = jax.nn.log_softmax(model.read_out(hidden[length - 1]))
        found = first[values[:, 0]]
        if values.shape[1] > 1:

            def follow(value: Array) -> Array:
                later, _ = model.decoder(model.embedding(value[:-1]), own, prefix=shared)
                laws = jax.nn.log_softmax(model.read_out(later))
                return jnp.take_along_axis(laws, value[1:, None], axis=-1)[:, 0]

            counted = jnp.arange(1, values.shape[1])[None] < counts[:, None]
            found = found + jnp.where(counted, jax.vmap(follow)(values), 0.0).sum(axis=-1)
        return jnp.where(counts > 0, found, -jnp.inf)

    return jax.lax.map(lambda row: one(*row), (asked.ids, asked.lengths, values, counts), batch_size=4)


def log_laws(model: LanguageModel, texts: Int[Array, "n L"]) -> Float[Array, "n L vocab"]:
    """Log probabilities of the next token at each place of some texts."""
    return jax.lax.map(lambda ids: jax.nn.log_softmax(model(ids)), texts)


def drift(
    model: LanguageModel, before: Float[Array, "n L vocab"], texts: Int[Array, "n L"], lengths: Int[Array, "n"]
) -> Float[Array, ""]:
    """KL(before || model) of the next token, nats, mean over the places of neutral texts; `before` from `log_laws`."""

    def one(row: tuple[Array, Array, Array]) -> Array:
        ids, length, old = row
        apart = (jnp.exp(old) * (old - jax.nn.log_softmax(model(ids)))).sum(axis=-1)
        return jnp.where(jnp.arange(ids.size) < length - 1, apart, 0.0).sum()

    return jax.lax.map(one, (texts, lengths, before)).sum() / (lengths - 1).sum()


def _in_parts(function, rows):
    """`function` on `AT_ONCE` rows at a time; a last part may repeat the last row."""
    number = rows[0].shape[0]
    width = min(AT_ONCE, number)
    parts = -(-number // width)
    places = jnp.minimum(jnp.arange(parts * width), number - 1)
    cut = jax.tree.map(lambda leaf: leaf[places].reshape(parts, width, *leaf.shape[1:]), rows)
    found = jax.lax.map(function, cut)
    return found.reshape(parts * width, *found.shape[2:])[:number]
