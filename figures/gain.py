"""All methods of an arena: what each student gains over its teacher, against how far from the teacher it is."""

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from figures.arena import REFERENCE, RISKS, WORDS, label_of, labels_of
from figures.data import Results
from w2s_jax.statistics import confidence_interval

WEAKNESS = "rotated"
WIDTH = 5.2
"""Inches: text stays readable where a page is 600 pixels wide."""


def gain_and_misfit(numbers: Results, signs: Results | None = None) -> Figure:
    """A panel for each kind of labels; names beside the points, dashed levels of the performance gap recovered."""
    stores = [results for results in (numbers, signs) if results is not None]
    figure, axes = style.new_figure(WIDTH, 0.8 + 2.9 * len(stores), len(stores), 1)
    for row, results in enumerate(stores):
        kind, panel = labels_of(results), axes[row, 0]
        _panel(panel, _cell(results), results.num_replicates)
        style.title(panel, row, f"{WORDS[kind]}, {style.WEAKNESSES[WEAKNESS]}")
        panel.set_ylabel(f"gain in {RISKS[kind]}")
        panel.set_xlabel("misfit to the teacher" if row == len(stores) - 1 else "")
    at = _cell(numbers)
    heading = (
        f"a = {float(at.weak_accuracy):g}, shift {float(at.concept_shift):g}, the same weak examples,\n"
        "knobs tuned on weak labels; bars: 95% interval of the gain"
    )
    handles: dict[str, Artist] = {
        "gain = misfit": Line2D([], [], **style.THEORY),
        "performance gap recovered": Line2D([], [], color="0.6", linewidth=0.7, linestyle=style.DASHED),
    }
    style.legend_below(figure, handles, 2, heading)
    return figure


def _cell(results: Results) -> xr.Dataset:
    return results.data.sel(results.nearest(**REFERENCE)).sel(weakness=WEAKNESS, budget="examples")


def _panel(panel: Axes, cell: xr.Dataset, count: int) -> None:
    risk, sem = (cell[f"risk_{part}"].sel(tuning="weak_labels") for part in ("mean", "sem"))
    gain, teacher = cell.weak_risk - risk, float(cell.weak_risk)
    names = [str(name) for name in gain.sortby(gain, ascending=False)["method"].values]
    lowest = min(0.0, float(gain.min()))
    for name in names:
        look, at = style.look(name), {"method": name}
        x, y = float(cell.misfit_mean.sel(at)), float(gain.sel(at))
        low, high = confidence_interval(np.array(y), np.array(float(sem.sel(at))), np.array(count))
        panel.plot([x, x], [low, high], color=look.color, linewidth=0.7)
        panel.plot(x, y, color=look.color, marker=look.marker, linestyle="none", markersize=4.5)
    for share in (0.5, 1.0):
        level = share * (teacher - float(risk.sel({"method": "ceiling"})))
        panel.axhline(level, color="0.6", linewidth=0.7, linestyle=style.DASHED, zorder=0)
        panel.annotate(
            f"PGR {share:g}",
            (0.01, level),
            xycoords=panel.get_yaxis_transform(),
            fontsize=6,
            color="0.4",
            ha="left",
            va="bottom",
        )
    far = max(float(cell.misfit_mean.max()), teacher)
    panel.set_xlim(0, 1.05 * far)
    panel.set_ylim(lowest - 0.05 * teacher, 1.08 * teacher)
    panel.plot([0, teacher], [0, teacher], **style.THEORY)
    panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    for place, name in zip(np.linspace(1.03, -0.03, len(names)), names):
        at = {"method": name}
        panel.annotate(
            label_of(name),
            (float(cell.misfit_mean.sel(at)), float(gain.sel(at))),
            (1.07, place),
            textcoords="axes fraction",
            fontsize=6.5,
            va="center",
            color=style.look(name).color,
            arrowprops={
                "arrowstyle": "-",
                "color": style.look(name).color,
                "linewidth": 0.4,
                "relpos": (0, 0.5),
                "alpha": 0.6,
            },
        )
