"""Named random streams: every draw has an address, not a place in a queue.

A draw is addressed by (seed, stream name, replicate number). Nothing is ever split in sequence, so adding a draw
changes no other draw, and replicate 1,000 can be made without making the 999 before it.
"""

import zlib

import jax

from w2s_jax.types import Key


def stream(key: Key, name: str) -> Key:
    """The key of the stream called `name` under `key`.

    Args:
        key: a typed key (`jax.random.key(seed)`), shape `[]`.
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


def replicate_key(key: Key, index) -> Key:
    """The key of replicate number `index` (an int or a traced integer): more replicates extend, never redraw.

    >>> import jax
    >>> key = jax.random.key(0)
    >>> bool(replicate_key(key, 3) == replicate_key(key, 3)), bool(replicate_key(key, 3) == replicate_key(key, 4))
    (True, False)
    """
    return jax.random.fold_in(stream(key, "replicate"), index)
