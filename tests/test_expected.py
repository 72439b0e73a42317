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


def compare(**fields):
    """`outcomes(spread, weighted)`: risks and misalignments `[count cells]` with prompts averaged, and of own draws.

    The program can leave out two parts of the former: at `spread` 0 the draw of a concept for each label, and at
    `weighted` 0 what a tilted prompt counts.
    """
    spec = dataclasses.replace(SPEC, **fields)
    grid, key = make_grid(spec), jax.random.key(0)
    whole_spread, whole_moments = expected._spread, prompt_moments._moments

    def replicate(i, spread, weighted):
        world = draw_world(spec, replicate_key(key, i), grid)
        own = [ESTIMATES[method](spec, world) for method in spec.methods]
        risk = [excess_risk(e.coef[..., 0, :], world.target_coef, world.second_moment) for e in own]
        wrong = [jnp.broadcast_to(excess_risk(e.posterior, world.target_prior), risk[0].shape) for e in own]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(expected, "_spread", lambda *args: spread * whole_spread(*args))
            patch.setattr(
                prompt_moments, "_moments", lambda w, counts, rounds: whole_moments(w, counts**weighted, rounds)
            )
            means = expected.expected(spec, world)
        averaged = [part[method] for part in means for method in spec.methods]
        return jnp.stack(averaged).ravel(), jnp.stack([*risk, *wrong]).ravel()

    @jax.jit
    def run(spread, weighted):
        return jax.lax.map(lambda i: replicate(i, spread, weighted), jnp.arange(COUNT), batch_size=500)

    return lambda spread=1.0, weighted=1.0: run(spread, weighted)


def difference(averaged, own) -> tuple[np.ndarray, np.ndarray]:
    """Results with prompts averaged minus those of own draws, and the root mean square of the latter."""
    return np.asarray(averaged) - np.asarray(own), np.maximum(np.sqrt(np.square(own).mean(0)), 1e-6)


@pytest.mark.slow
def test_every_risk_and_misalignment_is_that_of_plain_draws():
    """And its twins: without a part of them, means are others."""
    outcomes = compare(draws="data", weakness=("rotated",), weak_accuracy=(0.8,))
    averaged, own = outcomes()
    differ, size = difference(averaged, own)
    assert_mean(differ, np.zeros(len(size)), scale=size)
    shared = np.asarray(averaged).reshape(COUNT, 2, len(SPEC.methods), -1)[:, 1, 0]
    assert SPEC.methods[0] == "icl_refine_shared"
    assert (shared <= expected.largest_misalignment(SPEC, "icl_refine_shared")).all()
    for part in ({"spread": 0.0}, {"weighted": 0.0}):
        differ, size = difference(*outcomes(**part))
        assert_mean_rejects(differ, np.zeros(len(size)), scale=size)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"sample_size": (3,), "refined_labels": "mean", "draws": "moments"},
        {"target_prior": (0.6, 0.3, 0.1), "contamination": 0.2, "weak_prior_error": 0.1, "refined_labels": "mean"},
        {"draws": "moments", "task_law": "random", "assumed_noise_factor": 2.0},
        {"refined_labels": "map", "spectrum": 1.0, "assumed_noise_factor": 0.5},
        {"features": "uniform", "coherence": 0.3, "temperature": 1.5},
    ],
    ids=lambda fields: " ".join(fields),
)
def test_so_it_is_in_other_worlds(fields):
    differ, size = difference(*compare(**{"sample_size": (12,), **fields})())
    assert_mean(differ, np.zeros(len(size)), scale=size)


@pytest.mark.slow
def test_a_store_says_how_many_replicates_carry_its_means(tmp_path):
    """Where they are few it gives a bound in place of an interval; averaged prompts no longer miss a rare mistake."""
    methods, count = ("naive_ft", *expected.PROMPTED), 100
    rare = {"weakness": ("rotated",), "sample_size": (4,), "concept_shift": (0.01, 0.6), "weak_accuracy": (0.9,)}
    rare |= {"num_icl": (0, 8), "noise_var": 0.05, "penalties": (0.1,), "replicates": count, "block_size": count}
    stores = []
    for out, rounds, largest in (("own", 0, 2.0), ("many", 16, 2.0 * RISK.spec.num_concepts)):
        assert RISK.run(tmp_path / out, **rare, prompt_rounds=rounds, methods=methods) == 0
        data = RISK.load(tmp_path / out)
        mean, sem, carry = (data[f"misalignment_{part}"].values for part in ("mean", "sem", "effective"))
        np.testing.assert_allclose(carry, effective_count(mean, sem**2 * count, count), rtol=1e-6, atol=1e-9)
        shared = {"method": "icl_refine_shared"}
        for part, end in zip(("low", "high"), rare_interval(mean, sem, count, carry, largest)):
            np.testing.assert_allclose(data[f"misalignment_{part}"].sel(shared), end[1], rtol=1e-6)
        np.testing.assert_array_equal(np.isfinite(data.risk_high), data.risk_effective >= 30)
        stores.append(data)
    own, many = stores
    np.testing.assert_allclose(own.win_rate, many.win_rate, rtol=1e-6)
    own, many = (data.sel({**shared, "concept_shift": 0.01, "num_icl": 8}) for data in stores)
    assert (own.misalignment_effective < 10).all() and (own.misalignment_low == 0).all()
    assert (many.misalignment_mean < own.misalignment_high).all()
    assert (many.misalignment_sem < 0.1 * many.misalignment_mean).all()


def test_older_stores_are_what_they_were():
    """A sweep of own prompts alone has the identity that it had before there were others."""
    assert identity(dataclasses.replace(risk_sweep.PRESETS["quick"], prompt_rounds=0)) == "a0bec0c11066d697"
    assert identity(risk_sweep.PRESETS["quick"]) != "a0bec0c11066d697"
