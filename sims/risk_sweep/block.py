"""What a block of replicates leaves behind: means and co-moments of its outcomes, which merge without loss."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sims.engine.finite import GROUP_SIZE
from sims.engine.sums import over_groups
from sims.risk_sweep.replicate import Outcome, columns, simulate
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import Grid
from w2s_jax.rng import replicate_key
from w2s_jax.types import Key


class Sums(NamedTuple):
    """Sufficient statistics of a set of replicates; leaves are jax or numpy arrays alike."""

    count: Float[Array, ""]
    mean: Outcome
    fixed_wins: Float[Array, "W S N F P"]
    """Fraction of replicates in which a column's risk is below naive_ft's, at each penalty."""
    varying_wins: Float[Array, "W S N I V P"]
    fixed_comoment: Float[Array, "W S N F F"]
    """sum (x - mean)(x - mean)' of the risks of columns F; below, of V with F, and of V."""
    cross_comoment: Float[Array, "W S N I V F"]
    varying_comoment: Float[Array, "W S N I V V"]
    fixed_accuracy_square: Float[Array, "W S N F"]
    """sum (x - mean)^2, of this and the two below."""
    varying_accuracy_square: Float[Array, "W S N I V"]
    misalignment_square: Float[Array, "W S N I M"]


def block_sums(spec: SweepSpec, key: Key, first: Array, total: Array, grid: Grid) -> Sums:
    """Sums over replicates first, ..., first + block_size - 1, of which only those below `total` count."""
    groups = -(-spec.block_size // GROUP_SIZE)
    offsets = jnp.arange(groups * GROUP_SIZE).reshape(groups, GROUP_SIZE)
    index = first + offsets
    weight = ((index < total) & (offsets < spec.block_size)).astype(float)

    def summarize_group(group: tuple[Array, Array]) -> Sums:
        index, weight = group
        # A replicate is wide enough to fill a core; an accelerator wants several at once.
        one_by_one = jax.default_backend() == "cpu"

        def replicate(i):
            return simulate(spec, replicate_key(key, i), grid)

        outcomes = jax.lax.map(replicate, index) if one_by_one else jax.vmap(replicate)(index)
        return summarize(spec, outcomes, weight)

    return over_groups(summarize_group, merge, (index, weight))


def summarize(spec: SweepSpec, outcomes: Outcome, weight: Float[Array, "r"]) -> Sums:
    """Sums of stacked outcomes, `[r ...]` in every leaf; a replicate of weight 0 does not count."""
    count = weight.sum()
    share = weight / jnp.maximum(count, 1)
    mean = jax.tree.map(lambda x: jnp.tensordot(share, x, 1), outcomes)
    centred = jax.tree.map(lambda x, m: (x - m[None]) * jnp.sqrt(weight).reshape(-1, *(1,) * m.ndim), outcomes, mean)
    fixed, varying = centred.fixed_risk, centred.varying_risk
    # Ties count as half a win, so that two methods that always agree are at 1/2.
    naive = [i for i, (method, _) in enumerate(columns(spec)[0]) if method == "naive_ft"]
    rival = outcomes.fixed_risk[..., jnp.array(naive, int)]
    return Sums(
        count,
        mean,
        _win_share(outcomes.fixed_risk, rival, share),
        _win_share(_drawn(outcomes), rival[:, :, :, :, None], share),
        _comoment(fixed, fixed),
        _comoment(varying, fixed[:, :, :, :, None]),
        _comoment(varying, varying),
        jnp.square(centred.fixed_accuracy).sum(0),
        jnp.square(centred.varying_accuracy).sum(0),
        jnp.square(centred.misalignment).sum(0),
    )


def _drawn(outcomes: Outcome) -> Array:
    return outcomes.varying_risk if outcomes.drawn_risk is None else outcomes.drawn_risk


def _comoment(left: Array, right: Array) -> Array:
    # A sum of products, not a matrix product: thousands of tiny ones would cost a call each.
    return (left[..., :, None] * right[..., None, :]).sum(axis=0)


def _win_share(risk: Array, rival: Array, share: Float[Array, "r"]) -> Array:
    own, other = risk[..., :, None], rival[..., None, :]
    return jnp.tensordot(share, (own < other) + 0.5 * (own == other), 1)


def merge(a: Sums, b: Sums) -> Sums:
    """Sums of two disjoint sets of replicates (Chan, Golub and LeVeque 1983); works on jax and numpy arrays."""
    xp = np if isinstance(b.count, np.ndarray | np.generic) else jnp
    count = a.count + b.count
    share = b.count / xp.maximum(count, 1)
    step = jax.tree.map(lambda x, y: y - x, a.mean, b.mean)
    mean = jax.tree.map(lambda x, d: x + share * d, a.mean, step)
    weight = a.count * share
    fixed, varying = step.fixed_risk, step.varying_risk

    def wins(x, y):
        return x + share * (y - x)

    def comoment(x, y, left, right):
        return x + y + weight * left[..., :, None] * right[..., None, :]

    def square(x, y, d):
        return x + y + weight * d * d

    return Sums(
        count,
        mean,
        wins(a.fixed_wins, b.fixed_wins),
        wins(a.varying_wins, b.varying_wins),
        comoment(a.fixed_comoment, b.fixed_comoment, fixed, fixed),
        comoment(a.cross_comoment, b.cross_comoment, varying, fixed[:, :, :, None]),
        comoment(a.varying_comoment, b.varying_comoment, varying, varying),
        square(a.fixed_accuracy_square, b.fixed_accuracy_square, step.fixed_accuracy),
        square(a.varying_accuracy_square, b.varying_accuracy_square, step.varying_accuracy),
        square(a.misalignment_square, b.misalignment_square, step.misalignment),
    )
