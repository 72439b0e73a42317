"""How fast the engine is: tasks per second by each size of the workload, compared with NumPy, and by cores."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from figures import style
from figures.data import MissingResultError, Results, command_for


class Line(NamedTuple):
    """How a contender is drawn."""

    label: str
    color: str
    line: Any
    marker: str


LINES = {
    "w2s_jax": Line("w2s_jax", "#0072B2", "-", "o"),
    "w2s_jax_moments": Line("w2s_jax,\nmoments", "#009E73", (0, (3, 1, 1, 1)), "D"),
    "w2s_jax_moments_mean": Line("w2s_jax, moments,\nmean labels", "#CC79A7", (0, (6, 1.5, 1, 1.5)), "v"),
    "numpy_vectorised": Line("vectorised\nNumPy", "#D55E00", (0, (5, 1.5)), "s"),
    "numpy_vectorised_every_core": Line("vectorised\nNumPy", "#D55E00", (0, (5, 1.5)), "s"),
    "numpy_loop": Line("NumPy loop", "#555555", (0, (1, 1.2)), "^"),
}
LADDERS = {
    "n": ("by sample size", "labelled examples n"),
    "d": ("by dimension", "feature dimension d"),
    "cells": ("by size of the grid", "cells that share a replicate's draws"),
}
HEADLINE_DIM = 32
"""The dimension whose ratio is quoted, as in benchmarks/parts.py."""
LABEL_GAP = 0.13
"""Least distance between the labels of two lines, as a fraction of a panel's height."""


def scaling(results: Results) -> Figure:
    """Tasks per second by n, d and cells, and efficiency by cores; bars reach from the slowest run to the fastest."""
    _require(results, *LADDERS, "devices")
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 4.6, 2, 2)
    *ladders, last = axes.ravel()
    for index, (panel, (part, (heading, name))) in enumerate(zip(ladders, LADDERS.items())):
        _ladder(panel, _part(results, part))
        panel.set_xlabel(name)
        panel.set_ylabel("tasks per second")
        if part == "d":
            style.mark_values(panel, np.unique(_part(results, part)["value"].values))
        style.title(panel, index, heading)
    _efficiency(last, _part(results, "devices"))
    style.title(last, len(ladders), "by cores")
    figure.suptitle(_claim(_part(results, "d")), fontsize=7)
    return figure


def _require(results: Results, *parts: str) -> None:
    held = results.data["axis"].values if "axis" in results.data else []
    absent = [part for part in parts if part not in held]
    if absent:
        raise MissingResultError(
            f"this figure needs the parts {', '.join(absent)}, which {results.name}.json does not hold; "
            f"make all of it with: {command_for(results.name, Path('ANOTHER_FOLDER'))}"
        )


def _part(results: Results, part: str) -> xr.Dataset:
    return results.data.isel(row=np.flatnonzero(results.data["axis"].values == part))


def _of(rows: xr.Dataset, contender: str) -> xr.Dataset:
    chosen = rows.isel(row=np.flatnonzero(rows["contender"].values == contender))
    return chosen.sortby("value")


def _claim(rows: xr.Dataset) -> str:
    """The ratio that counts, where the engine and the loop were measured at the same d and n."""
    ours = _of(rows, "w2s_jax")
    at = ours.isel(row=int(np.abs(ours["value"].values - HEADLINE_DIM).argmin()))
    return (
        f"w2s_jax: {float(at['ratio_to_numpy_loop']):,.0f} times the NumPy loop at d = {int(at['d'])}, "
        f"n = {int(at['n']):,}, {int(at['cells']):,} cells\n{at['machine'].item()}; bars: slowest to fastest run"
    )


def _ladder(panel: Axes, rows: xr.Dataset) -> None:
    panel.set_xscale("log")
    panel.set_yscale("log")
    drawn = [name for name in LINES if (rows["contender"] == name).any()]
    everything = np.concatenate([_rates(_of(rows, name)).ravel() for name in drawn])
    style.limit_y(panel, everything, pad=1.8)
    ends = {}
    for name in drawn:
        ladder = _of(rows, name)
        slow, middle, fast = _rates(ladder)
        if len(middle) == 1:  # measured once, because it does not depend on the size
            panel.axhline(middle[0], color=LINES[name].color, linestyle=LINES[name].line, linewidth=1.0)
        else:
            _line(panel, name, ladder["value"].values, middle, slow, fast)
        ends[name] = middle[-1]
    _label_ends(panel, ends)


def _efficiency(panel: Axes, rows: xr.Dataset) -> None:
    ends, devices = {}, np.unique(rows["devices"].values).astype(int)
    for name in ("w2s_jax", "numpy_vectorised_every_core"):
        ladder = _of(rows, name)
        if not ladder.sizes["row"]:
            continue
        slow, middle, fast = _rates(ladder) / ladder["devices"].values / float(ladder["tasks_per_second"][0])
        _line(panel, name, ladder["devices"].values, middle, slow, fast)
        ends[name] = middle[-1]
    panel.axhline(1, **style.THEORY)
    panel.set_ylim(0, 1.25)
    panel.set_xscale("log", base=2)
    style.mark_values(panel, devices)
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.set_xlabel("cores: devices of w2s_jax, processes of NumPy")
    panel.set_ylabel("tasks/s per core, of those on one")
    _label_ends(panel, ends)


def _rates(rows: xr.Dataset) -> np.ndarray:
    """`[3 row]`: tasks per second of the slowest run, the median and the fastest."""
    runs = [rows[name].values for name in ("slowest", "median_seconds", "fastest")]
    return rows["tasks"].values / np.array(runs)


def _line(panel: Axes, name: str, x: np.ndarray, middle: np.ndarray, slow: np.ndarray, fast: np.ndarray) -> None:
    how = LINES[name]
    panel.plot(x, middle, color=how.color, linestyle=how.line, marker=how.marker, alpha=0.9)
    panel.errorbar(x, middle, [middle - slow, fast - middle], color=how.color, linestyle="none", elinewidth=0.7)


def _label_ends(panel: Axes, ends: dict[str, float]) -> None:
    """Each line's name in the right margin, at the height of its end, moved where it would touch another."""
    to_fraction = panel.transData + panel.transAxes.inverted()
    order = sorted(ends, key=lambda name: ends[name])
    heights = np.array([to_fraction.transform((1, ends[name]))[1] for name in order])
    steps = LABEL_GAP * np.arange(len(order))
    raised = np.maximum.accumulate(heights - steps) + steps
    lowered = np.minimum.accumulate((heights - steps)[::-1])[::-1] + steps
    for name, height in zip(order, (raised + lowered) / 2):
        how = LINES[name]
        panel.text(1.02, height, how.label, color=how.color, transform=panel.transAxes, va="center", fontsize=6)
