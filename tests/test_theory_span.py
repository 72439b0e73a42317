"""The linear student: its bias and its misfit, and where it has no risk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_theory_population import in_random_frame, written_task
from w2s_jax import theory
from w2s_jax.tasks import WEAKNESSES

span_bias, span_misfit, span_risk = map(jax.jit, (theory.span_bias, theory.span_misfit, theory.span_risk))
weak_bias = jax.jit(theory.weak_bias)
SCALE, NOISE_VAR = 0.6, 0.25


def example(weakness="rotated", *, slanted=False):
    task = in_random_frame(written_task(3, 8, 0.7, 0.5, NOISE_VAR, weakness), SCALE)
    if slanted:  # any Gram matrix
        slant = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.5, 0.3, 1.4]])
        task = task._replace(concepts=jnp.asarray(slant @ np.asarray(task.concepts)))
    return task


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_gain_is_exactly_the_misfit(weakness):
    for slanted in (False, True):
        task = example(weakness, slanted=slanted)
        concepts, weak = np.asarray(task.concepts), np.asarray(task.weak_coef)
        fitted = concepts.T @ np.linalg.lstsq(concepts.T, weak, rcond=None)[0]
        bias, misfit = (SCALE * np.sum((fitted - coef) ** 2) for coef in (concepts[0], weak))
        np.testing.assert_allclose(span_bias(task), bias, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(span_misfit(task), misfit, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(span_bias(task), weak_bias(task) - misfit, rtol=1e-10, atol=1e-14)


def test_too_few_labels():
    task = example()
    assert jnp.isnan(span_risk(task, 2))
    assert all(jnp.isinf(span_risk(task, n)) for n in (3, 4))
    assert jnp.isfinite(span_risk(task, 5))
