"""The numbers of the explorer, the page on which sliders choose a setting: risks of sweeps, rounded, with theory.

    python -m figures.explorer results results/concepts_8 --out docs/explorer.json

Each FOLDER holds a finished risk_sweep.zarr; they may differ in the number of concepts alone. Written are the axes;
for every method its mean excess risk, half its 95% interval (null where fewer than 30 replicates carry the mean) and,
where there is one, its closed form; and who has the lowest risk. A method's numbers run over the number of concepts and
the axes that move it (`axes`), the last one fastest. Exit code 0: written; 2: invalid input, nothing written.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from figures import curves, style
from figures.data import Results, open_results
from figures.rare import carried
from figures.stores import FigureError
from w2s_jax import theory
from w2s_jax.statistics import confidence_interval
from w2s_jax.types import Task

AXES = ("weakness", "weak_accuracy", "sample_size", "concept_shift", "num_icl")
EVERY = ("num_concepts", *AXES)
STUDENTS = (
    "naive_ft",
    "gradient_flow",
    "icl_refine_shared",
    "icl_refine_fresh",
    "icl_refine_leave_one_out",
    "intent_refine",
    "self_refine",
)
"""Methods among which the lowest risk is looked for: students that need no view of the concepts or of true labels."""
DIGITS = 4
ROUNDING = 1e-6
"""Relative errors below it are those of single precision, in what no draw moves."""
FREE = ("num_concepts", "methods", "seed", "block_size")
"""Settings in which the stores may differ."""


def explorer(stores: list[Results]) -> dict[str, Any]:
    """The numbers of the page, from risk sweeps that differ in their number of concepts.

    Raises:
        FigureError: if the stores do not belong together, or closed forms do not hold for them.
    """
    stores = sorted(stores, key=lambda store: store.num_concepts)
    _check(stores)
    methods = [str(m) for m in stores[0].data["method"].values]
    forms = [_closed_forms(store) for store in stores]
    winners = [_winners(store.data) for store in stores]
    config = stores[0].config
    return {
        "axes": {"num_concepts": [s.num_concepts for s in stores]}
        | {axis: stores[0].data[axis].values.tolist() for axis in AXES},
        "setting": {name: config[name] for name in ("dim", "noise_var", "replicates", "prompt_rounds", "seed")},
        "commits": sorted({str(store.data.attrs["commit"]) for store in stores}),
        "students": [m for m in methods if m in STUDENTS],
        "lowest": np.stack([first for first, _ in winners]).ravel().tolist(),
        "certain": np.stack([sure for _, sure in winners]).ravel().astype(int).tolist(),
        "methods": {method: _method(stores, forms, method) for method in methods},
    }


def _check(stores: list[Results]) -> None:
    first = stores[0]
    counts = [store.num_concepts for store in stores]
    if len(set(counts)) < len(counts):
        raise FigureError(f"each FOLDER must have its own number of concepts, got {counts}; leave one of two out.")
    for store in stores:
        if not store.has_closed_forms:
            raise FigureError("the explorer shows sweeps with no assumption relaxed; leave those out that relax one.")
        apart = [k for k, v in first.config.items() if k not in FREE and store.config.get(k) != v]
        apart += [dim for dim in (*AXES, "method") if not first.data[dim].equals(store.data[dim])]
        if apart:
            raise FigureError(
                f"sweeps must differ in num_concepts alone, but {apart[0]} is not the same with {first.num_concepts} "
                f"and {store.num_concepts} concepts; run them again with the same options."
            )
    first.require(method=("weak", "ceiling", *STUDENTS))


def _method(stores: list[Results], forms: list[dict[str, np.ndarray]], method: str) -> dict[str, Any]:
    """What the page draws of one method, over the number of concepts and the axes that move it."""
    uses = [axis for axis in AXES if bool(stores[0].data[f"uses_{axis}"].sel({"method": method}))]
    first = tuple(slice(None) if axis in uses else 0 for axis in AXES)
    means, errors = [], []
    for store in stores:
        row = store.data.sel({"method": method})
        row = row[[name for name in row if str(name).startswith("risk_") or name == "num_replicates"]]
        mean, sem, count = (row[n].transpose(*AXES).values for n in ("risk_mean", "risk_sem", "num_replicates"))
        low, high = confidence_interval(mean, sem, count)
        half = np.where(carried(row.transpose(*AXES, ...), "risk").few, np.nan, (high - low) / 2)
        means.append(mean[first].ravel())
        errors.append(np.where(half < ROUNDING * mean, 0.0, half)[first].ravel())
    closed = [found[method][first].ravel() for found in forms] if method in forms[0] else None
    look = style.look(method)
    return {
        "label": look.label,
        "color": look.color,
        "axes": uses,
        "risk": _rounded(np.concatenate(means), DIGITS),
        "error": _rounded(np.concatenate(errors), 2),
        "theory": None if closed is None else _rounded(np.concatenate(closed), DIGITS),
    }


def _rounded(values: np.ndarray, digits: int) -> list[float | None]:
    """The numbers, each to this number of digits; what is not finite becomes null."""
    return [float(f"{x:.{digits}g}") if np.isfinite(x) else None for x in values]


def _winners(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """The student of the lowest mean risk in each cell, and whether its lead over the next is significant (95%)."""
    held = data.sel({"method": list(STUDENTS), "method_2": list(STUDENTS)})
    mean = held["risk_mean"].transpose(*AXES, "method").values
    cov = held["risk_cov"].transpose(*AXES, "method", "method_2").values
    count = held["num_replicates"].isel(method=0).transpose(*AXES).values
    order = np.argsort(mean, axis=-1)
    first, second = order[..., :1], order[..., 1:2]

    def at(x: np.ndarray, i: np.ndarray) -> np.ndarray:
        return np.take_along_axis(x, i, axis=-1)[..., 0]

    def both(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return at(np.take_along_axis(cov, i[..., None], axis=-2)[..., 0, :], j)

    variance = both(first, first) + both(second, second) - 2 * both(first, second)
    lead = at(mean, second) - at(mean, first)
    low, _ = confidence_interval(lead, np.sqrt(np.maximum(variance, 0.0) / count), count)
    few = np.moveaxis(carried(held.transpose("method", *AXES, ...), "risk").few, 0, -1)
    return first[..., 0], (low > 0) & ~at(few, first) & ~at(few, second)


def _closed_forms(results: Results) -> dict[str, np.ndarray]:
    """Closed forms on the grid of a sweep, `[*AXES]` (docs/theory.md 3); naive fine-tuning at its best penalty."""
    values = [results.data[axis].values.astype(float) for axis in AXES[1:]]
    accuracies, sizes, shifts, lengths = values
    order = [results.weaknesses.index(w) for w in results.data["weakness"].values]
    whole = (len(order), *(len(axis) for axis in values))
    of_teacher = np.meshgrid(accuracies, shifts, indexing="ij")
    tasks = curves.one(results.tasks(*of_teacher), order)  # [weakness accuracy shift]
    refined = _refined(tasks, sizes, lengths)

    def with_size(form: Callable[[float], np.ndarray]) -> np.ndarray:
        return np.stack([form(size) for size in sizes], axis=-2)[..., None]

    naive = with_size(lambda n: curves.ridge_at_best(tasks, n, results.data["penalty"].values))
    ceiling = with_size(lambda n: curves.least_squares(curves.perfect(tasks), n))
    found = {"naive_ft": naive, "ceiling": ceiling, **refined}
    for method, form in (("source", theory.source_bias), ("weak", theory.weak_bias)):
        found[method] = curves.evaluate(form, tasks)[:, :, None, :, None]
    return {method: np.broadcast_to(risk, whole) for method, risk in found.items()}


def _refined(tasks: Task, sizes: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Risks of least squares on refined labels; the misalignment of the posterior does not depend on n."""
    prompts = ("shared", "fresh")
    levels = {
        kind: np.stack([curves.misalignment(tasks, m, kind, tasks.noise_var) for m in lengths]) for kind in prompts
    }
    spreads = theory.label_spread(levels["shared"], levels["fresh"], tasks.source_prior.shape[-1])
    found = {}
    for kind, spread in zip(prompts, spreads):
        risks = [
            [curves.saturated(tasks, n, level, np.asarray(wide)) for level, wide in zip(levels[kind], spread)]
            for n in sizes
        ]
        found[f"icl_refine_{kind}"] = np.moveaxis(np.array(risks), (0, 1), (-2, -1)).swapaxes(-3, -2)
    return found


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m figures.explorer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path, help="folder of a risk_sweep.zarr")
    parser.add_argument("--out", type=Path, required=True, help="file to write, JSON")
    given = parser.parse_args(argv)
    try:
        found = explorer([open_results(folder, "risk_sweep") for folder in given.folders])
        given.out.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    except FigureError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: --out must be a file that can be written, got {given.out}: {error.strerror}.", file=sys.stderr)
        return 2
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
