"""The trap and the escape in one panel: what the student of a weak teacher reaches, naively and by refinement."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import curves, style
from figures.data import Results
from figures.rare import carried, hollow
from w2s_jax import theory

CUT = {"concept_shift": 0.5, "sample_size": 1024, "num_icl": 16}
"""Where the other axes are held; a store without the value gives its nearest."""
AT = 0.7
"""The weak accuracy that the title speaks of, or the nearest that the store has."""
WEAKNESS = "rotated"
NAMES = {
    "weak": ("weak teacher", 0.45, "above"),
    "naive_ft": ("naive fine-tuning: trapped", 0.45, "above"),
    "icl_refine_fresh": ("refinement: escapes", 0.45, "left"),
    "ceiling": ("ceiling: true labels", 0.17, "above"),
}
"""The four curves: what is written beside each, at which share of the axis, and on which side."""


def trap_and_escape(results: Results) -> Figure:
    """Excess risk by weak accuracy of four methods, simulated (marks, 95% intervals) and in closed form (lines)."""
    results.require(method=tuple(NAMES))
    results.require_many("weak_accuracy")
    weakness = WEAKNESS if WEAKNESS in results.weaknesses else results.weaknesses[0]
    cut = results.nearest(**CUT)
    data = results.at(weakness=weakness, **cut)
    figure, axes = style.new_figure(4.4, 3.3)
    panel = axes[0, 0]
    panel.set_yscale("log")
    accuracies = data["weak_accuracy"].values
    dense = np.linspace(accuracies.min(), accuracies.max(), 101)
    exact = predicted(results, weakness, cut, dense) if results.has_closed_forms else {}
    for method in NAMES:
        row, how = data.sel({"method": method}), style.look(method)
        mean, sem, count = (row[name].values for name in ("risk_mean", "risk_sem", "num_replicates"))
        held = carried(row, "risk")
        if method in exact:
            panel.plot(dense, exact[method], color=how.color, linewidth=1.3)
        look = {"color": how.color, "marker": how.marker, "markersize": 4.2, "zorder": 3}
        style.error_bars(panel, accuracies, mean, np.where(held.few, np.nan, sem), count, **look)
        hollow(panel, accuracies, mean, held, how.color, how.marker)
    style.log_ticks_in_full(panel)
    _name(panel, data)
    panel.set(xlabel="weak accuracy a (correlation of the teacher with the target)", ylabel=style.RISK)
    panel.set_title(_claim(results, weakness, cut), loc="left", fontsize=8)
    config, lines = results.config, "lines: closed forms; " if exact else ""
    figure.supxlabel(
        f"marks: means of {int(data['num_replicates'].max()):,} replicates, intervals of 95% (most within the mark)\n"
        f"{lines}naive fine-tuning at its best penalty, refinement by fresh prompts\n"
        f"{style.WEAKNESSES[weakness]}, concept shift {cut['concept_shift']:g}, n = {cut['sample_size']:,}, prompts of "
        f"{cut['num_icl']}, d = {config['dim']}, K = {config['num_concepts']}, noise variance {config['noise_var']:g}",
        fontsize=6,
    )
    return figure


def predicted(results: Results, weakness: str, cut: dict[str, float], accuracies: np.ndarray) -> dict[str, np.ndarray]:
    """Closed forms of the four risks at these accuracies; naive fine-tuning at its best penalty."""
    every = results.tasks(accuracies, cut["concept_shift"])
    tasks = curves.one(every, results.weaknesses.index(weakness))
    n = np.full(accuracies.shape, float(cut["sample_size"]))
    return {
        "weak": curves.evaluate(theory.weak_bias, tasks),
        "naive_ft": curves.ridge_at_best(tasks, n, results.data["penalty"].values),
        "icl_refine_fresh": curves.refined(tasks, n, cut["num_icl"], "fresh"),
        "ceiling": curves.least_squares(curves.perfect(tasks), n),
    }


def _name(panel: Axes, data: xr.Dataset) -> None:
    """The name of each curve beside it, in its colour."""
    accuracies = data["weak_accuracy"].values
    for method, (text, share, side) in NAMES.items():
        x = accuracies[0] + share * (accuracies[-1] - accuracies[0])
        height = np.interp(x, accuracies, np.log(data["risk_mean"].sel({"method": method}).values))
        move, ha, va = ((0, 6), "center", "bottom") if side == "above" else ((-9, -2), "right", "top")
        look = {"color": style.look(method).color, "fontsize": 7.5, "ha": ha, "va": va}
        panel.annotate(text, (x, np.exp(height)), move, textcoords="offset points", **look)


def _claim(results: Results, weakness: str, cut: dict[str, float]) -> str:
    """What the four risks at one accuracy say, in numbers of the store."""
    at = results.nearest(weak_accuracy=AT)
    cell = results.at(weakness=weakness, **cut, **at)["risk_mean"]
    weak, naive, refined, ceiling = (float(cell.sel({"method": method})) for method in NAMES)
    share = [(weak - risk) / (weak - ceiling) for risk in (naive, refined)]
    return (
        f"At a = {at['weak_accuracy']:g} naive fine-tuning closes {share[0]:.0%} of the gap\n"
        f"between teacher and ceiling, refinement {share[1]:.0%}"
    )
