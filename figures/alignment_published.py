"""Panels of the published scores: strong against weak where both are known, marks by model elsewhere."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from figures import style
from figures.paper_scores import Score, published

MODELS = {"GPT-3.5-Turbo": "white", "GPT-4o-mini": None}
"""Strong models of the paper and the face of their markers; None fills them with the method's colour."""
METHODS = ("naive_ft", "self_refine", "intent_refine", "icl_refine")
SPREAD = 0.18
"""Distance between the marks of two methods of one model."""


def test_sets(task: str) -> tuple[str, ...]:
    """Test sets of a task, in the order of the file."""
    return tuple(dict.fromkeys(row.test_set for row in published(task)))


def draw(panel: Axes, task: str, test_set: str, score: str) -> dict[str, Artist]:
    """One score of a test set with intervals of 95% over its questions; returns entries of the legend."""
    rows = [row for row in published(task) if row.test_set == test_set]
    weak = {row.weak_model: getattr(row, score) for row in rows if row.method == "weak"}
    if weak:
        _against_weak(panel, rows, weak, score)
    else:
        _by_model(panel, rows, score)
    faces = {m: face for m, face in MODELS.items() if any(row.strong_model == m for row in rows)}
    return {
        f"paper: {model}": Line2D([], [], marker="o", linestyle="none", color="0.3", markerfacecolor=face or "0.3")
        for model, face in faces.items()
    }


def _against_weak(panel: Axes, rows: list[Score], weak: dict[str, float], score: str) -> None:
    """A line of marks per strong model and method, over the teachers' own scores; zero shots are level."""
    for row in rows:
        if row.method == "source":
            color = style.look("source").color
            panel.axhline(getattr(row, score), color=color, linestyle=style.DASHED, linewidth=1.0)
            transform = panel.get_yaxis_transform()
            face = MODELS[row.strong_model] or color
            end = {"color": color, "marker": "o", "markerfacecolor": face, "transform": transform, "clip_on": False}
            style.error_bars(panel, np.ones(1), *_interval([row], score), **end)
    for model in MODELS:
        for method in METHODS:
            found = sorted(
                (row for row in rows if (row.strong_model, row.method) == (model, method)),
                key=lambda row: weak[row.weak_model],
            )
            if not found:
                continue
            x = np.array([weak[row.weak_model] for row in found])
            _marks(panel, x, found, score)
            panel.plot(x, [getattr(row, score) for row in found], color=style.look(method).color, lw=0.6, alpha=0.5)
    mean, error, _ = _interval(rows, score)
    reach = np.array([(mean - 2 * error).min(), (mean + 2 * error).max()])
    pad = 0.06 * np.ptp(reach)
    panel.set_ylim(reach[0] - pad, reach[1] + pad)
    panel.set_xlim(min(weak.values()) - pad, max(weak.values()) + pad)
    panel.axline((0, 0), slope=1, **style.THEORY)
    panel.set_xlabel(f"weak {score} score")


def _by_model(panel: Axes, rows: list[Score], score: str) -> None:
    """Marks where no score of the teachers was published: by the teacher's name, or else by the strong model's."""
    by_teacher = any(row.weak_model for row in rows)
    names = list(dict.fromkeys(row.weak_model if by_teacher else row.strong_model for row in rows))
    names = [name for name in names if name]  # the strong model at zero shots has no teacher
    for row in rows:
        if row.method == "source":
            color, height = style.look("source").color, getattr(row, score)
            at = [names.index(row.strong_model)] if not by_teacher else range(len(names))
            panel.hlines([height] * len(at), [i - 0.4 for i in at], [i + 0.4 for i in at], color, style.DASHED, lw=1.0)
            for i in at:  # the bar at the left end of its level
                style.error_bars(panel, np.array([i - 0.4]), *_interval([row], score), color=color)
    used = [method for method in METHODS if any(row.method == method for row in rows)]
    for i, name in enumerate(names):
        for j, method in enumerate(used):
            found = [r for r in rows if r.method == method and name in (r.weak_model, r.strong_model)]
            if found:
                _marks(panel, np.array([i + SPREAD * (2 * j - len(used) + 1)]), found, score)
    panel.set_xticks(range(len(names)), names)
    panel.set_xlim(-0.5, len(names) - 0.5)
    panel.set_xlabel("weak model" if by_teacher else "strong model")


def _marks(panel: Axes, x: np.ndarray, rows: list[Score], score: str) -> None:
    """Marks of one method and strong model, with their intervals."""
    method, model = rows[0].method, rows[0].strong_model
    how = style.look(method)
    face = MODELS[model] or how.color
    style.error_bars(panel, x, *_interval(rows, score), color=how.color, marker=how.marker, markerfacecolor=face)


def _interval(rows: list[Score], score: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, their standard errors, and the number of questions behind each."""
    mean, error = (np.array([getattr(row, name) for row in rows]) for name in (score, f"{score}_sem"))
    return mean, error, np.array([row.num_questions for row in rows])
