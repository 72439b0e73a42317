"""Milliseconds of a replicate of the headline by part: the engine with one part of the work left out at a time.

    python -m benchmarks.profile [--json FILE] [--quick]

All variants run on one device in processes of their own. A part is worth the difference of two of them; parts share
draws and overlap in cache, so the differences need not add up to the whole.
"""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks import devices, engine, quiet, run
from benchmarks.parts import HEADLINE
from benchmarks.timing import MIN_REPEATS, Timing, in_fresh_process, measure
from benchmarks.workload import Workload, spread


class Variant(NamedTuple):
    """The headline with something left out."""

    what: str
    workload: Workload = HEADLINE
    fields: Mapping[str, Any] = MappingProxyType({})
    """Changes of its specification."""


ONE_CELL = spread(1, 1, (16,))
VARIANTS = {
    "whole": Variant("examples drawn, both methods, refined labels sampled"),
    "mean_labels": Variant("the same, refined labels not sampled but their mean", fields={"refined_labels": "mean"}),
    "naive": Variant("naive fine-tuning only", fields={"methods": ("naive_ft",)}),
    "refined": Variant("refinement only", fields={"methods": ("icl_refine_shared",)}),
    "one_cell": Variant("one cell: draws, their moments, and two fits", ONE_CELL),
    "moments": Variant("moments drawn, both methods, refined labels sampled", fields={"draws": "moments"}),
    "moments_mean": Variant("the same, with mean labels", fields={"draws": "moments", "refined_labels": "mean"}),
    "moments_one_cell": Variant("moments drawn for one cell", ONE_CELL, {"draws": "moments"}),
}


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Times a replicate of the headline with parts of the work left out."
    return run.command(argv, "profile", about, "short runs of two variants", rows_of, report)


def rows_of(quick: bool) -> list[dict]:
    """A row for each variant."""
    machine, rows = in_fresh_process(devices.machine), []
    for name in list(VARIANTS)[:2] if quick else VARIANTS:
        run.say(VARIANTS[name].what)
        timing, replicates = in_fresh_process(time_here, name, 0.1 if quick else 1.0, cores=1)
        rows.append(
            {
                "variant": name,
                "what": VARIANTS[name].what,
                "cells": VARIANTS[name].workload.num_cells,
                "milliseconds": 1e3 * timing.median_seconds / (timing.units * replicates),
                "compile_seconds": timing.compile_seconds,
                "seconds": list(timing.seconds),
                "repeats": len(timing.seconds),
                "others_share": timing.others_share,
                **machine.origin(0),
            }
        )
    return rows


def time_here(name: str, seconds: float) -> tuple[Timing, int]:
    """Timing of a variant in this process, and the replicates in a unit of it."""
    _, workload, fields = VARIANTS[name]
    work, tasks = engine.runner(workload, 1, **{"draws": "data", **fields})
    return measure(work, MIN_REPEATS, seconds), tasks // workload.num_cells


def report(rows: list[dict]) -> str:
    """The figures in lines."""
    lines = [f"{row['milliseconds']:.3f} ms: {row['what']}" for row in rows]
    return "\n".join([*lines, *quiet.warning(rows)])


if __name__ == "__main__":
    sys.exit(main())
