"""Every method in the worlds of tokens: how much a student keeps of its knowledge and takes of the style."""

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from figures.alignment import ORDER, SPLITS, at_temperature_one, label_of, task_of
from figures.alignment_overview import MORE, absent, capabilities, in_order
from figures.data import Results
from w2s_jax.statistics import confidence_interval, sem, summarize


def alignment_methods(*stores: Results) -> Figure:
    """Content against style at a middle capability: a row per set of questions, a column per world.

    A cross spans the 95% intervals of both scores over seeds. Where a method costs more than naive fine-tuning, a line
    leads to what it reaches at the same compute.
    """
    stores = in_order(stores)
    rows, columns = len(SPLITS), len(stores)
    width = style.DOUBLE_COLUMN if columns > 1 else style.SINGLE_COLUMN
    figure, axes = style.new_figure(width, 4.9 if columns > 1 else 7.5, rows, columns, sharey="row")
    handles: dict[str, Artist] = {}
    for column, results in enumerate(stores):
        capability = capabilities(results)[-1]
        data = at_temperature_one(results)
        data = data.sel(capability=capability, num_icl=data["num_icl"].values.max())
        for row, split in enumerate(SPLITS):
            panel, cut = axes[row, column], data.sel(split=split)
            handles |= _students(panel, cut) | _marks(panel, cut)
            style.title(panel, row * columns + column, task_of(results) if row == 0 else "")
        rate = task_of(results) == "bias"
        axes[-1, column].set_xlabel("rate of female subjects" if rate else "style score")
    handles["dot: at equal compute"] = Line2D([], [], color="0.3", marker=".", linewidth=0.8)
    for row, name in enumerate(SPLITS.values()):
        axes[row, 0].set_ylabel(f"content, {name}")
    levels = sorted({capabilities(results)[-1] for results in stores})
    told = " and ".join(f"{level:g}" for level in levels)
    seeds = " and ".join(str(n) for n in sorted({results.data.sizes["seed"] for results in stores}))
    crosses = f"crosses: 95% intervals over {seeds} seeds{absent(stores)}"
    parts = f"weak capability {told}", "longest prompt", "temperature 1", crosses
    heading = "; ".join(parts) if columns > 1 else "\n".join(parts).replace("; ", "\n")
    style.legend_below(figure, handles, 4 if columns > 1 else 1, heading)
    return figure


def _students(panel: Axes, cut: xr.Dataset) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    for method in (method for method in (*ORDER, *MORE) if method in cut["method"].values):
        how, own = style.look(method), cut.sel({"method": method})
        x, y = (own[score].values.mean() for score in ("style", "content"))
        matched = [own[f"compute_{score}"].values.mean() for score in ("style", "content")]
        if not np.allclose(matched, (x, y)):
            panel.plot([x, matched[0]], [y, matched[1]], color=how.color, linewidth=0.8, zorder=2)
            panel.plot(*matched, marker=".", markersize=3, color=how.color, linestyle="none", zorder=3)
        _cross(panel, own, how.color)
        panel.plot(x, y, marker=how.marker, markersize=5, color=how.color, linestyle="none", zorder=4)
        handles[label_of(method)] = Line2D([], [], color=how.color, marker=how.marker, linestyle="none")
    return handles


def _marks(panel: Axes, cut: xr.Dataset) -> dict[str, Artist]:
    """The weak teacher, and the style of the target."""
    how = style.look("weak")
    panel.plot(cut["weak_style"].values.mean(), cut["weak_content"].values.mean(), **{**style.RING, "color": how.color})
    panel.axvline(cut["target_style"].item(), linestyle=style.DOTTED, **style.THEORY)
    return {
        "weak teacher": Line2D([], [], **{**style.RING, "color": how.color}),
        "target concept, style": Line2D([], [], linestyle=style.DOTTED, **style.THEORY),
    }


def _cross(panel: Axes, own: xr.Dataset, color: str) -> None:
    ends = {}
    for score in ("style", "content"):
        seeds = summarize(own[score].values[:, None])
        low, high = confidence_interval(seeds.mean, sem(seeds), seeds.count)
        ends[score] = (seeds.mean.item(), low.item(), high.item())
    (x, *across), (y, *along) = ends["style"], ends["content"]
    if np.isfinite([*across, *along]).all():
        panel.plot(across, [y, y], color=color, linewidth=0.7, alpha=0.6, zorder=2)
        panel.plot([x, x], along, color=color, linewidth=0.7, alpha=0.6, zorder=2)
