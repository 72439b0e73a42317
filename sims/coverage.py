"""Measures how often the 95% intervals of the quick risk sweep contain the true value, over many sweeps.

    python -m sims.coverage --json FILE

Each sweep has its own replicates of a few cells of the quick grid, among them those whose means rest on rare prompts.
Its intervals are those of its store: Student's, a one-sided bound where fewer than 30 replicates carry a mean, and
Fieller's of the performance gap recovered. The truth is the mean over all sweeps, whose error is 1/sqrt(sweeps) of one
sweep's. A cell counts as flagged where most sweeps bound its mean from one side. Exit code 0: every other cell is
covered in at least 93% of the sweeps; 1: some cell is not; 2: invalid input.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sims.engine import runtime
from sims.engine.checked import check_one
from sims.engine.cli import guarded
from sims.engine.run import duration, say
from sims.risk_sweep.expected import largest_misalignment
from sims.risk_sweep.replicate import columns, simulate, weighing_methods
from sims.risk_sweep.spec import QUICK, SweepSpec
from sims.risk_sweep.world import make_grid
from sims.verify import check_writable
from w2s_jax.rng import replicate_key
from w2s_jax.statistics import ENOUGH, covariance, effective_count, pgr_interval, rare_interval, summarize

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
SWEEPS, SECONDS = 1000, 0.7e-3
"""Sweeps unless asked otherwise, and rough time of a replicate on one core."""
STUDENTS = ("naive_ft", "icl_refine_shared", "icl_refine_fresh")


class Interval(NamedTuple):
    """Interval of one quantity, `[W S N I]`."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    few: np.ndarray


BATCH = 20
"""Replicates that are computed at once."""


def program(spec: SweepSpec) -> Callable[[jax.Array, jax.Array], Any]:
    """(key, first replicate) -> fixed risks, varying risks and misalignments `[r ...]` of a sweep."""
    grid = make_grid(spec)

    def sweep(key, first):
        def replicate(i):
            found = simulate(spec, replicate_key(key, first + i), grid)
            return found.fixed_risk, found.varying_risk, found.misalignment

        return jax.lax.map(replicate, jnp.arange(spec.replicates), batch_size=BATCH)

    return jax.jit(sweep, compiler_options=runtime.compiler_options())


def intervals(spec: SweepSpec, found: tuple[np.ndarray, np.ndarray, np.ndarray]) -> dict[str, Interval]:
    """The intervals of one sweep, by quantity, from its replicates `[r W S N ...]`; all `[W S N I]`."""
    fixed, varying = columns(spec)
    shape = found[1].shape[1:5]
    risks = {m: found[1][..., i] for i, (m, _) in enumerate(varying)}
    for method in dict.fromkeys(m for m, _ in fixed):
        path = found[0][..., [i for i, (m, _) in enumerate(fixed) if m == method]]
        best = path.mean(axis=0).argmin(axis=-1)[None, ..., None]
        at_best = np.take_along_axis(path, best, axis=-1)
        risks[method] = np.broadcast_to(at_best, (*at_best.shape[:-1], shape[3]))
    quantities = {f"risk of {m}": _interval(risks[m], np.inf) for m in STUDENTS}
    for i, method in enumerate(weighing_methods(spec)):
        quantities[f"misalignment of {method}"] = _interval(found[2][..., i], largest_misalignment(spec, method))
    for method in STUDENTS:
        three = np.stack([risks["weak"], risks[method], risks["ceiling"]], -1)
        summary = summarize(three)
        ends = pgr_interval(summary.mean, covariance(summary), len(three))
        quantities[f"PGR of {method}"] = Interval(*ends, np.zeros(shape, bool))
    return quantities


def _interval(x: np.ndarray, largest: float) -> Interval:
    mean, variance, count = x.mean(axis=0), x.var(axis=0, ddof=1), len(x)
    effective = effective_count(mean, variance, count)
    ends = rare_interval(mean, np.sqrt(variance / count), count, effective, largest)
    return Interval(mean, *ends, effective < ENOUGH)


def measure(spec: SweepSpec, sweeps: int, tell: Callable[[int], None] = lambda done: None) -> list[dict]:
    """A row for every quantity and cell: how often its intervals held the mean over all sweeps."""
    run, key = program(spec), jax.random.key(spec.seed)
    held: dict[str, list[Interval]] = {}
    totals = None
    for sweep in range(sweeps):
        found = tuple(np.asarray(x, np.float64) for x in run(key, jnp.int32(sweep * spec.replicates)))
        means = tuple(x.mean(axis=0, keepdims=True) for x in found)
        totals = means if totals is None else tuple(a + b for a, b in zip(totals, means))
        for name, interval in intervals(spec, found).items():
            held.setdefault(name, []).append(interval)
        tell(sweep + 1)
    assert totals is not None
    truths = _truths(spec, tuple(total / sweeps for total in totals))
    return [row for name, found in held.items() for row in _rows(spec, name, found, truths[name])]


def _truths(spec: SweepSpec, means: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    # Two equal replicates at the means: their intervals are points.
    with np.errstate(invalid="ignore", divide="ignore"):
        twice = tuple(np.concatenate([x, x]) for x in means)
        return {name: found.estimate for name, found in intervals(spec, twice).items()}


def _rows(spec: SweepSpec, name: str, found: list[Interval], truth: np.ndarray) -> Iterator[dict]:
    low, high, few, estimate = (
        np.stack([getattr(x, part) for x in found]) for part in ("low", "high", "few", "estimate")
    )
    held, above = (low <= truth) & (truth <= high), truth > high
    for at in np.ndindex(truth.shape):
        w, s, n, i = at
        if ("naive_ft" in name and i > 0) or not np.isfinite(truth[at]):
            continue  # it reads no prompt; there is no gap to recover
        here = (slice(None), *at)
        yield {
            "quantity": name,
            "weak_accuracy": spec.weak_accuracy[w],
            "concept_shift": spec.concept_shift[s],
            "sample_size": spec.sample_size[n],
            "num_icl": None if "naive_ft" in name else spec.num_icl[i],
            "truth": float(truth[at]),
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
    parser.add_argument("--sweeps", type=int, default=SWEEPS, help=f"number of sweeps, >= 2; default {SWEEPS}")
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
        check_one("sweeps", options.sweeps, options.sweeps >= 2, "at least 2", "coverage is a share of them")
        named = {name: getattr(options, name) for name in ("replicates", "prompt_rounds", "seed")}
        spec = dataclasses.replace(CELLS, **named)
        if options.json is not None:
            check_writable(options.json)
        runtime.configure()
        effort = options.sweeps * spec.replicates * SECONDS
        say(f"{options.sweeps:,} sweeps of {spec.replicates:,} replicates; time: about {duration(effort)} on one core")
        origin = runtime.provenance()  # before a long run, in which the checkout may change
        started = time.perf_counter()
        rows = measure(spec, options.sweeps, _progress(options.sweeps))
        print(table(rows))
        worst = min((row["coverage"] for row in rows if not flagged(row)), default=1.0)
        say(f"least coverage of a cell that is not flagged: {worst:.3f}; {duration(time.perf_counter() - started)}")
        if options.json is not None:
            made = {"command": "python -m sims.coverage", "sweeps": options.sweeps, **named, **origin}
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps({**made, "rows": rows}, indent=1) + "\n")
        return int(worst < LEAST)

    return guarded(act)


def flagged(row: dict) -> bool:
    """Whether most sweeps bound the mean from one side."""
    return row["bounded"] > 0.5


def table(rows: list[dict]) -> str:
    """The rows as lines of text, not wrapped."""
    lines = [
        f"{'quantity':34} {'a':>4} {'shift':>5} {'n_icl':>5} {'truth':>10} {'covered':>8} {'above':>6} {'bounded':>7}"
    ]
    for row in rows:
        cell = f"{row['weak_accuracy']:4g} {row['concept_shift']:5g} {row['num_icl'] or '':>5} {row['truth']:10.4g}"
        shares = f"{row['coverage']:8.3f} {row['truth_above']:6.3f} {row['bounded']:7.3f}"
        lines.append(f"{row['quantity']:34} {cell} {shares}")
    return "\n".join(lines)


def _progress(sweeps: int) -> Callable[[int], None]:
    """Says how far it is, ten times in all."""
    every = max(1, sweeps // 10)
    return lambda done: say(f"{done:,} of {sweeps:,} sweeps") if done % every == 0 else None


if __name__ == "__main__":
    sys.exit(main())
