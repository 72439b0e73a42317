"""What a model makes of questions: the answer that it gives, the claim that it would make, and how far it has moved."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sims.language.reading import Opened
from sims.language.students import Asked
from w2s_jax.transformer import Cache, LanguageModel, generate, read, with_scan

AT_ONCE = 40
"""Questions that are answered side by side."""


def answers(
    model: LanguageModel | tuple[LanguageModel, ...],
    asked: Asked,
    num_tokens: int,
    stop: tuple[int, ...],
    prefix: Cache | None = None,
    rule: Callable[[Array], Array] | None = None,
    below: tuple[Float[Array, "n L width"], Cache] | None = None,
) -> Int[Array, "n num_tokens"]:
    """The likeliest answer to each question, token by token; after the token that ends it, that token alone.

    Args:
        model: the model, or several that write together.
        asked: the questions; of these `prefix` is read unless one is given.
        num_tokens: of an answer, at most.
        stop: tokens that end an answer.
        prefix: what one model reads before the questions instead, such as examples.
        rule, below: how several write each token, and what is read of the questions already, as for `generate`.
    """
    models = model if isinstance(model, tuple) else (model,)
    shared = tuple(read(each, asked.prefix)[1] for each in models) if prefix is None else (prefix,)
    apart = tuple(with_scan(each, False) for each in models)  # a CPU writes a token faster with blocks apart

    def some(rows) -> Array:
        ids, lengths, *read_already = rows
        under = None
        if read_already:
            stream, keys, values = read_already
            under = stream, Cache(jnp.moveaxis(keys, 0, 1), jnp.moveaxis(values, 0, 1), jnp.int32(ids.shape[1]))
        return generate(None, apart, ids, lengths, num_tokens, stop=stop, prefix=shared, rule=rule, below=under)

    rows = [asked.ids, asked.lengths]
    if below is not None:
        stream, cache = below
        rows += [stream, jnp.moveaxis(cache.keys, 1, 0), jnp.moveaxis(cache.values, 1, 0)]
    return _in_parts(some, rows)


def counts_of(tokens: Int[Array, "*b T"], stop: tuple[int, ...]) -> Int[Array, "*b"]:
    """Tokens of an answer up to the one that ends it, that included; all of them where none does."""
    ended = jnp.isin(tokens, jnp.array(stop))
    return jnp.where(ended.any(axis=-1), jnp.argmax(ended, axis=-1) + 1, tokens.shape[-1])


def claims(model: LanguageModel, opened: Opened, prefix: Cache) -> Float[Array, "n V"]:
    """Log probability of each value after the opening of an answer, exact, in nats; -inf for one that is not there.

    Args:
        model: the model, or its blocks from some block on.
        opened: questions, openings and values, before the first of these blocks.
        prefix: the same blocks' cache of what stands before them.
    """
    later_tokens = opened.values.shape[2] - 1

    def one(row: Opened) -> Array:
        hidden, own = model.decoder.begin(row.stream, row.stream.shape[0] + later_tokens, prefix=prefix)
        own = own._replace(length=row.lengths)
        first = jax.nn.log_softmax(model.read_out(hidden[row.lengths - 1]))
        found = first[row.values[:, 0]]
        if later_tokens > 0:

            def follow(stream: Array, value: Array) -> Array:
                later, _ = model.decoder(stream, own, prefix=prefix)
                laws = jax.nn.log_softmax(model.read_out(later))
                return jnp.take_along_axis(laws, value[1:, None], axis=-1)[:, 0]

            counted = jnp.arange(1, later_tokens + 1)[None] < row.counts[:, None]
            found = found + jnp.where(counted, jax.vmap(follow)(row.later, row.values), 0.0).sum(axis=-1)
        return jnp.where(row.counts > 0, found, -jnp.inf)

    return jax.lax.map(one, opened, batch_size=4)


def log_laws(model: LanguageModel, streams: Float[Array, "n L width"]) -> Float[Array, "n L vocab"]:
    """Log probabilities of the next token at each place of some texts, from their streams before the first block."""
    return jax.lax.map(lambda stream: jax.nn.log_softmax(model.upper(stream, 0)), streams)


def drift(
    model: LanguageModel,
    before: Float[Array, "n L vocab"],
    streams: Float[Array, "n L width"],
    lengths: Int[Array, "n"],
) -> Float[Array, ""]:
    """KL(before || model) of the next token, nats, mean over the places of neutral texts; `before` from `log_laws`."""

    def one(row: tuple[Array, Array, Array]) -> Array:
        stream, length, old = row
        apart = (jnp.exp(old) * (old - jax.nn.log_softmax(model.upper(stream, 0)))).sum(axis=-1)
        return jnp.where(jnp.arange(stream.shape[0]) < length - 1, apart, 0.0).sum()

    return jax.lax.map(one, (streams, lengths, before)).sum() / (lengths - 1).sum()


def _in_parts(function, rows):
    """`function` on parts of equal size, of at most `AT_ONCE` rows; the last may repeat the last row."""
    number = rows[0].shape[0]
    parts = -(-number // AT_ONCE)
    width = -(-number // parts)
    places = jnp.minimum(jnp.arange(parts * width), number - 1)
    cut = jax.tree.map(lambda leaf: leaf[places].reshape(parts, width, *leaf.shape[1:]), rows)
    found = jax.lax.map(function, cut)
    return found.reshape(parts * width, *found.shape[2:])[:number]
