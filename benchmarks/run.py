"""Ours against NumPy, in one run: tasks per second, compile time and memory of each contender.

    python -m benchmarks.run [--json FILE] [--repeats 5]

The workload is a grid of 20 weak accuracies x 20 concept shifts x 5 prompt lengths at d = 32, n = 2048, K = 4, and a
task is one of its cells in one replicate: naive fine-tuning at one penalty and refinement with a shared prompt.
Contenders run one after the other, each in a process of its own; figures are medians, and the ratio to the NumPy loop
is what to quote.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks import engine, numpy_loop, numpy_vectorised
from benchmarks.timing import MIN_REPEATS, Timing, in_fresh_process, measure
from benchmarks.workload import MeanRisks, Workload
from sims.runtime import cpu_name

WORKLOAD = Workload()
NAME = "20 x 20 x 5 cells, d = 32, n = 2048, K = 4: naive_ft (one penalty) + icl_refine_shared"
LOOP_TASKS = Workload(weak_accuracies=(0.3, 0.7), concept_shifts=(0.25, 0.75))
"""The loop draws and fits every task anew, so its time per task does not depend on the grid: 20 cells are enough."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    description = "Times the sweep engine against NumPy, in one run."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there, as a list of objects")
    parser.add_argument("--repeats", type=int, default=MIN_REPEATS, help=f"timed runs, at least {MIN_REPEATS}")
    options = parser.parse_args(argv)
    if options.repeats < MIN_REPEATS:
        parser.error(f"--repeats must be at least {MIN_REPEATS} for a median worth quoting, got {options.repeats}.")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(f"--json must name a file in an existing folder, got {options.json}; make the folder first.")
    rows = []
    for contender, time_it in CONTENDERS.items():
        print(f"timing {contender} ...", file=sys.stderr, flush=True)
        timing, tasks = in_fresh_process(time_it, options.repeats)
        rate = tasks / timing.median_seconds
        rows.append(
            {
                "workload": NAME,
                "contender": contender,
                "tasks_per_second": rate,
                "compile_seconds": timing.compile_seconds if contender == "w2s_jax" else 0.0,
                "peak_mb": timing.peak_mb,
                "ratio_to_numpy_loop": rate / rows[0]["tasks_per_second"] if rows else 1.0,
            }
        )
    print(table(rows))
    print(f"{os.cpu_count()} cores, {cpu_name()}; medians of {options.repeats}")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def time_loop(repeats: int) -> tuple[Timing, int]:
    """Plain NumPy, one task after the other."""
    replicates = 5
    timing = measure(lambda: numpy_loop.mean_risks(LOOP_TASKS, replicates), repeats)
    return timing, replicates * LOOP_TASKS.num_cells


def time_vectorised(repeats: int) -> tuple[Timing, int]:
    """NumPy that shares draws over the grid, as it comes: one process."""
    replicates = 100
    return measure(lambda: numpy_vectorised.mean_risks(WORKLOAD, replicates), repeats), replicates * WORKLOAD.num_cells


def time_vectorised_on_every_core(repeats: int) -> tuple[Timing, int]:
    """The same in one process per core, as a user in a hurry would run it."""
    replicates, cores = 100, os.cpu_count() or 1
    with ProcessPoolExecutor(cores) as pool:

        def run() -> list[MeanRisks]:
            return list(pool.map(numpy_vectorised.mean_risks, [WORKLOAD] * cores, [replicates] * cores, range(cores)))

        return measure(run, repeats), replicates * cores * WORKLOAD.num_cells


def time_engine(repeats: int) -> tuple[Timing, int]:
    """The sweep engine, on every core."""
    run, replicates = engine.runner(WORKLOAD, num_replicates=100)
    return measure(run, repeats), replicates * WORKLOAD.num_cells


CONTENDERS: dict[str, Callable[[int], tuple[Timing, int]]] = {
    "numpy_loop": time_loop,
    "numpy_vectorised": time_vectorised,
    "numpy_vectorised_every_core": time_vectorised_on_every_core,
    "w2s_jax": time_engine,
}


def table(rows: list[dict]) -> str:
    """The figures as a table to read, and to paste into a README."""
    lines = [
        "| contender | tasks/s | ratio to the loop | compile | peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['contender']} | {row['tasks_per_second']:,.0f} | {row['ratio_to_numpy_loop']:,.0f} "
            f"| {row['compile_seconds']:.1f} s | {row['peak_mb']:,.0f} MB |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
