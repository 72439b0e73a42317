"""Causal attention with rotary positions, over the places of a sequence and those that a cache holds of it."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from w2s_jax.transformer.config import TransformerConfig


class Cache(NamedTuple):
    """What attention needs of the places already read: encode a prompt once, then go on from it any number of times.

    It is never changed in place. To ask many questions after one prompt, `vmap` over the questions and not over it.
    Places from `length` on are never read and are written over, so that rows of unequal length need no mask: pad them
    on the right, read them, and replace `length` by that of each row.
    """

    keys: Float[Array, "layers *b room heads head_dim"]
    """Rotated to their positions; heads are those of keys and values."""
    values: Float[Array, "layers *b room heads head_dim"]
    """As keys."""
    length: Int[Array, ""]
    """Places read, in [0, room]."""

    def above(self, layer: int) -> "Cache":
        """The same places, of the blocks from `layer` on alone."""
        return Cache(self.keys[layer:], self.values[layer:], self.length)


def init_cache(config: TransformerConfig, batch_shape: tuple[int, ...] = (), length: int | None = None) -> Cache:
    """A cache that holds nothing yet.

    Args:
        config: sizes of the `Decoder` that will fill it.
        batch_shape: leading dims `*b` of its inputs.
        length: places that it has room for, in [1, max_length]; None: max_length. Attention pays for all of them.

    Returns:
        A `Cache` of length 0.

    Raises:
        ValueError: for a length out of range.

    >>> init_cache(TransformerConfig(max_length=8), (5,)).keys.shape
    (3, 5, 8, 4, 16)
    """
    room = config.max_length if length is None else length
    if not 1 <= room <= config.max_length:
        raise ValueError(f"length must be in [1, max_length = {config.max_length}], got {room}; None takes all of it.")
    shape = (config.num_layers, *batch_shape, room, config.kv_heads, config.head_dim)
    return Cache(jnp.zeros(shape, config.dtype), jnp.zeros(shape, config.dtype), jnp.zeros((), jnp.int32))


def rotary_angles(config: TransformerConfig, positions: Int[Array, "L"]) -> Float[Array, "L half"]:
    """The angles by which the pairs of a head are turned at each position; positions may have any origin.

    In float32 or wider for any type of the blocks.

    >>> rotary_angles(TransformerConfig(width=8, num_heads=2, rope_base=100.0), jnp.arange(3)).tolist()[2]
    [2.0, 0.20000000298023224]
    """
    half = config.head_dim // 2
    wave_numbers = config.rope_base ** (-jnp.arange(half, dtype=config.param_dtype) / half)
    if (scaling := config.rope_scaling) is not None:
        turns = scaling.original_length * wave_numbers / (2 * jnp.pi)
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        kept = jnp.clip((turns - low) / (high - low), 0, 1)
        wave_numbers = wave_numbers * (kept + (1 - kept) / scaling.factor)
    return positions[:, None].astype(config.param_dtype) * wave_numbers[None, :]


def rotate(
    vectors: Float[Array, "*b L heads head_dim"], angles: Float[Array, "L half"]
) -> Float[Array, "*b L heads head_dim"]:
    """Rotary positions: each pair (first half, second half) of a head turned by its angle.

    >>> rotate(jnp.ones((1, 1, 2)), jnp.full((1, 1), jnp.pi / 2)).round(3).tolist()
    [[[-1.0, 1.0]]]
    """
    shape = (*(1,) * (vectors.ndim - 3), angles.shape[0], 1, angles.shape[1])
    cos, sin = jnp.cos(angles).reshape(shape), jnp.sin(angles).reshape(shape)
    first, second = jnp.split(vectors, 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(vectors.dtype)


def attend(
    queries: Float[Array, "*b L heads head_dim"], parts: list[tuple[Array, Array, Bool[Array, "L _"]]]
) -> Float[Array, "*b L heads head_dim"]:
    """Softmax attention over the places of all parts: (keys, values `[*b S kv_heads head_dim]`, which of them count).

    In parts, so that what queries share is neither copied nor joined to what they do not: under a `vmap` over queries,
    or where a part has no batch dims. Of H heads and K heads of keys, each H / K successive ones read the same keys.

    >>> queries, keys = jnp.ones((5, 4, 8)), jnp.ones((5, 2, 8))
    >>> attend(queries, [(keys, keys, jnp.tri(5, dtype=bool))]).shape
    (5, 4, 8)
    """
    *batch, length, heads, head_dim = queries.shape
    kv_heads = parts[0][0].shape[-2]
    group = heads // kv_heads
    kind = jnp.promote_types(queries.dtype, jnp.float32)
    queries = queries * jnp.asarray(head_dim**-0.5, queries.dtype)
    # The heads of a group stand as further places of one head, and so nothing is repeated but the mask.
    queries = queries.reshape(*batch, length, kv_heads, group, head_dim).swapaxes(-3, -2)
    queries = queries.reshape(*batch, length * group, kv_heads, head_dim)
    scores = []
    for keys, _, mask in parts:
        score = jnp.einsum("...qhe,...khe->...hqk", queries, keys, preferred_element_type=kind)
        mask = jnp.repeat(mask, group, axis=0)
        mask = mask.reshape(*(1,) * (score.ndim - 2), *mask.shape)
        scores.append(jnp.where(mask, score, -jnp.inf))
    weights = jax.nn.softmax(jnp.concatenate(scores, axis=-1)).astype(queries.dtype)
    ends = [sum(mask.shape[1] for _, _, mask in parts[: i + 1]) for i in range(len(parts) - 1)]
    mixed = [
        jnp.einsum("...hqk,...khe->...qhe", weight, values)
        for weight, (_, values, _) in zip(jnp.split(weights, ends, axis=-1), parts)
    ]
    outputs = functools.reduce(jnp.add, mixed).reshape(*batch, length, group, kv_heads, head_dim)
    return outputs.swapaxes(-3, -2).reshape(*batch, length, heads, head_dim)
