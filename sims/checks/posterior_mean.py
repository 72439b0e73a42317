"""The mean posterior of a weak prompt and its misalignment (3.6): posteriors of sampled prompts, and long prompts by
importance sampling."""

import numpy as np

from sims.checks.check import Check
from sims.checks.draws import posteriors, turned_task, two_concepts
from sims.checks.tilting import Pair, log_mean_exp, mean_power, pair, saddle
from w2s_jax import theory
from w2s_jax.types import Task

PROMPTS = 40_000
LONG = 40_000


def checks() -> list[Check]:
    """The rows of `theory.posterior_mean`."""
    return [*_weights(), *_misalignment(), *_spread(), *_long_prompts()]


def _weights() -> list[Check]:
    rotated, opposed = two_concepts(0.7, 0.4), two_concepts(0.9, 0.4, 1.5, "opposed")
    noisy = two_concepts(1.0, 0.3, weakness="noisy")
    cells = [
        ("rotated, a = 0.7", rotated, 3, 1, None, 1),
        ("rotated, a = 0.7", rotated, 3, 2, None, 1),
        ("opposed, a = 0.9, noise 1.5", opposed, 6, 1, None, 1),
        ("perfect teacher, assumed noise 1.5 (t* > 1)", noisy, 2, 2, 1.5, 1),
        ("rotated, a = 0.9, noise 0.05", two_concepts(0.9, 0.5, 0.05), 1, 1, None, 8),
    ]
    rows = [
        Check(
            f"E w_j{'^2' if power == 2 else ''}, {name}, K = 2, n_icl = {n}",
            ("expected_rival_weights",),
            _predicted("expected_rival_weights", task, n, power, assumed),
            lambda key, task=task, n=n, power=power, assumed=assumed: (
                posteriors(key, task, n, PROMPTS, assumed)[:, 1] ** power
            ),
            sharpen=sharpen,
        )
        for name, task, n, power, assumed, sharpen in cells
    ]
    rare, even = two_concepts(0.7, 1e-3), two_concepts(0.7, 0.5)
    for name, task, n, power, assumed in (
        ("rotated, a = 0.7, shift 0.001", rare, 5, 1, None),
        ("rotated, a = 0.7, shift 0.001", rare, 5, 2, None),
        ("rotated, a = 0.7, shift 0.5", even, 200, 1, None),
        ("rotated, a = 0.7, shift 0.5", even, 200, 2, None),
        ("perfect teacher, assumed noise 3 (t* > 2)", noisy, 40, 2, 3.0),
    ):
        sample, reduce = mean_power(pair(task, 1, assumed), n, power, LONG)
        rows.append(
            Check(
                f"E w_j{'^2' if power == 2 else ''}, {name}, K = 2, n_icl = {n}, by tilting",
                ("expected_rival_weights",),
                _predicted("expected_rival_weights", task, n, power, assumed),
                sample,
                reduce=reduce,
                sharpen=5,
            )
        )
    many = turned_task(1.0, num_concepts=4, dim=5, weak_accuracy=0.7, concept_shift=0.4)
    rows.append(
        Check(
            "E w_j is at most its contest's, rotated, a = 0.7, K = 4, n_icl = 4",
            ("expected_rival_weights",),
            lambda: theory.expected_rival_weights(many, 4)[1],
            lambda key: posteriors(key, many, 4, PROMPTS)[:, 1],
            is_bound=True,
        )
    )
    return rows


def _predicted(form: str, task: Task, n: int, power: int, assumed: float | None):
    """The mean power of the rival's weight by a form of `theory`, which is looked up when it is called."""
    options = {"assumed_noise_var": assumed} | ({"power": power} if power > 1 else {})
    return lambda: getattr(theory, form)(task, n, **options)[1]


def _misalignment() -> list[Check]:
    task = two_concepts(0.7, 0.4)
    averaged = 5
    several = [
        _several("rotated", 3, 4, "shared"),
        _several("confused", 4, 8, "fresh"),
        _several("opposed", 8, 2, "shared"),
        _several("confused", 3, 4, "shared", accuracy=0.3, form="sampled_misalignment"),
        _several("rotated", 3, 8, "fresh", form="sampled_misalignment"),
    ]

    def averages(key):
        return posteriors(key, task, 3, PROMPTS).reshape(-1, averaged, 2).mean(1)

    return [
        Check(
            "misalignment, shared prompt, rotated, a = 0.7, K = 2, n_icl = 3",
            ("misalignment",),
            lambda: theory.misalignment(task, 3, "shared"),
            lambda key: _distance(posteriors(key, task, 3, PROMPTS).T),
        ),
        Check(
            "misalignment, fresh prompts, rotated, a = 0.7, K = 2, n_icl = 3",
            ("misalignment",),
            lambda: theory.misalignment(task, 3, "fresh"),
            lambda key: posteriors(key, task, 3, PROMPTS),
            reduce=_distance,
        ),
        Check(
            f"misalignment, {averaged} fresh prompts averaged, rotated, a = 0.7, K = 2, n_icl = 3",
            ("misalignment",),
            lambda: theory.misalignment(task, 3, "fresh", averaged),
            lambda key: _distance(averages(key).T),
        ),
        *several,
    ]


def _several(
    weakness: str, num_concepts: int, n: int, prompts: str, accuracy: float = 0.6, form: str = "misalignment"
) -> Check:
    """More than two concepts, under an uneven source prior."""
    task = turned_task(
        num_concepts=num_concepts, dim=num_concepts + 1, weak_accuracy=accuracy, concept_shift=0.6, weakness=weakness
    )

    def predict():
        predicted = getattr(theory, form)(task, n, prompts)
        return predicted.value if form == "sampled_misalignment" else predicted

    def weights(key):
        return posteriors(key, task, n, PROMPTS)

    shared = prompts == "shared"
    return Check(
        f"{form.replace('_', ' ')}, {prompts}, {weakness}, a = {accuracy:g}, K = {num_concepts}, n_icl = {n}",
        (form,),
        predict,
        (lambda key: _distance(weights(key).T)) if shared else weights,
        reduce=None if shared else _distance,
        sharpen=10 if form == "sampled_misalignment" and shared else 1,
    )


def _distance(w):
    """||w - e_*||^2 for a target that is concept 0, concepts along the first axis."""
    return (1 - w[0]) ** 2 + (w[1:] ** 2).sum(0)


KINDS = ("shared", "fresh")
"""Prompts, in the order in which label_spread gives their spreads."""


def _spread() -> list[Check]:
    task, n = two_concepts(0.7, 0.4), 3

    cell = f"rotated, a = 0.7, K = 2, n_icl = {n}"

    def rows_of(prompts, draw, sample, reduce):
        return Check(
            f"spread of refined labels, {prompts} prompts, {draw} labels, {cell}",
            ("refined_label_spread",),
            lambda: theory.refined_label_spread(task, n, prompts, draw),
            sample,
            reduce=reduce,
        )

    def by_misalignments(kind, sample, reduce):
        def predict():
            return theory.label_spread(*(theory.misalignment(task, n, prompts) for prompts in KINDS), 2)[kind]

        text = f"spread of refined labels by both misalignments, {KINDS[kind]} prompts, {cell}"
        return Check(text, ("label_spread",), predict, sample, reduce=reduce)

    def weights(key):
        return posteriors(key, task, n, PROMPTS)

    def with_square(key):
        w = weights(key)
        return np.concatenate([w, (w**2).sum(1, keepdims=True)], 1)

    def spread(key):
        return 1 - (weights(key) ** 2).sum(1)

    return [
        by_misalignments(0, spread, None),
        by_misalignments(1, weights, lambda mean: 1 - mean @ mean),
        rows_of("shared", "sample", spread, None),
        rows_of("fresh", "sample", weights, lambda mean: 1 - mean @ mean),
        rows_of("fresh", "mean", with_square, lambda mean: mean[2] - mean[:2] @ mean[:2]),
    ]


def _long_prompts() -> list[Check]:
    """Sharp forms at lengths n where kappa n is hundreds; they miss by O(1/(kappa n))."""
    rows = []
    rotated, shifted = two_concepts(0.7, 0.5), two_concepts(0.7, 0.5, weakness="shifted")
    perfect = two_concepts(1.0, 0.3, weakness="noisy")
    even = two_concepts(1.0, 0.5, 2.0, weakness="noisy")
    cells = [
        ("rotated, a = 0.7", rotated, 1, None),
        ("rotated, a = 0.7, assumed noise 0.8", rotated, 2, 0.8),
        ("perfect teacher, noise 2, assumed noise 4.4 (1 < t* < 2)", even, 2, 4.4),
        ("perfect teacher, assumed noise 0.75 (t* > 1)", perfect, 1, 0.75),
        ("perfect teacher, assumed noise 1.3 (t* > 2)", perfect, 2, 1.3),
    ]
    for name, task, power, assumed in cells:
        contest = pair(task, 1, assumed)
        n = _long(contest, power, 500)
        sample, reduce = mean_power(contest, n, power, LONG)
        rows.append(
            Check(
                f"sharp E w_j{'^2' if power == 2 else ''}, {name}, n_icl = {n}, to 0.3%",
                ("rival_weights_asymptotic",),
                _predicted("rival_weights_asymptotic", task, n, power, assumed),
                sample,
                reduce=reduce,
                allowance=0.003,
            )
        )
    for prompts, power in (("shared", 2), ("fresh", 1)):
        contest = pair(shifted)
        n = _long(contest, power, 300)
        sample, reduce = mean_power(contest, n, power, LONG)
        rows.append(
            Check(
                f"sharp misalignment, {prompts} prompts, shifted, a = 0.7, K = 2, n_icl = {n}, to 0.3%",
                ("misalignment_asymptotic",),
                lambda n=n, prompts=prompts: theory.misalignment_asymptotic(shifted, n, prompts),
                sample,
                reduce=lambda mean, reduce=reduce, power=power: 2 * reduce(mean) ** (2 / power),
                allowance=0.003,
            )
        )
    return rows


def _long(contest: Pair, power: int, decay: float) -> int:
    """The prompt length at which the mean of a rival's weight is about e^-decay."""
    return int(np.ceil(-decay / log_mean_exp(contest, saddle(contest, power))))
