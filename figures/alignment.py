"""The strong model against its weak teacher in a world of tokens: content and style, with the published scores."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from figures import alignment_published, networks, paper_scores, style
from figures.data import MissingResultError, Results
from w2s_jax.statistics import confidence_interval, sem, summarize

SCORES = ("content", "style")
SPLITS = {"train": "train questions", "held_out": "held-out questions"}
ORDER = (
    "source",
    "control",
    "self_label",
    "prompt_only",
    "naive_ft",
    "bootstrapping",
    "aux_confidence",
    "self_refine",
    "intent_refine",
    "icl_refine",
    "ceiling",
)
"""Methods from what knows no teacher, over what is fine-tuned on its labels, to refinement and true labels."""
LABELS = {
    "naive_ft": "naive fine-tuning",
    "intent_refine": "intent refinement",
    "self_refine": "Ask-to-Improve",
    "source": "strong, untouched",
}
"""Methods that are named otherwise here: no penalty is chosen, and a network names a concept by its answers."""
REFERENCES = {"source": style.DASHED, "control": style.look("control").line, "ceiling": style.look("ceiling").line}
"""Methods that know no teacher, and their dashes; the untouched model is dashed, as in the paper."""
PAD = 0.04


def label_of(method: str) -> str:
    """What a method is called in a legend."""
    return LABELS.get(method, style.look(method).label)


NAME_HEIGHT = 0.096
"""Height of a name beside a panel, in heights of the panel."""
NAMED_BESIDE = {label_of(m) for m in ORDER} - {label_of(m) for m in alignment_published.METHODS}
"""What the legend leaves out: methods that are named beside their curves, and that no published panel shows."""


class Drawn(NamedTuple):
    """What a panel shows: places on its axes that must lie inside the frame, and its entries of the legend."""

    x: np.ndarray
    y: np.ndarray
    handles: dict[str, Artist]
    ends: dict[str, tuple[str, float]]
    """What is drawn, by name: its colour, and its height at the right end."""


def strong_against_weak(results: Results) -> Figure:
    """Scores of the strong model by the teacher's measured content, at temperature 1 and the longest prompt.

    The style of a teacher hardly depends on its capability, so that both rows have its content as x; its style is a
    line of its own. The published scores of the task stand beside, on the judges' scale.
    """
    results.require_many("capability")
    task = task_of(results)
    cut = at_temperature_one(results).sel(num_icl=results.data["num_icl"].values.max())
    sets = alignment_published.test_sets(task)
    shown = [score for score in SCORES if paper_scores.scale(task, score)]
    figure, panels = _panels(sets, shown)
    handles: dict[str, Artist] = {}
    for row, score in enumerate(SCORES):
        drawn = [_simulated(panels[score, split], cut.sel(split=split), score) for split in SPLITS]
        low = min(one.y.min() for one in drawn)
        for column, (split, one) in enumerate(zip(SPLITS, drawn)):
            panel = panels[score, split]
            panel.set_ylim(max(0.0, low - 2 * PAD), 1 + PAD)
            panel.set_xlim(max(0.0, one.x.min() - PAD), min(1.0, one.x.max()) + PAD)
            style.title(panel, _letter(row, column, len(sets)), SPLITS[split])
            panel.set_xlabel("weak content, measured")
            handles |= one.handles
        _name_beside(panels[score, "held_out"], drawn[-1].ends)
        panels[score, "train"].set_ylabel(f"strong: {name_of(task, score)}")
    for column, name in enumerate(sets):
        for row, score in enumerate(shown):
            panel = panels[score, name]
            handles |= alignment_published.draw(panel, task, name, score)
            low, high = paper_scores.scale(task, score) or (0, 1)
            index = 4 + len(sets) * row + column if len(sets) > 1 else _letter(row, 2, 1)
            heading = name.removesuffix("_test").replace("_", " ")
            words = f"paper, {heading} ({low:g}–{high:g})" if len(sets) > 1 else f"paper ({low:g}–{high:g})\n{heading}"
            style.title(panel, index, words)
            panel.set_ylabel(f"strong: {name_of(task, score)}" if column == 0 else "")
    handles = {name: handle for name, handle in handles.items() if name not in NAMED_BESIDE}
    handles["95% interval"] = Patch(facecolor="0.55", alpha=0.4, linewidth=0)
    longest, seeds = cut["num_icl"].item(), cut.sizes["seed"]
    over = f"intervals over {seeds} seed{'s' * (seeds > 1)}, in the paper over questions"
    over += "".join(f"; no {score} score was published" for score in SCORES if score not in shown)
    style.legend_below(figure, handles, 4, f"{task}, {longest} weak examples in a prompt, temperature 1; {over}")
    return figure


def task_of(results: Results) -> str:
    """The task of a store, which its name contains."""
    return results.name.removeprefix("alignment_")


def name_of(task: str, score: str) -> str:
    """What a score is called on an axis."""
    if (task, score) == ("bias", "style"):
        return "rate of female subjects"
    return f"{score} score"


def at_temperature_one(results: Results) -> xr.Dataset:
    """The results at temperature 1."""
    if 1 not in results.data["temperature"]:
        raise MissingResultError(
            f"this figure needs temperature 1, which {results.name}.zarr does not hold; run it into another folder."
        )
    return results.at(temperature=1)


def _letter(row: int, column: int, num_sets: int) -> int:
    """Panels are lettered row by row; published ones that have rows of their own come after the others."""
    return row * (3 if num_sets == 1 else 2) + column


def _panels(sets: tuple[str, ...], shown: list[str]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """Panels by score and column: the published ones beside the simulated ones, or under them where they are many.

    `shown` are the scores that were published.
    """
    splits, beside = tuple(SPLITS), len(sets) == 1
    if beside:
        rows = [[f"{score} {column}" for column in (*splits, *sets)] for score in SCORES]
    else:  # the width is a multiple of both numbers of panels
        rows = [[f"{score} {name}" for name in splits for _ in sets] for score in SCORES]
        rows += [[f"{score} {name}" for name in sets for _ in splits] for score in shown]
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 4.9 if beside else 1.6 + 1.65 * len(rows)), layout="constrained")
    placed = figure.subplot_mosaic(rows)
    names = [(score, name) for score in SCORES for name in (*splits, *(sets if score in shown else ()))]
    return figure, {(score, name): placed[f"{score} {name}"] for score, name in names}


def _simulated(panel: Axes, cut: xr.Dataset, score: str) -> Drawn:
    """A line per method that reads the teacher's capability; all others are level."""
    cut = cut.sortby("capability")
    x = cut["weak_content"].transpose("seed", "capability").values.mean(axis=0)
    handles: dict[str, Artist] = {}
    heights, ends = [np.zeros(0)], {}
    for method in (method for method in ORDER if method in cut["method"].values):
        values, name = cut[score].sel({"method": method}), label_of(method)
        if method in REFERENCES:
            how = style.look(method)._replace(line=REFERENCES[method])
            heights.append(_level(panel, values.isel(capability=0), how))
            handles[name] = Line2D([], [], color=how.color, linestyle=how.line)
        elif bool(cut["uses_capability"].sel({"method": method})):
            handles[name] = line = networks.line(panel, x, values, style.look(method))
            heights.append(np.asarray(line.get_ydata()))
        else:
            continue
        ends[name] = (style.look(method).color, float(heights[-1][-1]))
    if score == "content":
        panel.axline((0, 0), slope=1, **style.THEORY)
        handles["strong = weak"] = Line2D([], [], **style.THEORY)
    else:
        handles["weak teacher"] = line = networks.line(panel, x, cut["weak_style"], style.look("weak"))
        bayes = cut["bayes_style"].transpose("seed", "capability").values.mean(axis=0)
        target = cut["target_style"].item()
        panel.plot(x, bayes, linestyle=style.DASHED, **style.THEORY)
        panel.axhline(target, linestyle=style.DOTTED, **style.THEORY)
        handles["exact Bayes, style"] = Line2D([], [], linestyle=style.DASHED, **style.THEORY)
        handles["target concept, style"] = Line2D([], [], linestyle=style.DOTTED, **style.THEORY)
        heights += [np.asarray(line.get_ydata()), bayes, np.array([target])]
    return Drawn(x, np.concatenate(heights), handles, ends)


def _name_beside(panel: Axes, ends: dict[str, tuple[str, float]]) -> None:
    """Names to the right of a panel in the colours of what they name, each with a line to where that ends."""
    low, high = panel.get_ylim()
    heights = [(height - low) / (high - low) for _, height in ends.values()]
    for (name, (color, _)), start, place in zip(ends.items(), heights, style.apart(heights, NAME_HEIGHT)):
        style.name_beside(panel, name, color, start, place)


def _level(panel: Axes, values: xr.DataArray, how: Any) -> np.ndarray:
    """The mean over seeds as a level line with its interval."""
    seeds = summarize(values.values[:, None])
    low, high = confidence_interval(seeds.mean, sem(seeds), seeds.count)
    panel.axhline(seeds.mean[0], color=how.color, linestyle=how.line, linewidth=1.0)
    if np.isfinite(low[0]):
        panel.axhspan(low[0], high[0], color=how.color, alpha=0.15, linewidth=0, zorder=1.2)
    return np.asarray(seeds.mean)
