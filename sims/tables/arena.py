"""The table of the arena: what every published method recovers, where it ranks, and what it costs."""

import numpy as np

from sims.tables.sources import Sources, markdown

CELL = {"weak_accuracy": 0.7, "concept_shift": 0.5}
"""Cell of the performance gap recovered."""


def methods(sources: Sources, labels: str) -> str:
    """A row per method in the order of its mean rank; knobs are tuned on weak labels."""
    data = sources.sweep("methods" if labels == "linear" else f"methods_{labels}")
    times = {row["method"]: row for row in sources.rows("methods_cost") if row["labels"] == labels}
    rank, error = data.rank_mean.load(), data.rank_sem.load()
    recovered = data.pgr.sel(CELL).sel(budget="examples", weakness=["rotated", "confused", "noisy"]).load()
    risk = data.risk_mean.sel(budget="examples")
    ratio = (risk.sel(tuning="weak_labels") / risk.sel(tuning="oracle")).median(["weakness", *CELL])
    names = data["method"].values
    budgets, first = [str(budget) for budget in rank.budget.values], rank.sel(budget="examples").values
    rows = []
    for name in names[np.argsort(first, kind="stable")]:
        at = {"method": name}
        ranks = [_ranked(*(float(part.sel({**at, "budget": budget})) for part in (rank, error))) for budget in budgets]
        gaps = [f"{value:.2f}" if np.isfinite(value) else "" for value in recovered.sel(at).values]
        over = float(ratio.sel(at))
        time = f"{times[name]['ratio_to_naive_ft']:.2g}" if name in times else ""
        rows.append([f"`{name}`", *ranks, *gaps, f"{over:.2f}" if over < 100 else "> 100", time])
    header = [f"rank, same {budget}" for budget in budgets]
    header += [f"PGR, {kind}" for kind in recovered.weakness.values]
    return markdown(["method", *header, "tuned over oracle risk", "time of a fit"], rows)


def _ranked(mean: float, sem: float) -> str:
    return f"{mean:.1f} ± {sem:.1f}" if np.isfinite(mean) else ""
