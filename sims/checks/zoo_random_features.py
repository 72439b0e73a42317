"""Random features and early stopping (Medvedev et al.): teachers on random subspaces, students by the flow's kernel."""

import jax
import jax.numpy as jnp
import numpy as np

from sims.checks.check import Check
from sims.checks.draws import fits, normals, shared_program
from sims.checks.population import lowest
from w2s_jax.estimators import gradient_flow
from w2s_jax.theory_zoo import random_features
from w2s_jax.theory_zoo.random_features import TwoLevel
from w2s_jax.types import Moments

ROWS = 40_000
TEACHERS = 4000
DIM, WIDTH = 12, 7
TARGET = np.array([1.0, -0.6, 0.5] + 9 * [0.1])
EIGENVALUES = np.geomspace(2.0, 0.05, DIM)
WIDE, WIDE_WIDTH, WIDE_LEADING = 192, 60, 18
"""Where deterministic equivalents are read: at a third of this size they miss the student by 5%."""
TIMES = np.geomspace(0.5, 60.0, 41)


def checks() -> list[Check]:
    """The rows of `theory_zoo.random_features`."""
    target, eigenvalues = jnp.asarray(TARGET), jnp.asarray(EIGENVALUES)
    where = f"{WIDTH} random features of {DIM}"
    path = [
        Check(
            f"random features: mean risk of the student at time {time}, {where}",
            ("random_teacher_flow_risk",),
            lambda time=time: random_features.random_teacher_flow_risk(target, eigenvalues, WIDTH, time),
            lambda key, time=time: _risks(key, np.ones(DIM), EIGENVALUES, TARGET, WIDTH, [time])[:, 0],
        )
        for time in (0.8, 5.0)
    ]
    return [
        Check(
            f"random features: mean risk of the teacher, {where}",
            ("random_teacher_risk",),
            lambda: random_features.random_teacher_risk(target, WIDTH),
            lambda key: np.sum((_teachers(key, np.ones(DIM), TARGET, WIDTH, TEACHERS) - TARGET) ** 2, 1),
        ),
        *path,
        _given_teacher(),
        *_stopping(),
        _floor(),
        *_unequal_variances(),
    ]


def _teachers(key, variances, target, width, count):
    """Least squares on random features, over the standardised inputs: coefficients `[r d]`."""
    unit = normals(key, count, len(variances) * width).reshape(count, -1, width)
    features = np.sqrt(variances)[:, None] * unit
    weights = fits(features, np.broadcast_to(target, (count, len(target))))
    return (features @ weights[..., None])[..., 0]


def _students(teachers: np.ndarray, eigenvalues: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Students of teachers `[r d]` at all times `[r t d]`: the flow is linear in the teacher."""
    return np.einsum("rd,dte->rte", teachers, _flows(eigenvalues, times))


@shared_program()
def _flows(eigenvalues, times):
    """Students of the unit vectors at all times `[d t d]`: the flow on features of variance lambda."""
    roots = jnp.sqrt(eigenvalues)

    def one(teacher, time):
        moments = Moments(jnp.diag(eigenvalues), roots * teacher, jnp.asarray(1.0))
        return roots * gradient_flow(moments, jnp.zeros_like(teacher), time / 2)  # of half the squared error

    return jax.vmap(lambda teacher: jax.vmap(lambda time: one(teacher, time))(times))(jnp.eye(roots.shape[0]))


def _risks(key, variances, eigenvalues, target, width, times, count=TEACHERS) -> np.ndarray:
    """Risks of students at all times, one row a teacher `[r t]`."""
    teachers = _teachers(key, variances, target, width, count)
    return np.sum((_students(teachers, eigenvalues, np.asarray(times)) - target) ** 2, -1)


def _given_teacher() -> Check:
    teacher = np.linspace(1.0, -0.5, DIM)
    student = _students(teacher[None], EIGENVALUES, np.array([1.5]))[0, 0]
    return Check(
        "random features: risk of the student of a given teacher at time 1.5",
        ("flow_risk",),
        lambda: random_features.flow_risk(jnp.asarray(TARGET), jnp.asarray(teacher), jnp.asarray(EIGENVALUES), 1.5),
        lambda key: (normals(key, ROWS, DIM) @ (student - TARGET)) ** 2,
    )


def _stopping() -> list[Check]:
    student = TwoLevel(dim=20, num_leading=2, width=12, leading=1.0, trailing=0.05)
    eigenvalues = np.where(np.arange(20) < 2, 1.0, 0.05)
    target = np.zeros(20)
    target[:2] = 0.8, -0.6

    def paths(key):
        return _risks(key, np.ones(20), eigenvalues, target, 12, TIMES, 1000)

    return [
        Check(
            "random features: least mean risk over stopping times, 12 of 20, eigenvalues 1 (2) and 0.05",
            ("stopped_risk",),
            lambda: random_features.stopped_risk(student),
            paths,
            reduce=lambda means: lowest(np.log(TIMES), means)[1],
            allowance=0.001,  # a parabola through the grid
        ),
        Check(
            "random features: performance gap recovered there",
            ("stopped_pgr",),
            lambda: random_features.stopped_pgr(student),
            lambda key: np.concatenate([paths(key), _ends(key, 20, target, 12)], 1),
            reduce=lambda means: 1 - lowest(np.log(TIMES), means[:-1])[1] / means[-1],
            allowance=0.001,
        ),
        Check(
            "random features: the best stopping time, to 1%",
            ("best_stopping_time",),
            lambda: random_features.best_stopping_time(student),
            paths,
            reduce=lambda means: np.exp(lowest(np.log(TIMES), means)[0]),
            allowance=0.01,
        ),
    ]


def _ends(key, dim, target, width) -> np.ndarray:
    """Risks of the teachers themselves `[r 1]`."""
    return np.sum((_teachers(key, np.ones(dim), target, width, 1000) - target) ** 2, 1, keepdims=True)


def _floor() -> Check:
    """The best single direction for a teacher of risk 0.4, by search in the plane of teacher and target."""
    risk = 0.4
    target = np.array([1.0, 0.0])
    teacher = (1 - risk) * np.array([1.0, np.sqrt(risk / (1 - risk))])  # its error is orthogonal to it
    angles = np.linspace(-np.pi / 2, np.pi / 2, 100_001)
    directions = np.stack([np.cos(angles), np.sin(angles)], 1)
    students = (directions @ teacher)[:, None] * directions
    best = students[np.argmin(np.sum((students - target) ** 2, 1))]
    return Check(
        "random features: least risk of the student of a teacher of risk 0.4, over single directions",
        ("student_floor",),
        lambda: random_features.student_floor(risk),
        lambda key: (normals(key, ROWS, 2) @ (best - target)) ** 2,
    )


def _unequal_variances() -> list[Check]:
    variances = np.where(np.arange(WIDE) < WIDE_LEADING, 1.0, 0.08)
    target = np.where(np.arange(WIDE) < WIDE_LEADING, 0.23, 0.017)
    given = jnp.asarray(target), jnp.asarray(variances)
    where = f"{WIDE_WIDTH} random features of {WIDE}, variances 1 ({WIDE_LEADING}) and 0.08"
    return [
        Check(
            f"random features: mean risk of the teacher, {where}, to 2%",
            ("spectrum_teacher_risk",),
            lambda: random_features.spectrum_teacher_risk(*given, WIDE_WIDTH),
            lambda key: np.sum((_teachers(key, variances, target, WIDE_WIDTH, 1000) - target) ** 2, 1),
            allowance=0.02,
        ),
        Check(
            f"random features: mean risk of the student at time 4, {where}, to 3%",
            ("spectrum_flow_risk",),
            lambda: random_features.spectrum_flow_risk(*given, given[1], WIDE_WIDTH, 4.0),
            lambda key: _risks(key, variances, variances, target, WIDE_WIDTH, [4.0], 1000)[:, 0],
            allowance=0.03,
        ),
    ]
