"""Prompts whose examples come from several concepts: mixture targets, and contamination."""

from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from figures import curves, style
from figures.data import Results
from w2s_jax import theory
from w2s_jax.tasks import make_task
from w2s_jax.theory.posterior import Prompts
from w2s_jax.types import Task

TARGET_SHIFT = 0.5
"""Concept shift of the mixture targets (two concepts, so an even source), as in the study `mixture_target`."""
FOREIGN = {"weak_accuracy": 0.8, "concept_shift": 0.5}
"""The contaminated task, a rotated teacher, as in sims/theory_sweep/studies/contamination.py."""
PROMPTS_AT_ONCE = 100
"""Prompts that a replicate averages, as in sims/theory_sweep/studies/prompts.py."""
RARE = 20
"""A mean that rests on fewer than about this number of simulated prompts is not drawn."""
DIP = 1e-5
"""Misalignment of fresh prompts passes 0 on the way to a mixture; the axis ends here."""
PROMPTS: dict[Prompts, str] = {"shared": "one shared prompt", "fresh": "fresh prompts"}
RATE: dict[Prompts, int] = {"shared": 1, "fresh": 2}
"""Exponent of the misalignment, in units of kappa."""
MISALIGNMENT: dict[Prompts, str] = {
    "shared": r"misalignment $E\,\|w - q\|^2$",
    "fresh": r"misalignment $\|E\,w - q\|^2$",
}


class Estimate(NamedTuple):
    """A simulated misalignment, `[*b]`."""

    mean: np.ndarray
    sem: np.ndarray


def target_tasks(results: Results, target_weight: np.ndarray) -> Task:
    """Tasks of the mixture targets, `[target_weight]`: a perfect teacher, two concepts."""
    law = {"num_concepts": 2, "dim": 3, "weak_accuracy": 1.0, "concept_shift": TARGET_SHIFT}
    prior = np.stack([target_weight, 1 - target_weight], axis=-1)
    return curves.with_priors(make_task(**law, noise_var=results.config["noise_var"]), prior, prior)


def foreign_tasks(results: Results, num_concepts: int, contamination: np.ndarray) -> Task:
    """Contaminated tasks, `[contamination]`: an example is foreign with this probability."""
    noise_var = results.config["noise_var"]
    task = make_task(num_concepts=num_concepts, dim=num_concepts + 1, noise_var=noise_var, **FOREIGN)
    own = np.asarray(task.weak_prior)
    share = contamination[:, None]
    return curves.with_priors(task, (1 - share) * own + share * (1 - own) / (num_concepts - 1))


def simulated(data: xr.Dataset, target_prior: np.ndarray, prompts: Prompts, count: int) -> Estimate:
    """Misalignment from the weights of a study: the mean square, or the square of the mean less its bias.

    The squared norm of a mean x of covariance C overshoots by tr C, and has the variance 4 g'C g + 2 tr C^2 with
    g = E x; estimated with x in place of g that is 4 tr C^2 too large, and it is never under 2 tr C^2.
    """
    if prompts == "shared":
        held = data.sel(quantity="shared_misalignment")
        return Estimate(held["mean"].values, held["sem"].values)
    names = [f"weight_{k}" for k in range(len(target_prior))]
    gap = data["mean"].sel(quantity=names).values - target_prior
    cov = data["cov"].sel(quantity=names, quantity_2=names).values / count
    least = 2 * np.einsum("...kl,...kl->...", cov, cov)
    variance = np.maximum(4 * np.einsum("...k,...kl,...l->...", gap, cov, gap) - least, least)
    return Estimate(np.square(gap).sum(-1) - np.trace(cov, axis1=-2, axis2=-1), np.sqrt(variance))


def mixture_target(results: Results) -> Figure:
    """Misalignment by prompt length where the target is a mixture of two concepts."""
    study = results.study("mixture_target")
    weights = study["target_weight"].values
    every = _lengths(study)
    tasks = target_tasks(results, weights)
    limits = curves.evaluate(theory.winner_takes_all_misalignment, tasks)
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 3.2, 1, 2)
    handles: dict[str, Artist] = {}
    for index, (panel, prompts) in enumerate(zip(axes[0], PROMPTS)):
        exact = curves.mixed_misalignment(curves.repeat(tasks, len(every)), every, prompts)
        for i, (weight, color) in enumerate(zip(weights, style.ordered_colors(len(weights) + 1))):
            target = np.array([weight, 1 - weight])
            data = study.sel(target_weight=weight)
            found = simulated(data, target, prompts, results.num_replicates)
            bars = _points(panel, data, found, results, color, i)
            handles[f"target ({target[0]:g}, {target[1]:g})"] = bars
            panel.plot(every, exact[i], color=color, linewidth=0.8)
            panel.axhline(limits[i], color=color, linestyle=style.DASHED, linewidth=0.8, zorder=1)
        _finish(panel, study, prompts)
        style.title(panel, index, PROMPTS[prompts])
    handles["theory: exact"] = Line2D([], [], color="black", linewidth=0.8)
    handles["theory: winner takes all"] = Line2D([], [], color="black", linestyle=style.DASHED, linewidth=0.8)
    shared = study["mean"].sel(quantity="shared_misalignment").values
    style.limit_y(axes[0, 0], shared, limits, pad=1.5)
    style.log_ticks_in_full(axes[0, 0])
    axes[0, 1].set_ylim(DIP, shared.max() * 1.5)
    heading = f"K = 2, even source, perfect teacher, noise variance {results.config['noise_var']:g}; bars: 95% interval"
    style.legend_below(figure, style.theory_last(handles), 3, heading)
    return figure


def contamination(results: Results) -> Figure:
    """Misalignment by prompt length and share of foreign examples, and the exponent with its threshold."""
    study = results.study("contamination")
    counts, shares = study["num_concepts"].values, study["contamination"].values
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 0.9 + 2.1 * len(counts), len(counts), 3)
    handles: dict[str, Artist] = {}
    for row, num_concepts in enumerate(int(k) for k in counts):
        tasks = foreign_tasks(results, num_concepts, shares)
        data = study.sel(num_concepts=num_concepts)
        for column, prompts in enumerate(PROMPTS):
            handles |= _contaminated(axes[row, column], data, tasks, prompts, results)
            style.title(axes[row, column], 3 * row + column, f"K = {num_concepts}, {PROMPTS[prompts]}")
        handles |= _exponent(axes[row, 2], results, num_concepts, shares)
        style.title(axes[row, 2], 3 * row + 2, f"K = {num_concepts}, exponent")
    heading = (
        f"rotated teacher, weak accuracy {FOREIGN['weak_accuracy']:g}, concept shift {FOREIGN['concept_shift']:g}, "
        f"noise variance {results.config['noise_var']:g}; bars: 95% interval"
    )
    style.legend_below(figure, style.theory_last(handles), 4, heading)
    return figure


def _contaminated(axes: Axes, data: xr.Dataset, tasks: Task, prompts: Prompts, results: Results) -> dict[str, Artist]:
    shares, exact = data["contamination"].values, data["num_concepts"].item() == 2
    target = np.asarray(tasks.target_prior[0])
    least = (RARE / (results.num_replicates * PROMPTS_AT_ONCE)) ** RATE[prompts]
    x, dashes, name = data["num_icl"].values.astype(float), style.DOTTED, "simulated, joined (K > 2)"
    if exact:
        x, dashes, name = _lengths(data), "-", "theory: exact (K = 2)"
        lines = curves.mixed_misalignment(curves.repeat(tasks, len(x)), x, prompts)
    handles: dict[str, Artist] = {}
    marked: dict[str, Artist] = {}
    for i, (share, color) in enumerate(zip(shares, style.ordered_colors(len(shares)))):
        found = simulated(data.sel(contamination=share), target, prompts, results.num_replicates)
        known = found.mean > least
        found = Estimate(*(np.where(known, values, np.nan) for values in found))
        handles[rf"$\rho$ = {share:g}"] = _points(axes, data, found, results, color, i)
        y = lines[i] if exact else found.mean
        axes.plot(x, y, color=color, linewidth=0.8, linestyle=dashes)
        if share > 0 and x.min() <= 1 / share <= x.max():
            height = np.exp(np.interp(1 / share, x, np.log(y)))
            (marked[r"prompts of 1/$\rho$ examples"],) = axes.plot([1 / share], [height], **style.RING)
    marked[name] = Line2D([], [], color="black", linewidth=0.8, linestyle=dashes)
    _finish(axes, data, prompts)
    axes.set_ylim(least / 2, 4)
    return handles | marked


def _exponent(axes: Axes, results: Results, num_concepts: int, shares: np.ndarray) -> dict[str, Artist]:
    """The exponent over the share, which jumps down at the first foreign example: the clean one is a point."""
    clean: Task = jax.tree.map(lambda leaf: leaf[0], foreign_tasks(results, num_concepts, np.zeros(1)))
    threshold = float(theory.contamination_threshold(clean))
    dense = np.linspace(1e-3, max(shares.max(), 1.1 * threshold), 100)
    curve, held = (curves.mixed_exponent(foreign_tasks(results, num_concepts, x)) for x in (dense, shares))
    handles: dict[str, Artist] = {}
    (handles[r"theory: exponent $\kappa(\rho)$"],) = axes.plot(dense, curve, linestyle=style.DASHED, **style.THEORY)
    for i, color in enumerate(style.ordered_colors(len(shares))):
        marker = style.MARKERS[i % len(style.MARKERS)]
        axes.plot([shares[i]], [held[i]], color=color, marker=marker, markersize=4, zorder=5, clip_on=False)
    axes.axvline(threshold, color="0.6", linewidth=0.8, zorder=1)
    note = rf"$\rho^*$ = {threshold:.2f}: from there" + "\non refinement fails "
    axes.text(threshold, 0.97, note, transform=axes.get_xaxis_transform(), ha="right", va="top", fontsize=6)
    axes.set_xlabel(r"share $\rho$ of foreign examples")
    axes.set_ylabel(r"exponent $\kappa$ (nats per example)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return handles


def _lengths(study: xr.Dataset) -> np.ndarray:
    """Prompt lengths along which closed forms are drawn; they need not be whole."""
    longest = max(study["num_icl"].values.max(), 2)
    return np.concatenate([np.linspace(0, 1, 13)[:-1], np.geomspace(1, longest, 150)])


def _points(axes: Axes, data: xr.Dataset, found: Estimate, results: Results, color: str, index: int) -> Artist:
    axes.set_yscale("log")
    how = {"color": color, "marker": style.MARKERS[index % len(style.MARKERS)], "markersize": 3}
    return style.error_bars(axes, data["num_icl"].values, found.mean, found.sem, results.num_replicates, **how)


def _finish(axes: Axes, study: xr.Dataset, prompts: Prompts) -> None:
    longest = study["num_icl"].values.max()
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xlim(-0.15, longest * 1.3)
    axes.yaxis.set_minor_locator(NullLocator())
    style.mark_values(axes, [t for t in (0, 1, 4, 16, 64, 256, 1024) if t <= longest])
    axes.set_xlabel("prompt length (examples)")
    axes.set_ylabel(MISALIGNMENT[prompts])
