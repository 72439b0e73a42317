"""The concept posterior of a weak prompt: how fast it finds the target, and where it first grows overconfident."""

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures import curves, style
from figures.data import Results
from figures.rare import carried, hollow, note
from w2s_jax import theory
from w2s_jax.theory.posterior import Prompts

ACCURACY_OF_EXPONENT = 0.8
ACCURACY_OF_OVERCONFIDENCE = 0.7
GOOD_SOURCE = 0.1
"""Concept shift of a source that is nearly right: a prompt that it trusts too much can only harm it."""
RARE = 20
"""A mean that rests on fewer than about this number of simulated prompts is not fitted."""
FITTED = (3.0, 8.0)
"""The slope is read where kappa times the prompt length lies in this range."""
NOISES = {
    "task": ("assuming the task's own noise variance", style.look("icl_refine_shared").color, "o"),
    "balanced": (r"assuming the balanced one ($t^* = 1/2$)", "#00395C", "s"),
}
FAILS = "refinement fails:\nnothing to balance"
MARKERS = "osD^v"
POWER: dict[Prompts, float] = {"shared": 0.5, "fresh": 1.0}
"""m^power times the misalignment is exponential in the prompt length m, in the limit."""
RATE: dict[Prompts, int] = {"shared": 1, "fresh": 2}
"""Its exponent, in units of kappa."""


def refinement_exponent(results: Results) -> Figure:
    """Simulated misalignment, the exact integral where there are two concepts, and the line with the slope of 3.6."""
    return _exponent(results, int(results.data["num_concepts"].min()))


def refinement_exponent_many_concepts(results: Results) -> Figure:
    """The same for the most concepts: with more than two, the line alone is known in closed form."""
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
        every = np.arange(0.0, data["num_icl"].max().item() + 1)
        tasks = results.tasks(cut["weak_accuracy"], np.full(every.shape, cut["concept_shift"]), num_concepts)
        fails = curves.evaluate(theory.posterior_exponent, tasks)[:, 0] <= 0
        for name in ("task", "balanced"):
            noise = curves.assumed_noise_var(tasks, name)
            closed_form = curves.misalignment if num_concepts == 2 else curves.misalignment_asymptotic
            # the limit of long prompts says nothing about short ones
            known = every >= (0 if num_concepts == 2 else 8)
            predicted = np.where(known, closed_form(tasks, np.maximum(every, 1e-6), "shared", noise), np.nan)
            for column, weakness in enumerate(results.weaknesses):
                panel = axes[row, column]
                if fails[column] and name == "balanced":
                    panel.text(0.95, 0.05, FAILS, transform=panel.transAxes, ha="right", fontsize=6)
                    continue
                simulated = data.sel(weakness=weakness, assumed_noise=name)
                handles |= _rise_and_fall(panel, simulated, every, predicted[column])
        axes[row, 0].set_ylabel(f"K = {num_concepts}\n" + r"misalignment $E\,\|w - e_*\|^2$")
        mean = data["shared_misalignment_mean"]
        axes[row, 0].set_ylim(mean.sel(num_icl=mean["num_icl"].min()).min().item() / 20, mean.max().item() * 1.6)
    heading = (
        f"weak accuracy {cut['weak_accuracy']:g}, concept shift {cut['concept_shift']:g}, "
        f"noise variance {results.config['noise_var']:g}\nbands: 95% interval"
    )
    heading += note(axes, "prompts")
    style.legend_below(figure, handles, 2 if len(results.weaknesses) > 2 else 1, heading)
    return figure


def _exponent(results: Results, num_concepts: int) -> Figure:
    results.require(assumed_noise=("task",))
    accuracy = results.nearest(weak_accuracy=ACCURACY_OF_EXPONENT)["weak_accuracy"]
    figure, axes = _panels(len(POWER), results.weaknesses)
    data = results.at(num_concepts=num_concepts, weak_accuracy=accuracy, assumed_noise="task")
    data = data.sel(num_icl=data["num_icl"] > 0)
    every = np.arange(1.0, data["num_icl"].max().item() + 1)
    shifts = np.repeat(data["concept_shift"].values[:, None], len(every), axis=1)
    tasks = results.tasks(accuracy, shifts, num_concepts)
    rates = curves.evaluate(theory.posterior_exponent, tasks)[:, 0, 0]
    handles: dict[str, Artist] = {}
    for row, prompts in enumerate(POWER):
        grown = every ** POWER[prompts]
        straight = grown * curves.misalignment_asymptotic(tasks, every, prompts, tasks.noise_var)
        exact = grown * curves.misalignment(tasks, every, prompts, tasks.noise_var) if num_concepts == 2 else None
        for column, weakness in enumerate(results.weaknesses):
            panel, rate = axes[row, column], rates[column]
            handles |= _simulated(panel, data.sel(weakness=weakness), prompts, rate)
            handles |= _decay(panel, every, straight[column], None if exact is None else exact[column])
        least = RARE / data["num_prompts"].max().item()
        axes[row, 0].set_ylim(least ** RATE[prompts] / 2, 5)
    axes[0, 0].set_ylabel("shared prompt\n" + r"$\sqrt{m}\;E\,\|w - e_*\|^2$")
    axes[1, 0].set_ylabel("fresh prompts\n" + r"$m\;\|E\,w - e_*\|^2$")
    heading = f"K = {num_concepts}, weak accuracy {accuracy:g}, noise variance {results.config['noise_var']:g}"
    heading += "; bars: 95% interval"
    if any("fit" in text.get_text() for panel in axes.ravel() for text in panel.texts):
        heading += f"\nfit: slopes over the concept shifts, where $\\kappa m$ is {FITTED[0]:g} to {FITTED[1]:g}"
    heading += note(axes, "prompts")
    style.legend_below(figure, handles, 3 if len(results.weaknesses) > 2 else 2, heading)
    return figure


def _panels(rows: int, weaknesses: list[str]) -> tuple[Figure, np.ndarray]:
    columns = len(weaknesses)
    width = style.DOUBLE_COLUMN if columns > 2 else style.SINGLE_COLUMN
    figure, axes = style.new_figure(width, 1.0 + 1.5 * rows, rows, columns, sharex=True, sharey="row")
    for index, panel in enumerate(axes.ravel()):
        panel.set_yscale("log")
        panel.yaxis.set_minor_locator(NullLocator())
        style.title(panel, index, weaknesses[index % columns])
        if index >= (rows - 1) * columns:
            panel.set_xlabel("prompt length m")
    return figure, axes


def _simulated(axes: Axes, data: xr.Dataset, prompts: Prompts, kappa: float) -> dict[str, Artist]:
    lengths, shifts = data["num_icl"].values.astype(float), data["concept_shift"].values
    grown = lengths ** POWER[prompts]
    handles: dict[str, Artist] = {}
    slopes = []
    for i, (shift, color) in enumerate(zip(shifts, style.ordered_colors(len(shifts)))):
        row = data.sel(concept_shift=shift)
        mean, sem = (row[f"{prompts}_misalignment_{part}"].values for part in ("mean", "sem"))
        count, held = row["num_prompts"].values, carried(row, f"{prompts}_misalignment")
        known = (count * np.maximum(mean, 0.0) ** (1 / RATE[prompts]) >= RARE) & ~held.few
        x, y, bar = lengths[known], (grown * mean)[known], (grown * sem)[known]
        marker = MARKERS[i % len(MARKERS)]
        handles[f"concept shift {shift:g}"] = style.error_bars(
            axes, x, y, bar, count[known], color=color, marker=marker, markersize=2.6
        )
        hollow(axes, lengths, grown * mean, held._replace(high=grown * held.high), color, marker)
        slopes.append(_slope(x, y, bar, kappa) / RATE[prompts])
    note = rf"$\kappa$ = {kappa:.3f}"
    if np.isfinite(slopes).all():
        note += f"\nfit {min(slopes):.3f}–{max(slopes):.3f}"
    axes.text(0.96, 0.97, note, transform=axes.transAxes, ha="right", va="top", fontsize=6)
    return handles


def _decay(axes: Axes, lengths: np.ndarray, straight: np.ndarray, exact: np.ndarray | None) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    for i, color in enumerate(style.ordered_colors(len(straight))):
        if exact is not None:
            (handles["theory: exact integral"],) = axes.plot(lengths, exact[i], **style.THEORY)
        dashes = {**style.THEORY, "linestyle": style.DASHED, "color": color, "zorder": 1}
        (line,) = axes.plot(lengths, straight[i], **dashes)
        handles.setdefault(r"theory: slope $-\kappa$ (shared), $-2\kappa$ (fresh)", line)
    return handles


def _slope(x: np.ndarray, y: np.ndarray, sem: np.ndarray, kappa: float) -> float:
    """Weighted least-squares slope of -log y over the fitted range of kappa x; NaN if it holds under three points."""
    inside = (kappa * x >= FITTED[0]) & (kappa * x <= FITTED[1])
    if inside.sum() < 3:
        return np.nan
    return -np.polyfit(x[inside], np.log(y[inside]), 1, w=(y / sem)[inside])[0]


def _rise_and_fall(axes: Axes, data: xr.Dataset, every: np.ndarray, predicted: np.ndarray) -> dict[str, Artist]:
    label, color, marker = NOISES[data["assumed_noise"].item()]
    lengths = data["num_icl"].values.astype(float)
    mean, sem = data["shared_misalignment_mean"].values, data["shared_misalignment_sem"].values
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    handles: dict[str, Artist] = {}
    (handles[label],) = axes.plot(lengths, mean, color=color, marker=marker, markersize=2.6)
    held = carried(data, "shared_misalignment")
    style.band(axes, lengths, mean, np.where(held.few, np.nan, sem), data["num_prompts"].values, color)
    hollow(axes, lengths, mean, held, color, marker)
    two = data["num_concepts"].item() == 2
    theory_label = "theory: exact integral (K = 2)" if two else "theory: limit of long prompts (K > 2)"
    dashes = "-" if two else style.DASHED
    (handles[theory_label],) = axes.plot(every, predicted, linestyle=dashes, **style.THEORY)
    style.mark_values(axes, [t for t in (0, 1, 4, 16, 64, 256) if t <= lengths.max()])
    return handles
