"""Posteriors after one weak example, and EM on the mixture weights (3.7)."""

import jax
import numpy as np
from scipy.special import softmax

from sims.checks.check import Check
from sims.checks.draws import data_sets, mixing, mixture_task, posteriors, shared_program, target_coef, turned_task
from w2s_jax import theory
from w2s_jax.em import em_prior
from w2s_jax.types import Task

EXAMPLES = 100_000


def checks() -> list[Check]:
    """The rows of `theory.one_example` and `theory.em`."""
    return [*_posteriors(), *_self_refinement(), *_em()]


def _task(**changes) -> Task:
    return turned_task(0.8, **{"num_concepts": 3, "dim": 5, "weak_accuracy": 0.7, "concept_shift": 0.5} | changes)


def _mixture(task: Task) -> Task:
    """A target of three concepts, shown as often as it holds."""
    return mixture_task(task, 0.5, 0.3, 0.2)


def _posteriors() -> list[Check]:
    rotated, own = _task(), _task(weak_accuracy=1.0)
    mixed = _mixture(rotated)
    rows = [
        Check(
            f"C_{j}{k}, one example of {name}, K = 3",
            ("one_example_transition",),
            lambda task=task, j=j, k=k, assumed=assumed: theory.one_example_transition(task, assumed_noise_var=assumed)[
                j, k
            ],
            lambda key, task=task, j=j, k=k, assumed=assumed: posteriors(
                key, mixing(task, *np.eye(3)[j]), 1, EXAMPLES, assumed
            )[:, k],
        )
        for name, task, j, k, assumed in (
            ("a rotated teacher, a = 0.7", rotated, 0, 0, None),
            ("a rotated teacher, a = 0.7", rotated, 0, 2, None),
            ("a perfect teacher, assumed noise 0.1", own, 1, 0, 0.1),
        )
    ]
    prior = ("one_example_refinement_prior",)
    return [
        *rows,
        Check(
            "q'C_1, one example of a mixture, rotated, a = 0.7, K = 3",
            prior,
            lambda: theory.one_example_refinement_prior(mixed)[1],
            lambda key: posteriors(key, mixed, 1, EXAMPLES)[:, 1],
        ),
        Check(
            "spread of the posterior after one example of a mixture, rotated, a = 0.7, K = 3",
            ("one_example_spread",),
            lambda: theory.one_example_spread(mixed),
            lambda key: _with_square(posteriors(key, mixed, 1, EXAMPLES)),
            reduce=lambda mean: mean[3] - mean[:3] @ mean[:3],
        ),
    ]


def _with_square(w: np.ndarray) -> np.ndarray:
    return np.concatenate([w, (w**2).sum(1, keepdims=True)], 1)


def _self_refinement() -> list[Check]:
    task = _mixture(_task(noise_var=0.5))
    weak = np.asarray(task.weak_concepts)[0]
    variance = float(task.feature_var[0])

    def learned(key):
        """phi times its refined mean label, over s: its mean is the coefficient."""
        return _labelled_features(key, task, EXAMPLES) / variance

    return [
        *(
            Check(
                f"coefficient of self-refinement along {name}, mixture, rotated, a = 0.7, K = 3, s = 0.8",
                ("self_refinement_coef",),
                lambda direction=direction: np.asarray(theory.self_refinement_coef(task)) @ direction,
                lambda key, direction=direction: learned(key) @ direction,
            )
            for name, direction in (("beta_1", np.asarray(task.concepts)[1]), ("the teacher", weak))
        ),
        Check(
            "bias of self-refinement, mixture, rotated, a = 0.7, K = 3, s = 0.8",
            ("self_refinement_bias",),
            lambda: theory.self_refinement_bias(task),
            learned,
            reduce=lambda mean: variance * np.sum((mean - target_coef(task)) ** 2),
        ),
    ]


def _labelled_features(key, task, count):
    """phi sum_k w_k(phi, y) beta_k . phi of single weak examples."""
    phi, labels = (each[:, 0] for each in data_sets(key, task, 1, count))
    answers = phi @ np.asarray(task.concepts).T
    log_joint = np.log(task.source_prior) - (labels[:, None] - answers) ** 2 / (2 * float(task.noise_var))
    return phi * (softmax(log_joint, axis=1) * answers).sum(axis=1, keepdims=True)


def _em() -> list[Check]:
    mixed = _mixture(_task(weak_accuracy=1.0))
    one_hot = _task(weak_accuracy=0.8)
    two = turned_task(0.8, num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.3, noise_var=0.05)
    two = mixture_task(two, 0.6, 0.4)

    def risks(key, task, n, steps, count):
        gaps = _em_priors(task, data_sets(key, task, n, count), steps) - np.asarray(task.target_prior)
        return float(task.feature_var[0]) * (gaps**2).sum(1)

    return [
        Check(
            "weight of a rival after 1 step of EM, perfect teacher of a mixture, K = 3",
            ("population_em_prior",),
            lambda: theory.population_em_prior(mixed, 1)[1],
            lambda key: posteriors(key, mixed, 1, EXAMPLES)[:, 1],
        ),
        Check(
            "weight of a rival after 4 steps of EM, rotated, a = 0.8, K = 3, 1000 examples, to 0.3%",
            ("population_em_prior",),
            lambda: theory.population_em_prior(one_hot, 4)[1],
            lambda key: _em_priors(one_hot, data_sets(key, one_hot, 1000, 500), 4)[:, 1],
            allowance=0.003,
        ),
        Check(
            "risk of 1 step of EM, rotated, a = 0.8, K = 3, n = 5",
            ("em_first_step_risk",),
            lambda: theory.em_first_step_risk(one_hot, 5),
            lambda key: risks(key, one_hot, 5, 1, 20_000),
        ),
        Check(
            "risk of 30 steps of EM, its limit, perfect teacher of a mixture, K = 2, n = 500, to 0.5%",
            ("em_limit_risk",),
            lambda: theory.em_limit_risk(two, 500),
            lambda key: risks(key, two, 500, 30, 4000),
            allowance=0.005,
        ),
    ]


@shared_program("steps")
def _em_priors(task, data, steps):
    """Mixture weights after some steps of EM on each of many data sets `[r K]`."""
    return jax.vmap(lambda one: em_prior(task, one, steps))(data)
