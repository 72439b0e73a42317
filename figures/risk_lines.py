"""Risk against sample size, weak accuracy and concept shift: small multiples over the kinds of weak teacher."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import curves, style
from figures.data import Results
from figures.rare import carried, hollow
from w2s_jax import theory
from w2s_jax.types import Task

SHOWN = (
    "source",
    "weak",
    "ceiling",
    "naive_ft",
    "icl_refine_shared",
    "icl_refine_fresh",
    "intent_refine",
    "self_refine",
    "hull",
)
"""Methods drawn, in this order; gradient_flow stays close to naive_ft, leave-one-out prompts to fresh ones, and EM is
drawn step by step in `em_ladder`."""

CUT = {"weak_accuracy": 0.7, "concept_shift": 0.5, "sample_size": 1024, "num_icl": 16}
"""Where the other axes are held; a store without the value gives its nearest."""
WORDS = {
    "weak_accuracy": "a = {:g}",
    "concept_shift": "concept shift {:g}",
    "sample_size": "n = {:g}",
    "num_icl": "prompts of {:g}",
}


class Overlay(NamedTuple):
    """A closed form along the axis, `[weakness x]`, and how its line is drawn and called."""

    label: str
    dashes: Any
    x: np.ndarray
    values: np.ndarray


def risk_vs_sample_size(results: Results) -> Figure:
    """Naive fine-tuning falls to its floor and stays there; refinement falls to its misalignment."""
    return _small_multiples(results, "sample_size", "sample size n (weak labels)")


def risk_vs_weak_accuracy(results: Results) -> Figure:
    """Risk of each method by the teacher's accuracy."""
    return _small_multiples(results, "weak_accuracy", "weak accuracy a")


def risk_vs_concept_shift(results: Results) -> Figure:
    """Risk of each method by the concept shift of the source."""
    return _small_multiples(results, "concept_shift", "concept shift (total variation)")


def _small_multiples(results: Results, axis: str, label: str) -> Figure:
    cut = results.nearest(**{dim: value for dim, value in CUT.items() if dim != axis})
    data = results.at(**cut)
    methods = [m for m in SHOWN if m in data["method"].values]
    overlays = _closed_forms(results, axis, cut) if results.has_closed_forms else []
    columns = 3
    rows = -(-(len(results.weaknesses) + 1) // columns)
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 0.3 + 2.1 * rows, rows, columns)
    panels = axes.ravel()
    handles: dict[str, Artist] = {}
    for index, weakness in enumerate(results.weaknesses):
        panel = panels[index]
        handles |= _panel(panel, data.sel(weakness=weakness), methods, overlays, index, axis)
        if axis == "sample_size":
            _mark_dimension(panel, results.config["dim"])
        without = "weak" in methods and data["risk_mean"].sel({"method": "weak", "weakness": weakness}).max() < 1e-6
        style.title(panel, index, style.WEAKNESSES[weakness] + " (its risk: 0)" * bool(without))
        panel.set_xlabel(label)
        if index % columns == 0:
            panel.set_ylabel(style.RISK)
    for panel in panels[len(results.weaknesses) :]:
        panel.set_axis_off()
    style.legend_in(panels[len(results.weaknesses)], handles, title=_heading(results, cut))
    return figure


def _panel(
    axes: Axes, data: xr.Dataset, methods: list[str], overlays: list[Overlay], index: int, axis: str
) -> dict[str, Artist]:
    x = data[axis].values
    axes.set_yscale("log")
    if axis == "sample_size":
        axes.set_xscale("log")
    if len(x) <= 8:
        style.mark_values(axes, x)
    handles: dict[str, Artist] = {}
    seen = []
    for method in methods:
        row = data.sel({"method": method})
        mean, sem = row["risk_mean"].values, row["risk_sem"].values
        held = carried(row, "risk")
        line = style.draw_method(axes, x, mean, np.where(held.few, np.nan, sem), row["num_replicates"].values, method)
        hollow(axes, x, mean, held, style.look(method).color, style.look(method).marker)
        handles[style.look(method).label] = line
        seen.append(mean)
    for overlay in overlays:
        (line,) = axes.plot(overlay.x, overlay.values[index], linestyle=overlay.dashes, **style.THEORY)
        handles[overlay.label] = line
    style.limit_y(axes, *seen, least=2.5e-4)  # the hull, which knows the concepts, may leave the frame below
    style.log_ticks_in_full(axes)
    return handles


def _mark_dimension(axes: Axes, dim: int) -> None:
    low, high = axes.get_xlim()
    if low < dim < high:
        axes.axvline(dim, color="0.8", linewidth=0.6, zorder=0)
        axes.text(dim, 0.01, " n = d", transform=axes.get_xaxis_transform(), fontsize=6, color="0.45", va="bottom")


def _closed_forms(results: Results, axis: str, cut: dict[str, Any]) -> list[Overlay]:
    held = results.data[axis].values
    ends = float(held.min()), float(held.max())
    dense = (np.geomspace if axis == "sample_size" else np.linspace)(*ends, 100)
    where = {**cut, axis: dense}
    tasks = results.tasks(where["weak_accuracy"], np.broadcast_to(where["concept_shift"], dense.shape))
    n = np.broadcast_to(np.asarray(where["sample_size"], float), tasks.noise_var.shape)
    fine_tuned = "theory: naive fine-tuning, ceiling"
    naive = curves.ridge_at_best(tasks, n, results.data["penalty"].values)
    found = [
        Overlay(fine_tuned, "-", dense, naive),
        Overlay(fine_tuned, "-", dense, curves.least_squares(curves.perfect(tasks), n)),
        Overlay("theory: floor of naive fine-tuning", style.DOTTED, dense, curves.floor(tasks)),
    ]
    if axis == "sample_size":
        return found + _saturation(results, cut, tasks, n, dense)
    fresh = curves.refined(tasks, n, cut["num_icl"], "fresh")
    return [*found, Overlay("theory: fresh, exact", style.DASHED, dense, fresh)]


def _saturation(results: Results, cut: dict[str, Any], tasks: Task, n: np.ndarray, dense: np.ndarray) -> list[Overlay]:
    """Least squares on refined labels at the simulated misalignment, the level that it reaches as n grows."""
    if not {"icl_refine_shared", "icl_refine_fresh"} <= set(results.data["method"].values):
        return []
    largest = results.at(**cut).isel(sample_size=-1).sel(weakness=results.weaknesses)
    size = float(largest["sample_size"])
    shared, averaged = (
        largest["misalignment_mean"].sel({"method": m}).values for m in ("icl_refine_shared", "icl_refine_fresh")
    )
    # the mean of n posteriors is (shared - fresh)/n further from the target than their expectation
    fresh = np.maximum((size * averaged - shared) / (size - 1), 0.0)
    spreads = theory.label_spread(shared, fresh, results.num_concepts)
    return [
        Overlay(
            "theory: refinement, saturating at\nits simulated misalignment",
            style.DASHED,
            dense,
            curves.saturated(tasks, n, level[:, None], spread[:, None]),
        )
        for level, spread in zip((shared, fresh), spreads)
    ]


def _heading(results: Results, cut: dict[str, Any]) -> str:
    held = [WORDS[dim].format(value) for dim, value in cut.items() if dim != "sample_size"]
    size = [WORDS["sample_size"].format(cut["sample_size"])] if "sample_size" in cut else []
    config = results.config
    sizes = [*size, f"d = {config['dim']}", f"K = {config['num_concepts']}", f"noise var. {config['noise_var']:g}"]
    return f"{', '.join(held)}\n{', '.join(sizes)}"
