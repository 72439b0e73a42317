"""Every method in the worlds of tokens: how much a student keeps of its knowledge and takes of the style."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from figures import style
from figures.alignment import ORDER, at_temperature_one, label_of, task_of
from figures.alignment_overview import MORE, absent, in_order
from figures.data import Results
from w2s_jax.statistics import confidence_interval, sem, summarize

CAPABILITY = 0.4
"""The teacher's capability, as in the tables of docs/alignment.md; a store without it gives its nearest."""
NEAR = 0.06
"""Methods whose means of both scores are this near have one label."""
ASIDE = 0.1
"""A name is written inside the panel if its mark has this much less style than the target."""
COLORS = {label_of(method): style.look(method).color for method in ("weak", *ORDER, *MORE)}
"""A method's colour by its name."""
LINE, LETTER = 0.05, 0.022
"""Height of a line of a label and width of a letter, in heights and widths of a panel."""


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
        _name(panel, groups(marks), cut["target_style"].item())
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
    parts += ["coloured lines: to what a method reaches at equal compute"] * lines
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


def _name(panel: Axes, found: list[Group], target: float) -> None:
    """Every name in its method's colour, with a line to the mark; inside the panel where style is lacking."""
    low, high = panel.get_ylim()
    on_panel = [group._replace(x=group.x / panel.get_xlim()[1], y=(group.y - low) / (high - low)) for group in found]
    border = (target - ASIDE) / panel.get_xlim()[1]
    inside = _inside([group for group in on_panel if group.x < border], border)
    within = [group for group, *_ in inside]
    beside = [group for group in on_panel if group not in within]
    heights = [LINE * len(group.names) + 0.02 for group in beside]
    for group, place in zip(beside, style.apart([group.y for group in beside], heights)):
        _write(panel, group, 1.04, place, (1.03, place))
    for group, box, end in inside:
        _write(panel, group, box.x0, (box.y0 + box.y1) / 2, end)


def _inside(found: list[Group], border: float) -> list[tuple[Group, Bbox, tuple[float, float]]]:
    """Where names go, left of their mark or under it, and the ends of their lines, as far as none touches another."""
    taken = [Bbox.from_extents(group.x - 0.08, group.y - 0.03, group.x + 0.08, group.y + 0.03) for group in found]
    marks, placed = len(taken), []
    for group in sorted(found, key=lambda group: -group.x):
        width, height = LETTER * max(map(len, group.names)), LINE * len(group.names)
        several = len(group.names) > 1
        left, top = max(min(group.x - width / 2, border - width), 0.02), group.y - 0.04 * (1 + several)
        # the line to several names ends over their first letter, out of the way of other names
        foot = left + 0.02 if several else group.x
        aside = group.x - 0.085 - width
        choices = [(aside, group.y - height / 2, (group.x - 0.07, group.y))] if aside > 0 else []
        choices += [(left, y - height, (foot, y)) for y in np.arange(top, height, -0.01)]
        for x, y, end in choices:
            box, line = Bbox.from_bounds(x, y, width, height), Path([(group.x, group.y), end])
            if not any(box.overlaps(other) for other in taken) and not any(map(line.intersects_bbox, taken[marks:])):
                taken += [box, line.get_extents()]
                placed.append((group, box, end))
                break
    return placed


def _write(panel: Axes, group: Group, x: float, y: float, end: tuple[float, float]) -> None:
    """The names of a group, a line each, and a line from its mark to this end; all in shares of the panel."""
    line = {"arrowstyle": "-", "color": "0.75", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    how = {"xycoords": panel.transAxes, "annotation_clip": False, "zorder": 1}
    panel.annotate("", (group.x, group.y), end, textcoords=panel.transAxes, arrowprops=line, **how)
    middle = (len(group.names) - 1) / 2
    for row, name in enumerate(group.names):
        words = {"color": COLORS[name], "fontsize": 5.8, "va": "center"}
        panel.text(x, y + LINE * (middle - row), name, transform=panel.transAxes, **words)


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
