"""Sums that merge: over the groups of a block, in its program, and over the blocks of a store."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from sims.engine.store import Leaves
from w2s_jax.statistics import Summary, merge_all

Sums = TypeVar("Sums")


def over_groups(summarize: Callable[[Any], Sums], merge: Callable[[Sums, Sums], Sums], groups: Any) -> Sums:
    """The sums of all groups, one after another, so that the replicates of one alone are held at once.

    Args:
        summarize: a group -> its sums, a pytree of arrays.
        merge: the sums of two disjoint sets together; zeros are those of none.
        groups: array, or pytree of arrays, with the groups along the first axis.

    >>> float(over_groups(jnp.sum, jnp.add, jnp.arange(6.0).reshape(3, 2)))
    15.0
    """
    shapes = jax.eval_shape(lambda: summarize(jax.tree.map(lambda leaf: leaf[0], groups)))
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(lambda sums, group: (merge(sums, summarize(group)), None), empty, groups)[0]


def merged(blocks: Iterable[Leaves], prefix: str = "") -> Summary:
    """The summary of all blocks in float64; its arrays are called after its fields, behind the prefix."""
    fields = Summary._fields
    return merge_all(Summary(*(np.asarray(leaves[prefix + name], np.float64) for name in fields)) for leaves in blocks)
