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

FRONT = ("weak", "naive_ft", "icl_refine_fresh", "ceiling")
"""The four methods of the figures in front, named beside their curves; `_grid` has every method and teacher."""
TEACHERS = ("rotated", "confused")
"""Kinds of weak teacher in front: one whose prompts always lead to the target, and one that must pass a threshold."""
NAMES = {
    "weak": "weak teacher",
    "naive_ft": "naive fine-tuning",
    "icl_refine_fresh": "refinement",
    "ceiling": "ceiling",
}

CUT = {"weak_accuracy": 0.7, "concept_shift": 0.5, "sample_size": 1024, "num_icl": 16}
"""Where the other axes are held; a store without the value gives its nearest."""
LABELS = {
    "sample_size": "sample size n (weak labels)",
    "weak_accuracy": "weak accuracy a",
    "concept_shift": "concept shift (total variation)",
}
GAP = 1.6
"""Closed forms of least squares are left out up to this factor from n = d, on both sides."""
GAPS = "gaps: least squares diverges at n = d"
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
    return _front(results, "sample_size", LABELS["sample_size"])


def risk_vs_weak_accuracy(results: Results) -> Figure:
    """Risk by the teacher's accuracy: refinement of a confused teacher's labels must pass a threshold."""
    return _front(results, "weak_accuracy", LABELS["weak_accuracy"])


def risk_vs_sample_size_grid(results: Results) -> Figure:
    """The same for every method and kind of teacher."""
    return _small_multiples(results, "sample_size", LABELS["sample_size"])


def risk_vs_weak_accuracy_grid(results: Results) -> Figure:
    """The same for every method and kind of teacher."""
    return _small_multiples(results, "weak_accuracy", LABELS["weak_accuracy"])


def risk_vs_concept_shift(results: Results) -> Figure:
    """Risk of each method by the concept shift of the source."""
    return _small_multiples(results, "concept_shift", LABELS["concept_shift"])


def _front(results: Results, axis: str, label: str) -> Figure:
    """Two teachers and four curves: simulated marks with their intervals, closed forms as lines of the same colour."""
    cut = results.nearest(**{dim: value for dim, value in CUT.items() if dim != axis})
    results.require(method=FRONT)
    teachers = [w for w in TEACHERS if w in results.weaknesses] or results.weaknesses[:2]
    figure, axes = style.new_figure(
        style.DOUBLE_COLUMN if len(teachers) > 1 else style.SINGLE_COLUMN, 2.9, 1, len(teachers), sharey=True
    )
    panels = axes[0]
    panels[0].set_yscale("log")
    exact = _exact(results, axis, cut) if results.has_closed_forms else {}
    shown = results.at(**cut).sel({"method": list(FRONT), "weakness": teachers})
    for index, (panel, weakness) in enumerate(zip(panels, teachers)):
        data = shown.sel(weakness=weakness)
        place = results.weaknesses.index(weakness)
        _curves(panel, data, {m: (x, values[place]) for m, (x, values) in exact.items()}, axis)
        style.title(panel, index, style.WEAKNESSES[weakness] + _verdict(data, axis))
        panel.set_xlabel(label)
    style.limit_y(panels[0], shown["risk_mean"].values, pad=1.4)
    style.log_ticks_in_full(panels[0])
    panels[0].set_ylabel(style.RISK)
    _name_beside(panels[-1], shown.sel(weakness=teachers[-1]), axis)
    lines = "; lines: closed forms" if exact else ""
    if exact and axis == "sample_size":
        lines += f"; {GAPS}"
    figure.supxlabel(f"marks: simulated means, 95% intervals{lines}\n{_heading(results, cut, ', ')}", fontsize=6.5)
    return figure


def _curves(panel: Axes, data: xr.Dataset, exact: dict[str, tuple[np.ndarray, np.ndarray]], axis: str) -> None:
    x = data[axis].values
    if axis == "sample_size":
        panel.set_xscale("log")
    style.mark_values(panel, x)
    for method in FRONT:
        row, how = data.sel({"method": method}), style.look(method)
        mean, sem = row["risk_mean"].values, row["risk_sem"].values
        held = carried(row, "risk")
        if method in exact:
            panel.plot(*exact[method], color=how.color, linewidth=1.2)
        look = {"color": how.color, "marker": how.marker, "markersize": 4.0, "zorder": 3}
        style.error_bars(panel, x, mean, np.where(held.few, np.nan, sem), row["num_replicates"].values, **look)
        hollow(panel, x, mean, held, how.color, how.marker)


def _exact(results: Results, axis: str, cut: dict[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Closed forms of the four risks, (x, `[weakness x]`), with a gap around n = d, where least squares diverges."""
    dense, tasks, n, hole = _between(results, axis, cut, 201)
    return {
        "weak": (dense, curves.evaluate(theory.weak_bias, tasks)),
        "naive_ft": (dense, curves.ridge_at_best(tasks, n, results.data["penalty"].values)),
        "icl_refine_fresh": (dense, hole * curves.refined(tasks, n, cut["num_icl"], "fresh")),
        "ceiling": (dense, hole * curves.least_squares(curves.perfect(tasks), n)),
    }


def _between(
    results: Results, axis: str, cut: dict[str, Any], points: int
) -> tuple[np.ndarray, Task, np.ndarray, np.ndarray | float]:
    """Values along an axis, their tasks, sample sizes, and a factor that is NaN where n is near d."""
    held = results.data[axis].values
    ends = float(held.min()), float(held.max())
    dense = (np.geomspace if axis == "sample_size" else np.linspace)(*ends, points)
    where = {**cut, axis: dense}
    tasks = results.tasks(where["weak_accuracy"], np.broadcast_to(where["concept_shift"], dense.shape))
    n = np.broadcast_to(np.asarray(where["sample_size"], float), tasks.noise_var.shape)
    hole = np.where(_near_dimension(results, n), np.nan, 1.0) if axis == "sample_size" else 1.0
    return dense, tasks, n, hole


def _near_dimension(results: Results, n: np.ndarray) -> np.ndarray:
    """Whether n is within a factor of `GAP` of d, where least squares diverges."""
    dim = float(results.config["dim"])
    return (n > dim / GAP) & (n < dim * GAP)


def _verdict(data: xr.Dataset, axis: str) -> str:
    """Where along the axis refinement has a lower mean risk than naive fine-tuning."""
    naive, refined = (data["risk_mean"].sel({"method": m}).values for m in ("naive_ft", "icl_refine_fresh"))
    ahead, x = refined < naive, data[axis].values
    if ahead.all() or not ahead.any():
        return f": refinement {'ahead' if ahead.all() else 'behind'} throughout"
    first = int(np.argmax(ahead))
    if not ahead[first:].all():
        return f": refinement ahead at {ahead.sum()} of {len(x)} places"
    return f": refinement ahead from {'n' if axis == 'sample_size' else 'a'} = {x[first]:g}"


def _name_beside(panel: Axes, data: xr.Dataset, axis: str) -> None:
    """The names of the curves to the right of the last panel, each at the height where its curve ends."""
    ends = {m: float(data["risk_mean"].sel({"method": m}).isel({axis: -1})) for m in FRONT}
    low, high = np.log(panel.get_ylim())
    places = style.apart([(np.log(end) - low) / (high - low) for end in ends.values()], 0.075)
    for method, place in zip(ends, places):
        words = {"color": style.look(method).color, "fontsize": 7, "va": "center"}
        panel.text(1.03, place, NAMES[method], transform=panel.transAxes, **words)


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
        cell = data.sel(weakness=weakness)
        if axis == "sample_size":
            cell = _broken(cell, results.config["dim"])
        handles |= _panel(panel, cell, methods, overlays, index, axis)
        without = "weak" in methods and data["risk_mean"].sel({"method": "weak", "weakness": weakness}).max() < 1e-6
        style.title(panel, index, style.WEAKNESSES[weakness] + " (its risk: 0)" * bool(without))
        panel.set_xlabel(label)
        if index % columns == 0:
            panel.set_ylabel(style.RISK)
    for panel in panels[len(results.weaknesses) :]:
        panel.set_axis_off()
    heading = _heading(results, cut) + f"\n{GAPS}" * (axis == "sample_size")
    style.legend_in(panels[len(results.weaknesses)], handles, title=heading)
    return figure


def _panel(
    axes: Axes, data: xr.Dataset, methods: list[str], overlays: list[Overlay], index: int, axis: str
) -> dict[str, Artist]:
    x = data[axis].values
    axes.set_yscale("log")
    if axis == "sample_size":
        axes.set_xscale("log")
    if len(x) <= 9:
        style.mark_values(axes, x[data["num_replicates"].max("method").values > 0])
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


def _broken(data: xr.Dataset, dim: int) -> xr.Dataset:
    """The same with an empty place at n = d, where least squares diverges, so that no line leads across it."""
    sizes = data["sample_size"].values
    if dim in sizes or not sizes.min() < dim < sizes.max():
        return data
    return data.reindex(sample_size=np.sort(np.append(sizes, dim)), fill_value={"num_replicates": 0})


def _closed_forms(results: Results, axis: str, cut: dict[str, Any]) -> list[Overlay]:
    dense, tasks, n, hole = _between(results, axis, cut, 100)
    fine_tuned = "theory: naive fine-tuning, ceiling"
    naive = curves.ridge_at_best(tasks, n, results.data["penalty"].values)
    found = [
        Overlay(fine_tuned, "-", dense, naive),
        Overlay(fine_tuned, "-", dense, hole * curves.least_squares(curves.perfect(tasks), n)),
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
            np.where(_near_dimension(results, n), np.nan, 1.0)
            * curves.saturated(tasks, n, level[:, None], spread[:, None]),
        )
        for level, spread in zip((shared, fresh), spreads)
    ]


def _heading(results: Results, cut: dict[str, Any], between: str = "\n") -> str:
    held = [WORDS[dim].format(value) for dim, value in cut.items() if dim != "sample_size"]
    size = [WORDS["sample_size"].format(cut["sample_size"])] if "sample_size" in cut else []
    config = results.config
    sizes = [*size, f"d = {config['dim']}", f"K = {config['num_concepts']}", f"noise var. {config['noise_var']:g}"]
    return f"{', '.join(held)}{between}{', '.join(sizes)}"
