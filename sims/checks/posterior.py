"""Exponents of the concept posterior (3.6): the moment generating function of sampled log odds."""

import numpy as np

from sims.checks.check import Check
from sims.checks.draws import changed, log_odds, turned_task, two_concepts
from sims.checks.tilting import pair, saddle
from w2s_jax import theory
from w2s_jax.sampling import FeatureLaw
from w2s_jax.types import Task

EXAMPLES = 100_000


def checks() -> list[Check]:
    """The rows of `theory.posterior`."""
    return [*_exponents(), *_tilts(), _uniform()]


def _exponents() -> list[Check]:
    """-log of the mean of e^(t l) at the t of the least mean, found by a search."""
    cell = {"num_concepts": 3, "dim": 5, "concept_shift": 0.5}
    oblique = turned_task(0.8, weak_accuracy=0.8, **cell)
    oblique = changed(oblique, concepts=np.asarray(oblique.concepts) * np.array([[1.0], [0.8], [1.3]]))
    cells = [
        ("rotated", two_concepts(0.8, 0.5), 1, None, "fresh"),
        ("opposed", turned_task(0.5, weak_accuracy=0.8, weakness="opposed", **cell), 1, None, "fresh"),
        ("noisy", two_concepts(0.5, 0.5, weakness="noisy"), 1, None, "fresh"),
        ("concepts of lengths 1, 0.8, 1.3", oblique, 2, None, "fresh"),
        ("noisy, assumed noise 6, t limited to 1", two_concepts(1.0, 0.5, weakness="noisy"), 1, 6.0, "fresh"),
        ("noisy, assumed noise 12, t limited to 2", two_concepts(1.0, 0.5, weakness="noisy"), 1, 12.0, "shared"),
    ]
    rows = []
    for name, task, rival, assumed, prompts in cells:
        t = saddle(pair(task, rival, assumed), 1.0 if prompts == "fresh" else 2.0)

        def predict(task=task, rival=rival, assumed=assumed, prompts=prompts):
            return theory.posterior_exponents(task, assumed_noise_var=assumed, prompts=prompts).exponent[rival]

        rows.append(
            Check(
                f"exponent of rival {rival}, {prompts}, {name}",
                ("posterior_exponents",),
                predict,
                powers_of_odds(task, rival, assumed, t),
                reduce=lambda mean: -np.log(mean[0]),
            )
        )
    task, strongest = oblique, 1
    t = saddle(pair(task, strongest), 1.0)
    rows.append(
        Check(
            "exponent of the strongest rival, concepts of lengths 1, 0.8, 1.3",
            ("posterior_exponent",),
            lambda: theory.posterior_exponent(task),
            powers_of_odds(task, strongest, None, t),
            reduce=lambda mean: -np.log(mean[0]),
        )
    )
    return rows


def _tilts() -> list[Check]:
    """The t of the least mean of e^(t l): a Newton step on the sample, from a search."""
    cell = {"num_concepts": 3, "dim": 5, "concept_shift": 0.5, "weak_accuracy": 0.8}
    rows = []
    for name, task in (("K = 2", two_concepts(0.8, 0.5)), ("K = 3, s = 0.5", turned_task(0.5, **cell))):
        t = saddle(pair(task))
        rows.append(
            Check(
                f"tilt t*, rotated, a = 0.8, {name}",
                ("posterior_exponents",),
                lambda task=task: theory.posterior_exponents(task).tilt[1],
                slopes_of_powers(task, None, t),
                reduce=lambda mean, t=t: t - mean[0] / mean[1],
            )
        )
    for target, given in ((0.5, {}), (0.3, {"target_tilt": 0.3})):
        task = turned_task(0.5, **cell)
        # t* is proportional to s_hat^2: t* at s_hat^2 = 1 gives the s_hat^2 with t* = target.
        t = saddle(pair(task, 1, 1.0))
        rows.append(
            Check(
                f"assumed noise that puts the tilt at {target}, rotated, s = 0.5",
                ("balanced_noise_var",),
                lambda task=task, given=given: theory.balanced_noise_var(task, **given),
                slopes_of_powers(task, 1.0, t),
                reduce=lambda mean, t=t, target=target: target / (t - mean[0] / mean[1]),
            )
        )
    return rows


def _uniform() -> Check:
    task = two_concepts(0.4, 0.5, 0.1, "noisy")
    noise_var = float(task.weak_noise_var)
    return Check(
        "exponent, uniform features, noisy, a = 0.4, noise 0.1",
        ("uniform_posterior_exponent",),
        lambda: theory.uniform_posterior_exponent(task),
        powers_of_odds(task, 1, noise_var, 0.5, "uniform"),  # by symmetry of the contest t* = 1/2 at s_hat = sigma_w
        reduce=lambda mean: -np.log(mean[0]),
    )


def powers_of_odds(task: Task, rival: int, assumed: float | None, t: float, law: FeatureLaw = "gaussian"):
    """e^(t l) of single weak examples."""
    return lambda key: np.exp(t * log_odds(key, task, EXAMPLES, rival, assumed, law))


def slopes_of_powers(task: Task, assumed: float | None, t: float):
    """First and second derivative of e^(t l) in t, for rival 1."""

    def sample(key):
        odds = log_odds(key, task, EXAMPLES, 1, assumed)
        return np.exp(t * odds)[:, None] * np.stack([odds, odds**2], 1)

    return sample
