"""One style for every figure: one colour, line and marker a method, bands of 95%, thin lines for theory.

No pyplot and no global state: figures are plain `matplotlib.figure.Figure` objects, drawn inside `style()`.
"""

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

from w2s_jax.statistics import confidence_interval

SINGLE_COLUMN = 3.4
"""Width of a one-column figure, inches."""
DOUBLE_COLUMN = 7.0
"""Width of a two-column figure, inches."""
RISK = "excess risk (squared label units)"

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.2,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 250,
}


class Look(NamedTuple):
    """How a method is drawn, everywhere."""

    label: str
    color: str
    line: Any
    marker: Any


# Okabe and Ito's palette for what is drawn most, the others found by search: methods that meet in a figure differ by
# CIEDE2000 >= 12, for the colour-blind too (tests/test_figures_colours.py). Lines and markers differ as well, so that a
# figure reads in grey.
METHODS: dict[str, Look] = {
    "source": Look("source (strong, not aligned)", "#A6A6A6", (0, (1, 1.2)), "x"),
    "weak": Look("weak teacher", "#555555", (0, (4, 1.5)), "P"),
    "ceiling": Look("ceiling (true labels)", "#009E73", "-", "D"),
    "naive_ft": Look("naive fine-tuning, best penalty", "#D55E00", "-", "s"),
    "gradient_flow": Look("gradient flow, best time", "#E69F00", (0, (5, 1.5)), "h"),
    "icl_refine_shared": Look("refinement, one shared prompt", "#56B4E9", "-", "^"),
    "icl_refine_fresh": Look("refinement, fresh prompts", "#0072B2", "-", "o"),
    "icl_refine_leave_one_out": Look("refinement, leave-one-out", "#CC79A7", (0, (5, 1.5)), "v"),
    "intent_refine": Look("intent refinement (MAP)", "#453B58", (0, (3, 1, 1, 1)), "<"),
    "self_refine": Look("self-refinement", "#6F4E06", (0, (6, 1.5, 1, 1.5)), ">"),
    "hull": Look("convex hull of the concepts", "#332288", "-", "p"),
    "em_prior": Look("EM on the prior", "#67D7A0", (0, (3, 1, 1, 1)), "*"),
    "span": Look("span of the concepts", "#C08A00", (0, (6, 1.5)), "X"),
    # of networks on tokens, which never meet those of the linear model that resemble them
    "icl_refine": Look("refinement by examples", "#005AA0", "-", "8"),
    "prompt_only": Look("prompt alone, no training", "#4CA2BB", (0, (3, 1, 1, 1)), "2"),
    "aux_confidence": Look("auxiliary confidence loss", "#947388", (0, (5, 1.5)), "d"),
    "bootstrapping": Look("bootstrapping", "#E8A90C", (0, (6, 1.5, 1, 1.5)), "H"),
    "self_label": Look("strong on its own labels", "#3A1464", (0, (1, 1.2)), "1"),
    # of the arena, which has methods side by side
    "early_stopping": Look("early stopping", "#B8860B", (0, (5, 1.5)), "+"),
    "ensemble": Look("ensemble of teachers", "#5392FC", "-", "3"),
    "experts": Look("co-supervised experts", "#5E3C08", (0, (5, 1.5)), (4, 1, 0)),
    "experts_from_source": Look("experts, from the source", "#A6761D", (0, (3, 1, 1, 1)), "4"),
    "selective": Look("selective", "#B5C684", (0, (6, 1.5)), "|"),
    "contrastive": Look("contrastive", "#511903", (0, (5, 1.5)), (5, 1, 180)),
    "anchored_contrastive": Look("contrastive, anchored", "#42232D", "-", (6, 1, 0)),
    "product_loss": Look("product loss", "#117733", (0, (1, 1.2)), (8, 2, 0)),
    "confidence_window": Look("confidence window", "#6A51A3", (0, (6, 1.5)), (4, 1, 45)),
    "entropy_loss": Look("entropy loss", "#A0A0C8", (0, (3, 1, 1, 1)), (5, 2, 0)),
    "reverse_kl": Look("reverse KL", "#88CCEE", "-", (3, 1, 0)),
    "mixed_ft": Look("weak and true, equal weight", "#8C564B", (0, (6, 1.5)), (6, 0, 0)),
    "true_only": Look("true labels alone", "#D9B400", (0, (1, 1.2)), (3, 0, 0)),
    "weighted_true": Look("weak and true, weighted", "#0D0883", "-", (4, 0, 45)),
    "weak_then_true": Look("weak, then true", "#969AF6", (0, (5, 1.5)), (3, 0, 180)),
    "boosted_ensemble": Look("boosted ensemble", "#4D4228", (0, (3, 1, 1, 1)), (5, 0, 0)),
    "control": Look("control (true, own style)", "#7F634C", (0, (5, 1.5, 1, 1.5)), "_"),
}
SPARE_COLORS = ("#AA4499", "#6699CC", "#661100", "#888888")

MARKERS = "osD^vP<>"
"""Markers of an ordered quantity, drawn with `ordered_colors`."""

THEORY: dict[str, Any] = {"color": "black", "linewidth": 0.7, "zorder": 4}
"""Closed forms: thin and black, distinguished by their dashes."""
DASHED, DOTTED, DASHDOT = (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5))

RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 7,
    "markerfacecolor": "none",
    "markeredgewidth": 0.8,
    "color": "black",
    "linestyle": "none",
    "zorder": 5,
}
"""Marks a point."""

WEAKNESSES = {
    "rotated": "rotated teacher",
    "shifted": "shifted teacher",
    "noisy": "noisy teacher",
    "confused": "confused teacher",
    "opposed": "opposed teacher",
}


def look(method: str) -> Look:
    """How to draw a method; one that this file does not know gets a spare colour, the same every time."""
    if method in METHODS:
        return METHODS[method]
    color = SPARE_COLORS[sum(method.encode()) % len(SPARE_COLORS)]
    return Look(method.replace("_", " "), color, (0, (2, 1)), ".")


def ordered_colors(count: int) -> list[str]:
    """Dark to light for an ordered quantity (sample size, concept shift), readable in grey."""
    ramp = LinearSegmentedColormap.from_list("ramp", ["#1B1044", "#5A2A83", "#A8437F", "#E0765A", "#F2B35E"])
    return [to_hex(ramp(x)) for x in np.linspace(0, 1, count)]


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this context: our settings on top of matplotlib's defaults, which replace the user's own."""
    with matplotlib.style.context(["default", SETTINGS]):
        yield


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **kwargs: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of that size in inches and its axes `[rows columns]`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def draw_method(axes: Axes, x, mean, sem, count, method: str) -> Line2D:
    """A method's simulated mean as a line, with its band of 95%."""
    how = look(method)
    (line,) = axes.plot(x, mean, color=how.color, linestyle=how.line, marker=how.marker, label=how.label, alpha=0.9)
    band(axes, x, mean, sem, count, how.color)
    return line


def band(axes: Axes, x, mean, sem, count, color: str) -> FillBetweenPolyCollection:
    """The 95% interval of a mean as a band."""
    low, high = confidence_interval(np.asarray(mean), np.asarray(sem), np.asarray(count))
    return axes.fill_between(x, positive(axes, low), high, color=color, alpha=0.3, linewidth=0, zorder=1.5)


def error_bars(axes: Axes, x, mean, sem, count, **kwargs: Any):
    """The 95% interval of a mean as bars, for markers without a line."""
    low, high = confidence_interval(np.asarray(mean), np.asarray(sem), np.asarray(count))
    reach = np.stack([np.maximum(mean - positive(axes, low), 0.0), high - mean])
    return axes.errorbar(x, mean, reach, **{"linestyle": "none", "elinewidth": 0.7, "capsize": 0, **kwargs})


def positive(axes: Axes, values: np.ndarray) -> np.ndarray:
    """The values, kept above 0 on a logarithmic axis, where a lower end of an interval may have no place."""
    return np.maximum(values, 1e-30) if axes.get_yscale() == "log" else values


def limit_y(axes: Axes, *values: Any, pad: float = 1.25, least: float = 0.0) -> None:
    """A logarithmic axis fitted to these values, so that a closed form that diverges is cut off at the frame."""
    known = np.concatenate([np.ravel(np.asarray(v, float)) for v in values])
    known = known[np.isfinite(known) & (known > least)]
    if known.size:
        axes.set_ylim(known.min() / pad, known.max() * pad)


def mark_values(axes: Axes, values, axis: str = "x", fmt: str = "{x:g}") -> None:
    """Ticks at exactly these values, as on an axis of sample sizes."""
    side = axes.xaxis if axis == "x" else axes.yaxis
    side.set_major_locator(FixedLocator(list(values)))
    side.set_major_formatter(StrMethodFormatter(fmt))
    side.set_minor_locator(NullLocator())
    side.set_minor_formatter(NullFormatter())


def log_ticks_in_full(axes: Axes) -> None:
    """Numbers such as 0.2 and 0.5, not powers of ten, on a logarithmic y axis of less than two decades."""
    low, high = axes.get_ylim()
    spread = high / low
    steps = (1, 2, 3, 5, 7) if spread < 8 else (1, 2, 5) if spread < 60 else (1, 3) if spread < 1000 else (1,)
    ticks = [m * 10.0**e for e in range(-12, 7) for m in steps]
    mark_values(axes, [t for t in ticks if low <= t <= high], "y")


def title(axes: Axes, index: int, text: str) -> None:
    """A panel's letter and what it shows."""
    axes.set_title(f"$\\bf{{{chr(ord('a') + index)}}}$  {text}", loc="left", pad=4)


def apart(places: Sequence[float], sizes: float | Sequence[float]) -> np.ndarray:
    """Heights in [0, 1] of texts of these sizes near these places, moved where two would overlap."""
    high = np.broadcast_to(sizes, len(places)).astype(float)
    found = np.minimum(places, 1 - high / 2)
    order = np.argsort(-found, kind="stable")
    for above, below in itertools.pairwise(order):
        found[below] = min(found[below], found[above] - (high[above] + high[below]) / 2)
    if len(order) and found[order[-1]] < high[order[-1]] / 2:
        found[order[-1]] = high[order[-1]] / 2
        for below, above in itertools.pairwise(order[::-1]):
            found[above] = max(found[above], found[below] + (high[above] + high[below]) / 2)
    return found


def name_beside(axes: Axes, name: str, color: str, start: float, place: float) -> None:
    """A name to the right of a panel at the height `place`, with a line from `start`; heights are shares of it."""
    look = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 0}
    place_of = {"xycoords": "axes fraction", "textcoords": "axes fraction"}
    axes.annotate(name, (1, start), (1.08, place), color=color, fontsize=6.5, va="center", arrowprops=look, **place_of)


def legend_in(axes: Axes, handles: dict[str, Artist], title: str = "") -> None:
    """The legend in a panel of its own; it does not move the others."""
    band = Patch(facecolor="0.55", alpha=0.4, linewidth=0)
    legend = axes.legend(
        [*handles.values(), band],
        [*handles, "95% interval"],
        loc="upper left",
        bbox_to_anchor=(-0.05, 1.08),
        title=title,
        alignment="left",
        title_fontsize=6.5,
        labelspacing=0.35,
    )
    legend.set_in_layout(False)


def legend_below(figure: Figure, handles: dict[str, Artist], columns: int, title: str = "") -> None:
    """One legend for all panels, under them."""
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=columns,
        title=title,
        title_fontsize=6.5,
    )


def theory_last(handles: dict[str, Artist]) -> dict[str, Artist]:
    """Entries of a legend, what was simulated before the closed forms."""
    return dict(sorted(handles.items(), key=lambda entry: entry[0].startswith("theory")))


UNDATED: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
"""Metadata left out of files, by format: without a date a figure drawn again is the same."""


def encode(figure: Figure, kinds: Iterable[str] = ("pdf", "png")) -> dict[str, bytes]:
    """The figure as the bytes of a file of each kind; they contain no date."""
    figure.draw_without_rendering()  # lays it out, once for all
    figure.set_layout_engine("none")
    files = {}
    for kind in kinds:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=UNDATED[kind])
        files[kind] = buffer.getvalue()
    return files


def write(figure: Figure, path: Path) -> None:
    """The figure in one file, whose suffix is its format; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix[1:]
    path.write_bytes(encode(figure, (kind,))[kind])
