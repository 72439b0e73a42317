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
    """Excess risk at zero context, by sample size and by prompt length; a column per weak accuracy."""
    results.require_many("sample_size", "num_icl")
    cut = results.nearest(**CUT) | {"sample_size": results.data["sample_size"].values.max().item()}
    accuracies = sorted({results.nearest(weak_accuracy=a)["weak_accuracy"] for a in ACCURACIES})
    columns = len(accuracies)
    # in a single column the legend is one as well
    width, height = (style.DOUBLE_COLUMN, 5.6) if columns > 1 else (style.SINGLE_COLUMN, 7.2)
    figure, axes = style.new_figure(width, height, 2, columns, sharex="row", sharey=True)
    axes[0, 0].set_yscale("log")
    handles: dict[str, Artist] = {}
    overlays: list[Overlay] = []
    for row, dim in enumerate(("sample_size", "num_icl")):
        data = results.at(**{name: value for name, value in cut.items() if name != dim})
        x, beside = _theory(results, cut, np.array(accuracies), dim)
        overlays += beside
        for column, accuracy in enumerate(accuracies):
            panel, cell = axes[row, column], data.sel(weak_accuracy=accuracy)
            # the first panel has every marker: a method that does not read a dim is a plain line along it
            handles = _networks(panel, cell, dim) | _beside(panel, x, beside, column) | handles
            claim = "" if row else f"\n{_advantage(results.at(weak_accuracy=accuracy, **cut)['risk_last'])}"
            style.title(panel, row * columns + column, f"weak accuracy {accuracy:g}{claim}")
            networks.mark_counts(panel, results.data[dim].values)
            panel.set_xlabel("labelled examples n" if dim == "sample_size" else "weak examples in the prompt")
    drawn = results.at(concept_shift=cut["concept_shift"]).sel({"method": list(LABELS), "weak_accuracy": accuracies})
    shown = np.stack([drawn[name].mean("seed").values for name in ("risk", "risk_last")])
    _fit(axes[0, 0], shown, overlays)
    axes[0, 0].set_ylabel(f"prompts of {cut['num_icl']:g} examples\n{style.RISK}")
    axes[1, 0].set_ylabel(f"n = {cut['sample_size']:g}\n{style.RISK}")
    where = f"{results.config['weakness']} teacher, concept shift {cut['concept_shift']:g}"
    paired = f"risks after all fine-tuning steps; in the titles at n = {cut['sample_size']:g}, by seed"
    networks.legend(figure, results, handles, f"{where}, {networks.sizes(results)}\n{paired}", narrow=1)
    return figure


def _networks(axes: Axes, cell: xr.Dataset, dim: str) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    for method, label in LABELS.items():
        row = cell.sel({"method": method})
        marker = None if row[f"uses_{dim}"] else ""
        handles[label] = networks.line(axes, cell[dim].values, row["risk_last"], style.look(method), marker)
    best = cell["risk"].sel({"method": "naive_ft"}).mean("seed")
    how = {"color": style.look("naive_ft").color, "linestyle": "-.", "linewidth": 1.2}
    (handles["naive fine-tuning at its best step"],) = axes.plot(cell[dim].values, best, **how)
    return handles


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
        Overlay("theory: floor over all penalties (naive)", "naive_ft", style.DOTTED, curves.floor(tasks)),
    ]
    exact = results.at(concept_shift=cut["concept_shift"], weak_accuracy=accuracies)["bayes_misalignment"].mean("seed")
    exact = exact.transpose("prompts", "weak_accuracy", "num_icl")
    if dim == "sample_size":
        exact = exact.sel(num_icl=[cut["num_icl"]])
    for prompts, method in REFINED.items():
        values = np.broadcast_to(exact.sel(prompts=prompts).values, n.shape)
        name = "shared prompt" if prompts == "shared" else "fresh prompts"
        found.append(Overlay(f"exact Bayes after the same {name}", method, style.DASHED, values))
    return x, found


def _advantage(risk: xr.DataArray) -> str:
    """How much more a naive network risks than a refined one, seed by seed."""
    pair = summarize(risk.sel({"method": list(RIVALS)}).transpose("seed", "method").values)
    gap, error = paired_difference(pair, 0, 1)
    low, high = confidence_interval(gap, error, pair.count)
    return f"naive − fresh: {gap:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def _fit(axes: Axes, risks: np.ndarray, overlays: list[Overlay]) -> None:
    """The axis of all panels: every risk of a network, and of the theory what is near them."""
    low, high = risks[risks > 0].min(), risks.max()
    style.limit_y(axes, risks, *(np.clip(overlay.values, low / ROOM, high) for overlay in overlays))
    style.log_ticks_in_full(axes)
