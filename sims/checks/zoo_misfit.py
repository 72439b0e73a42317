"""Gain and misfit (Charikar et al.): students fitted to a teacher, on the population and on samples.

Population students come from generic solvers (least squares, bounded least squares, a multiplier found by bisection).
"""

import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq, lsq_linear

import w2s_jax
from sims.checks.check import Check
from sims.checks.draws import fits, normals
from w2s_jax.rng import stream
from w2s_jax.theory_zoo import misfit
from w2s_jax.theory_zoo.misfit import LinearClass

ROWS = 40_000
DATA_SETS = 4000
NUM_INPUTS, NUM_STRONG = 6, 3
NOISE_VAR = 0.3
RADIUS, BOUND = 0.9, 0.4


def checks() -> list[Check]:
    """The rows of `theory_zoo.misfit`."""
    return [*_population(*_problems()), *_convex(_problems()[0]), *_samples(*_problems())]


def _problems() -> tuple[LinearClass, LinearClass]:
    """A target in the class and one out of it, of correlated inputs."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(NUM_INPUTS, NUM_INPUTS)) / np.sqrt(NUM_INPUTS)
    cov = root @ root.T + 0.3 * np.eye(NUM_INPUTS)
    strong = rng.normal(size=(NUM_STRONG, NUM_INPUTS))
    strong = np.linalg.inv(np.linalg.cholesky(strong @ cov @ strong.T)) @ strong  # uncorrelated, as a box asks for
    inside = strong.T @ np.array([0.3, -0.2, 0.1])
    weak = inside + 0.4 * strong.T @ np.array([1.0, -1.0, 1.0]) + 0.7 * rng.normal(size=NUM_INPUTS)
    outside = inside + 0.15 * rng.normal(size=NUM_INPUTS)
    realizable = LinearClass(*(jnp.asarray(x) for x in (strong, weak, inside, cov)))
    return realizable, realizable._replace(target_coef=jnp.asarray(outside))


def _arrays(problem: LinearClass):
    """Strong map, teacher and target as functions of standard normal inputs, and the root of the covariance."""
    root = np.linalg.cholesky(np.asarray(problem.input_cov))
    return (np.asarray(x) @ root for x in (problem.strong_map, problem.weak_coef, problem.target_coef))


def _fitted(problem: LinearClass, teacher: np.ndarray) -> np.ndarray:
    strong = next(iter(_arrays(problem)))
    return np.linalg.lstsq(strong.T, teacher, rcond=None)[0] @ strong


def _mean_square(gap):
    return lambda key: (normals(key, ROWS, NUM_INPUTS) @ gap) ** 2


def _gain(weak, student, target):
    """What the student gains on each input."""

    def sample(key):
        x = normals(key, ROWS, NUM_INPUTS)
        return (x @ (weak - target)) ** 2 - (x @ (student - target)) ** 2

    return sample


def _population(realizable: LinearClass, unrealizable: LinearClass) -> list[Check]:
    _, weak, inside = _arrays(realizable)
    _, _, outside = _arrays(unrealizable)
    student, nearest = (_fitted(realizable, function) for function in (weak, outside))
    where = f"k = {NUM_STRONG}, d = {NUM_INPUTS}"
    return [
        Check(
            f"misfit: gain of the population student, target in the class, {where}",
            ("projection_misfit",),
            lambda: misfit.projection_misfit(realizable),
            _gain(weak, student, inside),
        ),
        Check(
            f"misfit: gain of the population student, target out of the class, {where}",
            ("projection_misfit", "projection_overlap"),
            lambda: misfit.projection_misfit(unrealizable) - 2 * misfit.projection_overlap(unrealizable),
            _gain(weak, student, outside),
        ),
        Check(
            f"misfit: overlap of what the class cannot express of teacher and target, {where}",
            ("projection_overlap",),
            lambda: misfit.projection_overlap(unrealizable),
            lambda key: np.prod(
                normals(key, ROWS, NUM_INPUTS) @ np.stack([weak - student, outside - nearest], 1), axis=1
            ),
        ),
        Check(
            f"misfit: risk of the student that is fitted to the target, out of the class, {where}",
            ("projection_floor",),
            lambda: misfit.projection_floor(unrealizable),
            _mean_square(nearest - outside),
        ),
    ]


def _convex(problem: LinearClass) -> list[Check]:
    strong, weak, target = _arrays(problem)

    def in_ball(multiplier):
        system = np.concatenate([strong.T, np.sqrt(multiplier) * strong.T])
        return np.linalg.lstsq(system, np.concatenate([weak, np.zeros(NUM_INPUTS)]), rcond=None)[0] @ strong

    ball = in_ball(brentq(lambda m: np.linalg.norm(in_ball(m)) - RADIUS, 0.0, 1e3, xtol=1e-12))
    box = lsq_linear(strong.T, weak, (-BOUND, BOUND), tol=1e-12).x @ strong
    rows = []
    for name, form, predicted, student in (
        (f"ball {RADIUS}", "ball_projected_coef", lambda: misfit.ball_projected_coef(problem, RADIUS), ball),
        (f"box {BOUND}", "box_projected_coef", lambda: misfit.box_projected_coef(problem, BOUND), box),
    ):
        rows += [
            Check(
                f"misfit: mean square answer of the student in the {name}",
                (form,),
                lambda predicted=predicted: predicted() @ problem.input_cov @ predicted(),
                _mean_square(student),
            ),
            Check(
                f"misfit: gain beyond the misfit, student in the {name}, target in the class",
                (form, "convex_gain_slack"),
                lambda predicted=predicted: misfit.convex_gain_slack(problem, predicted()),
                lambda key, student=student: (
                    _gain(weak, student, target)(key) - _mean_square(weak - student)(key)  # on the same inputs
                ),
            ),
        ]
    return rows


def _samples(realizable: LinearClass, unrealizable: LinearClass) -> list[Check]:
    n, late, k = 12, 24, NUM_STRONG
    root = jnp.linalg.cholesky(realizable.input_cov)
    return [
        Check(
            f"misfit: risk of the student on n = {n} labels, noise-free teacher, target in the class, k = {k}",
            ("projected_risk", "projection_sample_risk"),
            lambda: misfit.projection_sample_risk(realizable, n),
            lambda key: _risks(realizable, _students(key, realizable, n, 0.0)[0]),
        ),
        Check(
            f"misfit: risk of the student on n = {n} labels, noise {NOISE_VAR}, target out of the class, k = {k}",
            ("projected_risk", "projection_sample_risk"),
            lambda: misfit.projection_sample_risk(unrealizable, n, NOISE_VAR),
            lambda key: _risks(unrealizable, _students(key, unrealizable, n, NOISE_VAR)[0]),
        ),
        Check(
            f"misfit: variance of that risk over samples, n = {late}",
            ("projection_sample_variance",),
            lambda: misfit.projection_sample_variance(unrealizable, late, NOISE_VAR),
            lambda key: _powers(_risks(unrealizable, _students(key, unrealizable, late, NOISE_VAR)[0])),
            reduce=lambda mean: mean[1] - mean[0] ** 2,
        ),
        Check(
            f"misfit: misfit of the student on n = {n} labels, noise {NOISE_VAR}, fresh inputs, by the kernel",
            ("projection_sample_misfit", "misfit"),
            lambda: misfit.projection_sample_misfit(unrealizable, n, NOISE_VAR),
            lambda key: np.asarray(
                w2s_jax.misfit(
                    jnp.asarray(_students(key, unrealizable, n, NOISE_VAR)[0]) @ root, unrealizable.weak_coef @ root
                )
            ),
        ),
        Check(
            f"misfit: mean squared residual on the n = {n} labels, noise {NOISE_VAR}",
            ("projection_training_misfit",),
            lambda: misfit.projection_training_misfit(unrealizable, n, NOISE_VAR),
            lambda key: _students(key, unrealizable, n, NOISE_VAR)[1],
        ),
        Check(
            "misfit: labels at which the mean gain turns positive, between two sample sizes, out of the class",
            ("projection_breakeven",),
            lambda: misfit.projection_breakeven(unrealizable, NOISE_VAR),
            lambda key: _gains(key, unrealizable, (n, late)),
            reduce=lambda gains: _crossing((n, late), gains),
        ),
    ]


def _risks(problem: LinearClass, coefs: np.ndarray) -> np.ndarray:
    gap = coefs - np.asarray(problem.target_coef)
    return np.einsum("ri,ij,rj->r", gap, np.asarray(problem.input_cov), gap)


def _powers(risks: np.ndarray) -> np.ndarray:
    return np.stack([risks, risks**2], 1)


def _gains(key, problem: LinearClass, sizes) -> np.ndarray:
    weak = _risks(problem, np.asarray(problem.weak_coef)[None])
    fits = [_students(stream(key, str(n)), problem, n, NOISE_VAR)[0] for n in sizes]
    return np.stack([weak - _risks(problem, coefs) for coefs in fits], 1)


def _crossing(sizes, gains: np.ndarray) -> float:
    """Where the gain is 0, which is linear in 1/(n - k - 1)."""
    low, high = (1 / (n - NUM_STRONG - 1) for n in sizes)
    return NUM_STRONG + 1 + 1 / (low + (high - low) * gains[0] / (gains[0] - gains[1]))


def _students(key, problem, n, noise_var):
    """Students fitted on n labels of the teacher `[r d]`, and their mean squared residuals `[r]`."""
    strong, weak, _ = _arrays(problem)
    drawn = normals(key, DATA_SETS, n * (NUM_INPUTS + 1)).reshape(DATA_SETS, n, NUM_INPUTS + 1)
    x, noise = drawn[..., :NUM_INPUTS], drawn[..., NUM_INPUTS]
    labels, seen = x @ weak + np.sqrt(noise_var) * noise, x @ strong.T
    weights = fits(seen, labels)
    residuals = labels - (seen @ weights[..., None])[..., 0]
    return weights @ np.asarray(problem.strong_map), np.mean(residuals**2, 1)
