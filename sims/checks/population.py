"""Infinite data (3.1, 3.2): squared errors averaged over sampled features."""

import jax
import numpy as np

from sims.checks.check import Check
from sims.checks.draws import (
    changed,
    features,
    population_moments,
    shared_program,
    source_coef,
    target_coef,
    turned_task,
    weak_coef,
)
from w2s_jax import theory
from w2s_jax.estimators import gradient_flow, ridge_to_source
from w2s_jax.sampling import FeatureLaw
from w2s_jax.types import Task

ROWS = 40_000
PENALTIES = 41


def checks() -> list[Check]:
    """The rows of `theory.population`."""
    cell = {"num_concepts": 3, "dim": 6, "weak_accuracy": 0.6, "concept_shift": 0.5}
    rotated = turned_task(0.7, **cell)
    shifted = turned_task(0.7, weakness="shifted", **cell)
    opposed = turned_task(0.7, weakness="opposed", **cell | {"weak_accuracy": 0.7})
    uneven = turned_task(np.linspace(0.2, 1.5, 6), **cell)
    perfect = turned_task(0.7, weakness="noisy", **cell)
    return [*_biases(rotated, shifted, opposed), *_paths(rotated, uneven, perfect), *_floors(rotated, opposed, cell)]


def _biases(rotated: Task, shifted: Task, opposed: Task) -> list[Check]:
    uniform = changed(shifted, feature_var=np.asarray(shifted.feature_var) / 3)
    where = "K = 3, d = 6"
    inner = ("bias_inner_product",)
    return [
        Check(
            f"b_P^2, {where}, shift 0.5, s = 0.7",
            ("source_bias",),
            lambda: theory.source_bias(rotated),
            squared_errors(rotated, source_coef(rotated)),
        ),
        Check(
            f"b_w^2, rotated, {where}, a = 0.6, s = 0.7",
            ("weak_bias",),
            lambda: theory.weak_bias(rotated),
            squared_errors(rotated, weak_coef(rotated)),
        ),
        Check(
            f"b_w^2, shifted, {where}, a = 0.6, uniform features",
            ("weak_bias",),
            lambda: theory.weak_bias(uniform),
            squared_errors(shifted, weak_coef(shifted), "uniform"),
        ),
        Check(
            f"c, rotated, {where}, a = 0.6, shift 0.5, s = 0.7",
            inner,
            lambda: theory.bias_inner_product(rotated),
            _products(rotated),
        ),
        Check(
            f"c < 0, opposed, {where}, a = 0.7, shift 0.5, s = 0.7",
            inner,
            lambda: theory.bias_inner_product(opposed),
            _products(opposed),
        ),
        Check(
            f"c = 0, shifted, {where}, a = 0.6, shift 0.5, on the scale 0.2",
            inner,
            lambda: theory.bias_inner_product(shifted),
            _products(shifted),
            scale=0.2,
        ),
    ]


def _paths(isotropic: Task, uneven: Task, perfect: Task) -> list[Check]:
    return [
        Check(
            f"population risk of {name} {parameter}, K = 3, d = 6, {law} features",
            (form,),
            lambda task=task, form=form, parameter=parameter: getattr(theory, form)(task, parameter),
            squared_errors(task, path(task, np.array([parameter]))[0]),
        )
        for form, name, path, cells in (
            ("population_ridge_risk", "naive fine-tuning, penalty", ridge_path, ((isotropic, 0.6), (uneven, 0.3))),
            ("population_flow_risk", "gradient flow, time", flow_path, ((perfect, 0.7), (uneven, 0.2))),
        )
        for law, (task, parameter) in zip(("isotropic", "anisotropic"), cells)
    ]


def _floors(rotated: Task, opposed: Task, cell: dict) -> list[Check]:
    near_source = turned_task(1.0, **cell | {"weak_accuracy": 0.5, "concept_shift": 0.1})
    grid, wide = np.geomspace(0.05, 20.0, PENALTIES), np.geomspace(0.01, 1e8, PENALTIES)
    floor = ("population_ridge_floor",)
    return [
        *(
            Check(
                f"least risk of {PENALTIES} penalties, {name}, K = 3, d = 6, shift 0.5, s = 0.7",
                floor,
                lambda task=task: theory.population_ridge_floor(task),
                _path_errors(task, grid),
                reduce=lambda risks: lowest(np.log(grid), risks)[1],
            )
            for name, task in (("rotated, a = 0.6", rotated), ("opposed (c < 0), a = 0.7", opposed))
        ),
        Check(
            f"least risk of {PENALTIES} penalties at their end (c > b_P^2), rotated, a = 0.5, shift 0.1",
            floor,
            lambda: theory.population_ridge_floor(near_source),
            _path_errors(near_source, wide),
            reduce=np.min,
        ),
        Check(
            f"best of {PENALTIES} penalties, rotated, a = 0.6, K = 3, d = 6, shift 0.5, s = 0.7",
            ("population_best_penalty",),
            lambda: theory.population_best_penalty(rotated),
            _path_errors(rotated, grid),
            reduce=lambda risks: np.exp(lowest(np.log(grid), risks)[0]),
        ),
    ]


def squared_errors(task: Task, coef: np.ndarray, law: FeatureLaw = "gaussian"):
    """(phi . (b - beta_Q))^2, whose mean is the risk of b."""
    return squares(task, coef - target_coef(task), law)


def squares(task: Task, gap: np.ndarray, law: FeatureLaw = "gaussian"):
    """(phi . gap)^2 on sampled features."""
    return lambda key: (features(key, task, ROWS, law) @ gap) ** 2


def _products(task: Task):
    """The product of the errors of teacher and source."""
    gaps = np.stack([weak_coef(task) - target_coef(task), source_coef(task) - target_coef(task)], 1)
    return lambda key: np.prod(features(key, task, ROWS) @ gaps, axis=1)


def _path_errors(task: Task, grid: np.ndarray):
    """Squared errors of naive fine-tuning at every penalty of a grid, on the same features `[r p]`."""
    return squares(task, (ridge_path(task, grid) - target_coef(task)).T)


def ridge_path(task: Task, penalties: np.ndarray) -> np.ndarray:
    """Naive fine-tuning on infinitely many weak labels, at several penalties `[p d]`."""
    return _ridge_fits(population_moments(task), source_coef(task), penalties)


def flow_path(task: Task, times: np.ndarray) -> np.ndarray:
    """Gradient flow on infinitely many weak labels, at several times `[t d]`."""
    return _flow_fits(population_moments(task), source_coef(task), times)


@shared_program()
def _ridge_fits(moments, source, penalties):
    return jax.vmap(lambda eta: ridge_to_source(moments, source, eta))(penalties)


@shared_program()
def _flow_fits(moments, source, times):
    return jax.vmap(lambda t: gradient_flow(moments, source, t))(times)


def lowest(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Where a curve on a uniform grid is lowest, and how low: the vertex of a parabola through three points."""
    i = np.clip(np.argmin(y), 1, len(x) - 2)
    left, middle, right = y[i - 1 : i + 2]
    bend, slope = left - 2 * middle + right, (right - left) / 2
    return x[i] - (x[1] - x[0]) * slope / bend, middle - slope**2 / (2 * bend)
