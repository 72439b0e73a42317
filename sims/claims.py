"""What finished sweeps claim: statements that a number makes true or false, each with the cell it comes from."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from w2s_jax import theory
from w2s_jax.tasks import make_task
from w2s_jax.types import Task


class Claim(NamedTuple):
    """A statement that holds iff `value` `relation` `bound`."""

    claim: str
    value: float
    relation: str
    """One of <=, >=."""
    bound: float
    sem: float | None = None
    """Standard error of the value, where it is one estimate."""
    where: str = ""
    """The cell that the value comes from, where it is the worst of many."""

    def holds(self) -> bool:
        """Evaluate the claim."""
        return self.value <= self.bound if self.relation == "<=" else self.value >= self.bound


def risk_claims(data: xr.Dataset, spec: Any) -> Iterator[Claim]:
    """What a risk sweep must show (docs/theory.md 3.2, 3.4)."""
    cells, replicates = data.risk_mean.isel(method=0).count().item(), int(data.num_replicates.min())
    naive = data.sel({"method": "naive_ft"}).isel(num_icl=0)
    relative = (naive.risk_sem / naive.risk_mean).max()
    yield Claim("independent replicates in every cell", replicates, ">=", spec.replicates)
    yield Claim("cells of the grid, which share the draws of a replicate", cells, ">=", spec.num_cells)
    yield Claim("largest relative SEM of naive_ft over all cells", float(relative), "<=", 0.01)

    floor = _over_cells(naive.risk_mean, spec, theory.population_ridge_floor)
    smaller = _over_cells(naive.risk_mean, spec, lambda t: jnp.minimum(theory.source_bias(t), theory.weak_bias(t)))
    excess = (naive.risk_mean - floor) / naive.risk_sem
    yield worst("naive_ft at its best penalty minus the population floor, in standard errors", excess, ">=", -5)
    for weakness in ("rotated", "shifted"):
        if weakness in spec.weakness:
            ratio = (floor / smaller).sel(weakness=weakness)
            yield worst(f"{weakness}: floor over the smaller of the two biases", ratio, ">=", 0.5)
    largest = max(spec.sample_size)
    if "opposed" in spec.weakness:
        ratio = (naive.risk_mean / smaller).sel(weakness="opposed", sample_size=largest)
        text = f"opposed: lowest naive_ft risk at n = {largest} over the smaller bias"
        yield worst(text, ratio, "<=", 0.5, extreme="min")
    if "noisy" in spec.weakness:
        yield worst("noisy: population floor", floor.sel(weakness="noisy"), "<=", 1e-6)
        noisy, accuracy = naive.risk_mean.sel(weakness="noisy"), max(spec.weak_accuracy)
        ratio = noisy.sel(sample_size=largest) / noisy.sel(sample_size=min(spec.sample_size))
        text = f"noisy, a = {accuracy}: naive_ft risk at n = {largest} over n = {min(spec.sample_size)}"
        yield worst(text, ratio.sel(weak_accuracy=accuracy), "<=", 0.5)

    yield from _border(data, spec)

    where = {"weakness": "rotated", "weak_accuracy": 0.7, "concept_shift": 0.5, "sample_size": largest}
    if not all(value in getattr(spec, axis) for axis, value in where.items()):
        return
    cell = data.sel({**where, "num_icl": max(spec.num_icl)})
    pair = ["naive_ft", "icl_refine_fresh"]
    risk = cell.risk_mean.sel({"method": pair}).values
    cov = cell.risk_cov.sel({"method": pair, "method_2": pair}).values
    difference, sem = risk[0] - risk[1], np.sqrt((cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]) / replicates)
    label = f"rotated, a = 0.7, shift 0.5, n = {largest}, n_icl = {max(spec.num_icl)}"
    yield Claim(
        f"{label}: naive_ft risk minus icl_refine_fresh risk", float(difference), ">=", 5 * float(sem), float(sem)
    )
    yield Claim(f"{label}: naive_ft risk over icl_refine_fresh risk", float(risk[0] / risk[1]), ">=", 10)


def _border(data: xr.Dataset, spec: Any) -> Iterator[Claim]:
    """Who wins, naive fine-tuning or refinement: the border by theory (3.3, 3.4, 3.6) and the simulated one.

    Within one cell: where the two name different winners, a neighbour in weak accuracy or concept shift is on the
    other side by theory.
    """
    largest, lengths = max(spec.sample_size), [length for length in spec.num_icl if length > 0]
    if not {"naive_ft", "icl_refine_fresh"} <= set(spec.methods) or not lengths:
        return
    naive, refined = (
        data.risk_mean.sel({"method": method, "sample_size": largest, "num_icl": lengths})
        for method in ("naive_ft", "icl_refine_fresh")
    )
    dims = ("weakness", "num_icl", "weak_accuracy", "concept_shift")
    simulated = np.log(naive / refined).transpose(*dims) > 0
    predicted = _predicted_winner(simulated, spec, largest)
    around = np.pad(predicted.values, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    near = np.lib.stride_tricks.sliding_window_view(around, (3, 3), axis=(2, 3))  # pyright: ignore[reportCallIssue]
    far = (near != simulated.values[..., None, None]).all((-1, -2))
    yield Claim(
        f"n = {largest}: cells whose winner theory does not name within one cell, naive_ft against icl_refine_fresh",
        int(far.sum()),
        "<=",
        0,
    )
    share = float((predicted == simulated).mean())
    yield Claim(f"n = {largest}: share of cells whose winner theory names", share, ">=", 0.95)


def _predicted_winner(like: xr.DataArray, spec: Any, num_samples: int) -> xr.DataArray:
    """Whether refinement with fresh prompts beats the best penalty by theory, at every cell of `like`."""
    lengths = jnp.asarray(like.num_icl.values, float)
    refined_risk = jax.jit(
        jax.vmap(lambda task, level, spread: theory.refined_risk(task, num_samples, level, spread), (None, 0, 0))
    )

    @jax.jit
    def risks(task):
        naive = jax.vmap(lambda penalty: theory.ridge_risk(task, num_samples, penalty))(jnp.asarray(spec.penalties))
        level = theory.misalignment(task, lengths, "fresh")
        spread = theory.refined_label_spread(task, lengths, "fresh")
        return jnp.min(naive), refined_risk(task, level, spread)

    def excess(cell: dict[str, Any]):
        task = _task(spec, *(cell[axis] for axis in ("weakness", "weak_accuracy", "concept_shift")))
        naive, refined = risks(task)
        if np.isnan(refined).any():  # no closed form
            level = theory.sampled_misalignment(task, lengths, "fresh").value
            rivals = np.sqrt(level * (spec.num_concepts - 1) / spec.num_concepts)
            refined = refined_risk(task, level, 2 * rivals - level)
        return np.asarray(naive > refined)

    axes = [dim for dim in like.dims if dim != "num_icl"]
    cells = [dict(zip(axes, values)) for values in itertools.product(*(like[axis].values for axis in axes))]
    found = np.reshape([excess(cell) for cell in cells], (*(like.sizes[axis] for axis in axes), len(lengths)))
    return xr.DataArray(found, dims=(*axes, "num_icl"), coords=like.coords).transpose(*like.dims)


def posterior_claims(data: xr.Dataset, spec: Any) -> Iterator[Claim]:
    """What a posterior sweep must show (docs/theory.md 3.6)."""
    yield Claim("independent prompts in every cell", int(data.num_prompts.min()), ">=", spec.replicates)
    fits = list(fitted_exponents(data, spec))
    for num_concepts in spec.num_concepts:
        mine = [fit for fit in fits if fit["num_concepts"] == num_concepts]
        if not mine:
            continue
        worst = max(mine, key=lambda fit: abs(fit["ratio"] - 1))
        where = ", ".join(f"{k} {v}" for k, v in worst.items() if k not in ("ratio", "sem", "num_concepts"))
        text = (
            f"K = {num_concepts}: largest |fitted exponent / kappa - 1| of {len(mine)} fits with kappa n_icl in [3, 8]"
        )
        # With several rivals the contests are not quite separate yet at these lengths: a stated 12.5%, not 10%.
        bound = 0.10 if num_concepts == 2 else 0.125
        yield Claim(text, abs(worst["ratio"] - 1), "<=", bound, worst["sem"], where)
        apart = [
            (abs(a["ratio"] - b["ratio"]), a)
            for a in mine
            for b in mine
            if a["concept_shift"] < b["concept_shift"]
            and all(a[k] == b[k] for k in ("weakness", "weak_accuracy", "prompts"))
        ]
        if apart:
            worst_pair = max(apart, key=lambda pair: pair[0])
            text = f"K = {num_concepts}: largest difference of fitted exponent / kappa between concept shifts"
            where = ", ".join(f"{k} {worst_pair[1][k]}" for k in ("weakness", "weak_accuracy", "prompts"))
            yield Claim(text, worst_pair[0], "<=", 0.10, None, where)
    rotated = {"num_concepts": 4, "weakness": "rotated", "weak_accuracy": 0.7, "concept_shift": 0.1}
    if all(value in getattr(spec, axis) for axis, value in rotated.items()) and "balanced" in spec.assumed_noise:
        cell = data.shared_misalignment_mean.sel(rotated)
        start, text = float(cell.sel(assumed_noise="task", num_icl=0)), "rotated, a = 0.7, shift 0.1, K = 4"
        rise = float(cell.sel(assumed_noise="task").max()) / start
        kept = float(cell.sel(assumed_noise="balanced").max()) / start
        yield Claim(f"{text}: overconfidence, highest shared misalignment over that of an empty prompt", rise, ">=", 10)
        yield Claim(f"{text}: the same with the balanced noise variance", kept, "<=", rise / 3)


def fitted_exponents(data: xr.Dataset, spec: Any) -> Iterator[dict[str, Any]]:
    """Fitted over predicted exponents, with standard errors: an SEM-weighted line through log misalignment.

    Shared prompts: log R + (1/2) log n_icl falls as kappa n_icl; fresh prompts: log R + log n_icl as 2 kappa n_icl.
    Only lengths with kappa n_icl in [3, 8] are fitted, and only where there are five.
    """
    data, exponent = data.sel(assumed_noise="task"), jax.jit(theory.posterior_exponent)
    for num_concepts in spec.num_concepts:
        for weakness in spec.weakness:
            for accuracy in spec.weak_accuracy:
                for shift in spec.concept_shift:
                    law = dict(  # noqa: C408  (keyword arguments of make_task)
                        num_concepts=num_concepts, weakness=weakness, weak_accuracy=accuracy, concept_shift=shift
                    )
                    task = make_task(dim=num_concepts + 1, noise_var=spec.noise_var, **law)
                    kappa = float(exponent(task))
                    lengths = [length for length in spec.num_icl if 3 <= kappa * length <= 8]
                    for prompts, power in (("shared", 1), ("fresh", 2)):
                        cell = data.sel(law).sel(num_icl=lengths)
                        fit = fit_exponent(
                            np.array(lengths),
                            cell[f"{prompts}_misalignment_mean"].values,
                            cell[f"{prompts}_misalignment_sem"].values,
                            kappa,
                            power,
                        )
                        if fit is not None:
                            yield {**law, "prompts": prompts, "ratio": fit[0], "sem": fit[1]}


def fit_exponent(
    lengths: np.ndarray, mean: np.ndarray, sem: np.ndarray, kappa: float, power: int
) -> tuple[float, float] | None:
    """(fitted / predicted exponent, its standard error), or None with fewer than five lengths in range."""
    used = (kappa * lengths >= 3) & (kappa * lengths <= 8) & (mean > 3 * sem)
    if used.sum() < 5:
        return None
    n, weight = lengths[used].astype(float), mean[used] / sem[used]
    height = np.log(mean[used]) + power / 2 * np.log(n)
    matrix = np.stack([np.ones_like(n), n], axis=1) * weight[:, None]
    covariance = np.linalg.inv(matrix.T @ matrix)
    slope = (covariance @ matrix.T @ (height * weight))[1]
    return float(-slope / (power * kappa)), float(np.sqrt(covariance[1, 1]) / (power * kappa))


def _over_cells(like: xr.DataArray, spec: Any, form) -> xr.DataArray:
    """A closed form of the task, at every cell of `like`."""
    axes, form = ("weakness", "weak_accuracy", "concept_shift"), jax.jit(form)
    shape = [len(getattr(spec, axis)) for axis in axes]
    values = [
        float(form(_task(spec, weakness, accuracy, shift)))
        for weakness in spec.weakness
        for accuracy in spec.weak_accuracy
        for shift in spec.concept_shift
    ]
    coords = {axis: like[axis] for axis in axes}
    return xr.DataArray(np.reshape(values, shape), dims=axes, coords=coords)


def _task(spec: Any, weakness, accuracy: float, shift: float) -> Task:
    return make_task(
        num_concepts=spec.num_concepts,
        dim=spec.dim,
        weak_accuracy=accuracy,
        concept_shift=shift,
        noise_var=spec.noise_var,
        weakness=weakness,
    )


def worst(text: str, values: xr.DataArray, relation: str, bound: float, extreme: str | None = None) -> Claim:
    """A claim on the most adverse cell (or on the best, for a claim that some cell exists)."""
    pick = extreme or ("min" if relation == ">=" else "max")
    flat = values.stack(cell=values.dims)
    index = int(flat.values.argmin() if pick == "min" else flat.values.argmax())
    cell = flat.isel(cell=index)
    where = ", ".join(f"{dim} {cell[dim].item()}" for dim in values.dims)
    return Claim(text, float(cell), relation, bound, None, where)
