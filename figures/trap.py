"""The trap of naive fine-tuning: whatever the penalty, the risk stays at the floor between the two biases."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import curves, style
from figures.data import Results
from w2s_jax import theory

CUT = {"weak_accuracy": 0.8, "concept_shift": 0.5}
"""Where the two biases are comparable, so that a floor under half the smaller one can be told from a low bias."""

PANELS = ("rotated", "shifted", "opposed", "noisy")
"""Kinds of weak teacher whose floors say four different things (docs/theory.md 3.2)."""
MARKERS = "osD^vp"


def naive_ft_trap(results: Results) -> Figure:
    """Risk along the penalty path: simulated, in the proportional limit, and with infinitely many weak labels."""
    results.require(method=("naive_ft",))
    cut = results.nearest(**CUT)
    shown = [w for w in PANELS if w in results.weaknesses] or results.weaknesses[:1]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    width = style.DOUBLE_COLUMN if columns > 1 else style.SINGLE_COLUMN
    figure, axes = style.new_figure(width, 0.9 + 2.2 * rows, rows, columns)
    handles: dict[str, Artist] = {}
    for index, (panel, weakness) in enumerate(zip(axes.ravel(), shown)):
        handles |= _panel(panel, results, weakness, cut)
        style.title(panel, index, f"{style.WEAKNESSES[weakness]}: {_claim(results, weakness, cut)}")
        panel.set_xlabel(r"penalty $\eta$ toward the source (feature variance)")
        panel.set_ylabel(style.RISK)
    for panel in axes.ravel()[len(shown) :]:
        panel.set_axis_off()
    config = results.config
    heading = (
        f"weak accuracy {cut['weak_accuracy']:g}, concept shift {cut['concept_shift']:g}, "
        f"d = {config['dim']}, K = {config['num_concepts']}, noise variance {config['noise_var']:g}"
    )
    style.legend_below(figure, handles, 4 if columns > 1 else 2, heading)
    return figure


def _panel(axes: Axes, results: Results, weakness: str, cut: dict) -> dict[str, Artist]:
    data = results.at(weakness=weakness, **cut).isel(num_icl=0)
    penalties = data["penalty"].values.astype(float)
    sizes = data["sample_size"].values
    positive = penalties[penalties > 0]
    # least squares, penalty 0, has no place on a logarithmic axis: it stands left of the path
    zero = positive.min() / 4
    x = np.where(penalties > 0, penalties, zero)
    axes.set_xscale("log")
    axes.set_yscale("log")
    handles: dict[str, Artist] = {}
    count = data["num_replicates"].isel(method=0, sample_size=0).item()
    paths = data["naive_path_mean"]
    for i, (color, size) in enumerate(zip(style.ordered_colors(len(sizes)), sizes)):
        row = data.sel(sample_size=size)
        mean, sem = row["naive_path_mean"].values, row["naive_path_sem"].values
        marker = MARKERS[i % len(MARKERS)]
        handles[f"simulated, n = {size}"] = style.error_bars(axes, x, mean, sem, count, color=color, marker=marker)
    drawn = [paths.values]
    if results.has_closed_forms:
        handles |= _closed_forms(axes, results, weakness, cut, (zero, positive.min(), positive.max()), sizes)
        drawn.append(_levels(results, weakness, cut))
    style.limit_y(axes, *drawn, least=1e-6)
    style.log_ticks_in_full(axes)
    ticks = [p for p in positive if np.isclose(np.log10(p) % 1, 0) or len(positive) < 4]
    style.mark_values(axes, [zero, *ticks], "x")
    axes.set_xticks([zero, *ticks], ["0", *(f"{t:g}" for t in ticks)])
    return handles


def _closed_forms(
    axes: Axes, results: Results, weakness: str, cut: dict, ends: tuple[float, float, float], sizes: np.ndarray
) -> dict[str, Artist]:
    zero, low, high = ends
    dense = np.geomspace(low / 1.6, high * 1.6, 80)
    tasks = results.tasks([weakness], cut["weak_accuracy"], np.full(dense.shape, cut["concept_shift"]))
    handles: dict[str, Artist] = {}
    for color, size in zip(style.ordered_colors(len(sizes)), sizes):
        limit = curves.ridge(tasks, float(size), dense)[0]
        (line,) = axes.plot(dense, limit, color=color, linewidth=0.7)
        handles.setdefault("theory: Marchenko–Pastur", line)
        start = curves.least_squares(tasks, float(size))[0, 0]
        axes.plot([zero / 1.3, zero * 1.3], [start, start], color=color, linewidth=0.7)
    population = curves.evaluate(theory.population_ridge_risk, tasks, dense)[0]
    (handles["theory: n infinite"],) = axes.plot(dense, population, **style.THEORY)
    weak, source, floor, half = _levels(results, weakness, cut)
    lines = {
        "bias of the weak teacher": (weak, style.look("weak").color, style.look("weak").line),
        "bias of the source": (source, style.look("source").color, style.look("source").line),
        "floor over all penalties": (floor, style.look("naive_ft").color, style.DASHED),
        "half the smaller bias": (half, style.look("naive_ft").color, style.DOTTED),
    }
    for label, (level, color, dashes) in lines.items():
        handles[label] = axes.axhline(level, color=color, linestyle=dashes, linewidth=1.0, zorder=1)
    return handles


def _claim(results: Results, weakness: str, cut: dict) -> str:
    if not results.has_closed_forms:
        return "random tasks"
    _, _, floor, half = _levels(results, weakness, cut)
    if floor <= 1e-6:
        return "floor 0, only n in the way"
    return f"floor {'above' if floor >= half else 'below'} half the smaller bias"


def _levels(results: Results, weakness: str, cut: dict) -> tuple[float, float, float, float]:
    """Weak bias, source bias, floor, and half the smaller bias."""
    task = results.tasks([weakness], cut["weak_accuracy"], cut["concept_shift"])
    weak, source, floor = (
        curves.evaluate(f, task).item() for f in (theory.weak_bias, theory.source_bias, theory.population_ridge_floor)
    )
    return weak, source, floor, min(weak, source) / 2
