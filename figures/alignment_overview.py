"""All worlds of tokens in one view: a table of methods, and what the number of weak examples does."""

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from figures import networks, style
from figures.alignment import ORDER, SCORES, at_temperature_one, label_of, name_of, task_of
from figures.data import Results
from figures.stores import TASKS
from w2s_jax.statistics import sem, summarize

MORE = ("reverse_kl", "ensemble", "selective", "contrastive", "anchored_contrastive")
"""Methods in the table in addition to `ORDER`."""
_AT = ORDER.index("aux_confidence") + 1
ROWS = {
    "weak": label_of("weak"),
    **{method: label_of(method) for method in (*ORDER[:_AT], *MORE, *ORDER[_AT:])},
    "bayes": "exact Bayes after the prompt",
    "target": "target concept",
}
"""Rows of the table."""
SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#D3E5F3", "#6FB1DC"])
PROMPTED = ("icl_refine", "prompt_only")
"""Methods that read a prompt of weak examples."""


def alignment_table(*stores: Results) -> Figure:
    """Content and style on held-out questions at a middle capability: mean, standard error over seeds, and a shade."""
    stores = in_order(stores)
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 5.0)
    panel = axes[0, 0]
    for column, results in enumerate(stores):
        capability = capabilities(results)[-1]
        data = at_temperature_one(results)
        cut = data.sel(capability=capability, num_icl=data["num_icl"].values.max(), split="held_out")
        for half, score in enumerate(SCORES):
            best = cut["target_style"].item() if score == "style" else 1.0
            for row, method in enumerate(ROWS):
                _cell(panel, 2 * column + half, row, _values(cut, score, method), best)
        heading = f"{task_of(results)}\nweak capability {capability:g}"
        panel.text(2 * column + 0.5, -1.3, heading, ha="center", va="bottom", fontsize=7)
    for edge in range(1, len(stores)):
        panel.axvline(2 * edge - 0.5, ymax=1.0, color="0.35", linewidth=0.8)
    names = ["rate" if score == "style" and task_of(r) == "bias" else score for r in stores for score in SCORES]
    panel.set_xticks(range(len(names)), names)
    panel.xaxis.tick_top()
    panel.set_yticks(range(len(ROWS)), list(ROWS.values()))
    panel.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(ROWS) - 0.5, -0.5))
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    seeds = " and ".join(str(n) for n in sorted({r.data.sizes["seed"] for r in stores}))
    rate = "; rate: that of female subjects" * ("rate" in names)
    figure.supxlabel(
        f"mean ± standard error over {seeds} seeds, held-out questions, longest prompt, temperature 1{rate}\n"
        f"the nearer to the target concept, the darker{absent(stores)}",
        fontsize=7,
    )
    return figure


def icl_examples(*stores: Results) -> Figure:
    """Scores by the number of weak examples, on held-out questions: a column per task, at two capabilities."""
    stores = in_order(stores)
    for results in stores:
        results.require(method=PROMPTED)
        results.require_many("num_icl")
    columns = len(stores)
    width = style.DOUBLE_COLUMN if columns > 1 else style.SINGLE_COLUMN
    figure, axes = style.new_figure(width, 4.2 if columns > 1 else 4.8, 2, columns, sharey="row")
    handles: dict[str, Artist] = {}
    for column, results in enumerate(stores):
        data = at_temperature_one(results).sel(split="held_out").sortby("num_icl")
        for row, score in enumerate(SCORES):
            panel = axes[row, column]
            handles |= _by_examples(panel, data, score, capabilities(results))
            levels = " and ".join(f"{capability:g}" for capability in capabilities(results))
            heading = f"{task_of(results)}\nweak capability {levels}" if row == 0 else name_of(task_of(results), score)
            style.title(panel, row * columns + column, heading)
            networks.mark_counts(panel, data["num_icl"].values)
        axes[1, column].set_xlabel("weak examples")
    for row, score in enumerate(SCORES):
        low, high = axes[row, 0].get_ylim()
        axes[row, 0].set_ylim(max(0.0, min(low, 0.9)), min(high + 0.03, 1.01))
        axes[row, 0].set_ylabel(f"strong: {score},\nheld-out questions")
    handles["solid: middle capability"] = Line2D([], [], color="0.3")
    handles["dashed: lowest capability"] = Line2D([], [], color="0.3", linestyle=style.DASHED)
    handles["95% interval over seeds"] = Patch(facecolor="0.55", alpha=0.4, linewidth=0)
    heading = "temperature 1" + absent(stores)
    style.legend_below(figure, handles, 4 if columns > 1 else 1, heading)
    return figure


def in_order(stores: tuple[Results, ...]) -> tuple[Results, ...]:
    """Stores in the order of the tasks."""
    return tuple(sorted(stores, key=lambda results: TASKS.index(task_of(results))))


def absent(stores: tuple[Results, ...]) -> str:
    """The tasks that have no results, named where there are some."""
    absent = [task for task in TASKS if task not in map(task_of, stores)]
    return f"; no results yet: {', '.join(absent)}" if absent else ""


def capabilities(results: Results) -> list[float]:
    """The lowest and the middle capability of a store; one where it has no more."""
    held = np.sort(results.data["capability"].values)
    return sorted({held[0].item(), held[len(held) // 2].item()})


def _values(cut: xr.Dataset, score: str, method: str) -> np.ndarray | None:
    """Scores of a row of the table over seeds; None where there is no such score."""
    if method == "weak":
        return cut[f"weak_{score}"].values
    if method == "target":
        return np.atleast_1d(cut["target_style"].item() if score == "style" else 1.0)
    if method == "bayes":
        return cut["bayes_style"].values if score == "style" else None
    if method not in cut["method"].values:
        return None
    return cut[score].sel({"method": method}).values


def _cell(panel: Axes, column: int, row: int, values: np.ndarray | None, best: float) -> None:
    """A shade for how near the mean is to the best score, and the mean with its standard error in numbers."""
    face, text = "#F2F2F2", "–"
    if values is not None:
        seeds = summarize(values[:, None])
        mean, error = seeds.mean.item(), sem(seeds).item()
        face = SHADES(1 - min(1.0, abs(mean - best)))
        text = f"{mean:.2f}" + (f" ± {error:.2f}" if np.isfinite(error) else "")
    panel.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=face, linewidth=0))
    panel.text(column, row, text, ha="center", va="center", fontsize=6.5)


def _by_examples(panel: Axes, data: xr.Dataset, score: str, capabilities: list[float]) -> dict[str, Artist]:
    """A line per method and capability; exact Bayes and the target concept beside them, where they have a score."""
    handles: dict[str, Artist] = {}
    for capability in reversed(capabilities):
        cut = data.sel(capability=capability)
        dashes = style.DASHED if capability == capabilities[0] and len(capabilities) > 1 else "-"
        for method in PROMPTED:
            how = style.look(method)._replace(line=dashes)
            line = networks.line(panel, cut["num_icl"].values, cut[score].sel({"method": method}), how)
            handles.setdefault(label_of(method), Line2D([], [], color=line.get_color(), marker=how.marker))
        if score == "style":
            exact = cut["bayes_style"].transpose("num_icl", "seed").values.mean(axis=1)
            panel.plot(cut["num_icl"].values, exact, **{**style.THEORY, "linestyle": dashes})
    if score == "style":
        handles["exact Bayes"] = Line2D([], [], **style.THEORY)
        panel.axhline(data["target_style"].item(), linestyle=style.DOTTED, **style.THEORY)
        handles["target concept"] = Line2D([], [], linestyle=style.DOTTED, **style.THEORY)
    return handles
