"""A real language model and its weak teachers: content against style, what is copied, and how many examples it takes.

Means are over questions, and questions of one fact in several seeds count as one observation, so that intervals are
over facts.
"""

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from figures import paper_scores, style
from figures.alignment import ORDER, at_temperature_one, label_of
from figures.alignment_overview import MORE, PROMPTED
from figures.data import Results
from w2s_jax.statistics import confidence_interval, group_means, sem, summarize

SCORES = ("content", "style")
FATES = {"right": "0.35", "copied": "#D55E00", "other": "0.85"}
"""What may become of a question that the teacher has wrong, and its colour."""
LEVELS = {"source": 0.8, "naive_ft": 2.0, "ceiling": 0.8}
"""Methods that read no example in a context, drawn as lines beside those that do, and the width of the line: naive
fine-tuning is seen under the ceiling where the two coincide."""
PUBLISHED = "GPT-4o-mini"
"""The strong model of the paper whose scores are shown."""


def language_persona(*stores: Results) -> Figure:
    """Content against style of every method, a panel a voice, on held-out questions at the longest prompt.

    Beside: the same methods in the persona world of tokens, where that store is given, and the published scores on the
    judges' own scale.
    """
    results, *toys = stores
    cut = held_out(results).sel(num_icl=results.data["num_icl"].values.max())
    voices = [str(voice) for voice in cut["voice"].values]
    count = len(voices) + len(toys) + 1
    columns = 2 if count <= 4 else 3
    rows = -(-count // columns)
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 0.6 + 2.4 * rows, rows, columns)
    panels, handles = list(axes.flat), {}
    for index, voice in enumerate(voices):
        handles |= _voice(panels[index], cut.sel(voice=voice))
        style.title(panels[index], index, f"language model, voice {voice}")
    for index, toy in enumerate(toys, len(voices)):
        handles |= _toy(panels[index], toy)
        style.title(panels[index], index, "world of tokens, persona")
    _paper(panels[count - 1])
    style.title(panels[count - 1], count - 1, f"paper, {PUBLISHED} (1–10)")
    for panel in panels[count:]:
        panel.set_axis_off()
    for panel in panels[:count]:
        panel.set_xlabel("content score")
    for row in axes:
        row[0].set_ylabel("style score")
    handles["95% interval"] = Line2D([], [], color="0.4", linewidth=0.7)
    seeds = int(results.data["num_replicates"])
    known = ", ".join(_teacher(cut.sel(teacher=teacher)) for teacher in cut["teacher"].values)
    note = f"teachers that know {known} of the facts, the first with empty marks; {seeds} seeds, intervals over facts"
    style.legend_below(figure, handles, 4, note)
    return figure


def language_methods(results: Results) -> Figure:
    """Content against style of every method on held-out questions, a panel a teacher."""
    cut = held_out(results).sel(num_icl=results.data["num_icl"].values.max()).isel(voice=0)
    teachers = cut["teacher"].values
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 3.6, 1, len(teachers), sharey=True)
    handles: dict[str, Artist] = {}
    for index, (panel, teacher) in enumerate(zip(axes.flat, teachers)):
        own = cut.sel(teacher=[teacher])
        handles |= _voice(panel, own)
        style.title(panel, index, f"teacher {teacher}, right in {_teacher(own)}")
        panel.set_xlabel("content score")
    axes.flat[0].set_ylabel("style score")
    handles["95% interval"] = Line2D([], [], color="0.4", linewidth=0.7)
    note = f"voice {cut['voice'].item()}; {int(results.data['num_replicates'])} seeds, intervals over facts"
    style.legend_below(figure, handles, 4, note)
    return figure


def language_copying(results: Results) -> Figure:
    """What becomes of the questions to train on that the teacher has wrong, by method, voice and teacher."""
    cut = results.data.sel(num_icl=results.data["num_icl"].values.max())
    cut = cut.isel(question=np.flatnonzero(cut["split"].values == "train"))
    methods = [method for method in ORDER if method in cut["method"].values]
    voices, teachers = cut["voice"].values, cut["teacher"].values
    height = 0.9 + len(voices) * (0.45 + 0.16 * len(methods))
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, height, len(voices), len(teachers), sharex=True, sharey=True)
    for place, panel in np.ndenumerate(axes):
        own = cut.sel(voice=voices[place[0]], teacher=teachers[place[1]])
        mistaken = own["teacher_is_right"] == 0
        for row, method in enumerate(methods):
            of_method = own.sel({"method": method})
            right, copied = (float(of_method[name].where(mistaken).mean()) for name in ("content", "copied"))
            left = 0.0
            for fate, width in zip(FATES, (right, copied, 1 - right - copied)):
                panel.barh(row, width, left=left, color=FATES[fate], height=0.75)
                left += width
        style.title(
            panel, np.ravel_multi_index(place, axes.shape), f"{voices[place[0]]}, teacher knows {_teacher(own)}"
        )
        panel.set_yticks(range(len(methods)), [label_of(method) for method in methods])
        panel.set(xlim=(0, 1), ylim=(len(methods) - 0.5, -0.5))
    for panel in axes[-1]:
        panel.set_xlabel("share of the questions that the teacher has wrong")
    names = {"right": "right", "copied": "the teacher's wrong value", "other": "another value or none"}
    handles: dict[str, Artist] = {names[fate]: Patch(facecolor=color) for fate, color in FATES.items()}
    style.legend_below(figure, handles, 3)
    return figure


def language_icl(results: Results) -> Figure:
    """Content and style against the number of weak examples, on held-out questions, a row a voice; methods that read
    none, and the untouched model, as level lines."""
    results.require_many("num_icl")
    cut, numbers = held_out(results), results.data["num_icl"].values
    voices, teachers = cut["voice"].values, cut["teacher"].values
    methods = [method for method in (*PROMPTED, *LEVELS) if method in cut["method"].values]
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 0.9 + 2.2 * len(voices), len(voices), 2, sharex=True)
    handles: dict[str, Artist] = {}
    for (row, column), panel in np.ndenumerate(axes):
        panel.set_xscale("log", base=2)
        for method in methods:
            how, own = style.look(method), cut[SCORES[column]].sel(voice=voices[row]).sel({"method": method})
            for teacher, shade in zip(teachers, style.ordered_colors(len(teachers) + 1)):
                color = how.color if len(teachers) == 1 else shade
                means = [_mean(own.sel(num_icl=number, teacher=teacher), cut["fact"]) for number in numbers]
                mean, error, count = (np.array(part) for part in zip(*means))
                label = label_of(method)
                if len(teachers) > 1:
                    label += f", teacher knows {_teacher(cut.sel(voice=voices[row], teacher=teacher))}"
                level = method in LEVELS
                (handles[label],) = panel.plot(
                    numbers,
                    mean,
                    color=color,
                    linestyle=how.line,
                    marker="" if level else how.marker,
                    lw=LEVELS.get(method, 1.8),
                )
                if not level:
                    style.band(panel, numbers, mean, error, count, color)
        panel.set_ylim(-0.03, 1.03)
        style.title(panel, 2 * row + column, f"{SCORES[column]}, {voices[row]}")
        panel.set_ylabel(f"{SCORES[column]} score")
        style.mark_values(panel, numbers)
    for panel in axes[-1]:
        panel.set_xlabel("weak examples in the context")
    known = ", ".join(_teacher(cut.sel(teacher=teacher)) for teacher in teachers)
    note = (
        f"teacher that knows {known} of the facts; {int(results.data['num_replicates'])} seeds, bands of 95% over facts"
    )
    style.legend_below(figure, handles, 3 if len(teachers) == 1 else 2, note)
    return figure


def held_out(results: Results) -> xr.Dataset:
    """The questions that are held out."""
    return results.data.isel(question=np.flatnonzero(results.data["split"].values == "held_out"))


def _voice(panel: Axes, cut: xr.Dataset) -> dict[str, Artist]:
    """A mark per method and teacher, from an empty one for the first; a thin line joins the teachers of a method."""
    handles: dict[str, Artist] = {}
    for method in (method for method in (*ORDER, *MORE) if method in cut["method"].values):
        own = cut.sel({"method": method})
        reads = bool(own["uses_teacher"])
        found = []
        for teacher in cut["teacher"].values if reads else cut["teacher"].values[:1]:
            one = own.sel(teacher=teacher)
            content, shown = (_mean(one[score], one["fact"]) for score in SCORES)
            found.append((content[0], shown[0]))
            style.error_bars(panel, *_points(content, shown), color=style.look(method).color)
            _sideways(panel, content, shown, method)
        handles[label_of(method)] = _marks(panel, np.array(found), method)
    panel.set(xlim=(-0.03, 1.03), ylim=(-0.06, 1.06))
    return handles


def _toy(panel: Axes, toy: Results) -> dict[str, Artist]:
    """The same in a world of tokens, at the longest prompt."""
    cut = at_temperature_one(toy).sel(num_icl=toy.data["num_icl"].values.max(), split="held_out")
    handles: dict[str, Artist] = {}
    for method in (method for method in ORDER if method in cut["method"].values):
        own = cut.sel({"method": method})
        values = np.stack([own[score].transpose("capability", "seed").values.mean(axis=1) for score in SCORES], -1)
        handles[label_of(method)] = _marks(panel, values if bool(own["uses_capability"]) else values[:1], method)
    return handles


def _paper(panel: Axes) -> None:
    """Published scores of the persona task, of one strong model, a mark per method and weak teacher."""
    rows = [row for row in paper_scores.published("persona") if row.strong_model == PUBLISHED]
    for method in dict.fromkeys(row.method for row in rows):
        own = [(row.content, row.style) for row in rows if row.method == method]
        _marks(panel, np.array(own), method, joined=False)


def _marks(panel: Axes, points: np.ndarray, method: str, joined: bool = True) -> Line2D:
    how = style.look(method)
    line = {"linestyle": "-", "linewidth": 0.5} if joined else {"linestyle": "none"}
    (drawn,) = panel.plot(*points.T, color=how.color, marker=how.marker, **line)
    if joined and len(points) > 1:
        panel.plot(*points[0], color=how.color, marker=how.marker, markerfacecolor="white")
    return drawn


def _points(content: tuple, shown: tuple) -> tuple[np.ndarray, ...]:
    return tuple(np.array([value]) for value in (content[0], *shown))


def _sideways(panel: Axes, content: tuple, shown: tuple, method: str) -> None:
    """The interval of the content."""
    low, high = confidence_interval(*(np.array(part) for part in content))
    panel.plot([float(low), float(high)], [shown[0]] * 2, color=style.look(method).color, linewidth=0.7)


def _mean(values: xr.DataArray, facts: xr.DataArray) -> tuple[float, float, int]:
    """Mean over questions `[seed question]`, its standard error over facts, and their number."""
    flat, names = (part.transpose("seed", "question").values.ravel() for part in (values, facts))
    summary = summarize(group_means(flat, names)[:, None])
    return float(summary.mean[0]), float(sem(summary)[0]), int(summary.count)


def _teacher(cut: xr.Dataset) -> str:
    """A teacher by the share of its answers that are right, over seeds."""
    return f"{float(cut['capability'].mean()):.2g}"
