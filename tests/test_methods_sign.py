"""Logistic students and what each method computes from signs: against scikit-learn, SciPy and NumPy by hand."""

import inspect
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression

import w2s_jax as w2s
from tests import arena_views
from tests.arena_views import DIM, NUM_ICL, NUM_SAMPLES, draw, make_task
from tests.helpers import assert_mean, assert_mean_sharply
from tests.test_methods import labelled, uneven_task
from tests.test_methods_contract import assert_one_sentence
from w2s_jax.methods import View, bootstrapping, confidence, draw_view, known, logistic_to_source, nearest_logit, teams
from w2s_jax.methods.early_stopping import DESCENT_STEPS
from w2s_jax.methods.kinds import LINEAR, SIGN
from w2s_jax.methods.logistic import NEWTON_STEPS
from w2s_jax.methods.signs import log_odds, logit_concepts
from w2s_jax.types import Dataset

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
run = partial(arena_views.run, "sign")
fit, nearest = jax.jit(logistic_to_source), jax.jit(nearest_logit)
LEAST = 1e-3
MANY = 60_000


def sigmoid(x):
    return special.expit(np.asarray(x))


def sample(seed: int, count: int, scale: float):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((count, DIM))
    logits = scale * features[:, 0]
    labels = np.where(rng.uniform(size=count) < sigmoid(logits), 1.0, -1.0)
    return features, labels, rng.standard_normal(DIM)


def loss(coef, features, labels, source_coef, penalty, shares=None):
    logits = features @ coef
    shares = np.full(len(labels), 1 / len(labels)) if shares is None else shares
    pull = penalty / 2 * np.sum((coef - source_coef) ** 2)
    return shares @ (np.logaddexp(0, logits) - (1 + labels) / 2 * logits) + pull


def slope(coef, features, labels, source_coef, penalty, shares=None):
    shares = np.full(len(labels), 1 / len(labels)) if shares is None else shares
    return (shares * (sigmoid(features @ coef) - (1 + labels) / 2)) @ features + penalty * (coef - source_coef)


def minimum(features, labels, source_coef, penalty, shares=None):
    """SciPy's, from the source, polished by SciPy's root finder."""
    rest = (features, labels, source_coef, penalty, shares)
    found = optimize.minimize(loss, source_coef, rest, jac=slope, method="BFGS", options={"gtol": 1e-7}).x
    return optimize.root(slope, found, rest, tol=1e-13).x


def same(coef, expected, rtol=1e-7):
    np.testing.assert_allclose(coef, expected, rtol=rtol, atol=1e-8)


# --- the kernel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "scale", "penalty"), [(40, 2.0, 0.1), (40, 2.0, LEAST), (12, 50.0, LEAST)])
def test_a_student_of_signs_is_that_of_scikit_learn(count, scale, penalty):
    """Without a source; twelve examples in six dimensions are separable."""
    features, labels, _ = sample(0, count, scale)
    if count == 12:
        assert (labels == np.sign(features[:, 0])).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        oracle = LogisticRegression(C=1 / (penalty * count), fit_intercept=False, solver="newton-cholesky", tol=1e-12)
        expected = oracle.fit(features, labels).coef_[0]
    found = fit(Dataset(jnp.array(features), jnp.array(labels)), jnp.zeros(DIM), penalty)
    same(found, expected, rtol=1e-8)


@pytest.mark.parametrize("count", [3, 40])
def test_a_pulled_student_is_at_the_minimum(count):
    features, labels, source_coef = sample(1, count, 2.0)
    labels = labels * np.random.default_rng(2).uniform(size=count).round(1)  # means of several signs
    shares = np.random.default_rng(3).dirichlet(np.ones(count))
    data = Dataset(jnp.array(features), jnp.array(labels))
    for penalty in (LEAST, 0.1, 10.0):
        found = fit(data, jnp.array(source_coef), penalty, shares=jnp.array(shares))
        same(found, minimum(features, labels, source_coef, penalty, shares))
        assert np.abs(slope(np.asarray(found), features, labels, source_coef, penalty, shares)).max() < 1e-10
        wrong = fit(data, jnp.array(source_coef), 1.1 * penalty, shares=jnp.array(shares))
        assert np.abs(wrong - found).max() > 1e-6
    if count == 40:  # without a penalty it is maximum likelihood
        found = fit(data, jnp.array(source_coef), 0.0, shares=jnp.array(shares))
        same(found, minimum(features, labels, np.zeros(DIM), 0.0, shares))


def test_derivatives_are_those_of_the_minimum_and_a_batch_equals_a_loop():
    features, labels, source_coef = (jnp.array(x) for x in sample(5, 40, 2.0))
    at, step = (source_coef, jnp.array(0.05), labels), 1e-5
    directions = [(0, jnp.eye(DIM)[1]), (1, jnp.array(1.0)), (2, jnp.eye(40)[7])]
    points = [at]
    for place, direction in directions:
        points += [[x + by * direction if i == place else x for i, x in enumerate(at)] for by in (step, -step)]

    def value(source_coef, penalty, labels):
        student = logistic_to_source(Dataset(features, labels), source_coef, penalty)
        return jnp.sin(student).sum(), student

    program = jax.jit(jax.vmap(jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True)))
    (values, students), slopes = program(*map(jnp.stack, zip(*points)))
    for i, (place, direction) in enumerate(directions):
        difference = (values[2 * i + 1] - values[2 * i + 2]) / (2 * step)
        np.testing.assert_allclose((slopes[place][0] * direction).sum(), difference, rtol=1e-6)
    for (coef, penalty, signs), student in zip(points, students):
        np.testing.assert_allclose(student, fit(Dataset(features, signs), coef, penalty), rtol=1e-9)


def test_single_precision_is_enough_for_signs():
    features, labels, source_coef = sample(7, 40, 2.0)
    single = [jnp.array(x, jnp.float32) for x in (features, labels, source_coef)]
    found = fit(Dataset(*single[:2]), single[2], jnp.float32(LEAST))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, minimum(features, labels, source_coef, LEAST), rtol=1e-3, atol=1e-3)


def test_bad_arguments_of_the_kernel():
    data = Dataset(jnp.ones((2, 1)), jnp.array([1.0, -1.0]))
    with pytest.raises(ValueError) as raised:
        logistic_to_source(data, jnp.zeros(1), -0.1)
    assert_one_sentence(raised, "^penalty must not be negative, got -0.1; 0 does not pull to the source.$")
    with pytest.raises(ValueError) as raised:
        logistic_to_source(data, jnp.zeros(1), 0.1, num_steps=0)
    assert_one_sentence(raised, f"^num_steps must be at least 1, got 0; {NEWTON_STEPS} reach the minimum.$")


# --- the distribution of signs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 2.0, 12.0])
def test_the_nearest_logit_is_at_the_minimum_of_the_cross_entropy(scale):
    """By a grid over the plane of two concepts of unequal length, with uneven features."""
    concepts = scale * np.array([[1.0, 0.2], [0.1, 0.6]])
    prior, feature_var = np.array([0.3, 0.7]), np.array([0.5, 2.0])
    found = np.asarray(nearest(*(jnp.array(x) for x in (concepts, prior, feature_var))))
    axis = np.linspace(-8, 8, 1601)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    weights = np.exp(-np.square(points).sum(axis=1) / 2)
    points, weights = points * np.sqrt(feature_var), weights / weights.sum()
    chance = prior @ sigmoid(concepts @ points.T)

    def pull(coef):
        return np.abs((weights * (chance - sigmoid(points @ coef))) @ points).max()

    assert pull(found) < 1e-10
    assert pull(1.01 * found) > 1e-5


def test_the_nearest_logit_of_one_concept_or_of_equally_long_ones():
    task = make_task()
    concepts = logit_concepts(task.concepts, task.noise_var)
    alone = nearest(concepts, jnp.array([1.0, 0.0, 0.0]), task.feature_var)
    np.testing.assert_allclose(alone, concepts[0], rtol=1e-12)
    np.testing.assert_array_equal(nearest(0 * concepts, task.source_prior, task.feature_var), 0)
    # Of equally long concepts it is along the regression vector.
    found = nearest(concepts, task.source_prior, task.feature_var)
    np.testing.assert_allclose(w2s.sign_accuracy(found, task.source_coef), 1, atol=1e-12)
    assert np.linalg.norm(found) < np.linalg.norm(concepts[0])


def test_log_odds_of_a_mixture():
    logits, prior = np.array([[3.0, -40.0], [-1.0, -42.0]]), np.array([0.2, 0.8])
    chance, other = prior @ sigmoid(logits), prior @ sigmoid(-logits)
    np.testing.assert_allclose(log_odds(jnp.array(logits), jnp.array(prior)), np.log(chance / other), rtol=1e-12)


# --- views ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def view() -> View:
    return draw(jax.random.key(0), make_task(), NUM_SAMPLES, NUM_ICL, "sign")


@pytest.mark.slow
def test_signs_follow_the_task(view):
    """Every example is a replicate: its sign has the mean 2P - 1, also beside the teacher's logit."""
    task = uneven_task()._replace(weak_noise_var=jnp.array(1.0))
    np.testing.assert_array_equal(view.features, draw(jax.random.key(0), make_task(), NUM_SAMPLES, NUM_ICL).features)
    view = draw(jax.random.key(3), task, MANY, 1, "sign")
    for rows, labels, (concepts, prior, noise_var) in labelled(task, view):
        assert set(np.unique(labels)) == {-1.0, 1.0}
        logits = np.asarray(rows @ concepts.T) / np.sqrt(float(noise_var))
        chance = sigmoid(logits) @ np.asarray(prior)
        error = np.asarray(labels) - (2 * chance - 1)
        assert_mean(error, 0, scale=1)
        assert_mean(error[:, None] * logits, 0, scale=logits.std())
        along = logits @ np.asarray(prior)
        assert_mean_sharply(np.asarray(labels) * along, np.mean((2 * chance - 1) * along))
    chances = sigmoid(view.features @ task.weak_concepts.T)
    for found, prior in ((view.weak_log_odds, task.weak_prior), (view.unaligned_log_odds, task.source_prior)):
        np.testing.assert_allclose(sigmoid(found), chances @ np.asarray(prior), rtol=1e-9)
    for labels, odds in zip(known(view.colleague_labels), known(view.colleague_log_odds)):
        error = np.asarray(labels) - (2 * sigmoid(odds) - 1)
        assert_mean(error, 0, scale=1)
        assert_mean(error * np.asarray(odds), 0, scale=odds.std())


def test_what_a_view_of_signs_has_not(view):
    assert view.unaligned_labels is view.weak_densities is None
    with pytest.raises(ValueError) as raised:
        inspect.unwrap(draw_view)(jax.random.key(0), make_task(), 3, 1, "words")
    assert_one_sentence(raised, "^labels must be among linear, sign, got 'words'; choose from the list.$")


# --- methods, by hand -----------------------------------------------------------------------------------------------


class Seen:
    """A view in NumPy."""

    def __init__(self, view: View) -> None:
        source = view.source
        self.features, self.weak = np.asarray(view.features), np.asarray(view.weak_labels)
        self.concepts = np.asarray(source.concepts) / np.sqrt(float(source.noise_var))
        self.prior = np.asarray(source.source_prior)
        self.logits = self.concepts @ self.features.T
        self.source = self.mixture(self.prior)
        self.uniform = np.asarray(view.chance.uniform)

    def mixture(self, weights):
        return np.asarray(nearest(jnp.array(self.concepts), jnp.array(weights), jnp.ones(DIM)))

    def learn(self, labels, source=None, penalty=LEAST, shares=None):
        return minimum(self.features, labels, self.source if source is None else source, penalty, shares)

    def signs(self, chance):
        return np.where(self.uniform < chance, 1.0, -1.0)


@pytest.fixture(scope="module")
def seen(view) -> Seen:
    return Seen(view)


@pytest.mark.slow
def test_plain_students_and_controls(view, seen):
    same(run("source", view), seen.source)
    same(run("ceiling", view), seen.learn(np.asarray(view.true_labels)))
    same(run("self_label", view), seen.learn(seen.signs(seen.prior @ sigmoid(seen.logits))))
    same(run("naive_ft", view, penalty=0.05), seen.learn(seen.weak, penalty=0.05))
    votes = (seen.weak + np.asarray(view.colleague_labels).sum(axis=0)) / (1 + len(view.colleague_labels))
    same(run("ensemble", view, penalty=0.05), seen.learn(votes, penalty=0.05))


def test_early_stopping_descends(view, seen):
    coef = seen.source
    for _ in range(DESCENT_STEPS):
        coef = coef - 6.0 / DESCENT_STEPS * slope(coef, seen.features, seen.weak, coef, 0.0)
    same(run("early_stopping", view, time=6.0), coef)
    same(run("early_stopping", view, time=0.0), seen.source)


def test_bootstrapping_hands_on_probabilities(view, seen):
    labels = seen.weak
    for model in [*np.asarray(view.middle_coef), seen.source]:
        coef = seen.learn(labels, model, 0.1)
        labels = 2 * sigmoid(seen.features @ coef) - 1
    same(run("bootstrapping", view, penalty=0.1), coef)
    assert len(view.middle_coef) == bootstrapping.SIZES


def test_aux_confidence_is_at_a_minimum_of_its_own_hard_answers(view, seen):
    """Hard answers are as balanced as the weak labels, and the student is that of both."""
    coef = np.asarray(run("aux_confidence", view, weight=0.3, penalty=0.05))
    own = seen.features @ coef
    hard = np.where(own > np.quantile(own, 1 - np.mean(seen.weak > 0)), 1.0, -1.0)
    assert hard.sum() == seen.weak.sum()
    same(coef, seen.learn(0.7 * seen.weak + 0.3 * hard, penalty=0.05), rtol=1e-5)
    expected = np.tanh(np.asarray(view.weak_log_odds) / 2)
    same(run("aux_confidence", view, weight=0.0, soft=1.0, penalty=0.05), seen.learn(expected, penalty=0.05))
    same(run("aux_confidence", view, weight=0.0, penalty=0.05), seen.learn(seen.weak, penalty=0.05))
    assert confidence.NEWTON_STEPS == NEWTON_STEPS


def test_experts_begin_with_the_generalist(view, seen):
    """Whose probabilities teach the student that then assigns the others; it keeps those that name the same sign."""
    own = sigmoid(seen.features @ seen.learn(2 * sigmoid(view.weak_log_odds) - 1, penalty=0.1))
    others = sigmoid(view.colleague_log_odds)
    entropy = -others * np.log(own) - (1 - others) * np.log(1 - own)
    chosen = others[entropy.argmin(axis=0), np.arange(NUM_SAMPLES)]
    keep = (chosen > 0.5) == (own > 0.5)
    assert 0.3 < keep.mean() < 1
    same(run("experts", view, penalty=0.1), seen.learn(2 * chosen - 1, penalty=0.1, shares=keep / keep.sum()))


def test_experts_from_the_source_by_a_loop_over_examples(view, seen):
    every = np.concatenate([seen.weak[None], view.colleague_labels])
    coef = seen.source
    for _ in range(teams.ROUNDS):
        own = seen.features @ coef
        away = np.logaddexp(0, -every * own)
        chosen = every[away.argmin(axis=0), np.arange(NUM_SAMPLES)]
        kept = away.min(axis=0) <= np.quantile(away.min(axis=0), 0.7)
        coef = seen.learn(chosen, penalty=0.1, shares=kept / kept.sum())
    same(run("experts_from_source", view, dropped=0.3, penalty=0.1), coef)


def test_selective_answers_where_it_is_sure(view, seen):
    chance = seen.prior @ sigmoid(seen.logits)
    sure = np.argsort(-np.abs(chance - 0.5))[: int(np.ceil(0.3 * NUM_SAMPLES))]
    others = np.setdiff1d(np.arange(NUM_SAMPLES), sure)
    for smoothing in (0.0, 0.4):
        labels = np.where(chance > 0.5, 1.0, -1.0)
        for i in others:
            rest = others[others != i]
            near = np.exp(-np.square(seen.features[i] - seen.features[rest]).sum(axis=1) / (2 * DIM))
            labels[i] = (1 - smoothing) * seen.weak[i] + smoothing * near @ seen.weak[rest] / near.sum()
        found = run("selective", view, known_share=0.3, smoothing=smoothing, penalty=0.1)
        same(found, seen.learn(labels, penalty=0.1))


def test_anchored_contrast_adds_the_change_of_log_odds(view, seen):
    own = np.log(seen.prior @ sigmoid(seen.logits)) - np.log(seen.prior @ sigmoid(-seen.logits))
    moved = own + 0.75 * np.asarray(view.weak_log_odds - view.unaligned_log_odds)
    same(run("anchored_contrastive", view, strength=0.75), seen.learn(seen.signs(sigmoid(moved))))


def test_reverse_kl_weighs_concepts_by_their_divergence(view, seen):
    teacher, own = sigmoid(view.weak_log_odds), sigmoid(seen.logits)
    away = (own * np.log(own / teacher) + (1 - own) * np.log((1 - own) / (1 - teacher))).mean(axis=1)
    weights = seen.prior * np.exp(-away / 0.3)
    same(run("reverse_kl", view, temperature=0.3), seen.mixture(weights / weights.sum()))


def test_no_mixture_of_log_odds_is_nearer_than_that_of_the_hull(view, seen):
    coef = np.asarray(run("hull", view))
    weights = np.linalg.lstsq(seen.concepts.T, coef)[0]
    same(weights @ seen.concepts, coef)
    assert weights.min() > -1e-9 and abs(weights.sum() - 1) < 1e-9
    pull = seen.logits @ (sigmoid(seen.features @ coef) - (1 + seen.weak) / 2) / NUM_SAMPLES
    assert pull.min() > pull @ weights - 1e-8  # towards no concept does the loss fall


def test_em_prior_is_em(view, seen):
    likelihood, weights = sigmoid(seen.weak * seen.logits), seen.prior
    for _ in range(7):
        joint = weights[:, None] * likelihood
        weights = (joint / joint.sum(axis=0)).mean(axis=1)
    same(run("em_prior", view, steps=7.0), seen.mixture(weights))


def posterior(seen: Seen, features, labels, temperature):
    evidence = np.log(sigmoid(labels * (features @ seen.concepts.T).T)).sum(axis=1)
    joint = seen.prior * np.exp(evidence / temperature)
    return joint / joint.sum()


def test_refinement_answers_under_the_posterior(view, seen):
    prompts = [(np.asarray(x), np.asarray(y)) for x, y in zip(*view.prompts)]
    pairs = [(x[None], y[None]) for x, y in zip(seen.features, seen.weak)]
    for temperature in (1.0, 2.5):
        for name, examples in (("icl_refine", prompts), ("self_refine", pairs)):
            weights = np.stack([posterior(seen, *example, temperature) for example in examples], axis=1)
            chance = (weights * sigmoid(seen.logits)).sum(axis=0)
            same(run(name, view, temperature=temperature), seen.learn(seen.signs(chance)))
    named = posterior(seen, *prompts[int(np.argmin(seen.uniform))], 1).argmax()  # an intent is one concept
    same(run("intent_refine", view), seen.learn(seen.signs(sigmoid(seen.logits[named]))))


# --- what students are worth ----------------------------------------------------------------------------------------


def test_a_risk_is_the_share_of_other_signs():
    task = make_task()._replace(feature_var=jnp.array([0.2, 1.0, 1.5, 2.0, 0.7, 3.0]))
    target = SIGN.target(task)
    np.testing.assert_allclose(target, task.target_coef / jnp.sqrt(task.noise_var), rtol=1e-9)
    coef = SIGN.teacher(task)
    features = np.random.default_rng(0).standard_normal((MANY, DIM)) * np.sqrt(np.asarray(task.feature_var))
    differs = (np.sign(features @ np.asarray(coef)) != np.sign(features @ np.asarray(target))).astype(float)
    risk = float(SIGN.risk(coef, target, task))
    assert_mean_sharply(differs, risk)
    assert abs(float(1 - w2s.sign_accuracy(coef, target)) / risk - 1) > 0.02  # uneven features matter
    assert SIGN.risk(jnp.zeros(DIM), target, task) == 0.5


def test_held_out_losses():
    features, labels, coef = sample(0, 50, 2.0)
    held, answers = Dataset(jnp.array(features), jnp.array(labels)), features @ coef
    for kind, losses in ((SIGN, np.log1p(np.exp(-labels * answers))), (LINEAR, (labels - answers) ** 2)):
        np.testing.assert_allclose(kind.held_out(jnp.array(coef)[None], held), [losses.mean()], rtol=1e-10)
