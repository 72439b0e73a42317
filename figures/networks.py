"""How trained networks read a context, compared with the exact Bayesian inference that the theory assumes."""

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from figures import style
from figures.data import Results
from w2s_jax.statistics import sem, summarize

LAWS: dict[str, style.Look] = {
    "in_distribution": style.Look("in distribution", "#0072B2", "-", "o"),
    "rotated": style.Look("rotated teacher", "#D55E00", (0, (5, 1.5)), "s"),
    "shifted": style.Look("shifted teacher", "#E69F00", (0, (3, 1, 1, 1)), "^"),
    "noisy": style.Look("noisy teacher", "#CC79A7", (0, (6, 1.5, 1, 1.5)), "D"),
    "unseen_prior": style.Look("one rival concept alone", "#009E73", (0, (1, 1.2)), "v"),
}
"""Distributions of the sequences."""
TOLERANCE = 0.05
"""Gap between the weights of network and posterior up to which the assumption is taken to hold."""


def icl_vs_bayes(results: Results) -> Figure:
    """Divergence of the network's answers from exact Bayes by context length, and coverage of its intervals."""
    shifts, levels, lengths = (results.data[dim].values for dim in ("concept_shift", "level", "context_length"))
    figure, axes = _rows_by_shift(results, 5.0, [1.4, 1])
    between = " " if len(shifts) <= 2 else "\n"  # narrow panels
    handles: dict[str, Artist] = {}
    for column, shift in enumerate(shifts):
        data, (top, bottom) = results.at(concept_shift=shift), axes[:, column]
        top.set_yscale("log")
        for law, how in LAWS.items():
            handles[how.label] = line(top, lengths, data["kl_to_bayes"].sel(law=law), how)
        own = data["kl_to_bayes"].sel(law="in_distribution").mean("seed").values
        claim = f"in distribution: mean {own.mean():.3f},{between}worst {own.max():.3f}"
        style.title(top, column, f"concept shift {shift:g}\n{claim}")
        for level in levels:
            line(bottom, lengths, data["coverage"].sel(level=level), LAWS["in_distribution"])
            bottom.axhline(level, linestyle=style.DOTTED, **style.THEORY)
        style.title(bottom, len(shifts) + column, "coverage in distribution")
        bottom.set_xlabel("context length (examples)")
        bottom.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    style.limit_y(axes[0, 0], results.data["kl_to_bayes"].mean("seed").values, pad=1.5)
    style.log_ticks_in_full(axes[0, 0])
    axes[0, 0].set_ylabel("KL(Bayes || network) (nats)")
    lowest = min(levels.min(), results.data["coverage"].mean("seed").min().item())
    axes[1, 0].set_ylim(lowest - 0.06, 1.0)
    style.mark_values(axes[1, 0], levels, "y", "{x:.0%}")
    axes[1, 0].set_ylabel("share of labels inside\ncentral intervals")
    handles["nominal level"] = Line2D([], [], linestyle=style.DOTTED, **style.THEORY)
    teachers = f"teachers of accuracy {results.config['prompt_accuracy']:g}"
    legend(figure, results, handles, f"{teachers}, {sizes(results)}")
    return figure


def concept_posterior_trace(results: Results) -> Figure:
    """Weight on the target concept along a weak prompt, of the network and of exact Bayes, and their gap."""
    shifts, accuracies, lengths = (
        results.data[dim].values for dim in ("concept_shift", "weak_accuracy", "prompt_length")
    )
    best, gaps = accuracies.max(), results.data["concept_weight_gap"].mean("seed")
    figure, axes = _rows_by_shift(results, 5.0, [1.4, 1])
    handles: dict[str, Artist] = {}
    for column, shift in enumerate(shifts):
        data, (top, bottom) = results.at(concept_shift=shift), axes[:, column]
        for i, (accuracy, color) in enumerate(zip(accuracies, style.ordered_colors(len(accuracies) + 1))):
            row = data.sel(weak_accuracy=accuracy)
            how = style.Look(f"weak accuracy a = {accuracy:g}", color, "-", style.MARKERS[i % len(style.MARKERS)])
            handles[how.label] = line(top, lengths, row["concept_weight"].sel(predictor="network"), how)
            exact = row["concept_weight"].sel(predictor="bayes").mean("seed").values
            top.plot(lengths, exact, color=color, linestyle=style.DASHED, zorder=4)
            line(bottom, lengths, row["concept_weight_gap"], how)
        bottom.axhline(TOLERANCE, linestyle=style.DOTTED, **style.THEORY)
        worst = gaps.sel(concept_shift=shift, weak_accuracy=best).max().item()
        style.title(top, column, f"concept shift {shift:g}")
        style.title(bottom, len(shifts) + column, f"gap at a = {best:g}: ≤ {worst:.3f}")
        mark_counts(bottom, lengths)
        bottom.set_xlabel("weak examples in the prompt")
    axes[0, 0].set_ylim(0, 1.02)
    axes[0, 0].set_ylabel("mean weight on the target concept")
    axes[1, 0].set_ylim(0, max(1.5 * TOLERANCE, 1.2 * gaps.max().item()))
    axes[1, 0].set_ylabel("mean gap of the weights,\nprompt by prompt")
    handles["solid: network"] = Line2D([], [], color="0.3")
    handles["dashed: exact Bayes"] = Line2D([], [], color="0.3", linestyle=style.DASHED)
    handles[f"a gap of {TOLERANCE:g}"] = Line2D([], [], linestyle=style.DOTTED, **style.THEORY)
    legend(figure, results, handles, f"{results.config['weakness']} teacher, {sizes(results)}")
    return figure


def line(axes: Axes, x: np.ndarray, values: xr.DataArray, how: style.Look, marker: str | None = None) -> Line2D:
    """The mean over seeds of values `[x seed]` as a line, with its interval of 95% as a band."""
    seeds = summarize(values.transpose("seed", ...).values)
    mean, looks = seeds.mean, {"color": how.color, "linestyle": how.line, "alpha": 0.9}
    every = max(1, len(x) // 6)  # markers that do not touch, where a network was asked at every length
    (drawn,) = axes.plot(x, mean, marker=how.marker if marker is None else marker, markevery=every, **looks)
    style.band(axes, x, mean, sem(seeds), seeds.count, how.color)
    return drawn


def mark_counts(axes: Axes, counts: np.ndarray) -> None:
    """A logarithmic axis of counts, which has a place for 0 where there is one."""
    if counts.min() == 0:
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    else:
        axes.set_xscale("log")
    style.mark_values(axes, counts)


def legend(figure: Figure, results: Results, handles: dict[str, Artist], heading: str, narrow: int = 2) -> None:
    """The legend under the panels, and what its intervals are over: seeds that share their strong networks."""
    seeds, held = results.data.sizes["seed"], results.config["networks"]
    of_seeds = f"{seeds} seeds, {held} strong network{'s' * (held > 1)} per concept shift"
    columns = 3 if figure.get_figwidth() > style.SINGLE_COLUMN else narrow
    band = Patch(facecolor="0.55", alpha=0.4, linewidth=0)
    style.legend_below(figure, handles | {"95% interval over seeds": band}, columns, f"{heading}\n{of_seeds}")


def sizes(results: Results) -> str:
    """Sizes that all tasks of a store share."""
    config = results.config
    return f"d = {config['dim']}, K = {config['num_concepts']}, noise var. {config['noise_var']:g}"


def _rows_by_shift(results: Results, height: float, ratios: list[float]) -> tuple[Figure, np.ndarray]:
    """Two rows of panels, a column per concept shift."""
    columns = results.data.sizes["concept_shift"]
    width = style.DOUBLE_COLUMN if columns > 1 else style.SINGLE_COLUMN
    return style.new_figure(width, height, 2, columns, sharex=True, sharey="row", height_ratios=ratios)
