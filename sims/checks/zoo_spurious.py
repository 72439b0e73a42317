"""Theory zoo, spurious correlations: teachers and students fitted to drawn points whose groups are out of balance."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from sims.checks.check import Check
from sims.checks.draws import normals
from w2s_jax import theory_zoo
from w2s_jax.rng import stream

DIM, LABELS, PSEUDO, COUNT = 60, 480, 360, 50
"""Core features; labels of the teacher; pseudo-labels of the student; pairs in a batch."""
NOISE_VAR = 1.0
SIZES = (DIM, LABELS, NOISE_VAR)
LIMIT, ALLOWANCE = "to 1%", 0.01
"""What is left of O(1/d) at this size is 0.7%."""


class Setting(NamedTuple):
    """Shares of the minority in labels, pseudo-labels and test; its shift, and what of it teacher and student see."""

    words: str
    labelled: float
    unlabelled: float
    tested: float
    shift: np.ndarray
    weak_view: np.ndarray
    strong_view: np.ndarray


FIRST, TILTED, BOTH, NONE = np.eye(2)[:, :1], np.array([[0.5], [np.sqrt(0.75)]]), np.eye(2), np.zeros((2, 0))
SETTINGS = (
    Setting("core student, balanced test", 0.2, 0.5, 0.5, np.array([2.0, 0.0]), FIRST, NONE),
    Setting("student with a tilted view, balanced test", 0.3, 0.7, 0.5, np.array([1.5, 0.5]), FIRST, TILTED),
    Setting("teacher with two views, minority tested", 0.3, 0.1, 1.0, np.array([1.5, 1.0]), BOTH, TILTED),
)


def checks() -> list[Check]:
    """The rows of `theory_zoo.spurious`."""
    where = f"d = {DIM}, n = {LABELS}"
    return [
        Check(
            "product of two views of gaussian groups, minority 0.3",
            ("gaussian_groups",),
            lambda: _product(_groups(SETTINGS[1], 0.3)),
            lambda key: _seen_products(key, SETTINGS[1], 0.3),
        ),
        *(
            Check(
                f"spurious features, {setting.words}: teacher, {where}, {LIMIT}",
                ("spurious_teacher_risk", "gaussian_groups"),
                lambda setting=setting: theory_zoo.spurious_teacher_risk(
                    _groups(setting, setting.labelled), _groups(setting, setting.tested), *SIZES
                ),
                lambda key, setting=setting: _risks(setting, setting.weak_view, _teachers(key, setting)),
                allowance=ALLOWANCE,
            )
            for setting in SETTINGS
        ),
        *(
            Check(
                f"spurious features, {setting.words}: student, {where}, N = {PSEUDO}, {LIMIT}",
                ("spurious_student_risk", "gaussian_groups"),
                lambda setting=setting: theory_zoo.spurious_student_risk(
                    *(_groups(setting, share) for share in (setting.labelled, setting.unlabelled, setting.tested)),
                    *(DIM, LABELS, PSEUDO, NOISE_VAR),
                ),
                lambda key, setting=setting: _risks(setting, setting.strong_view, _students(key, setting)),
                allowance=ALLOWANCE,
            )
            for setting in SETTINGS
        ),
    ]


def _groups(setting: Setting, minority: float):
    views = (jnp.asarray(part) for part in (setting.shift, setting.weak_view, setting.strong_view))
    return theory_zoo.gaussian_groups(minority, *views)


def _product(groups) -> float:
    return float(groups.weights @ (groups.weak[:, 1] * groups.strong[:, 1]))


def _seen_products(key, setting: Setting, minority: float) -> np.ndarray:
    _, xi = _points(key, setting, minority, 200)
    return ((xi @ setting.weak_view) * (xi @ setting.strong_view)).reshape(-1)


def _points(key, setting: Setting, minority: float, size: int):
    """Core features `[r n d]` and group features `[r n 2]`."""
    drawn = normals(stream(key, "points"), COUNT, size * (DIM + 3)).reshape(COUNT, size, DIM + 3)
    rare = drawn[..., :1] > ndtri(1 - minority)
    return drawn[..., 3:], drawn[..., 1:3] + rare * setting.shift


def _rows(core: np.ndarray, xi: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Products of core features with 1 and what is seen of the group `[r n d(1+a)]`."""
    seen = np.concatenate([np.ones((*xi.shape[:2], 1)), xi @ view], 2)
    return (core[..., :, None] * seen[..., None, :]).reshape(*core.shape[:2], -1)


def _fit(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    transposed = rows.transpose(0, 2, 1)
    return np.linalg.solve(transposed @ rows, transposed @ labels[..., None])[..., 0]


def _teachers(key, setting: Setting) -> np.ndarray:
    """Errors of the coefficients of teachers: fits of the noise alone, as both models hold the truth."""
    core, xi = _points(stream(key, "labelled"), setting, setting.labelled, LABELS)
    noise = np.sqrt(NOISE_VAR) * normals(stream(key, "noise"), COUNT, LABELS)
    return _fit(_rows(core, xi, setting.weak_view), noise)


def _students(key, setting: Setting) -> np.ndarray:
    teachers = _teachers(key, setting)
    core, xi = _points(stream(key, "unlabelled"), setting, setting.unlabelled, PSEUDO)
    labels = (_rows(core, xi, setting.weak_view) @ teachers[..., None])[..., 0]
    return _fit(_rows(core, xi, setting.strong_view), labels)


def _risks(setting: Setting, view: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Mean squared error on the test, from the second moments of what is seen there."""
    mean = setting.tested * setting.shift
    moment = np.eye(2) + setting.tested * np.outer(setting.shift, setting.shift)
    second = np.block([[np.ones((1, 1)), mean[None] @ view], [view.T @ mean[:, None], view.T @ moment @ view]])
    by_core = errors.reshape(len(errors), DIM, -1)
    return np.einsum("rdi,ij,rdj->r", by_core, second, by_core)
