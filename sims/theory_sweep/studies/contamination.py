"""Contaminated prompts: every example comes independently, with probability rho, from another concept.

A rotated teacher. Theory: docs/theory.md 3.6.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.prompts import concept_weights, quantity_names
from sims.theory_sweep.studies.study import Study
from w2s_jax.relaxed import contaminated_prior
from w2s_jax.tasks import make_task
from w2s_jax.types import Key, Task, stack

NUM_CONCEPTS = (2, 4)
WEAK_ACCURACY, CONCEPT_SHIFT = 0.8, 0.5


def task(spec: TheorySpec, num_concepts: int, contamination: float) -> Task:
    """The task of a cell: its weak prior is that of one example."""
    plain = make_task(
        num_concepts=num_concepts,
        dim=num_concepts + 1,
        weak_accuracy=WEAK_ACCURACY,
        concept_shift=CONCEPT_SHIFT,
        noise_var=spec.noise_var,
    )
    return plain._replace(weak_prior=contaminated_prior(plain.weak_prior, contamination))


def simulate(spec: TheorySpec, key: Key, inputs) -> Float[Array, "K rho I 5"]:
    """Weights and misalignment by number of concepts, contamination and prompt length."""
    most, cells = max(NUM_CONCEPTS), []
    for num_concepts in NUM_CONCEPTS:
        tasks = [task(spec, num_concepts, rho) for rho in spec.contamination]
        stacked = stack(tasks)
        found = concept_weights(key, stacked, spec.num_icl)
        missing = jnp.zeros((*found.shape[:-1], most - num_concepts))
        cells.append(jnp.concatenate([found[..., :-1], missing, found[..., -1:]], axis=-1))
    return jnp.stack(cells)


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """Number of concepts, contamination, prompt length."""
    return {"num_concepts": NUM_CONCEPTS, "contamination": spec.contamination, "num_icl": spec.num_icl}


STUDY = Study(axes, lambda spec: quantity_names(max(NUM_CONCEPTS)), simulate, seconds=0.01)
