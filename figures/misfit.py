"""Misfit: a student's gain over its teacher equals its distance from it; and the risk that results."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures import curves, style
from figures.data import Results, make_tasks
from w2s_jax import theory
from w2s_jax.statistics import pgr_interval

NUM_CONCEPTS, DIM, SAMPLE_SIZE, CONCEPT_SHIFT = 4, 16, 1024, 0.5
"""As in sims/theory_sweep/studies/misfit.py."""
STUDENTS = ("span", "hull")
FRONT = ("rotated", "confused", "opposed")
"""Kinds of weak teacher in front; `misfit_grid` has all."""
LEARNERS = ("weak", *STUDENTS, "ceiling")
STRICT = 1e-3
"""Where theory puts the gain that much over the misfit, in squared label units, a point is marked."""


class Limits(NamedTuple):
    """The closed forms of every panel."""

    accuracies: np.ndarray
    weak: np.ndarray
    """Risk of the teacher, `[weakness a]`."""
    gap: np.ndarray
    """The same less the risk of the ceiling at n labels, `[weakness a]`."""
    bias: dict[str, np.ndarray]
    """Risk of a student on infinitely many labels, `[weakness a]`."""
    misfit: dict[str, np.ndarray]
    risk: dict[str, np.ndarray]
    """The same at n labels."""


def misfit(results: Results) -> Figure:
    """Gain against misfit, and the performance gap recovered, for three kinds of weak teacher."""
    return _figure(results, FRONT, (_gain, _gap_recovered))


def misfit_grid(results: Results) -> Figure:
    """The same for every kind of teacher, and sign accuracy."""
    return _figure(results, None, (_gain, _gap_recovered, _sign_accuracy))


def _figure(results: Results, wanted: tuple[str, ...] | None, rows: tuple[Callable, ...]) -> Figure:
    """A column for each kind of weak teacher, all of the store where none are wanted, and a row for each quantity."""
    study = results.study("misfit")
    held = [str(w) for w in study["weakness"].values]
    weaknesses = [w for w in wanted or held if w in held] or held
    accuracies, count = study["weak_accuracy"].values, results.num_replicates
    limits = _limits(weaknesses, np.linspace(accuracies.min(), accuracies.max(), 71), results.config["noise_var"])
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 0.9 + 1.45 * len(rows), len(rows), len(weaknesses))
    handles: dict[str, Artist] = {}
    for column, weakness in enumerate(weaknesses):
        data = study.sel(weakness=weakness)
        for row, draw in enumerate(rows):
            panel = axes[row, column]
            handles |= draw(panel, data, limits, column, count)
            style.title(panel, row * len(weaknesses) + column, weakness)
            panel.set_xlabel("weak accuracy a" if row else "misfit (squared label units)" if wanted else "misfit")
            if row > 0:
                panel.set_xlim(accuracies.min() - 0.06, accuracies.max() + 0.06)
                panel.xaxis.set_major_locator(MaxNLocator(4))
    for panels in axes[1:]:
        low, high = (f(ends) for f, ends in zip((min, max), zip(*(panel.get_ylim() for panel in panels))))
        for panel in panels:
            panel.set_ylim(low, high)
            panel.tick_params(labelleft=panel is panels[0])
    names = ("gain over the teacher\n(squared label units)", "performance gap\nrecovered", "sign accuracy")
    for panel, name in zip(axes[:, 0], names):
        panel.set_ylabel(name)
    heading = (
        f"n = {SAMPLE_SIZE}, d = {DIM}, K = {NUM_CONCEPTS}, concept shift {CONCEPT_SHIFT:g}, "
        f"noise variance {results.config['noise_var']:g}; bars: 95% interval, paired"
    )
    style.legend_below(figure, style.theory_last(handles), 3, heading)
    return figure


def gain(data: xr.Dataset, student: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean misfit and gain of a student, and the standard error of gain less misfit, from the same replicates."""
    names = ["weak_risk", f"{student}_risk", f"{student}_misfit"]
    weak, risk, departs = np.moveaxis(data["mean"].sel(quantity=names).values, -1, 0)
    cov = data["cov"].sel(quantity=names, quantity_2=names).values
    contrast = np.array([1.0, -1.0, -1.0])
    variance = np.einsum("i,...ij,j->...", contrast, cov, contrast) / count
    return departs, weak - risk, np.sqrt(np.maximum(variance, 0.0))


def _gain(axes: Axes, data: xr.Dataset, limits: Limits, column: int, count: int) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    ends = [0.0]
    for student in STUDENTS:
        how = style.look(student)
        misfits, gained, excess = gain(data, student, count)
        look = {"color": how.color, "marker": how.marker, "markersize": 3.4}
        handles[how.label] = style.error_bars(axes, misfits, gained, excess, count, zorder=3, **look)
        departs, gains = limits.misfit[student][column], (limits.weak - limits.bias[student])[column]
        (handles["theory: n infinite"],) = axes.plot(departs, gains, **style.THEORY)
        strict = np.interp(data["weak_accuracy"].values, limits.accuracies, gains - departs) > STRICT
        if strict.any():
            (handles["gain > misfit"],) = axes.plot(misfits[strict], gained[strict], **style.RING)
        ends += [*misfits, *gained]
    if (limits.weak[column] <= 0).all():
        axes.text(0.04, 0.97, "no bias to lose:\nnoise alone", transform=axes.transAxes, va="top", fontsize=6)
    low, high = min(ends), max(ends)
    line = [low - 0.1 * (high - low), high + 0.1 * (high - low)]
    (handles["gain = misfit"],) = axes.plot(line, line, color="0.6", linestyle=style.DASHED, linewidth=0.8, zorder=1)
    axes.set_xlim(line)
    axes.set_ylim(line)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return handles


def _gap_recovered(axes: Axes, data: xr.Dataset, limits: Limits, column: int, count: int) -> dict[str, Artist]:
    if (limits.weak[column] <= 0).all():
        note = "no gap:\nthe teacher's\nrisk is 0"
        axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", va="center", fontsize=6)
        axes.set_ylim(0.5, 0.5 + 1e-9)  # asks for no room
        return {}
    handles: dict[str, Artist] = {}
    for student in STUDENTS:
        how = style.look(student)
        names = ["weak_risk", f"{student}_risk", "ceiling_risk"]
        mean, cov = data["mean"].sel(quantity=names).values, data["cov"].sel(quantity=names, quantity_2=names).values
        recovered, low, high = pgr_interval(mean, cov, count)
        known = np.isfinite(low) & np.isfinite(high)
        reach = np.stack([recovered - low, high - recovered])[:, known]
        look = {"linestyle": "none", "elinewidth": 0.7, "color": how.color, "marker": how.marker, "markersize": 3.4}
        axes.errorbar(data["weak_accuracy"].values[known], recovered[known], reach, **look)
        predicted = (limits.weak - limits.risk[student])[column] / limits.gap[column]
        (line,) = axes.plot(limits.accuracies, predicted, linestyle=style.DOTTED, **style.THEORY)
        handles[f"theory: n = {SAMPLE_SIZE}"] = line
    return handles


def _sign_accuracy(axes: Axes, data: xr.Dataset, _limits: Limits, _column: int, count: int) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    accuracies = data["weak_accuracy"].values
    for name in LEARNERS:
        how = style.look(name)
        row = data.sel(quantity=f"{name}_sign_accuracy")
        mean, sem = row["mean"].values, row["sem"].values
        look = {"color": how.color, "linestyle": how.line, "linewidth": 1.0}
        (line,) = axes.plot(accuracies, mean, marker=how.marker, markersize=2.6, **look)
        style.error_bars(axes, accuracies, mean, sem, count, color=how.color)
        if name not in STUDENTS:
            handles[how.label] = line
    return handles


def _limits(weaknesses: list[str], accuracies: np.ndarray, noise_var: float) -> Limits:
    law = {"num_concepts": NUM_CONCEPTS, "dim": DIM, "noise_var": float(noise_var)}
    tasks = make_tasks(weaknesses, accuracies, CONCEPT_SHIFT, **law)
    weak = curves.evaluate(theory.weak_bias, tasks)
    return Limits(
        accuracies,
        weak,
        weak - curves.least_squares(curves.perfect(tasks), float(SAMPLE_SIZE)),
        {"span": curves.evaluate(theory.span_bias, tasks), "hull": curves.evaluate(theory.hull_bias, tasks)},
        {"span": curves.evaluate(theory.span_misfit, tasks), "hull": curves.evaluate(theory.hull_misfit, tasks)},
        {
            "span": curves.evaluate(theory.span_risk, tasks, float(SAMPLE_SIZE)),
            "hull": curves.evaluate(theory.hull_risk, tasks, float(SAMPLE_SIZE)),
        },
    )
