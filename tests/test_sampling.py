"""Features, labels and moments: the distributions they are drawn from, and three ways to draw the same moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects, assert_mean_sharply
from tests.oracles import moment_law, moment_vector
from w2s_jax import sampling
from w2s_jax.estimators import least_squares
from w2s_jax.risk import excess_risk
from w2s_jax.rng import replicate_key
from w2s_jax.types import Dataset, Moments, Task

RTOL = 1e-10
ROWS = 40_000
VARIANCE = {"gaussian": 1.0, "uniform": 1 / 3}


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


@pytest.mark.parametrize(("features", "cdf"), [("gaussian", stats.norm()), ("uniform", stats.uniform(-1, 2))])
def test_features_have_their_distribution(features, cdf, key):
    rows = np.asarray(sampling.sample_features(key, ROWS, 3, features))
    assert_mean(rows, 0.0, scale=1.0)
    products, variance = rows[:, :, None] * rows[:, None, :], VARIANCE[features] * np.eye(3)
    assert_mean(products, variance, scale=1.0)
    assert_mean(rows[1:] * rows[:-1], 0.0, scale=1.0)  # rows are independent
    assert stats.kstest(rows.ravel(), cdf.cdf).pvalue > 1e-3
    assert stats.kstest(1.1 * rows.ravel(), cdf.cdf).pvalue < 1e-6


# Two labelers: another test says that nothing else differs.
@pytest.mark.parametrize(("labeler", "features"), [("source", "gaussian"), ("target", "uniform")])
def test_datasets_have_their_distribution(labeler, features, key):
    task = general_task()
    concepts, prior, noise_var = (np.asarray(x) for x in law(task, labeler))
    silent = task._replace(noise_var=jnp.array(0.0))
    rows, labels = (np.asarray(x) for x in sampling.sample_dataset(key, silent, ROWS, labeler, features))
    variance = VARIANCE[features] * np.asarray(task.feature_var)
    assert_mean(rows[:, :, None] * rows[:, None, :], np.diag(variance), scale=np.sqrt(np.outer(variance, variance)))
    if features == "uniform":
        largest = np.abs(rows / np.sqrt(np.asarray(task.feature_var))).max(axis=0)
        assert np.all(largest <= 1) and np.all(largest > 0.999)
    shown = np.abs(labels[:, None] - rows @ concepts.T) < 1e-12  # without noise a label gives its concept away
    np.testing.assert_array_equal(shown.sum(axis=1), 1)
    assert_mean_sharply(shown, prior)
    # The concept looks neither at the features nor at that of the row before.
    for k in range(3):
        assert_mean(rows[shown[:, k]] ** 2, variance)
    assert_mean(shown[1:, :, None] * shown[:-1, None, :], np.outer(prior, prior), scale=0.5)
    # The same key with noise: streams are named, so the difference is the noise alone.
    noisy = sampling.sample_dataset(key, task, ROWS, labeler, features)
    np.testing.assert_array_equal(noisy.features, rows)
    noise = np.asarray(noisy.labels) - labels
    assert stats.kstest(noise / np.sqrt(noise_var), "norm").pvalue > 1e-3
    assert stats.kstest(1.1 * noise / np.sqrt(noise_var), "norm").pvalue < 1e-6
    assert_mean(noise[:, None] * rows, 0.0, scale=np.sqrt(noise_var))


def test_design_moments_are_the_moments_of_the_dataset_they_stand_for(key):
    # One concept and unit feature variance: the same key gives the same features and noise both ways. No other concept
    # is shown, whose prior is zero.
    task = general_task()._replace(weak_prior=jnp.array([0.0, 1.0, 0.0]), feature_var=jnp.ones(4))
    data = sampling.sample_dataset(key, task, 3)
    rows, labels = (np.asarray(x) for x in data)
    expected = (rows.T @ rows / 3, rows.T @ labels / 3, 3)
    design = sampling.sample_design(key, 3, 4)
    for result in (sampling.moments(data), sampling.design_moments(design, task.weak_coef, task.weak_noise_var)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=RTOL, atol=1e-14), tuple(result), expected)


def test_linear_labels_and_design_of_share_one_noise():
    rng = np.random.default_rng(1)
    features, noise, coef = (jnp.asarray(rng.standard_normal(s)) for s in ((7, 3), 7, 3))
    labels = sampling.linear_labels(features, noise, coef, 0.49)
    np.testing.assert_allclose(labels, np.asarray(features) @ np.asarray(coef) + 0.7 * np.asarray(noise), rtol=RTOL)
    one = sampling.moments(Dataset(features, labels))
    other = sampling.design_moments(sampling.design_of(features, noise), coef, 0.49)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=RTOL), one, other)


# --- moments drawn directly -----------------------------------------------------------------------------------------

MIXTURE = general_task()
TASKS = {"mixture": MIXTURE, "one-concept": MIXTURE._replace(source_prior=jnp.array([0.0, 1.0, 0.0]))}


_drawn = replicates(lambda key, task, num_samples: sampling.sample_moments(key, task, num_samples, "source"), 25_000)


def drawn(task: Task, num_samples: int) -> Moments:
    """`sample_moments` of 25,000 replicates, for any task of this size and any n: one program."""
    return _drawn(task, jnp.array(float(num_samples)))


def assert_moments_of_source(found: Moments, task: Task, num_samples: int, scale=1.0) -> None:
    """Drawn moments of labels of the source have their exact mean and covariance; the twin is 10% larger."""
    mean, covariance = moment_law(*law(task, "source"), task.feature_var, num_samples)
    std, (i, j) = np.sqrt(np.diag(covariance)), np.triu_indices(mean.size)
    centred = moment_vector(found) - mean
    assert_mean(centred, 0.0, scale=std)
    assert_mean(centred[:, i] * centred[:, j], covariance[i, j], scale=scale * std[i] * std[j])
    assert_mean_rejects(((centred / std) ** 2).mean(axis=1), 1.1)


@jax.jit
def least_squares_risks(task, drawn):
    def risk(one):
        return excess_risk(least_squares(one, task.source_coef), task.target_coef, task.feature_var)

    return jax.vmap(risk)(drawn)


def assert_same_risks(task: Task, *both: Moments) -> None:
    """The risk of least squares, which reads all of the moments, has one distribution; the twin is 10% larger."""
    one, other = (np.asarray(least_squares_risks(task, found)) for found in both)
    assert stats.ks_2samp(one, other).pvalue > 1e-3
    assert stats.ks_2samp(1.1 * one, other).pvalue < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "num_samples"), [("mixture", 3), ("mixture", 12), ("mixture", 1000), ("one-concept", 3)]
)
def test_sampled_moments_have_the_exact_mean_and_covariance(prior, num_samples):
    found = drawn(TASKS[prior], num_samples)
    assert_moments_of_source(found, TASKS[prior], num_samples)
    # They could be those of data: the gram has the rank of n rows, and the cross moments lie in its range.
    gram, cross, sizes = (np.asarray(x)[:1000] for x in found)
    lam, basis = np.linalg.eigh(gram)
    null = 4 - min(num_samples, 4)
    assert np.all(np.abs(lam[:, :null]) < 1e-12) and np.all(lam[:, null:] > 1e-12)
    np.testing.assert_allclose(np.einsum("rij,ri->rj", basis, cross)[:, :null], 0.0, atol=1e-12)
    np.testing.assert_array_equal(sizes, num_samples)


@pytest.mark.parametrize("num_samples", [3, 12])  # below and above the dimension
@pytest.mark.slow
def test_sampled_moments_are_distributed_as_those_of_data(num_samples):
    draw = replicates(lambda key: sampling.sample_dataset(key, MIXTURE, num_samples, "source"), 25_000, seed=2)
    rows, labels = (np.asarray(x) for x in draw())
    gram, cross = (np.einsum("rni,rn...->ri...", rows, x) / num_samples for x in (rows, labels))
    of_rows = Moments(jnp.asarray(gram), jnp.asarray(cross), jnp.full(len(rows), float(num_samples)))
    assert_same_risks(MIXTURE, drawn(MIXTURE, num_samples), of_rows)


@pytest.mark.slow
def test_large_samples_approach_the_population():
    gram, cross, _ = drawn(MIXTURE, 10**12)  # at a cost that does not depend on n
    var = MIXTURE.feature_var
    np.testing.assert_allclose(gram, np.broadcast_to(np.diag(var), gram.shape), atol=1e-4)
    np.testing.assert_allclose(cross, np.broadcast_to(var * MIXTURE.source_coef, cross.shape), atol=1e-4)


def test_the_labeler_chooses_concepts_prior_and_noise():
    task = general_task()
    for labeler in ("source", "target", "weak"):
        jax.tree.map(np.testing.assert_array_equal, sampling._label_law(task, labeler), law(task, labeler))
