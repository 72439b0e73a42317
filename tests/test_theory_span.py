"""The linear student: its bias, its misfit, and its exact risk, against simulated fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import assert_mean_sharply
from tests.test_theory_population import as_task, in_random_frame, written_task
from w2s_jax import theory
from w2s_jax.tasks import WEAKNESSES

span_bias, span_misfit, span_risk, weak_bias = (
    jax.jit(f) for f in (theory.span_bias, theory.span_misfit, theory.span_risk, theory.weak_bias)
)
SCALE, NOISE_VAR = 0.6, 0.25


def example(weakness="rotated", accuracy=0.7, *, slanted=False, mixture=False):
    task = written_task(
        num_concepts=3, dim=8, weak_accuracy=accuracy, concept_shift=0.5, noise_var=NOISE_VAR, weakness=weakness
    )
    fields = {name: np.asarray(x) for name, x in in_random_frame(task, SCALE)._asdict().items()}
    if slanted:  # any Gram matrix
        slant = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.5, 0.3, 1.4]])
        fields["concepts"] = slant @ fields["concepts"]
    if mixture:
        rng = np.random.default_rng(3)
        fields["weak_concepts"] = fields["weak_concepts"] + 0.4 * rng.normal(size=(3, 8))
        fields["weak_prior"] = np.array([0.5, 0.3, 0.2])
    return as_task(**fields)


@pytest.mark.parametrize("slanted", [False, True])
@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_gain_is_exactly_the_misfit(weakness, slanted):
    task = example(weakness, slanted=slanted)
    concepts, weak = np.asarray(task.concepts), np.asarray(task.weak_coef)
    fitted = concepts.T @ np.linalg.lstsq(concepts.T, weak, rcond=None)[0]
    np.testing.assert_allclose(span_bias(task), SCALE * np.sum((fitted - concepts[0]) ** 2), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(span_misfit(task), SCALE * np.sum((fitted - weak) ** 2), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(span_bias(task), weak_bias(task) - span_misfit(task), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_stated_values(weakness):
    a = 0.7
    bias = {"rotated": (1 - a) ** 2, "shifted": 0.0, "noisy": 0.0}.get(weakness, 2 - 2 * a)
    misfit = {"rotated": 1 - a**2, "shifted": 1 / a**2 - 1}.get(weakness, 0.0)
    task = example(weakness, a)
    np.testing.assert_allclose(span_bias(task), SCALE * bias, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(span_misfit(task), SCALE * misfit, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("n", "options"),
    [
        (9, {}),
        (30, {"slanted": True}),
        (14, {"weakness": "shifted", "accuracy": 0.5}),
        (20, {"weakness": "opposed"}),
        (14, {"mixture": True}),
        (40, {"mixture": True, "slanted": True}),
    ],
    ids=str,
)
def test_span_risk_is_exact(n, options):
    task, count = example(**options), 8000
    rng = np.random.default_rng(n)
    concepts, weak, prior = (np.asarray(x) for x in (task.concepts, task.weak_concepts, task.weak_prior))
    features = rng.normal(size=(count, n, 8)) * np.sqrt(SCALE)
    labels = np.sum(features * weak[rng.choice(3, size=(count, n), p=prior)], -1)
    labels = labels + rng.normal(size=(count, n)) * np.sqrt(NOISE_VAR)
    read = features @ concepts.T
    transposed = read.transpose(0, 2, 1)
    fitted = np.linalg.solve(transposed @ read, transposed @ labels[..., None])[..., 0] @ concepts
    samples = SCALE * np.sum((fitted - np.asarray(task.target_coef)) ** 2, -1)
    expected = span_risk(task, n)
    assert_mean_sharply(samples, expected)


def test_the_misfit_is_noise_and_the_dimension_is_not():
    """The gain survives at finite n, less what the misfit costs as noise."""
    task = example()
    np.testing.assert_allclose(
        span_risk(task, 24), span_bias(task) + (NOISE_VAR + span_misfit(task)) * 3 / 20, rtol=1e-10
    )
    wide = in_random_frame(
        written_task(num_concepts=3, dim=40, weak_accuracy=0.7, concept_shift=0.5, noise_var=NOISE_VAR), SCALE
    )
    np.testing.assert_allclose(span_risk(wide, 24), span_risk(task, 24), rtol=1e-10)


def test_too_few_labels():
    task = example()
    assert jnp.isnan(span_risk(task, 2))
    assert all(jnp.isinf(span_risk(task, n)) for n in (3, 4))
    assert jnp.isfinite(span_risk(task, 5))
