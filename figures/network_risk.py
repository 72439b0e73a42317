"""The risk of fine-tuned networks, naive and refined, with that of the linear theory on the same tasks."""

from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import curves, networks, style
from figures.data import Results, make_tasks
from w2s_jax.statistics import confidence_interval, paired_difference, summarize
from w2s_jax.theory.posterior import Prompts
from w2s_jax.types import Task

CUT = {"concept_shift": 0.75, "num_icl": 8}
"""Where the other axes are held, besides the largest sample size; a store without the value gives its nearest."""
ACCURACIES = (0.4, 0.6, 0.8)
"""Weak accuracies set side by side."""
LABELS = {
    "naive_ft": "naive fine-tuning",
    "icl_refine_shared": "refinement, one shared prompt",
    "icl_refine_fresh": "refinement, fresh prompts",
    "intent_refine": "intent refinement",
    "ceiling": "ceiling (true labels)",
    "weak": "weak teacher: its bias",
    "source": "source network, untouched",
}
"""Methods drawn. They look as everywhere, but no penalty is chosen, and a network names a concept by its answers."""
RIVALS = ("naive_ft", "icl_refine_fresh")
REFINED: dict[Prompts, str] = {"shared": "icl_refine_shared", "fresh": "icl_refine_fresh"}
PENALTIES = np.geomspace(1e-3, 1e3, 49)
"""Among which ridge has its best penalty, in units of the feature variance."""
ROOM = 2
"""Theory is followed to this factor under the least risk of a network; what is lower leaves the frame."""


class Overlay(NamedTuple):
    """Prediction of theory for a method, in that method's colour, `[accuracy x]`."""

    label: str
    method: str
    dashes: Any
    values: np.ndarray


def network_vs_theory(results: Results) -> Figure:
    """Excess risk at zero context by sample size, a column per weak accuracy."""
    return _figure(results, "sample_size")


def network_prompt_length(results: Results) -> Figure:
    """The same by the number of weak examples in the prompt."""
    return _figure(results, "num_icl")


def _figure(results: Results, dim: str) -> Figure:
    """Every method along one axis, named beside the last panel, with theory in the same colours."""
    results.require_many(dim)
    cut = results.nearest(**CUT) | {"sample_size": results.data["sample_size"].values.max().item()}
    accuracies = sorted({results.nearest(weak_accuracy=a)["weak_accuracy"] for a in ACCURACIES})
    columns = len(accuracies)
    # in a single column the legend is one as well
    width, height = (style.DOUBLE_COLUMN, 3.2) if columns > 1 else (style.SINGLE_COLUMN, 4.4)
    figure, axes = style.new_figure(width, height, 1, columns, sharex=True, sharey=True)
    axes[0, 0].set_yscale("log")
    handles: dict[str, Artist] = {}
    data = results.at(**{name: value for name, value in cut.items() if name != dim})
    x, overlays = _theory(results, cut, np.array(accuracies), dim)
    for column, accuracy in enumerate(accuracies):
        panel, cell = axes[0, column], data.sel(weak_accuracy=accuracy)
        _networks(panel, cell, dim)
        handles = _beside(panel, x, overlays, column) | handles
        claim = _advantage(results.at(weak_accuracy=accuracy, **cut)["risk_last"])
        style.title(panel, column, f"weak accuracy {accuracy:g}\n{claim}")
        networks.mark_counts(panel, results.data[dim].values)
        panel.set_xlabel("labelled examples n" if dim == "sample_size" else "weak examples in the prompt")
    drawn = data.sel({"method": list(LABELS), "weak_accuracy": accuracies})
    _fit(axes[0, 0], np.stack([drawn[name].mean("seed").values for name in ("risk", "risk_last")]), overlays)
    axes[0, 0].set_ylabel(style.RISK)
    _name_beside(axes[0, -1], data.sel(weak_accuracy=accuracies[-1]), dim)
    held = f"prompts of {cut['num_icl']:g}" if dim == "sample_size" else f"n = {cut['sample_size']:g}"
    where = f"{results.config['weakness']} teacher, concept shift {cut['concept_shift']:g}, {held}"
    gap = f"at n = {cut['sample_size']:g} and prompts of {cut['num_icl']:g}"
    paired = f"risks after all fine-tuning steps\ngap: naive less refined by fresh prompts, {gap}"
    paired = paired if columns > 1 else paired.replace(", at", "\nat")
    networks.legend(figure, results, handles, f"{where}\n{networks.sizes(results)}\n{paired}", narrow=1)
    return figure


def _name_beside(panel: Axes, data: xr.Dataset, dim: str) -> None:
    """The name of each network to the right of the last panel, with a line to the end of its curve."""
    last = data.isel({dim: -1})
    ends = {LABELS[m]: (m, float(last["risk_last"].sel({"method": m}).mean("seed"))) for m in LABELS}
    ends["naive fine-tuning, best step"] = ("naive_ft", float(last["risk"].sel({"method": "naive_ft"}).mean("seed")))
    low, high = np.log(panel.get_ylim())
    heights = [np.clip((np.log(end) - low) / (high - low), 0, 1) for _, end in ends.values()]
    for (name, (method, _)), start, place in zip(ends.items(), heights, style.apart(heights, 0.078)):
        style.name_beside(panel, name, style.look(method).color, float(start), float(place))


def _networks(axes: Axes, cell: xr.Dataset, dim: str) -> None:
    for method in LABELS:
        row = cell.sel({"method": method})
        marker = None if row[f"uses_{dim}"] else ""
        networks.line(axes, cell[dim].values, row["risk_last"], style.look(method), marker)
    best = cell["risk"].sel({"method": "naive_ft"}).mean("seed")
    axes.plot(cell[dim].values, best, color=style.look("naive_ft").color, linestyle="-.", linewidth=1.2)


def _beside(axes: Axes, x: np.ndarray, overlays: list[Overlay], column: int) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    for overlay in overlays:
        how = {"color": style.look(overlay.method).color, "linestyle": overlay.dashes, "linewidth": 0.9}
        (handles[overlay.label],) = axes.plot(x, overlay.values[column], **how)
    return handles


def _theory(
    results: Results, cut: dict[str, Any], accuracies: np.ndarray, dim: str
) -> tuple[np.ndarray, list[Overlay]]:
    """Points along a dim, and the curves of theory there."""
    held = results.data[dim].values.astype(float)
    x = np.geomspace(held.min(), held.max(), 100) if dim == "sample_size" else held
    n = np.broadcast_to(x if dim == "sample_size" else cut["sample_size"], (len(accuracies), len(x))).astype(float)
    config = results.config
    law = {name: config[name] for name in ("num_concepts", "dim", "noise_var")}
    shifts = np.full((1, len(x)), cut["concept_shift"])
    # the sweep turns teachers in the directions that no concept has, on which nothing here depends
    tasks: Task = make_tasks([config["weakness"]], accuracies[:, None], shifts, **law)
    tasks = jax.tree.map(lambda leaf: leaf[0], tasks)
    found = [
        Overlay(
            "theory: least squares (ceiling)", "ceiling", style.DASHED, curves.least_squares(curves.perfect(tasks), n)
        ),
        Overlay(
            "theory: ridge, best penalty (naive)", "naive_ft", style.DASHED, curves.ridge_at_best(tasks, n, PENALTIES)
        ),
        Overlay("theory: floor of all penalties (naive)", "naive_ft", style.DOTTED, curves.floor(tasks)),
    ]
    exact = results.at(concept_shift=cut["concept_shift"], weak_accuracy=accuracies)["bayes_misalignment"].mean("seed")
    exact = exact.transpose("prompts", "weak_accuracy", "num_icl")
    if dim == "sample_size":
        exact = exact.sel(num_icl=[cut["num_icl"]])
    for prompts, method in REFINED.items():
        values = np.broadcast_to(exact.sel(prompts=prompts).values, n.shape)
        name = "shared prompt" if prompts == "shared" else "fresh prompts"
        found.append(Overlay(f"exact Bayes, the same {name}", method, style.DASHED, values))
    return x, found


def _advantage(risk: xr.DataArray) -> str:
    """How much more a naive network risks than a refined one, seed by seed."""
    pair = summarize(risk.sel({"method": list(RIVALS)}).transpose("seed", "method").values)
    gap, error = paired_difference(pair, 0, 1)
    low, high = confidence_interval(gap, error, pair.count)
    return f"gap {gap:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def _fit(axes: Axes, risks: np.ndarray, overlays: list[Overlay]) -> None:
    """The axis of all panels: every risk of a network, and of the theory what is near them."""
    low, high = risks[risks > 0].min(), risks.max()
    style.limit_y(axes, risks, *(np.clip(overlay.values, low / ROOM, high) for overlay in overlays))
    style.log_ticks_in_full(axes)
