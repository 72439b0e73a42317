"""Looks at a block before it is saved: every sum must be finite, or the replicate to blame is named."""

from typing import Any, NamedTuple

import jax
import numpy as np

from sims.engine.checked import InputError
from sims.engine.store import Leaves
from w2s_jax.rng import replicate_key, seed_key

GROUP_SIZE = 10
"""Replicates that are held at once, unreduced, while a block is summed."""


class BadRisk(NamedTuple):
    """A risk of one replicate that is not finite."""

    method: str
    """Name, with its penalty or time where it has a path of them."""
    cell: str
    """The grid values of the cell, as name=value."""
    value: float


def check_finite(job: Any, spec: Any, leaves: Leaves, block: int, chunk: int) -> None:
    """Refuse a block in which a sum is NaN or infinite; nothing of it has been written then.

    Args:
        job: the sweep, an `engine.Job`. Its `holes` list the sums that may be NaN by design, and where. Its
            `diagnose(chunk, replicate) -> list[BadRisk]`, where it has one, computes a replicate alone; without it
            the block and chunk are named, and no more.
        spec: its specification, of which `seed` and `block_size` are read.
        leaves: the sums of the block, by name.
        block: number of the block.
        chunk: number of the chunk of the grid.

    Raises:
        InputError: naming the method, cell, replicate and key of the first risk that is not finite, or the sum.

    >>> from types import SimpleNamespace
    >>> job = SimpleNamespace(holes={"ratio": np.array([False, True])})
    >>> check_finite(job, None, {"mean": np.ones(3), "ratio": np.array([0.5, np.nan])}, block=0, chunk=0)
    """
    bad = {name: ~np.isfinite(leaf) & ~np.asarray(job.holes.get(name, False)) for name, leaf in leaves.items()}
    bad = {name: where for name, where in bad.items() if where.any()}
    if not bad:
        return
    where = f"block {block}, chunk {chunk}"
    first = block * spec.block_size
    # A program computes whole groups: one that does not count spoils a mean as well, since 0 x NaN is NaN.
    computed = range(first, first + -(-spec.block_size // GROUP_SIZE) * GROUP_SIZE) if job.diagnose else ()
    for replicate in computed:
        found = job.diagnose(chunk, replicate)
        if found:
            key = replicate_key(seed_key(spec.seed), replicate)
            raise InputError(
                f"every risk must be finite, but {found[0].method} has {found[0].value} at {found[0].cell} in "
                f"replicate {replicate} of seed {spec.seed} (key {hex_of(key)}, {len(found)} such risks there; "
                f"{where}); nothing of this block was written: look for a degenerate cell, or leave it out."
            )
    name, there = next(iter(bad.items()))
    raise InputError(
        f"every sum must be finite, but {name} of {where} is not at index "
        f"{tuple(int(i) for i in np.argwhere(there)[0])}; nothing of this block was written: look for a degenerate "
        f"cell there."
    )


def hex_of(key: jax.Array) -> str:
    """A key as a hexadecimal number, eight digits a word: `jax.random.wrap_key_data` of those words is the key.

    >>> hex_of(jax.random.key(3))
    '0x0000000000000003'
    """
    return "0x" + "".join(f"{word:08x}" for word in np.asarray(jax.random.key_data(key)).ravel())
