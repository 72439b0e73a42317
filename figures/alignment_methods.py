"""Every method in the worlds of tokens: how much a student keeps of its knowledge and takes of the style."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.alignment import ORDER, at_temperature_one, label_of, task_of
from figures.alignment_overview import MORE, absent, in_order
from figures.data import Results
from w2s_jax.statistics import confidence_interval, sem, summarize

CAPABILITY = 0.4
"""The teacher's capability, as in the tables of docs/alignment.md; a store without it gives its nearest."""
NEAR = 0.06
"""Methods whose means of both scores are this near have one label."""
LEFT = 0.66
"""Style up to which a name is written inside the panel."""
LINE = 0.06
"""Height of a line of a label, in heights of a panel."""


class Group(NamedTuple):
    """Methods that coincide."""

    names: list[str]
    x: float
    y: float
    """The mean place of their marks."""


def alignment_methods(*stores: Results) -> Figure:
    """Content against style on held-out questions, a panel per world; every mark is named beside the panel.

    A cross spans the 95% intervals of both scores over seeds. Where a method costs more than naive fine-tuning, a line
    leads to what it reaches at the same compute.
    """
    stores = in_order(stores)
    columns = min(2, len(stores))
    rows = -(-len(stores) // columns)
    width = style.DOUBLE_COLUMN if columns > 1 else style.SINGLE_COLUMN
    figure, axes = style.new_figure(width, 0.5 + 3.0 * rows, rows, columns)
    levels, lines = set(), False
    for index, (panel, results) in enumerate(zip(axes.ravel(), stores)):
        capability = results.nearest(capability=CAPABILITY)["capability"]
        data = at_temperature_one(results)
        cut = data.sel(capability=capability, num_icl=data["num_icl"].values.max(), split="held_out")
        levels.add(f"{capability:g}")
        lines |= "compute_style" in cut
        marks = _students(panel, cut) | {"weak teacher": _teacher(panel, cut)}
        panel.set(xlim=(0, 1.03), ylim=(min(0.2, *(y for _, y in marks.values())) - 0.03, 1.04))
        _name(panel, groups(marks))
        style.title(panel, index, f"{task_of(results)}: {_kept(cut)}")
        panel.set_xlabel("rate of female subjects" if task_of(results) == "bias" else "style score")
        panel.set_ylabel("content score")
    for panel in axes.ravel()[len(stores) :]:
        panel.set_axis_off()
    seeds = " and ".join(str(n) for n in sorted({results.data.sizes["seed"] for results in stores}))
    parts = [
        f"held-out questions, weak capability {' and '.join(sorted(levels))}, longest prompt, temperature 1",
        f"crosses: 95% intervals over {seeds} seeds; dotted: style of the target concept{absent(stores)}",
    ]
    parts += ["lines: to what a method reaches at equal compute"] * lines
    figure.supxlabel(
        "\n".join(parts) if columns > 1 else "\n".join(parts).replace("; ", "\n").replace(", longest", "\nlongest"),
        fontsize=6.5,
    )
    return figure


def groups(marks: dict[str, tuple[float, float]]) -> list[Group]:
    """Names of marks that lie near the first of their group, in the order given."""
    found: list[Group] = []
    for name, (x, y) in marks.items():
        near = next((g for g in found if max(abs(g.x - x), abs(g.y - y)) < NEAR), None)
        if near is None:
            found.append(Group([name], x, y))
        else:
            near.names.append(name)
    return found


def _students(panel: Axes, cut: xr.Dataset) -> dict[str, tuple[float, float]]:
    """Draws every method; returns the places of their marks by name."""
    marks: dict[str, tuple[float, float]] = {}
    for method in (method for method in (*ORDER, *MORE) if method in cut["method"].values):
        how, own = style.look(method), cut.sel({"method": method})
        x, y = (own[score].values.mean() for score in ("style", "content"))
        if "compute_style" in own:
            matched = [own[f"compute_{score}"].values.mean() for score in ("style", "content")]
            if not np.allclose(matched, (x, y)):
                panel.plot([x, matched[0]], [y, matched[1]], color=how.color, linewidth=0.8, zorder=2)
        _cross(panel, own, how.color)
        panel.plot(x, y, marker=how.marker, markersize=4.5, color=how.color, linestyle="none", zorder=4)
        marks[label_of(method)] = (x, y)
    return marks


def _teacher(panel: Axes, cut: xr.Dataset) -> tuple[float, float]:
    """A ring for the weak teacher, and the style of the target; returns the teacher's place."""
    x, y = cut["weak_style"].values.mean(), cut["weak_content"].values.mean()
    panel.plot(x, y, **{**style.RING, "color": style.look("weak").color})
    panel.axvline(cut["target_style"].item(), linestyle=style.DOTTED, **style.THEORY)
    return x, y


def _name(panel: Axes, found: list[Group]) -> None:
    """Names in two columns, inside on the left and beside the panel on the right, with lines that lead to the marks."""
    low, high = panel.get_ylim()
    for x, top, chosen in (
        (0.03, 0.8, [group for group in found if group.x < LEFT]),
        (1.04, 1.0, [group for group in found if group.x >= LEFT]),
    ):
        heights = [min((group.y - low) / (high - low), top) for group in chosen]
        places = style.apart(heights, [LINE * len(group.names) + 0.004 for group in chosen])
        for group, place in zip(chosen, places):
            panel.annotate(
                "\n".join(group.names),
                (group.x, group.y),
                (x, place),
                textcoords=panel.transAxes,
                fontsize=5.8,
                linespacing=1.05,
                va="center",
                arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.5, "shrinkA": 1, "shrinkB": 3},
                zorder=1,
                annotation_clip=False,
            )


def _kept(cut: xr.Dataset) -> str:
    """Content of refinement by examples and of naive fine-tuning, in percent."""
    if not {"icl_refine", "naive_ft"} <= set(cut["method"].values):
        return ""
    refined, naive = (cut["content"].sel({"method": m}).values.mean() for m in ("icl_refine", "naive_ft"))
    return f"content {refined:.0%} refined, {naive:.0%} naive"


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
