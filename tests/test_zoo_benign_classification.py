"""Benign overfitting in classification: identities and SciPy as oracle."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import multivariate_normal

from w2s_jax.theory_zoo import benign_classification as benign
from w2s_jax.theory_zoo.benign_classification import Bilevel, Exponents, Score

ENSEMBLE = Bilevel(num_samples=60, dim=400, num_favoured=5, favoured_weight=0.2)
SURVIVES = Exponents(samples=1.0, dim=1.5, favoured=0.3, weight=0.35)
DROWNED = Exponents(samples=1.0, dim=1.4, favoured=0.3, weight=1.0)
PUPIL = Exponents(samples=1.2, dim=2.5, favoured=0.3, weight=0.5)


@pytest.mark.parametrize("weight", [0.9, 0.2, 1e-3])
def test_penalty_is_the_root(weight):
    ensemble = ENSEMBLE._replace(favoured_weight=weight)
    n, d, s, _ = ensemble
    favoured, other = map(float, benign.bilevel_variances(ensemble))
    np.testing.assert_allclose(s * favoured + (d - s) * other, d, rtol=1e-12)
    root = brentq(
        lambda k: s * favoured / (favoured + k) + (d - s) * other / (other + k) - n, 1e-9, 1e6, xtol=1e-15, rtol=1e-14
    )
    np.testing.assert_allclose(benign.implicit_penalty(ensemble), root, rtol=1e-10)


def test_features_that_are_all_alike():
    """f = n/d: S = sqrt(2/pi) n/d and N^2 = V (d - 1)(n/d)^2/(n - n^2/d), the limit of least-norm regression."""
    n, d = 60, 400
    score = benign.interpolator_score(ENSEMBLE._replace(favoured_weight=5 / d))
    np.testing.assert_allclose(score.survival, np.sqrt(2 / np.pi) * n / d, rtol=1e-10)
    left = 1 - 2 / np.pi + 2 / np.pi * (1 - n / d) ** 2
    expected = left * (d - 1) * (n / d) ** 2 / (n - n**2 / d)
    np.testing.assert_allclose(score.contamination**2, expected, rtol=1e-10)


def test_error_is_a_probability_of_two_gaussians():
    for s, n in ((0.3, 0.2), (1.0, 5.0), (2.0, 1e-3)):
        r = s / np.hypot(s, n)
        both = multivariate_normal([0, 0], [[1, r], [r, 1]]).cdf([0, 0])
        np.testing.assert_allclose(benign.classification_error(Score(s, n)), 1 - 2 * both, atol=1e-6)
        np.testing.assert_allclose(benign.score_correlation(Score(s, n)), r, rtol=1e-12)
    assert benign.classification_error(Score(1.0, 0.0)) == 0
    assert benign.classification_error(Score(0.0, 1.0)) == 0.5


@pytest.mark.parametrize("exponents", [SURVIVES, DROWNED, PUPIL], ids=("survives", "drowned", "pupil"))
def test_exponents_are_those_of_the_finite_forms(exponents):
    def log_ratio(base):
        n, d, s = (base**power for power in exponents[:3])
        return 2 * jnp.log(jnp.divide(*benign.interpolator_score(Bilevel(n, d, s, base**-exponents.weight))))

    slope = (log_ratio(1e16) - log_ratio(1e15)) / np.log(10)
    np.testing.assert_allclose(slope, benign.success_exponent(exponents), atol=0.01)


def test_a_student_without_error_of_a_teacher_by_chance():
    assert benign.success_exponent(DROWNED) < 0 < benign.weak_to_strong_exponent(DROWNED, PUPIL)

    def errors(base):
        teacher, student = (Bilevel(*(base**power for power in e[:3]), base**-e.weight) for e in (DROWNED, PUPIL))
        taught = benign.interpolator_score(teacher)
        pupil = benign.student_score(student, benign.score_correlation(taught))
        return np.array([benign.classification_error(taught), benign.classification_error(pupil)])

    small, large = errors(1e6), errors(1e12)
    assert large[0] > small[0] > 0.3 and large[1] < small[1] / 2 and large[1] < 0.01
    better = benign.weak_to_strong_exponent(SURVIVES, PUPIL)
    np.testing.assert_allclose(better, benign.success_exponent(PUPIL), rtol=1e-12)
    # at u = 1 the known line: q + v = (p + 1)/2
    for off, sign in ((-0.01, 1), (0.01, -1)):
        at = benign.success_exponent(Exponents(1.0, 2.0, 0.4, 1.1 + off))
        assert np.sign(at) == sign
