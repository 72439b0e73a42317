"""Prompts of several concepts: against a minimiser, a plain contour, limits, posteriors and the older formulas."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sims.checks.draws import posteriors
from tests.helpers import assert_mean_sharply
from tests.test_theory_population import assert_slopes, in_random_frame, written_task
from tests.test_theory_posterior import least, log_mgf, oblique_task
from w2s_jax import theory
from w2s_jax.sampling import sample_dataset
from w2s_jax.tasks import WEAKNESSES, make_task
from w2s_jax.theory import mixed_prompts


@partial(jax.jit, static_argnames=("name", "choices"))
def _call(name, choices, task, numbers, assumed_noise_var):
    return getattr(theory, name)(task, *numbers, assumed_noise_var=assumed_noise_var, **dict(choices))


def call(name, task, *numbers, assumed_noise_var=None, **choices):
    """A closed form compiled once for each shape of task: lengths and noises are passed as arrays of one type."""
    noise_var = jnp.asarray(task.noise_var if assumed_noise_var is None else assumed_noise_var, float)
    return _call(name, tuple(choices.items()), task, tuple(jnp.asarray(x, float) for x in numbers), noise_var)


exponents, weights_of = partial(call, "mixed_posterior_exponents"), partial(call, "mixed_rival_weights")
misalignment_of, wrong_prompt = partial(call, "mixed_misalignment"), partial(call, "wrong_prompt_misalignment")
pure_exponents, pure_weights = partial(call, "posterior_exponents"), partial(call, "expected_rival_weights")
threshold, limit_of = jax.jit(theory.contamination_threshold), jax.jit(theory.winner_takes_all_misalignment)
source_bias, winner = jax.jit(theory.source_bias), jax.jit(mixed_prompts.winner)


def with_prior(task, *shares):
    """The task with another mixture for its teacher."""
    return task._replace(weak_prior=jnp.asarray(shares, float))


def contaminated(task, share):
    prior = task.weak_prior
    return task._replace(weak_prior=(1 - share) * prior + share * (1 - prior) / (prior.shape[0] - 1))


def two_concepts(weakness="rotated", accuracy=0.8, shift=0.4, noise_var=0.25):
    return written_task(2, 3, accuracy, shift, noise_var, weakness)


@pytest.mark.slow
@pytest.mark.parametrize("weakness", [*WEAKNESSES, "oblique"])
def test_one_concept_gives_the_older_formulas(weakness):
    task = oblique_task() if weakness == "oblique" else written_task(3, 4, 0.75, 0.5, weakness=weakness)
    for ratio in (0.05, 1.0, 12.0):
        options = {"assumed_noise_var": ratio * task.noise_var}
        for prompts in ("fresh", "shared"):
            got, expected = (form(task, prompts=prompts, **options) for form in (exponents, pure_exponents))
            np.testing.assert_allclose(got, expected, rtol=1e-12)
        for num_icl in (0.0, 0.5, 4.0, 300.0):
            for power in (1, 2):
                expected = pure_weights(task, num_icl, power=power, **options)
                np.testing.assert_allclose(weights_of(task, num_icl, power=power, **options), expected, rtol=1e-9)
    first, second = (np.asarray(pure_weights(task, 4, power=power)) for power in (1, 2))
    for prompts, expected in (("shared", 2 * second.sum()), ("fresh", first.sum() ** 2 + np.sum(first**2))):
        np.testing.assert_allclose(misalignment_of(task, 4, prompts=prompts), expected, rtol=1e-9)


# --- the exponent ---------------------------------------------------------------------------------------------------

MIXTURES = {  # shares of three concepts, assumed noise over the task's own
    "contaminated": ((0.9, 0.04, 0.06), 1.0),
    "uneven": ((0.75, 0.05, 0.2), 0.1),
    "one rival unseen": ((0.9, 0.0, 0.1), 1.0),
    "tilt at its limit": ((0.97, 0.02, 0.01), 30.0),
    "a rival wins": ((0.2, 0.7, 0.1), 1.0),
}


@pytest.mark.parametrize("prompts", ["fresh", "shared"])
@pytest.mark.parametrize("mixture", MIXTURES)
def test_exponent_is_the_minimum_of_the_mixture(mixture, prompts):
    """Against a scalar minimiser of sum_k q'_k M_jk, each M_jk by quadrature; oblique concepts and s = 0.6."""
    shares, ratio = MIXTURES[mixture]
    task = with_prior(oblique_task(), *shares)
    noise_var, limit = ratio * float(task.noise_var), {"fresh": 1.0, "shared": 2.0}[prompts]
    pure = [task._replace(weak_concepts=jnp.roll(task.weak_concepts, -k, 0)) for k in range(3)]
    got = exponents(task, assumed_noise_var=noise_var, prompts=prompts)
    for rival in (1, 2):

        def cost(t, rival=rival):
            parts = [np.log(q) + log_mgf(one, rival, t, noise_var) for q, one in zip(shares, pure) if q > 0]
            return np.logaddexp.reduce(parts)

        np.testing.assert_allclose(got.exponent[rival], -least(cost, limit)[0], rtol=1e-6, atol=1e-9)
        step = 1e-5
        slope = (cost(got.tilt[rival] + step) - cost(got.tilt[rival] - step)) / (2 * step)
        assert abs(slope) < 1e-4  # stationary over the whole domain, negative side included
    assert jnp.isinf(got.exponent[0]) and got.tilt[0] == 0
    assert (got.exponent.min() > 0) == (mixture != "a rival wins")


@pytest.mark.slow
def test_any_contamination_can_cut_the_exponent_but_only_smoothly_from_there():
    """A perfect teacher, K = 2: kappa(0+) = (1/2) log[4/(1 + sqrt(1 + 2 sigma^2))] < kappa(0), reached as rho^(2/3)."""
    task = two_concepts("noisy", 1.0)
    start = 0.5 * np.log(4 / (1 + np.sqrt(1 + 2 * 0.25)))
    shares = np.geomspace(1e-10, 1e-6, 5)
    gaps = np.array([start - exponents(contaminated(task, rho)).exponent[1] for rho in shares])
    assert abs(np.polyfit(np.log(shares), np.log(gaps), 1)[0] - 2 / 3) < 1e-3
    assert exponents(task).exponent[1] > start + 0.2


def test_exponent_falls_with_contamination_to_zero_at_the_threshold():
    task = written_task(num_concepts=4, dim=5, weak_accuracy=0.7, concept_shift=0.5)
    share = float(threshold(task))
    np.testing.assert_allclose(share, 0.7 * 3 / (1 + 0.7 * 3), rtol=1e-12)
    path = [exponents(contaminated(task, rho)).exponent[1] for rho in np.linspace(0, share, 12)]
    assert np.all(np.diff(path) < 0) and abs(path[-1]) < 1e-12
    near, nearer = (exponents(contaminated(task, share - gap)).exponent[1] for gap in (1e-2, 1e-3))
    np.testing.assert_allclose(near / nearer, 100, rtol=0.05)  # quadratic in the distance
    assert exponents(contaminated(task, share + 1e-6)).exponent[1] == 0


def test_threshold_in_closed_form():
    for weakness in ("noisy", "shifted"):
        for num_concepts in (2, 5):
            task = written_task(num_concepts, 6, 0.6, 0.3, weakness=weakness)
            np.testing.assert_allclose(threshold(task), (num_concepts - 1) / num_concepts, rtol=1e-12)
    lost = written_task(num_concepts=4, dim=5, weak_accuracy=0.4, concept_shift=0.5, weakness="confused")
    assert threshold(lost) == 0
    same = two_concepts("rotated", 0.7)  # a teacher that renders every concept as the target's
    assert jnp.isinf(threshold(same._replace(weak_concepts=same.weak_concepts[jnp.array([0, 0])])))
    oblique = oblique_task()
    share = threshold(oblique)
    assert 0 < share < 1
    for gap, escapes in ((-1e-9, True), (1e-9, False)):
        assert (exponents(contaminated(oblique, share + gap)).exponent.min() > 0) == escapes


# --- the mean weights -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_more_concepts_meet_the_target_one_at_a_time():
    """K = 3: the weights are those of two concepts that read the same prompt, and bounds of the posterior's own."""
    task = with_prior(in_random_frame(oblique_task(), 0.8), 0.5, 0.2, 0.3)
    for num_icl in (1, 3, 6):
        w = posteriors(jax.random.key(3), task, num_icl, 100_000)
        for power in (1, 2):
            got = weights_of(task, num_icl, power=power)
            assert got[0] == 0
            for rival in (1, 2):
                alone = w[:, rival] / (w[:, rival] + w[:, 0])
                assert_mean_sharply(alone**power, got[rival])
                assert np.mean(w[:, rival] ** power) < got[rival]


@pytest.mark.slow
@pytest.mark.parametrize("shares", [(0.6, 0.25, 0.15, 0.0), (0.2, 0.1, 0.6, 0.1)])
def test_winner_takes_all_whichever_it_is(shares):
    """K = 4: long prompts of the kernels, the sum over contests, and the limit; the winner is not always the target."""
    task = with_prior(written_task(4, 5, 0.9, 0.5), *shares)
    task = task._replace(target_prior=jnp.array([0.5, 0.2, 0.2, 0.1]))
    limit, best = float(limit_of(task)), int(winner(task))
    assert best == int(np.argmax(shares))
    assert posteriors(jax.random.key(4), task, 200, 2000)[:, best].mean() > 0.97
    for prompts in ("shared", "fresh"):
        np.testing.assert_allclose(misalignment_of(task, 1500, prompts=prompts), limit, rtol=1e-5)


def test_winner_is_nearest_in_divergence():
    """Imperfect renderings of oblique concepts: the largest mean log likelihood over sampled examples."""
    task = oblique_task()
    weak = task.weak_concepts + jnp.array([[0.0, 0.0, 0.3, 0.0], [0.1, -0.2, 0.2, 0.0], [1.0, 0.0, -0.4, 0.1]])
    draw, won = jax.jit(sample_dataset, static_argnums=2), set()
    for shares in ((0.6, 0.2, 0.2), (0.2, 0.3, 0.5), (0.1, 0.8, 0.1)):
        mixed = with_prior(task._replace(weak_concepts=weak), *shares)
        data = draw(jax.random.key(1), mixed, 200_000)
        fits = np.asarray(data.features @ mixed.concepts.T)
        losses = np.mean((np.asarray(data.labels)[:, None] - fits) ** 2, axis=0)
        assert int(winner(mixed)) == np.argmin(losses)
        won.add(int(winner(mixed)))
    assert len(won) > 1
    assert int(winner(mixed._replace(source_prior=jnp.array([0.5, 0.0, 0.5])))) != 1


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_slope_of_the_exact_weights_is_the_exponent(share, power):
    """log E w + (1/2) log n over six lengths up to 1600."""
    task = contaminated(two_concepts("noisy", 1.0), share)
    kappa = exponents(task, prompts={1: "fresh", 2: "shared"}[power]).exponent[1]
    lengths = np.linspace(600.0, 1600.0, 6)
    values = np.log([weights_of(task, n, power=power)[1] for n in lengths]) + 0.5 * np.log(lengths)
    np.testing.assert_allclose(-np.polyfit(lengths, values, 1)[0], kappa, rtol=2e-3)


def test_integral_does_not_depend_on_where_it_crosses_the_axis():
    """By a plain rule on a contour of its own, in complex arithmetic, under and over the threshold."""
    task = with_prior(two_concepts("opposed", 0.9), 0.6, 0.4)
    for shares, num_icl in (((0.6, 0.4), 7.5), ((0.3, 0.7), 3.0)):
        task = with_prior(task, *shares)
        contest = jax.jit(mixed_prompts.mixed_contest)(task, task.noise_var, jnp.argmax(task.target_prior))
        drift, gap, share = (np.asarray(x) for x in (contest.drift[1], contest.gap[1], contest.share))
        end = 0.25 * np.min((drift + np.sqrt(gap + drift**2)) / gap)
        for power in (1, 2):
            for place in (0.3, 0.6):
                y = np.linspace(-15, 15, 200_001)
                t = place * min(end, power) + 1j * y
                u = t[:, None] / 0.25
                mgf = (1 / np.sqrt(1 + 2 * u * drift - u**2 * gap)) @ share
                assert np.all(mgf.real > 0)
                kernel = np.pi / np.sin(np.pi * t) * (1 - t if power == 2 else 1)
                integrand = mgf**num_icl * float(contest.prior_odds[1]) ** t * kernel
                expected = np.sum(integrand.real) * (y[1] - y[0]) / (2 * np.pi)
                np.testing.assert_allclose(weights_of(task, num_icl, power=power)[1], expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("num_concepts", [2, 4])
def test_wrong_prompts_in_the_limits(num_concepts):
    task = written_task(num_concepts, num_concepts + 1, 0.8, 0.4)
    for error in (0.0, 0.1, 0.9):
        for prompts, limit in (("shared", 2 * error), ("fresh", error**2 * num_concepts / (num_concepts - 1))):
            got = wrong_prompt(task, 800, error, prompts=prompts)
            np.testing.assert_allclose(got, limit, rtol=1e-10, atol=1e-20)
    for prompts in ("shared", "fresh"):
        expected = misalignment_of(task, 6, prompts=prompts)
        np.testing.assert_allclose(wrong_prompt(task, 6, 0, prompts=prompts), expected, rtol=1e-10)
        if num_concepts == 2:
            np.testing.assert_allclose(wrong_prompt(task, 0, 0.3, prompts=prompts), source_bias(task), rtol=1e-10)


@pytest.mark.slow
def test_reverse_derivatives_of_the_exponent_are_differences():
    """In the share, the accuracy and the assumed noise; forward ones are in test_theory_contract.py."""

    def least_exponent(share, accuracy, noise_var):
        task = make_task(num_concepts=3, dim=4, weak_accuracy=accuracy, concept_shift=0.5)
        got = theory.mixed_posterior_exponents(contaminated(task, share), assumed_noise_var=noise_var)
        return got.exponent.min() + got.tilt[1] + theory.contamination_threshold(task)

    assert_slopes(least_exponent, (0.2, 0.7, 0.3), rtol=1e-6, atol=1e-9, step=1e-5)
