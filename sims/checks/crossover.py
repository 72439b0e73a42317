"""How long a prompt must be (3.10), and the Lambert function behind it."""

import jax
import numpy as np
from scipy.special import softmax

from sims.checks.check import Check
from sims.checks.draws import changed, data_sets, generator, risks_of, turned_task, two_concepts
from sims.checks.population import ridge_path
from sims.checks.tilting import log_mean_exp, pair, saddle, weighted_power
from w2s_jax import theory
from w2s_jax.types import Task

PROMPTS = 40_000


def checks() -> list[Check]:
    """The rows of `theory.crossover`."""
    return [
        *(_lambert(x) for x in (0.5, 20.0, 1e6)),
        _asymptotic("shared", 1e-60),
        _asymptotic("fresh", 1e-75),
        _crossover("shared", 0.5, 7),
        _crossover("fresh", 0.1, 8),
    ]


def _lambert(x: float) -> Check:
    """W(x) = E log(1 + x e^(v cot v) sin(v)/v) for v uniform on (0, pi)."""

    def sample(key):
        v = generator(key).uniform(1e-9, np.pi, 100_000)
        return np.log1p(x * np.exp(v / np.tan(v)) * np.sin(v) / v)

    return Check(f"Lambert W({x:g})", ("lambert_w",), lambda: theory.lambert_w(x), sample)


def _crossover(prompts: str, concept_shift: float, n: int) -> Check:
    """Posteriors after the first n and after all n + 1 examples of a prompt, n the whole part of the crossover, with a
    straight line between the logarithms of their misalignments."""
    task = turned_task(num_concepts=4, dim=5, weak_accuracy=0.7, concept_shift=concept_shift)
    log_floor, shared = np.log(_floor(task, 0.1, 1e6)), prompts == "shared"

    def distance(weights):
        return (1 - weights[0]) ** 2 + (weights[1:] ** 2).sum(0)

    def sample(key):
        pair = _neighbours(key, task, n, PROMPTS)
        return np.stack([distance(weights.T) for weights in pair], 1) if shared else np.concatenate(pair, axis=1)

    def length(mean):
        first, second = mean if shared else (distance(weights) for weights in np.split(mean, 2))
        return n + (np.log(first) - log_floor) / np.log(first / second)

    return Check(
        f"crossover, {prompts} prompts, rotated, a = 0.7, shift {concept_shift:g}, K = 4, to 0.3% for a straight line",
        ("refinement_crossover",),
        lambda: theory.refinement_crossover(task, prompts),
        sample,
        reduce=length,
        allowance=0.003,
    )


def _neighbours(key, task, num_icl, count):
    """Posteriors after `num_icl` and after `num_icl` + 1 examples of the same prompts, two of `[r K]`."""
    phi, labels = data_sets(key, task, num_icl + 1, count)
    by_example = -((labels[..., None] - phi @ np.asarray(task.concepts).T) ** 2) / (2 * float(task.noise_var))
    log_prior = np.log(task.source_prior)
    return [softmax(log_prior + by_example[:, :n].sum(axis=1), axis=1) for n in (num_icl, num_icl + 1)]


def _asymptotic(prompts: str, distance: float) -> Check:
    """A teacher so near to the target that its floor is met only after hundreds of e-foldings of the misalignment.

    The misalignments at two neighbouring lengths come from the same prompts, by importance sampling. The standard error
    is held to 1% of half an e-folding of the misalignment, 1/(2 kappa): far less than 1% of the length.
    """
    scale, assumed, power = 0.5, 1.0, 2 if prompts == "shared" else 1
    perfect = two_concepts(1.0, 0.95, 2.0)
    near = np.asarray(perfect.weak_concepts) + distance * np.eye(2, 3, 2)
    task = changed(perfect, weak_concepts=near, feature_var=np.full(3, scale))
    contest = pair(task, 1, assumed)
    t = saddle(contest)
    log_floor = np.log(_floor(task, 1e-200, 1.0) / scale)

    def log_misalignment(mean, n):
        """2 E w^2 of a shared prompt, 2 (E w)^2 of fresh ones: two concepts."""
        return np.log(2.0) + (2 / power) * (n * log_mean_exp(contest, t) + np.log(mean))

    def lengths(mean, n):
        first, second = log_misalignment(mean[0], n), log_misalignment(mean[1], n + 1)
        return n + (first - log_floor) / (first - second)

    near_it = int(power * log_floor / 2 / log_mean_exp(contest, t))  # but for the prefactor, which a first run finds
    first_run = weighted_power(jax.random.key(0), contest, t, (near_it, near_it + 1), power, 2000)
    n = int(lengths(first_run.mean(0), near_it))
    return Check(
        f"crossover of the sharp form, {prompts} prompts, K = 2, teacher {distance:g} from the target, s = 0.5, "
        "to 0.3% of 1/kappa",
        ("refinement_crossover_asymptotic",),
        lambda: theory.refinement_crossover_asymptotic(task, prompts, assumed_noise_var=assumed),
        lambda key: weighted_power(key, contest, t, (n, n + 1), power, PROMPTS),
        reduce=lambda mean: lengths(mean, n),
        scale=-0.5 / log_mean_exp(contest, t),
        allowance=0.006,
    )


def _floor(task: Task, smallest: float, largest: float) -> float:
    """The least risk of naive fine-tuning over a grid of penalties, on infinitely many labels."""
    fits = ridge_path(task, np.geomspace(smallest, largest, 1001))
    return float(risks_of(task, fits).min())
