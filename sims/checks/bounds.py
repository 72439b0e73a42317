"""Bounds of the posterior's error (3.6): exact means of a function that dominates the error, which are simulated, and
not under the error itself."""

import numpy as np

from sims.checks.check import Check
from sims.checks.draws import posteriors, turned_task
from sims.checks.tilting import pair, saddle
from w2s_jax import theory
from w2s_jax.types import Task

PROMPTS = 40_000


def checks() -> list[Check]:
    """The rows of the bounds in `theory.posterior_mean`."""
    task, n = turned_task(1.0, num_concepts=3, dim=5, weak_accuracy=0.7, concept_shift=0.4), 2
    where = f"rotated, a = 0.7, K = 3, n_icl = {n}"
    balanced, wide = 0.8, 1.6  # assumed noise variances with tilts near 1/2 and 1: there every factor of a bound counts

    def distance(key, assumed):
        w = posteriors(key, task, n, PROMPTS, assumed)
        return (1 - w[:, 0]) ** 2 + (w[:, 1:] ** 2).sum(1)

    def error_bound():
        return theory.posterior_error_bound(task, n, assumed_noise_var=balanced)

    def fresh_bound():
        return theory.misalignment_bound(task, n, "fresh", assumed_noise_var=balanced)

    def shared_bound():
        return theory.misalignment_bound(task, n, "shared", assumed_noise_var=wide)

    return [
        Check(
            f"bound of E(1 - w_*): mean of what dominates it, {where}",
            ("posterior_error_bound",),
            error_bound,
            _dominating(task, n, balanced, 1),
            reduce=np.sum,
            sharpen=2,
        ),
        Check(
            f"bound of E(1 - w_*): not under it, {where}",
            ("posterior_error_bound",),
            error_bound,
            lambda key: 1 - posteriors(key, task, n, PROMPTS, balanced)[:, 0],
            is_bound=True,
        ),
        Check(
            f"bound of fresh misalignment: mean of what dominates it, {where}",
            ("misalignment_bound",),
            fresh_bound,
            _dominating(task, n, balanced, 1),
            reduce=lambda p: np.sum(p) ** 2 + np.sum(p**2),
            sharpen=2,
        ),
        Check(
            f"bound of shared misalignment: mean of what dominates it, {where}",
            ("misalignment_bound",),
            shared_bound,
            _dominating(task, n, wide, 2),
            reduce=lambda p: 3 * np.sum(p),  # Cauchy-Schwarz over the rivals: ||w - e_*||^2 <= K sum_j w_j^2
            sharpen=2,
        ),
        Check(
            f"bound of shared misalignment: not under it, {where}",
            ("misalignment_bound",),
            shared_bound,
            lambda key: distance(key, wide),
            is_bound=True,
        ),
    ]


def _dominating(task: Task, n: int, assumed: float, power: int):
    """c X^t >= w^power for each rival `[r K-1]`, with X its odds, t the tilt and c the least constant that serves."""
    tilts = [saddle(pair(task, rival, assumed), power) for rival in (1, 2)]
    log_x = np.linspace(-30, 30, 60_001)
    constants = [np.exp(np.max(power * -np.log1p(np.exp(-log_x)) - t * log_x)) for t in tilts]

    def sample(key):
        w = posteriors(key, task, n, PROMPTS, assumed)
        odds = w[:, 1:] / w[:, :1]
        return np.array(constants) * odds ** np.array(tilts)

    return sample
