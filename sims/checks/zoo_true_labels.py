"""Theory zoo, a few true labels: logistic students fitted to drawn inputs of which some have true labels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sims.checks.check import Check
from sims.checks.draws import shared_program
from w2s_jax import theory_zoo

SEEN, HIDDEN = 4, 2
"""Inputs that the student's features show, and those that they do not."""
INPUTS, COUNT = 8000, 25
"""Inputs of a student; students in a batch."""
NEWTON_STEPS = 5


class Setting(NamedTuple):
    """True share, accuracies of ceiling and naive student, and the latter's agreement with its teacher."""

    true_share: float
    ceiling: float
    naive: float
    agreement: float


SETTINGS = Setting(0.25, 0.85, 0.7, 1.0), Setting(0.5, 0.76, 0.65, 0.87), Setting(0.75, 0.95, 0.6, 0.8)


def checks() -> list[Check]:
    """The rows of `theory_zoo.true_labels`."""
    return [row for setting in SETTINGS for row in _rows(setting)]


def _rows(setting: Setting) -> list[Check]:
    where = f"{setting.true_share:.0%} true, ceiling {setting.ceiling:.0%}, naive {setting.naive:.0%}, agreement "
    where += f"{setting.agreement:.0%}"
    teacher_accuracy = 1 - _angle(*_truth_and_teacher(setting)) / np.pi
    measured = [
        Check(
            f"{what}, {where}, to 0.2%",
            ("mixed_label_student",),
            lambda i=i: theory_zoo.mixed_label_student(*setting)[i],
            lambda key, i=i: 1 - _angles(key, setting)[:, i] / np.pi,
            allowance=0.002,
        )
        for i, what in enumerate(("accuracy on weak labels with some true ones", "agreement with the teacher"))
    ]
    return [
        *measured,
        Check(
            f"copied errors of the teacher, {where}, to 0.5%",
            ("mixed_label_student", "copied_errors"),
            lambda: _copied(setting, teacher_accuracy),
            lambda key: _wrong(key, setting),
            reduce=lambda means: means[0] / means[1],
            allowance=0.005,
        ),
    ]


def _copied(setting: Setting, teacher_accuracy: float):
    student = theory_zoo.mixed_label_student(*setting)
    return theory_zoo.copied_errors(student.accuracy, teacher_accuracy, student.agreement)


def _truth_and_teacher(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals, the seen coordinates first: what each hides lies on an axis of its own."""
    ceiling, naive, teacher = (-np.cos(np.pi * share) for share in setting[1:])
    along = naive / ceiling
    truth = np.array([ceiling, 0.0, 0.0, 0.0, np.sqrt(1 - ceiling**2), 0.0])
    seen = teacher * np.array([along, np.sqrt(1 - along**2), 0.0, 0.0])
    return truth, np.concatenate([seen, [0.0, np.sqrt(max(1 - teacher**2, 0.0))]])


def _angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return np.arccos(np.clip(one @ other / lengths, -1, 1))


def _angles(key, setting: Setting) -> np.ndarray:
    """Angles of each student with truth and teacher `[r 2]`."""
    truth, teacher = _truth_and_teacher(setting)
    seen = _fit(key, setting.true_share, truth, teacher)
    students = np.pad(np.asarray(seen), ((0, 0), (0, HIDDEN)))
    return np.stack([_angle(students, axis) for axis in (truth, teacher)], axis=-1)


def _wrong(key, setting: Setting) -> np.ndarray:
    """Shares of drawn inputs on which student and teacher, and the teacher, are wrong `[r 2]`."""
    truth, teacher = _truth_and_teacher(setting)
    seen = _fit(key, setting.true_share, truth, teacher)
    x = np.random.default_rng(np.asarray(jax.random.key_data(key))).standard_normal((INPUTS, SEEN + HIDDEN))
    teacher_wrong = (x @ teacher > 0) != (x @ truth > 0)
    both = teacher_wrong & ((np.asarray(seen) @ x[:, :SEEN].T > 0) == (x @ teacher > 0))
    return np.stack([both.mean(axis=1), np.full(len(both), teacher_wrong.mean())], axis=-1)


@shared_program()
def _fit(key, true_share, truth, teacher):
    """Logistic regressions by Newton's method on inputs with both kinds of labels `[r SEEN]`."""
    inputs, mixing = jax.random.split(key)
    x = jax.random.normal(inputs, (COUNT, INPUTS, SEEN + HIDDEN))
    is_true = jax.random.bernoulli(mixing, true_share, (COUNT, INPUTS))
    labels = jnp.where(is_true, x @ truth > 0, x @ teacher > 0).astype(x.dtype)
    seen = x[..., :SEEN]

    def step(w, _):
        chance = jax.nn.sigmoid(jnp.einsum("rnd,rd->rn", seen, w))
        slope = jnp.einsum("rnd,rn->rd", seen, chance - labels)
        curve = jnp.einsum("rnd,rn,rne->rde", seen, chance * (1 - chance), seen)
        return w - jnp.linalg.solve(curve, slope[..., None])[..., 0], None

    return jax.lax.scan(step, jnp.zeros((COUNT, SEEN)), None, NEWTON_STEPS)[0]
