"""Benign overfitting in classification (Wu and Sahai): interpolators of drawn labels in bilevel ensembles.

The forms are asymptotic; a claim says by how much they may miss at its sizes.
"""

import jax.numpy as jnp
import numpy as np

from sims.checks.check import Check
from sims.checks.draws import normals, solve
from w2s_jax.rng import stream
from w2s_jax.theory_zoo import benign_classification as benign
from w2s_jax.theory_zoo.benign_classification import Bilevel

TEACHER = Bilevel(num_samples=30, dim=240, num_favoured=6, favoured_weight=0.25)
STUDENT = Bilevel(num_samples=60, dim=600, num_favoured=3, favoured_weight=0.5)
CORRELATION = 0.7
OVERLAPS = 0.5, 0.2
SAMPLES = 250
ROWS = 40_000


def checks() -> list[Check]:
    """The rows of `theory_zoo.benign_classification`."""
    where = "n = 60, d = 600, s = 3, a = 0.5"
    return [
        Check(
            f"benign classification: squared length of an input on its favoured features, {where}",
            ("bilevel_variances",),
            lambda: STUDENT.num_favoured * benign.bilevel_variances(STUDENT)[0],
            lambda key: np.sum(
                (_settings(STUDENT)[1][: STUDENT.num_favoured] * normals(key, ROWS, STUDENT.num_favoured)) ** 2, 1
            ),
        ),
        Check(
            f"benign classification: share of the other features in the span of the inputs, {where}, to 1%",
            ("implicit_penalty", "bilevel_variances"),
            lambda: _shrunk_total(),
            lambda key: STUDENT.num_samples - np.sum(_row_space(key, *_settings(STUDENT)), 1),
            allowance=0.01,
        ),
        Check(
            f"benign classification: survival on clean labels, {where}, to 3%",
            ("interpolator_score",),
            lambda: benign.interpolator_score(STUDENT).survival,
            lambda key: _scores(key, STUDENT, 1.0)[:, 0],
            allowance=0.03,
        ),
        Check(
            f"benign classification: squared contamination on clean labels, {where}, to 3%",
            ("interpolator_score",),
            lambda: benign.interpolator_score(STUDENT).contamination ** 2,
            lambda key: _scores(key, STUDENT, 1.0)[:, 1],
            allowance=0.03,
        ),
        Check(
            f"benign classification: squared contamination of a student who shares its teacher's, {where}, to 3%",
            ("student_score",),
            lambda: benign.student_score(STUDENT, CORRELATION, *OVERLAPS).contamination ** 2,
            lambda key: _scores(key, STUDENT, CORRELATION, *OVERLAPS)[:, 1],
            allowance=0.03,
        ),
        Check(
            "benign classification: error of the teacher, n = 30, d = 240, to 3%",
            ("interpolator_score", "classification_error"),
            lambda: benign.classification_error(benign.interpolator_score(TEACHER)),
            lambda key: _errors(_scores(key, TEACHER, 1.0)),
            allowance=0.03,
        ),
        Check(
            f"benign classification: error of the student of that teacher's labels, {where}, to 3%",
            ("interpolator_score", "score_correlation", "student_score", "classification_error"),
            _predicted_student,
            lambda key: _errors(_pupils(key)),
            allowance=0.03,
        ),
        Check(
            "benign classification: share of wrong signs at survival 0.3, contamination 0.2",
            ("classification_error",),
            lambda: benign.classification_error(benign.Score(jnp.asarray(0.3), jnp.asarray(0.2))),
            _wrong_signs,
        ),
    ]


def _shrunk_total():
    """Sum over the features that are not favoured, by the predicted penalty."""
    _, other = benign.bilevel_variances(STUDENT)
    return (STUDENT.dim - STUDENT.num_favoured) * other / (other + benign.implicit_penalty(STUDENT))


def _predicted_student():
    correlation = benign.score_correlation(benign.interpolator_score(TEACHER))
    return benign.classification_error(benign.student_score(STUDENT, correlation))


def _settings(ensemble: Bilevel):
    """Sizes, and the standard deviations of the features."""
    n, d, s, a = ensemble
    return n, np.sqrt(np.where(np.arange(d) < s, a * d / s, (1 - a) * d / (d - s))), s


def _inputs(key, n, deviations) -> np.ndarray:
    """Standard normals `[r n d]`, one set of inputs a sample."""
    return normals(key, SAMPLES, n * len(deviations)).reshape(SAMPLES, n, -1)


def _row_space(key, n, deviations, s):
    """Diagonal of the projection on the rows of a drawn feature matrix, favoured features `[r s]`."""
    x = _inputs(key, n, deviations) * deviations
    solved = np.linalg.solve(x @ x.transpose(0, 2, 1), x[..., :s])
    return np.einsum("rni,rni->ri", x[..., :s], solved)


def _interpolators(key, n, deviations, teachers, seen):
    """Weights on z of the least-norm interpolators of sign(teacher . z + unseen) on n inputs `[r d]`."""
    z = _inputs(stream(key, "features"), n, deviations)
    unseen = normals(stream(key, "unseen"), SAMPLES, n) * np.sqrt(1 - seen)[:, None]
    labels = np.sign((z @ teachers[..., None])[..., 0] + unseen)
    x = z * deviations
    dual = solve(x @ x.transpose(0, 2, 1), labels)
    return (x.transpose(0, 2, 1) @ dual[..., None])[..., 0] * deviations


def _scores(key, ensemble: Bilevel, correlation, favoured=0.0, other=0.0) -> np.ndarray:
    """Survival and squared contamination of interpolators, one row each `[r 2]`.

    The teacher's unit score has the given correlation with z_1, and the given shares of the rest spread over the
    favoured and the other features; what is left is unseen. `correlation` may be `[r]`.
    """
    n, deviations, s = _settings(ensemble)
    rest = 1 - np.broadcast_to(correlation, (SAMPLES,)) ** 2
    teachers = np.zeros((SAMPLES, len(deviations)))
    teachers[:, 0] = correlation
    teachers[:, 1:s] = np.sqrt(rest * favoured / (s - 1))[:, None]
    teachers[:, s:] = np.sqrt(rest * other / (len(deviations) - s))[:, None]
    weights = _interpolators(key, n, deviations, teachers, np.sum(teachers**2, 1))
    return np.stack([weights[:, 0], np.sum(weights[:, 1:] ** 2, 1)], 1)


def _pupils(key) -> np.ndarray:
    """Teachers on clean labels, and students on theirs."""
    survival, contamination = _scores(stream(key, "teacher"), TEACHER, 1.0).T
    correlation = survival / np.sqrt(survival**2 + contamination)
    return _scores(stream(key, "student"), STUDENT, correlation)


def _errors(scores: np.ndarray) -> np.ndarray:
    """Error of each classifier, by the angle between score and truth."""
    return np.arccos(scores[:, 0] / np.sqrt(scores[:, 0] ** 2 + scores[:, 1])) / np.pi


def _wrong_signs(key) -> np.ndarray:
    z = normals(key, ROWS, 2)
    return (z[:, 0] * (z @ np.array([0.3, 0.2])) < 0).astype(float)
