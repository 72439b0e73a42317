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
from collections.abc import Callable
from pathlib import Path

from sims.coverage.intervals import flagged, measure, poor, summary
from sims.engine import runtime
from sims.engine.checked import check_one
from sims.engine.cli import guarded
from sims.engine.files import check_writable
from sims.engine.run import duration, say
from sims.risk_sweep.spec import QUICK

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
