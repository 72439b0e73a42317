"""Relaxed assumptions in the risk sweep: one program for all of them, set against the closed forms that still hold.

The program mixes labels wherever a setting might; the settings are grids, so that the whole file compiles it once.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sims.risk_sweep.replicate import simulate
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import make_grid
from tests.helpers import assert_mean_sharply
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


def program(spec, seed: int, replicates: int = REPLICATES):
    """What a sweep of this kind simulates, as a function of its grid."""
    keys = jax.random.split(jax.random.key(seed), replicates)
    run = jax.jit(jax.vmap(lambda key, grid: simulate(spec, key, grid), (0, None)))
    return lambda given=spec: run(keys, make_grid(given))


@pytest.fixture(scope="module")
def outcomes():
    """Risks `[r]` by method and shared misalignment `[r]` of a setting, given by fields of the sweep."""
    run = program(PROGRAM, seed=1)
    return lambda **fields: by_name(run(dataclasses.replace(BASE, **fields)))


def by_name(outcome):
    risks = np.asarray(outcome.fixed_risk[:, 0, 0, 0]).T
    return dict(zip(FIXED, risks)), np.asarray(outcome.misalignment[:, 0, 0, 0, 0, 0])


def plain_task(**fields):
    return make_task(num_concepts=2, dim=DIM, weak_accuracy=ACCURACY, concept_shift=SHIFT, noise_var=NOISE, **fields)


def mixture(shift: float):
    q = jnp.array([0.7, 0.3])
    return plain_task()._replace(target_prior=q, weak_prior=q, source_prior=q + shift * jnp.array([-1.0, 1.0]))


def contaminated(share: float):
    return plain_task()._replace(weak_prior=contaminated_prior(jnp.array([1.0, 0.0]), share))


def of_wrong_prompts(_, num_icl, prompts):
    """Of a prior error of the teacher, which is drawn once a prompt, but for each example of the sample."""
    return theory.wrong_prompt_misalignment(plain_task(), num_icl, 0.3, prompts)


OF_MORE_NOISE = partial(theory.misalignment, assumed_noise_var=3 * NOISE)
MIXED = {"target_prior": (0.7, 0.3)}
SETTINGS = {
    "neutral": ({}, plain_task, theory.misalignment),
    "coherence": ({"coherence": 0.5}, lambda: plain_task(gram=coherent_gram(2, 0.5)), theory.misalignment),
    "mixture target": (MIXED, lambda: mixture(SHIFT), theory.mixed_misalignment),
    "at another shift": (MIXED | {"concept_shift": (0.6,)}, lambda: mixture(0.6), theory.mixed_misalignment),
    "contamination": ({"contamination": 0.2}, lambda: contaminated(0.2), theory.mixed_misalignment),
    "weak prior error": ({"weak_prior_error": 0.3}, lambda: contaminated(0.3), of_wrong_prompts),
    "assumed noise": ({"assumed_noise_factor": 3.0}, plain_task, OF_MORE_NOISE),
    "temperature": ({"temperature": 3.0}, plain_task, OF_MORE_NOISE),  # another name of the same
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_has_the_theory_of_its_task(outcomes, name):
    fields, make, misalignment = SETTINGS[name]
    (risks, apart), task = outcomes(**fields), make()
    perfect = task._replace(weak_concepts=task.concepts, weak_prior=task.target_prior)
    np.testing.assert_allclose(risks["source"], theory.source_bias(task), rtol=1e-9)
    assert_mean_sharply(risks["naive_ft"], theory.least_squares_risk(task, SIZE))
    assert_mean_sharply(risks["ceiling"], theory.least_squares_risk(perfect, SIZE))
    assert_mean_sharply(apart, misalignment(task, NUM_ICL, "shared"))


@pytest.mark.slow
def test_mixing_and_plain_programs_have_the_same_distribution(outcomes):
    (mixing, apart), (unmixed, unmixed_apart) = outcomes(), by_name(program(BASE, seed=2)())
    pairs = [(mixing[name], unmixed[name]) for name in ("ceiling", "naive_ft")] + [(apart, unmixed_apart)]
    for a, b in pairs:
        assert abs(a.mean() - b.mean()) < 5 * np.hypot(a.std(), b.std()) / np.sqrt(REPLICATES)


@pytest.mark.slow
def test_hull_and_em_in_a_sweep():
    spec = dataclasses.replace(BASE, methods=("hull", "em_prior"), sample_size=(200,), em_steps=1)
    outcome = program(spec, seed=4, replicates=4000)()
    risk, task = np.asarray(outcome.fixed_risk[:, 0, 0, 0]), plain_task()
    np.testing.assert_allclose(risk, outcome.misalignment[:, 0, 0, 0, 0], rtol=1e-9)  # orthonormal concepts
    assert_mean_sharply(risk[:, 0], theory.hull_risk(task, 200))
    # One step of EM is refinement from one example, whose mean weights the exact integral gives.
    weights = np.array([1.0, 0.0]) + np.array([-1, 1]) * float(theory.expected_rival_weights(task, 1)[1])
    spread = float(theory.misalignment(task, 1, "shared") - 2 * (1 - weights[0]) ** 2)
    assert_mean_sharply(risk[:, 1], 2 * (1 - weights[0]) ** 2 + spread / 200)


@pytest.mark.slow
def test_spectrum(outcomes):
    risks, _ = outcomes(spectrum=1.0)
    falling = 1 / np.arange(1.0, DIM + 1)
    task = plain_task()._replace(feature_var=jnp.asarray(falling / falling.mean()))
    np.testing.assert_allclose(risks["source"], theory.source_bias(task), rtol=1e-9)
    # Least squares does not see the scale of features: its noise term is that of isotropic ones.
    noise = NOISE * DIM / (SIZE - DIM - 1)
    assert_mean_sharply(risks["naive_ft"], theory.weak_bias(task) + noise)
    assert_mean_sharply(risks["ceiling"], noise)


@pytest.mark.slow
def test_uniform_features_have_a_third_of_the_variance():
    outcome = program(dataclasses.replace(BASE, features="uniform", methods=FIXED), seed=3)()
    source, ceiling, naive = np.asarray(outcome.fixed_risk[:, 0, 0, 0]).T
    np.testing.assert_allclose(source, theory.source_bias(plain_task()) / 3, rtol=1e-9)
    assert np.isnan(outcome.fixed_accuracy).all()
    # Least squares is unbiased for any features: what it adds to the teacher's bias is the ceiling's risk.
    assert_mean_sharply(naive - ceiling, theory.weak_bias(plain_task()) / 3)
