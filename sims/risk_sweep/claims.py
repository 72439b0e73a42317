"""What a finished risk sweep claims (docs/theory.md 3.2 to 3.6)."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from sims.engine.claims import Claim, worst
from w2s_jax import theory
from w2s_jax.tasks import make_task
from w2s_jax.types import Task


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
            # A perfect teacher has no bias, and the floor none either.
            ratio = xr.where(smaller > 0, floor, 1.0) / smaller.where(smaller > 0, 1.0)
            yield worst(
                f"{weakness}: floor over the smaller of the two biases", ratio.sel(weakness=weakness), ">=", 0.5
            )
    largest = max(spec.sample_size)
    if "opposed" in spec.weakness:
        ratio = (naive.risk_mean / smaller).sel(weakness="opposed", sample_size=largest)
        text = f"opposed: lowest naive_ft risk at n = {largest} over the smaller bias"
        yield worst(text, ratio, "<=", 0.5, extreme="min")
    if "noisy" in spec.weakness:
        yield worst("noisy: population floor", floor.sel(weakness="noisy"), "<=", 1e-6)
        noisy, accuracy = naive.risk_mean.sel(weakness="noisy"), max(spec.weak_accuracy)
        ratio = noisy.sel(sample_size=largest) / noisy.sel(sample_size=min(spec.sample_size))
        # A source that is nearer to the target than least squares on all labels has little to learn from them.
        source = _over_cells(naive.risk_mean, spec, theory.source_bias)
        labels = _over_cells(naive.risk_mean, spec, lambda t: theory.least_squares_risk(t, largest))
        text = f"noisy, a = {accuracy}: naive_ft risk at n = {largest} over n = {min(spec.sample_size)}, where the "
        learns = (source > labels).sel(weakness="noisy", weak_accuracy=accuracy)
        text += "source is worse than least squares at the former"
        yield worst(text, ratio.sel(weak_accuracy=accuracy).where(learns, 0.0), "<=", 0.5)

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
    """Which wins, naive fine-tuning or refinement: the border by theory (3.3, 3.4, 3.6) and the simulated one.

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
            refined = refined_risk(task, level, theory.label_spread(level, level, spec.num_concepts)[1])
        return np.asarray(naive > refined)

    axes = [dim for dim in like.dims if dim != "num_icl"]
    cells = [dict(zip(axes, values)) for values in itertools.product(*(like[axis].values for axis in axes))]
    found = np.reshape([excess(cell) for cell in cells], (*(like.sizes[axis] for axis in axes), len(lengths)))
    return xr.DataArray(found, dims=(*axes, "num_icl"), coords=like.coords).transpose(*like.dims)


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
