"""The concept posterior of a weak prompt: how fast it finds the target, and where it first grows too sure of a rival."""

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import curves, style
from figures.data import Results
from w2s_jax import theory
from w2s_jax.theory.posterior import Prompts
from w2s_jax.types import Task

ACCURACY_OF_EXPONENT = 0.8
ACCURACY_OF_OVERCONFIDENCE = 0.7
GOOD_SOURCE = 0.1
"""Concept shift of a source that is nearly right: a prompt that it trusts too much can only harm it."""
RARE = 20
"""A mean that fewer than about so many of the simulated prompts make up is not drawn."""
FITTED = (3.0, 8.0)
"""The slope is read where kappa times the prompt length lies in this range."""
MARKERS = "osD^v"
POWER: dict[Prompts, float] = {"shared": 0.5, "fresh": 1.0}
"""m^power times the misalignment is exponential in the prompt length m, in the limit."""
RATE: dict[Prompts, int] = {"shared": 1, "fresh": 2}
"""Its exponent, in units of kappa."""


def refinement_exponent(results: Results) -> Figure:
    """Two concepts: simulation, the exact integral, and the straight line whose slope is the exponent of 3.6."""
    return _exponent(results, int(results.data["num_concepts"].min()))


def refinement_exponent_many_concepts(results: Results) -> Figure:
    """The same for the largest number of concepts, where the line alone is known in closed form."""
    results.require_many("num_concepts")
    return _exponent(results, int(results.data["num_concepts"].max()))


def overconfidence(results: Results) -> Figure:
    """Misalignment of a shared prompt under a good source, by the noise variance that the posterior assumes."""
    results.require(assumed_noise=("task", "balanced"))
    cut = results.nearest(weak_accuracy=ACCURACY_OF_OVERCONFIDENCE, concept_shift=GOOD_SOURCE)
    counts = [int(k) for k in results.data["num_concepts"].values]
    figure, axes = _panels(len(counts), results.weaknesses)
    handles: dict[str, Artist] = {}
    for row, num_concepts in enumerate(counts):
        data = results.at(num_concepts=num_concepts, **cut)
        for column, weakness in enumerate(results.weaknesses):
            handles |= _rise_and_fall(axes[row, column], results, data.sel(weakness=weakness))
        axes[row, 0].set_ylabel(f"K = {num_concepts}\n" + r"misalignment $E\,\|w - e_*\|^2$")
        worst = data["shared_misalignment_mean"]
        axes[row, 0].set_ylim(worst.sel(num_icl=worst["num_icl"].min()).min().item() / 20, worst.max().item() * 1.6)
    figure.supxlabel("examples in the prompt", fontsize=7)
    heading = (
        f"weak accuracy {cut['weak_accuracy']:g}, concept shift {cut['concept_shift']:g}, "
        f"noise variance {results.config['noise_var']:g}"
    )
    style.legend_below(figure, handles, 2, heading)
    return figure


def _exponent(results: Results, num_concepts: int) -> Figure:
    results.require(assumed_noise=("task",))
    accuracy = results.nearest(weak_accuracy=ACCURACY_OF_EXPONENT)["weak_accuracy"]
    figure, axes = _panels(len(POWER), results.weaknesses)
    data = results.at(num_concepts=num_concepts, weak_accuracy=accuracy, assumed_noise="task")
    data = data.sel(num_icl=data["num_icl"] > 0)
    handles: dict[str, Artist] = {}
    for row, prompts in enumerate(POWER):
        for column, weakness in enumerate(results.weaknesses):
            handles |= _decay(axes[row, column], results, data.sel(weakness=weakness), prompts)
        least = RARE / data["num_prompts"].max().item()
        axes[row, 0].set_ylim(least ** RATE[prompts] / 2, 5)
    axes[0, 0].set_ylabel("shared prompt\n" + r"$\sqrt{m}\;E\,\|w - e_*\|^2$")
    axes[1, 0].set_ylabel("fresh prompts\n" + r"$m\;\|E\,w - e_*\|^2$")
    figure.supxlabel("examples in the prompt, m", fontsize=7)
    heading = f"K = {num_concepts}, weak accuracy {accuracy:g}, noise variance {results.config['noise_var']:g}"
    style.legend_below(figure, handles, 5 if len(results.weaknesses) > 2 else 2, heading)
    return figure


def _panels(rows: int, weaknesses: list[str]) -> tuple[Figure, np.ndarray]:
    columns = len(weaknesses)
    width = style.DOUBLE_COLUMN if columns > 2 else style.SINGLE_COLUMN
    figure, axes = style.new_figure(width, 1.0 + 1.5 * rows, rows, columns, sharex=True, sharey="row")
    for index, panel in enumerate(axes.ravel()):
        panel.set_yscale("log")
        style.title(panel, index, weaknesses[index % columns])
    return figure, axes


def _decay(axes: Axes, results: Results, data: xr.Dataset, prompts: Prompts) -> dict[str, Artist]:
    lengths, shifts = data["num_icl"].values.astype(float), data["concept_shift"].values
    every = np.arange(1.0, lengths.max() + 1)
    tasks = _tasks(results, data, np.repeat(shifts[:, None], len(every), axis=1))
    own = curves.assumed_noise_var(tasks, "task")
    integral = every ** POWER[prompts] * curves.misalignment(tasks, every, prompts, own)[0]
    straight = every ** POWER[prompts] * curves.misalignment_asymptotic(tasks, every, prompts, own)[0]
    kappa = curves.evaluate(theory.posterior_exponent, tasks)[0, 0, 0].item()
    handles: dict[str, Artist] = {}
    lines: dict[str, Artist] = {}
    slopes = []
    for i, (shift, color) in enumerate(zip(shifts, style.ordered_colors(len(shifts)))):
        row = data.sel(concept_shift=shift)
        grown = lengths ** POWER[prompts]
        mean, sem = (row[f"{prompts}_misalignment_{part}"].values for part in ("mean", "sem"))
        count = row["num_prompts"].values
        known = count * np.maximum(mean, 0.0) ** (1 / RATE[prompts]) >= RARE
        x, y, bar = lengths[known], (grown * mean)[known], (grown * sem)[known]
        marker = MARKERS[i % len(MARKERS)]
        handles[f"concept shift {shift:g}"] = style.error_bars(
            axes, x, y, bar, count[known], color=color, marker=marker, markersize=2.6
        )
        slopes.append(_slope(x, y, bar, kappa) / RATE[prompts])
        if data["num_concepts"].item() == 2:
            (lines["theory: exact integral"],) = axes.plot(every, integral[i], **style.THEORY)
        (line,) = axes.plot(every, straight[i], **{**style.THEORY, "linestyle": style.DASHED, "color": color, "zorder": 1})
        lines.setdefault(r"theory: slope $-\kappa$ (shared), $-2\kappa$ (fresh)", line)
    note = rf"$\kappa$ = {kappa:.3f}"
    if np.isfinite(slopes).all():
        note += f"\nfit {min(slopes):.3f}–{max(slopes):.3f}"
    axes.text(0.96, 0.97, note, transform=axes.transAxes, ha="right", va="top", fontsize=6)
    return handles | lines


def _slope(x: np.ndarray, y: np.ndarray, sem: np.ndarray, kappa: float) -> float:
    """Weighted least-squares slope of -log y where kappa x is in the fitted range; NaN where fewer than three points are."""
    inside = (kappa * x >= FITTED[0]) & (kappa * x <= FITTED[1])
    if inside.sum() < 3:
        return np.nan
    return -np.polyfit(x[inside], np.log(y[inside]), 1, w=(y / sem)[inside])[0]


def _rise_and_fall(axes: Axes, results: Results, data: xr.Dataset) -> dict[str, Artist]:
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    lengths = data["num_icl"].values.astype(float)
    every = np.arange(0.0, lengths.max() + 1)
    tasks = _tasks(results, data, np.full(every.shape, data["concept_shift"].item()))
    fails = curves.evaluate(theory.posterior_exponent, tasks).max() <= 0
    looks = {
        "task": ("assuming the task's own noise variance", style.look("icl_refine_shared").color, "o"),
        "balanced": (r"assuming the balanced one ($t^* = 1/2$)", "#00395C", "s"),
    }
    handles: dict[str, Artist] = {}
    for name, (label, color, marker) in looks.items():
        row = data.sel(assumed_noise=name)
        mean, sem = row["shared_misalignment_mean"].values, row["shared_misalignment_sem"].values
        if fails and name == "balanced":
            axes.text(0.95, 0.05, "refinement fails:\nnothing to balance", transform=axes.transAxes, ha="right", fontsize=6)
            continue
        (handles[label],) = axes.plot(lengths, mean, color=color, marker=marker, markersize=2.6)
        style.band(axes, lengths, mean, sem, row["num_prompts"].values, color)
        noise = curves.assumed_noise_var(tasks, name)
        if data["num_concepts"].item() == 2:
            values = curves.misalignment(tasks, every, "shared", noise)[0]
            (handles["theory: exact integral (K = 2)"],) = axes.plot(every, values, **style.THEORY)
        else:
            values = curves.misalignment_asymptotic(tasks, every, "shared", noise)[0]
            long = every >= 8
            (line,) = axes.plot(every[long], values[long], **{**style.THEORY, "linestyle": style.DASHED})
            handles["theory: limit of long prompts (K > 2)"] = line
    ticks = [t for t in (0, 1, 4, 16, 64, 256) if t <= lengths.max()]
    style.mark_values(axes, ticks)
    return handles


def _tasks(results: Results, data: xr.Dataset, shifts: np.ndarray) -> Task:
    return results.tasks(
        [data["weakness"].item()], data["weak_accuracy"].item(), shifts, num_concepts=data["num_concepts"].item()
    )
