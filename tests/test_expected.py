"""Means over prompts and labels agree with those of plain draws, and include what plain draws miss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sims.engine.checked import identity
from sims.risk_sweep import __main__ as risk_sweep
from sims.risk_sweep import expected, prompt_moments
from sims.risk_sweep.estimates import ESTIMATES
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import draw_world, make_grid
from tests.helpers import assert_mean, assert_mean_rejects
from tests.tiny import RISK
from w2s_jax.risk import excess_risk
from w2s_jax.rng import replicate_key
from w2s_jax.statistics import effective_count, rare_interval

SPEC = SweepSpec(
    weakness=("confused",),
    weak_accuracy=(0.6,),
    sample_size=(12, 3),  # n < d too, and in no order
    concept_shift=(0.5,),
    num_icl=(0, 4),
    methods=expected.PROMPTED,
    dim=6,
    num_concepts=3,
    noise_var=0.5,
    prompt_rounds=4,
)
COUNT = 5_000
RELAXED = {"features": "uniform", "coherence": 0.3, "temperature": 1.5}
MIXED = {"target_prior": (0.6, 0.3, 0.1), "contamination": 0.2, "weak_prior_error": 0.1, "refined_labels": "mean"}


def outcomes(spec: SweepSpec, count: int):
    """Risks and misalignments `[count W S N I method]` with prompts averaged, and those of own draws."""
    grid, key = make_grid(spec), jax.random.key(0)

    def replicate(i):
        world = draw_world(spec, replicate_key(key, i), grid)
        own = [ESTIMATES[method](spec, world) for method in spec.methods]
        risk = [excess_risk(e.coef[..., 0, :], world.target_coef, world.second_moment) for e in own]
        wrong = [jnp.broadcast_to(excess_risk(e.posterior, world.target_prior), risk[0].shape) for e in own]
        means = expected.expected(spec, world)
        found = [[part[method] for method in spec.methods] for part in means]
        return [[jnp.stack(part, -1) for part in pair] for pair in (found, (risk, wrong))]

    run = jax.jit(lambda: jax.lax.map(replicate, jnp.arange(count), batch_size=500))
    return [[np.asarray(x, np.float64) for x in pair] for pair in run()]


def differences(spec: SweepSpec) -> tuple[np.ndarray, np.ndarray]:
    """Results with prompts averaged minus those of own draws, and the root mean square of the latter."""
    found, own = (np.concatenate(pair, -1).reshape(COUNT, -1) for pair in outcomes(spec, COUNT))
    return found - own, np.maximum(np.sqrt(np.square(own).mean(0)), 1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {"draws": "data"},
        pytest.param({"draws": "moments"}, marks=pytest.mark.slow),
        {"refined_labels": "mean"},
        pytest.param({"refined_labels": "map"}, marks=pytest.mark.slow),
        pytest.param({"task_law": "random", "assumed_noise_factor": 2.0}, marks=pytest.mark.slow),
        pytest.param({"spectrum": 1.0, "assumed_noise_factor": 0.5}, marks=pytest.mark.slow),
        pytest.param(RELAXED, marks=pytest.mark.slow),
        MIXED,
    ],
    ids=lambda fields: " ".join(map(str, fields.values())),
)
def test_every_risk_and_misalignment_is_that_of_plain_draws(fields):
    difference, size = differences(dataclasses.replace(SPEC, **fields))
    assert_mean(difference, np.zeros(len(size)), scale=size)


@pytest.mark.parametrize("part", ["_spread", "counts"])
def test_a_part_left_out_is_noticed(part, monkeypatch):
    """The twin: without the draw of concepts, or without the weights of tilted prompts, means are others."""
    if part == "_spread":
        monkeypatch.setattr(expected, part, lambda spec, world: jnp.zeros((len(spec.sample_size), 3, 3)))
    else:
        honest = prompt_moments._moments
        monkeypatch.setattr(prompt_moments, "_moments", lambda w, counts, rounds: honest(w, 0 * counts + 1, rounds))
    tilted = dataclasses.replace(SPEC, weakness=("rotated",), weak_accuracy=(0.8,))
    difference, size = differences(tilted)
    assert_mean_rejects(difference, np.zeros(len(size)), scale=size)


def test_rare_mistakes_are_no_longer_missed():
    """Two hundred replicates give to 5% a mean that few of their own prompts, or none, carry."""
    rare = {"weak_accuracy": (0.9,), "concept_shift": (0.1,), "num_icl": (16,), "sample_size": (64,), "dim": 8}
    spec = dataclasses.replace(SPEC, **rare, weakness=("rotated",), noise_var=0.25, prompt_rounds=16)
    (_, found), (_, own) = outcomes(spec, 200)
    assert (found.std(0, ddof=1) / np.sqrt(200) / found.mean(0)).max() < 0.05
    shared = spec.methods.index("icl_refine_shared")
    assert effective_count(own.mean(0), own.var(0, ddof=1), 200)[..., shared].max() < 10
    assert (found[..., shared] <= expected.largest_misalignment(spec, "icl_refine_shared")).all()


def test_a_store_says_how_many_replicates_carry_its_means(tmp_path):
    """Where they are few it gives a bound in place of an interval."""
    for out, rounds in ((tmp_path / "own", 0), (tmp_path / "many", 3)):
        rare = {"concept_shift": (0.01, 0.6), "weak_accuracy": (0.9,), "num_icl": (0, 8), "noise_var": 0.05}
        assert RISK.run(out, **rare, prompt_rounds=rounds, methods=("naive_ft", *expected.PROMPTED)) == 0
    own, many = RISK.load(tmp_path / "own"), RISK.load(tmp_path / "many")
    np.testing.assert_allclose(own.win_rate, many.win_rate, rtol=1e-6)
    for data, largest in ((own, 2.0), (many, 2.0 * RISK.spec.num_concepts)):
        mean, sem, carry = (data[f"misalignment_{part}"].values for part in ("mean", "sem", "effective"))
        wanted = effective_count(mean, sem**2 * RISK.spec.replicates, RISK.spec.replicates)
        np.testing.assert_allclose(carry, wanted, rtol=1e-6, atol=1e-9)
        shared = {"method": "icl_refine_shared"}
        ends = rare_interval(mean, sem, RISK.spec.replicates, carry, largest)
        for part, end in zip(("low", "high"), ends):
            np.testing.assert_allclose(data[f"misalignment_{part}"].sel(shared), end[1], rtol=1e-6)
        np.testing.assert_array_equal(np.isfinite(data.risk_high), data.risk_effective >= 30)
    rare_cell = {**shared, "concept_shift": 0.01, "num_icl": 8}
    assert (own.misalignment_effective.sel(rare_cell) < 30).all() and (own.misalignment_low.sel(rare_cell) == 0).all()
    assert (many.misalignment_mean.sel(rare_cell) < own.misalignment_high.sel(rare_cell)).all()


def test_older_stores_are_what_they_were():
    """A sweep of own prompts alone has the identity that it had before there were others."""
    assert identity(dataclasses.replace(risk_sweep.PRESETS["quick"], prompt_rounds=0)) == "a0bec0c11066d697"
    assert identity(risk_sweep.PRESETS["quick"]) != "a0bec0c11066d697"
