"""Theory zoo, ridge teacher to ridge student: both fitted from draws, and where their simulated risks are least."""

import numpy as np

from sims.checks.check import Check
from sims.checks.draws import normals, solve
from w2s_jax import theory_zoo

DIM, TEACHER, MANY, FEW, COUNT = 64, 96, 128, 40, 250
"""Features; labels of the teacher; points of a student; fewer of them than features; fits in a batch."""
SIGNAL, NOISE_VAR = 1.5, 1.0
TARGET = np.sqrt(SIGNAL) * np.eye(DIM)[0]
CELL = (SIGNAL, NOISE_VAR, DIM / TEACHER)
WHERE = f"d = {DIM}, n_t = {TEACHER}"
LIMIT, ALLOWANCE = "to 1.5%", 0.015
"""What is left of O(1/d) at this size is 1%."""


def checks() -> list[Check]:
    """The rows of `theory_zoo.ridge_pair`."""
    low = 0.05
    cells = [(low, MANY, 0.4), (low, FEW, 0.2), (1.0, MANY, 0.4)]
    return [
        *(
            Check(
                f"ridge teacher, {WHERE}, penalty {penalty}, {LIMIT}",
                ("ridge_pair_teacher_risk",),
                lambda penalty=penalty: theory_zoo.ridge_pair_teacher_risk(*CELL, penalty),
                lambda key, penalty=penalty: _risks(_teacher(key, penalty)),
                allowance=ALLOWANCE,
            )
            for penalty in (low, 1.0)
        ),
        *(
            Check(
                f"ridge student, {WHERE}, penalty {teacher}, n_s = {size}, penalty {student}, {LIMIT}",
                ("ridge_pair_student_risk",),
                lambda teacher=teacher, size=size, student=student: theory_zoo.ridge_pair_student_risk(
                    *CELL, teacher, DIM / size, student
                ),
                lambda key, teacher=teacher, size=size, student=student: _risks(_student(key, size, teacher, student)),
                allowance=ALLOWANCE,
            )
            for teacher, size, student in cells
        ),
        Check(
            f"best penalty of the teacher, {WHERE}",
            ("ridge_pair_best_teacher_penalty",),
            lambda: theory_zoo.ridge_pair_best_teacher_penalty(*CELL),
            _teacher_slopes,
            reduce=lambda mean: _root(TEACHER_GRID, mean),
        ),
        Check(
            f"best penalty of the student, {WHERE}, penalty {low}, n_s = {MANY}, {LIMIT}",
            ("ridge_pair_best_student_penalty",),
            lambda: theory_zoo.ridge_pair_best_student_penalty(*CELL, low, DIM / MANY),
            lambda key: _slopes(*_taught(key, MANY, low), STUDENT_GRID),
            reduce=lambda mean: _root(STUDENT_GRID, mean),
            sharpen=1.5,
            allowance=ALLOWANCE,
        ),
    ]


TEACHER_GRID = (0.35, 0.45, 0.55)
STUDENT_GRID = (0.4, 0.5, 0.6)


def _draw(key, size: int):
    """Gram matrices of teacher and student `[r d d]`, and the teacher's cross moments `[r d]`."""
    drawn = normals(key, COUNT, TEACHER * (DIM + 1) + size * DIM)
    own = drawn[:, : TEACHER * (DIM + 1)].reshape(COUNT, TEACHER, DIM + 1)
    fresh = drawn[:, TEACHER * (DIM + 1) :].reshape(COUNT, size, DIM)
    x, labels = own[..., :DIM], own[..., :DIM] @ TARGET + np.sqrt(NOISE_VAR) * own[..., DIM]
    return _gram(x), _gram(fresh), np.einsum("rnd,rn->rd", x, labels) / TEACHER


def _gram(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 2, 1) @ x / x.shape[1]


def _shifted_solve(gram: np.ndarray, penalty: float, vector: np.ndarray) -> np.ndarray:
    return solve(gram + penalty * np.eye(DIM), vector)


def _teacher(key, penalty: float) -> np.ndarray:
    gram, _, cross = _draw(key, MANY)
    return _shifted_solve(gram, penalty, cross)


def _taught(key, size: int, teacher_penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Gram matrices of students and their cross moments with the labels of their teachers."""
    own, gram, cross = _draw(key, size)
    teacher = _shifted_solve(own, teacher_penalty, cross)
    return gram, (gram @ teacher[..., None])[..., 0]


def _student(key, size: int, teacher_penalty: float, penalty: float) -> np.ndarray:
    gram, cross = _taught(key, size, teacher_penalty)
    return _shifted_solve(gram, penalty, cross)


def _risks(coefs: np.ndarray) -> np.ndarray:
    return np.sum((coefs - TARGET) ** 2, 1)


def _slopes(gram: np.ndarray, cross: np.ndarray, penalties: tuple[float, ...]) -> np.ndarray:
    """Derivatives of the risks of ridge fits by the penalty, halved and their signs turned `[r p]`."""
    fits = [(penalty, _shifted_solve(gram, penalty, cross)) for penalty in penalties]
    return np.stack([np.sum((fit - TARGET) * _shifted_solve(gram, penalty, fit), 1) for penalty, fit in fits], 1)


def _teacher_slopes(key) -> np.ndarray:
    gram, _, cross = _draw(key, MANY)
    return _slopes(gram, cross, TEACHER_GRID)


def _root(grid: tuple[float, ...], slopes: np.ndarray) -> float:
    """Where a parabola through three slopes vanishes."""
    fit = np.polynomial.Polynomial.fit(slopes, grid, 2)  # the penalty as a function of the slope: no root to choose
    return float(fit(0.0))
