"""The main numbers of a risk sweep: the trap of naive fine-tuning and the escape of refinement, in one cell.

    python -m sims.risk_sweep.headline results/risk_sweep.zarr

prints them from a finished store, with what to look at and to run next.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from jax import Array

from sims.engine import cli
from sims.engine.checked import InputError
from sims.engine.headline import line, nearest, where
from sims.engine.store import read_config
from sims.risk_sweep.spec import SweepSpec
from w2s_jax import statistics, theory
from w2s_jax.results import open_results
from w2s_jax.tasks import make_task
from w2s_jax.types import Scalar

CELL = {"weakness": "rotated", "weak_accuracy": 0.7, "concept_shift": 0.5, "sample_size": 1024, "num_icl": 16}
"""The cell that is shown, or the one nearest to it."""
NAMES = {
    "weak": "weak teacher",
    "source": "strong model, not aligned",
    "naive_ft": "naive fine-tuning at its best penalty",
    "icl_refine_shared": "refined with one shared prompt",
    "icl_refine_fresh": "refined with a fresh prompt for each example",
    "ceiling": "ceiling: fine-tuned on true labels",
}

PICTURES = ("trap_and_escape.png", "risk_vs_weak_accuracy.png")
"""The picture to open: the first that is drawn."""


def main_numbers(data: xr.Dataset, spec: SweepSpec) -> Iterator[str]:
    """Risks of the cell with their intervals, the floor by theory, and the performance gap recovered (PGR)."""
    cell = nearest(data, CELL)
    count = int(cell.num_replicates.max())
    yield f"excess risk at {where(cell, CELL)}: mean over {count:,} replicates, 95% interval"
    for method, name in NAMES.items():
        if method not in spec.methods:
            continue
        own = cell.sel({"method": method})
        yield line(name, *(float(own[part]) for part in ("risk_mean", "risk_low", "risk_high")), _pgr(cell, method))
        if method == "naive_ft":
            yield f"  {'  its floor by theory, with endless labels':<44} {_floor(cell, spec):.4f}"


def _pgr(cell: xr.Dataset, method: str) -> str:
    """The share of the gap between teacher and ceiling that a student recovers, in words."""
    trio = ["weak", method, "ceiling"]
    if method in ("weak", "source", "ceiling") or not set(trio) <= set(cell["method"].values.tolist()):
        return ""
    mean = cell.risk_mean.sel({"method": trio}).values
    cov = cell.risk_cov.sel({"method": trio, "method_2": trio}).values
    gap, low, high = (float(x) for x in statistics.pgr_interval(mean, cov, int(cell.num_replicates.max())))
    return f"  PGR {gap:.3f} [{low:.3f}, {high:.3f}]" if np.isfinite(gap) else ""


def _floor(cell: xr.Dataset, spec: SweepSpec) -> float:
    @jax.jit  # one program: step by step, fifty would be compiled
    def floor(weak_accuracy: Scalar, concept_shift: Scalar) -> Array:
        sizes = {"num_concepts": spec.num_concepts, "dim": spec.dim, "weakness": cell["weakness"].item()}
        law = {"noise_var": spec.noise_var, "weak_accuracy": weak_accuracy, "concept_shift": concept_shift}
        return theory.population_ridge_floor(make_task(**sizes, **law))

    return float(floor(cell["weak_accuracy"].item(), cell["concept_shift"].item()))


def in_words(data: xr.Dataset) -> str:
    """What these numbers say; empty where a method of the story is not in the store."""
    cell = nearest(data, CELL)
    names = ("weak", "naive_ft", "icl_refine_fresh", "ceiling")
    if not set(names) <= set(cell["method"].values.tolist()):
        return ""
    weak, naive, refined, ceiling = (float(cell.risk_mean.sel({"method": name})) for name in names)
    escaped = "below" if refined < naive else "not below"
    return (
        f"With labels of a teacher of risk {weak:.3f}, naive fine-tuning ends at {naive:.3f} at its best penalty. "
        f"Fine-tuning on refined labels ends at {refined:.3f}, {escaped} it; true labels "
        f"would give {ceiling:.3f}."
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.risk_sweep.headline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store", metavar="STORE", type=Path, help="a risk_sweep.zarr")
    store = parser.parse_args(argv).store
    return cli.guarded(lambda: _tell(store))


def _tell(store: Path) -> None:
    try:
        data = open_results(store).load()
    except (FileNotFoundError, ValueError) as error:
        raise InputError(str(error)) from error
    spec = read_config(store, SweepSpec)
    for text in (in_words(data), *main_numbers(data, spec)):
        print(text)
    figures = store.parent / "figures"
    if drawn := [figures / name for name in PICTURES if (figures / name).is_file()]:
        print(f"picture    {drawn[0]}")
    print(f'data       from w2s_jax.results import open_results; data = open_results("{store}")')
    print(f"next       python -m sims.methods --preset quick --out {store.parent}   # every method, compared")


if __name__ == "__main__":
    sys.exit(main())
