"""Mean posterior weights and misalignment: against a deterministic quadrature, the exponent of bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from tests.test_theory_misalignment import sampled_weights
from tests.test_theory_population import in_random_frame, written_task
from w2s_jax import theory
from w2s_jax.tasks import make_task

HARD = {  # a task of each kind whose posterior is still undecided after eight examples: (weak accuracy, noise variance)
    "rotated": (0.7, 0.25),
    "shifted": (0.6, 0.25),
    "noisy": (0.5, 0.25),
    "opposed": (0.9, 1.5),
}
weights_of = jax.jit(theory.expected_rival_weights, static_argnames="power")
bound_of = jax.jit(theory.misalignment_bound, static_argnames="prompts")
exponent_of = jax.jit(theory.posterior_exponent, static_argnames="prompts")
balanced_noise_var, source_bias = jax.jit(theory.balanced_noise_var), jax.jit(theory.source_bias)


def two_concepts(weakness="rotated", accuracy=0.7, shift=0.4, noise_var=0.25, make=written_task):
    options = {"weak_accuracy": accuracy, "concept_shift": shift, "noise_var": noise_var, "weakness": weakness}
    return make(num_concepts=2, dim=3, **options)


def distance(w):
    """||w - e_*||^2 of weights `[... K]`."""
    return ((w - np.eye(w.shape[-1])[0]) ** 2).sum(-1)


def by_quadrature(task, num_icl, power, noise_var):
    """E w^power with the log odds written as a difference of two chi-square variables: a 2-D trapezoid rule."""
    scale = float(task.feature_var[0])
    own, rival = np.asarray(task.concepts)[:2]
    weak = np.asarray(task.weak_concepts)[0]
    delta, offset = rival - own, weak - (rival + own) / 2
    covariance = scale * np.array([[delta @ delta, delta @ offset], [delta @ offset, offset @ offset]])
    covariance[1, 1] += float(task.weak_noise_var)
    high, low = np.sort(np.linalg.eigvals(covariance @ np.array([[0, 0.5], [0.5, 0]])).real)[::-1] / noise_var
    prior = np.asarray(task.source_prior)
    grid = np.linspace(-120 / num_icl - 6, np.log(num_icl + 40 * np.sqrt(2 * num_icl) + 120), 1000)
    mass = np.exp(stats.chi2.logpdf(np.exp(grid), num_icl) + grid) * (grid[1] - grid[0])
    odds = np.log(prior[1] / prior[0]) + high * np.exp(grid)[:, None] + low * np.exp(grid)[None]
    return mass @ special.expit(odds) ** power @ mass


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(
    ("weakness", "noise_var"),
    [("rotated", 0.25), ("shifted", 3.0), ("noisy", 1.5), ("opposed", 1.0), ("confused", 0.4)],
)
def test_mean_weights_match_a_deterministic_quadrature(weakness, noise_var, power):
    """Tilts below 0 (confused), below 1, and above 1 (noisy, where the pole takes over)."""
    accuracy = {"noisy": 1.0, "confused": 0.6}.get(weakness, 0.7)
    task = in_random_frame(two_concepts(weakness, accuracy), 0.7)
    for num_icl in (1, 4, 30):
        got = weights_of(task, num_icl, power=power, assumed_noise_var=noise_var)
        np.testing.assert_allclose(got[1], by_quadrature(task, num_icl, power, noise_var), rtol=1e-7)
        assert got[0] == 0


@pytest.mark.slow
def test_number_of_nodes_is_enough(monkeypatch):
    """Extreme tasks: four times the nodes change nothing above 1e-10."""
    from w2s_jax.theory import posterior_mean

    cases = [(a, s, r, n) for a in (0.3, 0.98) for s in (1e-5, 0.9) for r in (0.01, 30.0) for n in (0, 1, 30, 300)]
    accuracy, shift, ratio, length = (jnp.asarray(x, float) for x in zip(*cases, strict=True))

    def run():
        posterior_mean._contour_integral.clear_cache()  # it has the number of nodes compiled in

        def both(accuracy, shift, ratio, length):
            options = {"assumed_noise_var": ratio * 0.25}
            rotated, confused = (two_concepts(w, accuracy, shift, make=make_task) for w in ("rotated", "confused"))
            square = theory.expected_rival_weights(rotated, length, power=2, **options)[1]
            return [square, theory.expected_rival_weights(confused, length, power=1, **options)[1]]

        return np.stack(jax.jit(jax.vmap(both))(accuracy, shift, ratio, length))

    few = run()
    monkeypatch.setattr(posterior_mean, "NUM_NODES", 4 * posterior_mean.NUM_NODES)
    many = run()
    posterior_mean._contour_integral.clear_cache()
    assert np.all((many > 0) & (many <= 1 + 1e-12))
    np.testing.assert_allclose(few, many, rtol=1e-10)


@jax.jit
def all_forms(task, n):
    return {
        "shared": theory.misalignment(task, n),
        "fresh": theory.misalignment(task, n, "fresh"),
        "three fresh": theory.misalignment(task, n, "fresh", 3),
        "one fresh": theory.misalignment(task, n, "fresh", 1),
        "spread, shared": theory.refined_label_spread(task, n),
        "spread, fresh": theory.refined_label_spread(task, n, "fresh"),
        "spread of means, shared": theory.refined_label_spread(task, n, "shared", "mean"),
        "spread of means, fresh": theory.refined_label_spread(task, n, "fresh", "mean"),
    }


@pytest.mark.parametrize("weakness", HARD)
def test_misalignment_and_label_spread_follow_from_the_weights(weakness):
    """K = 2: all are functions of E w and E w^2 of the rival, here by quadrature."""
    accuracy, noise_var = HARD[weakness]
    task = two_concepts(weakness, accuracy, noise_var=noise_var)
    mean, square = (by_quadrature(task, 3, power, noise_var) for power in (1, 2))
    shared, fresh = 2 * square, 2 * mean**2
    expected = {
        "shared": shared,
        "fresh": fresh,
        "three fresh": fresh + (shared - fresh) / 3,
        "one fresh": shared,
        "spread, shared": 2 * (mean - square),
        "spread, fresh": 2 * (mean - mean**2),
        "spread of means, shared": 0.0,
        "spread of means, fresh": shared - fresh,
    }
    for name, value in all_forms(task, 3).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 6.0, 20.0])
def test_bounds_have_the_exponent(ratio):
    task, noise_var = written_task(num_concepts=4, dim=5, weak_accuracy=0.8, concept_shift=0.6), 0.25 * ratio
    for prompts, times in (("shared", 1), ("fresh", 2)):
        kappa = exponent_of(task, assumed_noise_var=noise_var, prompts=prompts)
        early, late = (bound_of(task, n, prompts, assumed_noise_var=noise_var) for n in (40, 60))
        np.testing.assert_allclose(np.log(early / late) / 20, times * kappa, rtol=1e-10)


def test_overconfidence_first_raises_the_misalignment_of_a_good_source():
    """The values of docs/theory.md 3.6 (K = 4), and that a balanced assumed noise avoids the rise."""
    task = written_task(num_concepts=4, dim=5, weak_accuracy=0.7, concept_shift=0.1, noise_var=0.25)
    rng, balanced = np.random.default_rng(6), float(balanced_noise_var(task))
    for num_icl, stated in ((0, 0.013), (1, 0.17), (2, 0.26), (4, 0.28), (8, 0.19), (16, 0.06)):
        assert abs(distance(sampled_weights(rng, task, num_icl, 20_000)).mean() - stated) < 0.01
        assert distance(sampled_weights(rng, task, num_icl, 20_000, balanced)).mean() < 0.03
    np.testing.assert_allclose(source_bias(task), 0.1**2 + 3 * (0.1 / 3) ** 2, rtol=1e-10)
