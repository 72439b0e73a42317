"""The framework in one picture: source, concepts, weak teacher, and the two ways from the one to the others."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon

from figures import style
from w2s_jax.tasks import make_task

PRIOR = (0.24, 0.52, 0.24)
"""Weights that the source gives to the three concepts, the target first."""
ACCURACY = 0.7
EXAMPLES = (0, 1, 2, 4, 8)
"""Prompt lengths whose posterior is marked."""
BARS = (0, 2, 8)
"""Those whose weights are drawn as bars."""
STEP = 1.6
"""Height of one of these charts; a weight of 1 is 1 high."""
NOISE_VAR = 1.0
PLACES = np.array([[3.2, -0.15], [0.0, 1.0], [0.75, -1.5], [0.35, 2.1]])
"""Where three concepts and the direction off their span lie on the page; all else follows by linearity."""
NAMES = ("target", "rival 1", "rival 2")


def framework() -> Figure:
    """A schematic with exact geometry: one task with three concepts in four dimensions, seen from one side."""
    points = geometry()
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 3.4, 1, 2, width_ratios=[4.4, 1])
    _space(axes[0, 0], points)
    _weights(axes[0, 1], points["weights"])
    return figure


def geometry() -> dict[str, np.ndarray]:
    """Coefficients `[... 4]` of everything that is drawn, and the weights `[prompt length, 3]` of the concepts.

    The posterior is the one at the mean log likelihood, w_k ~ prior_k exp(-m |teacher - concept_k|^2 / (2 noise_var)).
    """
    task = make_task(num_concepts=3, dim=4, weak_accuracy=ACCURACY, concept_shift=1 - PRIOR[0], noise_var=NOISE_VAR)
    concepts, prior = np.asarray(task.concepts, float), np.array(PRIOR)
    teacher, source = np.asarray(task.weak_coef, float), prior @ concepts
    distances = ((teacher - concepts) ** 2).sum(axis=1)
    logits = np.log(prior) - np.array(EXAMPLES)[:, None] * distances / (2 * NOISE_VAR)
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    along = (concepts[0] - source) @ (teacher - source) / ((teacher - source) ** 2).sum()
    return {
        "concepts": concepts,
        "source": source,
        "teacher": teacher,
        "floor": source + np.clip(along, 0, 1) * (teacher - source),
        "weights": weights,
    }


def on_page(coef: np.ndarray) -> np.ndarray:
    """Coefficients `[... 4]` as places `[... 2]`: a parallel projection."""
    return coef @ PLACES


def _space(axes: Axes, points: dict[str, np.ndarray]) -> None:
    corners = on_page(points["concepts"])
    source, teacher, floor = (on_page(points[name]) for name in ("source", "teacher", "floor"))
    colors = {name: style.look(name).color for name in ("source", "weak", "ceiling", "naive_ft", "icl_refine_fresh")}
    axes.add_patch(Polygon(corners, facecolor="#E9EEF3", edgecolor="0.6", linewidth=0.8, zorder=0))
    foot = on_page(np.append(points["teacher"][:3], 0.0))
    axes.plot(*np.array([foot, teacher]).T, color="0.6", linestyle=style.DOTTED, linewidth=0.8)

    _arrow(axes, source, teacher, colors["naive_ft"])
    axes.plot(*np.array([floor, corners[0]]).T, color=colors["naive_ft"], linestyle=style.DASHED, linewidth=0.9)
    path = on_page(points["weights"] @ points["concepts"])
    _arrow(axes, source, corners[0], colors["icl_refine_fresh"])
    axes.plot(*path[1:-1].T, color=colors["icl_refine_fresh"], marker="o", markersize=3.4, linestyle="none", zorder=3)
    for length, place in list(zip(EXAMPLES, path))[1:-1]:
        axes.annotate(f"{length}", place, (0, -8), textcoords="offset points", ha="center", fontsize=6, color="0.25")

    axes.plot(*corners[1:].T, color="0.35", marker="o", markersize=4, linestyle="none", zorder=4)
    axes.plot(*corners[0], color=colors["ceiling"], marker="*", markersize=13, zorder=5)
    axes.plot(*source, color=colors["source"], marker="s", markersize=6, zorder=5)
    axes.plot(*teacher, color=colors["weak"], marker="P", markersize=7, zorder=5)
    axes.plot(*floor, color=colors["naive_ft"], marker="D", markersize=4.5, zorder=5)

    _words(axes, points, path)
    axes.set(xlim=(-1.5, 4.55), ylim=(-1.6, 1.6), aspect="equal")
    axes.set_axis_off()


def _words(axes: Axes, points: dict[str, np.ndarray], path: np.ndarray) -> None:
    """Every mark is named beside itself."""
    target, *rivals = on_page(points["concepts"])
    source, teacher, floor = (on_page(points[name]) for name in ("source", "teacher", "floor"))
    orange, blue = (style.look(name).color for name in ("naive_ft", "icl_refine_fresh"))

    def say(place: np.ndarray, move: tuple[float, float], text: str, color: str = "0.1", **how: Any) -> None:
        axes.text(*(place + move), text, color=color, fontsize=7, linespacing=1.25, **{"va": "center", **how})

    say(target, (0.13, 0.0), "target: the concept\nthat the teacher shows")
    for name, place in zip(NAMES[1:], rivals):
        say(place, (-0.1, 0.0), f"{name}: a concept that\nthe strong model knows too", ha="right")
    words = "source:\nthe strong model,\na mixture of concepts"
    line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkB": 5}
    axes.annotate(words, source, (-0.12, -0.05), ha="right", va="center", fontsize=7, color="0.1", arrowprops=line)
    say(teacher, (0.13, 0.0), "weak teacher: the right concept,\nwrong in a direction that no concept has")
    say((source + teacher) / 2, (-0.12, 0.3), "naive fine-tuning:\nfrom source to teacher", orange, ha="right")
    say((floor + target) / 2, (0.17, 0.1), "floor: the distance that\nno penalty removes", orange)
    say(path[1], (-0.3, -0.3), "refinement: the posterior\nafter 1, 2, 4, 8\nweak examples", blue, va="top")


def _arrow(axes: Axes, start: np.ndarray, end: np.ndarray, color: str) -> None:
    arrow = FancyArrowPatch(
        tuple(start), tuple(end), arrowstyle="-|>", mutation_scale=9, color=color, shrinkA=0, shrinkB=5, linewidth=1.5
    )
    axes.add_patch(arrow)


def _weights(axes: Axes, weights: np.ndarray) -> None:
    """Bars of the concept weights, from the prior down to a long prompt."""
    for row, length in enumerate(BARS):
        base = STEP * (len(BARS) - 1 - row)
        heights = weights[EXAMPLES.index(length)]
        colors = [style.look("ceiling").color, "0.6", "0.6"]
        axes.bar(range(3), heights, 0.7, bottom=base, color=colors)
        axes.plot([-0.5, 2.5], [base, base], color="0.3", linewidth=0.6)
        heading = "prior of the source" if length == 0 else f"after {length} weak examples"
        axes.text(-0.5, base + 1.2, heading, fontsize=6.5, va="center")
    axes.set_xticks(range(3), NAMES)
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.set(xlim=(-0.6, 2.6), ylim=(-0.05, STEP * len(BARS) - 0.15))
    axes.set_title("concept weights", loc="left")
    axes.spines[:].set_visible(False)
