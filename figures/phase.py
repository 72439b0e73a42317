"""The phase diagram: the best method by weak accuracy and concept shift, its lead, simulated and in closed form."""

from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import curves, style
from figures.data import Results
from figures.rare import carried
from w2s_jax.statistics import Summary, confidence_interval, paired_difference
from w2s_jax.tasks import Weakness

RIVALS = ("naive_ft", "icl_refine_fresh")
PROMPTS = (4, 16)
"""Prompt lengths shown, one row each: a short prompt, where the border lies inside the diagram, and a long one."""
SAMPLE_SIZE = 1024
FRONT = ("rotated", "noisy", "confused")
"""Kinds of weak teacher in front; `phase_diagram_grid` has all."""
POINTS = 41
"""Points on a side of the grid on which the closed forms are computed."""
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
    """Naive fine-tuning at its best penalty against refinement with fresh prompts, for three kinds of teacher."""
    return _diagram(results, [w for w in FRONT if w in results.weaknesses] or results.weaknesses)


def phase_diagram_grid(results: Results) -> Figure:
    """The same for every kind of teacher."""
    return _diagram(results, results.weaknesses)


def _diagram(results: Results, weaknesses: list[Weakness]) -> Figure:
    """A row per prompt length, a column per teacher: the closed forms as colour, the simulation as marks on it."""
    results.require(method=RIVALS)
    results.require_many("weak_accuracy", "concept_shift")
    n = results.nearest(sample_size=SAMPLE_SIZE)["sample_size"]
    lengths = sorted({results.nearest(num_icl=m)["num_icl"] for m in PROMPTS})
    columns = len(weaknesses)
    side = (style.DOUBLE_COLUMN - 1.5) / max(columns, 2)
    figure, axes = style.new_figure(
        1.5 + side * columns, 0.9 + (side + 0.1) * len(lengths), len(lengths), columns, sharex=True, sharey=True
    )
    doubt = False
    for row, length in enumerate(lengths):
        data = results.at(sample_size=n, num_icl=length)
        exact = _predicted(results, n, length, weaknesses) if results.has_closed_forms else None
        for column, weakness in enumerate(weaknesses):
            panel = axes[row, column]
            verdict = judge(data.sel(weakness=weakness))
            _panel(panel, verdict, data, None if exact is None else (*exact[:2], exact[2][column]))
            doubt |= not verdict.certain.all()
            style.title(
                panel, row * columns + column, f"{weakness}, prompts of {length:g}" if columns < 4 else weakness
            )
            if row == len(lengths) - 1:
                panel.set_xlabel("weak accuracy")
        axes[row, 0].set_ylabel("concept shift" if columns < 4 else f"prompts of {length:g}\nconcept shift")
    scale = ScalarMappable(Normalize(-STRONGEST, STRONGEST), COLORS)
    bar = figure.colorbar(scale, ax=axes, shrink=0.8, aspect=25, pad=0.015, extend="both")
    bar.set_label(r"$\log_{10}$ risk of naive / refined" + "\n← naive wins        refinement wins →")
    bar.outline.set_linewidth(0.4)  # pyright: ignore[reportCallIssue]
    config = results.config
    heading = f"n = {n}, d = {config['dim']}, K = {config['num_concepts']}, noise variance {config['noise_var']:g}"
    if not doubt:
        heading += "; every difference is significant (95%, paired)"
    style.legend_below(figure, _legend(results, doubt), 3, heading)
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


def _panel(
    axes: Axes, verdict: Verdict, data: xr.Dataset, exact: tuple[np.ndarray, np.ndarray, np.ndarray] | None
) -> None:
    """The closed forms as colour with their border, and the simulated cells as marks in the colour of their own ratio.

    Where there is no closed form the cells themselves are coloured.
    """
    accuracies, shifts = data["weak_accuracy"].values, data["concept_shift"].values
    x, y = edges(accuracies), edges(shifts)
    scale: dict[str, Any] = {"cmap": COLORS, "vmin": -STRONGEST, "vmax": STRONGEST}
    if exact is None:
        axes.pcolormesh(x, y, verdict.decades.T, rasterized=True, **scale)
    else:
        across, up, decades = exact
        axes.pcolormesh(across, up, decades.T, shading="gouraud", rasterized=True, **scale)
        axes.contour(across, up, decades.T, [0.0], colors="black", linewidths=1.2)
        at = np.meshgrid(accuracies, shifts, indexing="ij")
        axes.scatter(*at, c=verdict.decades, s=26, edgecolors="black", linewidths=0.5, **scale)
    for i, j in np.argwhere(~verdict.certain):
        axes.plot(accuracies[i], shifts[j], marker="x", color="black", markersize=3.5, linestyle="none")
    style.mark_values(axes, accuracies[:: 2 if len(accuracies) > 4 else 1])
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    for side in axes.spines.values():
        side.set_visible(True)


def _predicted(
    results: Results, n: int, length: int, weaknesses: list[Weakness]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracies, shifts and, `[weakness accuracy shift]`, log10 of the ratio of the risks, 0 at the border."""
    ends = (edges(results.data[dim].values)[[0, -1]] for dim in ("weak_accuracy", "concept_shift"))
    x, y = (np.linspace(*pair, POINTS) for pair in ends)
    places = [results.weaknesses.index(w) for w in weaknesses]
    tasks = results.tasks(np.clip(x, 0.02, 1.0)[:, None], np.clip(y, 0.002, 0.998)[None, :])
    tasks = jax.tree.map(lambda leaf: leaf[places], tasks)
    naive = curves.ridge_at_best(tasks, float(n), results.data["penalty"].values)
    refined = curves.refined(tasks, float(n), float(length), "fresh")
    return x, y, np.log10(naive / refined)


def edges(values: np.ndarray) -> np.ndarray:
    """The borders of cells around these values: half way between neighbours."""
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def _legend(results: Results, doubt: bool) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    if results.has_closed_forms:
        handles["equal risks, closed forms"] = Line2D([], [], color="black", linewidth=1.2)
        mark = {"marker": "o", "color": "white", "markeredgecolor": "black", "markeredgewidth": 0.5, "markersize": 5}
        handles["simulated ratio, in its colour"] = Line2D([], [], linestyle="none", **mark)
    if doubt:
        handles["difference not significant (95%, paired)"] = Line2D(
            [], [], color="black", marker="x", linestyle="none"
        )
    return handles
