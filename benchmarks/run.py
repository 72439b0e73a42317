"""The engine against other implementations, in one run: tasks per second, compile time, memory, and scaling.

    python -m benchmarks.run [--json FILE] [--only headline|d|n|K|cells|devices]... [--quick] [--repeats 5]

A task is one cell of the workload's grid in one replicate: naive fine-tuning at one penalty and refinement with a
shared prompt. The headline is a grid of 20 weak accuracies x 20 concept shifts x 5 prompt lengths at d = 32, n = 2048,
K = 4; the other parts change one of its sizes at a time. Contenders run one after another, each in a process of its
own; figures are medians, and the ratio to the NumPy loop, measured at the same d, n and K in the same run, is what to
quote. A timed run holds as much work as fills about a second of the headline, four tenths of one elsewhere.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import contenders, devices, limits, parts
from benchmarks.contenders import CONTENDERS
from benchmarks.devices import Machine
from benchmarks.parts import HEADLINE, PARTS, Case
from benchmarks.report import report
from benchmarks.timing import MIN_REPEATS, Timing, in_fresh_process
from benchmarks.workload import Workload

SEED = 0
"""Seed of the first process of every contender; each further process has the next."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(argv)
    if error := _error(options):
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = rows_of(options.only or list(PARTS), options.repeats, quick=options.quick)
    print(report(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def rows_of(chosen: list[str], repeats: int, *, quick: bool) -> list[dict]:
    """Measure the chosen parts, and with the headline the limits of the machine."""
    machine = in_fresh_process(devices.machine)
    cases = parts.cases(chosen, machine.cores, quick)
    if machine.accelerators:
        say("the ladder over cores is left out: work goes to the accelerator")
        cases = [case for case in cases if case.part != "devices"]
    for name, contender in CONTENDERS.items():
        if reason := contender.absent():
            say(f"{name} is left out: {reason}")
            cases = [case for case in cases if case.contender != name]
    rows = measure(cases, repeats, quick, machine)
    return rows + limit_rows(rows, repeats, quick, machine) if "headline" in chosen else rows


def measure(cases: list[Case], repeats: int, quick: bool, machine: Machine) -> list[dict]:
    """A row for each case; what two parts share is measured once, and what a sweep refuses is left out."""
    from sims.engine.checked import InputError

    held: dict[tuple, tuple[Timing, int]] = {}
    todo = list(dict.fromkeys(case.work for case in cases))
    started = time.perf_counter()
    for done, (name, workload, cores) in enumerate(todo):
        spent = time.perf_counter() - started
        left = f"; about {spent / done * (len(todo) - done) / 60:.1f} min left" if done else ""
        sizes = f"d = {workload.dim}, n = {workload.num_samples}, {workload.num_cells} cells, {cores} cores"
        say(f"[{done + 1}/{len(todo)}] {name}, {sizes}{left}")
        seconds = 0.1 if quick else 1.0 if workload == HEADLINE else 0.4
        try:
            held[name, workload, cores] = contenders.time(name, workload, cores, repeats, seconds)
        except InputError as refusal:
            say(f"left out: {refusal}")
    loops = {_sizes(work[1]): _rate(*held[work]) for work in held if work[0] == "numpy_loop"}
    alone = {work[0]: _rate(*held[work]) for work in held if work[1:] == (HEADLINE, 1)}
    rows = []
    for case in (case for case in cases if case.work in held):
        row = row_of(case, *held[case.work], loops[_sizes(case.workload)], machine)
        if case.part == "devices" and case.contender in alone:
            row["efficiency"] = row["tasks_per_second"] / case.devices / alone[case.contender]
        rows.append(row)
    return rows


def row_of(case: Case, timing: Timing, tasks: int, loop_rate: float, machine: Machine) -> dict:
    """One measurement, as it is stored."""
    rate, compiles = _rate(timing, tasks), CONTENDERS[case.contender].compiles
    on_accelerator = compiles and machine.accelerators
    return {
        "workload": str(case.workload),
        "contender": case.contender,
        "tasks_per_second": rate,
        "compile_seconds": timing.compile_seconds if compiles else 0.0,
        "peak_mb": timing.peak_mb,
        "ratio_to_numpy_loop": rate / loop_rate,
        "axis": case.part,
        "value": case.value,
        "d": case.workload.dim,
        "n": case.workload.num_samples,
        "K": case.workload.num_concepts,
        "cells": case.workload.num_cells,
        "devices": machine.accelerators if on_accelerator else case.devices,
        "median_seconds": timing.median_seconds,
        "seconds": list(timing.seconds),
        "tasks": tasks * timing.units,
        "repeats": len(timing.seconds),
        "cores_used": timing.cores_used,
        "others_share": timing.others_share,
        **machine.origin(SEED),
    }


def limit_rows(rows: list[dict], repeats: int, quick: bool, machine: Machine) -> list[dict]:
    """The limits of the machine on one core and on all, or on its accelerators."""
    workload = HEADLINE
    loop_rate = next(row["tasks_per_second"] for row in rows if row["contender"] == "numpy_loop")
    say("measuring the limits of the machine")
    compiled = in_fresh_process(limits.compiled_needs, workload)
    counted = {"flop/s": compiled.flops, "bytes/s": compiled.bytes}
    found = []
    for width in [machine.cores] if machine.accelerators else sorted({1, machine.cores}):
        for limit in limits.measured(workload, width, repeats, 0.1 if quick else 0.4):
            rate = limit.tasks_per_second(workload)
            found.append(
                {
                    "workload": str(workload),
                    "contender": f"limit: {limit.resource}",
                    "tasks_per_second": rate,
                    "compile_seconds": 0.0,
                    "peak_mb": 0.0,
                    "ratio_to_numpy_loop": rate / loop_rate,
                    "axis": "limit",
                    "value": limit.rate,
                    "unit": limit.unit,
                    "needed_per_replicate": limit.need,
                    "counted_by_xla": counted.get(limit.unit),
                    "binds": limit.binds,
                    "devices": limit.devices,
                    **machine.origin(SEED),
                }
            )
    return found


def say(line: str) -> None:
    """A line of progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    description = "Times the sweep engine against its rivals, in one run."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there, as a list of objects")
    parser.add_argument(
        "--only", action="append", metavar="PART", default=[], help=f"one of {', '.join(PARTS)}; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="a rehearsal: short runs, two values a ladder")
    parser.add_argument("--repeats", type=int, default=MIN_REPEATS, help=f"timed runs, at least {MIN_REPEATS}")
    return parser


def _error(options: argparse.Namespace) -> str | None:
    """What is wrong with the options, in one sentence."""
    for part in options.only:
        if part not in PARTS:
            return f"--only must name a part among {', '.join(PARTS)}, got {part!r}; choose from the list."
    if options.repeats < MIN_REPEATS:
        return f"--repeats must be at least {MIN_REPEATS} for a median worth quoting, got {options.repeats}; raise it."
    return None if options.json is None else json_error(options.json)


def command(
    argv: list[str] | None,
    prog: str,
    description: str,
    rehearsal: str,
    rows_of: Callable[[bool], list[dict]],
    report: Callable[[list[dict]], str],
) -> int:
    """A command that measures rows, prints them and writes them if asked; returns its exit code.

    `rows_of` takes whether to rehearse, which `rehearsal` explains.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{prog}", description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there, as a list of objects")
    parser.add_argument("--quick", action="store_true", help=f"a rehearsal: {rehearsal}")
    options = parser.parse_args(argv)
    if options.json is not None and (error := json_error(options.json)):
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = rows_of(options.quick)
    print(report(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def json_error(path: Path) -> str | None:
    """Why the figures cannot be written there, in one sentence."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        return f"--json must name a file in an existing folder, got {path}; make the folder first."
    return None


def _rate(timing: Timing, tasks: int) -> float:
    return tasks * timing.units / timing.median_seconds


def _sizes(workload: Workload) -> tuple[int, int, int]:
    """What the time of a task in the loop depends on."""
    return workload.dim, workload.num_samples, workload.num_concepts


if __name__ == "__main__":
    sys.exit(main())
