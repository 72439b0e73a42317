"""Refinement: the posterior against dense SciPy copies, its batches against plain loops, labels against their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects
from tests.oracles import log_posterior
from tests.test_em import weak_dataset
from tests.test_sampling import general_task, replicates
from w2s_jax.em import em_prior
from w2s_jax.mixture_labels import choose_label, concept_levels
from w2s_jax.refinement import (
    concept_evidence,
    concept_log_posterior,
    leave_one_out_evidence,
    leave_one_out_log_posterior,
    likelihood_ratio,
    posterior_path,
    posterior_weights,
    prompt_evidence,
    refine_labels,
)
from w2s_jax.types import Dataset

RTOL = 1e-10
TASK = general_task()
OPTIONS = [{}, {"assumed_noise_var": 1.7}, {"temperature": 4.0}, {"assumed_noise_var": 2, "temperature": 0.5}]
PROMPT = weak_dataset(7)
path = jax.jit(posterior_path, static_argnames="lengths")
left_out = jax.jit(leave_one_out_log_posterior, static_argnums=2)


def dense(length=None, *, assumed_noise_var=None, temperature=1.0):
    return log_posterior(TASK, PROMPT.features[:length], PROMPT.labels[:length], assumed_noise_var, temperature)


# --- the posterior --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_posterior_of_every_prefix_equals_a_dense_copy(options):
    every = path(TASK, PROMPT, **options)
    np.testing.assert_allclose(every, [dense(length, **options) for length in range(8)], rtol=RTOL, atol=1e-13)
    lengths = (5, 0, 7, 5)  # in any order, repeated or not
    np.testing.assert_allclose(path(TASK, PROMPT, lengths=lengths, **options), every[lengths,], rtol=RTOL, atol=1e-13)
    whole = jax.jit(concept_log_posterior)(TASK, PROMPT, **options)
    np.testing.assert_allclose(whole, every[7], rtol=RTOL, atol=1e-13)
    wrong = {"temperature": 1.0} | options
    wrong["temperature"] *= 1.1
    assert np.abs(every[7] - dense(**wrong)).max() > 0.1


def test_an_empty_prompt_leaves_the_prior():
    empty = Dataset(jnp.zeros((0, 4)), jnp.zeros(0))
    np.testing.assert_allclose(concept_log_posterior(TASK, empty), np.log(TASK.source_prior), rtol=RTOL)
    np.testing.assert_allclose(path(TASK, empty), np.log(TASK.source_prior)[None], rtol=RTOL)


def test_heat_flattens_to_the_prior_and_cold_picks_the_likeliest():
    hot, cold = (path(TASK, PROMPT, temperature=t)[7] for t in (1e9, 1e-9))
    np.testing.assert_allclose(hot, np.log(TASK.source_prior), atol=1e-6)
    likeliest = np.argmax(dense() - np.log(TASK.source_prior))
    np.testing.assert_allclose(np.exp(cold), np.eye(3)[likeliest], atol=1e-12)


def test_a_concept_of_prior_zero_stays_at_zero():
    # Even where it explains the prompt best.
    likeliest = np.argmax(dense() - np.log(TASK.source_prior))
    prior = np.asarray(TASK.source_prior) * (np.arange(3) != likeliest)
    task = TASK._replace(source_prior=jnp.asarray(prior / prior.sum()))
    every = path(task, PROMPT)
    assert np.all(every[:, likeliest] == -np.inf)
    np.testing.assert_allclose(np.exp(every).sum(axis=1), 1.0, rtol=RTOL)
    assert np.all(left_out(task, PROMPT, 3)[:, likeliest] == -np.inf)
    evidence = 1e3 * concept_evidence(task, PROMPT)  # so strong that the other likelihoods reach their floor
    weights = posterior_weights(task.source_prior, evidence)
    np.testing.assert_array_equal(weights[likeliest], 0.0)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, rtol=RTOL)


# --- batches that leave one out -------------------------------------------------------------------------------------


def leave_one_out_prompts(num_samples: int, num_icl: int):
    """The rows of each example's prompt: its batch of num_icl + 1 without itself; the last batch is whole, too."""
    size = min(num_icl + 1, num_samples)
    for i in range(num_samples):
        start = min(i // size * size, num_samples - size)
        yield [j for j in range(start, start + size) if j != i]


@pytest.mark.parametrize(
    ("num_samples", "num_icl", "assumed_noise_var"),
    [(12, 3, 1.7), (11, 3, None), (7, 6, None), (7, 7, None), (5, 0, None), (1, 4, None)],
)
def test_leaving_one_out_equals_a_plain_loop(num_samples, num_icl, assumed_noise_var):
    data = weak_dataset(num_samples, seed=1)
    features, labels = np.asarray(data.features), np.asarray(data.labels)
    prompts = list(leave_one_out_prompts(num_samples, num_icl))
    assert all(len(rows) == min(num_icl, num_samples - 1) for rows in prompts)
    expected = [log_posterior(TASK, features[rows], labels[rows], assumed_noise_var) for rows in prompts]
    result = left_out(TASK, data, num_icl, assumed_noise_var=assumed_noise_var)
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-11)


# --- the steps of a sweep -------------------------------------------------------------------------------------------


def test_the_steps_give_the_same_posterior():
    # Many prompts at once, several lengths: the steps of a sweep against the public kernels, prompt by prompt.
    prompts = [weak_dataset(7, seed) for seed in range(5)]
    stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *prompts)
    lengths = (4, 0, 6)

    @jax.jit
    def steps(task, data, assumed_noise_var):
        evidence = concept_evidence(task, data, assumed_noise_var=assumed_noise_var)
        of_prompts = prompt_evidence(evidence.reshape(3, 5, 7).swapaxes(1, 2), lengths)
        of_rest = leave_one_out_evidence(evidence[:, :7], 3)
        return [posterior_weights(task.source_prior, each) for each in (of_prompts, of_rest)]

    weights, rest = steps(TASK, jax.tree.map(jnp.asarray, stacked), 1.7)
    expected = np.exp([path(TASK, prompt, lengths=lengths, assumed_noise_var=1.7) for prompt in prompts])
    np.testing.assert_allclose(weights, expected.transpose(1, 2, 0), rtol=1e-9, atol=1e-30)
    expected = np.exp(left_out(TASK, prompts[0], 3, assumed_noise_var=1.7))
    np.testing.assert_allclose(rest, expected.T, rtol=1e-9, atol=1e-30)


def test_likelihoods_are_relative_to_the_best_and_never_all_zero():
    evidence = jnp.array([[0.0, -1e5], [1.0, 0.0], [-300.0, -1e4]])
    likelihood = likelihood_ratio(evidence, jnp.ones(3) / 3)
    np.testing.assert_allclose(likelihood, np.exp(np.maximum([[-1, -1e5], [0, 0], [-301, -1e4]], -80)), rtol=RTOL)
    assert float(likelihood.min()) > 0


def test_a_concept_of_prior_zero_does_not_set_the_scale():
    evidence = jnp.array([[-100.0], [-90.0], [0.0]])
    weights = posterior_weights(jnp.array([0.5, 0.5, 0.0]), evidence)[:, 0]
    np.testing.assert_allclose(weights, [1 / (1 + np.exp(10)), 1 / (1 + np.exp(-10)), 0.0], rtol=RTOL)
    alone = posterior_weights(jnp.array([0.5, 0.5]), evidence[:2])[:, 0]
    np.testing.assert_array_equal(weights[:2], alone)


def test_weights_rise_from_a_prior_of_zero():
    """One-sided derivatives at a shift of 0, where logarithms have none."""
    evidence = jnp.array([[0.3, -2.0], [-0.4, 1.0], [1.1, 0.2]])

    def prior(shift):
        return jnp.array([1.0, 0.0, 0.0]) + shift * jnp.array([-1.0, 0.25, 0.75])

    def weights(shift):
        return posterior_weights(prior(shift), evidence)

    def answers(shift):
        task = TASK._replace(source_prior=prior(shift))
        return refine_labels(jax.random.key(0), task, PROMPT.features, concept_log_posterior(task, PROMPT), draw="mean")

    def log_weight(shift):
        return concept_log_posterior(TASK._replace(source_prior=prior(shift)), PROMPT)[:1]

    def fitted(shift):
        return em_prior(TASK._replace(source_prior=prior(shift)), PROMPT, 2)

    step = 1e-6
    for f in (weights, answers, log_weight, fitted):
        program = jax.jit(lambda shift, f=f: (f(shift), jax.jacfwd(f)(shift), jax.jacrev(f)(shift)))
        (start, *slopes), (half, *_), (end, *_) = map(program, (0.0, step / 2, step))
        difference = (4 * half - 3 * start - end) / step  # second order, from one side
        for slope in slopes:
            np.testing.assert_allclose(slope, difference, rtol=1e-4, atol=1e-7)
        assert np.abs(difference).max() > 1e-4


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_without_noise_the_nearest_concept_takes_all(dtype):
    task, prompt = jax.tree.map(lambda x: x.astype(dtype), (TASK._replace(noise_var=jnp.array(0.0)), PROMPT))
    away = np.square(np.asarray(prompt.labels)[:, None] - np.asarray(prompt.features @ task.concepts.T))
    weights = jnp.exp(jax.jit(concept_log_posterior)(task, prompt))
    np.testing.assert_allclose(weights, np.eye(3)[away.sum(axis=0).argmin()], atol=1e-6)
    prior = jax.jit(em_prior, static_argnums=2)(task, prompt, 1)
    np.testing.assert_allclose(prior, np.eye(3)[away.argmin(axis=1)].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_chosen_labels_follow_their_weights():
    # On an even grid of uniforms a concept's share is its weight, to one part in their number. The ends come first.
    uniforms = np.concatenate([[0.0, 1 - 2.0**-53], (np.arange(1000) + 0.5) / 1000])
    posteriors = np.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.7, 0.0, 0.3]])  # one axis in front
    weights = np.repeat(posteriors[:, :, None], uniforms.size, axis=2)
    means = np.repeat([[1.0], [10.0], [100.0]], uniforms.size, axis=1)
    choose = jax.jit(choose_label)
    labels = np.asarray(choose(*(jnp.asarray(x) for x in (uniforms, weights, means))))
    chosen = np.isclose(labels[:, None, :], means[None])
    np.testing.assert_allclose(chosen[:, :, 2:].mean(axis=2), posteriors, atol=1e-3)
    assert not chosen[posteriors == 0].any()  # not even by the ends
    np.testing.assert_allclose(labels[0], choose(*(jnp.asarray(x) for x in (uniforms, weights[0], means))), rtol=RTOL)
    np.testing.assert_allclose(concept_levels(jnp.asarray(weights[0])), np.cumsum(weights[0], axis=0)[:-1], rtol=RTOL)


# --- labels ---------------------------------------------------------------------------------------------------------

FEATURES = jnp.asarray(np.random.default_rng(5).standard_normal((4, 4)))
ANSWERS = np.asarray(FEATURES @ TASK.concepts.T)  # [n K]
WEIGHTS = {
    "shared": np.array([0.5, 0.2, 0.3]),
    "own": np.array([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.25, 0.0, 0.75]]),
}


@pytest.mark.parametrize("draw", ["sample", "map"])
@pytest.mark.parametrize("prompts", WEIGHTS)
def test_labels_follow_the_posterior_predictive_law(prompts, draw):
    """Under `map` that of a posterior that is certain of its likeliest concept."""
    posterior, weights = jnp.log(jnp.asarray(WEIGHTS[prompts])), np.broadcast_to(WEIGHTS[prompts], ANSWERS.shape)
    drawn = np.asarray(replicates(lambda k: refine_labels(k, TASK, FEATURES, posterior, draw=draw), 30_000)())
    if draw == "map":
        weights = np.eye(3)[weights.argmax(axis=1)]
    mean = (weights * ANSWERS).sum(axis=1)
    variance = (weights * ANSWERS**2).sum(axis=1) - mean**2 + float(TASK.noise_var)
    assert_mean(drawn, mean, scale=np.sqrt(variance))
    # Rows draw their concepts independently, a shared posterior or not.
    centred = drawn - mean
    assert_mean(
        centred[:, :, None] * centred[:, None, :], np.diag(variance), scale=np.sqrt(np.outer(variance, variance))
    )
    assert_mean_rejects(centred**2, 1.1 * variance)
    for i in range(4):

        def mixture(x, i=i):
            return stats.norm.cdf(x[:, None], ANSWERS[i], np.sqrt(float(TASK.noise_var))) @ weights[i]

        assert stats.kstest(drawn[:, i], mixture).pvalue > 1e-3
        assert stats.kstest(1.1 * drawn[:, i], mixture).pvalue < 1e-3


@pytest.mark.parametrize("prompts", WEIGHTS)
def test_mean_labels_are_exact(prompts, key):
    labels = refine_labels(key, TASK, FEATURES, jnp.log(jnp.asarray(WEIGHTS[prompts])), draw="mean")
    np.testing.assert_allclose(labels, (WEIGHTS[prompts] * ANSWERS).sum(axis=1), rtol=RTOL)


def test_single_precision_agrees_where_log_weights_are_many_hundreds():
    both = jax.jit(lambda task, prompt: (posterior_path(task, prompt), leave_one_out_log_posterior(task, prompt, 3)))
    given = TASK, weak_dataset(1000)
    for expected, result in zip(both(*given), both(*jax.tree.map(lambda x: x.astype(jnp.float32), given))):
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)
