"""Naive fine-tuning in the metric of accuracy: logistic students on drawn inputs, over accuracies and agreement.

The truth is the first axis; start and teacher are half-spaces with the accuracies and the agreement of a cell. All
cells of a replicate share its inputs. Theory: docs/theory_zoo.md, accuracy.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.study import Study
from w2s_jax.rng import stream
from w2s_jax.types import Key

DIM, SAMPLE_SIZE = 4, 4000
STEPS, RATE = 100, 0.4
LENGTHS = 1.5, 2.0
"""Lengths of the start's and the teacher's coefficients, which accuracies do not show."""
QUANTITIES = ("best_accuracy", "best_progress", "last_accuracy", "last_progress")


def rates(spec: TheorySpec) -> np.ndarray:
    """Accuracies of start and teacher and their agreement in every cell, `[3 b t g]`."""
    start, teacher, place = np.meshgrid(spec.start_accuracy, spec.teacher_accuracy, spec.agreement_place, indexing="ij")
    low, high = np.abs(start + teacher - 1), 1 - np.abs(start - teacher)
    return np.stack([start, teacher, low + place * (high - low)])


def directions(spec: TheorySpec) -> dict[str, np.ndarray]:
    """Unit normals of start and teacher in every cell, `[b t g DIM]`."""
    near, far, apart = np.pi * (1 - rates(spec))
    along = (np.cos(apart) - np.cos(near) * np.cos(far)) / np.sin(near)
    across = np.sqrt(np.maximum(np.sin(far) ** 2 - along**2, 0.0))
    none = np.zeros_like(near)
    return {
        "start": np.stack([np.cos(near), np.sin(near), none, none], axis=-1),
        "teacher": np.stack([np.cos(far), along, across, none], axis=-1),
        "apart": apart,
    }


def simulate(spec: TheorySpec, key: Key, inputs) -> Float[Array, "b t g 4"]:
    """Gradient descent on the logistic loss with the teacher's probabilities as labels; the best step and the last."""
    x = jax.random.normal(stream(key, "inputs"), (SAMPLE_SIZE, DIM))

    def cell(start, teacher, apart):
        labels = jax.nn.sigmoid(LENGTHS[1] * x @ teacher)

        def step(w, _):
            unit = w / jnp.linalg.norm(w)
            accuracy = 1 - jnp.arccos(unit[0]) / jnp.pi
            progress = 1 - jnp.arccos(jnp.clip(unit @ teacher, -1, 1)) / apart
            return w - RATE * (jax.nn.sigmoid(x @ w) - labels) @ x / SAMPLE_SIZE, (accuracy, progress)

        _, (accuracy, progress) = jax.lax.scan(step, LENGTHS[0] * start, None, STEPS)
        best = accuracy.argmax()
        return jnp.stack([accuracy[best], progress[best], accuracy[-1], progress[-1]])

    flat = [part.reshape(-1, *part.shape[3:]) for part in (inputs["start"], inputs["teacher"], inputs["apart"])]
    return jax.vmap(cell)(*flat).reshape(*inputs["apart"].shape, len(QUANTITIES))


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """Accuracy of the start, of the teacher, place of the agreement in its range."""
    return {
        "start_accuracy": spec.start_accuracy,
        "teacher_accuracy": spec.teacher_accuracy,
        "agreement_place": spec.agreement_place,
    }


def inputs(spec: TheorySpec) -> dict[str, Array]:
    """The directions, as arrays that are traced."""
    return {name: jnp.asarray(value) for name, value in directions(spec).items()}


STUDY = Study(axes, lambda spec: QUANTITIES, simulate, seconds=0.05, inputs=inputs)
