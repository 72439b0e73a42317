"""Self-training and chains: quadrature, minima by search, fits by scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.helpers import assert_mean_sharply
from tests.test_zoo_ridge_pair import integrals
from w2s_jax import theory_zoo as zoo
from w2s_jax.theory_zoo import SelfTraining

SETTING = SelfTraining(1.0, 1.0, 0.75, 0.02, 0.6, 0.2)
FEW = SelfTraining(1.5, 0.8, 0.7, 0.1, 1.7, 0.05)
NOISY = SETTING._replace(pseudo_noise_var=0.3)
SETTINGS = (SETTING, FEW, NOISY, FEW._replace(pseudo_noise_var=0.1))
risk, chain, best = map(jax.jit, (zoo.self_training_risk, zoo.chain_risks, zoo.self_training_best_generation))
limit, gain = map(jax.jit, (zoo.self_training_limit, zoo.self_training_first_gain))


def test_stages_are_integrals_of_the_marchenko_pastur_law():
    stages = [(0.8, 0.7, 0.1), (0.0, 0.4, 0.3), (0.2, 2.5, 0.05), (0.1, 1.0, 0.5)]
    inner, square, expected = 1.5, 1.5, []
    for noise_var, gamma, eta in stages:
        k, m, noise = integrals(gamma, eta)
        inner, square = k * inner, m * square + noise_var * gamma * noise
        expected.append(1.5 - 2 * inner + square)
    np.testing.assert_allclose(chain(1.5, *jnp.array(stages).T), expected, rtol=1e-9)


@pytest.mark.parametrize("setting", SETTINGS)
def test_equal_stages_are_a_chain(setting):
    stages = [(setting.noise_var, setting.teacher_ratio, setting.teacher_penalty)]
    stages += [(setting.pseudo_noise_var, setting.ratio, setting.penalty)] * 9
    np.testing.assert_allclose(risk(setting, jnp.arange(10)), chain(setting.signal, *jnp.array(stages).T), rtol=1e-10)
    teacher = setting[:4]
    np.testing.assert_allclose(risk(setting, 0), zoo.ridge_pair_teacher_risk(*teacher), rtol=1e-12)
    noiseless = setting._replace(pseudo_noise_var=0.0)
    expected = zoo.ridge_pair_student_risk(*teacher, setting.ratio, setting.penalty)
    np.testing.assert_allclose(risk(noiseless, 1), expected, rtol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_path_falls_to_the_best_generation_and_then_rises_to_the_limit(setting):
    for penalty in (0.02, 0.05, 0.3, 1.0, 4.0):
        own = setting._replace(penalty=penalty)
        path = np.asarray(risk(own, jnp.arange(400)))
        found = int(best(own))
        assert found == path[:200].argmin(), penalty
        assert (np.diff(path[: found + 1]) < 0).all() and (np.diff(path[found:200]) > -1e-12).all()
        np.testing.assert_allclose(gain(own), path[0] - path[1], rtol=1e-9, atol=1e-12)
        assert (float(gain(own)) > 0) == (found > 0)
        np.testing.assert_allclose(limit(own), risk(own, 1e4), rtol=1e-9)


def test_without_noise_everything_is_forgotten():
    np.testing.assert_allclose(limit(SETTING), SETTING.signal, rtol=1e-12)
    _, m, noise = integrals(0.6, 0.2)
    np.testing.assert_allclose(limit(NOISY), 1 + 0.3 * 0.6 * noise / (1 - m), rtol=1e-9)


def test_without_a_penalty_nothing_is_forgotten_and_noise_adds_up():
    plain = SETTING._replace(penalty=0.0)
    np.testing.assert_allclose(risk(plain, jnp.arange(5)), np.full(5, risk(SETTING, 0)), rtol=1e-12)
    assert float(best(plain)) == 0 and float(limit(plain)) == pytest.approx(float(risk(SETTING, 0)))
    noisy = NOISY._replace(penalty=0.0)
    each = 0.3 * 0.6 / 0.4  # least squares: v d/(n - d)
    np.testing.assert_allclose(risk(noisy, jnp.arange(5)), risk(SETTING, 0) + each * np.arange(5), rtol=1e-10)
    assert float(best(noisy)) == 0 and jnp.isinf(limit(noisy)) and float(gain(noisy)) == pytest.approx(-each)


def test_projections_forget_signal_and_error_alike():
    """Interpolators of fewer points than features: k = m = d/n, so that a path has no turn."""
    plain = SETTING._replace(ratio=2.0, penalty=0.0)
    path = np.asarray(risk(plain, jnp.arange(30)))
    assert path[0] > 1 and (np.diff(path) < 0).all() and jnp.isinf(best(plain))  # worse than nothing: forgetting helps
    good = plain._replace(noise_var=0.05)
    path = np.asarray(risk(good, jnp.arange(30)))
    assert path[0] < 1 and (np.diff(path) > 0).all() and float(best(good)) == 0
    np.testing.assert_allclose(path - 1, (path[0] - 1) * 0.5 ** np.arange(30), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_fits_of_scikit_learn_have_these_risks():
    rng, d, count = np.random.default_rng(0), 40, 1000
    stages = [(0.8, 60, 0.1), (0.0, 80, 0.3), (0.3, 30, 0.2)]
    target, risks = np.sqrt(1.5) * np.eye(d)[0], np.zeros((count, 3))
    for path in risks:
        coef = target
        for j, (noise_var, n, penalty) in enumerate(stages):
            x = rng.normal(size=(n, d))
            labels = x @ coef + np.sqrt(noise_var) * rng.normal(size=n)
            coef = Ridge(penalty * n, fit_intercept=False).fit(x, labels).coef_
            path[j] = np.sum((coef - target) ** 2)
    noise_vars, sizes, penalties = jnp.array(stages).T
    for samples, value in zip(risks.T, chain(1.5, noise_vars, d / sizes, penalties), strict=True):
        assert_mean_sharply(samples, value)
