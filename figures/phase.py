"""The phase diagram: the best method by weak accuracy and concept shift, its lead, and the predicted border."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from figures import curves, style
from figures.data import Results
from figures.rare import carried
from w2s_jax.statistics import Summary, confidence_interval, paired_difference

RIVALS = ("naive_ft", "icl_refine_fresh")
PROMPTS = (4, 16)
"""Prompt lengths shown, one row each: a short prompt, where the border lies inside the diagram, and a long one."""
SAMPLE_SIZE = 1024
MOST_POINTS = 24
"""Points at most on a side of the grid on which the border of theory is computed."""
STRONGEST = 1.5
"""Colours saturate where the risks differ by this many decades."""
COLORS = LinearSegmentedColormap.from_list(
    "who_wins", ["#A83C00", "#E08A3C", "#F7DDBF", "#FFFFFF", "#BFD9EC", "#3F87BA", "#00395C"]
)
"""Naive fine-tuning in its orange, refinement in its blue."""


class Verdict(NamedTuple):
    """One panel, `[weak_accuracy concept_shift]`."""

    decades: np.ndarray
    """log10 of the ratio of mean risks, naive over refined: positive where refinement wins."""
    certain: np.ndarray
    """Whether the paired difference is significant at 95%, and enough replicates carry both means."""


def phase_diagram(results: Results) -> Figure:
    """Naive fine-tuning at its best penalty against refinement with fresh prompts, at the largest sample size."""
    results.require(method=RIVALS)
    results.require_many("weak_accuracy", "concept_shift")
    n = results.nearest(sample_size=SAMPLE_SIZE)["sample_size"]
    lengths = sorted({results.nearest(num_icl=m)["num_icl"] for m in PROMPTS})
    weaknesses = results.weaknesses
    width = min(style.DOUBLE_COLUMN, 0.9 + 1.3 * len(weaknesses))
    doubt = False
    figure, axes = style.new_figure(
        max(width, style.SINGLE_COLUMN),
        1.0 + 1.25 * len(lengths),
        len(lengths),
        len(weaknesses),
        sharex=True,
        sharey=True,
    )
    for row, length in enumerate(lengths):
        data = results.at(sample_size=n, num_icl=length)
        borders = _predicted(results, n, length) if results.has_closed_forms else None
        for column, weakness in enumerate(weaknesses):
            panel = axes[row, column]
            verdict = judge(data.sel(weakness=weakness))
            _panel(panel, verdict, data)
            doubt |= not verdict.certain.all()
            if borders is not None:
                x, y, excess = borders
                panel.contour(x, y, excess[column].T, [0.0], colors="black", linewidths=0.8, linestyles="--")
            style.title(panel, row * len(weaknesses) + column, weakness)
            if row == len(lengths) - 1:
                panel.set_xlabel("weak accuracy")
        axes[row, 0].set_ylabel(f"prompts of {length:g}\nconcept shift")
    scale = ScalarMappable(Normalize(-STRONGEST, STRONGEST), COLORS)
    bar = figure.colorbar(scale, ax=axes, shrink=0.8, aspect=25, pad=0.015, extend="both")
    bar.set_label(r"$\log_{10}$ risk of naive / refined" + "\n← naive wins        refinement wins →")
    bar.outline.set_linewidth(0.4)  # pyright: ignore[reportCallIssue]
    config = results.config
    heading = f"n = {n}, d = {config['dim']}, K = {config['num_concepts']}, noise variance {config['noise_var']:g}"
    if not doubt:
        heading += "; every difference is significant (95%, paired)"
    style.legend_below(figure, _legend(results, doubt), 3 if len(weaknesses) > 2 else 1, heading)
    return figure


def judge(data: xr.Dataset) -> Verdict:
    """Which method wins in each cell, and how surely, from the covariance of risks on the same replicates."""
    pair = data.sel({"method": list(RIVALS), "method_2": list(RIVALS)})
    dims = ("weak_accuracy", "concept_shift")
    count = pair["num_replicates"].isel(method=0).transpose(*dims).values
    mean = pair["risk_mean"].transpose(*dims, "method").values
    cov = pair["risk_cov"].transpose(*dims, "method", "method_2").values
    gap, sem = paired_difference(Summary(count, mean, cov * (count[..., None, None] - 1)), 0, 1)
    low, high = confidence_interval(gap, sem, count)
    few = carried(pair.transpose(*dims, "method", ...), "risk").few.any(axis=-1)
    return Verdict(np.log10(mean[..., 0] / mean[..., 1]), ((low > 0) | (high < 0)) & ~few)


def _panel(axes: Axes, verdict: Verdict, data: xr.Dataset) -> None:
    accuracies, shifts = data["weak_accuracy"].values, data["concept_shift"].values
    x, y = edges(accuracies), edges(shifts)
    axes.pcolormesh(x, y, verdict.decades.T, cmap=COLORS, vmin=-STRONGEST, vmax=STRONGEST, rasterized=True)
    for i, j in np.argwhere(~verdict.certain):
        size = x[i + 1] - x[i], y[j + 1] - y[j]
        axes.add_patch(Rectangle((x[i], y[j]), *size, fill=False, hatch="////", edgecolor="0.25", linewidth=0))
    if verdict.decades.min() < 0 < verdict.decades.max():
        axes.contour(accuracies, shifts, verdict.decades.T, [0.0], colors="black", linewidths=1.2)
    style.mark_values(axes, accuracies[:: 2 if len(accuracies) > 4 else 1])
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    for side in axes.spines.values():
        side.set_visible(True)


def _predicted(results: Results, n: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracies, shifts and, `[weakness accuracy shift]`, the predicted log ratio of the risks, 0 at the border."""
    axes = [results.data[dim].values for dim in ("weak_accuracy", "concept_shift")]
    x, y = (np.linspace(*edges(values)[[0, -1]], min(4 * len(values), MOST_POINTS)) for values in axes)
    x, y = np.clip(x, 0.02, 1.0), np.clip(y, 0.002, 0.998)
    tasks = results.tasks(x[:, None], y[None, :])
    naive = curves.ridge_at_best(tasks, float(n), results.data["penalty"].values)
    refined = curves.refined(tasks, float(n), float(length), "fresh")
    return x, y, np.log(naive / refined)


def edges(values: np.ndarray) -> np.ndarray:
    """The borders of cells around these values: half way between neighbours."""
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def _legend(results: Results, doubt: bool) -> dict[str, Artist]:
    handles: dict[str, Artist] = {"equal risks, simulated": Line2D([], [], color="black", linewidth=1.2)}
    if results.has_closed_forms:
        handles["equal risks, theory (exact misalignment)"] = Line2D(
            [], [], color="black", linewidth=0.8, linestyle="--"
        )
    if doubt:
        hatched = Patch(facecolor="white", edgecolor="0.25", hatch="////", linewidth=0)
        handles["difference not significant (95%, paired)"] = hatched
    return handles
