"""Methods side by side: which one wins where, what each costs, and its risk under relaxed assumptions."""

from string import ascii_uppercase

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from figures import style
from figures.data import Results
from w2s_jax.statistics import Summary, confidence_interval, paired_difference

LABELS = {"naive_ft": "naive fine-tuning", "intent_refine": "intent refinement"}
"""Where the name that other figures use says too much here."""
BEFORE = {"contrastive": "anchored_contrastive", "experts": "experts_from_source"}
"""What methods of version 0.1 are called now, where another one has their name; later stores say their definitions."""
RISKS = {"linear": "excess risk", "sign": "share of wrong signs"}
"""What a risk is, by the kind of labels; a store made before there were kinds is of linear ones."""
WORDS = {"linear": "numbers", "sign": "signs"}
"""What labels are, by their kind."""
BUDGETS = {"examples": "the same weak examples", "compute": "the same compute"}
REFERENCE = {"weak_accuracy": 0.7, "concept_shift": 0.5}
"""The cell of the table's performance gap recovered, or the nearest that there is."""
HEAT = LinearSegmentedColormap.from_list("heat", ["#FFFFFF", "#FBE3C4", "#E9A15B", "#B4532A", "#5B1A18"])
SHADES = LinearSegmentedColormap.from_list("shades", ["#6FB1DC", "#D3E5F3", "#FFFFFF"])


LETTERS = {"source": "S", "naive_ft": "N", "icl_refine": "R", "hull": "H", "reverse_kl": "K", "em_prior": "M"}
LETTERS |= {"contrastive": "C", "anchored_contrastive": "A"}
"""Letters of the methods that win most."""


def label_of(method: str) -> str:
    """A method's name in these figures."""
    return LABELS.get(method, style.look(method).label)


def by_name(results: Results) -> Results:
    """A store with the names that its methods have now."""
    if results.config.get("definitions", 1) > 1:
        return results
    names = [BEFORE.get(str(name), str(name)) for name in results.data["method"].values]
    return results._replace(data=results.data.assign_coords({"method": names, "method_2": names}))


def labels_of(results: Results) -> str:
    """The kind of labels of a store."""
    return results.config.get("labels", "linear")


def method_arena(results: Results) -> Figure:
    """The letter of the method of lowest risk in each cell, among those that do not read the target, and the ranks."""
    results.require_many("weak_accuracy", "concept_shift")
    results = by_name(results)
    rivals = competing(results.data)
    data = results.data.isel(method=rivals, method_2=rivals)
    weaknesses, budgets = results.weaknesses, [str(b) for b in data["budget"].values]
    width = max(4.8, min(style.DOUBLE_COLUMN, 1.9 + 1.1 * len(weaknesses)))
    ratios = [1.0] * len(weaknesses) + [1.25]
    figure, axes = style.new_figure(
        width, 1.0 + 1.4 * len(budgets), len(budgets), len(weaknesses) + 1, width_ratios=ratios
    )
    maps, winners, doubt = {}, set(), False
    for row, budget in enumerate(budgets):
        for column, weakness in enumerate(weaknesses):
            cut = data.sel(weakness=weakness, budget=budget)
            maps[row, column] = _winners(cut, results.num_replicates, paired=not results.table)
            winners |= set(maps[row, column][0].ravel())
            doubt |= not maps[row, column][1].all()
    order = [str(m) for m in data["method"].values if m in winners]
    letters = letters_of(order)
    for (row, column), (found, certain) in maps.items():
        panel = axes[row, column]
        _map(panel, data, found, certain, letters)
        panel.tick_params(labelbottom=row == len(budgets) - 1, labelleft=column == 0)
        style.title(panel, row * len(ratios) + column, weaknesses[column])
        panel.set_xlabel("weak accuracy" if row == len(budgets) - 1 else "")
        panel.set_ylabel(f"{BUDGETS.get(budgets[row], budgets[row])}\nconcept shift" if column == 0 else "")
    for row, budget in enumerate(budgets):
        panel = axes[row, -1]
        _ranks(panel, data.sel(budget=budget))
        style.title(panel, row * len(ratios) + len(weaknesses), "mean rank")
        panel.set_xlabel("1 is the best" if row == len(budgets) - 1 else "")
    handles = {f"{letters[m]}: {label_of(m)}": Patch(facecolor=_pale(m), edgecolor="0.3", linewidth=0.4) for m in order}
    if doubt:
        handles["not significantly ahead of the next"] = Patch(facecolor="white", edgecolor="0.25", hatch="////", lw=0)
    heading = (
        f"letter: the method of lowest mean {RISKS[labels_of(results)]}, knobs tuned on weak labels; bars: 95%"
        f"\n{_setting(results)}"
    )
    style.legend_below(figure, handles, 4 if len(weaknesses) > 3 else 2, heading)
    return figure


def competing(data: xr.Dataset) -> np.ndarray:
    """Which methods have a rank, as all have that do not read the target."""
    return np.isfinite(data["rank_mean"].isel(budget=0).values)


def letters_of(methods: list[str]) -> dict[str, str]:
    """A letter for each method: its own in `LETTERS`, or the first of its label that no other has."""
    found = {method: LETTERS[method] for method in methods if method in LETTERS}
    for method in methods:
        known = [c.upper() for c in label_of(method) if c.isalpha()] + list(ascii_uppercase)
        free = (letter for letter in known if letter not in (*LETTERS.values(), *found.values()))
        found.setdefault(method, next(free))
    return found


def _ranks(panel: Axes, data: xr.Dataset) -> None:
    """Mean ranks of all methods as ticks, with those of naive fine-tuning and refinement named."""
    names, ranks = [str(m) for m in data["method"].values], data["rank_mean"].values
    panel.plot(ranks, np.zeros(len(ranks)), color="0.6", marker="|", markersize=7, linestyle="none")
    for height, method in ((-1, "naive_ft"), (1, "icl_refine")):
        if method not in names:
            continue
        place, how = names.index(method), style.look(method)
        rank, error = ranks[place], 1.96 * data["rank_sem"].values[place]
        panel.errorbar(rank, height, xerr=error, color=how.color, marker=how.marker, markersize=4.5, elinewidth=0.8)
        words = {"color": how.color, "fontsize": 6, "ha": "center", "va": "bottom" if height > 0 else "top"}
        panel.text(0.5, 0.5 + 0.32 * height, f"{label_of(method)}\n{rank:.1f}", transform=panel.transAxes, **words)
    panel.set(xlim=(0.5, len(names) + 0.5), ylim=(-3.4, 3.4), yticks=[])
    panel.spines["left"].set_visible(False)
    style.mark_values(panel, [1, len(names) // 2, len(names)])


def method_table(results: Results, cost: Results | None = None) -> Figure:
    """A row per method, by its mean rank: ranks, performance gap recovered, what tuning costs, and what it asks for.

    Measured times, where there are any, stand beside what it reads; a mark says that no language model offers what it
    sees.
    """
    results = by_name(results)
    data, cell = results.data, results.nearest(**REFERENCE)
    names = [str(m) for m in data["method"].values]
    rank = data["rank_mean"].sel(budget="examples")
    last = np.where(np.isfinite(rank.values), rank.values, -1.0)  # what reads the target comes first
    order = [names[i] for i in np.argsort(last, kind="stable")]
    kinds = [w for w in ("rotated", "confused", "noisy") if w in results.weaknesses] or results.weaknesses[:1]
    kinds = [w for w in kinds if np.isfinite(data["pgr"].sel(weakness=w, budget="examples", **cell)).any()]
    heads = ["rank, same\nexamples", "rank, same\ncompute"]
    heads += [f"PGR, {w}\n95% interval" for w in kinds] + ["tuned over\noracle risk", "reads an\nexample"]
    times = {} if cost is None else _times(cost, labels_of(results))
    heads += ["time of a fit,\nnaive's = 1"] * bool(times)
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 0.9 + 0.2 * len(order))
    panel, size = axes[0, 0], 6.2 if len(heads) < 7 else 5.6
    ranks = len(names) - int(data["reads_target"].sum())
    for row, name in enumerate(order):
        cut = data.sel({"method": name})
        for column, budget in enumerate(("examples", "compute")):
            mean, error = (float(cut[f"rank_{part}"].sel(budget=budget)) for part in ("mean", "sem"))
            text = f"{mean:.1f} ± {error:.1f}" if np.isfinite(mean) else "reads the target" if column == 0 else ""
            _cell(panel, column, row, text, (mean - 1) / max(ranks - 1, 1))
        for column, weakness in enumerate(kinds, 2):
            parts = ("pgr", "pgr_low", "pgr_high")
            one = cut.sel(weakness=weakness, budget="examples", **cell)
            value, low, high = (float(one[part]) for part in parts)
            _cell(panel, column, row, f"{value:.2f}  [{low:.2f}, {high:.2f}]", 1 - np.clip(value, 0, 1), size)
        both = cut["risk_mean"].sel(budget="examples")
        ratio = (both.sel(tuning="weak_labels") / both.sel(tuning="oracle")).median().item()
        _cell(panel, len(kinds) + 2, row, f"{ratio:.2f}" if ratio < 100 else "> 100", np.clip(np.log2(ratio) / 2, 0, 1))
        _cell(panel, len(kinds) + 3, row, f"{int(cut['reads'])}", np.nan)
        if times:
            _cell(panel, len(kinds) + 4, row, f"{times[name]:.2g}" if name in times else "", np.nan)
    panel.set_xticks(range(len(heads)), heads)
    panel.xaxis.tick_top()
    unreal = (
        set(names) - set(data["method"].values[data["in_practice"].values.astype(bool)])
        if "in_practice" in data
        else set()
    )
    panel.set_yticks(range(len(order)), [label_of(name) + " *" * (name in unreal) for name in order])
    panel.set(xlim=(-0.5, len(heads) - 0.5), ylim=(len(order) - 0.5, -0.5))
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    where = ", ".join(f"{dim.replace('_', ' ')} {value:g}" for dim, value in cell.items())
    figure.supxlabel(
        f"ranks: mean over tasks ± standard error; PGR: performance gap recovered at {where}\n"
        f"knobs tuned on weak labels (over those of an oracle: median over tasks); the bluer, the better\n"
        f"{'*: sees what no language model offers' + chr(10) if unreal else ''}"
        f"{_setting(results)}{_machine(cost) if cost is not None and times else ''}",
        fontsize=6.5,
    )
    return figure


def robustness(results: Results) -> Figure:
    """Risks of every method as one assumption at a time is relaxed: a panel per assumption, a column per level."""
    data = by_name(results).data.sel(tuning="weak_labels", budget="examples")
    assumptions = [str(a) for a in data["assumption"].values]
    names = [str(m) for m in data["method"].values]
    figure, axes = style.new_figure(
        max(4.8, 1.6 + 1.15 * len(assumptions)),
        1.0 + 0.19 * (len(names) + 1),
        1,
        len(assumptions),
        sharey=True,
    )
    risks = data["relaxed_risk_mean"].transpose("assumption", "method", "level").values
    weak = data["relaxed_weak_risk"].transpose("assumption", "level").values
    every = np.concatenate([weak[:, None], risks], axis=1)
    norm = LogNorm(max(every[every > 0].min(), 1e-3), every.max())
    for column, assumption in enumerate(assumptions):
        panel = axes[0, column]
        for (row, level), risk in np.ndenumerate(every[column]):
            color = HEAT(norm(max(risk, norm.vmin)))
            panel.add_patch(
                Rectangle((level - 0.5, row - 0.5), 1, 1, facecolor=color, edgecolor="white", linewidth=0.5)
            )
            ink = "white" if np.dot(to_rgb(color), (0.3, 0.59, 0.11)) < 0.5 else "0.1"
            panel.text(level, row, f"{risk:.2f}", ha="center", va="center", fontsize=5, color=ink)
        levels = data["relaxed_level"].sel(assumption=assumption).values
        panel.set_xticks(range(len(levels)), [f"{value:g}" for value in levels])
        panel.set_yticks(range(len(names) + 1), [style.look("weak").label, *map(label_of, names)])
        panel.set(xlim=(-0.5, len(levels) - 0.5), ylim=(len(names) + 0.5, -0.5))
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        style.title(panel, column, assumption.replace("_", " "))
        panel.set_xlabel(AXES.get(assumption, ""))
    bar = figure.colorbar(ScalarMappable(norm, HEAT), ax=axes, shrink=0.7, aspect=25, pad=0.015)
    bar.set_label(style.RISK if labels_of(results) == "linear" else RISKS["sign"])
    bar.outline.set_linewidth(0.4)  # pyright: ignore[reportCallIssue]
    error = float((data["relaxed_risk_sem"] / data["relaxed_risk_mean"]).median())
    figure.supxlabel(
        f"rotated teacher, accuracy 0.7, shift 0.5; knobs tuned on weak labels\n"
        f"{_setting(results)}; median standard error {error:.1%}",
        fontsize=6.5,
    )
    return figure


def _times(cost: Results, labels: str) -> dict[str, float]:
    """Measured time of a fit of each method, over that of naive fine-tuning."""
    rows = cost.data.isel(row=cost.data["labels"].values == labels)
    return dict(zip(map(str, rows["method"].values), map(float, rows["ratio_to_naive_ft"].values)))


def _machine(cost: Results) -> str:
    return f"\ntimes: {int(cost.data['tasks'][0])} fits side by side on one device of: {cost.data['machine'].values[0]}"


AXES = {
    "coherence": "inner product\nof concepts",
    "spectrum": "decay exponent\nof features",
    "wrong_concept": "share of labels\nand prompts",
    "label_noise": "weak over source\nnoise variance",
    "target_mixture": "weight of\nother concepts",
}


def _winners(cut: xr.Dataset, count: int, *, paired: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Names of the best methods `[accuracy shift]`, and whether each is significantly ahead of the next at 95%.

    Without the covariances of all pairs, which a committed table does not hold, none is called doubtful.
    """
    dims = ("weak_accuracy", "concept_shift")
    mean = cut["risk_mean"].sel(tuning="weak_labels").transpose(*dims, "method").values
    order = np.argsort(mean, axis=-1)
    found, certain = np.empty(mean.shape[:2], object), np.ones(mean.shape[:2], bool)
    cov = cut["risk_cov"].transpose(*dims, "method", "method_2").values if paired else None
    for at in np.ndindex(found.shape):
        best, second = order[at][:2]
        found[at] = str(cut["method"].values[best])
        if cov is not None:
            summary = Summary(np.asarray(float(count)), mean[at], cov[at] * (count - 1))
            gap, sem = paired_difference(summary, int(second), int(best))
            low, _ = confidence_interval(gap, sem, count)
            certain[at] = bool(low > 0)
    return found, certain


def _map(panel: Axes, data: xr.Dataset, found: np.ndarray, certain: np.ndarray, letters: dict[str, str]) -> None:
    accuracies, shifts = data["weak_accuracy"].values, data["concept_shift"].values
    for (i, j), name in np.ndenumerate(found):
        hatch = None if certain[i, j] else "////"
        look = {"facecolor": _pale(name), "edgecolor": "0.45" if hatch else "white", "hatch": hatch, "lw": 0.5}
        panel.add_patch(Rectangle((i - 0.5, j - 0.5), 1, 1, **look))
        box = {"facecolor": _pale(name), "edgecolor": "none", "pad": 0.6}
        panel.text(i, j, letters[name], ha="center", va="center", fontsize=7, weight="bold", bbox=box)
    panel.set_xticks(range(len(accuracies)), [f"{a:g}" for a in accuracies])
    panel.set_yticks(range(len(shifts)), [f"{s:g}" for s in shifts])
    panel.set(xlim=(-0.5, len(accuracies) - 0.5), ylim=(-0.5, len(shifts) - 0.5))
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def _pale(method: str) -> tuple[float, float, float]:
    """A method's colour, light enough to be written on."""
    red, green, blue = (0.45 + 0.55 * part for part in to_rgb(style.look(method).color))
    return red, green, blue


def _cell(panel: Axes, column: int, row: int, text: str, shade: float, size: float = 6.2) -> None:
    face = SHADES(shade) if np.isfinite(shade) else "#F7F7F7"
    panel.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=face, linewidth=0))
    panel.text(column, row, text, ha="center", va="center", fontsize=size)


def _setting(results: Results) -> str:
    config = results.config
    return (
        f"n = {config['sample_size']}, d = {config['dim']}, K = {config['num_concepts']}, prompts of "
        f"{config['num_icl']}, {results.num_replicates} replicates"
    )
