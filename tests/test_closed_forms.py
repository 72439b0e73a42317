"""The engine against the closed forms: simulated means of a sweep agree with docs/theory.md at every cell.

One sweep with two concepts, where every form is exact, serves the whole file. `naive_ft` is compared at every penalty,
with the trace terms of the gram matrix drawn by NumPy; refinement at every prompt length, with the exact integral.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

from sims.risk_sweep import __main__ as risk_sweep
from tests.helpers import assert_mean_summary, assert_mean_summary_rejects, load, of
from w2s_jax import theory
from w2s_jax.tasks import make_task

DIM, NOISE, COUNT = 16, 0.25, 2000
WEAKNESSES = ("rotated", "shifted", "noisy", "opposed")
ACCURACY, SHIFT, SIZES, PROMPTS = 0.7, 0.5, (4, 32, 128), (0, 1, 4, 8)
COMMON = f"""--weakness {" ".join(WEAKNESSES)} --weak-accuracy {ACCURACY} --concept-shift {SHIFT} --num-concepts 2
    --dim {DIM} --noise-var {NOISE} --penalties 0 0.3 1 3 --times 0.1 1 --seed 3 --block-size 1000
    --replicates {COUNT}"""
OTHERS = ("icl_refine_leave_one_out", "self_refine", "intent_refine")


def run_sweep(out: Path, arguments: str) -> xr.Dataset:
    assert risk_sweep.main([*COMMON.split(), *arguments.split(), "--out", str(out)]) == 0
    return load(out / "risk_sweep.zarr").isel(weak_accuracy=0, concept_shift=0)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> xr.Dataset:
    """Mistakes of refinement are rare and large: prompts are averaged."""
    methods = "source weak ceiling naive_ft gradient_flow icl_refine_shared icl_refine_fresh"
    cells = f"--sample-size {' '.join(map(str, SIZES))} --num-icl {' '.join(map(str, PROMPTS))} --prompt-rounds 64"
    return run_sweep(tmp_path_factory.mktemp("sweep"), f"--methods {methods} {cells}")


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> xr.Dataset:
    """Refinement that has no closed form, at a prompt of two examples."""
    cell = f"--methods {' '.join(OTHERS)} --sample-size 32 --num-icl 2"
    return run_sweep(tmp_path_factory.mktemp("others"), cell).sel(sample_size=32, num_icl=2)


CELL = {"num_concepts": 2, "dim": DIM, "weak_accuracy": ACCURACY, "concept_shift": SHIFT, "noise_var": NOISE}
TASKS = {weakness: make_task(**CELL, weakness=weakness) for weakness in WEAKNESSES}


@jax.jit
def refinement(task):
    """Misalignment `[I]` of shared and of fresh prompts, the latter over 32 labels, and refined risk `[I]`."""
    lengths = np.array(PROMPTS, float)
    shared, fresh = (theory.misalignment(task, lengths, prompts) for prompts in ("shared", "fresh"))
    spreads = theory.label_spread(shared, fresh, 2)
    risk_of = jax.vmap(lambda limit, spread: theory.refined_risk(task, 32, limit, spread))
    risks = [risk_of(limit, spread) for limit, spread in zip((shared, fresh), spreads)]
    return {"shared": (shared, risks[0]), "fresh": (theory.misalignment(task, lengths, "fresh", 32), risks[1])}


def assert_cells(cells, name: str, expected, scale=None, more_sem=0.0) -> None:
    """Means of the sweep agree, and would not with a value that is 10% off."""
    mean, sem = cells[f"{name}_mean"].values, np.hypot(cells[f"{name}_sem"].values, more_sem)
    assert_mean_summary(mean, sem, COUNT, expected, scale)
    assert_mean_summary_rejects(mean, sem, COUNT, 1.1 * expected, scale)


@pytest.fixture(scope="module")
def spectra() -> dict[int, np.ndarray]:
    """Eigenvalues of Phi'Phi/n for independent gaussian draws, `[draws d]` per sample size."""
    rng = np.random.default_rng(11)
    rows = {n: rng.standard_normal((8000, n, DIM)) for n in SIZES}
    return {n: np.linalg.eigvalsh(np.einsum("rni,rnj->rij", x, x) / n) for n, x in rows.items()}


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
    cells = sweep.sel(weakness=weakness).isel(num_icl=0)
    for n in SIZES:
        lam = spectra[n]
        for value in cells[axis].values:
            if value == 0 and n < DIM:
                shrink = (lam > 1e-9).astype(float)
            else:
                shrink = lam / (lam + value) if method == "naive_ft" else -np.expm1(-2 * value * lam)
            expected, sem = filtered_risk(TASKS[weakness], lam, shrink, n)
            assert_cells(cells.sel({axis: value, "sample_size": n}), name, expected, more_sem=sem)


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_source_weak_and_ceiling_match_theory(sweep, weakness):
    task, cells = TASKS[weakness], sweep.sel(weakness=weakness).isel(num_icl=0)
    np.testing.assert_allclose(of("source", cells).risk_mean, theory.source_bias(task), rtol=1e-10)
    np.testing.assert_allclose(of("weak", cells).risk_mean, theory.weak_bias(task), rtol=1e-10, atol=1e-15)
    perfect = task._replace(weak_concepts=task.concepts, weak_noise_var=task.noise_var)
    expected = np.array([float(theory.least_squares_risk(perfect, n)) for n in SIZES])
    assert_cells(of("ceiling", cells), "risk", expected)


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_refinement_matches_the_exact_integral_at_every_prompt_length(sweep, weakness):
    """Its misalignment, and the risk at which that lets it saturate."""
    for prompts, (misalignment, risk) in jax.tree.map(np.asarray, refinement(TASKS[weakness])).items():
        cells = of(f"icl_refine_{prompts}", sweep).sel(weakness=weakness, sample_size=32)
        # On the scale of the source's misalignment where 8 examples have all but removed it.
        assert_cells(cells, "misalignment", misalignment, np.maximum(misalignment, misalignment[0] / 2))
        assert_cells(cells, "risk", risk)


@pytest.mark.parametrize("weakness", ["rotated", "noisy"])
@pytest.mark.parametrize("method", OTHERS)
@pytest.mark.slow
def test_other_refinement_matches_a_plain_loop(others, weakness, method):
    rng = np.random.default_rng(5)
    samples = [plain_refinement(rng, TASKS[weakness], method, num_samples=32, num_icl=2) for _ in range(3000)]
    cell = others.sel({"weakness": weakness, "method": method})
    mean, sem = np.mean(samples), np.std(samples) / np.sqrt(len(samples))
    both = np.hypot(sem, float(cell.risk_sem))
    assert_mean_summary(float(cell.risk_mean), both, COUNT, mean, 2 * mean)
    assert_mean_summary_rejects(float(cell.risk_mean), both, COUNT, 1.2 * mean, 2 * mean)


def plain_refinement(rng, task, method: str, num_samples: int, num_icl: int) -> float:
    """One risk, drawn and fitted row by row as a reader of the definitions would write it."""
    concepts, prior = np.asarray(task.concepts), np.asarray(task.source_prior)
    weak, sigma_w, sigma = np.asarray(task.weak_coef), np.sqrt(float(task.weak_noise_var)), np.sqrt(NOISE)

    def weak_examples(count):
        rows = rng.standard_normal((count, DIM))
        labels = rows @ weak + sigma_w * rng.standard_normal(count)
        return rows, -((labels[:, None] - rows @ concepts.T) ** 2) / (2 * NOISE)

    phi, own = weak_examples(num_samples)
    if method == "intent_refine":
        evidence = np.log(prior) + weak_examples(num_icl)[1].sum(axis=0)
        chosen = np.full(num_samples, np.argmax(evidence))
    else:
        prompts = [[i] for i in range(num_samples)]
        if method == "icl_refine_leave_one_out":
            batch = num_icl + 1
            starts = [min(i // batch * batch, num_samples - batch) for i in range(num_samples)]
            prompts = [[j for j in range(s, s + batch) if j != i] for i, s in enumerate(starts)]
        evidence = np.array([own[prompt].sum(axis=0) for prompt in prompts])
        joint = prior * np.exp(evidence - evidence.max(axis=1, keepdims=True))
        below = np.cumsum(joint, axis=1) / joint.sum(axis=1, keepdims=True)
        chosen = (rng.random((num_samples, 1)) > below).sum(axis=1)
    labels = (phi * concepts[chosen]).sum(axis=1) + sigma * rng.standard_normal(num_samples)
    fit = np.linalg.lstsq(phi, labels, rcond=None)[0]
    return float(np.sum((fit - concepts[0]) ** 2))


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_naive_fine_tuning_at_its_best_penalty_is_trapped_above_the_floor(sweep, weakness):
    task, cells = TASKS[weakness], of("naive_ft", sweep).sel(weakness=weakness).isel(num_icl=0)
    floor = float(theory.population_ridge_floor(task))
    smaller = float(min(theory.source_bias(task), theory.weak_bias(task)))
    largest, error = cells.sel(sample_size=max(SIZES)), 5 * cells.risk_sem
    assert (cells.risk_mean > floor - error).all()
    if weakness == "noisy":  # nothing but the sample size stands in the way
        assert floor == 0
        for n in (32, 128):
            assert float(cells.risk_mean.sel(sample_size=n)) <= 1.05 * float(theory.least_squares_risk(task, n))
        assert float(cells.risk_mean.sel(sample_size=4) / largest.risk_mean) > 5
        return
    # The twin: at the largest sample the risk is close enough to the floor for a higher one to be refused.
    assert float(largest.risk_mean + 5 * largest.risk_sem) < 1.25 * floor
    if weakness == "opposed":
        assert floor < smaller / 2
        assert float(largest.risk_mean + 5 * largest.risk_sem) < smaller / 2
    else:
        assert floor >= smaller / 2
        assert (cells.risk_mean > smaller / 2 + error).all()


def test_what_a_sweep_says_of_its_means(sweep):
    """The best penalty is that of the lowest mean, variances are the covariance's diagonal, and wins are paired."""
    cells = sweep.isel(num_icl=0)
    np.testing.assert_array_equal(of("naive_ft", cells).risk_mean, cells.naive_path_mean.min("penalty"))
    np.testing.assert_array_equal(of("gradient_flow", cells).risk_mean, cells.flow_path_mean.min("time"))
    for method in sweep["method"].values:
        variance = sweep.risk_cov.sel({"method": method, "method_2": method}).drop_vars("method_2")
        np.testing.assert_allclose(of(method, sweep).risk_sem ** 2 * COUNT, variance, rtol=1e-9, atol=1e-18)
    np.testing.assert_allclose(of("naive_ft", sweep.win_rate), 0.5, rtol=1e-12)
    assert (of("weak", sweep.win_rate).sel(weakness="rotated", sample_size=128) < 0.01).all()
