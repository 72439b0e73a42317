"""Students that know the concepts (3.5, 3.8): least squares over their hull and over their span."""

import jax
import numpy as np

from sims.checks.check import Check
from sims.checks.draws import (
    changed,
    data_sets,
    features,
    fits,
    mixing,
    mixture_task,
    normals,
    population_moments,
    risks_of,
    shared_program,
    turned_task,
    two_concepts,
    weak_coef,
    weak_moments,
)
from sims.checks.finite_sample import spread_through_slope, through_slope
from sims.checks.population import ROWS, squared_errors, squares
from w2s_jax import theory
from w2s_jax.hull import hull_least_squares
from w2s_jax.types import Key, Task


def checks() -> list[Check]:
    """The rows of `theory.hull` and `theory.span`."""
    return [*_dimensions(), *_hull_population(), *_hull_risks(), *_span_population(), *_span_risks()]


def _dimensions() -> list[Check]:
    return [
        Check(
            f"statistical dimension of the hull at a vertex, K = {k}",
            ("hull_statistical_dimension",),
            lambda k=k: theory.hull_statistical_dimension(k),
            lambda key, k=k: _least_distance(key, k, 20_000),
            sharpen=6 if k == 3 else 2,
        )
        for k in (2, 3, 4, 8, 16, 64)
    ]


def _least_distance(key: Key, num_concepts: int, count: int) -> np.ndarray:
    """min over tau of (g_1 - tau)^2 + sum_{j>1} max(g_j - tau, 0)^2.

    At the minimum tau is the mean of g_1 and the g_j above it: the largest mean of g_1 with the m greatest others.
    """
    g = normals(key, count, num_concepts)
    others = -np.sort(-g[:, 1:], axis=1)
    ordered = np.concatenate([g[:, :1], others], 1)
    tau = np.max(np.cumsum(ordered, 1) / np.arange(1, num_concepts + 1), 1, keepdims=True)
    return (g[:, 0] - tau[:, 0]) ** 2 + (np.maximum(others - tau, 0) ** 2).sum(1)


def _hull_population() -> list[Check]:
    cell = {"num_concepts": 4, "dim": 6, "concept_shift": 0.5}
    cells = [
        ("rotated, a = 0.6", turned_task(0.7, weak_accuracy=0.6, **cell)),
        ("confused, a = 0.8", turned_task(0.7, weak_accuracy=0.8, weakness="confused", **cell)),
        ("opposed, a = 0.5", turned_task(0.7, weak_accuracy=0.5, weakness="opposed", **cell)),
    ]
    rows = []
    for name, task in cells:
        coef = _hull_coef(task)
        where = f"{name}, K = 4, d = 6, s = 0.7"
        if not name.startswith("opposed"):
            rows += [
                Check(
                    f"bias of the hull, {where}",
                    ("hull_bias",),
                    lambda task=task: theory.hull_bias(task),
                    squared_errors(task, coef),
                ),
                Check(
                    f"weight of a rival in the hull, {where}",
                    ("hull_weights",),
                    lambda task=task: theory.hull_weights(task)[1],
                    _coordinates(task, coef, 1),
                    scale=0.1,
                ),
            ]
        rows.append(
            Check(
                f"misfit of the hull, {where}",
                ("hull_misfit",),
                lambda task=task: theory.hull_misfit(task),
                squares(task, coef - weak_coef(task)),
            )
        )
    return rows


def _hull_coef(task: Task) -> np.ndarray:
    return _hull_weights(population_moments(task), task.concepts) @ np.asarray(task.concepts)


@shared_program()
def _hull_weights(moments, concepts):
    return hull_least_squares(moments, concepts)


def _coordinates(task: Task, coef: np.ndarray, concept: int):
    """(b . phi)(beta_k . phi)/s, whose mean is the weight of concept k."""
    directions = np.stack([coef, np.asarray(task.concepts)[concept]], 1)
    return lambda key: np.prod(features(key, task, ROWS) @ directions, axis=1) / float(task.feature_var[0])


def _hull_risks() -> list[Check]:
    cell = {"num_concepts": 3, "dim": 4, "concept_shift": 0.5}
    rotated = turned_task(0.5, weak_accuracy=0.7, **cell)
    inside = changed(rotated, target_prior=[0.8, 0.1, 0.1])  # the hull's own solution: no bias is left
    perfect = turned_task(2.0, weak_accuracy=1.0, **cell)
    mixed = changed(mixture_task(turned_task(1.0, weak_accuracy=1.0, **cell), 0.5, 0.3, 0.2), weak_noise_var=0.05)
    # Between two concepts the estimate is a slope; with a teacher that rarely errs, it never leaves the segment.
    middle = changed(two_concepts(1.0, 0.5), target_prior=[0.5, 0.5], weak_prior=[0.5, 0.5])
    half = 0.5 * np.array([[1.0, 1.0, 0.0]])
    to_and_fro = half + 1e-4 * np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]) / np.sqrt(2)
    noisy = changed(middle, weak_concepts=np.concatenate([half, half]), weak_noise_var=1e-8)
    torn = changed(middle, weak_concepts=to_and_fro, weak_noise_var=0.0)
    terms = [
        Check(
            f"least squares over the hull of two concepts, {name} alone, n = {n}, given the features",
            ("hull_risk",),
            lambda task=task, n=n: theory.hull_risk(task, n),
            lambda key, n=n, risk=risk: 1e-8 * risk(normals(key, 100_000, n) ** 2),
            sharpen=8,
        )
        for name, task, n, risk in (
            ("label noise", noisy, 9, through_slope),
            ("spread of the teacher", torn, 6, spread_through_slope),
        )
    ]
    return terms + [
        Check(
            f"least squares over the hull, {name}, K = 3, n = {n}, to 0.3%",
            ("hull_risk",),
            lambda task=task, n=n: theory.hull_risk(task, n),
            lambda key, task=task, n=n: risks_of(task, _fitted_hulls(weak_moments(key, task, n, 4000), task.concepts)),
            allowance=0.003,
        )
        for name, task, n in (
            ("rotated, a = 0.7", rotated, 1000),
            ("truth inside, rotated teacher", inside, 4000),
            ("truth inside, mixture teacher", mixed, 4000),
            ("truth at a vertex, perfect teacher", perfect, 4000),
        )
    ]


@shared_program()
def _fitted_hulls(drawn, concepts):
    """Coefficients over the hull `[r d]`."""
    return jax.vmap(lambda one: hull_least_squares(one, concepts))(drawn) @ concepts


def _span_population() -> list[Check]:
    task = _skewed(turned_task(0.7, num_concepts=3, dim=6, weak_accuracy=0.6, concept_shift=0.5))
    coef = _span_coef(task)
    where = "rotated, a = 0.6, K = 3, skewed concepts, s = 0.7"
    return [
        Check(f"bias of the span, {where}", ("span_bias",), lambda: theory.span_bias(task), squared_errors(task, coef)),
        Check(
            f"misfit of the span, {where}",
            ("span_misfit",),
            lambda: theory.span_misfit(task),
            squares(task, coef - weak_coef(task)),
        ),
    ]


def _skewed(task: Task) -> Task:
    """The same teacher, of concepts that are neither orthogonal nor of unit length."""
    mix = np.array([[1.0, 0.2, 0.0], [0.3, 0.9, 0.1], [-0.2, 0.1, 1.2]])
    return changed(task, concepts=mix @ np.asarray(task.concepts))


def _span_coef(task: Task) -> np.ndarray:
    """The projection of the teacher on the span: a least-squares problem in the coefficients of the concepts."""
    concepts = np.asarray(task.concepts)
    return np.linalg.lstsq(concepts.T, weak_coef(task), rcond=None)[0] @ concepts


def _span_risks() -> list[Check]:
    task = _skewed(turned_task(0.7, num_concepts=3, dim=6, weak_accuracy=0.6, concept_shift=0.5))
    rows = [
        Check(
            f"least squares over the span, {name}, K = 3, d = 6, n = 16, s = 0.7",
            ("span_risk",),
            lambda task=task: theory.span_risk(task, 16),
            lambda key, task=task: risks_of(task, _fitted_spans(key, task, 16, 6000)),
        )
        for name, task in (("rotated, a = 0.6", task), ("mixture teacher", mixing(task, 0.5, 0.3, 0.2)))
    ]
    # One term at a time, chance in the labels averaged exactly; in two dimensions, a teacher of concepts e_1 and -e_1.
    flat = changed(two_concepts(1.0, 0.0, 1.0), concepts=np.eye(2), weak_concepts=np.eye(2), feature_var=np.ones(2))
    shown = np.array([[1.0, 0.0], [-1.0, 0.0]])
    torn = changed(mixing(flat, 0.5, 0.5), weak_concepts=shown, weak_noise_var=0.0, target_prior=np.zeros(2))
    rows += [
        Check(
            "least squares over the span, label noise alone, K = 2, n = 9, given the features",
            ("span_risk",),
            lambda: theory.span_risk(flat, 9),
            lambda key: np.trace(np.linalg.inv(_grams(key, 9)[0]), axis1=1, axis2=2),
            sharpen=8,
        ),
        Check(
            "least squares over the span, spread of the teacher alone, K = 2, n = 8, given the features",
            ("span_risk",),
            lambda: theory.span_risk(torn, 8),
            lambda key: _spread_through(*_grams(key, 8)),
            sharpen=8,
        ),
    ]
    return rows


def _fitted_spans(key, task, n, count):
    """Coefficients over the span `[r d]`: least squares on the K coordinates that the concepts read."""
    phi, labels = data_sets(key, task, n, count)
    concepts = np.asarray(task.concepts)
    return fits(phi @ concepts.T, labels) @ concepts


def _grams(key: Key, n: int):
    """Phi'Phi in two dimensions, and Phi' diag(phi_i1^2) Phi, of many data sets."""
    phi = normals(key, 50_000, 2 * n).reshape(-1, n, 2)
    return np.einsum("rni,rnj->rij", phi, phi), np.einsum("rni,rn,rnj->rij", phi, phi[:, :, 0] ** 2, phi)


def _spread_through(gram: np.ndarray, noise: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(gram)
    return np.einsum("rij,rjk,rki->r", inverse, noise, inverse)
