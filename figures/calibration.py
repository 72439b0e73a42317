"""Observed over predicted accuracy of fine-tuned students, as `python -m sims.compare --figure` draws it."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

RULES = {
    "trained to the end": ("#D55E00", "s", "trained to the end: its teacher"),
    "on the path": ("#0072B2", "o", "on the path from start to teacher"),
    "mixed labels": ("#009E73", "D", "weak labels with some true ones"),
}
"""Colour, marker and entry of the legend of each rule of prediction."""


def calibration(points: dict[str, np.ndarray], rmse: float, teacher_rmse: float) -> Figure:
    """One panel: every student with the interval that sampling of test inputs leaves, and the diagonal.

    `points` holds predicted and observed accuracy and the standard error of each rule, `[3 rows]`; NaN for no error.
    """
    figure, axes = style.new_figure(style.SINGLE_COLUMN, 3.2)
    handles = draw(axes[0, 0], points)
    error = f"root mean square error {rmse:.3f}; {teacher_rmse:.3f} if each were its teacher"
    style.legend_below(figure, handles, 1, error)
    return figure


def draw(panel: Axes, points: dict[str, np.ndarray]) -> dict[str, Artist]:
    """Points, bars and diagonal; returns entries of the legend."""
    handles: dict[str, Artist] = {}
    for rule, (predicted, observed, error) in points.items():
        color, marker, label = RULES[rule]
        look = {"color": color, "marker": marker, "markersize": 2.6, "alpha": 0.6, "linestyle": "none"}
        handles[label] = panel.errorbar(predicted, observed, 1.96 * np.nan_to_num(error), elinewidth=0.4, **look)
    values = np.concatenate([each[:2].ravel() for each in points.values()] or [np.array([0.5, 1.0])])
    ends = np.array([values.min() - 0.02, values.max() + 0.02])
    panel.plot(ends, ends, **style.THEORY)
    panel.set(xlabel="predicted accuracy", ylabel="observed accuracy", xlim=ends, ylim=ends)
    return handles
