"""The NumPy rivals compute what they claim: each other's risks, the exact forms, and the package's own tasks."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import numpy_loop, numpy_vectorised
from benchmarks.timing import Timing, measure, peak_mb
from benchmarks.workload import Workload
from tests.helpers import assert_mean, assert_mean_rejects, assert_mean_summary, assert_mean_summary_rejects
from w2s_jax.tasks import make_task

SMALL = Workload(
    dim=6, num_samples=30, num_concepts=3, weak_accuracies=(0.2, 0.4), concept_shifts=(0.8,), num_icl=(1, 3)
)
RIVALS = [numpy_loop, numpy_vectorised]


def samples(rival, workload, count):
    """Risks of `count` independent replicates, `[r A C]` and `[r A C M]`, in the precision that is timed."""
    runs = [rival.mean_risks(workload, 1, seed=seed) for seed in range(count)]
    return np.stack([run.naive_ft for run in runs]), np.stack([run.icl_refine_shared for run in runs])


def test_the_workload_is_that_of_make_task():
    workload = Workload()
    assert workload.num_cells == 2000
    for i, accuracy in enumerate(workload.weak_accuracies):
        task = make_task(num_concepts=4, dim=32, weak_accuracy=accuracy, concept_shift=workload.concept_shifts[i])
        np.testing.assert_allclose(workload.weak_coefs[i], task.weak_coef, atol=1e-12)
        np.testing.assert_allclose(workload.source_priors[i], task.source_prior, atol=1e-12)
        np.testing.assert_allclose(workload.concepts, task.concepts)
        assert workload.noise_var == task.noise_var == task.weak_noise_var


@pytest.mark.slow
def test_the_rivals_agree():
    loop, vectorised = (samples(rival, SMALL, 4500) for rival in RIVALS)
    for a, b in zip(loop, vectorised):
        difference, error = a.mean(0) - b.mean(0), np.sqrt((a.var(0) + b.var(0)) / len(a))
        assert_mean_summary(difference, error, len(a), 0.0, scale=b.mean(0))
        assert_mean_summary_rejects(difference, error, len(a), 0.1 * b.mean(0), scale=b.mean(0))


@pytest.mark.parametrize("rival", RIVALS)
def test_the_rivals_match_the_exact_forms_of_least_squares(rival):
    """Theory 3.4: naive fine-tuning without penalty, and refinement without prompt (its posterior is the prior)."""
    workload = replace(SMALL, penalty=0.0, concept_shifts=(0.2, 0.7), num_icl=(0,))
    d, n, noise_var = workload.dim, workload.num_samples, workload.noise_var
    naive, refined = samples(rival, workload, 3000)

    bias = 2 - 2 * np.array(workload.weak_accuracies)[:, None]
    expected = np.broadcast_to(bias + noise_var * d / (n - d - 1), naive.shape[1:])
    assert_mean(naive, expected)
    assert_mean_rejects(naive, 1.1 * expected)

    prior = workload.source_priors
    misalignment = ((prior - np.eye(workload.num_concepts)[0]) ** 2).sum(-1)
    spread = 1 - (prior**2).sum(-1)
    noise = noise_var * d / (n - d - 1)
    expected = misalignment + noise + spread * (d + 2) * (n - 2) / (n + 2) / (n - d - 1)
    expected = np.broadcast_to(expected[:, None], refined.shape[1:])
    assert_mean(refined, expected)
    assert_mean_rejects(refined, 1.1 * expected)
    averaged = np.broadcast_to((misalignment + noise)[:, None], refined.shape[1:])
    assert_mean_rejects(refined, averaged, scale=expected)  # labels are drawn, not averaged


@pytest.mark.parametrize("num_samples", [24, 29, 31])
def test_labels_sorted_by_concept_give_the_dense_least_squares(num_samples):
    workload = replace(SMALL, num_samples=num_samples)
    n, rng = num_samples, np.random.default_rng(0)
    constants = numpy_vectorised.constants_of(workload, np.float64)
    workspace = numpy_vectorised.workspace_of(workload, np.float64)
    features = rng.standard_normal((n, workload.dim))
    workspace.rows[1 : n + 1] = features
    numpy_vectorised.prefix_tables(workspace, constants.steps)
    counts = np.array([[0, n, 0, 7, 8, 16], [0, n, n, 9, 8, n]])
    noise = rng.standard_normal(n)
    risks = numpy_vectorised.refined_risks(
        workload, constants, features.T @ features / n, features.T @ noise / n, workspace.tables, counts
    )
    for risk, (first, second) in zip(risks, counts.T):
        chosen = (np.arange(n) >= first).astype(int) + (np.arange(n) >= second)
        labels = (features * workload.concepts[chosen]).sum(-1) + noise
        coef = np.linalg.lstsq(features, labels)[0]
        np.testing.assert_allclose(risk, ((coef - workload.concepts[0]) ** 2).sum(), rtol=1e-8)


def test_one_replicate_of_the_full_grid_is_finite():
    risks = numpy_vectorised.mean_risks(Workload(), 1)
    assert risks.naive_ft.shape == (20, 20)
    assert risks.icl_refine_shared.shape == (20, 20, 5)
    assert np.isfinite(risks.naive_ft).all()
    assert np.isfinite(risks.icl_refine_shared).all()


def test_timing_sets_the_first_run_apart():
    timing = Timing(seconds=(1.0, 1.2, 9.0, 1.1, 1.3), warmup_seconds=3.2, peak_mb=1.0)
    assert timing.median_seconds == 1.2
    assert timing.compile_seconds == 2.0
    calls = []
    assert len(measure(lambda: calls.append(1)).seconds) == 5
    assert len(calls) == 6
    assert 10 < peak_mb() < 100_000
    with pytest.raises(ValueError, match="at least 5"):
        measure(lambda: None, repeats=3)
