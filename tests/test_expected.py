"""Means over prompts and labels are those of plain draws, and know what plain draws miss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sims import expected, prompt_moments
from sims.simulate import simulate, weighing_methods
from sims.spec import SweepSpec
from sims.world import make_grid
from tests.helpers import assert_mean, assert_mean_rejects
from w2s_jax.rng import replicate_key
from w2s_jax.statistics import effective_count

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
    """Risks and misalignments `[count ...]` with prompts averaged, and those of the replicates' own draws."""
    grid, key, plain = make_grid(spec), jax.random.key(0), dataclasses.replace(spec, prompt_rounds=0)

    def replicate(i):
        found, own = (simulate(s, replicate_key(key, i), grid) for s in (spec, plain))
        return (found.varying_risk, found.misalignment), (own.varying_risk, own.misalignment), found.drawn_risk

    found, own, drawn = jax.jit(lambda: jax.lax.map(replicate, jnp.arange(count), batch_size=500))()
    np.testing.assert_array_equal(drawn, own[0])  # the replicate's own draws are what they were
    return [[np.asarray(x, np.float64) for x in pair] for pair in (found, own)]


def differences(spec: SweepSpec) -> tuple[np.ndarray, np.ndarray]:
    """What replicates say with prompts averaged, minus what their own draws say, and the root mean square of that."""
    found, own = (np.concatenate(pair, -1).reshape(COUNT, -1) for pair in outcomes(spec, COUNT))
    return found - own, np.sqrt(np.square(own).mean(0))


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
    difference, size = differences(SPEC)
    assert_mean_rejects(difference, np.zeros(len(size)), scale=size)


def test_rare_mistakes_are_no_longer_missed():
    """Two hundred replicates know to 5% what their own prompts do not show: few of these, or none, carry a mean."""
    rare = {"weak_accuracy": (0.9,), "concept_shift": (0.1,), "num_icl": (16,), "sample_size": (64,), "dim": 8}
    spec = dataclasses.replace(SPEC, **rare, weakness=("rotated",), noise_var=0.25, prompt_rounds=16)
    (_, found), (_, own) = outcomes(spec, 200)
    assert (found.std(0, ddof=1) / np.sqrt(200) / found.mean(0)).max() < 0.05
    shared = weighing_methods(spec).index("icl_refine_shared")
    assert effective_count(own.mean(0), own.var(0, ddof=1), 200)[..., shared].max() < 10
    assert (found[..., shared] <= expected.largest_misalignment(spec, "icl_refine_shared")).all()
