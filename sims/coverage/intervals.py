"""The intervals of many sweeps, as a store has them, and how often each held the mean over all sweeps."""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from sims.coverage import sweeps as drawn
from sims.coverage.sweeps import Moments, Sweeps, places
from sims.risk_sweep.expected import largest_misalignment
from sims.risk_sweep.replicate import columns, weighing_methods
from sims.risk_sweep.spec import SweepSpec
from w2s_jax.statistics import ENOUGH, effective_count, pgr_interval, rare_interval

STUDENTS = ("naive_ft", "icl_refine_shared", "icl_refine_fresh")


class Interval(NamedTuple):
    """Intervals of one quantity in a batch of sweeps, `[b W S N I]`."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    few: np.ndarray


def best_penalties(spec: SweepSpec, sweeps: Sweeps) -> np.ndarray:
    """Where on its path each sweep reads naive_ft, `[b W S N 1]`: where its mean risk is least."""
    return sweeps[0].mean[..., places(spec, "naive_ft")].argmin(axis=-1)[..., None]


def intervals(spec: SweepSpec, sweeps: Sweeps, best: np.ndarray) -> dict[str, Interval]:
    """The intervals of a batch of sweeps, by quantity; `best` is where each reads naive_ft."""
    fixed, varying, misalignment = sweeps
    shape = varying.mean.shape[:5]
    risks = {m: Moments(*(part[..., i] for part in varying)) for i, (m, _) in enumerate(columns(spec)[1])}
    for method in dict.fromkeys(m for m, _ in columns(spec)[0]):
        place = best if method == "naive_ft" else np.zeros_like(best)
        path = (part[..., places(spec, method)] for part in fixed)
        risks[method] = Moments(*(np.broadcast_to(np.take_along_axis(p, place, axis=-1), shape) for p in path))
    quantities = {f"risk of {m}": _interval(spec, risks[m], np.inf) for m in STUDENTS}
    for i, method in enumerate(weighing_methods(spec)):
        here = Moments(*(part[..., i] for part in misalignment))
        quantities[f"misalignment of {method}"] = _interval(spec, here, largest_misalignment(spec, method))
    for method in STUDENTS:
        three = [risks["weak"], risks[method], risks["ceiling"]]
        spread = np.zeros((*shape, 3, 3))  # the teacher's risk is that of a population, and does not vary
        spread[..., 1, 1], spread[..., 2, 2] = three[1].variance, three[2].variance
        spread[..., 1, 2] = spread[..., 2, 1] = three[1].with_ceiling
        ends = pgr_interval(np.stack([risk.mean for risk in three], -1), spread, np.float64(spec.replicates))
        quantities[f"PGR of {method}"] = Interval(*(np.asarray(end) for end in ends), np.zeros(shape, bool))
    return quantities


def _interval(spec: SweepSpec, x: Moments, largest: float) -> Interval:
    mean, variance, _ = x
    effective = effective_count(mean, variance, spec.replicates)
    ends = rare_interval(mean, np.sqrt(variance / spec.replicates), spec.replicates, effective, largest)
    return Interval(mean, *ends, effective < ENOUGH)


def measure(spec: SweepSpec, sweeps: int, pool: int = 0, tell: Callable[[int], None] = lambda done: None) -> list[dict]:
    """A row for every quantity and cell: how often its intervals held the mean over all sweeps."""
    held: dict[str, list[Interval]] = {}
    chosen, totals, done = [], None, 0
    for batch in drawn.resampled(spec, sweeps, pool) if pool else drawn.fresh(spec, sweeps):
        sums = [part.mean.sum(axis=0) for part in batch]
        totals = sums if totals is None else [a + b for a, b in zip(totals, sums)]
        best = best_penalties(spec, batch)
        for name, interval in intervals(spec, batch, best).items():
            held.setdefault(name, []).append(interval)
        chosen.append(best)
        done += len(best)
        tell(done)
    assert totals is not None
    best = np.concatenate(chosen)
    means = (np.broadcast_to(total / sweeps, (sweeps, *total.shape)) for total in totals)
    truths = intervals(spec, tuple(Moments(mean, *[np.zeros_like(mean)] * 2) for mean in means), best)
    return [row for name, found in held.items() for row in _rows(spec, name, found, truths[name].estimate)]


def _rows(spec: SweepSpec, name: str, found: list[Interval], truth: np.ndarray) -> Iterator[dict]:
    """`truth` is `[sweep W S N I]`: that of naive_ft differs with the penalty at which a sweep reads it."""
    low, high, few, estimate = (
        np.concatenate([getattr(x, part) for x in found]) for part in ("low", "high", "few", "estimate")
    )
    held, above = (low <= truth) & (truth <= high), truth > high
    for at in np.ndindex(truth.shape[1:]):
        w, s, n, i = at
        here = (slice(None), *at)
        if ("naive_ft" in name and i > 0) or not np.isfinite(truth[here]).all():
            continue  # it reads no prompt; there is no gap to recover
        yield {
            "quantity": name,
            "weakness": spec.weakness[0],
            "weak_accuracy": spec.weak_accuracy[w],
            "concept_shift": spec.concept_shift[s],
            "sample_size": spec.sample_size[n],
            "num_icl": None if "naive_ft" in name else spec.num_icl[i],
            "truth": float(truth[here].mean()),
            "spread": float(estimate[here].std(ddof=1)),
            "coverage": float(held[here].mean()),
            "truth_above": float(above[here].mean()),
            "bounded": float(few[here].mean()),
        }


def flagged(row: dict) -> bool:
    """Whether most sweeps bound the mean from one side."""
    return row["bounded"] > 0.5


def poor(row: dict) -> bool:
    """Whether a mean that is not flagged is covered in fewer sweeps than its level says by more than a point."""
    return not flagged(row) and row["coverage"] < 0.94


def summary(rows: list[dict]) -> list[dict]:
    """For each quantity and kind of teacher, how its cells are covered."""
    found = []
    kind = itemgetter("quantity", "weakness")
    for (quantity, weakness), group in groupby(sorted(rows, key=kind), kind):
        cells = list(group)
        kept = [row for row in cells if not flagged(row)]
        coverage = [row["coverage"] for row in kept]
        found.append(
            {
                "quantity": quantity,
                "weakness": weakness,
                "cells": len(cells),
                "flagged": len(cells) - len(kept),
                "least": min(coverage, default=None),
                "mean": float(np.mean(coverage)) if kept else None,
                "most": max(coverage, default=None),
                "truth_above": float(np.mean([row["truth_above"] for row in kept])) if kept else None,
                "least_of_bounds": min((row["coverage"] for row in cells if flagged(row)), default=None),
            }
        )
    return found
