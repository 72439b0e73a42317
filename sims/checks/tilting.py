"""One weak example's log odds l = x z/s_hat^2 as a pair of gaussians, and its distribution tilted by e^(t l).

Everything is linear algebra on the 2 x 2 covariance of (x, z), x = (beta_j - beta_*) . phi and z = y' - (beta_j +
beta_*) . phi/2, in NumPy: E e^(t l) = det(I - t C J/s_hat^2)^(-1/2) with J the exchange of x and z.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit
from scipy.stats import chi2

from sims.checks.draws import generator, weak_coef
from w2s_jax.types import Key, Task

EXCHANGE = np.array([[0.0, 1.0], [1.0, 0.0]])


class Pair(NamedTuple):
    """The contest of one rival with the target."""

    covariance: np.ndarray
    """Covariance of (x, z), over s_hat^2."""
    log_prior_odds: float


def pair(task: Task, rival: int = 1, assumed_noise_var: float | None = None) -> Pair:
    """The pair of a rival, for a target that is concept 0."""
    concepts, weak = np.asarray(task.concepts), weak_coef(task)
    read = np.stack([concepts[rival] - concepts[0], weak - (concepts[rival] + concepts[0]) / 2])
    covariance = (read * np.asarray(task.feature_var)) @ read.T
    covariance[1, 1] += float(task.weak_noise_var)
    prior = np.asarray(task.source_prior)
    noise_var = float(task.noise_var if assumed_noise_var is None else assumed_noise_var)
    return Pair(covariance / noise_var, float(np.log(prior[rival] / prior[0])))


def log_mean_exp(contest: Pair, t: float) -> float:
    """log E e^(t l); infinite where the mean is."""
    within = np.eye(2) - t * contest.covariance @ EXCHANGE
    if t * np.linalg.eigvals(contest.covariance @ EXCHANGE).real.max() >= 1:
        return np.inf
    return float(-0.5 * np.log(np.linalg.det(within)))


def saddle(contest: Pair, limit: float = np.inf) -> float:
    """The t in (0, limit] of the least E e^(t l), by a bounded search."""
    end = 1 / np.linalg.eigvals(contest.covariance @ EXCHANGE).real.max()
    top = min(limit, end * (1 - 1e-9))
    found = minimize_scalar(
        lambda t: log_mean_exp(contest, t), bounds=(0.0, top), method="bounded", options={"xatol": 1e-10}
    )
    return float(top if log_mean_exp(contest, top) < found.fun else found.x)


def mean_power(contest: Pair, num_icl: int, power: int, count: int):
    """(sample, reduce) of E w^power after a long prompt: e^(-t L) w^power under the tilt e^(t L)."""
    t = saddle(contest, power)
    log_factor = num_icl * log_mean_exp(contest, t)

    def sample(key):
        if t == power:  # no saddle before the pole: the weighted power is near a constant
            high, low = _tilted_scales(contest, t)
            gains, losses = generator(key).chisquare(num_icl, (2, count))
            odds = high * gains + low * losses
            return np.exp(-t * odds) * expit(odds + contest.log_prior_odds) ** power
        return weighted_power(key, contest, t, (num_icl,), power, count)[:, 0]

    return sample, lambda mean: np.exp(log_factor) * mean[0]


def weighted_power(key: Key, contest: Pair, t: float, lengths: tuple[int, ...], power: int, count: int) -> np.ndarray:
    """e^(-t L) w^power under the tilt after prompts of several lengths `[r l]`, each continuing the one before.

    Only L within a few 1/t of 0 counts, while L itself is far wider. So L is drawn from a logistic distribution of that
    width, the losses from their own distribution, and the gains that make up the difference enter by their density.
    """
    high, low = _tilted_scales(contest, t)
    width = 1 / min(t, power - t)
    rng = generator(key)
    unit = rng.logistic(size=count)
    odds = width * unit - contest.log_prior_odds
    log_proposal = log_expit(unit) + log_expit(-unit) - np.log(width)
    log_power = -t * odds + power * log_expit(width * unit) - log_proposal
    losses, columns, read = np.zeros(count), [], 0
    for length in lengths:
        losses = losses + rng.chisquare(length - read, count)
        columns.append(np.exp(log_power + chi2.logpdf((odds - low * losses) / high, length)) / high)
        read = length
    return np.stack(columns, 1)


def _tilted_scales(contest: Pair, t: float) -> tuple[float, float]:
    """The tilted pair is gaussian again: l = high A + low B for squares A and B of independent standard normals."""
    tilted = np.linalg.inv(np.linalg.inv(contest.covariance) - t * EXCHANGE)
    high, low = np.sort(np.linalg.eigvals(tilted @ EXCHANGE / 2).real)[::-1]
    return float(high), float(low)
