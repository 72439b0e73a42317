"""Measures how often the 95% intervals of the quick risk sweep contain the true value, over many sweeps.

    python -m sims.coverage --json FILE
    python -m sims.coverage --pool 8 --json FILE

Each sweep has its own replicates of a few cells of the quick grid, among them those whose means rest on rare prompts.
With --pool it is every cell of that grid: the replicates of a few sweeps are simulated, and those of all others drawn
from them with replacement (the bootstrap, Efron 1979).

The intervals are those of a store: Student's, a one-sided bound where fewer than 30 replicates carry a mean, and
Fieller's of the performance gap recovered. The truth is the mean over all sweeps, whose error is 1/sqrt(sweeps) of one
sweep's; for naive_ft it is that at the penalty where a sweep reads it, which its store names (`best_penalty`). A cell
counts as flagged where most sweeps bound its mean from one side. Exit code 0: every other cell is covered in at least
93% of the sweeps; 1: some cell is not; 2: invalid input.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sims.engine import runtime
from sims.engine.checked import check_one
from sims.engine.cli import guarded
from sims.engine.files import check_writable
from sims.engine.run import duration, say
from sims.risk_sweep.expected import largest_misalignment
from sims.risk_sweep.replicate import columns, simulate, weighing_methods
from sims.risk_sweep.spec import QUICK, SweepSpec
from sims.risk_sweep.world import make_grid
from w2s_jax.rng import replicate_key
from w2s_jax.statistics import ENOUGH, effective_count, pgr_interval, rare_interval

LEAST = 0.93
"""Coverage that a cell must have; 0.95 less 2.9 standard errors of 1,000 sweeps."""
CELLS = dataclasses.replace(
    QUICK,
    weakness=("rotated",),
    weak_accuracy=(0.8, 0.9),
    concept_shift=(0.1, 0.5, 0.9),
    sample_size=(1024,),
    num_icl=(16,),
    methods=("weak", "ceiling", "naive_ft", "icl_refine_shared", "icl_refine_fresh"),
)
SWEEPS, SECONDS, SECONDS_OF_CELL = 1000, 0.7e-3, 7e-6
"""Sweeps unless asked otherwise, and rough time on one core of a replicate and of each of its cells."""
POOLED_SWEEPS = 4000
"""The same with a pool, where they cost little, and where the poorest of many thousand cells is looked for."""
GRID = dataclasses.replace(QUICK, methods=CELLS.methods)
STUDENTS = ("naive_ft", "icl_refine_shared", "icl_refine_fresh")


class Interval(NamedTuple):
    """Intervals of one quantity in a batch of sweeps, `[b W S N I]`."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    few: np.ndarray


class Moments(NamedTuple):
    """Mean, unbiased variance and covariance with the ceiling's risk, in each sweep of a batch, `[b W S N ...]`."""

    mean: np.ndarray
    variance: np.ndarray
    with_ceiling: np.ndarray


Sweeps = tuple[Moments, ...]
"""Moments of the fixed risks, the varying risks and the misalignments."""

AT_ONCE, RESAMPLED_AT_ONCE = 20, 200
"""Replicates that are computed at once, and sweeps that are drawn from a pool at once."""


def simulated(spec: SweepSpec) -> Iterator[tuple[np.ndarray, ...]]:
    """Without end, fixed risks, varying risks and misalignments `[r W S N ...]` of one sweep after another."""
    grid, key = make_grid(spec), jax.random.key(spec.seed)
    at_once = AT_ONCE if spec.num_cells <= AT_ONCE else None

    def sweep(key, first):
        def replicate(i):
            found = simulate(spec, replicate_key(key, first + i), grid)
            return found.fixed_risk, found.varying_risk, found.misalignment

        return jax.lax.map(replicate, jnp.arange(spec.replicates), batch_size=at_once)

    run = jax.jit(sweep, compiler_options=runtime.compiler_options())
    for number in count():
        yield tuple(np.asarray(x) for x in run(key, jnp.int32(number * spec.replicates)))


def fresh(spec: SweepSpec, sweeps: int) -> Iterator[Sweeps]:
    """The moments of sweeps that share no replicate, one by one."""
    n = spec.replicates
    for found in islice(simulated(spec), sweeps):
        wide = [x.astype(np.float64) for x in found]
        means = [x.mean(axis=0) for x in wide]
        centred = [x - mean for x, mean in zip(wide, means)]
        products = [(x * x, x * _ceiling(spec, centred[0], x)) for x in centred]
        yield tuple(
            Moments(mean[None], *(part.sum(axis=0)[None] / (n - 1) for part in pair))
            for mean, pair in zip(means, products)
        )


def resampled(spec: SweepSpec, sweeps: int, pool: int) -> Iterator[Sweeps]:
    """The moments of sweeps whose replicates are drawn, with replacement, from those of `pool` sweeps."""
    held = [np.concatenate(parts) for parts in zip(*islice(simulated(spec), pool))]
    centres = [x.mean(axis=0, dtype=np.float64) for x in held]
    centred = [(x - c).astype(np.float32) for x, c in zip(held, centres)]
    products = [(x, x * x, x * _ceiling(spec, centred[0], x)) for x in centred]
    rng, n, total = np.random.default_rng(spec.seed), spec.replicates, len(held[0])
    for start in range(0, sweeps, RESAMPLED_AT_ONCE):
        size = min(RESAMPLED_AT_ONCE, sweeps - start)
        # How often each replicate of the pool is in each sweep: means are then products of matrices.
        times = rng.multinomial(n, np.full(total, 1 / total), size=size).astype(np.float32)
        means = [[_times(times, part) / n for part in parts] for parts in products]
        yield tuple(
            Moments(
                centre + first,
                np.maximum(square - first * first, 0) * n / (n - 1),  # rounded, it may fall below
                (product - first * _ceiling(spec, means[0][0], first)) * n / (n - 1),
            )
            for centre, (first, square, product) in zip(centres, means)
        )


def _times(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    return (times @ values.reshape(len(values), -1)).astype(np.float64).reshape(-1, *values.shape[1:])


def _places(spec: SweepSpec, method: str) -> list[int]:
    """Columns of a method that reads no prompt: its path, or the only one that it has."""
    return [i for i, (m, _) in enumerate(columns(spec)[0]) if m == method]


def _ceiling(spec: SweepSpec, fixed: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The ceiling's column of `fixed`, with the axes of `like`."""
    found = fixed[..., _places(spec, "ceiling")]
    return found.reshape(*found.shape[:4], *(1,) * (like.ndim - 4))


def best_penalties(spec: SweepSpec, sweeps: Sweeps) -> np.ndarray:
    """Where on its path each sweep reads naive_ft, `[b W S N 1]`: where its mean risk is least."""
    return sweeps[0].mean[..., _places(spec, "naive_ft")].argmin(axis=-1)[..., None]


def intervals(spec: SweepSpec, sweeps: Sweeps, best: np.ndarray) -> dict[str, Interval]:
    """The intervals of a batch of sweeps, by quantity; `best` is where each reads naive_ft."""
    fixed, varying, misalignment = sweeps
    shape = varying.mean.shape[:5]
    risks = {m: Moments(*(part[..., i] for part in varying)) for i, (m, _) in enumerate(columns(spec)[1])}
    for method in dict.fromkeys(m for m, _ in columns(spec)[0]):
        place = best if method == "naive_ft" else np.zeros_like(best)
        path = (part[..., _places(spec, method)] for part in fixed)
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
    for batch in resampled(spec, sweeps, pool) if pool else fresh(spec, sweeps):
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


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.coverage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too, with what made them")
    parser.add_argument("--pool", type=int, default=0, help="sweeps to draw the others from, >= 2; default 0, no pool")
    parser.add_argument("--sweeps", type=int, help=f"number, >= 2; default {SWEEPS}, or {POOLED_SWEEPS} from a pool")
    parser.add_argument("--replicates", type=int, default=CELLS.replicates, help="of a sweep; default those of quick")
    parser.add_argument(
        "--prompt-rounds",
        type=int,
        default=CELLS.prompt_rounds,
        help=f"0 reads the replicates' own prompts alone; default {CELLS.prompt_rounds}",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw, >= 0; default 0")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(argv)

    def act() -> int:
        pool = options.pool
        sweeps = options.sweeps if options.sweeps is not None else POOLED_SWEEPS if pool else SWEEPS
        check_one("sweeps", sweeps, sweeps >= 2, "at least 2", "coverage is a share of them")
        check_one("pool", pool, pool == 0 or pool >= 2, "0 or at least 2", "8 is a good number")
        named = {name: getattr(options, name) for name in ("replicates", "prompt_rounds", "seed")}
        whole = dataclasses.replace(GRID if pool else CELLS, **named)
        if options.json is not None:
            check_writable(options.json)
        runtime.configure()
        effort = (pool or sweeps) * whole.replicates * (SECONDS + whole.num_cells * SECONDS_OF_CELL)
        say(f"{sweeps:,} sweeps of {whole.replicates:,} replicates; time: about {duration(effort)} on one core")
        origin = runtime.provenance()  # before a long run, in which the checkout may change
        started, rows = time.perf_counter(), []
        for weakness in whole.weakness:
            say(f"{weakness} teachers")
            spec = dataclasses.replace(whole, weakness=(weakness,))
            rows += measure(spec, sweeps, pool, _progress(sweeps))
        worst = min((row["coverage"] for row in rows if not flagged(row)), default=1.0)
        held = {"summary": summary(rows), "rows": [row for row in rows if poor(row)]} if pool else {"rows": rows}
        print(table(held["rows"]))
        say(f"least coverage of a cell that is not flagged: {worst:.3f}; {duration(time.perf_counter() - started)}")
        if options.json is not None:
            made = {"command": "python -m sims.coverage", "sweeps": sweeps, "pool": pool, **named, **origin}
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps({**made, **held}, indent=1) + "\n")
        return int(worst < LEAST)

    return guarded(act)


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


def table(rows: list[dict]) -> str:
    """The rows as lines of text, not wrapped."""
    wide = {"quantity": 34, "weakness": 8, "weak_accuracy": 13, "concept_shift": 13, "sample_size": 11, "num_icl": 7}
    wide |= {"truth": 9, "coverage": 8, "truth_above": 11, "bounded": 7}

    def text(value: str | float | None) -> str:
        return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"

    lines = [" ".join(f"{name:>{width}}" for name, width in wide.items())]
    return "\n".join(lines + [" ".join(f"{text(row[name]):>{width}}" for name, width in wide.items()) for row in rows])


def _progress(sweeps: int) -> Callable[[int], None]:
    """Says how far it is, ten times in all."""
    every = max(1, sweeps // 10)
    return lambda done: say(f"{done:,} of {sweeps:,} sweeps") if done % every == 0 else None


if __name__ == "__main__":
    sys.exit(main())
