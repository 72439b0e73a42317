"""Log probabilities of given tokens, without the logits of all places at once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.transformer.attention import Cache
from w2s_jax.transformer.model import LanguageModel


def target_log_probs(
    model: LanguageModel, hidden: Float[Array, "B L width"], targets: Int[Array, "B L"], *, rows: int = 1
) -> Float[Array, "B L"]:
    """Log probability of a target at each place, given the decoder's hidden states there.

    The logits of `rows` rows at a time exist, `[rows L vocab]`, and gradients compute them anew: with a vocabulary of
    50,000, those of 16 rows of 64 places would take 200 MB, and their gradient as much again.

    Args:
        model: a `LanguageModel`, of which the head is read.
        hidden: `[B L width]`, what `model.decoder` or `model.decoder.upper` gives, at all places or a few.
        targets: tokens `[B L]`, in [0, vocab_size).
        rows: rows at a time, >= 1, static.

    Returns:
        Natural logarithms `[B L]`, float32 or wider.

    >>> from flax import nnx
    >>> from w2s_jax.transformer import TransformerConfig
    >>> model = LanguageModel(TransformerConfig(num_layers=1, width=8, num_heads=2), 11, rngs=nnx.Rngs(0))
    >>> found = target_log_probs(model, jnp.zeros((2, 3, 8), "float32"), jnp.ones((2, 3), int))
    >>> found.shape, bool(jnp.allclose(found, -jnp.log(11)))
    ((2, 3), True)
    """

    @jax.checkpoint
    def row(hidden, targets):
        logits = model.read_out(hidden)
        chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        return chosen - jax.nn.logsumexp(logits, axis=-1)

    return jax.lax.map(lambda pair: row(*pair), (hidden, targets), batch_size=rows)


def token_log_probs(
    model: LanguageModel, ids: Int[Array, "B L"], *, first: int = 1, prefix: Cache | None = None, rows: int = 1
) -> Float[Array, "B scored"]:
    """Log probability of each token from place `first` on, given all before it.

    Rows padded on the right need no mask here: what comes after a token does not change its number. Those of padding
    are the caller's to leave out.

    Args:
        model: a `LanguageModel`.
        ids: tokens `[B L]`, in [0, vocab_size).
        first: in [1, L), static: with 1, all tokens that have one before them. A larger one saves reading out places
            whose tokens do not count, such as those of a question.
        prefix: places before these that all rows share, as `read` gives it.
        rows: rows whose logits exist at a time, >= 1, static.

    Returns:
        Natural logarithms `[B L - first]`, float32 or wider.

    Raises:
        ValueError: if first is out of range, or L > max_length.

    >>> from flax import nnx
    >>> from w2s_jax.transformer import TransformerConfig
    >>> model = LanguageModel(TransformerConfig(num_layers=1, width=8, num_heads=2), 11, rngs=nnx.Rngs(0))
    >>> ids = jnp.array([[1, 2, 3, 4]])
    >>> laws = jax.nn.log_softmax(model(ids))
    >>> bool(jnp.allclose(token_log_probs(model, ids, first=2)[0, 0], laws[0, 1, 3], atol=1e-5))
    True
    """
    if not 1 <= first < ids.shape[1]:
        raise ValueError(f"first must be in [1, {ids.shape[1]}), the places of a row, got {first}.")
    # All places are read, the last too, though nothing comes after it: a whole row is what other calls read.
    hidden = model.decoder(model.embedding(ids), prefix=prefix)
    return target_log_probs(model, hidden[:, first - 1 : -1], ids[:, first:], rows=rows)
