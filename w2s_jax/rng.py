"""Named random streams: every draw has an address, not a place in a queue.

A draw is addressed by (seed, stream name, replicate number). Nothing is ever split in sequence, so adding a draw
changes no other draw, and replicate 1,000 can be made without making the 999 before it.
"""

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Float

from w2s_jax.inputs import kernel
from w2s_jax.types import Key


def seed_key(seed: int) -> Key:
    """The key of a seed, whole: `jax.random.key` without 64-bit integers drops all but the last 32 bits of it.

    Args:
        seed: in [0, 2^64); below 2^32 the key is that of `jax.random.key`.

    Returns:
        A typed key of the default generator, shape `[]`: the same with and without 64-bit integers.

    Raises:
        ValueError: if the seed is out of range.

    >>> import jax
    >>> bool(seed_key(7) == jax.random.key(7)), bool(seed_key(2**32 + 7) == seed_key(7))
    (True, False)
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in [0, 2^64), got {seed}; give a whole number in that range.")
    words = jax.random.key_data(jax.random.key(seed % 2**32))
    # Every second word of a key holds the upper half of the seed, in all generators of jax.
    return jax.random.wrap_key_data(words.at[0::2].add(np.uint32(seed // 2**32)))


@kernel
def stream(key: Key, name: str) -> Key:
    """The key of the stream called `name` under `key`.

    Args:
        key: a typed key (`jax.random.key(seed)`, or `seed_key` for seeds from 2^32 on), shape `[]`.
        name: any string; different names give independent streams (by CRC-32, so two names collide with
            probability 2^-32).

    Returns:
        A typed key, shape `[]`.

    >>> import jax
    >>> key = jax.random.key(0)
    >>> bool(stream(key, "features") == stream(key, "features"))
    True
    >>> bool(stream(key, "features") == stream(key, "noise"))
    False
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


@kernel
def replicate_key(key: Key, index) -> Key:
    """The key of replicate number `index` (an int or a traced integer): more replicates extend, never redraw.

    >>> import jax
    >>> key = jax.random.key(0)
    >>> bool(replicate_key(key, 3) == replicate_key(key, 3)), bool(replicate_key(key, 3) == replicate_key(key, 4))
    (True, False)
    """
    return jax.random.fold_in(stream(key, "replicate"), index)


def normals(key: Key, shape: tuple[int, ...], dtype=float) -> Float[Array, "..."]:
    """Standard normals as `jax.random.normal` makes them, and in single precision at half the cost.

    Random bits take most of a normal's time. Threefry turns a counter into two words of which `jax.random` keeps their
    exclusive or; here both words are used. The draws differ from `jax.random.normal`'s, their distribution does not.

    Args:
        key: a typed key, shape `[]`, that nothing else is drawn from or folded into.
        shape: static.
        dtype: of the draws; `float` is jax's default.

    Returns:
        Draws, `shape`.

    >>> normals(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    size = math.prod(shape)
    threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    if jax.dtypes.canonicalize_dtype(dtype) != jnp.float32 or not threefry or not 0 < size < 2**32:
        return jax.random.normal(key, shape, dtype)
    words = jax.lax.optimization_barrier(threefry_2x32(jax.random.key_data(key), jax.lax.iota(jnp.uint32, size)))
    # 23 random bits make a number in [1, 2); stretched to (-1, 1), whose ends the normal distribution does not reach.
    mantissa = jax.lax.bitcast_convert_type((words >> 9) | jnp.uint32(0x3F800000), jnp.float32)
    lowest = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(lowest, (mantissa - 1) * (1 - lowest) + lowest)
    return (np.float32(math.sqrt(2)) * jax.lax.erf_inv(uniform)).reshape(shape)
