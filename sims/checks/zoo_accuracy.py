"""Theory zoo, accuracy: logistic students that gradient descent fine-tunes on drawn inputs with soft labels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sims.checks.check import Check
from sims.checks.draws import normals, shared_program
from w2s_jax import theory_zoo

DIM, INPUTS, COUNT = 5, 4000, 50
"""Features; inputs of a student; students in a batch."""
WHOLE, FIRST = (20, 0.6), (2, 0.1)
"""Steps of gradient descent and their rate: to the best student and beyond, and at the start."""
LENGTHS = 1.5, 2.0
"""Lengths of the start's and the teacher's coefficients, which accuracies do not show."""
ROWS = 20_000


class Setting(NamedTuple):
    """A start and its teacher."""

    start: float
    teacher: float
    agreement: float


SETTINGS = Setting(0.8, 0.7, 0.66), Setting(0.65, 0.75, 0.55)


def checks() -> list[Check]:
    """The rows of `theory_zoo.accuracy`."""
    pairs = [
        Check(
            "accuracy at cosine 0.6 with the truth",
            ("accuracy_of_cosine",),
            lambda: theory_zoo.accuracy_of_cosine(0.6),
            lambda key: _agree(key, np.array([1.0, 0.0, 0.0]), np.array([0.6, 0.8, 0.0])),
        ),
        Check(
            "cosine at accuracy 0.8, an angle of pi/5",
            ("cosine_of_accuracy",),
            lambda: theory_zoo.cosine_of_accuracy(0.8),
            lambda key: _product(normals(key, ROWS, 2), np.pi / 5),
        ),
        Check(
            "agreement of accuracies 0.8 and 0.7 whose errors point in unrelated directions",
            ("unrelated_agreement",),
            lambda: theory_zoo.unrelated_agreement(0.8, 0.7),
            lambda key: _agree(key, *_around(0.2 * np.pi, 0.3 * np.pi)),
        ),
    ]
    return pairs + [row for setting in SETTINGS for row in _of_path(setting)]


def _of_path(setting: Setting) -> list[Check]:
    start, teacher, agreement = setting
    where = f"start {start:.0%}, teacher {teacher:.0%}, agreement {agreement:.0%}"
    return [
        Check(
            f"accuracy half way from start to teacher, {where}, to 0.1%",
            ("tuned_accuracy",),
            lambda: theory_zoo.tuned_accuracy(*setting, 0.5),
            lambda key: _at(_path(key, setting, WHOLE), 0.5),
            allowance=0.001,
        ),
        Check(
            f"best accuracy on the way to the teacher, {where}, to 0.1%",
            ("best_accuracy",),
            lambda: theory_zoo.best_accuracy(*setting).accuracy,
            lambda key: _path(key, setting, WHOLE)[0].max(axis=1),
            allowance=0.001,
        ),
        Check(
            f"first gain of fine-tuning, {where}, to 1%",
            ("first_gain",),
            lambda: theory_zoo.first_gain(*setting),
            lambda key: _slope(_path(key, setting, FIRST)),
            allowance=0.01,
        ),
    ]


def _agree(key, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    x = normals(key, ROWS, len(one))
    return ((x @ one > 0) == (x @ other > 0)).astype(float)


def _product(x: np.ndarray, angle: float) -> np.ndarray:
    return x[:, 0] * (np.cos(angle) * x[:, 0] + np.sin(angle) * x[:, 1])


def _around(one: float, other: float) -> tuple[np.ndarray, np.ndarray]:
    """Directions at these angles with the first axis, turned from it towards the second and the third."""
    return np.array([np.cos(one), np.sin(one), 0.0]), np.array([np.cos(other), 0.0, np.sin(other)])


def _directions(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Start and teacher; the truth is the first axis."""
    near, far, apart = (np.pi * (1 - share) for share in setting)
    start = np.array([np.cos(near), np.sin(near), 0.0])
    along = (np.cos(apart) - np.cos(near) * np.cos(far)) / np.sin(near)
    teacher = np.array([np.cos(far), along, np.sqrt(np.sin(far) ** 2 - along**2)])
    return tuple(np.pad(direction, (0, DIM - 3)) for direction in (start, teacher))


def _path(key, setting: Setting, descent: tuple[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and progress of every student before each step and after the last `[r steps+1]`, from their angles."""
    start, teacher = _directions(setting)
    x = normals(key, COUNT, INPUTS * DIM).reshape(COUNT, INPUTS, DIM)
    students = np.concatenate([np.broadcast_to(start, (COUNT, 1, DIM)), _fine_tuned(x, start, teacher, *descent)], 1)
    unit = students / np.linalg.norm(students, axis=-1, keepdims=True)
    with_truth, with_teacher = (np.arccos(np.clip(unit @ axis, -1, 1)) for axis in (np.eye(DIM)[0], teacher))
    return 1 - with_truth / np.pi, 1 - with_teacher / (np.pi * (1 - setting.agreement))


@shared_program("steps")
def _fine_tuned(x, start, teacher, steps, rate):
    """Students after each step of gradient descent on the logistic loss `[r steps d]`."""
    labels = jax.nn.sigmoid(LENGTHS[1] * x @ teacher)

    def step(w, _):
        errors = jax.nn.sigmoid(jnp.einsum("rnd,rd->rn", x, w)) - labels
        w = w - rate * jnp.einsum("rn,rnd->rd", errors, x) / INPUTS
        return w, w

    _, found = jax.lax.scan(step, jnp.broadcast_to(LENGTHS[0] * start, (COUNT, DIM)), None, steps)
    return jnp.moveaxis(found, 0, 1)


def _at(path: tuple[np.ndarray, np.ndarray], progress: float) -> np.ndarray:
    return np.array([np.interp(progress, where, accuracy) for accuracy, where in zip(*path)])


def _slope(path: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Gain per progress at the start: twice the slope of the first step, less that of two."""
    accuracy, progress = path
    one, two = ((accuracy[:, i] - accuracy[:, 0]) / progress[:, i] for i in (1, 2))
    return 2 * one - two
