"""Logistic students and the distribution of signs: against scikit-learn, SciPy and NumPy by hand."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression

import w2s_jax as w2s
from tests.arena_views import DIM, make_task
from tests.helpers import assert_mean_sharply
from tests.test_theory_population import assert_slopes, refusals
from w2s_jax.methods import logistic_to_source, nearest_logit
from w2s_jax.methods.kinds import LINEAR, SIGN
from w2s_jax.methods.logistic import NEWTON_STEPS
from w2s_jax.methods.signs import log_odds, logit_concepts
from w2s_jax.types import Dataset

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
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


def test_derivatives_are_those_of_the_minimum():
    features, labels, source_coef = (jnp.array(x) for x in sample(5, 40, 2.0))

    def value(away, penalty, label):
        data = Dataset(features, labels.at[7].set(label))
        return jnp.sin(logistic_to_source(data, source_coef.at[1].add(away), penalty)).sum()

    assert_slopes(value, (0.0, 0.05, float(labels[7])), rtol=1e-6, step=1e-5)


def test_single_precision_is_enough_for_signs():
    features, labels, source_coef = sample(7, 40, 2.0)
    single = [jnp.array(x, jnp.float32) for x in (features, labels, source_coef)]
    found = fit(Dataset(*single[:2]), single[2], jnp.float32(LEAST))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, minimum(features, labels, source_coef, LEAST), rtol=1e-3, atol=1e-3)


def student(penalty=0.1, **options):
    return logistic_to_source(Dataset(jnp.ones((2, 1)), jnp.array([1.0, -1.0])), jnp.zeros(1), penalty, **options)


test_bad_arguments_of_the_kernel = refusals(
    (lambda: student(penalty=-0.1), r"^penalty must not be negative, got -0\.1; 0 does not pull to the source\.$"),
    (lambda: student(num_steps=0), rf"^num_steps must be at least 1, got 0; {NEWTON_STEPS} reach the minimum\.$"),
)


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
