"""A target that mixes two concepts: a prompt shows both, the posterior settles on one, and longer prompts hurt.

The teacher is perfect. Theory: docs/theory.md 3.6, 3.7.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.prompts import concept_weights, quantity_names
from sims.theory_sweep.studies.study import Study
from w2s_jax.tasks import make_task
from w2s_jax.types import Key, Task, stack

NUM_CONCEPTS = 2


def task(spec: TheorySpec, target_weight: float) -> Task:
    """The task of a target weight: an even source, a perfect teacher."""
    plain = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5, noise_var=spec.noise_var)
    prior = jnp.array([target_weight, 1 - target_weight])
    return plain._replace(target_prior=prior, weak_prior=prior)


def simulate(spec: TheorySpec, key: Key, inputs) -> Float[Array, "q I 3"]:
    """Weights and misalignment by target and prompt length."""
    tasks = stack([task(spec, q) for q in spec.target_weight])
    return concept_weights(key, tasks, spec.num_icl)


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """Weight of the first concept in the target, prompt length."""
    return {"target_weight": spec.target_weight, "num_icl": spec.num_icl}


STUDY = Study(axes, lambda spec: quantity_names(NUM_CONCEPTS), simulate, seconds=0.002)
