"""The path that three measured rates foretell: its intervals cover, its cells are those of drawn inputs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import dirichlet

import w2s_jax as w2s
from tests.test_theory_population import refusals
from w2s_jax import forecast, theory_zoo

TRUE = forecast.Rates(*(jnp.array(rate) for rate in (0.8, 0.7, 0.66)))
CELLS = np.array([0.58, 0.22, 0.12, 0.08])
"""Shares of both right, start alone, teacher alone, none."""


def test_the_posterior_is_the_dirichlet_of_four_cells():
    count = 200
    drawn = forecast.draw_rates(jax.random.key(0), TRUE, count, 20_000)
    cells = dirichlet(CELLS * count + 0.5)
    both, start, teacher, none = cells.rvs(20_000, random_state=0).T
    rates = np.stack([both + start, both + teacher, both + none])
    np.testing.assert_allclose(np.mean(drawn, axis=1), rates.mean(axis=1), atol=2e-3)
    np.testing.assert_allclose(np.cov(drawn), np.cov(rates), atol=4e-5)


@pytest.mark.slow
def test_intervals_cover_the_true_path():
    labelled, tables = 300, 400
    both, start, teacher, none = np.random.default_rng(0).multinomial(labelled, CELLS, tables).T
    measured = forecast.Rates(*(np.stack([both + start, both + teacher, both + none]) / labelled))

    @jax.jit
    def ends(key, measured):
        drawn = forecast.draw_rates(key, measured, labelled, 400)
        read = jax.vmap(forecast._read, (0, None))(drawn, jnp.array([0.3, 1.0]))
        values = jnp.column_stack([read["accuracy"], read["best"], read["best_progress"], read["gain"]])
        return jnp.quantile(values, jnp.array([0.025, 0.975]), axis=0)

    keys = jax.random.split(jax.random.key(1), tables)
    low, high = np.moveaxis(np.asarray(jax.vmap(ends)(keys, measured)), 1, 0)
    true = forecast._read(TRUE, jnp.array([0.3, 1.0]))
    true = np.array([*true["accuracy"], true["best"], true["best_progress"], true["gain"]])
    covered = ((low <= true) & (true <= high)).mean(axis=0)
    assert (covered > 0.92).all() and (covered < 0.98).all(), covered


@pytest.mark.slow
def test_the_path_is_that_of_theory_and_more_inputs_narrow_it():
    plain = w2s.accuracy_path(0.8, 0.7, 0.66, progress=jnp.array([0.0, 0.4, 1.0]))
    np.testing.assert_allclose(plain.accuracy.value, theory_zoo.tuned_accuracy(0.8, 0.7, 0.66, plain.progress))
    np.testing.assert_allclose(plain.agreement, [0.66, 0.796, 1.0], rtol=1e-12)
    assert plain.best.value == theory_zoo.best_accuracy(0.8, 0.7, 0.66).accuracy
    assert np.isnan(plain.best.low) and np.isnan(plain.accuracy.high).all()
    assert plain.gains == 1 and plain.passes == 1
    few, many = (w2s.accuracy_path(0.8, 0.7, 0.66, num_labelled=labelled) for labelled in (100, 10_000))
    assert few.best_progress.high - few.best_progress.low > 5 * (many.best_progress.high - many.best_progress.low)
    assert all(path.accuracy.low[0] < 0.8 < path.accuracy.high[0] for path in (few, many))
    assert w2s.accuracy_path(0.8, 0.55, 0.73, num_labelled=10_000).gains < 0.01


path = partial(w2s.accuracy_path, start_accuracy=0.8, teacher_accuracy=0.7, agreement=0.66)
test_bad_input = refusals(
    (partial(path, start_accuracy=80), r"start_accuracy must be in \[0, 1\], got 80; a percentage"),
    (partial(path, teacher_accuracy=1), r"teacher_accuracy must be in \(0, 1\), got 1"),
    (partial(path, agreement=0.3), r"agreement must be in \[0.5, 0.9\] for accuracies 0.8 and 0.7, got 0.3"),
    (partial(path, num_labelled=0), "num_labelled must be at least 1, got 0"),
    (partial(path, level=95), r"level must be in \(0, 1\), got 95"),
    (partial(path, num_draws=10), "num_draws must be at least 100, got 10"),
)
