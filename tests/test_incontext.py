"""In-context learners: exact Bayes against loops over SciPy's normal law, the network's places, measures of both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects, assert_mean_sharply
from tests.oracles import log_posterior
from tests.test_predictive import binned_mixture
from tests.test_sampling import general_task, law
from tests.test_theory_population import refusals
from w2s_jax import training
from w2s_jax.incontext import BayesPredictor, ConceptRegressor, cross_entropy, loss, sample_sequence
from w2s_jax.incontext_measures import calibration, concept_weights, kl_to_bayes, mean_square_distance
from w2s_jax.predictive import law_mean, make_bins
from w2s_jax.refinement import concept_log_posterior
from w2s_jax.tasks import make_task
from w2s_jax.transformer import TransformerConfig
from w2s_jax.types import Dataset

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")

LENGTH = 6
COUNT = 8000
TASK = general_task()
BINS = make_bins(8.0, 40)
FINE = make_bins(20.0, 2000)
BAYES = BayesPredictor(TASK, BINS)
TINY = TransformerConfig(num_layers=2, width=16, num_heads=2, max_length=LENGTH)
NETWORK = ConceptRegressor(TINY, 4, 40, rngs=nnx.Rngs(0))


@jax.jit(static_argnums=2)
def sequences_of(key, task, labeler):
    """Independent sequences, `[COUNT LENGTH ...]`."""
    return jax.vmap(lambda index: sample_sequence(jax.random.fold_in(key, index), task, LENGTH, labeler))(
        jnp.arange(COUNT)
    )


SEQUENCES = sequences_of(jax.random.key(1), TASK, "source")
SEQUENCE = jax.tree.map(lambda leaf: leaf[0], SEQUENCES)
SOME = jax.tree.map(lambda leaf: leaf[:2000], SEQUENCES)
QUERIES = np.random.default_rng(2).standard_normal((50, 4))


# --- sequences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labeler", ["source", "weak", "target"])
def test_a_sequence_shows_one_concept_of_its_labeler_with_its_noise(labeler):
    concepts, prior, noise_var = (np.asarray(part) for part in law(TASK, labeler))
    nothing = jnp.zeros_like(TASK.noise_var)
    silent = TASK._replace(noise_var=nothing, weak_noise_var=nothing)
    data, noisy = (jax.tree.map(np.asarray, sequences_of(jax.random.key(0), task, labeler)) for task in (silent, TASK))
    answers = np.einsum("bmd,kd->bkm", data.features, concepts)
    explains = np.abs(answers - data.labels[:, None]).max(axis=2) < 1e-9
    assert np.all(explains.sum(axis=1) == 1)  # the same concept for all its examples, and no other
    assert_mean(explains, prior[None], scale=0.3)
    assert_mean_rejects(explains, np.roll(prior, 1)[None], scale=0.3)
    assert_mean(data.features.reshape(-1, 4) ** 2, np.asarray(TASK.feature_var)[None])
    assert_mean_sharply((noisy.labels - data.labels).ravel() ** 2, noise_var)


# --- exact Bayes, and the network -----------------------------------------------------------------------------------


def dense_laws(features, labels, queries=None) -> np.ndarray:
    """Distributions by loops: posteriors of each prefix, or of the whole prompt, by densities, masses by `norm.cdf`."""
    features, labels = np.asarray(features), np.asarray(labels)
    contexts = [(features[:i], labels[:i], x) for i, x in enumerate(features)]
    if queries is not None:
        contexts = [(features, labels, x) for x in np.asarray(queries)]
    masses = []
    for seen, answers, x in contexts:
        weights = np.exp(log_posterior(TASK, seen, answers))
        means = [float(concept @ x) for concept in np.asarray(TASK.concepts)]
        masses.append(binned_mixture(means, weights, float(TASK.noise_var), BINS.edges))
    return np.array(masses)


PREDICTORS = {"network": NETWORK, "bayes": BAYES}
PROMPT = Dataset(SEQUENCE.features[:-1], SEQUENCE.labels[:-1])
ASKED = np.concatenate([QUERIES[:2], np.asarray(SEQUENCE.features)[[0, -1]]])


@pytest.fixture(scope="module")
def answered():
    """By name of a predictor: its distributions along a sequence, those of queries after no and five examples, and the
    derivatives of its means along the sequence by features and labels: one program."""

    def answers(predictor):
        def mean(features, labels):
            return law_mean(predictor(features, labels), BINS)

        reads = jax.jacrev(mean, argnums=(0, 1))(*SEQUENCE)
        return predictor(*SEQUENCE), predictor.query_path(PROMPT, (0, LENGTH - 1), jnp.asarray(ASKED)), reads

    return {name: jax.jit(lambda one=one: answers(one))() for name, one in PREDICTORS.items()}


@pytest.mark.slow
def test_exact_bayes_equals_an_independent_computation(answered):
    laws, after, _ = answered["bayes"]
    masses = np.exp(laws)
    np.testing.assert_allclose(masses, dense_laws(*SEQUENCE), rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.exp(after[1]), dense_laws(*PROMPT, ASKED), rtol=0, atol=1e-10)
    assert np.abs(masses - dense_laws(SEQUENCE.features, SEQUENCE.labels[::-1])).max() > 0.01  # the twin


@pytest.mark.parametrize("name", PREDICTORS)
def test_distributions_sum_to_one_and_a_query_is_the_last_place(answered, name):
    laws, after, _ = answered[name]
    assert laws.shape == (LENGTH, 40) and laws.dtype == jnp.float64
    tolerance = 1e-10 if name == "bayes" else 1e-4  # the network computes in single precision
    np.testing.assert_allclose(np.exp(laws).sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.exp(after).sum(axis=2), 1.0, rtol=1e-12)
    for own, place in zip(after, (0, LENGTH - 1)):
        same = own[2 if place == 0 else 3]
        np.testing.assert_allclose(same, laws[place], rtol=tolerance, atol=tolerance)
        assert np.abs(own[0] - laws[place]).max() > 0.01  # queries do differ


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_distribution_reads_its_own_features_and_the_examples_before_it(answered, name):
    by_features, by_labels = answered[name][2]
    np.testing.assert_array_equal(np.abs(by_features).max(axis=2) > 0, np.tri(LENGTH, dtype=bool))
    np.testing.assert_array_equal(np.abs(by_labels) > 0, np.tri(LENGTH, k=-1, dtype=bool))


test_what_does_not_fit_is_refused = refusals(
    (lambda: NETWORK(jnp.zeros((7, 4)), jnp.zeros(7)), "a sequence of 7 examples takes 7 places, .* allows 6"),
    (lambda: NETWORK.query(SEQUENCE, jnp.asarray(QUERIES)), "a prompt of 6 examples and a query takes 7 places"),
    (lambda: ConceptRegressor(TINY, 0, 40, rngs=nnx.Rngs(0)), "got 0 and 40"),
)


# --- measures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured():
    """Measures of a predictor on the first sequences, as NumPy arrays: compiled once."""

    def measures(predictor):
        return {
            "laws": jax.vmap(predictor.__call__)(*SOME),
            "divergence": kl_to_bayes(predictor, BAYES, SOME),
            "distance": mean_square_distance(predictor, BAYES, BINS, SOME),
            "transforms": calibration(jax.random.key(0), predictor, BINS, SOME),
            "costs": jax.vmap(lambda *one: cross_entropy(predictor, BINS, *(leaf[None] for leaf in one)))(*SOME),
        }

    program = jax.jit(measures)
    return lambda **change: jax.tree.map(np.asarray, program(BAYES._replace(task=TASK._replace(**change))))


@pytest.mark.slow
def test_distances_to_bayes(measured):
    exact, found = measured(), measured(source_prior=jnp.array([0.2, 0.5, 0.3]))
    for name in ("divergence", "distance"):
        np.testing.assert_allclose(exact[name], 0.0, atol=1e-12)
    masses, others = np.exp(exact["laws"]), np.exp(found["laws"])
    divergence = found["divergence"]
    np.testing.assert_allclose(divergence, stats.entropy(masses, others, axis=2), rtol=1e-6, atol=1e-12)
    centers = np.asarray(BINS.centers)
    np.testing.assert_allclose(found["distance"], ((masses - others) @ centers) ** 2, rtol=1e-8, atol=1e-12)
    assert divergence.min() >= -1e-12 and divergence[:, 0].min() > 0
    assert divergence[:, 0].mean() > 2 * divergence[:, -1].mean()  # evidence washes a prior out


def test_weights_implied_by_bayes_are_the_concept_posterior():
    bayes = BayesPredictor(TASK, FINE)

    @jax.jit
    def weights(prompt):
        implied = concept_weights(bayes, FINE, TASK, prompt, jnp.asarray(QUERIES[:40]))
        return implied, jnp.exp(concept_log_posterior(TASK, prompt))

    prompt = Dataset(SEQUENCE.features[:1], SEQUENCE.labels[:1])
    implied, exact = weights(prompt)
    assert exact.min() > 0.2  # a posterior that has not made up its mind
    np.testing.assert_allclose(implied, exact, atol=1e-6)
    wrong, _ = weights(prompt._replace(labels=-prompt.labels))
    assert np.abs(wrong - exact).max() > 0.05


def test_bayes_is_calibrated_where_its_noise_is_right(measured):
    right, wrong = measured()["transforms"], measured(noise_var=2 * TASK.noise_var)["transforms"]
    # Labels of a sequence share a concept, yet given the ones before it each transform is uniform: all are independent.
    assert stats.kstest(right.ravel(), "uniform").pvalue > 1e-3
    assert min(stats.kstest(column, "uniform").pvalue for column in right.T) > 1e-4
    assert stats.kstest(wrong.ravel(), "uniform").pvalue < 1e-6


# --- training -------------------------------------------------------------------------------------------------------


def test_cross_entropy_is_minus_the_log_mass_of_each_labels_bin(measured):
    found, labels = measured(), np.asarray(SOME.labels)
    index = np.clip(np.digitize(labels, BINS.edges) - 1, 0, 39)
    masses = np.take_along_axis(found["laws"], index[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found["costs"], -masses.mean(axis=1), rtol=1e-9)


@pytest.mark.slow
def test_the_loss_is_that_of_new_sequences_and_lowest_for_bayes_by_the_divergence(measured):
    exact, other = measured(), measured(noise_var=4 * TASK.noise_var)
    excess, divergence = other["costs"] - exact["costs"], other["divergence"].mean()
    assert_mean(excess, divergence)
    assert_mean_rejects(excess, 1.15 * divergence)
    few = jax.jit(lambda key: loss(key, BAYES, TASK, BINS, 16, LENGTH))(jax.random.key(1))  # that of SEQUENCES
    np.testing.assert_allclose(few, exact["costs"][:16].mean(), rtol=1e-9)


@pytest.mark.slow
def test_a_short_training_brings_a_tiny_network_nearer_to_bayes(key):
    task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.5)
    bins = make_bins(5.0, 16)
    graph, params = nnx.split(ConceptRegressor(TINY, 3, 16, rngs=nnx.Rngs(0)))
    bayes = BayesPredictor(task, bins)
    data = jax.tree.map(lambda leaf: leaf[:500], sequences_of(jax.random.key(3), task, "source"))
    divergence = jax.jit(lambda params: kl_to_bayes(nnx.merge(graph, params), bayes, data).mean())

    def cost(params, key):
        return loss(key, nnx.merge(graph, params), task, bins, 32, LENGTH)

    optimizer = training.make_optimizer(training.TrainingConfig(num_steps=200, learning_rate=1e-2))
    take = jax.jit(lambda state: training.train(key, state, cost, optimizer, 200))
    state, metrics = take(training.init_state(params, optimizer))
    before, after = float(divergence(params)), float(divergence(state.params))
    assert metrics.loss[-20:].mean() < metrics.loss[0] - 0.5
    assert after < 0.2 * before
