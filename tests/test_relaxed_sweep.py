"""Relaxed assumptions in the risk sweep: one program for all of them, set against the closed forms that still hold.

The program mixes labels wherever a setting might; the settings are grids, so that the whole file compiles it once.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sims.engine.checked import InputError
from sims.risk_sweep.replicate import simulate
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import make_grid
from tests.helpers import assert_mean, assert_mean_rejects
from w2s_jax import theory
from w2s_jax.relaxed import coherent_gram, contaminated_prior
from w2s_jax.tasks import make_task

DIM, SIZE, NOISE, SHIFT, ACCURACY, NUM_ICL, REPLICATES = 6, 30, 0.25, 0.4, 0.8, 2, 25_000
BASE = SweepSpec(
    weakness=("rotated",),
    weak_accuracy=(ACCURACY,),
    sample_size=(SIZE,),
    concept_shift=(SHIFT,),
    num_icl=(NUM_ICL,),
    methods=("source", "ceiling", "naive_ft", "icl_refine_shared"),
    penalties=(0.0,),
    dim=DIM,
    num_concepts=2,
    noise_var=NOISE,
)
PROGRAM = dataclasses.replace(BASE, contamination=0.5, target_prior=(1.0, 0.0))
FIXED = ("source", "ceiling", "naive_ft")


@pytest.fixture(scope="module")
def outcomes():
    """Risks `[r]` by method and shared misalignment `[r]` of a setting, given by fields of the sweep."""
    program = jax.jit(jax.vmap(lambda key, grid: simulate(PROGRAM, key, grid), (0, None)))
    keys = jax.random.split(jax.random.key(1), REPLICATES)
    return lambda **fields: by_name(program(keys, make_grid(dataclasses.replace(BASE, **fields))))


def by_name(outcome):
    risks = {name: np.asarray(outcome.fixed_risk[:, 0, 0, 0, i]) for i, name in enumerate(FIXED)}
    return risks, np.asarray(outcome.misalignment[:, 0, 0, 0, 0, 0])


def plain_task(**fields):
    return make_task(
        num_concepts=2,
        dim=DIM,
        weak_accuracy=ACCURACY,
        concept_shift=SHIFT,
        noise_var=NOISE,
        weakness="rotated",
        **fields,
    )


def assert_agrees(samples, expected, scale=None):
    expected = float(expected)
    assert_mean(samples, expected, scale)
    assert_mean_rejects(samples, 1.1 * expected, scale)


@pytest.mark.slow
def test_the_neutral_setting_is_the_theory_of_the_spine(outcomes):
    risks, apart = outcomes()
    task = plain_task()
    assert_agrees(risks["naive_ft"], theory.least_squares_risk(task, SIZE))
    assert_agrees(apart, theory.misalignment(task, NUM_ICL, "shared"))


@pytest.mark.slow
def test_mixing_and_plain_programs_have_the_same_law(outcomes):
    keys = jax.random.split(jax.random.key(2), REPLICATES)
    plain = jax.jit(jax.vmap(lambda key, grid: simulate(BASE, key, grid), (0, None)))(keys, make_grid(BASE))
    (mixing, apart), (unmixed, unmixed_apart) = outcomes(), by_name(plain)
    pairs = [(mixing[name], unmixed[name]) for name in ("ceiling", "naive_ft")] + [(apart, unmixed_apart)]
    for a, b in pairs:
        assert abs(a.mean() - b.mean()) < 5 * np.hypot(a.std(), b.std()) / np.sqrt(REPLICATES)


@pytest.mark.slow
def test_hull_and_em_in_a_sweep():
    spec = dataclasses.replace(BASE, methods=("hull", "em_prior"), sample_size=(200,), em_steps=1)
    keys = jax.random.split(jax.random.key(4), 4000)
    outcome = jax.jit(jax.vmap(lambda key, grid: simulate(spec, key, grid), (0, None)))(keys, make_grid(spec))
    risk, task = np.asarray(outcome.fixed_risk[:, 0, 0, 0]), plain_task()
    np.testing.assert_allclose(risk, outcome.misalignment[:, 0, 0, 0, 0], rtol=1e-9)  # orthonormal concepts
    assert_agrees(risk[:, 0], theory.hull_risk(task, 200))
    # One step of EM is refinement from one example, whose mean weights the exact integral gives.
    weights = np.array([1.0, 0.0]) + np.array([-1, 1]) * float(theory.expected_rival_weights(task, 1)[1])
    spread = float(theory.misalignment(task, 1, "shared") - 2 * (1 - weights[0]) ** 2)
    assert_agrees(risk[:, 1], 2 * (1 - weights[0]) ** 2 + spread / 200)


@pytest.mark.slow
def test_coherence(outcomes):
    risks, apart = outcomes(coherence=0.5)
    task = plain_task(gram=coherent_gram(2, 0.5))
    np.testing.assert_allclose(risks["source"], theory.source_bias(task), rtol=1e-9)
    assert_agrees(risks["naive_ft"], theory.least_squares_risk(task, SIZE))
    assert_agrees(apart, theory.misalignment(task, NUM_ICL, "shared"))


@pytest.mark.slow
def test_spectrum(outcomes):
    risks, _ = outcomes(spectrum=1.0)
    variances = np.arange(1.0, DIM + 1) ** -1 * DIM / np.sum(np.arange(1.0, DIM + 1) ** -1)
    task = plain_task()._replace(feature_var=jnp.asarray(variances))
    np.testing.assert_allclose(risks["source"], theory.source_bias(task), rtol=1e-9)
    # Least squares does not see the scale of features: its noise term is that of isotropic ones.
    noise = NOISE * DIM / (SIZE - DIM - 1)
    assert_agrees(risks["naive_ft"], theory.weak_bias(task) + noise)
    assert_agrees(risks["ceiling"], noise)


@pytest.mark.parametrize(
    "fields", [{"target_prior": (0.7, 0.3)}, {"target_prior": (0.7, 0.3), "concept_shift": (0.6,)}]
)
@pytest.mark.slow
def test_mixture_target(outcomes, fields):
    risks, apart = outcomes(**fields)
    shift, q = fields.get("concept_shift", (SHIFT,))[0], jnp.array([0.7, 0.3])
    task = plain_task()._replace(target_prior=q, weak_prior=q, source_prior=q + shift * jnp.array([-1.0, 1.0]))
    np.testing.assert_allclose(risks["source"], theory.source_bias(task), rtol=1e-9)
    assert_agrees(risks["naive_ft"], theory.least_squares_risk(task, SIZE))
    perfect = task._replace(weak_concepts=task.concepts)
    assert_agrees(risks["ceiling"], theory.least_squares_risk(perfect, SIZE))
    assert_agrees(apart, theory.mixed_misalignment(task, NUM_ICL, "shared"))


@pytest.mark.slow
def test_contamination(outcomes):
    risks, apart = outcomes(contamination=0.2)
    task = plain_task()
    task = task._replace(weak_prior=contaminated_prior(task.weak_prior, 0.2))
    assert_agrees(risks["naive_ft"], theory.least_squares_risk(task, SIZE))
    assert_agrees(apart, theory.mixed_misalignment(task, NUM_ICL, "shared"))


@pytest.mark.slow
def test_weak_prior_error_is_drawn_once_a_prompt_and_per_example_of_the_sample(outcomes):
    risks, apart = outcomes(weak_prior_error=0.3)
    task = plain_task()
    expected = theory.wrong_prompt_misalignment(task, NUM_ICL, 0.3, "shared")
    assert_agrees(apart, expected)
    mixed = task._replace(weak_prior=contaminated_prior(task.weak_prior, 0.3))
    assert_agrees(risks["naive_ft"], theory.least_squares_risk(mixed, SIZE))


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"assumed_noise_factor": 3.0}, {"temperature": 3.0}])
def test_assumed_noise_and_temperature_are_two_names_of_one_thing(outcomes, fields):
    _, apart = outcomes(**fields)
    expected = theory.misalignment(plain_task(), NUM_ICL, "shared", assumed_noise_var=3 * NOISE)
    assert_agrees(apart, expected)


@pytest.mark.slow
def test_uniform_features_have_a_third_of_the_variance():
    keys = jax.random.split(jax.random.key(3), REPLICATES)
    spec = dataclasses.replace(BASE, features="uniform", methods=("source", "naive_ft", "ceiling"))
    outcome = jax.jit(jax.vmap(lambda key, grid: simulate(spec, key, grid), (0, None)))(keys, make_grid(spec))
    task = plain_task()
    np.testing.assert_allclose(outcome.fixed_risk[:, 0, 0, 0, 0], theory.source_bias(task) / 3, rtol=1e-9)
    assert np.isnan(outcome.fixed_accuracy).all()
    # Least squares is unbiased under any law of features: what it adds to the teacher's bias is the ceiling's risk.
    added = np.asarray(outcome.fixed_risk[:, 0, 0, 0, 1] - outcome.fixed_risk[:, 0, 0, 0, 2])
    assert_agrees(added, theory.weak_bias(task) / 3)


BAD = [
    ({"coherence": 1.0}, r"coherence must be in \(-1, 1\).* got 1.0"),
    ({"coherence": -0.5, "num_concepts": 4}, "coherence must be in .*positive definite, got -0.5"),
    ({"target_prior": (0.7, 0.2)}, "target_prior must be weights that sum to 1, not 0.9, got"),
    ({"target_prior": (0.3, 0.7)}, "target_prior must be led by the largest weight"),
    ({"target_prior": (0.5, 0.25, 0.25)}, "target_prior must be 2 weights, one a concept"),
    ({"target_prior": (1.5, -0.5)}, r"target_prior must be weights in \[0, 1\]"),
    ({"target_prior": (0.6, 0.4), "concept_shift": (0.7,)}, "concept_shift must be at most the first target weight"),
    ({"features": "uniform", "task_law": "random"}, "task_law must be fixed with uniform or uneven features"),
]


@pytest.mark.parametrize(("fields", "message"), BAD)
def test_a_relaxed_field_out_of_range(fields, message):
    with pytest.raises(InputError, match=message) as error:
        dataclasses.replace(BASE, **fields)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
