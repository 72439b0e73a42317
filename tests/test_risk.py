"""Excess risk, misfit, PGR and sign accuracy: values, broadcasting, and gradients where they are most fragile.

Their means over sampled features are rows of `sims/checks/risk.py`, which the slow suite runs (test_verify.py).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from w2s_jax.risk import excess_risk, misfit, performance_gap_recovered, sign_accuracy

accuracy_and_slope = jax.jit(jax.value_and_grad(sign_accuracy))


def vectors(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("function", [excess_risk, misfit])
@pytest.mark.parametrize(
    ("coef", "target", "feature_var"),
    [((5,), (5,), ()), ((5,), (3, 5), (2, 3, 5)), ((2, 1, 5), (3, 5), (1, 5))],
)
def test_leading_dimensions_broadcast_as_in_numpy(function, coef, target, feature_var):
    coef, target = vectors(2, *coef), vectors(3, *target)
    feature_var = vectors(4, *feature_var) ** 2
    expected = (feature_var * (coef - target) ** 2).sum(-1)
    result = function(jnp.asarray(coef), jnp.asarray(target), jnp.asarray(feature_var))
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_pgr_is_nan_where_there_is_no_gap_and_leaves_other_gradients_alone():
    """Else 0 as the teacher, 1 as the ceiling, negative if worse than the teacher, above 1 if better than that."""
    values = performance_gap_recovered(0.5, jnp.array([0.5, 0.1, 0.9, 0.0]), 0.1)
    np.testing.assert_allclose(values, [0, 1, -1, 1.25], rtol=1e-12)
    weak, ceiling = jnp.array([0.0, 0.1, 0.5, jnp.nan]), jnp.full(4, 0.1)
    assert np.isnan(performance_gap_recovered(weak, 0.2, ceiling)).tolist() == [True, True, False, True]

    def total(weak, student, ceiling):
        return jnp.nansum(performance_gap_recovered(weak, student, ceiling))

    slopes = jax.grad(total, argnums=(0, 1, 2))(weak, 0.2, ceiling)
    assert all(np.all(np.isfinite(slope)) for slope in slopes)
    np.testing.assert_allclose(slopes[0][:3], [0, 0, (0.2 - 0.1) / 0.4**2], rtol=1e-12)
    np.testing.assert_allclose(slopes[1], -1 / 0.4, rtol=1e-12)


def test_sign_accuracy_at_known_angles():
    target = jnp.array([2.0, 0.0])
    for angle in (1e-150, 1e-12, 1e-6, 0.3, np.pi / 2, 3.0, np.pi - 1e-6):
        accuracy, slope = accuracy_and_slope(jnp.array([np.cos(angle), np.sin(angle)]), target)
        error = np.arctan2(np.sin(angle), np.cos(angle)) / np.pi
        np.testing.assert_allclose(1 - accuracy, error, rtol=1e-10, atol=1e-15)
        assert np.all(np.isfinite(slope))


@pytest.mark.slow
def test_sign_accuracy_gradient_matches_differences_also_near_parallel():
    target = jnp.array([1.0, -0.5, 2.0])
    for offset in (1.0, 1e-2, 1e-4):  # the step of the differences stays well inside the angle
        coef, step = 3 * target + offset * jnp.array([1.0, 2.0, -0.3]), 1e-4 * offset
        moves, slope = step * np.eye(3), accuracy_and_slope(coef, target)[1]
        ahead, behind = (sign_accuracy(coef[None] + sign * moves, target) for sign in (1, -1))
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(slope @ coef, 0, atol=1e-8)  # length does not matter


def test_sign_accuracy_survives_extreme_scales():
    coef, target = jnp.asarray(vectors(9, 5), jnp.float32), jnp.asarray(vectors(10, 5), jnp.float32)
    accuracy, slope = accuracy_and_slope(coef, target)
    for scale in (1e-30, 1e-3, 1e30):
        scaled, slope_there = accuracy_and_slope(scale * coef, target)
        np.testing.assert_allclose(scaled, accuracy, rtol=1e-5)
        np.testing.assert_allclose(scale * slope_there, slope, rtol=1e-4, atol=1e-6)


def test_sign_accuracy_is_nan_at_zero_only():
    zero, one = jnp.zeros(3), jnp.array([0.0, 1.0, 0.0])
    assert np.isnan(accuracy_and_slope(zero, one)[0]) and np.isnan(accuracy_and_slope(one, zero)[0])
    assert sign_accuracy(one, one) == 1 and sign_accuracy(-one, one) == 0
    for coef in (one, -one, jnp.array([0.0, 1.0, 1e-13])):  # the kinks themselves, and next to one
        assert np.all(np.isfinite(accuracy_and_slope(coef, one)[1]))
    assert np.isnan(sign_accuracy(jnp.stack([zero, one]), one)).tolist() == [True, False]
