"""What each method computes, by hand, from labels of either kind: against SciPy and loops in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, optimize

import w2s_jax as w2s
from tests import arena_views
from tests.arena_views import DIM, NUM_CONCEPTS, NUM_ICL, NUM_SAMPLES, draw, make_task
from tests.test_methods_sign import LEAST, minimum, sigmoid, slope
from w2s_jax.methods import LABELS, View, bootstrapping, confidence, contrast, known, nearest_logit, teams
from w2s_jax.methods.contrastive import draw_answer
from w2s_jax.methods.early_stopping import DESCENT_STEPS
from w2s_jax.methods.logistic import NEWTON_STEPS

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
TOLERANCE = {"linear": {"rtol": 1e-8, "atol": 1e-10}, "sign": {"rtol": 1e-7, "atol": 1e-8}}
nearest = jax.jit(nearest_logit)


class Seen:
    """A view in NumPy, and how students of its kind of labels are fitted, answer and err."""

    def __init__(self, kind: str) -> None:
        self.kind, self.linear, self.task = kind, kind == "linear", make_task()
        self.view = view = draw(jax.random.key(0), self.task, NUM_SAMPLES, NUM_ICL, kind)
        source = known(view.source)
        self.features, self.weak = np.asarray(view.features), np.asarray(view.weak_labels)
        self.colleagues, self.middle = np.asarray(view.colleague_labels), np.asarray(view.middle_coef)
        self.uniform, self.normal = (np.asarray(x) for x in view.chance)
        self.spread, self.prior = np.sqrt(float(source.noise_var)), np.asarray(source.source_prior)
        self.concepts = np.asarray(source.concepts) / (1 if self.linear else self.spread)
        self.answers = self.concepts @ self.features.T
        self.source = self.mixture(self.prior)

    def mixture(self, weights):
        """The student that knows these weights of the concepts."""
        if self.linear:
            return weights @ self.concepts
        return np.asarray(nearest(jnp.array(self.concepts), jnp.array(weights), jnp.ones(DIM)))

    def learn(self, labels, source=None, penalty=0.0, shares=None):
        """The student that is fitted to labels, pulled to a source."""
        source = self.source if source is None else source
        shares = np.full(NUM_SAMPLES, 1 / NUM_SAMPLES) if shares is None else shares / shares.sum()
        if not self.linear:
            return minimum(self.features, labels, source, max(penalty, LEAST), shares)
        gram = self.features.T @ (shares[:, None] * self.features)
        pull = self.features.T @ (shares * (labels - self.features @ source))
        return source + np.linalg.solve(gram + penalty * np.eye(DIM), pull)

    def expected(self, logits):
        """The mean label at an answer."""
        return logits if self.linear else 2 * sigmoid(logits) - 1

    def evidence(self, features, labels):
        """Log likelihoods of labels under each concept, up to a constant, `[K ...]`."""
        answers = np.einsum("kd,...d->k...", self.concepts, features)
        return -((labels - answers) ** 2) / 2 / self.spread**2 if self.linear else -np.logaddexp(0, -labels * answers)

    def drawn(self, weights):
        """Labels of concepts that are drawn by their weights, `[K n]`, from the chance in the view."""
        if not self.linear:
            return np.where(self.uniform < (weights * sigmoid(self.answers)).sum(axis=0), 1.0, -1.0)
        chosen = np.minimum((np.cumsum(weights, axis=0) < 1 - self.uniform).sum(axis=0), NUM_CONCEPTS - 1)
        return self.answers[chosen, np.arange(NUM_SAMPLES)] + self.spread * self.normal

    def run(self, name: str, view: View | None = None, **knobs: float):
        return np.asarray(arena_views.run(self.kind, name, self.view if view is None else view, **knobs))

    def check(self, name: str, expected, view: View | None = None, **knobs: float) -> None:
        """The method has these coefficients."""
        self.same(self.run(name, view, **knobs), expected, name)

    def same(self, coef, expected, name: str = "") -> None:
        np.testing.assert_allclose(coef, expected, **TOLERANCE[self.kind], err_msg=name)


of_kind = functools.cache(Seen)


@pytest.fixture(params=LABELS)
def seen(request) -> Seen:
    return of_kind(request.param)


@pytest.fixture
def numbers() -> Seen:
    return of_kind("linear")


@pytest.fixture
def signs() -> Seen:
    return of_kind("sign")


# --- labels of either kind ------------------------------------------------------------------------------------------


def test_plain_students_and_controls(seen):
    seen.check("source", seen.source)
    seen.check("ceiling", seen.learn(np.asarray(seen.view.true_labels)))
    for penalty in (LEAST, 0.3):
        seen.check("naive_ft", seen.learn(seen.weak, penalty=penalty), penalty=penalty)
    votes = np.concatenate([seen.weak[None], seen.colleagues]).mean(axis=0)
    seen.check("ensemble", seen.learn(votes, penalty=0.3), penalty=0.3)
    noisy = seen.features @ seen.source + seen.spread * seen.normal
    own = noisy if seen.linear else seen.drawn(np.broadcast_to(seen.prior[:, None], seen.answers.shape))
    seen.check("self_label", seen.learn(own))


def test_bootstrapping_learns_from_the_model_before(seen):
    labels, models = seen.weak, [*seen.middle, seen.source]
    assert len(models) == bootstrapping.SIZES + 1
    for model in models:
        coef = seen.learn(labels, model, 0.1)
        labels = seen.expected(seen.features @ coef)
    seen.check("bootstrapping", coef, penalty=0.1)


def test_experts_from_the_source_by_a_loop(seen):
    every, coef = np.concatenate([seen.weak[None], seen.colleagues]), seen.source
    for _ in range(teams.ROUNDS):
        own = seen.features @ coef
        away = np.abs(every - own) if seen.linear else np.logaddexp(0, -every * own)
        chosen = every[away.argmin(axis=0), np.arange(NUM_SAMPLES)]
        kept = away.min(axis=0) <= np.quantile(away.min(axis=0), 0.7)
        coef = seen.learn(chosen, penalty=0.1, shares=kept)
    seen.check("experts_from_source", coef, dropped=0.3, penalty=0.1)


def test_selective_labels_what_it_is_sure_of(seen):
    """Where its concepts disagree least, or where a sign has least doubt."""
    mean = seen.prior @ (seen.answers if seen.linear else sigmoid(seen.answers))
    doubt = seen.prior @ seen.answers**2 - mean**2 if seen.linear else -np.abs(mean - 0.5)
    others = np.sort(np.argsort(doubt)[int(np.ceil(0.3 * NUM_SAMPLES)) :])
    for smoothing in (0.0, 0.4):
        labels = mean.copy() if seen.linear else np.where(mean > 0.5, 1.0, -1.0)
        for i in others:
            rest = others[others != i]
            near = np.exp(-np.square(seen.features[i] - seen.features[rest]).sum(axis=1) / (2 * DIM))
            labels[i] = (1 - smoothing) * seen.weak[i] + smoothing * near @ seen.weak[rest] / near.sum()
        expected = seen.learn(labels, penalty=0.2)
        seen.check("selective", expected, known_share=0.3, smoothing=smoothing, penalty=0.2)


def test_limits_in_which_a_method_is_a_simpler_one(seen):
    view, naive = seen.view, seen.run("naive_ft", penalty=0.2)
    seen.check("aux_confidence", naive, weight=0.0, penalty=0.2)
    seen.check("selective", naive, known_share=0.0, smoothing=0.0, penalty=0.2)
    alike = view._replace(colleague_labels=jnp.broadcast_to(view.weak_labels, view.colleague_labels.shape))
    seen.check("experts_from_source", naive, alike, dropped=0.0, penalty=0.2)
    none = view._replace(few_true_labels=jax.tree.map(jnp.zeros_like, view.few_true_labels))
    seen.check("true_only", seen.source, none)
    for name in ("weighted_true", "weak_then_true"):
        seen.check(name, naive, none, penalty=0.2)
    if seen.linear:
        seen.check("selective", seen.source, known_share=1.0, smoothing=0.5, penalty=0.2)


def test_reverse_kl_is_the_nearest_mixture(seen):
    """The closed form is a tempered posterior, and SciPy finds no smaller divergence."""
    own, temperature = sigmoid(seen.answers), 3.0 if seen.linear else 0.3
    if seen.linear:
        away = ((seen.weak - seen.answers) ** 2).mean(axis=1) / (2 * seen.spread**2)
    else:
        teacher = sigmoid(seen.view.weak_log_odds)
        away = (own * np.log(own / teacher) + (1 - own) * np.log((1 - own) / (1 - teacher))).mean(axis=1)

    def weights_of(logits):
        return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()

    def divergence(logits):
        weights = weights_of(logits)
        return weights @ (np.log(weights / seen.prior) + away / temperature)

    weights = weights_of(np.log(seen.prior) - away / temperature)
    best = optimize.minimize(divergence, np.zeros(NUM_CONCEPTS), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(weights, weights_of(best), atol=1e-5)
    assert weights.max() < 0.99  # a mixture indeed
    seen.check("reverse_kl", seen.mixture(weights), temperature=temperature)


def test_no_mixture_of_concepts_is_nearer_than_that_of_the_hull(seen):
    coef = seen.run("hull")
    weights = np.linalg.lstsq(seen.concepts.T, coef)[0]
    seen.same(weights @ seen.concepts, coef)
    assert weights.min() > -1e-9 and abs(weights.sum() - 1) < 1e-9
    own = seen.features @ coef
    error = own - seen.weak if seen.linear else sigmoid(own) - (1 + seen.weak) / 2
    pull = seen.answers @ error / NUM_SAMPLES
    assert pull.min() > pull @ weights - 1e-8  # towards no concept does the loss fall


def test_em_prior_is_em(seen):
    likelihood = np.exp(seen.evidence(seen.features, seen.weak))
    for steps in (0.0, 1.0, 7.9):
        weights = seen.prior
        for _ in range(int(steps)):
            joint = weights[:, None] * likelihood
            weights = (joint / joint.sum(axis=0)).mean(axis=1)
        seen.check("em_prior", seen.mixture(weights), steps=steps)


def test_refinement_answers_under_the_posterior_of_a_prompt_or_of_a_pair(seen):
    shown = seen.evidence(*map(np.asarray, seen.view.prompts)).sum(axis=2)
    for temperature in (1.0, 2.5):
        for name, evidence in (("icl_refine", shown), ("self_refine", seen.evidence(seen.features, seen.weak))):
            joint = seen.prior[:, None] * np.exp(evidence / temperature)
            seen.check(name, seen.learn(seen.drawn(joint / joint.sum(axis=0))), temperature=temperature)
    likeliest = np.argmax(np.log(seen.prior) + shown[:, seen.uniform.argmin()])  # an intent is one concept
    named = np.broadcast_to(np.eye(NUM_CONCEPTS)[:, [likeliest]], seen.answers.shape)
    seen.check("intent_refine", seen.learn(seen.drawn(named)))


def test_few_true_labels_are_fitted_alone_with_weight_or_last(seen):
    given, few = (np.asarray(x) for x in (seen.view.few_true_labels.given, seen.view.few_true_labels.labels))
    seen.check("true_only", seen.learn(few, penalty=0.3, shares=given), penalty=0.3)
    mixed, shares = np.where(given > 0, few, seen.weak), np.where(given > 0, 7.0, 1.0)
    seen.check("weighted_true", seen.learn(mixed, penalty=0.1, shares=shares), weight=7.0, penalty=0.1)
    then = seen.learn(few, seen.learn(seen.weak, penalty=0.2), penalty=0.5, shares=given)
    seen.check("weak_then_true", then, penalty=0.2, pull=0.5)


# --- numbers --------------------------------------------------------------------------------------------------------


def test_early_stopping_of_numbers_is_gradient_flow(numbers):
    features, end = numbers.features, numbers.learn(numbers.weak)
    decay = linalg.expm(-2 * 0.4 * features.T @ features / NUM_SAMPLES)
    numbers.check("early_stopping", end + decay @ (numbers.source - end), time=0.4)


def test_aux_confidence_of_numbers_hardens_to_the_nearest_concept(numbers):
    coef = numbers.source
    for i in range(confidence.ROUNDS):
        own = numbers.features @ coef
        hard = np.array([min(column, key=lambda answer: abs(answer - o)) for column, o in zip(numbers.answers.T, own)])
        share = 0.6 * min(1, i / (confidence.ROUNDS / 10))
        coef = numbers.learn((1 - share) * numbers.weak + share * hard, penalty=0.2)
    numbers.check("aux_confidence", coef, weight=0.6, penalty=0.2)


def test_experts_of_numbers_begin_with_the_generalist(numbers):
    own = numbers.features @ numbers.learn(numbers.weak, penalty=0.3)
    labels, away, agreed = np.empty(NUM_SAMPLES), np.empty(NUM_SAMPLES), 0
    for i, said in enumerate(own):
        labels[i] = min(numbers.colleagues[:, i], key=lambda label, said=said: abs(label - said))
        away[i] = abs(labels[i] - said)
        nearest_concepts = [np.abs(numbers.answers[:, i] - answer).argmin() for answer in (labels[i], said)]
        agreed += nearest_concepts[0] == nearest_concepts[1]
    assert 0.3 * NUM_SAMPLES < agreed < NUM_SAMPLES  # a share that follows from the data
    kept = np.argsort(np.argsort(away)) < agreed
    numbers.check("experts", numbers.learn(labels, penalty=0.3, shares=kept), penalty=0.3)


def test_contrastive_draws_where_alignment_made_answers_likelier(numbers):
    """By quadrature: the distribution function of aligned / unaligned^0.6, filtered, is uniform at what is drawn."""
    view, task = numbers.view, numbers.task
    answers, aligned, unaligned = known(view.weak_densities)
    drawn = np.asarray(draw_answer(view.chance.uniform, answers, jnp.exp(contrast(aligned, unaligned, 0.4))))
    means, spread = np.asarray(view.features @ task.weak_concepts.T), np.sqrt(float(task.weak_noise_var))
    for i in range(NUM_SAMPLES):
        fine = np.linspace(means[i].min() - 4 * spread, means[i].max() + 4 * spread, 20_001)
        each = np.exp(-((fine[None] - means[i][:, None]) ** 2) / 2 / spread**2)
        after, before = (np.asarray(prior) @ each for prior in (task.weak_prior, task.source_prior))
        density = np.where(after >= 0.1 * after.max(), after / before**0.6, 0.0)
        below = np.interp(drawn[i], fine, np.cumsum(density) / density.sum())
        assert abs(below - numbers.uniform[i]) < 0.06  # a cell of the grid has as much at most
    numbers.check("contrastive", numbers.learn(drawn), alpha=0.4)


@pytest.mark.parametrize(
    ("weakness", "weak_bias"), [("rotated", 2 - 2 * 0.6), ("confused", 2 - 2 * 0.6), ("shifted", 1 / 0.6**2 - 1)]
)
def test_anchored_contrast_leaves_the_square_of_what_alignment_changed(numbers, weakness, weak_bias):
    """The concepts other than the target's are the weak model's too, so its unaligned self errs by alpha_* of it:

        b - beta_Q = (1 - s) (beta_P - beta_Q) + s (1 - alpha_*) (b_w - beta_Q)

    without label noise, for every weakness, and at s = 1 the risk is b_w^2 (1 - alpha_*)^2.
    """
    task = make_task(weakness, noise_var=0.0)
    view = draw(jax.random.key(0), task, NUM_SAMPLES, NUM_ICL)
    risk = w2s.excess_risk(numbers.run("anchored_contrastive", view, strength=1.0), task.target_coef)
    np.testing.assert_allclose(risk, weak_bias * (1 - 0.5) ** 2, rtol=1e-8)
    source, target, weak = (np.asarray(x) for x in (task.source_coef, task.target_coef, task.weak_coef))
    expected = target + (1 - 0.7) * (source - target) + 0.7 * (1 - 0.5) * (weak - target)
    numbers.check("anchored_contrastive", expected, view, strength=0.7)


# --- signs ----------------------------------------------------------------------------------------------------------


def test_early_stopping_of_signs_descends(signs):
    coef = signs.source
    for _ in range(DESCENT_STEPS):
        coef = coef - 6.0 / DESCENT_STEPS * slope(coef, signs.features, signs.weak, coef, 0.0)
    signs.check("early_stopping", coef, time=6.0)
    signs.check("early_stopping", signs.source, time=0.0)


def test_aux_confidence_of_signs_is_at_a_minimum_of_its_own_hard_answers(signs):
    """Hard answers are as balanced as the weak labels, and the student is that of both."""
    coef = signs.run("aux_confidence", weight=0.3, penalty=0.05)
    own = signs.features @ coef
    hard = np.where(own > np.quantile(own, 1 - np.mean(signs.weak > 0)), 1.0, -1.0)
    assert hard.sum() == signs.weak.sum()
    np.testing.assert_allclose(coef, signs.learn(0.7 * signs.weak + 0.3 * hard, penalty=0.05), rtol=1e-5, atol=1e-8)
    expected = signs.learn(np.tanh(np.asarray(signs.view.weak_log_odds) / 2), penalty=0.05)
    signs.check("aux_confidence", expected, weight=0.0, soft=1.0, penalty=0.05)
    assert confidence.NEWTON_STEPS == NEWTON_STEPS


def test_experts_of_signs_begin_with_the_generalist(signs):
    """Whose probabilities teach the student that then assigns the others; it keeps those that name the same sign."""
    teacher = signs.expected(np.asarray(signs.view.weak_log_odds))
    own = sigmoid(signs.features @ signs.learn(teacher, penalty=0.1))
    others = sigmoid(signs.view.colleague_log_odds)
    entropy = -others * np.log(own) - (1 - others) * np.log(1 - own)
    chosen = others[entropy.argmin(axis=0), np.arange(NUM_SAMPLES)]
    keep = (chosen > 0.5) == (own > 0.5)
    assert 0.3 < keep.mean() < 1
    signs.check("experts", signs.learn(2 * chosen - 1, penalty=0.1, shares=keep), penalty=0.1)


def test_anchored_contrast_of_signs_adds_the_change_of_log_odds(signs):
    own = np.log(signs.prior @ sigmoid(signs.answers)) - np.log(signs.prior @ sigmoid(-signs.answers))
    moved = own + 0.75 * np.asarray(signs.view.weak_log_odds - signs.view.unaligned_log_odds)
    labels = np.where(signs.uniform < sigmoid(moved), 1.0, -1.0)
    signs.check("anchored_contrastive", signs.learn(labels), strength=0.75)
