"""A few true labels among the weak ones: risk by their share, and which of its teacher's errors a student copies."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.arena import REFERENCE, RISKS, WORDS, label_of, labels_of
from figures.data import Results
from w2s_jax.theory import mixed_labels_risk
from w2s_jax.theory_zoo import copied_errors, mixed_label_student

SHOWN = ("naive_ft", "icl_refine", "true_only", "weighted_true", "weak_then_true", "boosted_ensemble", "ceiling")
"""Methods in the order of the legend; those that a store has are drawn."""
TEACHERS = ("rotated", "confused")
WIDTH = 5.2
"""Inches: text stays readable where a page is 600 pixels wide."""


def true_labels(numbers: Results, signs: Results | None = None) -> Figure:
    """Risk by the share of true labels, numbers above signs, a column for each teacher; and copied errors of signs."""
    stores = [results for results in (numbers, signs) if results is not None]
    kinds = [(results, labels_of(results)) for results in stores]
    rows = [(results, "risk_mean", kind) for results, kind in kinds]
    rows += [(results, "copied_errors_mean", kind) for results, kind in kinds if "copied_errors_mean" in results.data]
    weaknesses = [w for w in TEACHERS if w in numbers.weaknesses] or numbers.weaknesses[:2]
    figure, axes = style.new_figure(WIDTH, 0.7 + 1.75 * len(rows), len(rows), len(weaknesses), sharey="row")
    handles: dict[str, Artist] = {}
    for row, (results, variable, kind) in enumerate(rows):
        for column, weakness in enumerate(weaknesses):
            panel = axes[row, column]
            handles |= _panel(panel, results, variable, kind, weakness)
            words = "copied errors, " * variable.startswith("copied") + WORDS[kind]
            style.title(panel, row * len(weaknesses) + column, f"{words}, {style.WEAKNESSES[weakness]}")
            panel.set_xlabel("share of true labels" if row == len(rows) - 1 else "")
            if column == 0:
                panel.set_ylabel("share copied" if variable.startswith("copied") else RISKS[kind])
    order = [label_of(name) for name in SHOWN]
    handles = {name: handles[name] for name in [*order, *handles] if name in handles}
    config, at = numbers.config, numbers.nearest(**REFERENCE)
    heading = (
        f"{_fitted(numbers)} labels of a teacher with a = {at['weak_accuracy']:g}, shift {at['concept_shift']:g}, "
        f"d = {config['dim']};\nknobs tuned on held-out labels; bars: 95% interval; theory of signs: endless examples"
    )
    style.legend_below(figure, style.theory_last(handles), 2, heading)
    return figure


def _fitted(results: Results) -> int:
    return int(results.data.examples.sel({"budget": "examples", "method": "naive_ft"}))


def _panel(panel: Axes, results: Results, variable: str, kind: str, weakness: str) -> dict[str, Artist]:
    cut = results.data.sel(results.nearest(**REFERENCE)).sel(weakness=weakness, budget="examples")
    if "tuning" in cut[variable].dims:
        cut = cut.sel(tuning="weak_labels")
    shares, handles = cut["true_label_share"].values, {}
    for name in SHOWN:
        if name not in cut["method"].values:
            continue
        look, own = style.look(name), cut.sel({"method": name})
        bars = style.error_bars(
            panel,
            shares,
            own[variable].values,
            own[variable.replace("_mean", "_sem")].values,
            results.num_replicates,
            color=look.color,
            marker=look.marker,
            linestyle=look.line,
            linewidth=0.9,
            markersize=4,
        )
        handles[label_of(name)] = bars
    panel.set_xscale("log")
    style.mark_values(panel, shares)
    for text, values in _theory(results, variable, kind, weakness, float(cut.weak_risk.max()), shares).items():
        dense, known = values
        (handles[text],) = panel.plot(dense, known, **style.THEORY, linestyle=style.DASHED)
    panel.set_ylim(0, None)
    return handles


def _theory(results: Results, variable: str, kind: str, weakness: str, weak_risk: float, shares: np.ndarray):
    """One fit to all labels with equal weights: exactly for numbers, for endless examples of signs."""
    dense = np.geomspace(shares.min(), shares.max(), 101)
    if kind == "linear":
        task = jax.tree.map(
            lambda leaf: leaf[0],
            results._replace(data=results.data.sel(weakness=[weakness])).tasks(**results.nearest(**REFERENCE)),
        )
        count = _fitted(results)
        return {"theory: true labels weigh no more": (dense, mixed_labels_risk(task, count, count * dense))}
    found = mixed_label_student(jnp.asarray(dense), 1.0, 1 - weak_risk)
    known = 1 - found.accuracy
    if variable.startswith("copied"):
        known = copied_errors(found.accuracy, 1 - weak_risk, found.agreement)
    return {"theory: true labels weigh no more": (dense, known)}
