"""The contenders compute what they claim: each other's risks, the exact forms, and the package's own tasks."""

import os
from dataclasses import replace
from functools import cache, partial

import jax
import numpy as np
import pytest

from benchmarks import contenders, devices, engine, jax_plain, numpy_loop, numpy_vectorised, sklearn_loop, torch_batched
from benchmarks.timing import Timing, available_cores, calibrate, in_fresh_process, measure, peak_mb
from benchmarks.workload import MeanRisks, Workload
from tests.helpers import assert_mean, assert_mean_rejects, assert_mean_summary, assert_mean_summary_rejects
from w2s_jax.tasks import make_task

SMALL = Workload(
    dim=6, num_samples=60, num_concepts=3, weak_accuracies=(0.2, 0.4), concept_shifts=(0.8,), num_icl=(1, 3)
)


def numpy_samples(rival, workload, count) -> MeanRisks:
    """Risks of `count` independent replicates, `[r A C]` and `[r A C M]`, in the precision that is timed."""
    runs = [rival.mean_risks(workload, 1, seed=seed) for seed in range(count)]
    return MeanRisks(np.stack([run.naive_ft for run in runs]), np.stack([run.icl_refine_shared for run in runs]))


def torch_samples(workload, count) -> MeanRisks:
    pytest.importorskip("torch", reason="PyTorch is a rival only where it is installed", exc_type=ImportError)
    return torch_batched.samples(workload, count)


RIVALS = {
    "numpy_loop": partial(numpy_samples, numpy_loop),
    "numpy_vectorised": partial(numpy_samples, numpy_vectorised),
    "torch_batched": torch_samples,
}
COMPILED = {
    "jax_plain": jax_plain.samples,
    "w2s_jax": engine.samples,
    "w2s_jax_moments": partial(engine.samples, draws="moments"),
}
BY_NAME = [*RIVALS, *(pytest.param(name, marks=pytest.mark.slow) for name in COMPILED)]


@cache
def samples(name, workload, count) -> MeanRisks:
    return (RIVALS | COMPILED)[name](workload, count)


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
@pytest.mark.parametrize("rival", [*list(RIVALS)[1:], *COMPILED])
def test_the_rivals_agree_with_the_loop(rival):
    workload = replace(SMALL, num_samples=30)
    for a, b in zip(samples("numpy_loop", workload, 4500), samples(rival, workload, 4500)):
        difference, error = a.mean(0) - b.mean(0), np.sqrt((a.var(0) + b.var(0)) / len(a))
        assert_mean_summary(difference, error, len(a), 0.0, scale=b.mean(0))
        assert_mean_summary_rejects(difference, error, len(a), 0.1 * b.mean(0), scale=b.mean(0))


@pytest.mark.parametrize("rival", BY_NAME)
def test_the_rivals_match_the_exact_forms_of_least_squares(rival):
    """Theory 3.4: naive fine-tuning without penalty, and refinement without prompt (its posterior is the prior)."""
    workload = replace(SMALL, penalty=0.0, concept_shifts=(0.2, 0.7), num_icl=(0,))
    d, n, noise_var = workload.dim, workload.num_samples, workload.noise_var
    naive, refined = samples(rival, workload, 1500)

    noise = noise_var * d / (n - d - 1)
    bias = 2 - 2 * np.array(workload.weak_accuracies)[:, None]
    assert_mean(naive, bias + noise)
    assert_mean_rejects(naive, 1.1 * (bias + noise))

    prior = workload.source_priors
    misalignment = ((prior - np.eye(workload.num_concepts)[0]) ** 2).sum(-1)
    spread = 1 - (prior**2).sum(-1)
    expected = (misalignment + noise + spread * (d + 2) * (n - 2) / (n + 2) / (n - d - 1))[:, None]
    assert_mean(refined, expected)
    assert_mean_rejects(refined, 1.1 * expected)
    averaged = (misalignment + noise)[:, None]
    assert_mean_rejects(refined, averaged, scale=expected)  # labels are drawn, not averaged


@pytest.mark.parametrize("num_samples", [24, 31])
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
    assert risks.naive_ft.shape == (20, 20) and risks.icl_refine_shared.shape == (20, 20, 5)
    assert all(np.isfinite(risk).all() for risk in risks)


def test_scikit_learn_fits_what_the_loop_fits():
    rng = np.random.default_rng(0)
    prior, source = SMALL.source_priors[0], SMALL.source_priors[0] @ SMALL.concepts
    draws = numpy_loop.draw(rng, SMALL, SMALL.concepts, SMALL.weak_coefs[1], prior, num_icl=3)
    for penalty in (0.1, 3.0):
        workload = replace(SMALL, penalty=penalty)
        for ours, theirs in zip(numpy_loop.fit(workload, draws, source), sklearn_loop.fit(workload, draws, source)):
            np.testing.assert_allclose(theirs, ours, rtol=1e-9)
    assert (sklearn_loop.mean_risks(SMALL, 1).naive_ft > 0).all()


def test_a_batch_of_jax_plain_is_two_risks_a_task(monkeypatch):
    monkeypatch.setattr(jax_plain, "BATCH", 3)
    monkeypatch.setattr(devices, "on_every_device", lambda function: function)
    assert jax.eval_shape(jax_plain.batches(SMALL), np.arange(1)).shape == (3, 2)


def test_one_task_keeps_the_sizes_of_the_workload():
    one = contenders.one_task(Workload(dim=64, num_samples=100))
    assert (one.dim, one.num_samples, one.num_icl, one.num_cells) == (64, 100, (16,), 1)


@pytest.mark.parametrize("name", ["numpy_loop", "numpy_vectorised_every_core"])
def test_a_contender_reports_the_tasks_that_it_did(name):
    with contenders.CONTENDERS[name].start(SMALL, 2) as (run, tasks):
        found = run(3)
    processes = found if isinstance(found, list) else [found]
    cells = 1 if name == "numpy_loop" else SMALL.num_cells
    assert tasks == len(processes) * cells
    assert all(np.isfinite(risks.icl_refine_shared).all() for risks in processes)
    if len(processes) > 1:
        assert not np.array_equal(*(risks.naive_ft for risks in processes))


# --- Timing ------------------------------------------------------------------------------------------------------


def test_timing_sets_the_first_unit_apart(monkeypatch):
    monkeypatch.setattr("benchmarks.timing.quiet.others_share", lambda *usage: 0.0)
    timing = Timing((1.0, 1.2, 9.0, 1.1, 1.3), units=2, warmup_seconds=3.2, peak_mb=1.0, cores_used=1.0)
    assert timing.median_seconds == 1.2
    assert timing.compile_seconds == pytest.approx(2.6)
    calls = []
    timing = measure(calls.append, seconds=0)
    assert len(timing.seconds) == 5
    assert calls == [1] * 7  # warm-up, calibration, timed runs
    assert 10 < peak_mb() < 100_000
    with pytest.raises(ValueError, match="at least 5"):
        measure(lambda units: None, repeats=3)


def test_calibration_fills_the_time_that_is_asked_for(monkeypatch):
    monkeypatch.setattr("benchmarks.timing._seconds", lambda run, units: run(units))
    for unit, expected in ((0.004, 250), (0.7, 1), (30.0, 1)):
        assert calibrate(lambda units, unit=unit: unit * units, seconds=1.0) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process")
def test_a_fresh_process_is_pinned_and_its_parent_is_not():
    before = available_cores()
    assert in_fresh_process(available_cores, cores=1) == 1
    assert in_fresh_process(os.getenv, "SOME_SETTING", environment={"SOME_SETTING": "on"}) == "on"
    assert available_cores() == before
    assert "SOME_SETTING" not in os.environ
