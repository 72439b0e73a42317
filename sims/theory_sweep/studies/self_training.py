"""Self-training: ridge fits, each on the predictions of the one before, gain for some generations and then forget.

Pseudo-labels are copied predictions, or predictions with noise. Theory: docs/theory_zoo.md, self-training.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.designs import direct_design
from sims.theory_sweep.studies.study import Study
from w2s_jax.estimators import ridge_to_source
from w2s_jax.risk import excess_risk
from w2s_jax.rng import stream
from w2s_jax.sampling import design_moments
from w2s_jax.theory_zoo import SelfTraining
from w2s_jax.types import Key

DIM, NUM_LABELS, NUM_PSEUDO, GENERATIONS = 96, 120, 120, 12
"""Features; labels of the teacher; points of every later generation, and how many there are."""
TEACHER_PENALTY = 0.01
PENALTIES = (0.05, 0.15, 0.5)
PSEUDO_NOISE = (0.0, 0.1)
"""Noise variance of pseudo-labels, in squared label units; the target has length 1."""


def setting(spec: TheorySpec, penalty: float, pseudo_noise_var: float) -> SelfTraining:
    """What theory knows of a cell."""
    sizes = DIM / NUM_LABELS, TEACHER_PENALTY, DIM / NUM_PSEUDO
    return SelfTraining(1.0, spec.noise_var, *sizes, penalty, pseudo_noise_var)


def simulate(spec: TheorySpec, key: Key, inputs) -> Float[Array, "v eta J 1"]:
    """Risk by noise of the pseudo-labels, penalty and generation, on the same points."""
    target, origin = jnp.eye(DIM)[0], jnp.zeros(DIM)
    labelled = design_moments(direct_design(stream(key, "teacher"), NUM_LABELS, DIM), target, spec.noise_var)
    teacher = ridge_to_source(labelled, origin, TEACHER_PENALTY)
    keys = jax.random.split(stream(key, "generations"), GENERATIONS)
    designs = jax.vmap(lambda own: direct_design(own, NUM_PSEUDO, DIM))(keys)

    def path(pseudo_noise_var, penalty):
        def generation(coef, design):
            coef = ridge_to_source(design_moments(design, coef, pseudo_noise_var), origin, penalty)
            return coef, coef

        _, later = jax.lax.scan(generation, teacher, designs)
        return excess_risk(jnp.concatenate([teacher[None], later]), target)[:, None]

    by_penalty = jax.vmap(path, (None, 0))
    return jax.vmap(by_penalty, (0, None))(jnp.array(PSEUDO_NOISE), jnp.array(PENALTIES))


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """Noise variance of pseudo-labels, penalty, generation."""
    return {"pseudo_noise_var": PSEUDO_NOISE, "penalty": PENALTIES, "generation": tuple(range(GENERATIONS + 1))}


STUDY = Study(axes, lambda spec: ("risk",), simulate, seconds=0.02)
