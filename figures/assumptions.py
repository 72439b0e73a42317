"""Assumptions of the theory: risk of each method when one is relaxed, and how near the proportional limit is."""

from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures import curves, style
from figures.data import Results
from w2s_jax.tasks import make_task

RELAXED = "rotated teacher, weak accuracy 0.7,\nconcept shift 0.5, prompts of 16,\nn = 256, d = 32, K = 4"
"""The cell that every setting changes a little, as in the study of that name."""
METHODS = ("source", "naive_ft", "icl_refine_shared", "icl_refine_fresh", "hull", "em_prior")
PROPORTIONAL = {"dim": 48, "num_concepts": 4, "weak_accuracy": 0.7, "concept_shift": 0.5}
"""As in sims/theory_sweep/studies/proportional.py."""


class Knob(NamedTuple):
    """One assumption: what its panel says, and where it holds."""

    title: str
    axis: str
    neutral: Any = None
    log: bool = False


KNOBS = {
    "coherence": Knob("concepts at an angle", "inner product of any two concepts", 0.0),
    "spectrum": Knob("uneven features", "decay exponent of feature variances", 0.0),
    "features": Knob("law of the features", "features", "gaussian"),
    "weak_prior_error": Knob("prompts of a wrong concept", "share of such prompts", 0.0),
    "contamination": Knob("foreign examples in a prompt", r"share $\rho$ of such examples", 0.0),
    "target_weight": Knob("a mixture as target", "weight of the first concept", 1.0),
    "assumed_noise_factor": Knob("assumed noise variance", "over the true one", 1.0, True),
    "temperature": Knob("temperature of the posterior", "temperature", 1.0, True),
}


def relaxed_assumptions(results: Results) -> Figure:
    """Risk of every method as one assumption at a time is relaxed."""
    study = results.study("relaxed")
    settings = knobs(study)
    columns = 3
    rows = -(-(len(settings) + 1) // columns)
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 0.3 + 1.9 * rows, rows, columns, sharey=True)
    panels = axes.ravel()
    handles: dict[str, Artist] = {}
    for index, (name, places) in enumerate(settings.items()):
        knob = KNOBS.get(name, Knob(name.replace("_", " "), name))
        panel = panels[index]
        data = study.isel(setting=[place for _, place in places])
        handles |= _knob(panel, data, [value for value, _ in places], knob, results.num_replicates)
        style.title(panel, index, knob.title)
        panel.set_xlabel(knob.axis)
        if index % columns == 0:
            panel.set_ylabel(style.RISK)
    seen = study["mean"].sel(quantity=[q for q in study["quantity"].values if not q.startswith("naive")])
    style.limit_y(panels[0], seen.values, least(study)[0], least=1e-6)
    style.log_ticks_in_full(panels[0])
    for panel in panels[len(settings) :]:
        panel.set_axis_off()
    style.legend_in(panels[len(settings)], handles, title=f"{RELAXED}, noise var. {results.config['noise_var']:g}")
    return figure


def proportional_limit(results: Results) -> Figure:
    """Risk of naive fine-tuning through the peak at d = n, simulated at one d and in the limit of large d and n."""
    study = results.study("proportional").sel(quantity="risk")
    penalties = study["penalty"].values
    dim = PROPORTIONAL["dim"]
    sizes = np.maximum(1, np.round(dim / study["aspect_ratio"].values))
    task = make_task(**PROPORTIONAL, noise_var=results.config["noise_var"])
    dense = np.geomspace(dim / sizes.max() / 1.1, dim / sizes.min() * 1.1, 201)
    tasks = curves.repeat(jax.tree.map(np.asarray, task), len(dense))
    figure, axes = style.new_figure(style.SINGLE_COLUMN, 3.2)
    panel = axes[0, 0]
    panel.set_xscale("log")
    panel.set_yscale("log")
    handles: dict[str, Artist] = {}
    for i, (penalty, color) in enumerate(zip(penalties, style.ordered_colors(len(penalties) + 1))):
        row = study.sel(penalty=penalty)
        held = np.isfinite(row["mean"].values)
        handles[rf"$\eta$ = {penalty:g}"] = style.error_bars(
            panel,
            dim / sizes[held],
            row["mean"].values[held],
            row["sem"].values[held],
            results.num_replicates,
            color=color,
            marker=style.MARKERS[i % len(style.MARKERS)],
        )
        if penalty > 0:
            limit = curves.ridge(tasks, dim / dense, float(penalty))
            (line,) = panel.plot(dense, limit, color=color, linewidth=0.8)
            handles.setdefault("theory: Marchenko–Pastur", line)
        else:
            exact = curves.least_squares(tasks, dim / dense)
            (line,) = panel.plot(
                dense, np.where(np.isfinite(exact), exact, np.nan), color=color, linewidth=0.8, linestyle=style.DASHED
            )
            handles["theory: least squares, exact"] = line
    style.limit_y(panel, study["mean"].values, pad=1.4)
    style.log_ticks_in_full(panel)
    panel.axvline(1, color="0.8", linewidth=0.6, zorder=0)
    panel.text(1, 0.01, " d = n", transform=panel.get_xaxis_transform(), fontsize=6, color="0.45", va="bottom")
    style.mark_values(panel, [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10) if dense[0] <= t <= dense[-1]])
    panel.set_xlabel("features per example, d/n")
    panel.set_ylabel(style.RISK)
    heading = (
        f"rotated teacher, weak accuracy {PROPORTIONAL['weak_accuracy']:g}, "
        f"concept shift {PROPORTIONAL['concept_shift']:g},\nd = {dim}, K = {PROPORTIONAL['num_concepts']}, "
        f"noise variance {results.config['noise_var']:g}; bars: 95% interval"
    )
    style.legend_below(figure, style.theory_last(handles), 2, heading)
    return figure


def knobs(study: xr.Dataset) -> dict[str, list[tuple[Any, int]]]:
    """The values of every knob and their places among the settings, which are called `knob=value`."""
    found: dict[str, list[tuple[Any, int]]] = {}
    for place, label in enumerate(study["setting"].values):
        name, value = str(label).split("=")
        try:
            found.setdefault(name, []).append((float(value), place))
        except ValueError:
            found.setdefault(name, []).append((value, place))
    return found


def least(study: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of naive fine-tuning at the penalty of the lowest mean, in every setting."""
    path = study.sel(quantity=[q for q in study["quantity"].values if q.startswith("naive_ft_")])
    mean, sem = path["mean"].values, path["sem"].values
    best = mean.argmin(axis=-1)[..., None]
    return np.take_along_axis(mean, best, -1)[..., 0], np.take_along_axis(sem, best, -1)[..., 0]


def _knob(axes: Axes, data: xr.Dataset, values: list, knob: Knob, count: int) -> dict[str, Artist]:
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    words = isinstance(values[0], str)
    x = np.arange(len(values), dtype=float) if words else np.array(values)
    if knob.log:
        axes.set_xscale("log")
    handles: dict[str, Artist] = {}
    held = [str(q) for q in data["quantity"].values]
    for i, method in enumerate(METHODS):
        if method == "naive_ft":
            mean, sem = least(data)
        elif method in held:
            mean, sem = (data[part].sel(quantity=method).values for part in ("mean", "sem"))
        else:
            continue
        how = style.look(method)
        if words:
            aside = 0.1 * (i - (len(METHODS) - 1) / 2)
            style.error_bars(axes, x + aside, mean, sem, count, color=how.color, marker=how.marker)
        else:
            handles[how.label] = style.draw_method(axes, x, mean, sem, count, method)
    if knob.neutral in values:
        where = x[values.index(knob.neutral)]
        handles["the assumption holds"] = axes.axvline(where, color="0.85", linewidth=30 if words else 3, zorder=0)
    if words:
        axes.set_xlim(-0.6, len(values) - 0.4)
        axes.set_xticks(x, values)
    else:
        style.mark_values(axes, x)
    return handles
