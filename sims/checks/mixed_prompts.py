"""Prompts of several concepts, and of the wrong concept (3.6)."""

import numpy as np
from scipy.optimize import minimize_scalar

from sims.checks.check import Check
from sims.checks.draws import generator, log_odds, mixing, mixture_task, posteriors, turned_task, two_concepts
from sims.checks.posterior import powers_of_odds, slopes_of_powers
from sims.checks.tilting import log_mean_exp, pair
from w2s_jax import theory
from w2s_jax.rng import stream
from w2s_jax.types import Task

PROMPTS = 40_000
EXAMPLES = 100_000


def checks() -> list[Check]:
    """The rows of `theory.mixed_prompts` and `theory.mixed_prompts_mean`."""
    return [*_exponents(), *_weights(), *_misalignments(), *_limits()]


def _exponents() -> list[Check]:
    cell = {"num_concepts": 3, "dim": 5, "weak_accuracy": 0.9, "concept_shift": 0.5, "noise_var": 4.0}
    # Noise enough for e^(t l) to have a variance: a foreign example is a far outlier of a small share.
    soiled = mixing(two_concepts(1.0, 0.5, 8.0), 0.9, 0.1)
    many = mixing(turned_task(0.6, **cell), 0.8, 0.15, 0.05)
    loose = mixing(two_concepts(1.0, 0.5, weakness="noisy"), 0.97, 0.03)
    rows = []
    for name, task, rival, assumed, prompts in (
        ("one example in ten foreign, perfect teacher, noise 8, K = 2", soiled, 1, None, "fresh"),
        ("shares 0.8, 0.15, 0.05, rotated, a = 0.9, noise 4, K = 3", many, 2, None, "fresh"),
        ("shares 0.97, 0.03, assumed noise 10, t limited to 1", loose, 1, 10.0, "fresh"),
        ("shares 0.97, 0.03, assumed noise 20, t limited to 2", loose, 1, 20.0, "shared"),
    ):
        t = _mixed_saddle(task, rival, assumed, 2.0 if prompts == "shared" else 1.0)
        rows.append(
            Check(
                f"exponent of rival {rival}, {prompts}, {name}",
                ("mixed_posterior_exponents",),
                lambda task=task, rival=rival, assumed=assumed, prompts=prompts: theory.mixed_posterior_exponents(
                    task, assumed_noise_var=assumed, prompts=prompts
                ).exponent[rival],
                powers_of_odds(task, rival, assumed, t),
                reduce=lambda mean: -np.log(mean[0]),
            )
        )
    t = _mixed_saddle(many, 1, None, 1.0)
    return [
        *rows,
        Check(
            "exponent of the strongest rival, shares 0.8, 0.15, 0.05, rotated, a = 0.9, noise 4, K = 3",
            ("mixed_posterior_exponent",),
            lambda: theory.mixed_posterior_exponent(many),
            powers_of_odds(many, 1, None, t),
            reduce=lambda mean: -np.log(mean[0]),
        ),
        Check(
            "tilt t*, shares 0.8, 0.15, 0.05, rotated, a = 0.9, noise 4, K = 3",
            ("mixed_posterior_exponents",),
            lambda: theory.mixed_posterior_exponents(many).tilt[1],
            slopes_of_powers(many, None, t),
            reduce=lambda mean: t - mean[0] / mean[1],
        ),
    ]


def _mixed_saddle(task: Task, rival: int, assumed: float | None, limit: float) -> float:
    """The t of the least E e^(t l), by a search; l of an example that is of concept k with the share of k."""
    shares = np.asarray(task.weak_prior)
    pairs = [pair(mixing(task, *one), rival, assumed) for one in np.eye(len(shares))]

    def cost(t):
        return float(np.log(sum(share * np.exp(min(log_mean_exp(p, t), 50.0)) for share, p in zip(shares, pairs))))

    return float(minimize_scalar(cost, bounds=(0.0, limit), method="bounded", options={"xatol": 1e-10}).x)


def _weights() -> list[Check]:
    soiled = mixing(two_concepts(0.9, 0.4), 0.8, 0.2)
    return [
        Check(
            f"E w_j{'^2' if power == 2 else ''}, one example in five foreign, rotated, a = 0.9, K = 2, n_icl = {n}",
            ("mixed_rival_weights",),
            lambda n=n, options=options: theory.mixed_rival_weights(soiled, n, **options)[1],
            lambda key, n=n, power=power: posteriors(key, soiled, n, PROMPTS)[:, 1] ** power,
        )
        for n, power, options in ((3, 1, {}), (6, 2, {"power": 2}))
    ]


def _misalignments() -> list[Check]:
    mixture = np.array([0.7, 0.3])
    task = mixture_task(two_concepts(0.9, 0.4), *mixture)
    where = "target and prompts mix 0.7, 0.3, rotated, a = 0.9, K = 2"
    soiled = mixing(two_concepts(0.9, 0.4), 0.8, 0.2)

    def distance(w, prior):
        return ((w - prior) ** 2).sum(1)

    def wrong_prompts(key):
        """A prompt is wholly of concept 1 with probability 0.2."""
        wrong = generator(stream(key, "wrong")).random(PROMPTS) < 0.2
        own, other = (
            posteriors(stream(key, name), mixing(soiled, *prior), 2, PROMPTS)
            for name, prior in (("own", (1.0, 0.0)), ("other", (0.0, 1.0)))
        )
        return np.where(wrong[:, None], other, own)

    first = np.array([1.0, 0.0])
    wrong = "a wrong prompt in five, rotated, a = 0.9, K = 2, n_icl = 2"
    return [
        Check(
            f"misalignment, shared prompt, {where}, n_icl = 3",
            ("mixed_misalignment",),
            lambda: theory.mixed_misalignment(task, 3, "shared"),
            lambda key: distance(posteriors(key, task, 3, PROMPTS), mixture),
        ),
        Check(
            f"misalignment, fresh prompts, {where}, n_icl = 24",
            ("mixed_misalignment",),
            lambda: theory.mixed_misalignment(task, 24, "fresh"),
            lambda key: posteriors(key, task, 24, PROMPTS // 4),
            reduce=lambda mean: np.sum((mean - mixture) ** 2),
        ),
        Check(
            "misalignment, 5 fresh prompts averaged, one example in five foreign, rotated, a = 0.9, K = 2, n_icl = 3",
            ("mixed_misalignment",),
            lambda: theory.mixed_misalignment(soiled, 3, "fresh", 5),
            lambda key: distance(posteriors(key, soiled, 3, PROMPTS).reshape(-1, 5, 2).mean(1), first),
        ),
        Check(
            f"misalignment, shared prompt, {wrong}",
            ("wrong_prompt_misalignment",),
            lambda: theory.wrong_prompt_misalignment(soiled, 2, 0.2, "shared"),
            lambda key: distance(wrong_prompts(key), first),
        ),
        Check(
            f"misalignment, fresh prompts, {wrong}",
            ("wrong_prompt_misalignment",),
            lambda: theory.wrong_prompt_misalignment(soiled, 2, 0.2, "fresh"),
            wrong_prompts,
            reduce=lambda mean: np.sum((mean - first) ** 2),
        ),
    ]


def _limits() -> list[Check]:
    mixture = np.array([0.6, 0.3, 0.1])
    task = turned_task(1.0, num_concepts=3, dim=5, weak_accuracy=1.0, concept_shift=0.5, weakness="noisy")
    task = mixture_task(task, *mixture)
    soiled = turned_task(0.6, num_concepts=3, dim=5, weak_accuracy=0.6, concept_shift=0.5, noise_var=0.05)
    foreign = mixing(soiled, 0.0, 0.5, 0.5)

    def drifts(key):
        """Log odds of rival 1 on a clean and on a foreign example."""
        clean, other = (
            -log_odds(stream(key, name), one, EXAMPLES) for name, one in (("clean", soiled), ("foreign", foreign))
        )
        return np.stack([clean, other], 1)

    return [
        Check(
            "winner takes all: target and prompts mix 0.6, 0.3, 0.1, K = 3, n_icl = 600",
            ("winner_takes_all_misalignment",),
            lambda: theory.winner_takes_all_misalignment(task),
            lambda key: ((posteriors(key, task, 600, 200) - mixture) ** 2).sum(1),
        ),
        Check(
            "share of foreign examples at which the mean log odds are even, rotated, a = 0.6, K = 3",
            ("contamination_threshold",),
            lambda: theory.contamination_threshold(soiled),
            drifts,
            reduce=lambda mean: mean[0] / (mean[0] - mean[1]),
            sharpen=6,
        ),
    ]
