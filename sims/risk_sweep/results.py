"""From the sums of blocks to the results of a risk sweep: labelled arrays that outlive the code."""

from functools import reduce
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
import zarr

from sims.engine.precision import Errors, relative
from sims.engine.run import from_leaves
from sims.engine.store import CODECS, Store, save_results
from sims.risk_sweep.block import Sums, merge
from sims.risk_sweep.expected import largest_misalignment
from sims.risk_sweep.methods import USES
from sims.risk_sweep.plan import GridChunk
from sims.risk_sweep.replicate import columns, weighing_methods
from sims.risk_sweep.spec import GRID_AXES, SweepSpec
from w2s_jax.statistics import effective_count, rare_interval

LABELS = {
    "method": ("method", ""),
    "method_2": ("method", ""),
    "weakness": ("kind of weak teacher", ""),
    "weak_accuracy": ("weak accuracy", "1"),
    "sample_size": ("sample size", "examples"),
    "concept_shift": ("concept shift (total variation)", "1"),
    "num_icl": ("examples in the prompt", "examples"),
    "penalty": ("penalty of naive fine-tuning", "feature variance"),
    "time": ("time of gradient flow", "1 / feature variance"),
    "true_label_share": ("share of true labels among the weak ones", "1"),
}
RISK_UNIT = "squared label units"
VARIABLES = {
    "risk_mean": (("method",), "mean excess risk", RISK_UNIT),
    "risk_sem": (("method",), "standard error of the mean excess risk", RISK_UNIT),
    "risk_effective": (("method",), "replicates that carry the mean, (sum x)^2 / sum x^2", "1"),
    "risk_low": (("method",), "lower end of the 95% interval of the mean excess risk", RISK_UNIT),
    "risk_high": (("method",), "its upper end, infinite where fewer than 30 replicates carry the mean", RISK_UNIT),
    "num_replicates": (("method",), "independent replicates", "1"),
    "risk_cov": (("method", "method_2"), "covariance of the excess risks of a replicate", f"({RISK_UNIT})^2"),
    "win_rate": (("method",), "fraction of replicates with a lower risk than naive_ft (a tie is half)", "1"),
    "misalignment_mean": (("method",), "mean squared distance of the concept weights from the target", "1"),
    "misalignment_sem": (("method",), "standard error of the mean misalignment", "1"),
    "misalignment_effective": (("method",), "replicates that carry the mean, (sum x)^2 / sum x^2", "1"),
    "misalignment_low": (("method",), "lower end of the 95% interval of the mean misalignment", "1"),
    "misalignment_high": (("method",), "its upper end; where fewer than 30 replicates carry it, a bound alone", "1"),
    "sign_accuracy_mean": (("method",), "mean sign accuracy", "1"),
    "sign_accuracy_sem": (("method",), "standard error of the mean sign accuracy", "1"),
    "naive_path_mean": (("penalty",), "mean excess risk of naive fine-tuning", RISK_UNIT),
    "naive_path_sem": (("penalty",), "standard error of the same", RISK_UNIT),
    "flow_path_mean": (("time",), "mean excess risk of gradient flow", RISK_UNIT),
    "flow_path_sem": (("time",), "standard error of the same", RISK_UNIT),
    "mixed_path_mean": (("true_label_share",), "mean excess risk of least squares, some labels true", RISK_UNIT),
    "mixed_path_sem": (("true_label_share",), "standard error of the same", RISK_UNIT),
    "best_penalty": ((), "penalty with the lowest mean risk, at which naive_ft is read", "feature variance"),
    "best_time": ((), "time with the lowest mean risk, at which gradient_flow is read", "1 / feature variance"),
}
"""Result arrays: dims before those of the grid, long name, unit. Those over true labels are of mixed_ft alone."""


def variables(spec: SweepSpec) -> list[str]:
    """Names of the arrays of a store."""
    return [name for name in VARIABLES if "mixed_ft" in spec.methods or "true_label_share" not in VARIABLES[name][0]]


def assemble(
    spec: SweepSpec, like: Sums, chunks: list[GridChunk], store: Store, counts: np.ndarray, staging: Path
) -> None:
    """Merge the blocks of each chunk in float64 and write the results; memory does not grow with the grid."""
    coordinates = _coordinates(spec)
    save_results(coordinates, staging)
    group = zarr.open_group(str(staging), mode="r+", zarr_format=3, use_consolidated=False)
    arrays = {name: _create(group, name, coordinates) for name in variables(spec)}
    for index, chunk in enumerate(chunks):
        merged = _merged(like, store, np.flatnonzero(counts[:, index]), index)
        found = _summarise(spec, merged)
        for name in arrays:
            values = getattr(found, name)
            # A grid's axes W, S, N, I become weakness, weak_accuracy, sample_size, concept_shift, num_icl.
            moved = np.swapaxes(values, -3, -2)
            for row, teacher in chunk.teachers():
                where = (teacher // len(spec.weak_accuracy), teacher % len(spec.weak_accuracy))
                lead = (slice(None),) * len(VARIABLES[name][0])
                shifts = slice(chunk.first_shift, chunk.first_shift + chunk.num_shifts)
                block = moved[(*lead, row)][..., : chunk.num_shifts, :]
                arrays[name][(*lead, *where, slice(None), shifts)] = block


def relative_sem(
    spec: SweepSpec, like: Sums, chunks: list[GridChunk], store: Store, blocks: np.ndarray, index: int
) -> Errors:
    """Relative standard errors `[method W S N I]` of the risks of one chunk, after some of its blocks."""
    found, chunk = _summarise(spec, _merged(like, store, blocks, index)), chunks[index]
    values = relative(found.risk_sem, found.risk_mean)[:, : chunk.num_teachers, : chunk.num_shifts]
    return Errors(values, lambda at: f"{chunk.cell(spec, *at[1:])}, method={spec.methods[at[0]]}")


def _merged(like: Sums, store: Store, blocks: np.ndarray, index: int) -> Sums:
    return reduce(merge, (_in_float64(from_leaves(like, store.read(int(b), index))) for b in blocks))


def _in_float64(sums: Sums) -> Sums:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), sums)


class Summary(NamedTuple):
    """The result arrays of one chunk: `[...dims of VARIABLES, W, S, N, I]`."""

    risk_mean: np.ndarray
    risk_sem: np.ndarray
    risk_effective: np.ndarray
    risk_low: np.ndarray
    risk_high: np.ndarray
    num_replicates: np.ndarray
    risk_cov: np.ndarray
    win_rate: np.ndarray
    misalignment_mean: np.ndarray
    misalignment_sem: np.ndarray
    misalignment_effective: np.ndarray
    misalignment_low: np.ndarray
    misalignment_high: np.ndarray
    sign_accuracy_mean: np.ndarray
    sign_accuracy_sem: np.ndarray
    naive_path_mean: np.ndarray
    naive_path_sem: np.ndarray
    flow_path_mean: np.ndarray
    flow_path_sem: np.ndarray
    mixed_path_mean: np.ndarray
    mixed_path_sem: np.ndarray
    best_penalty: np.ndarray
    best_time: np.ndarray


def _summarise(spec: SweepSpec, sums: Sums) -> Summary:
    fixed, varying = columns(spec)
    count = float(sums.count)
    cells = sums.mean.varying_risk.shape[:4] if varying else (*sums.mean.fixed_risk.shape[:3], len(spec.num_icl))

    def over_prompts(x: np.ndarray) -> np.ndarray:  # [W S N ...] -> [W S N I ...]
        return np.broadcast_to(x[:, :, :, None], (*cells, *x.shape[3:]))

    def path(method: str) -> list[int]:
        return [i for i, (name, _) in enumerate(fixed) if name == method]

    def best(method: str) -> np.ndarray:  # [W S N], an index into the method's own path
        return sums.mean.fixed_risk[..., path(method)].argmin(axis=-1)

    # One column per method: the only one it has, or the best of its path.
    names = list(dict.fromkeys(name for name, _ in fixed))
    none_fixed = np.zeros((*cells[:3], 0), int)
    chosen = np.stack([path(name)[0] + best(name) for name in names], axis=-1) if names else none_fixed

    def select(x: np.ndarray, axis: int) -> np.ndarray:
        index = chosen.reshape(*chosen.shape[:3], *(1,) * (x.ndim - 4), chosen.shape[-1])
        return np.take_along_axis(x, np.moveaxis(index, -1, axis), axis=axis)

    order = [(names.index(m) if m in names else len(names) + _row(varying, m)) for m in spec.methods]

    def by_method(of_fixed: np.ndarray, of_varying: np.ndarray) -> np.ndarray:  # -> [method W S N I]
        both = np.concatenate([over_prompts(select(of_fixed, -1)), of_varying], axis=-1)
        return np.moveaxis(both[..., order], -1, 0)

    fixed_cov = over_prompts(select(select(sums.fixed_comoment, -1), -2))
    cross_cov = select(sums.cross_comoment, -1)
    upper = np.concatenate([fixed_cov, np.swapaxes(cross_cov, -1, -2)], axis=-1)
    lower = np.concatenate([cross_cov, sums.varying_comoment], axis=-1)
    cov = np.concatenate([upper, lower], axis=-2)[..., order, :][..., order] / (count - 1)
    cov = np.moveaxis(cov, (-2, -1), (0, 1))

    def sem_of_square(square: np.ndarray) -> np.ndarray:
        return np.sqrt(square / (count - 1) / count)

    def best_win(wins: np.ndarray) -> np.ndarray:  # the share of wins against naive_ft at its best penalty
        if not path("naive_ft"):
            return np.full(wins.shape[:-1], np.nan)
        index = best("naive_ft").reshape(*chosen.shape[:3], *(1,) * (wins.ndim - 3))
        return np.take_along_axis(wins, index, axis=-1)[..., 0]

    weighing = weighing_methods(spec)

    def spread(x: np.ndarray) -> np.ndarray:  # [W S N I M] -> [method W S N I], NaN where a method has no posterior
        rows = [x[..., weighing.index(m)] if m in weighing else np.full(cells, np.nan) for m in spec.methods]
        return np.stack(rows)

    def path_of(method: str, values: tuple[float, ...], x: np.ndarray) -> np.ndarray:
        if not path(method):
            return np.full((len(values), *cells), np.nan)
        return np.moveaxis(over_prompts(x[..., path(method)]), -1, 0)

    def best_value(method: str, values: tuple[float, ...]) -> np.ndarray:
        return over_prompts(np.array(values)[best(method)]) if path(method) else np.full(cells, np.nan)

    risk_square = np.diagonal(sums.fixed_comoment, axis1=-2, axis2=-1)
    risk_mean = by_method(sums.mean.fixed_risk, sums.mean.varying_risk)
    risk_var = np.moveaxis(np.diagonal(cov, axis1=0, axis2=1), -1, 0)
    # A risk of 0 throughout is that of a perfect teacher, not of something rare: a risk that varies is continuous.
    risk_effective = np.where((risk_mean == 0) & (risk_var == 0), count, effective_count(risk_mean, risk_var, count))
    risk_sem = np.sqrt(risk_var / count)
    risk_low, risk_high = rare_interval(risk_mean, risk_sem, count, risk_effective)
    misalignment = [spread(x) for x in (sums.mean.misalignment, sums.misalignment_square / (count - 1))]
    misalignment_effective = effective_count(*misalignment, count)
    largest = [largest_misalignment(spec, m) for m in spec.methods]
    ends = [
        rare_interval(mean, np.sqrt(variance / count), count, effective, far)
        for mean, variance, effective, far in zip(*misalignment, misalignment_effective, largest)
    ]
    return Summary(
        risk_mean=risk_mean,
        risk_sem=risk_sem,
        risk_effective=risk_effective,
        risk_low=risk_low,
        risk_high=risk_high,
        num_replicates=np.full((len(spec.methods), *cells), int(count)),
        risk_cov=cov,
        win_rate=by_method(best_win(sums.fixed_wins), best_win(sums.varying_wins)),
        misalignment_mean=misalignment[0],
        misalignment_sem=np.sqrt(misalignment[1] / count),
        misalignment_effective=misalignment_effective,
        misalignment_low=np.stack([low for low, _ in ends]),
        misalignment_high=np.stack([high for _, high in ends]),
        sign_accuracy_mean=by_method(sums.mean.fixed_accuracy, sums.mean.varying_accuracy),
        sign_accuracy_sem=by_method(
            sem_of_square(sums.fixed_accuracy_square), sem_of_square(sums.varying_accuracy_square)
        ),
        naive_path_mean=path_of("naive_ft", spec.penalties, sums.mean.fixed_risk),
        naive_path_sem=path_of("naive_ft", spec.penalties, sem_of_square(risk_square)),
        flow_path_mean=path_of("gradient_flow", spec.times, sums.mean.fixed_risk),
        flow_path_sem=path_of("gradient_flow", spec.times, sem_of_square(risk_square)),
        mixed_path_mean=path_of("mixed_ft", spec.true_label_share, sums.mean.fixed_risk),
        mixed_path_sem=path_of("mixed_ft", spec.true_label_share, sem_of_square(risk_square)),
        best_penalty=best_value("naive_ft", spec.penalties),
        best_time=best_value("gradient_flow", spec.times),
    )


def _row(varying: list, method: str) -> int:
    return [name for name, _ in varying].index(method)


def _coordinates(spec: SweepSpec) -> xr.Dataset:
    values = {axis: getattr(spec, axis) for axis in GRID_AXES}
    values |= {"method": spec.methods, "method_2": spec.methods, "penalty": spec.penalties, "time": spec.times}
    values |= {"true_label_share": spec.true_label_share} if "mixed_ft" in spec.methods else {}
    coords = {
        name: (name, np.array(value), {"long_name": LABELS[name][0], "units": LABELS[name][1]})
        for name, value in values.items()
    }
    uses = {f"uses_{axis}": ("method", np.array([axis in USES[m] for m in spec.methods])) for axis in GRID_AXES}
    return xr.Dataset(uses, coords)


def _create(group: zarr.Group, name: str, coordinates: xr.Dataset) -> zarr.Array:
    dims, long_name, unit = VARIABLES[name]
    sizes = [coordinates.sizes[d] for d in (*dims, *GRID_AXES)]
    # One chunk per teacher, so that chunks of the grid write files of their own.
    chunks = [1 if d in ("weakness", "weak_accuracy") else s for d, s in zip((*dims, *GRID_AXES), sizes)]
    counts = name == "num_replicates"
    return group.create_array(
        name,
        shape=sizes,
        chunks=chunks,
        dtype="int64" if counts else "float64",
        fill_value=0 if counts else np.nan,
        compressors=CODECS,
        dimension_names=(*dims, *GRID_AXES),
        attributes={"long_name": long_name, "units": unit},
    )
