"""The exact misalignment at any number of concepts: against loops of NumPy, SciPy's distributions, and limits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from tests.test_theory_population import written_task
from w2s_jax import theory
from w2s_jax.tasks import WEAKNESSES
from w2s_jax.theory import race
from w2s_jax.types import stack

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
PROMPTS = ("shared", "fresh")


@jax.jit
def _both(task, num_icl, assumed_noise_var):
    return {p: theory.misalignment(task, num_icl, p, assumed_noise_var=assumed_noise_var) for p in PROMPTS}


def exact(task, num_icl, assumed_noise_var=None):
    """The misalignment of both kinds of prompts: one program for each shape of task."""
    noise_var = task.noise_var if assumed_noise_var is None else assumed_noise_var
    return jax.tree.map(np.asarray, _both(task, jnp.asarray(num_icl, float), jnp.asarray(noise_var, float)))


def task_of(num_concepts, weakness, accuracy, shift):
    return written_task(num_concepts, num_concepts + 1, accuracy, shift, weakness=weakness)


def sampled_weights(rng, task, num_icl, count, assumed_noise_var=None):
    """Posteriors after weak prompts [count K], written out in the span of the concepts and the teacher."""
    concepts, weak = np.asarray(task.concepts), np.asarray(task.weak_coef)
    basis = np.linalg.qr(np.vstack([concepts, weak]).T)[0]
    concepts, weak = concepts @ basis, weak @ basis
    scale = np.sqrt(float(task.feature_var[0]))
    noise_var = float(task.noise_var if assumed_noise_var is None else assumed_noise_var)
    scores = np.tile(np.log(np.asarray(task.source_prior)), (count, 1))
    for _ in range(num_icl):
        x = scale * rng.standard_normal((count, len(weak)))
        y = x @ weak + np.sqrt(float(task.weak_noise_var)) * rng.standard_normal(count)
        scores -= (y[:, None] - x @ concepts.T) ** 2 / (2 * noise_var)
    return special.softmax(scores, axis=1)


def simulated(rng, task, num_icl, count, assumed_noise_var=None):
    """Misalignment, shared and fresh, with standard errors."""
    gaps = sampled_weights(rng, task, num_icl, count, assumed_noise_var) - np.asarray(task.target_prior)
    shared = (gaps**2).sum(1)
    mean = gaps.mean(0)
    slope = 2 * gaps @ mean  # the delta method, and its bias
    fresh = mean @ mean - gaps.var(0).sum() / count
    return {"shared": (shared.mean(), shared.std() / count**0.5), "fresh": (fresh, slope.std() / count**0.5)}


def assert_near(num_icl, found, sims):
    for prompts in PROMPTS:
        value, sem = sims[prompts]
        allowed = (2e-3 if value < 0.05 else 0.01 * value) + 4 * sem
        assert abs(found[prompts] - value) < allowed, (num_icl, prompts, found[prompts], value, sem)


@pytest.mark.slow
def test_misalignment_of_an_uneven_source_that_assumes_another_noise():
    """A source prior of .05 to .4, and twice the noise."""
    uneven = jnp.array([0.35, 0.4, 0.05, 0.2])
    task = task_of(4, "confused", 0.6, 0.5)._replace(source_prior=uneven)
    assert_near(3, exact(task, 3, 0.5), simulated(np.random.default_rng(1), task, 3, 60_000, 0.5))


@pytest.mark.slow
def test_misalignment_within_one_percent_of_sampling_over_the_grid():
    """K 3, 8, 64, five teachers, three accuracies, two shifts, m = 1, 4, 16; no value only where no factor exists."""
    cells = list(itertools.product(WEAKNESSES, (0.3, 0.6, 0.9), (0.1, 0.9)))
    for num_concepts, num_icl in itertools.product((3, 8, 64), (1, 4, 16)):
        tasks = stack([task_of(num_concepts, *cell) for cell in cells])
        found = exact(tasks, num_icl)
        holes = np.flatnonzero(np.isnan(found["shared"]))
        assert all(cells[i][0] == "confused" and num_concepts < 8 for i in holes)
        for prompts in PROMPTS:
            sampled = theory.sampled_misalignment(tasks, num_icl, prompts)
            allowed = np.where(sampled.value < 0.05, 2e-3, 0.01 * sampled.value) + 5 * sampled.error
            miss = np.abs(found[prompts] - sampled.value) > allowed  # never where there is no value
            assert not miss.any(), (num_concepts, num_icl, prompts, [cells[i] for i in np.flatnonzero(miss)])


@pytest.mark.slow
def test_two_rivals_by_an_outside_quadrature():
    """K = 3, noisy, by SciPy alone: the factor is the label, and each concept's square is a noncentral chi-square."""
    task, m = task_of(3, "noisy", 0.5, 0.6), 3
    v, s2 = 1.0 + 1.0, 0.25  # Var y = 1 + sigma^2/a^2; given y, x_* has mean y/v and variance 1 - 1/v
    alpha = np.asarray(task.source_prior)
    grid = (np.arange(400) + 0.5) / 400
    u = np.linspace(-12.0, 60.0, 400)

    def given(b):
        own, center = 1 - 1 / v, b * (1 - 1 / v) ** 2
        squares = own * stats.ncx2.ppf(grid, m, center / own), stats.ncx2.ppf(grid, m, b)
        x = [prior * np.exp(u[:, None] - q / (2 * s2)) for prior, q in zip(alpha[:2], squares, strict=True)]
        own_survival, other = (np.exp(-each).mean(1) for each in x)
        once, twice = (x[1] * np.exp(-x[1])).mean(1), (x[1] ** 2 * np.exp(-x[1])).mean(1)
        mean = integrate.trapezoid(once * other * own_survival, u)
        shared = integrate.trapezoid((4 * twice * other + 2 * once**2) * own_survival, u)
        return mean, shared

    shares = (np.arange(60) + 0.5) / 60
    mean, shared = np.mean([given(v * stats.chi2.ppf(share, m)) for share in shares], axis=0)
    found = exact(task, m)
    np.testing.assert_allclose([found["shared"], found["fresh"]], [shared, 6 * mean**2], rtol=0.01)


def test_clocks_have_the_distribution_of_scipy():
    """Density and survival of one clock against a quadrature over `scipy.stats.ncx2`."""
    own, shared, noise_var, m = 0.6, 1.3, 0.25, 3.0
    start, step = -16.0, 0.25

    @jax.jit
    def clock_of(shared):
        w = 2 * jnp.pi / (race.NUM_TIMES * step) * jnp.arange(race.NUM_TIMES // 2 + 1)[None]
        size, phase = race._characteristic(shared, own, noise_var, m, w)
        clock = race._ring(size, phase - w * start, w, jnp.asarray(step))
        return jax.tree.map(lambda x: x[0], clock)

    clock = clock_of(jnp.asarray(shared))
    for i in (40, 64, 80, 120):
        u = start + step * i

        def late(q, u=u):
            return np.exp(-np.exp(u - own * q / (2 * noise_var))) * stats.ncx2.pdf(q, m, shared**2 / own)

        survival = integrate.quad(late, 0, 120, limit=400, epsabs=1e-10)[0]
        np.testing.assert_allclose(clock.survival[i], survival, atol=2e-5)
    np.testing.assert_allclose(np.sum(clock.density) * step, 1.0, atol=1e-6)


def test_no_factor_no_number():
    """A weak confused teacher of little noise, and rivals that differ: NaN, where sampling answers; K = 2 never."""
    lost = task_of(3, "confused", 0.3, 0.5)
    near_one = task_of(4, "rotated", 0.7, 0.5)
    near_one = near_one._replace(weak_concepts=near_one.weak_concepts.at[0, 1].set(0.3))
    for task in (lost, near_one):
        assert np.isnan(exact(task, 4)["shared"])
        sampled = {p: theory.sampled_misalignment(task, 4, p) for p in PROMPTS}
        assert all(0 < sampled[p].error < 0.01 for p in PROMPTS)
        sims = simulated(np.random.default_rng(2), task, 4, 60_000)
        assert_near(4, {p: sampled[p].value for p in PROMPTS}, sims)
    assert np.isfinite(exact(task_of(2, "confused", 0.3, 0.5), 4)["shared"])


def test_sampled_misalignment_agrees_within_its_error_and_repeats():
    cells = [task_of(4, w, 0.6, 0.5) for w in ("rotated", "opposed")]
    tasks, closed = stack(cells), [exact(task, num_icl) for task, num_icl in zip(cells, (1, 4))]
    for prompts in PROMPTS:
        value, error = theory.sampled_misalignment(tasks, np.array([1, 4]), prompts)
        np.testing.assert_array_less(abs(value - np.array([each[prompts] for each in closed])), 5 * error)
        np.testing.assert_array_less(error, 0.01 * value)
        np.testing.assert_array_equal(value, theory.sampled_misalignment(tasks, np.array([1, 4]), prompts).value)


@pytest.mark.parametrize("prompts", PROMPTS)
def test_the_error_of_sampling_is_the_spread_between_seeds(prompts):
    task = task_of(3, "confused", 0.3, 0.5)
    runs = [theory.sampled_misalignment(task, 4, prompts, log2_points=5, seed=seed) for seed in range(50)]
    values, errors = np.array(runs).T
    np.testing.assert_allclose(np.sqrt((errors**2).mean()), values.std(ddof=1), rtol=0.25)


@pytest.mark.parametrize("num_concepts", [2, 4])
def test_empty_prompts_and_impossible_rivals(num_concepts):
    """m = 0 leaves the prior, exactly; a source that rules every rival out is right at every length."""
    task = task_of(num_concepts, "opposed", 0.5, 0.7)
    alpha = np.asarray(task.source_prior)
    empty, impossible = exact(task, 0), exact(task_of(num_concepts, "noisy", 0.5, 0.0), 3)
    for prompts in PROMPTS:
        expected = (1 - alpha[0]) ** 2 + (alpha[1:] ** 2).sum()
        np.testing.assert_allclose(empty[prompts], expected, rtol=1e-12)
        sampled = theory.sampled_misalignment(task, 0, prompts)
        np.testing.assert_allclose(sampled.value, expected, rtol=1e-12)
        assert sampled.error == 0
        assert impossible[prompts] == 0


@pytest.mark.slow
def test_a_rival_that_the_source_rules_out_is_no_rival():
    """K = 8 with five priors of 0 equals K = 3."""
    prior = jnp.array([0.4, 0.3, 0.3, *[0.0] * 5])
    many = task_of(8, "rotated", 0.6, 0.5)._replace(source_prior=prior)
    few = task_of(3, "rotated", 0.6, 0.5)._replace(source_prior=prior[:3])
    np.testing.assert_allclose(exact(many, 4)["shared"], exact(few, 4)["shared"], rtol=1e-4)
