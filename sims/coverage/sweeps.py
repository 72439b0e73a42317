"""Many sweeps of one specification, as the moments of their replicates: each on draws of its own, or from a pool."""

from collections.abc import Iterator
from itertools import count, islice
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sims.engine import runtime
from sims.risk_sweep.replicate import columns, simulate
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import make_grid
from w2s_jax.rng import replicate_key

AT_ONCE, RESAMPLED_AT_ONCE = 20, 200
"""Replicates that are computed at once, and sweeps that are drawn from a pool at once."""


class Moments(NamedTuple):
    """Mean, unbiased variance and covariance with the ceiling's risk, in each sweep of a batch, `[b W S N ...]`."""

    mean: np.ndarray
    variance: np.ndarray
    with_ceiling: np.ndarray


Sweeps = tuple[Moments, ...]
"""Moments of the fixed risks, the varying risks and the misalignments."""


def simulated(spec: SweepSpec) -> Iterator[tuple[np.ndarray, ...]]:
    """Without end, fixed risks, varying risks and misalignments `[r W S N ...]` of one sweep after another."""
    grid, key = make_grid(spec), jax.random.key(spec.seed)
    at_once = AT_ONCE if spec.num_cells <= AT_ONCE else None

    def sweep(key, first):
        def replicate(i):
            found = simulate(spec, replicate_key(key, first + i), grid)
            return found.fixed_risk, found.varying_risk, found.misalignment

        return jax.lax.map(replicate, jnp.arange(spec.replicates), batch_size=at_once)

    run = jax.jit(sweep, compiler_options=runtime.compiler_options())
    for number in count():
        yield tuple(np.asarray(x) for x in run(key, jnp.int32(number * spec.replicates)))


def fresh(spec: SweepSpec, sweeps: int) -> Iterator[Sweeps]:
    """The moments of sweeps that share no replicate, one by one."""
    n = spec.replicates
    for found in islice(simulated(spec), sweeps):
        wide = [x.astype(np.float64) for x in found]
        means = [x.mean(axis=0) for x in wide]
        centred = [x - mean for x, mean in zip(wide, means)]
        products = [(x * x, x * _ceiling(spec, centred[0], x)) for x in centred]
        yield tuple(
            Moments(mean[None], *(part.sum(axis=0)[None] / (n - 1) for part in pair))
            for mean, pair in zip(means, products)
        )


def resampled(spec: SweepSpec, sweeps: int, pool: int) -> Iterator[Sweeps]:
    """The moments of sweeps whose replicates are drawn, with replacement, from those of `pool` sweeps."""
    held = [np.concatenate(parts) for parts in zip(*islice(simulated(spec), pool))]
    centres = [x.mean(axis=0, dtype=np.float64) for x in held]
    centred = [(x - c).astype(np.float32) for x, c in zip(held, centres)]
    products = [(x, x * x, x * _ceiling(spec, centred[0], x)) for x in centred]
    rng, n, total = np.random.default_rng(spec.seed), spec.replicates, len(held[0])
    for start in range(0, sweeps, RESAMPLED_AT_ONCE):
        size = min(RESAMPLED_AT_ONCE, sweeps - start)
        # How often each replicate of the pool is in each sweep: means are then products of matrices.
        times = rng.multinomial(n, np.full(total, 1 / total), size=size).astype(np.float32)
        means = [[_times(times, part) / n for part in parts] for parts in products]
        yield tuple(
            Moments(
                centre + first,
                np.maximum(square - first * first, 0) * n / (n - 1),  # rounded, it may fall below
                (product - first * _ceiling(spec, means[0][0], first)) * n / (n - 1),
            )
            for centre, (first, square, product) in zip(centres, means)
        )


def _times(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    return (times @ values.reshape(len(values), -1)).astype(np.float64).reshape(-1, *values.shape[1:])


def places(spec: SweepSpec, method: str) -> list[int]:
    """Columns of a method that reads no prompt: its path, or the only one that it has."""
    return [i for i, (m, _) in enumerate(columns(spec)[0]) if m == method]


def _ceiling(spec: SweepSpec, fixed: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The ceiling's column of `fixed`, with the axes of `like`."""
    found = fixed[..., places(spec, "ceiling")]
    return found.reshape(*found.shape[:4], *(1,) * (like.ndim - 4))
