"""Scaling laws (Wu et al.): teachers and students of random-feature ridge fitted to draws, and slopes between sizes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sims.checks.check import Check
from sims.checks.draws import shared_program
from w2s_jax import theory_zoo
from w2s_jax.rng import stream
from w2s_jax.theory_zoo import FeatureRidge, Schedule

COUNT = 200
ALLOWANCE = 0.03
"""What is left of O(1/n) and O(1/p) at these sizes is 1% to 2.5%, the most where a width is 48."""


class Setting(NamedTuple):
    """A teacher, its student and what they learn."""

    capacity: float
    source: float
    dim: int
    noise_var: float
    teacher: FeatureRidge
    student: FeatureRidge

    def __str__(self) -> str:
        """The numbers of a claim."""
        sizes = ", ".join(f"n = {one.num_samples}, p = {one.width}" for one in (self.teacher, self.student))
        return f"alpha = {self.capacity}, r = {self.source}: {sizes}"


WIDE = Setting(1.5, 0.5, 240, 0.1, FeatureRidge(60, 1e-3, 90), FeatureRidge(100, 1e-2, 150))
NARROW = Setting(1.25, 0.8, 240, 0.3, FeatureRidge(100, 1e-3, 48), FeatureRidge(80, 2e-2, 160))
WITHOUT_WIDTH = Setting(2.0, 0.4, 160, 0.05, FeatureRidge(60, 1e-4), FeatureRidge(120, 5e-2, 60))
CAPACITY, SOURCE, DIM, NOISE_VAR, SIZES = 2.0, 0.75, 160, 0.01, (48, 192)
"""Where powers hold at sizes that can be drawn: slopes of the equivalents miss the exponents by 1% and 2%."""


def checks() -> list[Check]:
    """The rows of `theory_zoo.feature_ridge` and `theory_zoo.scaling_laws`."""
    return [*_risks(), _penalty(), *_exponents()]


def _risks() -> list[Check]:
    rows = []
    for setting in (WIDE, NARROW, WITHOUT_WIDTH):
        given = setting.noise_var, setting.teacher
        rows += [
            Check(
                f"random-feature ridge, teacher, {setting}, to 3%",
                ("power_law_spectrum", "feature_ridge_risk"),
                lambda setting=setting, given=given: theory_zoo.feature_ridge_risk(*_spectrum(setting), *given),
                lambda key, setting=setting: _pair(key, setting)[:, 0],
                allowance=ALLOWANCE,
                sharpen=2,
            ),
            Check(
                f"random-feature ridge, student, {setting}, to 3%",
                ("power_law_spectrum", "feature_ridge_student_risk"),
                lambda setting=setting, given=given: theory_zoo.feature_ridge_student_risk(
                    *_spectrum(setting), *given, setting.student
                ),
                lambda key, setting=setting: _pair(key, setting)[:, 1],
                allowance=ALLOWANCE,
                sharpen=2,
            ),
        ]
    return rows


def _penalty() -> Check:
    """lambda (1 - s)/s of the share s of a direction that a fit learns of it."""
    direction = 5
    size = (direction + 1.0) ** -WIDE.capacity
    return Check(
        f"random-feature ridge, the one penalty that samples, width and penalty act as, {WIDE}, to 3%",
        ("feature_ridge_penalty",),
        lambda: theory_zoo.feature_ridge_penalty(_spectrum(WIDE)[0], WIDE.teacher),
        lambda key: _shares(key, direction),
        reduce=lambda mean: size * (1 - mean[0]) / mean[0],
        allowance=ALLOWANCE,
        sharpen=2,
    )


def _exponents() -> list[Check]:
    where = f"alpha = {CAPACITY}, r = {SOURCE}, penalty 1.1 N^-0.5, N = {SIZES[0]} to {SIZES[1]}, to 2%"
    schedule = Schedule(penalty=0.5)
    target = CAPACITY, SOURCE
    return [
        Check(
            f"random-feature ridge, exponent of the teacher, {where}",
            ("feature_ridge_exponent",),
            lambda: theory_zoo.feature_ridge_exponent(*target, schedule),
            functools.partial(_grown, penalties=(0.5,)),
            reduce=_slope,
            allowance=0.02,
            sharpen=1.5,
        ),
        Check(
            f"random-feature ridge, exponent of the student of a teacher of penalty N^-2, {where}",
            ("feature_ridge_student_exponent",),
            lambda: theory_zoo.feature_ridge_student_exponent(*target, Schedule(penalty=2.0), schedule),
            functools.partial(_grown, penalties=(2.0, 0.5)),
            reduce=_slope,
            allowance=0.02,
            sharpen=1.5,
        ),
    ]


def _spectrum(setting: Setting):
    return theory_zoo.power_law_spectrum(setting.capacity, setting.source, setting.dim)


# --- Fits to draws, of spectra written out here -----------------------------------------------------------------------


def _powers(capacity: float, source: float, dim: int) -> tuple[np.ndarray, np.ndarray]:
    index = np.arange(1.0, dim + 1)
    return index**-capacity, index ** -(0.5 + capacity * source)


@shared_program("num_samples", "width")
def _fits(key, eigenvalues, labelled, noise_var, penalty, num_samples, width):
    """Ridge by its normal equations on the labels of functions `[r d]`, one draw each; without a width no features."""
    roots = jnp.diag(jnp.sqrt(eigenvalues))

    def one(key, labelled):
        inputs, noise, mixed = (
            jax.random.normal(stream(key, name), (rows, columns))
            for name, rows, columns in (
                ("inputs", num_samples, len(labelled)),
                ("noise", num_samples, 1),
                ("features", width or 1, len(labelled)),
            )
        )
        features = roots if width is None else mixed @ roots / jnp.sqrt(width)
        x, labels = inputs @ features.T, inputs @ labelled + jnp.sqrt(noise_var) * noise[:, 0]
        gram = x.T @ x / num_samples + penalty * jnp.eye(x.shape[1])
        return jnp.linalg.solve(gram, x.T @ labels / num_samples) @ features

    return jax.vmap(one)(jax.random.split(key, len(labelled)), labelled)


def _fit(key, learner: FeatureRidge, eigenvalues, labelled, noise_var) -> np.ndarray:
    """Fits of functions `[r d]`; of one function where it is `[d]`."""
    width = None if np.isinf(learner.width) else learner.width
    labelled = np.broadcast_to(labelled, (COUNT, len(eigenvalues)))
    return _fits(key, eigenvalues, labelled, noise_var, learner.penalty, learner.num_samples, width)


def _shares(key, direction: int) -> np.ndarray:
    """What a teacher makes of labels that are one eigenfeature, in that direction."""
    eigenvalues, _ = _powers(WIDE.capacity, WIDE.source, WIDE.dim)
    return _fit(key, WIDE.teacher, eigenvalues, np.eye(WIDE.dim)[direction], 0.0)[:, direction]


def _pair(key, setting: Setting) -> np.ndarray:
    """Risks of teachers and of their students `[r 2]`."""
    eigenvalues, target = _powers(setting.capacity, setting.source, setting.dim)
    first = _fit(stream(key, "teacher"), setting.teacher, eigenvalues, target, setting.noise_var)
    second = _fit(stream(key, "student"), setting.student, eigenvalues, first, 0.0)
    return np.stack([np.sum((fit - target) ** 2, 1) for fit in (first, second)], 1)


def _grown(key, penalties: tuple[float, ...]) -> np.ndarray:
    """Risks at both sizes `[r 2]` of the last of a chain of learners, whose penalties are these powers of N."""
    eigenvalues, target = _powers(CAPACITY, SOURCE, DIM)
    found = []
    for size in SIZES:
        fit, noise_var = target, NOISE_VAR
        for generation, power in enumerate(penalties):
            own = stream(key, f"{size} samples, generation {generation}")
            fit, noise_var = _fit(own, FeatureRidge(size, 1.1 * size**-power), eigenvalues, fit, noise_var), 0.0
        found.append(np.sum((fit - target) ** 2, 1))
    return np.stack(found, 1)


def _slope(mean: np.ndarray) -> float:
    """Exponent of a power through two means."""
    return np.log(mean[0] / mean[1]) / np.log(SIZES[1] / SIZES[0])
