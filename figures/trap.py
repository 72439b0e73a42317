"""The trap of naive fine-tuning: at every penalty the risk stays at the floor between the two biases."""

from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import curves, style
from figures.data import Results
from w2s_jax import theory
from w2s_jax.types import Task

CUT = {"weak_accuracy": 0.8, "concept_shift": 0.5}
"""Where the two biases are comparable, so that a floor under half the smaller one differs visibly from a low bias."""
PANELS = ("rotated", "shifted", "opposed", "noisy")
"""Kinds of weak teacher with different floors (docs/theory.md 3.2)."""
MARKERS = "osD^vp"


class Limits(NamedTuple):
    """The closed forms of one panel."""

    penalties: np.ndarray
    population: np.ndarray
    """Infinitely many labels, `[penalty]`."""
    proportional: np.ndarray
    """Marchenko-Pastur, `[sample_size penalty]`."""
    least_squares: np.ndarray
    """Penalty 0, exact, `[sample_size]`."""
    weak: float
    source: float
    floor: float


def naive_ft_trap(results: Results) -> Figure:
    """Risk along the penalty path: simulated, in the proportional limit, and with infinitely many weak labels."""
    results.require(method=("naive_ft",))
    cut = results.nearest(**CUT)
    shown = [w for w in PANELS if w in results.weaknesses] or results.weaknesses[:1]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    width = style.DOUBLE_COLUMN if columns > 1 else style.SINGLE_COLUMN
    figure, axes = style.new_figure(width, 0.9 + 2.2 * rows, rows, columns)
    limits = _limits(results, cut) if results.has_closed_forms else {}
    handles: dict[str, Artist] = {}
    for index, (panel, weakness) in enumerate(zip(axes.ravel(), shown)):
        data = results.at(weakness=weakness, **cut).isel(num_icl=0)
        handles |= _panel(panel, data, limits.get(weakness))
        style.title(panel, index, style.WEAKNESSES[weakness] + _claim(limits.get(weakness)))
        panel.set_xlabel(r"penalty $\eta$ toward the source (feature variance)")
        panel.set_ylabel(style.RISK)
    for panel in axes.ravel()[len(shown) :]:
        panel.set_axis_off()
    config = results.config
    heading = (
        f"weak accuracy {cut['weak_accuracy']:g}, concept shift {cut['concept_shift']:g}, "
        f"d = {config['dim']}, K = {config['num_concepts']}, noise variance {config['noise_var']:g}; bars: 95% interval"
    )
    style.legend_below(figure, handles, 4 if columns > 1 else 2, heading)
    return figure


def _panel(axes: Axes, data: xr.Dataset, limits: Limits | None) -> dict[str, Artist]:
    penalties, sizes = data["penalty"].values.astype(float), data["sample_size"].values
    positive = penalties[penalties > 0]
    # least squares, penalty 0, has no place on a logarithmic axis: it stands left of the path
    zero = positive.min() / 4
    axes.set_xscale("log")
    axes.set_yscale("log")
    colors = style.ordered_colors(len(sizes))
    handles: dict[str, Artist] = {}
    for i, size in enumerate(sizes):
        row = data.sel(sample_size=size)
        mean, sem, count = (row[name].values for name in ("naive_path_mean", "naive_path_sem", "num_replicates"))
        handles[f"simulated, n = {size}"] = style.error_bars(
            axes,
            np.where(penalties > 0, penalties, zero),
            mean,
            sem,
            count.max(),
            color=colors[i],
            marker=MARKERS[i % len(MARKERS)],
        )
    drawn = [data["naive_path_mean"].values]
    if limits is not None:
        handles |= _draw_limits(axes, limits, colors, zero)
        drawn.append(np.array([limits.weak, limits.source, limits.floor, _half(limits)]))
    style.limit_y(axes, *drawn, least=1e-6)
    style.log_ticks_in_full(axes)
    ticks = [p for p in positive if np.isclose(np.log10(p) % 1, 0) or len(positive) < 4]
    style.mark_values(axes, [zero, *ticks])
    axes.set_xticks([zero, *ticks], ["0", *(f"{t:g}" for t in ticks)])
    return handles


def _draw_limits(axes: Axes, limits: Limits, colors: list[str], zero: float) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    for color, curve, start in zip(colors, limits.proportional, limits.least_squares):
        (line,) = axes.plot(limits.penalties, curve, color=color, linewidth=0.7)
        handles.setdefault("theory: Marchenko–Pastur", line)
        axes.plot([zero / 1.3, zero * 1.3], [start, start], color=color, linewidth=0.7)
    (handles["theory: n infinite"],) = axes.plot(limits.penalties, limits.population, **style.THEORY)
    naive = style.look("naive_ft").color
    levels = {
        "bias of the weak teacher": (limits.weak, style.look("weak").color, style.look("weak").line),
        "bias of the source": (limits.source, style.look("source").color, style.look("source").line),
        "floor over all penalties": (limits.floor, naive, style.DASHED),
        "half the smaller bias": (_half(limits), naive, style.DOTTED),
    }
    for label, (level, color, dashes) in levels.items():
        handles[label] = axes.axhline(level, color=color, linestyle=dashes, linewidth=1.0, zorder=1)
    return handles


def _limits(results: Results, cut: dict[str, float]) -> dict[str, Limits]:
    path = results.data["penalty"].values.astype(float)
    positive, sizes = path[path > 0], results.data["sample_size"].values.astype(float)
    dense = np.geomspace(positive.min() / 1.6, positive.max() * 1.6, 100)
    tasks = results.tasks(cut["weak_accuracy"], np.full(dense.shape, cut["concept_shift"]))
    first: Task = jax.tree.map(lambda leaf: leaf[:, 0], tasks)
    population = curves.evaluate(theory.population_ridge_risk, tasks, dense)
    proportional = np.stack([curves.ridge(tasks, n, dense) for n in sizes], axis=1)
    starts = np.stack([curves.least_squares(first, n) for n in sizes], axis=1)
    weak, source = (curves.evaluate(bias, first) for bias in (theory.weak_bias, theory.source_bias))
    floor = curves.floor(first)
    return {
        w: Limits(dense, population[i], proportional[i], starts[i], weak[i], source[i], floor[i])
        for i, w in enumerate(results.weaknesses)
    }


def _half(limits: Limits) -> float:
    return min(limits.weak, limits.source) / 2


def _claim(limits: Limits | None) -> str:
    if limits is None:
        return ""
    if limits.floor <= 1e-6:
        return ": floor 0, only n in the way"
    return f": floor {'above' if limits.floor >= _half(limits) else 'below'} half the smaller bias"
