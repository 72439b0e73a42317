"""The sweep of prompts: a cell does not depend on the rest of its grid."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sims.posterior_sweep.job import block_sums, make_contests
from sims.posterior_sweep.spec import PROMPTS_AT_ONCE, SMOKE
from w2s_jax import statistics

SPEC = dataclasses.replace(SMOKE, weak_accuracy=(0.5,), concept_shift=(0.5,), assumed_noise=("task",), num_icl=(2, 8))
COUNT = 2 * PROMPTS_AT_ONCE


def summary(num_concepts: tuple[int, ...]) -> statistics.Summary:
    """Of the cells with two concepts."""
    spec = dataclasses.replace(SPEC, num_concepts=num_concepts, replicates=COUNT, block_size=COUNT)
    first, total = jnp.array(0), jnp.array(COUNT)
    sums = jax.jit(block_sums, static_argnums=0)(spec, jax.random.key(0), first, total, make_contests(spec))
    return statistics.Summary(sums.count, sums.mean[0], sums.comoment[0])


@pytest.mark.slow
@pytest.mark.usefixtures("compile_in_a_hurry")
def test_more_concepts_in_a_grid_change_no_cell():
    alone, beside = summary((2,)), summary((2, 4))
    kept = np.array([0, 1, -2, -1])  # two concept weights, misalignment, MAP error: no padding
    # The same draws and weights; a product of more rows may add them up in another order.
    np.testing.assert_allclose(beside.mean[..., kept], alone.mean[..., kept], rtol=1e-13)
    np.testing.assert_allclose(
        beside.comoment[..., kept[:, None], kept], alone.comoment[..., kept[:, None], kept], rtol=1e-9, atol=1e-12
    )
    np.testing.assert_array_equal(beside.mean[..., 2:4], 0.0)
