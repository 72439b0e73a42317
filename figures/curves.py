"""Closed forms over many tasks at once, which the figures compare with the simulation."""

from collections.abc import Callable
from functools import cache

import jax
import numpy as np

from figures.data import in_batches
from w2s_jax import theory
from w2s_jax.theory.posterior import Prompts
from w2s_jax.types import Task


def evaluate(function: Callable, tasks: Task, *arguments) -> np.ndarray:
    """`function(task, *scalars)` for every task of a batch, compiled once.

    Args:
        function: a closed form of one task and scalars, with a scalar result.
        tasks: batched, `[*b]`.
        arguments: arrays that broadcast to `[*b]`.

    Returns:
        `[*b]`, float64.
    """
    shape = tasks.noise_var.shape
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(shape) :]), tasks)
    scalars = [np.broadcast_to(np.asarray(x, float), shape).ravel() for x in arguments]
    return in_batches(_compiled(function), flat, *scalars).astype(float).reshape(shape)


def perfect(tasks: Task) -> Task:
    """The same tasks with a teacher that is the target itself: least squares on its labels is the ceiling."""
    return tasks._replace(weak_concepts=tasks.concepts, weak_noise_var=tasks.noise_var)


def floor(tasks: Task) -> np.ndarray:
    """The floor of naive fine-tuning, `[*b]` (docs/theory.md 3.2)."""
    return evaluate(theory.population_ridge_floor, tasks)


def ridge(tasks: Task, sample_size, penalty) -> np.ndarray:
    """Risk of naive fine-tuning in the proportional limit, `[*b]` (3.3)."""
    return evaluate(theory.ridge_risk, tasks, sample_size, penalty)


def ridge_at_best(tasks: Task, sample_size, penalties) -> np.ndarray:
    """The least of it over these penalties, `[*b]`."""
    return np.min([ridge(tasks, sample_size, penalty) for penalty in penalties], axis=0)


def least_squares(tasks: Task, sample_size) -> np.ndarray:
    """Risk of least squares on a teacher's labels, exact at every sample size, `[*b]` (3.4)."""
    return evaluate(theory.least_squares_risk, tasks, sample_size)


def saturated(tasks: Task, sample_size, misalignment, spread) -> np.ndarray:
    """Risk of least squares on refined labels of known misalignment and spread, as from simulation, `[*b]` (3.4)."""
    return evaluate(theory.refined_risk, tasks, sample_size, misalignment, spread)


def refined(tasks: Task, sample_size, num_icl, prompts: Prompts) -> np.ndarray:
    """Risk of least squares on labels refined by a prompt of this length, `[*b]` (3.4 with the exact mean of 3.6).

    For rivals that are alike, to the source too.
    """
    fresh = misalignment(tasks, num_icl, "fresh", tasks.noise_var)
    shared = misalignment(tasks, num_icl, "shared", tasks.noise_var) if prompts == "shared" else fresh
    of_shared, of_fresh = theory.label_spread(shared, fresh, tasks.source_prior.shape[-1])
    known = (shared, of_shared) if prompts == "shared" else (fresh, of_fresh)
    return saturated(tasks, sample_size, *known)


def misalignment(tasks: Task, num_icl, prompts: Prompts, assumed_noise_var) -> np.ndarray:
    """Misalignment of the concept posterior, exact, `[*b]` (3.6); sampled to 0.3% where there is no closed form."""
    exact = evaluate(_misalignment(theory.misalignment, prompts), tasks, num_icl, assumed_noise_var)
    open_cells = np.isnan(exact)
    if open_cells.any():
        lengths, noise_var = (np.broadcast_to(x, exact.shape)[open_cells] for x in (num_icl, assumed_noise_var))
        some = jax.tree.map(lambda leaf: np.asarray(leaf)[open_cells], tasks)
        exact[open_cells] = theory.sampled_misalignment(some, lengths, prompts, assumed_noise_var=noise_var).value
    return exact


def misalignment_asymptotic(tasks: Task, num_icl, prompts: Prompts, assumed_noise_var) -> np.ndarray:
    """Its sharp form for long prompts, whose logarithm has the slope of 3.6, `[*b]`."""
    return evaluate(_misalignment(theory.misalignment_asymptotic, prompts), tasks, num_icl, assumed_noise_var)


def mixed_misalignment(tasks: Task, num_icl, prompts: Prompts) -> np.ndarray:
    """Misalignment where the examples of a prompt come from several concepts, `[*b]` (3.6); exact for two concepts."""
    return evaluate(_misalignment(theory.mixed_misalignment, prompts), tasks, num_icl, tasks.noise_var)


def mixed_exponent(tasks: Task) -> np.ndarray:
    """The exponent kappa of the same, `[*b]` (3.6); that of fresh prompts is twice as large."""
    return evaluate(theory.mixed_posterior_exponent, tasks)


def with_priors(task: Task, weak_prior: np.ndarray, target_prior: np.ndarray | None = None) -> Task:
    """One task as a batch `[*b]` of tasks that differ in these priors, `[*b K]`; None leaves the target's."""
    shape = weak_prior.shape[:-1]
    tasks = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (*shape, *np.shape(leaf))), task)
    tasks = tasks._replace(weak_prior=weak_prior)
    return tasks if target_prior is None else tasks._replace(target_prior=target_prior)


def one(tasks: Task, index: int) -> Task:
    """The tasks `[*b]` at one place of the first axis of a batch `[n *b]`."""
    return jax.tree.map(lambda leaf: leaf[index], tasks)


def repeat(tasks: Task, count: int) -> Task:
    """Every task of a batch `[*b]`, repeated `count` times as `[*b count]`: once for each point of a curve."""
    axis = tasks.noise_var.ndim
    return jax.tree.map(lambda leaf: np.repeat(np.expand_dims(leaf, axis), count, axis), tasks)


def assumed_noise_var(tasks: Task, name: str) -> np.ndarray:
    """The noise variance that the posterior assumes, `[*b]`: `task` is the task's own, `balanced` has tilt 1/2.

    Where refinement fails no variance balances the contest, and the task's own is taken.
    """
    own = np.asarray(tasks.noise_var, float)
    if name == "task":
        return own
    balanced = evaluate(theory.balanced_noise_var, tasks)
    return np.where(np.isfinite(balanced) & (balanced > 0), balanced, own)


@cache
def _compiled(function: Callable) -> Callable:
    return jax.jit(jax.vmap(function))


@cache
def _misalignment(closed_form: Callable, prompts: Prompts) -> Callable:
    return lambda task, length, noise_var: closed_form(task, length, prompts, assumed_noise_var=noise_var)
