"""What methods see of a task: labels of either kind that follow it, and colleagues of the teacher."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import w2s_jax as w2s
from tests.arena_views import DIM, NUM_CONCEPTS, NUM_ICL, NUM_SAMPLES, TRUE_SHARE, draw, make_task
from tests.helpers import assert_mean, assert_mean_sharply, assert_same_trees
from tests.test_methods_sign import sigmoid
from tests.test_theory_population import refusals
from w2s_jax.methods import View, bootstrapping, draw_view, known
from w2s_jax.relaxed import power_law_spectrum
from w2s_jax.rng import stream
from w2s_jax.types import Task

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
MANY = 30_000


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task()


@pytest.fixture(scope="module")
def view(task) -> View:
    return draw(jax.random.key(0), task, NUM_SAMPLES, NUM_ICL)


def same(coef, expected):
    np.testing.assert_allclose(coef, expected, rtol=1e-8, atol=1e-10)


unchecked = partial(inspect.unwrap(draw_view), None, None)
test_what_cannot_be_drawn = refusals(
    (partial(unchecked, 0, 1), r"^num_samples and num_icl must be at least 1, got 0 and 1\.$"),
    (partial(unchecked, 1, -3), r"^num_samples and num_icl must be at least 1, got 1 and -3\.$"),
    (partial(unchecked, 3, 1, "words"), r"^labels must be among linear, sign, got 'words'; choose from the list\.$"),
)


def test_the_source_hides_the_target(task, view):
    for name in ("concepts", "source_prior", "noise_var", "feature_var"):
        np.testing.assert_array_equal(getattr(view.source, name), getattr(task, name))
    for name in ("target_prior", "weak_concepts", "weak_prior", "weak_noise_var"):
        assert getattr(view.source, name) is None
    np.testing.assert_array_equal(view.source.source_coef, task.source_coef)


def test_every_field_has_a_draw_of_its_own(key, view):
    columns = [view.weak_labels - view.true_labels, *view.colleague_labels, view.prompts.labels[:, 0]]
    columns += [view.chance.normal, view.chance.uniform, *view.features.T, *view.prompts.features[:, 0].T]
    alike = np.abs(np.corrcoef(np.stack(columns)) - np.eye(len(columns)))
    assert alike.max() < 0.95
    assert len(np.unique(np.stack(columns))) == NUM_SAMPLES * len(columns)
    # Streams have names, so that a draw does not move with what else is drawn.
    np.testing.assert_array_equal(view.chance.uniform, jax.random.uniform(stream(key, "uniform"), (NUM_SAMPLES,)))
    features = w2s.sample_features(stream(key, "features"), NUM_SAMPLES, DIM)
    np.testing.assert_allclose(view.features, features, rtol=1e-10)


def uneven_task() -> Task:
    """A task in which nothing coincides: three mixtures, two noises, a variance for each feature."""
    fields = {
        "weak_prior": [0.5, 0.3, 0.2],
        "target_prior": [0.6, 0.0, 0.4],
        "weak_noise_var": 0.7,
        "feature_var": [0.5, 1.0, 1.5, 2.0, 0.7, 0.3],
    }
    return make_task()._replace(**{name: jnp.array(value) for name, value in fields.items()})


def labelled(task: Task, view: View):
    """Rows and labels of the teacher, of prompts and of the target: with the concepts, their prior and the noise."""
    weak = (task.weak_concepts, task.weak_prior, task.weak_noise_var)
    yield view.features, view.weak_labels, weak
    yield view.prompts.features[:, 0], view.prompts.labels[:, 0], weak
    yield view.features, view.true_labels, (task.concepts, task.target_prior, task.noise_var)


def silent(task: Task) -> Task:
    """With a teacher without label noise."""
    return task._replace(weak_noise_var=jnp.zeros_like(task.weak_noise_var))


def test_labels_follow_the_task():
    """Every row is a replicate: mean prior'B phi, and the spread of the noise and of the concepts around it."""
    task = uneven_task()
    view = draw(jax.random.key(11), task, MANY, 2)
    features, feature_var = np.asarray(view.features), np.asarray(task.feature_var)
    assert_mean(features, 0, scale=np.sqrt(feature_var))
    assert_mean(features**2, feature_var)
    assert_mean(view.chance.normal**2, 1)
    assert_mean(view.chance.uniform, 0.5)
    for rows, labels, (concepts, prior, noise_var) in labelled(task, view):
        coef = np.asarray(prior @ concepts)
        error = np.asarray(labels) - np.asarray(rows) @ coef
        apart = np.asarray(prior) @ ((np.asarray(concepts) - coef) ** 2 @ feature_var)
        assert_mean(error, 0, scale=error.std())
        assert_mean(error[:, None] * np.asarray(rows), 0, scale=error.std() * np.sqrt(feature_var))
        assert_mean_sharply(error**2, float(noise_var) + apart)
    # The distribution function of the aligned weak model is uniform at its own labels.
    answers, aligned, _ = (np.asarray(x) for x in known(view.weak_densities))
    mass = np.exp(aligned) / np.exp(aligned).sum(axis=1, keepdims=True)
    steps = (np.asarray(view.weak_labels)[:, None] - answers) / (answers[:, 1:2] - answers[:, :1]) + 0.5
    below = (mass * np.clip(steps, 0, 1)).sum(axis=1)
    assert_mean(below, 0.5)
    assert_mean_sharply(below**2, 1 / 3)


def test_a_prompt_shows_one_concept():
    """Without noise every label of a prompt is that of one weak concept; concepts come as often as the prior says."""
    task = silent(uneven_task())
    view = draw(jax.random.key(5), task, MANY, 2)
    answers = np.einsum("nmd,kd->nkm", view.prompts.features, task.weak_concepts)
    shown = np.abs(answers - np.asarray(view.prompts.labels)[:, None]).max(axis=2) < 1e-9
    np.testing.assert_array_equal(shown.sum(axis=1), 1)
    assert_mean(shown, task.weak_prior)


def colleagues(task: Task, seed: int = 0) -> np.ndarray:
    """Regression vectors of the teacher and its colleagues, from labels without noise."""
    view = draw(jax.random.key(seed), silent(task), NUM_SAMPLES, NUM_ICL)
    every = [view.weak_labels, *known(view.colleague_labels)]
    return np.stack([np.linalg.lstsq(np.asarray(view.features), np.asarray(labels))[0] for labels in every])


@pytest.mark.parametrize("weakness", ["rotated", "shifted", "confused", "noisy"])
def test_colleagues_are_as_accurate_and_err_elsewhere(weakness):
    task = make_task(weakness)
    teacher, *others = coefs = colleagues(task)
    same(teacher, task.weak_coef)
    assert len(others) == 2
    target, concepts = np.asarray(task.target_coef), np.asarray(task.concepts)
    for coef in others:
        same(np.linalg.norm(coef - target), np.linalg.norm(teacher - target))
        same(concepts @ coef, concepts @ teacher)
    apart = [np.linalg.norm(coefs[i] - coefs[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    if weakness in ("rotated", "shifted"):  # elsewhere than the teacher, and than each other
        assert min(apart) > 0.1
        again = colleagues(task, seed=1)
        same(again[0], teacher)
        assert np.linalg.norm(again[1] - coefs[1]) > 0.1
    else:  # nothing of their error lies outside the concepts
        assert max(apart) < 1e-8


def test_colleagues_are_as_accurate_with_uneven_features():
    task = w2s.make_task(num_concepts=NUM_CONCEPTS, dim=DIM, weak_accuracy=0.6, concept_shift=0.5)
    task = task._replace(feature_var=power_law_spectrum(DIM, 1.0))
    risks = [w2s.excess_risk(jnp.asarray(x), task.target_coef, task.feature_var) for x in colleagues(task)]
    same(risks[1:], risks[:1] * 2)


@pytest.mark.slow
def test_colleagues_have_noise_of_their_own(task):
    noisy, still = (draw(jax.random.key(3), t, MANY, 2) for t in (task, silent(task)))
    noises = [np.asarray(noisy.weak_labels - still.weak_labels)]
    noises += list(np.asarray(noisy.colleague_labels - still.colleague_labels))
    for i, one in enumerate(noises):
        assert_mean(one**2, 0.25)
        for other in noises[:i]:
            assert_mean(one * other, 0, scale=0.25)


def test_models_between_weak_and_strong(task, view):
    unaligned = np.linalg.lstsq(np.asarray(view.features), np.asarray(view.unaligned_labels))[0]
    same(unaligned, np.asarray(task.source_prior) @ np.asarray(task.weak_concepts))
    source_coef, count = np.asarray(task.source_coef), len(view.middle_coef)
    assert count == bootstrapping.SIZES
    for j, coef in enumerate(view.middle_coef, start=1):
        same(coef, unaligned + j / (count + 1) * (source_coef - unaligned))
    assert np.linalg.norm(unaligned - source_coef) > 0.1


@pytest.mark.slow
def test_a_share_of_the_examples_has_true_labels_and_changes_no_other_draw(key, task, view):
    few, at = view.few_true_labels, jax.jit(draw_view, static_argnums=(2, 3, 4))
    assert few.given.sum() == TRUE_SHARE * NUM_SAMPLES
    np.testing.assert_array_equal(few.labels, few.given * view.true_labels)
    one, other = (at(key, task, 20, 2, "sign", share) for share in (0.0, 0.5))
    assert one.few_true_labels.given.sum() == 0
    assert_same_trees(*(seen._replace(few_true_labels=None) for seen in (one, other)))


@pytest.mark.slow
def test_signs_follow_the_task(key, task, view):
    """Every example is a replicate: its sign has the mean 2P - 1, also beside the teacher's logit."""
    signs = draw(key, task, NUM_SAMPLES, NUM_ICL, "sign")
    np.testing.assert_array_equal(signs.features, view.features)
    assert signs.unaligned_labels is signs.weak_densities is None
    task = uneven_task()._replace(weak_noise_var=jnp.array(1.0))
    view = draw(jax.random.key(3), task, 2 * MANY, 1, "sign")
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
