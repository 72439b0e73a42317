"""The engine against the closed forms: simulated means of a sweep agree with docs/theory.md at every cell.

One sweep with two concepts, where every form is exact, serves the whole file. `naive_ft` is compared at every penalty,
with the trace terms of the gram matrix drawn by NumPy; refinement at every prompt length, with the exact integral.
"""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sims.risk_sweep import __main__ as risk_sweep
from sims.risk_sweep.replicate import columns
from tests.helpers import assert_mean_summary, assert_mean_summary_rejects
from w2s_jax import theory
from w2s_jax.tasks import make_task

DIM, NOISE = 16, 0.25
WEAKNESSES = ("rotated", "shifted", "noisy", "opposed")
ACCURACY, SHIFT, SIZES, PROMPTS = 0.7, 0.5, (4, 32, 128), (0, 1, 2, 4, 8)
COMMON = f"""--weakness {" ".join(WEAKNESSES)} --weak-accuracy {ACCURACY} --concept-shift {SHIFT} --num-concepts 2
    --dim {DIM} --noise-var {NOISE} --penalties 0 0.3 1 3 --times 0.1 1 --seed 3 --block-size 1000"""
FITTED = "source weak ceiling naive_ft gradient_flow"
REFINED = "icl_refine_shared icl_refine_fresh"
OTHERS = ("icl_refine_leave_one_out", "self_refine", "intent_refine")


def run_sweep(out: Path, arguments: str) -> xr.Dataset:
    assert risk_sweep.main([*COMMON.split(), *arguments.split(), "--out", str(out)]) == 0
    data = xr.open_zarr(out / "risk_sweep.zarr", consolidated=False).load()
    return data.isel(weak_accuracy=0, concept_shift=0)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> xr.Dataset:
    """Methods that read no prompt."""
    sizes = f"--methods {FITTED} --sample-size {' '.join(map(str, SIZES))} --num-icl 2 --replicates 2000"
    return run_sweep(tmp_path_factory.mktemp("fitted"), sizes)


@pytest.fixture(scope="module")
def refined(tmp_path_factory) -> xr.Dataset:
    """Shared and fresh prompts, whose errors are rare and large: many more replicates, at one sample size."""
    prompts = f"--methods {REFINED} --sample-size 32 --num-icl {' '.join(map(str, PROMPTS))} --replicates 16000"
    return run_sweep(tmp_path_factory.mktemp("refined"), prompts).sel(sample_size=32)


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> xr.Dataset:
    """Refinement that has no closed form, at a prompt of two examples."""
    cell = f"--methods {' '.join(OTHERS)} --sample-size 32 --num-icl 2 --replicates 2000"
    return run_sweep(tmp_path_factory.mktemp("others"), cell).sel(sample_size=32, num_icl=2)


def task_of(weakness: str):
    return make_task(
        num_concepts=2, dim=DIM, weak_accuracy=ACCURACY, concept_shift=SHIFT, noise_var=NOISE, weakness=weakness
    )


@pytest.fixture(scope="module")
def spectra() -> dict[int, np.ndarray]:
    """Eigenvalues of Phi'Phi/n for independent gaussian draws, `[draws d]` per sample size."""
    rng = np.random.default_rng(11)
    return {n: np.linalg.eigvalsh(np.einsum("rni,rnj->rij", x, x) / n) for n in SIZES for x in [_rows(rng, n)]}


def _rows(rng, n):
    return rng.standard_normal((8000, n, DIM))


def filtered_risk(task, lam: np.ndarray, shrink: np.ndarray, n: int) -> tuple[float, float]:
    """E R of b = beta_P + g(S)(beta_w - beta_P) + noise, shrink = g(lam), and its standard error over draws of `lam`.

    By rotation invariance E R = b_w^2 E t_2 + 2 c E t_1 + b_P^2 E t_0 + (sigma_w^2 d/n) E u with t_2 = tr g^2/d,
    t_1 = tr g(1 - g)/d, t_0 = tr (1 - g)^2/d, u = tr g^2/lam/d.
    """
    weak, source = float(theory.weak_bias(task)), float(theory.source_bias(task))
    inner, noise = float(theory.bias_inner_product(task)), float(task.weak_noise_var)
    inverse = np.divide(shrink**2, lam, out=np.zeros_like(lam), where=lam > 1e-9)
    per_direction = weak * shrink**2 + 2 * inner * shrink * (1 - shrink) + source * (1 - shrink) ** 2
    samples = (per_direction + noise * DIM / n * inverse).mean(axis=1)
    return samples.mean(), samples.std() / np.sqrt(len(samples))


@pytest.mark.parametrize("weakness", WEAKNESSES)
@pytest.mark.parametrize("method", ["naive_ft", "gradient_flow"])
def test_fine_tuning_matches_its_exact_finite_sample_risk(sweep, spectra, weakness, method):
    name, axis = ("naive_path", "penalty") if method == "naive_ft" else ("flow_path", "time")
    task, cells = task_of(weakness), sweep.sel(weakness=weakness).isel(num_icl=0)
    for n in SIZES:
        lam = spectra[n]
        for value in cells[axis].values:
            if value == 0 and n < DIM:
                shrink = (lam > 1e-9).astype(float)
            else:
                shrink = lam / (lam + value) if method == "naive_ft" else -np.expm1(-2 * value * lam)
            expected, expected_sem = filtered_risk(task, lam, shrink, n)
            cell = cells.sel({axis: value, "sample_size": n})
            sem = np.hypot(float(cell[f"{name}_sem"]), expected_sem)
            assert_mean_summary(float(cell[f"{name}_mean"]), sem, 2000, expected)
            assert_mean_summary_rejects(float(cell[f"{name}_mean"]), sem, 2000, 1.1 * expected)


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_least_squares_matches_theory_under_and_over_parametrised(sweep, weakness):
    cells = sweep.sel(weakness=weakness, penalty=0.0).isel(num_icl=0)
    expected = np.array([float(theory.least_squares_risk(task_of(weakness), n)) for n in SIZES])
    mean, sem = cells.naive_path_mean.values, cells.naive_path_sem.values
    assert_mean_summary(mean, sem, 2000, expected)
    assert_mean_summary_rejects(mean, sem, 2000, 1.1 * expected)


def test_source_weak_and_ceiling_match_theory(sweep):
    for weakness in WEAKNESSES:
        task = task_of(weakness)
        risk = sweep.risk_mean.sel(weakness=weakness).isel(num_icl=0)
        np.testing.assert_allclose(risk.sel({"method": "source"}), theory.source_bias(task), rtol=1e-10)
        np.testing.assert_allclose(risk.sel({"method": "weak"}), theory.weak_bias(task), rtol=1e-10, atol=1e-15)
        perfect = task._replace(weak_concepts=task.concepts, weak_noise_var=task.noise_var)
        expected = np.array([float(theory.least_squares_risk(perfect, n)) for n in SIZES])
        sem = sweep.risk_sem.sel({"method": "ceiling", "weakness": weakness}).isel(num_icl=0)
        assert_mean_summary(risk.sel({"method": "ceiling"}), sem, 2000, expected)
        assert_mean_summary_rejects(risk.sel({"method": "ceiling"}), sem, 2000, 1.1 * expected)


@pytest.mark.parametrize("weakness", WEAKNESSES)
@pytest.mark.parametrize("prompts", ["shared", "fresh"])
def test_misalignment_matches_the_exact_integral_at_every_prompt_length(refined, weakness, prompts):
    averaged = 32 if prompts == "fresh" else None
    expected = np.array([float(theory.misalignment(task_of(weakness), m, prompts, averaged)) for m in PROMPTS])
    cell = refined.sel({"weakness": weakness, "method": f"icl_refine_{prompts}"})
    mean, sem = cell.misalignment_mean.values, cell.misalignment_sem.values
    # On the scale of the source's misalignment where 8 examples have all but removed it.
    scale = np.maximum(expected, expected[0] / 2)
    assert_mean_summary(mean, sem, 16_000, expected, scale)
    assert_mean_summary_rejects(mean, sem, 16_000, 1.1 * expected, scale)


@pytest.mark.parametrize("weakness", WEAKNESSES)
@pytest.mark.parametrize("prompts", ["shared", "fresh"])
def test_refined_risk_is_misalignment_then_saturation(refined, weakness, prompts):
    task = task_of(weakness)
    expected = np.array(
        [
            float(theory.refined_risk(task, 32, theory.misalignment(task, m, prompts), spread))
            for m in PROMPTS
            for spread in [theory.refined_label_spread(task, m, prompts)]
        ]
    )
    cell = refined.sel({"weakness": weakness, "method": f"icl_refine_{prompts}"})
    mean, sem = cell.risk_mean.values, cell.risk_sem.values
    assert_mean_summary(mean, sem, 16_000, expected)
    assert_mean_summary_rejects(mean, sem, 16_000, 1.1 * expected)


@pytest.mark.parametrize("weakness", ["rotated", "noisy"])
@pytest.mark.parametrize("method", OTHERS)
@pytest.mark.slow
def test_other_refinement_matches_a_plain_loop(others, weakness, method):
    rng, task = np.random.default_rng(5), task_of(weakness)
    samples = [plain_refinement(rng, task, method, num_samples=32, num_icl=2) for _ in range(3000)]
    cell = others.sel({"weakness": weakness, "method": method})
    mean, sem = np.mean(samples), np.std(samples) / np.sqrt(len(samples))
    both = np.hypot(sem, float(cell.risk_sem))
    assert_mean_summary(float(cell.risk_mean), both, 2000, mean, 2 * mean)
    assert_mean_summary_rejects(float(cell.risk_mean), both, 2000, 1.2 * mean, 2 * mean)


def plain_refinement(rng, task, method: str, num_samples: int, num_icl: int) -> float:
    """One risk, drawn and fitted row by row as a reader of the definitions would write it."""
    concepts, prior = np.asarray(task.concepts), np.asarray(task.source_prior)
    weak, sigma_w, sigma = np.asarray(task.weak_coef), np.sqrt(float(task.weak_noise_var)), np.sqrt(NOISE)

    def weak_examples(count):
        rows = rng.standard_normal((count, DIM))
        labels = rows @ weak + sigma_w * rng.standard_normal(count)
        return rows, np.log(prior) / count - (labels[:, None] - rows @ concepts.T) ** 2 / (2 * NOISE)

    phi, own = weak_examples(num_samples)
    own = own - np.log(prior) / num_samples
    if method == "intent_refine":
        chosen = np.full(num_samples, np.argmax(weak_examples(num_icl)[1].sum(axis=0)))
    else:
        prompts = [[i] for i in range(num_samples)]
        if method == "icl_refine_leave_one_out":
            batch = num_icl + 1
            starts = [min(i // batch * batch, num_samples - batch) for i in range(num_samples)]
            prompts = [[j for j in range(s, s + batch) if j != i] for i, s in enumerate(starts)]
        evidence = np.array([own[prompt].sum(axis=0) for prompt in prompts])
        joint = prior * np.exp(evidence - evidence.max(axis=1, keepdims=True))
        chosen = (rng.random((num_samples, 1)) > np.cumsum(joint, axis=1) / joint.sum(axis=1, keepdims=True)).sum(
            axis=1
        )
    labels = (phi * concepts[chosen]).sum(axis=1) + sigma * rng.standard_normal(num_samples)
    fit = np.linalg.lstsq(phi, labels, rcond=None)[0]
    return float(np.sum((fit - concepts[0]) ** 2))


def floor_and_smaller_bias(weakness: str) -> tuple[float, float]:
    task = task_of(weakness)
    return float(theory.population_ridge_floor(task)), float(min(theory.source_bias(task), theory.weak_bias(task)))


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_naive_ft_at_its_best_penalty_never_falls_under_the_floor(sweep, weakness):
    cells = sweep.sel({"weakness": weakness, "method": "naive_ft"})
    floor, _ = floor_and_smaller_bias(weakness)
    assert (cells.risk_mean > floor - 5 * cells.risk_sem).all()
    # The twin: at the largest sample the risk is close enough to the floor for a higher one to be refused.
    if floor > 0:
        largest = cells.sel(sample_size=max(SIZES))
        assert (largest.risk_mean < 1.25 * floor - 5 * largest.risk_sem).all()


@pytest.mark.parametrize("weakness", ["rotated", "shifted"])
def test_rotated_and_shifted_teachers_trap_at_half_the_smaller_bias(sweep, weakness):
    floor, smaller = floor_and_smaller_bias(weakness)
    cells = sweep.sel({"weakness": weakness, "method": "naive_ft"})
    assert floor >= smaller / 2
    assert (cells.risk_mean > smaller / 2 + 5 * cells.risk_sem).all()


def test_an_opposed_teacher_falls_below_half_the_smaller_bias(sweep):
    floor, smaller = floor_and_smaller_bias("opposed")
    cell = sweep.sel({"weakness": "opposed", "method": "naive_ft", "sample_size": max(SIZES)})
    assert floor < smaller / 2
    assert (cell.risk_mean < smaller / 2 - 5 * cell.risk_sem).all()


def test_a_noisy_teacher_has_floor_0_and_only_the_sample_size_stands_in_the_way(sweep):
    """Under the minimax risk sigma_w^2 d/(n - d - 1) of least squares at every n, and falling as fast as it."""
    assert floor_and_smaller_bias("noisy")[0] == 0
    risk = sweep.risk_mean.sel({"weakness": "noisy", "method": "naive_ft"}).isel(num_icl=0)
    task = task_of("noisy")
    for n in (32, 128):
        assert float(risk.sel(sample_size=n)) <= 1.05 * float(theory.least_squares_risk(task, n))
    assert float(risk.sel(sample_size=4) / risk.sel(sample_size=128)) > 5


def test_best_is_the_penalty_with_the_lowest_mean(sweep):
    cells = sweep.isel(num_icl=0)
    np.testing.assert_array_equal(cells.risk_mean.sel({"method": "naive_ft"}), cells.naive_path_mean.min("penalty"))
    np.testing.assert_array_equal(cells.risk_mean.sel({"method": "gradient_flow"}), cells.flow_path_mean.min("time"))


def test_sem_is_the_diagonal_of_the_covariance_and_wins_are_paired(sweep):
    for method in sweep["method"].values:
        variance = sweep.risk_cov.sel({"method": method, "method_2": method})
        np.testing.assert_allclose(
            sweep.risk_sem.sel({"method": method}) ** 2 * 2000, variance.drop_vars("method_2"), rtol=1e-9, atol=1e-18
        )
    wins = sweep.win_rate.sel({"method": "naive_ft"})
    np.testing.assert_allclose(wins, 0.5, rtol=1e-12)
    weak = sweep.win_rate.sel({"method": "weak", "weakness": "rotated", "sample_size": 128})
    assert (weak < 0.01).all()


def test_columns_split_by_the_prompt_length():
    fixed, varying = columns(risk_sweep.PRESETS["smoke"])
    assert ("naive_ft", 0.3) in fixed and ("icl_refine_shared", None) in varying
