"""Features, labels and moments: the distributions they are drawn from, and three ways to draw the same moments."""

import inspect
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects
from tests.oracles import moment_law, moment_vector
from w2s_jax import sampling
from w2s_jax.estimators import least_squares
from w2s_jax.risk import excess_risk
from w2s_jax.rng import replicate_key
from w2s_jax.sampling import (
    FEATURE_LAWS,
    design_moments,
    design_of,
    linear_labels,
    moments,
    sample_dataset,
    sample_design,
    sample_features,
    sample_moments,
)
from w2s_jax.tasks import make_task
from w2s_jax.types import Dataset, Moments, Task

RTOL = 1e-10
ROWS = 40_000
VARIANCE = {"gaussian": 1.0, "uniform": 1 / 3}
FOURTH_MOMENT = {"gaussian": 3.0, "uniform": 1 / 5}
LABELERS = ("source", "target", "weak")


def general_task() -> Task:
    """A task in which nothing coincides: oblique concepts, three mixtures, two noises, a variance for each feature."""
    rng = np.random.default_rng(0)
    return Task(
        concepts=jnp.asarray(rng.standard_normal((3, 4))),
        source_prior=jnp.array([0.5, 0.2, 0.3]),
        target_prior=jnp.array([0.2, 0.6, 0.2]),
        noise_var=jnp.array(0.4),
        weak_concepts=jnp.asarray(rng.standard_normal((3, 4))),
        weak_prior=jnp.array([0.25, 0.25, 0.5]),
        weak_noise_var=jnp.array(0.9),
        feature_var=jnp.array([0.5, 1.0, 1.5, 2.0]),
    )


def law(task: Task, labeler: str):
    return {
        "source": (task.concepts, task.source_prior, task.noise_var),
        "target": (task.concepts, task.target_prior, task.noise_var),
        "weak": (task.weak_concepts, task.weak_prior, task.weak_noise_var),
    }[labeler]


def replicates(kernel, count: int, seed: int = 1):
    """`kernel(key, *arguments)` for `count` independent keys, as a function of the arguments: one program."""
    key = jax.random.key(seed)

    def draw(*arguments):
        return jax.vmap(lambda i: kernel(replicate_key(key, i), *arguments))(jnp.arange(count))

    return jax.jit(draw)


# --- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", FEATURE_LAWS)
def test_feature_moments(features, key):
    rows = np.asarray(sample_features(key, ROWS, 3, features))
    assert_mean(rows, 0.0, scale=1.0)
    products, variance = rows[:, :, None] * rows[:, None, :], VARIANCE[features] * np.eye(3)
    assert_mean(products, variance, scale=1.0)
    assert_mean(rows**4, FOURTH_MOMENT[features])
    assert_mean_rejects(rows**2, 1.1 * VARIANCE[features])
    assert_mean(rows[1:] * rows[:-1], 0.0, scale=1.0)  # rows are independent


@pytest.mark.parametrize(("features", "cdf"), [("gaussian", stats.norm()), ("uniform", stats.uniform(-1, 2))])
def test_feature_law(features, cdf, key):
    draws = np.asarray(sample_features(key, ROWS, 3, features)).ravel()
    assert stats.kstest(draws, cdf.cdf).pvalue > 1e-3
    assert stats.kstest(1.1 * draws, cdf.cdf).pvalue < 1e-6


def test_uniform_features_stay_in_their_cube(key):
    task = general_task()
    rows = np.asarray(sample_dataset(key, task, ROWS, features="uniform").features)
    largest = np.abs(rows / np.sqrt(np.asarray(task.feature_var))).max(axis=0)
    assert np.all(largest <= 1)
    assert np.all(largest > 0.999)


# --- datasets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", FEATURE_LAWS)
@pytest.mark.parametrize("labeler", LABELERS)
def test_dataset_laws(labeler, features, key):
    task = general_task()
    concepts, prior, noise_var = (np.asarray(x) for x in law(task, labeler))
    rows, labels = (np.asarray(x) for x in sample_dataset(key, task, ROWS, labeler, features))
    variance = VARIANCE[features] * np.asarray(task.feature_var)
    assert_mean(rows[:, :, None] * rows[:, None, :], np.diag(variance), scale=np.sqrt(np.outer(variance, variance)))
    # The regression vector is the prior's mean of the concepts; a label's variance counts their spread and the noise.
    spread = noise_var + prior @ (concepts**2 @ variance)
    scale = np.sqrt(spread * variance)
    assert_mean(rows * labels[:, None], variance * (prior @ concepts), scale=scale)
    assert_mean(labels**2, spread)
    assert_mean_rejects(labels**2, 1.1 * spread)
    assert_mean(labels[1:] * labels[:-1], 0.0, scale=spread)  # every row draws a concept of its own


@pytest.mark.parametrize("labeler", LABELERS)
def test_concepts_follow_the_prior_and_noise_is_normal(labeler, key):
    task = general_task()
    concepts, prior, noise_var = (np.asarray(x) for x in law(task, labeler))
    silent = task._replace(noise_var=jnp.array(0.0), weak_noise_var=jnp.array(0.0))
    rows, labels = (np.asarray(x) for x in sample_dataset(key, silent, ROWS, labeler))
    shown = np.abs(labels[:, None] - rows @ concepts.T) < 1e-12  # without noise a label gives its concept away
    np.testing.assert_array_equal(shown.sum(axis=1), 1)
    assert_mean(shown, prior)
    assert_mean_rejects(shown, 1.1 * prior)
    # The concept does not look at the features.
    for k in range(3):
        assert_mean(rows[shown[:, k]] ** 2, task.feature_var)
    # The same key with noise: streams are named, so the difference is the noise alone.
    noisy = sample_dataset(key, task, ROWS, labeler)
    np.testing.assert_array_equal(noisy.features, rows)
    noise = np.asarray(noisy.labels) - labels
    assert stats.kstest(noise / np.sqrt(noise_var), "norm").pvalue > 1e-3
    assert stats.kstest(1.1 * noise / np.sqrt(noise_var), "norm").pvalue < 1e-6
    assert_mean(noise[:, None] * rows, 0.0, scale=np.sqrt(noise_var))


def test_a_concept_of_prior_zero_is_never_shown(key):
    task = general_task()._replace(weak_prior=jnp.array([0.0, 1.0, 0.0]), weak_noise_var=jnp.array(0.0))
    rows, labels = sample_dataset(key, task, ROWS)
    np.testing.assert_allclose(labels, rows @ task.weak_concepts[1], rtol=RTOL, atol=1e-14)


# --- designs and moments --------------------------------------------------------------------------------------------


def test_design_moments_are_the_moments_of_the_dataset_they_stand_for(key):
    # One concept and unit feature variance: the same key gives the same features and noise both ways.
    task = general_task()._replace(weak_prior=jnp.array([0.0, 1.0, 0.0]), feature_var=jnp.ones(4))
    data = sample_dataset(key, task, 3)
    dense = (np.asarray(x) for x in data)
    rows, labels = dense
    expected = (rows.T @ rows / 3, rows.T @ labels / 3, 3)
    design = sample_design(key, 3, 4)
    for result in (moments(data), design_moments(design, task.weak_coef, task.weak_noise_var)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=RTOL, atol=1e-14), tuple(result), expected)


def test_linear_labels_and_design_of_share_one_noise(key):
    rng = np.random.default_rng(1)
    features, noise, coef = (jnp.asarray(rng.standard_normal(s)) for s in ((7, 3), 7, 3))
    labels = linear_labels(features, noise, coef, 0.49)
    np.testing.assert_allclose(labels, np.asarray(features) @ np.asarray(coef) + 0.7 * np.asarray(noise), rtol=RTOL)
    one, other = moments(Dataset(features, labels)), design_moments(design_of(features, noise), coef, 0.49)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=RTOL), one, other)


# --- moments drawn directly -----------------------------------------------------------------------------------------

SIZES = (3, 12)  # below and above the dimension
PRIORS = {"one-concept": (0.0, 1.0, 0.0), "mixture": (0.5, 0.2, 0.3)}


@pytest.fixture(scope="module")
def drawn():
    """`sample_moments` of 25,000 replicates, for any prior and n: both are traced, so that one program does."""
    draw = replicates(lambda key, task, num_samples: sample_moments(key, task, num_samples, "source"), 25_000)
    return cache(lambda prior, num_samples: draw(mixture(prior), jnp.array(float(num_samples))))


@pytest.fixture(scope="module")
def data():
    """Datasets of 12 rows, 25,000 replicates: the first n rows are a dataset of size n."""
    draw = replicates(lambda key, task: sample_dataset(key, task, max(SIZES), "source"), 25_000, seed=2)
    return cache(lambda prior: draw(mixture(prior)))


def mixture(prior: str) -> Task:
    return general_task()._replace(source_prior=jnp.array(PRIORS[prior]))


SETTINGS = [(prior, n) for prior in PRIORS for n in (*SIZES, 1000)]


# One setting by default: the program is compiled for the tests below anyway.
@pytest.mark.parametrize(
    ("prior", "num_samples"),
    [pytest.param(*x, marks=[] if x == ("mixture", 3) else pytest.mark.slow) for x in SETTINGS],
)
def test_sampled_moments_have_the_exact_mean_and_covariance(drawn, prior, num_samples):
    task = mixture(prior)
    mean, covariance = moment_law(*law(task, "source"), task.feature_var, num_samples)
    draws, std = moment_vector(drawn(prior, num_samples)), np.sqrt(np.diag(covariance))
    assert_mean(draws, mean, scale=std)
    centred, (i, j) = draws - mean, np.triu_indices(std.size)
    assert_mean(centred[:, i] * centred[:, j], covariance[i, j], scale=std[i] * std[j])
    assert_mean_rejects(((centred / std) ** 2).mean(axis=1), 1.1)


@pytest.mark.parametrize("num_samples", SIZES)
@pytest.mark.parametrize("prior", PRIORS)
def test_sampled_moments_could_be_those_of_data(drawn, prior, num_samples):
    # The gram has the rank of n rows, and the cross moments lie in its range.
    gram, cross, sizes = (np.asarray(x)[:1000] for x in drawn(prior, num_samples))
    lam, basis = np.linalg.eigh(gram)
    null = 4 - min(num_samples, 4)
    assert np.all(np.abs(lam[:, :null]) < 1e-12)
    assert np.all(lam[:, null:] > 1e-12)
    np.testing.assert_allclose(np.einsum("rij,ri->rj", basis, cross)[:, :null], 0.0, atol=1e-12)
    np.testing.assert_array_equal(sizes, num_samples)


@pytest.mark.parametrize("num_samples", SIZES)
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.slow
def test_sampled_moments_equal_the_data_road_in_law(drawn, data, prior, num_samples):
    # One number that reads all of the moments: the risk of least squares, nearest to the source where n < d. Its whole
    # law is compared.
    task = mixture(prior)
    rows, labels = (np.asarray(x)[:, :num_samples] for x in data(prior))
    gram, cross = (np.einsum("rni,rn...->ri...", rows, x) / num_samples for x in (rows, labels))
    of_rows = Moments(jnp.asarray(gram), jnp.asarray(cross), jnp.full(len(rows), float(num_samples)))
    direct, of_rows = (np.asarray(least_squares_risks(task, each)) for each in (drawn(prior, num_samples), of_rows))
    assert stats.ks_2samp(direct, of_rows).pvalue > 1e-3
    assert stats.ks_2samp(1.1 * direct, of_rows).pvalue < 1e-6


@jax.jit
def least_squares_risks(task, drawn):
    def risk(one):
        return excess_risk(least_squares(one, task.source_coef), task.target_coef, task.feature_var)

    return jax.vmap(risk)(drawn)


def test_large_samples_approach_the_population(drawn):
    # At a cost that does not depend on n.
    task = mixture("mixture")
    gram, cross, _ = drawn("mixture", 10**12)
    np.testing.assert_allclose(gram, np.broadcast_to(np.diag(task.feature_var), gram.shape), atol=1e-4)
    np.testing.assert_allclose(cross, np.broadcast_to(task.feature_var * task.source_coef, cross.shape), atol=1e-4)


@pytest.mark.parametrize("labeler", LABELERS)
def test_the_labeler_chooses_the_law(labeler):
    task = general_task()
    jax.tree.map(np.testing.assert_array_equal, sampling._label_law(task, labeler), law(task, labeler))


@pytest.mark.parametrize("num_samples", [7, 7.0, jnp.array(7), jnp.array(7.0)], ids=repr)
def test_num_samples_is_any_kind_of_number(num_samples, key):
    drawn = jax.eval_shape(sample_moments, key, general_task(), num_samples)
    assert [x.dtype for x in drawn] == [jnp.float64] * 3


# --- bad input ------------------------------------------------------------------------------------------------------

UNIT = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
BAD = [
    (sample_features, (0, 3), "num_samples must be at least 1, got 0"),
    (sample_features, (2, 0), "dim must be at least 1, got 0"),
    (sample_features, (2, 3, "cauchy"), "features must be one of gaussian, uniform; got 'cauchy'"),
    (sample_dataset, (UNIT, 0), "num_samples must be at least 1, got 0"),
    (sample_dataset, (UNIT, 2, "teacher"), "labeler must be one of source, target, weak; got 'teacher'"),
    (sample_dataset, (UNIT, 2, "weak", "cauchy"), "features must be one of gaussian, uniform; got 'cauchy'"),
    (sample_design, (-1, 3), "num_samples must be at least 1, got -1"),
    (sample_moments, (UNIT, 0), "num_samples must be a whole number of at least 1, got 0"),
    (sample_moments, (UNIT, 2.5), "num_samples must be a whole number of at least 1, got 2.5"),
    (sample_moments, (UNIT, 2, "teacher"), "labeler must be one of source, target, weak; got 'teacher'"),
]


@pytest.mark.parametrize(("kernel", "arguments", "message"), BAD)
def test_bad_arguments_are_named(kernel, arguments, message, key, monkeypatch):
    # Unwrapped: in tests the type hook would refuse an unknown choice first, but users do not run it.
    monkeypatch.setattr(sampling, "_label_law", inspect.unwrap(sampling._label_law))
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(kernel)(key, *arguments)
