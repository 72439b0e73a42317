"""Parity with public code: its formulas, read from the files that are named, written in NumPy in our own words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from tests.arena_views import NUM_ICL, NUM_SAMPLES, draw, make_task
from w2s_jax.incontext import BayesPredictor
from w2s_jax.methods import METHODS, contrast, nearest_logit
from w2s_jax.methods.confidence import warmed_up, with_own
from w2s_jax.methods.early_stopping import DESCENT_STEPS
from w2s_jax.methods.signs import log_loss
from w2s_jax.predictive import law_mean, make_bins
from w2s_jax.refinement import posterior_path, refine_labels
from w2s_jax.types import Dataset

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
EXACT = 1e-10


# --- contrastive decoding: github.com/jianghoucheng/ConG, transformers-main/src/transformers/generation/utils.py,
# `_contrastive_decoding` and `_relative_top_filter`; alpha and relative_top as its scripts launch it -----------------


def released_contrast(scores, base, alpha=0.4, relative_top=0.1):
    """Probabilities of the next token from the scores of the aligned and of the unaligned weak model."""
    final, base = special.log_softmax(scores), special.log_softmax(base)
    out = final < min(final.max(), final.max() + np.log(relative_top))
    base = special.log_softmax(np.where(out, -1e-3, base))  # normalised again, with what is left out in it
    return special.softmax(np.where(out, -np.inf, final - (1 - alpha) * base))


@pytest.mark.parametrize("alpha", [0.4, 0.0, 1.0])
def test_contrastive_decoding_is_the_released_one(alpha):
    rng = np.random.default_rng(0)
    scores, base = 2 * rng.standard_normal((2, 50, 7))
    found = np.exp(contrast(jnp.array(scores), jnp.array(base), alpha))
    expected = np.stack([released_contrast(one, other, alpha) for one, other in zip(scores, base)])
    np.testing.assert_allclose(found, expected, atol=EXACT)
    assert 0.2 < (expected == 0).mean() < 0.8  # the filter does something


@pytest.fixture(scope="module")
def view():
    return draw(jax.random.key(0), make_task(), NUM_SAMPLES, NUM_ICL, "sign")


@pytest.mark.slow
def test_signs_of_contrastive_are_drawn_from_it(view):
    """Log odds 2 f of an answer against its opposite are those of two scores, f and -f."""
    pairs = zip(np.asarray(view.weak_log_odds), np.asarray(view.unaligned_log_odds))
    chance = [released_contrast(np.array([a, -a]) / 2, np.array([b, -b]) / 2)[0] for a, b in pairs]
    labels = np.where(np.asarray(view.chance.uniform) < chance, 1.0, -1.0)
    seen = view._replace(weak_labels=jnp.array(labels))  # naive fine-tuning on them, next to unpulled
    expected = METHODS["naive_ft"].on("sign")(seen, penalty=1e-3)
    np.testing.assert_allclose(METHODS["contrastive"].on("sign")(view), expected, rtol=1e-6)
    assert (labels != np.asarray(view.weak_labels)).any()


# --- losses: github.com/openai/weak-to-strong, weak_to_strong/loss.py, and github.com/EleutherAI/w2s, w2s/loss.py.
# Class 0 is -1 and class 1 is +1; labels are probabilities of class 1 ----------------------------------------------


def two_classes(log_odds):
    return np.stack([np.zeros_like(log_odds), np.asarray(log_odds)], axis=1)


def cross_entropy(logits, target):
    return -(target * special.log_softmax(logits, axis=1)).sum(axis=1)


def openai_logconf(log_odds, labels, coef):
    """(loss, target) of `logconf_loss_fn` once its weight is `coef`."""
    preds, both = special.softmax(two_classes(log_odds), axis=1), np.stack([1 - labels, labels], axis=1)
    first = preds[:, 0] >= np.quantile(preds[:, 0], both.mean(axis=0)[1])
    target = (1 - coef) * both + coef * np.stack([first, ~first], axis=1)
    return cross_entropy(two_classes(log_odds), target).mean(), target


def eleuther_logconf(log_odds, labels, coef, harden=True):
    """(loss, target) of `log_confidence_loss`, unbalanced, its buffer the batch."""
    preds, both = special.softmax(two_classes(log_odds), axis=1), np.stack([1 - labels, labels], axis=1)
    buffer = sorted(preds[:, 0])
    threshold = np.interp(labels.mean() * (len(buffer) - 1), range(len(buffer)), buffer)
    own = np.stack([preds[:, 0] >= threshold, preds[:, 0] < threshold], axis=1) if harden else preds
    target = (1 - coef) * both + coef * own
    return cross_entropy(two_classes(log_odds), target).mean(), target


@pytest.mark.parametrize("coef", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("released", [openai_logconf, eleuther_logconf])
def test_the_confidence_loss_is_the_released_one(released, soft, coef):
    rng = np.random.default_rng(1)
    own, weak = rng.standard_normal((2, 41)) * [[1.5], [2.0]]
    labels = special.expit(weak) if soft else (weak > 0.3).astype(float)
    expected, target = released(own, labels, coef)
    ours = with_own(jnp.array(own), jnp.array(2 * labels - 1), coef)
    np.testing.assert_allclose((1 + ours) / 2, target[:, 1], atol=EXACT)
    # A label between the signs is a mean of both, and so is its loss.
    plus, minus = (log_loss(jnp.array([sign]), jnp.array(own)) for sign in (1.0, -1.0))
    loss = ((1 + ours) * plus + (1 - ours) * minus) / 2
    np.testing.assert_allclose(loss.mean(), expected, atol=EXACT)


def test_its_weight_rises_over_the_tenth_of_the_released_code_but_to_all_of_it():
    openai = [1.0 if step / 100 > 0.1 else step / 100 for step in range(100)]
    ours = [float(warmed_up(step, 100)) for step in range(100)]
    assert openai[11:] == ours[11:] == [1.0] * 89
    np.testing.assert_allclose(ours[:11], np.linspace(0, 1, 11), atol=EXACT)  # their pull request 33
    assert openai[10] == 0.1


def descent(view, loss_of, time):
    """Descent on a loss of log odds [n] at a step, by central differences, from the source."""
    source = view.source
    concepts, features = np.asarray(source.concepts) / np.sqrt(float(source.noise_var)), np.asarray(view.features)
    coef = np.asarray(nearest_logit(jnp.array(concepts), source.source_prior, source.feature_var))
    for step in range(DESCENT_STEPS):
        loss = loss_of(features @ coef, step)
        moves = 1e-5 * np.eye(len(coef))
        slope = [(loss(features @ (coef + move)) - loss(features @ (coef - move))) / 2e-5 for move in moves]
        coef = coef - time / DESCENT_STEPS * np.array(slope)
    return coef


def product(view):
    """`product_loss_fn`: softmax^beta label^alpha over its sum."""
    weak = special.softmax(two_classes(view.weak_log_odds), axis=1)

    def at(now, _):
        target = special.softmax(two_classes(now), axis=1) ** 0.8 * weak**1.2
        target = target / target.sum(axis=1, keepdims=True)
        return lambda own: cross_entropy(two_classes(own), target).mean()

    return at


def window(view):
    """`confidence_window_loss`, which counts those it leaves out in its mean."""
    labels = (1 + np.asarray(view.weak_labels)) / 2

    def at(now, _):  # who is unsure is decided before the slope is taken
        unsure = special.softmax(two_classes(now), axis=1).max(axis=1) < 0.5 + 0.2
        both = np.stack([1 - labels, labels], axis=1)
        return lambda own: cross_entropy(two_classes(own), both)[unsure].sum() / len(labels)

    return at


def entropy(view):
    labels = special.expit(np.asarray(view.weak_log_odds))

    def at(now, step):
        _, target = eleuther_logconf(now, labels, 0.4 * min(1.0, step / (0.1 * DESCENT_STEPS)), harden=False)
        return lambda own: cross_entropy(two_classes(own), target).mean()

    return at


@pytest.mark.parametrize(
    ("name", "released", "knobs"),
    [
        ("product_loss", product, {"weak": 1.2, "strong": 0.8}),
        ("confidence_window", window, {"radius": 0.2}),
        ("entropy_loss", entropy, {"weight": 0.4, "soft": 1.0}),
    ],
)
def test_descent_on_a_released_loss(view, name, released, knobs):
    found = METHODS[name].on("sign")(view, **knobs, time=8.0)
    np.testing.assert_allclose(found, descent(view, released(view), 8.0), atol=1e-7)


def test_entropy_without_a_gradient_through_it_is_a_slower_clock(view):
    """Once the weight is whole its slope is 1 - c of the cross entropy's; only the first tenth differs."""
    rate = 1 - 0.5 * (1 - np.maximum(0, 1 - np.arange(DESCENT_STEPS) / (0.1 * DESCENT_STEPS)))
    slow = METHODS["entropy_loss"].on("sign")(view, weight=0.5, time=0.2)
    plain = METHODS["early_stopping"].on("sign")(view, time=0.2 * rate.mean())
    np.testing.assert_allclose(slow, plain, rtol=1e-3)
    assert np.abs(plain - METHODS["early_stopping"].on("sign")(view, time=0.2)).max() > 1e-2


# --- the posterior mean over a pool of tasks: github.com/mansheej/icl-task-diversity, icl/models.py, `DiscreteMMSE` --


def discrete_mmse(features, labels, pool, scale):
    """Predictions of each label from those before it, tasks of the pool equally likely."""
    found = [features[0] @ pool.mean(axis=0)]
    for i in range(1, len(labels)):
        alpha = stats.norm(0, scale).logpdf(labels[:i, None] - features[:i] @ pool.T).sum(axis=0)
        found.append(features[i] @ (special.softmax(alpha) @ pool))
    return np.array(found)


@pytest.mark.slow
def test_inference_over_concepts_is_that_of_discrete_mmse():
    rng = np.random.default_rng(3)
    features, pool = rng.standard_normal((9, 6)), 0.7 * rng.standard_normal((3, 6))
    labels = features @ pool[1] + 0.5 * rng.standard_normal(9)
    expected = discrete_mmse(features, labels, pool, 0.5)
    even = make_task()._replace(concepts=jnp.array(pool), source_prior=jnp.full(3, 1 / 3))
    prompt = Dataset(jnp.array(features), jnp.array(labels))
    posterior = posterior_path(even, prompt)[:-1]
    by_refinement = refine_labels(jax.random.key(0), even, prompt.features, posterior, draw="mean")
    np.testing.assert_allclose(by_refinement, expected, atol=EXACT)
    bayes = BayesPredictor(even, make_bins(12.0, 600))
    np.testing.assert_allclose(law_mean(bayes(*prompt), bayes.bins), expected, atol=1e-6)
    assert np.abs(np.diff(expected)).max() > 0.1
