"""Oracles that know the concepts: the hull, whose risk hardly grows with their number, and EM, step by step to it."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures import style
from figures.data import Results
from w2s_jax import theory
from w2s_jax.tasks import make_task
from w2s_jax.types import Task

HULL_ACCURACY = {"vertex": 1.0, "interior": 0.5}
"""Weak accuracy of the rotated teacher in each case, as in sims/theory_sweep/studies/hull.py."""
HULL_SHIFT = 0.5
"""Concept shift, as in sims/theory_sweep/studies/hull.py."""
TARGETS = {"mixture": "a mixture of all concepts", "one concept": "one concept"}
"""Targets, as in sims/theory_sweep/studies/em_ladder.py: an even source, a perfect teacher."""
OF_HULL = 1.7
"""The hull takes no steps: its risk stands this far right of the last one."""
FAINT = {"color": "0.55", "linewidth": 0.8, "zorder": 1}


class Limits(NamedTuple):
    """What the distance is measured by, `[num_concepts]`."""

    unit: np.ndarray
    """Noise variance plus misfit."""
    least_weight: np.ndarray
    """The smallest weight of the population solution: how far inside the hull it lies."""


def hull_task(law: str, num_concepts: int, noise_var) -> Task:
    """The task of a cell of the hull study."""
    return make_task(
        num_concepts=num_concepts,
        dim=num_concepts + 1,
        weak_accuracy=HULL_ACCURACY[law],
        concept_shift=HULL_SHIFT,
        noise_var=noise_var,
    )


def em_task(results: Results, target: str) -> Task:
    """The task of a cell of the EM ladder."""
    mixture = jnp.array(results.config["target_prior"])
    num_concepts = len(mixture)
    task = make_task(
        num_concepts=num_concepts,
        dim=num_concepts,
        weak_accuracy=1.0,
        concept_shift=0.0,
        noise_var=results.config["noise_var"],
        weakness="noisy",  # perfect at accuracy 1, as every other is, but needs no dimension of its own
    )
    task = task._replace(source_prior=jnp.full(num_concepts, 1 / num_concepts))
    return task if target == "one concept" else task._replace(target_prior=mixture, weak_prior=mixture)


def hull_statistical_dimension(results: Results) -> Figure:
    """n times the squared distance from the solution of infinitely many labels, over noise: at a vertex, and inside.

    At a vertex that distance is the excess risk. Inside, clear of the border, its mean is that of the excess risk less
    the bias, with far less noise.
    """
    study = results.study("hull").sel(quantity="distance")
    concepts = study["num_concepts"].values
    every = np.unique(np.geomspace(concepts.min(), concepts.max(), 12).round().astype(int))
    dimension = [theory.hull_statistical_dimension(int(k)) for k in every]
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 3.1, 1, 2, sharey=True)
    left, right = axes[0]
    limits = _hull_limits(concepts.tolist(), float(results.config["noise_var"]))
    handles: dict[str, Artist] = {}
    for panel, law in zip((left, right), HULL_ACCURACY):
        panel.set_xscale("log")
        panel.set_yscale("log")
        handles |= _hull_points(panel, study.sel(law=law), limits[law], results.num_replicates)
        panel.set_xlabel("number of concepts K")
        style.mark_values(panel, concepts)
    (handles["theory: statistical dimension"],) = left.plot(every, dimension, **style.THEORY)
    right.plot(every, dimension, **{**style.THEORY, **FAINT})
    right.text(every[-1], dimension[-1] / 1.7, "statistical dimension", ha="right", va="top", fontsize=6, color="0.4")
    (handles["theory: K − 1"],) = right.plot(every, every - 1, linestyle=style.DASHED, **style.THEORY)
    free = "theory: least squares on d = K + 1 features"
    (handles[free],) = left.plot(every, every + 1, linestyle=style.DOTTED, **FAINT)
    style.title(left, 0, "perfect teacher: a vertex of the hull")
    style.title(right, 1, f"rotated teacher, a = {HULL_ACCURACY['interior']:g}: a point inside")
    left.set_ylabel(r"$n\,E\,\|\hat\beta - \beta_Q\|^2\,/\,\sigma^2$")
    right.set_ylabel(r"$n\,E\,\|\hat\beta - \beta_\infty\|^2\,/\,(\sigma^2 + \mathrm{misfit})$")
    right.tick_params(labelleft=True)
    left.set_ylim(0.3, 1.4 * concepts.max())
    style.log_ticks_in_full(left)
    heading = (
        f"d = K + 1, noise variance {results.config['noise_var']:g}, "
        r"$\beta_\infty$: the solution of infinitely many labels; bars: 95% interval"
        "\n"
        "open: the least weight is under its standard error, too near the border for K − 1"
    )
    style.legend_below(figure, style.theory_last(handles), 3, heading)
    return figure


def em_ladder(results: Results) -> Figure:
    """Risk by number of EM steps: from the source by one-example refinement to maximum likelihood."""
    study = results.study("em_ladder")
    shown = [target for target in TARGETS if target in study["target"].values]
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 3.5, 1, len(shown))
    handles: dict[str, Artist] = {}
    for index, (panel, target) in enumerate(zip(axes[0], shown)):
        handles |= _ladder(panel, study.sel(target=target), em_task(results, target), results.num_replicates)
        style.title(panel, index, f"target: {TARGETS[target]}")
        panel.set_xlabel("EM steps T from an even source")
        panel.set_ylabel(style.RISK)
    prior = ", ".join(f"{q:g}" for q in results.config["target_prior"])
    heading = (
        f"mixture: ({prior}); perfect teacher, K = d = {len(results.config['target_prior'])}, "
        f"noise variance {results.config['noise_var']:g}; bars: 95% interval"
    )
    style.legend_below(figure, style.theory_last(handles), 4, heading)
    return figure


def _hull_limits(concepts: list[int], noise_var: float) -> dict[str, Limits]:
    """The closed forms of both cases, in one compilation."""

    def forms(noise_var) -> dict[str, list[tuple]]:
        tasks = {law: [hull_task(law, k, noise_var) for k in concepts] for law in HULL_ACCURACY}
        return {
            law: [(t.weak_noise_var + theory.hull_misfit(t), theory.hull_weights(t).min()) for t in rows]
            for law, rows in tasks.items()
        }

    found = jax.jit(forms)(noise_var)
    return {law: Limits(*np.array(rows, float).T) for law, rows in found.items()}


def _hull_points(axes: Axes, data: xr.Dataset, limits: Limits, count: int) -> dict[str, Artist]:
    sizes, concepts = data["sample_size"].values, data["num_concepts"].values
    handles: dict[str, Artist] = {}
    for i, (size, color) in enumerate(zip(sizes, style.ordered_colors(len(sizes)))):
        row = data.sel(sample_size=size)
        mean = size * row["mean"].values / limits.unit
        sem = size * row["sem"].values / limits.unit
        aside = concepts * 1.04 ** (i - (len(sizes) - 1) / 2)  # side by side, so that none hides another
        near = (limits.least_weight > 0) & (limits.least_weight < np.sqrt(limits.unit / size))
        how = {"color": color, "marker": style.MARKERS[i % len(style.MARKERS)]}
        handles[f"hull, n = {size}"] = style.error_bars(axes, aside[~near], mean[~near], sem[~near], count, **how)
        style.error_bars(axes, aside[near], mean[near], sem[near], count, markerfacecolor="white", **how)
    return handles


def _ladder(axes: Axes, data: xr.Dataset, task: Task, count: int) -> dict[str, Artist]:
    steps, sizes = data["num_steps"].values, data["sample_size"].values
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_yscale("log")
    em, hull = (data.sel(quantity=name) for name in ("em_risk", "hull_risk"))
    least = em["mean"].values.min()
    handles: dict[str, Artist] = {}
    path = np.array([*_population_path(task, least / 3, int(steps.max()))])
    (handles["theory: EM, n infinite"],) = axes.plot(np.arange(len(path)), path, **style.THEORY)
    for i, (size, color) in enumerate(zip(sizes, style.ordered_colors(len(sizes) + 1))):
        how = {"color": color, "marker": style.MARKERS[i % len(style.MARKERS)]}
        mean, sem = (em[part].sel(sample_size=size).values for part in ("mean", "sem"))
        (handles[f"EM, n = {size}"],) = axes.plot(steps, mean, alpha=0.9, **how)
        style.error_bars(axes, steps, mean, sem, count, **how)
        first = float(theory.em_first_step_risk(task, float(size)))
        (handles["theory: exact at T = 1"],) = axes.plot([1], [first], **style.RING)
        level = hull.sel(sample_size=size).isel(num_steps=0)
        aside = [OF_HULL * steps.max()], [level["mean"].item()], [level["sem"].item()]
        star = {"color": color, "marker": "*", "markersize": 5.5}
        handles[f"hull, n = {size} (right)"] = style.error_bars(axes, *aside, count, **star)
        handles |= _levels(axes, task, float(size), steps.max())
    style.limit_y(axes, em["mean"].values, hull["mean"].values, pad=1.6)
    axes.yaxis.set_minor_locator(NullLocator())
    style.mark_values(axes, [t for t in (0, 1, 10, 100, 1000) if t <= steps.max()])
    for where, name, side in ((1, " refinement", "left"), (steps.max(), "oracle ", "right")):
        axes.axvline(where, **FAINT, linestyle=style.DOTTED)
        axes.text(where, 0.97, name, transform=axes.get_xaxis_transform(), ha=side, va="top", fontsize=6.5)
    return handles


def _levels(axes: Axes, task: Task, size: float, end: int) -> dict[str, Artist]:
    """Where the oracles end, as lines at the right."""
    handles: dict[str, Artist] = {}
    for name, height, dashes in (
        ("theory: maximum likelihood", theory.em_limit_risk(task, size), style.DASHED),
        ("theory: hull", theory.hull_risk(task, size), style.DOTTED),
    ):
        if np.isfinite(height):
            (handles[name],) = axes.plot([end / 3, 2.2 * end], [float(height)] * 2, linestyle=dashes, **style.THEORY)
    return handles


def _population_path(task: Task, least: float, longest: int) -> Iterator[float]:
    """Risk of population EM after 0, 1, ... steps, until it is under `least`."""
    prior = task.source_prior
    for _ in range(longest + 1):
        risk = float(jnp.sum(((prior - task.target_prior) @ task.concepts) ** 2))
        yield risk
        if risk < least:
            return
        # one step of `theory.population_em_prior`: refinement by one example, from where the last one led
        prior = theory.one_example_refinement_prior(task._replace(source_prior=prior))
