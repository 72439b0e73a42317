"""In-context learners: exact Bayes against loops over SciPy's normal law, the network's places, measures of both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects
from tests.oracles import log_posterior
from tests.test_predictive import binned_mixture
from tests.test_sampling import general_task, law
from w2s_jax import training
from w2s_jax.incontext import BayesPredictor, ConceptRegressor, cross_entropy, loss, sample_sequence
from w2s_jax.incontext_measures import calibration, concept_weights, kl_to_bayes, mean_square_distance
from w2s_jax.predictive import law_mean, law_variance, make_bins
from w2s_jax.refinement import concept_log_posterior
from w2s_jax.tasks import make_task
from w2s_jax.transformer import TransformerConfig
from w2s_jax.types import Dataset

RTOL = 1e-10
LENGTH = 6
COUNT = 8000
TASK = general_task()
BINS = make_bins(8.0, 40)
FINE = make_bins(20.0, 2000)
BAYES = BayesPredictor(TASK, BINS)
TINY = TransformerConfig(num_layers=2, width=16, num_heads=2, max_length=LENGTH)
NETWORK = ConceptRegressor(TINY, 4, 40, rngs=nnx.Rngs(0))
PREDICTORS = {"network": NETWORK, "bayes": BAYES}


@jax.jit(static_argnums=2)
def sequences_of(key, task, labeler):
    """Independent sequences, `[COUNT LENGTH ...]`."""
    return jax.vmap(lambda index: sample_sequence(jax.random.fold_in(key, index), task, LENGTH, labeler))(
        jnp.arange(COUNT)
    )


SEQUENCES = sequences_of(jax.random.key(1), TASK, "source")
SEQUENCE = jax.tree.map(lambda leaf: leaf[0], SEQUENCES)
SOME = jax.tree.map(lambda leaf: leaf[:2000], SEQUENCES)
laws_of = {name: jax.jit(predictor.__call__) for name, predictor in PREDICTORS.items()}
answers_of = {name: jax.jit(predictor.query) for name, predictor in PREDICTORS.items()}


def queries(count: int, dim: int = 4):
    return jnp.asarray(np.random.default_rng(2).standard_normal((count, dim)))


# --- sequences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labeler", ["source", "weak", "target"])
def test_a_sequence_shows_one_concept_of_its_labeler(key, labeler):
    concepts, prior, _ = law(TASK, labeler)
    silent = TASK._replace(noise_var=jnp.array(0.0), weak_noise_var=jnp.array(0.0))
    data = sequences_of(key, silent, labeler)
    answers = jnp.einsum("bmd,kd->bkm", data.features, concepts)
    explains = np.asarray(jnp.abs(answers - data.labels[:, None]).max(axis=2) < 1e-9)
    assert np.all(explains.sum(axis=1) == 1)  # the same concept for all its examples, and no other
    assert_mean(explains, prior[None], scale=0.3)
    assert_mean_rejects(explains, np.roll(prior, 1)[None], scale=0.3)
    assert_mean(data.features.reshape(-1, 4) ** 2, TASK.feature_var[None])


def test_noise_is_the_labelers(key):
    for labeler in ("source", "weak"):
        concepts, _, noise_var = law(TASK, labeler)
        alone = {"source": "source_prior", "weak": "weak_prior"}[labeler]
        task = TASK._replace(**{alone: jnp.array([0.0, 1.0, 0.0])})
        data = sequences_of(key, task, labeler)
        assert_mean((data.labels - data.features @ concepts[1]).ravel() ** 2, float(noise_var))


# --- exact Bayes ----------------------------------------------------------------------------------------------------


def dense_laws(features, labels, queries=None) -> np.ndarray:
    """Laws by loops: the posterior of each prefix (or of the whole prompt) by densities, masses by `norm.cdf`."""
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


def test_exact_bayes_equals_an_independent_computation():
    masses = np.exp(laws_of["bayes"](*SEQUENCE))
    np.testing.assert_allclose(masses, dense_laws(*SEQUENCE), rtol=0, atol=RTOL)
    answers = np.exp(answers_of["bayes"](SEQUENCE, queries(3)))
    np.testing.assert_allclose(answers, dense_laws(*SEQUENCE, queries(3)), rtol=0, atol=RTOL)
    shuffled = Dataset(SEQUENCE.features, SEQUENCE.labels[::-1])
    assert np.abs(masses - dense_laws(*shuffled)).max() > 0.01


def test_without_context_bayes_answers_as_the_source_does():
    x = queries(50)
    nothing = Dataset(jnp.zeros((0, 4)), jnp.zeros(0))
    fine = jax.jit(BayesPredictor(TASK, FINE).query)(nothing, x)
    np.testing.assert_allclose(law_mean(fine, FINE), x @ TASK.source_coef, atol=1e-9)
    spread = ((x @ TASK.concepts.T) ** 2) @ TASK.source_prior - (x @ TASK.source_coef) ** 2
    np.testing.assert_allclose(law_variance(fine, FINE), TASK.noise_var + spread + 0.02**2 / 12, rtol=1e-8)


# --- both predictors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PREDICTORS)
def test_laws_sum_to_one_and_a_query_is_the_last_place(name):
    laws = laws_of[name](*SEQUENCE)
    assert laws.shape == (LENGTH, 40) and laws.dtype == jnp.float64
    np.testing.assert_allclose(jnp.exp(laws).sum(axis=1), 1.0, rtol=1e-12)
    tolerance = 1e-10 if name == "bayes" else 1e-4  # the network computes in single precision
    for num_icl in (LENGTH - 1, 0):
        prompt = Dataset(SEQUENCE.features[:num_icl], SEQUENCE.labels[:num_icl])
        x = jnp.concatenate([queries(2), SEQUENCE.features[num_icl : num_icl + 1]])
        answers = answers_of[name](prompt, x)
        np.testing.assert_allclose(jnp.exp(answers).sum(axis=1), 1.0, rtol=1e-12)
        np.testing.assert_allclose(answers[2], laws[num_icl], rtol=tolerance, atol=tolerance)
        assert np.abs(np.asarray(answers[0] - laws[num_icl])).max() > 0.01  # queries do differ


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_law_reads_its_own_features_and_the_examples_before_it(name):
    def mean(features, labels):
        return law_mean(PREDICTORS[name](features, labels), BINS)

    by_features, by_labels = jax.jit(jax.jacrev(mean, argnums=(0, 1)))(*SEQUENCE)
    reads_features = np.abs(by_features).max(axis=2) > 0
    np.testing.assert_array_equal(reads_features, np.tri(LENGTH, dtype=bool))
    np.testing.assert_array_equal(np.abs(by_labels) > 0, np.tri(LENGTH, k=-1, dtype=bool))


def test_bad_input_is_told_in_one_sentence():
    long = Dataset(jnp.zeros((7, 4)), jnp.zeros(7))
    with pytest.raises(ValueError, match="a sequence of 7 examples takes 7 places, and max_length allows 6"):
        NETWORK(*long)
    with pytest.raises(ValueError, match="a prompt of 6 examples and a query takes 7 places, and max_length allows 6"):
        NETWORK.query(SEQUENCE, queries(2))
    with pytest.raises(ValueError, match="got 0 and 40"):
        ConceptRegressor(TINY, 0, 40, rngs=nnx.Rngs(0))


# --- measures -------------------------------------------------------------------------------------------------------


def test_distances_to_bayes():
    measured = jax.jit(
        lambda predictor, data: (
            kl_to_bayes(predictor, BAYES, data),
            mean_square_distance(predictor, BAYES, BINS, data),
        )
    )
    for distance in measured(BAYES, SOME):
        np.testing.assert_allclose(distance, 0.0, atol=1e-12)
    other = BayesPredictor(TASK._replace(source_prior=jnp.array([0.2, 0.5, 0.3])), BINS)
    masses, others = np.exp(jax.jit(jax.vmap(BAYES.__call__))(*SOME)), np.exp(jax.jit(jax.vmap(other.__call__))(*SOME))
    divergence, distance = measured(other, SOME)
    np.testing.assert_allclose(divergence, stats.entropy(masses, others, axis=2), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(distance, ((masses - others) @ BINS.centers) ** 2, rtol=1e-8, atol=1e-12)
    assert np.asarray(divergence).min() >= -1e-12 and np.asarray(divergence)[:, 0].min() > 0
    assert divergence[:, 0].mean() > 2 * divergence[:, -1].mean()  # evidence washes a prior out


def test_weights_implied_by_bayes_are_the_concept_posterior():
    bayes = BayesPredictor(TASK, FINE)
    implied = jax.jit(lambda prompt: concept_weights(bayes, FINE, TASK, prompt, queries(40)))
    prompt = Dataset(SEQUENCE.features[:1], SEQUENCE.labels[:1])
    exact = np.exp(concept_log_posterior(TASK, prompt))
    assert exact.min() > 0.2  # a posterior that has not made up its mind
    np.testing.assert_allclose(implied(prompt), exact, atol=1e-6)
    wrong = prompt._replace(labels=-prompt.labels)
    assert np.abs(np.asarray(implied(wrong)) - exact).max() > 0.05


def test_bayes_is_calibrated_where_its_noise_is_right(key):
    transforms = jax.jit(lambda predictor: calibration(key, predictor, BINS, SOME))
    right = np.asarray(transforms(BAYES))
    # Labels of a sequence share a concept, yet given the ones before it each transform is uniform: all are independent.
    assert stats.kstest(right.ravel(), "uniform").pvalue > 1e-3
    assert min(stats.kstest(column, "uniform").pvalue for column in right.T) > 1e-4
    wrong = BayesPredictor(TASK._replace(noise_var=2 * TASK.noise_var), BINS)
    assert stats.kstest(np.asarray(transforms(wrong)).ravel(), "uniform").pvalue < 1e-6


# --- training -------------------------------------------------------------------------------------------------------


def test_the_loss_is_lowest_for_bayes_by_the_divergence(key):
    keys = jax.random.split(key, 2000)
    costs = jax.jit(lambda predictor: jax.vmap(lambda k: loss(k, predictor, TASK, BINS, 1, LENGTH))(keys))
    other = BayesPredictor(TASK._replace(noise_var=4 * TASK.noise_var), BINS)
    excess = costs(other) - costs(BAYES)
    divergence = float(jax.jit(kl_to_bayes)(other, BAYES, SOME).mean())
    assert_mean(excess, divergence)
    assert_mean_rejects(excess, 1.15 * divergence)


def test_cross_entropy_is_minus_the_log_mass_of_each_labels_bin():
    features, labels = (leaf[:5] for leaf in SOME)
    index = np.clip(np.digitize(labels, BINS.edges) - 1, 0, 39)
    laws = [laws_of["network"](*each) for each in zip(features, labels)]
    masses = [law[place, index[i, place]] for i, law in enumerate(laws) for place in range(LENGTH)]
    np.testing.assert_allclose(cross_entropy(NETWORK, BINS, features, labels), -np.mean(masses), rtol=1e-5)


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
    print(
        f"KL to Bayes {before:.3f} -> {after:.3f} nats, loss {metrics.loss[0]:.3f} -> {metrics.loss[-20:].mean():.3f}"
    )
    assert metrics.loss[-20:].mean() < metrics.loss[0] - 0.5
    assert after < 0.2 * before
