"""The accuracy plane: where naive fine-tuning gains over its start, and where it also passes its teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from figures import style
from figures.data import Results
from w2s_jax import theory_zoo

SHADES = {"gains nothing": "#F2F2F2", "gains over its start": "#CFE3F2", "passes its teacher too": "#8FBBDD"}
"""Regions of the plane by what the best student does."""
NOTE = "white: cannot occur; dots: cells that are simulated; bars: 95% interval; coloured lines: theory"


def accuracy_plane(results: Results) -> Figure:
    """Above: regions of the plane of teacher and agreement for each start; below: simulated and predicted gains."""
    study = results.study("accuracy_plane")
    starts = study["start_accuracy"].values
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 5.4, 2, len(starts), sharey="row")
    handles: dict[str, Artist] = {name: Patch(color=color) for name, color in SHADES.items()}
    for column, start in enumerate(starts):
        data = study.sel(start_accuracy=start)
        handles |= _regions(axes[0, column], float(start), data)
        handles |= _gains(axes[1, column], data, float(start), results.num_replicates)
        style.title(axes[0, column], column, f"start of accuracy {start:g}")
        style.title(axes[1, column], len(starts) + column, f"start of accuracy {start:g}: gain of the best student")
        axes[0, column].set_xlabel("accuracy of the teacher")
        axes[1, column].set_xlabel("agreement of start and teacher")
    axes[0, 0].set_ylabel("agreement of start and teacher")
    axes[1, 0].set_ylabel("best accuracy less that of the start")
    style.legend_below(figure, style.theory_last(handles), 3, NOTE)
    return figure


def agreement(start: float, teacher: float, place: np.ndarray) -> np.ndarray:
    """The agreement at a place of its range."""
    low, high = (float(end) for end in theory_zoo.agreement_range(start, teacher))
    return low + place * (high - low)


@jax.jit
def _predicted(start, teacher, agreement):
    best = theory_zoo.best_accuracy(start, teacher, agreement).accuracy
    return best - start, best - jnp.maximum(start, teacher)


def _regions(panel: Axes, start: float, data: xr.Dataset) -> dict[str, Artist]:
    """The regions, the agreement of unrelated errors, and the cells that are simulated."""
    x, y = np.meshgrid(np.linspace(0.5, 0.95, 181), np.linspace(0.3, 1, 281))
    gain, beyond = (np.asarray(each) for each in _predicted(start, jnp.asarray(x), jnp.asarray(y)))
    level = np.where(beyond > 1e-4, 2.0, np.where(gain > 1e-4, 1.0, 0.0))
    low, high = (np.asarray(end) for end in theory_zoo.agreement_range(start, jnp.asarray(x)))
    level[(y < low) | (y > high)] = np.nan
    panel.contourf(x, y, level, levels=[-0.5, 0.5, 1.5, 2.5], colors=list(SHADES.values()))
    unrelated = theory_zoo.unrelated_agreement(start, jnp.asarray(x[0]))
    (line,) = panel.plot(x[0], unrelated, **{**style.THEORY, "linestyle": style.DASHED})
    teachers, places = data["teacher_accuracy"].values, data["agreement_place"].values
    dots = [(teacher, agreement(start, float(teacher), place)) for teacher in teachers for place in places]
    panel.plot(*np.array(dots).T, color="black", marker=".", markersize=2.5, linestyle="none")
    panel.set(xlim=(0.5, 0.95), ylim=(0.3, 1))
    return {"theory: unrelated errors": line}


def _gains(panel: Axes, data: xr.Dataset, start: float, count: int) -> dict[str, Artist]:
    """Gain of the best student against agreement, by teacher: points simulated, lines predicted."""
    handles: dict[str, Artist] = {}
    teachers = data["teacher_accuracy"].values
    for teacher, color, marker in zip(teachers, style.ordered_colors(len(teachers)), style.MARKERS):
        cells = data.sel(teacher_accuracy=teacher)
        x = agreement(start, float(teacher), cells["agreement_place"].values)
        mean, sem = (cells[part].sel(quantity="best_accuracy").values for part in ("mean", "sem"))
        points = style.error_bars(panel, x, mean - start, sem, count, color=color, marker=marker)
        every = np.linspace(*agreement(start, float(teacher), np.array([0.005, 0.995])), 100)
        gain, _ = _predicted(start, float(teacher), jnp.asarray(every))
        panel.plot(every, gain, color=color, linewidth=0.8)
        handles[f"teacher {teacher:g}"] = points
    return handles
