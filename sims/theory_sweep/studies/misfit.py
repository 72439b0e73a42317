"""Misfit: what a student gains over its teacher is how far it departs from it.

Two students fit weak labels within a class that holds the target: the span of the concepts (linear: gain = misfit) and
their hull (convex: gain >= misfit). Theory: docs/theory.md 3.8.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.study import Study
from w2s_jax import theory
from w2s_jax.estimators import least_squares
from w2s_jax.hull import hull_least_squares
from w2s_jax.risk import excess_risk, misfit, sign_accuracy
from w2s_jax.rng import stream
from w2s_jax.sampling import design_moments, sample_design
from w2s_jax.tasks import WEAKNESSES, make_task
from w2s_jax.types import Design, Key, Moments, Task, stack

NUM_CONCEPTS, DIM, SAMPLE_SIZE = 4, 16, 1024
QUANTITIES = (
    "weak_risk",
    "span_risk",
    "hull_risk",
    "ceiling_risk",
    "span_misfit",
    "hull_misfit",
    "weak_sign_accuracy",
    "span_sign_accuracy",
    "hull_sign_accuracy",
    "ceiling_sign_accuracy",
)


def task(spec: TheorySpec, weakness, weak_accuracy: float) -> Task:
    """The task of a cell."""
    return make_task(
        num_concepts=NUM_CONCEPTS,
        dim=DIM,
        weak_accuracy=weak_accuracy,
        concept_shift=0.5,
        noise_var=spec.noise_var,
        weakness=weakness,
    )


def estimation_risk(task: Task, student: str) -> float:
    """What n labels cost a student, which its misfit counts as well: exact for the span, at most this for the hull."""
    if student == "span":
        return float(theory.span_risk(task, SAMPLE_SIZE) - theory.span_bias(task))
    noise = float(task.weak_noise_var + theory.hull_misfit(task))
    return noise * NUM_CONCEPTS / (SAMPLE_SIZE - NUM_CONCEPTS - 1)


def simulate(spec: TheorySpec, key: Key, inputs) -> Float[Array, "W a 10"]:
    """Risks, misfits and sign accuracies of teacher, students and ceiling, on one design."""
    design = sample_design(stream(key, "design"), SAMPLE_SIZE, DIM)
    tasks = [task(spec, weakness, accuracy) for weakness in WEAKNESSES for accuracy in spec.weak_accuracy]
    stacked = stack(tasks)
    found = jax.vmap(lambda task: _measure(task, design))(stacked)
    return found.reshape(len(WEAKNESSES), len(spec.weak_accuracy), len(QUANTITIES))


def _measure(task: Task, design: Design) -> Float[Array, "10"]:
    weak = design_moments(design, task.weak_coef, task.weak_noise_var)
    concepts = task.concepts
    within = Moments(concepts @ weak.gram @ concepts.T, concepts @ weak.cross, weak.num_samples)
    students = {
        "weak": task.weak_coef,
        "span": least_squares(within) @ concepts,
        "hull": hull_least_squares(weak, concepts) @ concepts,
        "ceiling": least_squares(design_moments(design, task.target_coef, task.noise_var)),
    }
    risks = [excess_risk(coef, task.target_coef) for coef in students.values()]
    misfits = [misfit(students[name], task.weak_coef) for name in ("span", "hull")]
    accuracies = [sign_accuracy(coef, task.target_coef) for coef in students.values()]
    return jnp.stack([*risks, *misfits, *accuracies])


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """Kind of weak teacher, weak accuracy."""
    return {"weakness": WEAKNESSES, "weak_accuracy": spec.weak_accuracy}


STUDY = Study(axes, lambda spec: QUANTITIES, simulate, seconds=0.005)
