"""The theory sweep: its specification, its results, and its studies against the closed forms."""

import numpy as np
import pytest

from sims.theory_sweep.claims import CLAIMS, theory_claims
from sims.theory_sweep.spec import STUDY_NAMES
from sims.theory_sweep.studies import STUDIES, em_ladder, misfit
from tests.helpers import assert_mean_summary, assert_mean_summary_rejects
from tests.tiny import THEORY
from w2s_jax import theory

SPEC = THEORY.spec
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def data(finished):
    """A finished sweep of a few studies."""
    return finished("theory_sweep").data


@pytest.mark.slow
def test_every_study_has_its_labelled_arrays(data):
    for name in SPEC.studies:
        axes = STUDIES[name].axes(SPEC)
        assert data[f"{name}_mean"].dims == (*(f"{name}_{axis}" for axis in axes), f"{name}_quantity")
        for axis, values in axes.items():
            np.testing.assert_array_equal(data[f"{name}_{axis}"], np.array(values))
        assert tuple(data[f"{name}_quantity"].values) == STUDIES[name].quantities(SPEC)
        variance = np.diagonal(data[f"{name}_cov"], axis1=-2, axis2=-1)
        np.testing.assert_allclose(data[f"{name}_sem"] ** 2 * 1000, variance, rtol=1e-9, atol=1e-18)
    assert set(STUDIES) == set(STUDY_NAMES)


@pytest.mark.slow
def test_the_first_em_step_is_refinement_from_one_example(data):
    risk = data.em_ladder_mean.sel(em_ladder_target="mixture", em_ladder_quantity="em_risk").values[0]
    sem = data.em_ladder_sem.sel(em_ladder_target="mixture", em_ladder_quantity="em_risk").values[0]
    task = em_ladder.task(SPEC, "mixture")
    np.testing.assert_allclose(risk[0], theory.source_bias(task), rtol=1e-6)
    expected = float(theory.em_first_step_risk(task, 400))
    assert_mean_summary(risk[1], sem[1], 1000, expected)
    assert_mean_summary_rejects(risk[1], sem[1], 1000, 1.1 * expected)
    # A prompt of one fresh example for each label has the same bias: that of its mean weights.
    prior = np.asarray(theory.one_example_refinement_prior(task))
    assert np.sum((prior - np.array([0.7, 0.3])) ** 2) < risk[1]


@pytest.mark.slow
def test_every_study_makes_claims_that_hold(data):
    claims = list(theory_claims(data, SPEC))
    assert {claim.claim.split()[0] for claim in claims} >= {"EM,", "mixture", "contamination,", "span:", "hull:"}
    # Five steps are not yet the limit of EM, and two prompts of at most six examples show no dip: these need `quick`.
    fails = [claim.claim for claim in claims if not claim.holds()]
    assert all(text.startswith(("EM, T = 5", "mixture target", "contamination 0")) for text in fails), fails


@pytest.mark.slow
def test_a_span_that_paid_less_for_its_own_noise_would_be_noticed(data, monkeypatch):
    right = misfit.estimation_risk
    monkeypatch.setattr(misfit, "estimation_risk", lambda task, student: 0.75 * right(task, student))
    held = {claim.claim.split(":")[0]: claim.holds() for claim in CLAIMS["misfit"](data, SPEC)}
    assert not held["span"]
