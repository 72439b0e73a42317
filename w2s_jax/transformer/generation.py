"""Tokens after a prompt: one at a time, with a cache."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from w2s_jax.transformer.attention import Cache, init_cache
from w2s_jax.transformer.model import LanguageModel
from w2s_jax.types import Key, Scalar, is_concrete, known


def sample(
    key: Key, model: LanguageModel, prompt: Int[Array, "*b L0"], num_tokens: int, temperature: Scalar = 1.0
) -> Int[Array, "*b num_tokens"]:
    """Tokens after a prompt, each drawn from the model's distribution given all before it.

    Args:
        key: a typed key; token i is drawn with `fold_in(key, i)`.
        model: a `LanguageModel`.
        prompt: tokens `[*b L0]`, L0 >= 1.
        num_tokens: >= 1, static; L0 + num_tokens <= max_length.
        temperature: divides the logits, >= 0; a Python 0 takes the likeliest token, a traced one is > 0.

    Returns:
        Tokens `[*b num_tokens]`.

    Raises:
        ValueError: for a negative Python temperature, an empty prompt, num_tokens < 1, or more places than max_length.

    >>> from flax import nnx
    >>> from w2s_jax.transformer import TransformerConfig
    >>> model = LanguageModel(TransformerConfig(num_layers=1, width=8, num_heads=2), 11, rngs=nnx.Rngs(0))
    >>> sample(jax.random.key(0), model, jnp.array([[1, 2], [3, 4]]), 5).shape
    (2, 5)
    """
    _check(model, prompt.shape[-1], num_tokens, temperature)

    def step(carry, index):
        token, cache = carry
        logits, cache = model(token[..., None], cache)
        token = _draw(key, logits[..., -1, :], index, temperature)
        return (token, cache), token

    logits, cache = model(prompt, init_cache(model.config, prompt.shape[:-1]))
    first = _draw(key, logits[..., -1, :], 0, temperature)
    _, rest = jax.lax.scan(step, (first, cache), jnp.arange(1, num_tokens))
    return jnp.concatenate([first[..., None], jnp.moveaxis(rest, 0, -1)], axis=-1)


def read(
    model: LanguageModel, ids: Int[Array, "*b L"], room: int | None = None, *, prefix: Cache | None = None
) -> tuple[Float[Array, "*b L width"], Cache]:
    """Reads tokens: their hidden states, which `model.read_out` makes logits, and a cache that holds them.

    A prefix that many rows share is such a cache: `read(model, ids)[1]`. Where ids are padded on the right, to one
    shape for prefixes of several lengths, replace its `length`: what lies beyond is not read.

    Args:
        model: a `LanguageModel`.
        ids: tokens `[*b L]`, L >= 1.
        room: places of the cache, >= L; None: L.
        prefix: places before these, as for `Decoder`.

    Returns:
        Hidden states `[*b L width]`, and a `Cache` of batch shape `*b`.

    Raises:
        ValueError: for room < L or L > max_length.

    >>> from flax import nnx
    >>> from w2s_jax.transformer import TransformerConfig
    >>> model = LanguageModel(TransformerConfig(num_layers=1, width=8, num_heads=2), 11, rngs=nnx.Rngs(0))
    >>> _, prefix = read(model, jnp.array([5, 6, 7]))
    >>> bool(jnp.allclose(model(jnp.array([8]), prefix=prefix), model(jnp.array([5, 6, 7, 8]))[3:], atol=1e-5))
    True
    """
    return model.decoder.begin(model.embedding(ids), ids.shape[-1] if room is None else room, prefix=prefix)


class _Rows(NamedTuple):
    """Where a generation stands."""

    index: Int[Array, ""]
    token: Int[Array, "B"]
    done: Bool[Array, "B"]
    caches: tuple[Cache, ...]
    tokens: Int[Array, "B num_tokens"]


def generate(
    key: Key | None,
    model: LanguageModel | tuple[LanguageModel, ...],
    prompts: Int[Array, "B L"],
    lengths: Int[Array, "B"],
    num_tokens: int,
    *,
    temperature: Scalar = 0.0,
    stop: tuple[int, ...] = (),
    prefix: Cache | tuple[Cache, ...] | None = None,
    rule: Callable[[Float[Array, "T B vocab"]], Float[Array, "B vocab"]] | None = None,
    below: tuple[Float[Array, "B L width"], Cache] | None = None,
) -> Int[Array, "B num_tokens"]:
    """Tokens after prompts of unequal length, up to a token that ends a text.

    Call it under `jit`, on a CPU with blocks apart (`with_scan`). No more steps are taken than the longest answer
    needs, and of a prompt's places the last alone is read out.

    Args:
        key: a typed key; token i is drawn with `fold_in(key, i)`. None will do for a Python temperature of 0, which
            draws nothing.
        model: a `LanguageModel`, or several of one vocabulary that write each token together.
        prompts: tokens `[B L]`, padded on the right with any token.
        lengths: `[B]`, of the prompts without their padding, in [1, L] (checked where known).
        num_tokens: >= 1, static; with the places of prefix and prompts at most max_length.
        temperature: divides the logits, >= 0; a Python 0 takes the likeliest token, a traced one is > 0.
        stop: tokens after which a row repeats that token to its end; static.
        prefix: places before the prompts that all rows share, as `read` gives it, one for each model; it is read and
            never copied.
        rule: log probabilities of the next token by each model -> logits of the token that is written, such as
            `w2s_jax.alignment.combined.contrast`; None: those of the first model.
        below: what `model.lower` gave for the prompts, the stream before a block and the cache of those below it,
            so that they are not read again; of one model.

    Returns:
        Tokens `[B num_tokens]`.

    Raises:
        ValueError: for a value out of range, for more places than max_length, or for several models without a rule or
            with `below`.

    >>> from flax import nnx
    >>> from w2s_jax.transformer import TransformerConfig
    >>> model = LanguageModel(TransformerConfig(num_layers=1, width=8, num_heads=2), 11, rngs=nnx.Rngs(0))
    >>> prompts, lengths = jnp.array([[1, 2, 0], [3, 4, 5]]), jnp.array([2, 3])
    >>> tokens = generate(None, model, prompts, lengths, 4)
    >>> alone = sample(jax.random.key(0), model, jnp.array([1, 2]), 4, temperature=0)
    >>> tokens.shape, bool((tokens[0] == alone).all())
    ((2, 4), True)
    """
    models = model if isinstance(model, tuple) else (model,)
    one_each = (prefix,) if isinstance(prefix, Cache) else prefix
    prefixes = (None,) * len(models) if one_each is None else one_each
    for each, shared in zip(models, prefixes, strict=True):
        before = 0 if shared is None else int(known(shared.length) or 0)
        _check(each, prompts.shape[1], num_tokens, temperature, before)
    if rule is None and len(models) > 1:
        raise ValueError(f"{len(models)} models write together by a rule; give one.")
    if below is not None and len(models) > 1:
        raise ValueError(f"below is what one model has read, got it for {len(models)}; leave it out.")
    if key is None and not (is_concrete(temperature) and temperature == 0):
        raise ValueError("a temperature other than a Python 0 draws tokens: give a key.")
    if not isinstance(lengths, Tracer):
        given = np.asarray(lengths)
        if not ((given >= 1) & (given <= prompts.shape[1])).all():
            raise ValueError(f"lengths must be in [1, {prompts.shape[1]}], got {given.tolist()}.")

    # Rows differ in length, and so each has a cache of its own: axis 1 of keys and values, axis 0 of lengths.
    own = Cache(1, 1, 0)  # pyright: ignore[reportArgumentType]

    def extend(model, shared, tokens, caches):
        def row(token, cache):
            hidden, cache = model.decoder(model.embedding(token[None]), cache, prefix=shared)
            return model.read_out(hidden[0]), cache

        return jax.vmap(row, in_axes=(0, own), out_axes=(0, own))(tokens, caches)

    def start(model, shared):
        inputs, under = (model.embedding(prompts), None) if below is None else below
        hidden, cache = model.decoder.begin(inputs, prompts.shape[1] + num_tokens - 1, prefix=shared, below=under)
        last = jnp.take_along_axis(hidden, lengths[:, None, None] - 1, axis=1)[:, 0]
        return model.read_out(last), cache._replace(length=lengths.astype(cache.length.dtype))

    def together(found):
        logits, caches = zip(*found)
        joined = logits[0] if rule is None else rule(jax.nn.log_softmax(jnp.stack(logits)))
        return joined, caches

    def ends(token):
        return jnp.isin(token, jnp.array(stop, token.dtype))

    def unfinished(rows: _Rows):
        return (rows.index < num_tokens) & ~rows.done.all()

    def step(rows: _Rows):
        logits, caches = together(
            extend(each, shared, rows.token, cache) for each, shared, cache in zip(models, prefixes, rows.caches)
        )
        token = jnp.where(rows.done, rows.token, _draw(key, logits, rows.index, temperature))
        tokens = jax.lax.dynamic_update_slice_in_dim(rows.tokens, token[:, None], rows.index, axis=1)
        return _Rows(rows.index + 1, token, rows.done | ends(token), caches, tokens)

    logits, caches = together(start(each, shared) for each, shared in zip(models, prefixes))
    token = _draw(key, logits, 0, temperature)
    tokens = jnp.broadcast_to(token[:, None], (token.size, num_tokens))
    rows = _Rows(jnp.ones((), jnp.int32), token, ends(token), caches, tokens)
    rows = jax.lax.while_loop(unfinished, step, rows)
    return jnp.where(jnp.arange(num_tokens)[None, :] < rows.index, rows.tokens, rows.token[:, None])


def _draw(key, logits, index, temperature):
    if is_concrete(temperature) and temperature == 0:
        return jnp.argmax(logits, axis=-1)
    return jax.random.categorical(jax.random.fold_in(key, index), logits / temperature)


def _check(model: LanguageModel, length: int, num_tokens: int, temperature: Scalar, before: int = 0) -> None:
    if is_concrete(temperature) and not temperature >= 0:
        raise ValueError(f"temperature must not be negative, got {temperature}; 0 takes the likeliest token.")
    limit = model.config.max_length
    if length < 1 or num_tokens < 1 or before + length + num_tokens > limit:
        prefix = f" after a prefix of {before}" if before else ""
        raise ValueError(
            f"a prompt and its sample need at least one token each and at most max_length = {limit} places together, "
            f"got {length} and {num_tokens}{prefix}; shorten one or raise max_length."
        )
