"""Finite samples (3.3, 3.4): risks of simulated fits.

Some rows are a task of one term only: there every constant of a formula moves the prediction.
"""

import numpy as np

from sims.checks.check import Check
from sims.checks.draws import (
    changed,
    data_sets,
    fits,
    generator,
    mixing,
    naive_fits,
    normals,
    risks_of,
    solve,
    source_coef,
    target_coef,
    turned_task,
    two_concepts,
    weak_coef,
)
from w2s_jax import theory
from w2s_jax.types import Key, Task

CELL = {"num_concepts": 3, "weak_accuracy": 0.7, "concept_shift": 0.5}
OVER, UNDER = (24, 6, 6000), (5, 20, 4000)
"""(n, d, data sets in a batch) over and under d."""
WIDE = 96
"""The dimension at which the proportional limit is read: what is left of O(1/d) is a fraction of the standard error."""


def checks() -> list[Check]:
    """The rows of `theory.finite_sample`."""
    return [*_least_squares(), *_terms(), *_refined(), *_partly_true(), *_ridge(), *_ridge_corrections()]


def _least_squares() -> list[Check]:
    """Whole tasks, by the kernels."""
    over, under = turned_task(0.5, dim=6, **CELL), turned_task(1.5, dim=20, **CELL)
    cells = [
        ("rotated", over, OVER),
        ("opposed", turned_task(2.0, dim=6, weakness="opposed", **CELL), OVER),
        ("mixture teacher", mixing(over, 0.5, 0.3, 0.2), OVER),
        ("rotated", under, UNDER),
        ("mixture teacher", mixing(under, 0.5, 0.3, 0.2), UNDER),
    ]
    return [
        Check(
            f"least squares, {name}, a = 0.7, n = {n}, d = {d}, s = {float(task.feature_var[0])}",
            ("least_squares_risk",),
            lambda task=task, n=n: theory.least_squares_risk(task, n),
            lambda key, task=task, n=n, count=count: risks_of(task, naive_fits(key, task, n, 0.0, count)),
        )
        for name, task, (n, d, count) in cells
    ]


def _terms() -> list[Check]:
    """One term of the exact risk at a time, by hand: d = 1 over n, and n = 1 under d.

    Given features x and noise of unit variance, the error of a slope is sum x e/sum x^2, and that of the interpolator
    of one label e x/|x|^2; chance in the labels is averaged exactly, which leaves that in the features.
    """

    cells = [
        ("label noise", _single_term(1, 1.0, 0.0), 9, 1, through_slope, 8.0),
        ("spread of the teacher", _single_term(1, 0.0, 1.0), 6, 1, spread_through_slope, 8.0),
        ("label noise", _single_term(10, 1.0, 0.0), 1, 10, through_slope, 10.0),
        ("spread of the teacher", _single_term(10, 0.0, 1.0), 1, 10, _spread_through_label, 6.0),
    ]
    return [
        Check(
            f"least squares, {name} alone, n = {n}, d = {d}, given the features",
            ("least_squares_risk",),
            lambda task=task, n=n: theory.least_squares_risk(task, n),
            lambda key, size=n * d, risk=risk: risk(normals(key, 100_000, size) ** 2),
            sharpen=sharpen,
        )
        for name, task, n, d, risk, sharpen in cells
    ]


def through_slope(squares: np.ndarray) -> np.ndarray:
    """Mean squared error of sum x e/sum x^2 given x^2 `[r n]`, for e of variance 1."""
    return 1 / squares.sum(1)


def spread_through_slope(squares: np.ndarray) -> np.ndarray:
    """The same for e = +-x."""
    return (squares**2).sum(1) / squares.sum(1) ** 2


def _spread_through_label(squares: np.ndarray) -> np.ndarray:
    """Mean square of e x/|x|^2 for e = +-x_1."""
    return squares[:, 0] / squares.sum(1)


def _single_term(dim: int, noise_var: float, spread: float) -> Task:
    """Source, target and mean teacher at the origin; the teacher shows +-sqrt(spread) e_1 with equal chance."""
    shown = np.zeros((2, dim))
    shown[:, 0] = np.sqrt(spread) * np.array([1.0, -1.0])
    return changed(
        two_concepts(1.0, 0.0, 1.0),
        concepts=np.zeros((2, dim)),
        weak_concepts=shown,
        weak_prior=[0.5, 0.5],
        weak_noise_var=noise_var,
        feature_var=np.ones(dim),
    )


def _partly_true() -> list[Check]:
    """Weak labels of which some are true; without noise a small sample shows every constant of the bias."""
    task = turned_task(0.5, dim=6, **CELL)
    quiet = turned_task(1.0, **CELL | {"num_concepts": 2}, dim=3, noise_var=0.0)
    cells = [
        ("9 of 24", task, 24, 9, 6000, 1.0),
        ("200 of 400", turned_task(1.0, dim=6, weakness="opposed", **CELL), 400, 200, 500, 1.0),
        ("6 of 7, no noise", quiet, 7, 6, 40_000, 16.0),
    ]
    return [
        Check(
            f"least squares, labels true for {name}, d = {task.feature_var.shape[0]}",
            ("mixed_labels_risk",),
            lambda task=task, n=n, true=true: theory.mixed_labels_risk(task, n, true),
            lambda key, task=task, n=n, true=true, count=count: _partly_true_risks(key, task, n, true, count),
            sharpen=sharpen,
        )
        for name, task, n, true, count, sharpen in cells
    ]


def _partly_true_risks(key: Key, task: Task, num_samples: int, num_true: int, count: int) -> np.ndarray:
    rng, scale = generator(key), np.sqrt(np.asarray(task.feature_var))
    rows = rng.standard_normal((count, num_samples, len(scale))) * scale
    weak = np.arange(num_samples) >= num_true
    noise = np.where(weak, float(task.weak_noise_var), float(task.noise_var)) ** 0.5
    labels = np.where(weak, rows @ weak_coef(task), rows @ target_coef(task))
    return risks_of(task, fits(rows, labels + noise * rng.standard_normal((count, num_samples))))


def _refined() -> list[Check]:
    """Labels refined with a posterior that is given, so that its misalignment and spread are known.

    They are those of a teacher who shows each concept as often as the posterior says.
    """
    w = np.array([0.6, 0.3, 0.1])
    distance, spread = float(np.sum((w - np.eye(3)[0]) ** 2)), float(1 - w @ w)
    rows = []
    for name, noise, (n, d, count) in (
        ("refined labels, posterior 0.6, 0.3, 0.1", {}, OVER),
        ("refined labels, posterior 0.6, 0.3, 0.1", {}, UNDER),
        # Posteriors of 0 or 1 drawn for each label have mean w and tr Cov w = 1 - ||E w||^2.
        ("posterior-mean labels, fresh posteriors", {"noise_var": 0.0}, OVER),
    ):
        task = turned_task(0.5, dim=d, **CELL)
        refined = changed(task, weak_concepts=task.concepts, weak_prior=w, weak_noise_var=noise.get("noise_var", 0.25))
        rows.append(
            Check(
                f"least squares on {name}, n = {n}, d = {d}, s = 0.5",
                ("refined_risk",),
                lambda task=task, n=n, noise=noise: theory.refined_risk(task, n, distance, spread, **noise),
                lambda key, task=refined, n=n, count=count: risks_of(task, naive_fits(key, task, n, 0.0, count)),
            )
        )
    return rows


def _ridge() -> list[Check]:
    silent = {"noise_var": 0.0, "dim": WIDE}
    confused = two_concepts(0.5, 0.9, 0.05, "confused", dim=WIDE)  # its biases lie in one direction: c counts most
    cells = [
        ("all terms, confused, s = 0.5", changed(confused, feature_var=np.full(WIDE, 0.5)), 144, 0.4, 3),
        ("mixture teacher", mixing(two_concepts(1.0, 0.5, **silent), 0.5, 0.5), 144, 0.3, 1),
        ("label noise alone", two_concepts(1.0, 0.0, 1.0, dim=WIDE), 48, 1.0, 2),
        ("label noise alone", two_concepts(1.0, 0.0, 1.0, dim=WIDE), 144, 0.1, 2),
        ("source bias alone", two_concepts(1.0, 0.5, **silent), 144, 1.5, 2),
        ("weak bias alone", two_concepts(0.5, 0.0, **silent), 144, 0.5, 2),
    ]
    return [
        Check(
            f"ridge in the proportional limit, {name}, n = {n}, d = {WIDE}, penalty {penalty}, to 0.3%",
            ("ridge_risk",),
            lambda task=task, n=n, penalty=penalty: theory.ridge_risk(task, n, penalty),
            lambda key, task=task, n=n, penalty=penalty: risks_of(
                task, source_coef(task) + _ridge_steps(key, task, n, penalty, 200)
            ),
            sharpen=sharpen,
            allowance=0.003,
        )
        for name, task, n, penalty, sharpen in cells
    ]


def _ridge_steps(key, task, n, penalty, count):
    """Naive fine-tuning by a dense solve, which is faster than eigenvectors at a single penalty."""
    phi, labels = data_sets(key, task, n, count)
    transposed = phi.transpose(0, 2, 1)
    cross = transposed @ (labels - phi @ source_coef(task))[..., None]
    return solve(transposed @ phi / n + penalty * np.eye(phi.shape[2]), cross[..., 0] / n)


def _ridge_corrections() -> list[Check]:
    """The next term in 1/n, of tasks of one term only, and of one in which all cancel; given the features."""
    n, dim = 48, 32
    silent = {"noise_var": 0.0, "dim": dim}
    far = changed(two_concepts(0.5, 0.0, **silent), feature_var=np.full(dim, 0.5))
    same = two_concepts(1.0, 0.5, **silent)  # teacher and source err alike, so that no penalty matters
    same = changed(same, weak_concepts=np.stack([source_coef(same), np.eye(2, dim)[1]]))
    cells = [
        ("label noise alone", two_concepts(1.0, 0.0, 1.0, dim=dim), 1.0, 9e-4),
        ("source bias alone", two_concepts(1.0, 0.5, **silent), 1.0, 1.6e-3),
        ("weak bias alone, s = 0.5", far, 0.5, 3.2e-4),
        ("teacher and source alike", same, 0.5, 1e-3),
    ]
    return [
        Check(
            f"ridge with its next term in 1/n, {name}, n = {n}, d = {dim}, penalty {penalty}, to 3% of that term",
            ("ridge_risk", "ridge_risk_correction"),
            lambda task=task, penalty=penalty: (
                theory.ridge_risk(task, n, penalty) + theory.ridge_risk_correction(task, n, penalty)
            ),
            lambda key, task=task, penalty=penalty: _rotated_risks(task, normals(key, 5000, n * dim), n, penalty),
            scale=scale,
            sharpen=1.6,
            allowance=0.03,
        )
        for name, task, penalty, scale in cells
    ]


def _rotated_risks(task: Task, features: np.ndarray, n: int, penalty: float) -> np.ndarray:
    """Mean risk of naive fine-tuning over label noise and rotations, given unit gaussian features `[r n*d]`: exactly.

    Less its regression on the first two moments of the spectrum, whose means are known: they carry most of its chance.
    """
    scale, dim = float(task.feature_var[0]), task.feature_var.shape[0]
    features = features.reshape(len(features), n, dim)
    unit = np.linalg.eigvalsh(np.swapaxes(features, 1, 2) @ features / n)
    spectrum = scale * unit
    share = spectrum / (spectrum + penalty)
    weak, source = (coef - np.asarray(task.concepts)[0] for coef in (np.asarray(task.weak_coef), source_coef(task)))
    bias = weak @ weak * share**2 + 2 * weak @ source * share * (1 - share) + source @ source * (1 - share) ** 2
    risk = (scale * bias + float(task.weak_noise_var) / n * dim * scale * share / (spectrum + penalty)).mean(1)
    known = np.stack([unit.mean(1) - 1, (unit**2).mean(1) - 1 - (dim + 1) / n], 1)
    slopes = np.linalg.lstsq(known - known.mean(0), risk - risk.mean(), rcond=None)[0]
    return risk - known @ slopes
