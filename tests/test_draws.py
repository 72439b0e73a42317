"""Examples drawn one by one and moments drawn at once give every method's risk the same distribution."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sims.engine.checked import InputError
from sims.risk_sweep import designs
from sims.risk_sweep.methods import READS_ROWS
from sims.risk_sweep.replicate import simulate
from sims.risk_sweep.spec import QUICK, SweepSpec
from sims.risk_sweep.world import make_grid
from w2s_jax.rng import replicate_key
from w2s_jax.sorted_labels import count_up_to, look_up

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
SMALL = SweepSpec(
    weakness=("confused",),
    weak_accuracy=(0.7,),
    sample_size=(40, 3, 12),  # n < d too, and in no order
    concept_shift=(0.5,),
    num_icl=(0, 2),
    methods=tuple(m for m in QUICK.methods if m not in READS_ROWS and m not in ("source", "weak")),
    penalties=(0.0, 0.3),
    times=(0.5,),
    dim=6,
    num_concepts=3,
)
PAIR = {"methods": ("naive_ft", "icl_refine_shared"), "sample_size": (12, 3), "penalties": (0.3,)}
COUNT = 4000


def risks(spec: SweepSpec, seed: int) -> np.ndarray:
    """Risks of every cell and method, and each minus the first, `[replicates risks]`."""
    grid, key = make_grid(spec), jax.random.key(seed)
    one = jax.jit(
        lambda: jax.lax.map(lambda i: simulate(spec, replicate_key(key, i), grid), jnp.arange(COUNT), batch_size=200)
    )
    outcome = one()
    every = [np.asarray(x).reshape(COUNT, -1) for x in (outcome.fixed_risk, outcome.varying_risk)]
    every = np.concatenate(every, axis=1)
    return np.concatenate([every, every - every[:, :1]], axis=1)


def agreement(one, other) -> float:
    """The smallest p value over the columns that are random, times their number."""
    moving = [j for j in range(one.shape[1]) if one[:, j].std() > 1e-9]
    return len(moving) * min(stats.ks_2samp(one[:, j], other[:, j]).pvalue for j in moving)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        PAIR,
        {"task_law": "random", "sample_size": (1, 2, 9)},
        {"refined_labels": "mean", "spectrum": 1.0, "coherence": 0.3, "task_law": "fixed"},
        {**PAIR, "refined_labels": "map"},
    ],
    ids=str,
)
def test_risks_have_the_same_distribution_either_way(fields):
    """And paired differences: methods share a replicate's draws either way, so that these vary as little."""
    spec = dataclasses.replace(SMALL, **fields)
    data, moments = (risks(dataclasses.replace(spec, draws=draws), i) for i, draws in enumerate(("data", "moments")))
    assert agreement(data, moments) > 1e-3
    assert agreement(1.1 * data, moments) < 1e-6


@pytest.mark.parametrize("framed", [False, True])
def test_sorted_labels_are_seen_as_the_same_labels_row_by_row(framed):
    @jax.jit
    def both(means, directions, boundaries, labels):
        batch = designs.Batch(means, directions, jnp.zeros((3, 4)) if framed else None)
        return designs.sorted_projection(batch, boundaries), designs.row_projection(batch, labels)

    for rows in (1, 9):
        rng = np.random.default_rng(rows)
        means = np.concatenate([rng.standard_normal((2, rows)), np.zeros((1, rows))])
        boundaries = np.sort(rng.integers(0, rows + 1, (7, 2)), axis=1)
        concept = np.array([np.searchsorted(b, np.arange(rows), side="right") for b in boundaries])
        labels = means[concept, np.arange(rows)[None, :]]
        by_boundary, by_row = both(means, rng.standard_normal((rows, 2)) / 5, boundaries, labels)
        np.testing.assert_allclose(by_boundary, by_row, atol=1e-12)


def test_look_ups_are_those_of_numpy():
    rng, count = np.random.default_rng(0), jax.jit(count_up_to)
    for size in (1, 7, 8, 9):
        ascending = np.sort(np.round(rng.random(size), 1))  # with ties
        levels = np.concatenate([np.round(rng.random((3, 5)), 1), [[-1.0, 0.0, 1.0, 2.0, np.inf]]])
        np.testing.assert_array_equal(count(ascending, levels), np.searchsorted(ascending, levels, side="right"))
    table, places = rng.standard_normal((6, 2, 3)), rng.integers(0, 6, (4, 5, 2))
    expected = table[places[..., 0], 0] + table[places[..., 1], 1]
    np.testing.assert_allclose(jax.jit(look_up)(table, places), expected, atol=1e-14)


def test_auto_takes_the_moments_where_they_are_exact():
    assert dataclasses.replace(QUICK, methods=("naive_ft", "icl_refine_fresh")).direct
    assert not QUICK.direct and QUICK.reads_rows == "icl_refine_leave_one_out"
    assert not dataclasses.replace(SMALL, features="uniform").direct
    assert not dataclasses.replace(SMALL, contamination=0.1).direct
    assert not dataclasses.replace(SMALL, draws="data").direct
    with pytest.raises(InputError, match=r"draws must be data or auto .* got moments with em_prior; choose auto"):
        SweepSpec(draws="moments", methods=("em_prior",))


def test_moments_grow_with_the_sample_only_where_labels_are_sampled():
    def largest(n, labels):
        """Elements of the largest array in a program and in all that it calls, loops and branches included."""
        spec = dataclasses.replace(SMALL, **PAIR | {"sample_size": (n,)}, refined_labels=labels, draws="moments")
        text = str(jax.make_jaxpr(lambda key: simulate(spec, key, make_grid(spec)))(jax.random.key(0)))
        return max(math.prod(map(int, shape.split(","))) for shape in re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", text))

    assert largest(100, "mean") == largest(10**5, "mean")
    assert largest(10**5, "sample") >= 10**5  # it looks inside of what a program calls
