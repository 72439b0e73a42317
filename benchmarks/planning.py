"""Seconds that a plan takes once the package is imported: the first call, which compiles, and later ones.

    python -m benchmarks.planning [--json FILE] [--quick]

Each repeat is a process of its own. The first call is timed with no program kept, then again with the programs that the
process before it left in `~/.cache/w2s_jax` or, here, in a folder of its own.
"""

import statistics
import sys
import tempfile
import time

from benchmarks import devices, quiet, run
from benchmarks.timing import MIN_REPEATS, in_fresh_process

CONCEPTS = (2, 4, 8)
NUMBERS = {"weak_accuracy": 0.7, "concept_shift": 0.5, "num_samples": 1024, "dim": 32}
LATER = 5
"""Later calls in a process, each with another weak accuracy."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Times the first call of a plan and later ones."
    return run.command(argv, "planning", about, "a single number of concepts, two repeats", rows_of, report)


def rows_of(quick: bool) -> list[dict]:
    """A row for each number of concepts."""
    machine, rows = in_fresh_process(devices.machine), []
    for concepts in CONCEPTS[:1] if quick else CONCEPTS:
        found = []
        for repeat in range(2 if quick else MIN_REPEATS):
            run.say(f"K = {concepts}, process {repeat + 1}")
            with tempfile.TemporaryDirectory() as folder:
                found.append([in_fresh_process(calls, concepts, folder) for _ in range(2)])
        cold, kept = zip(*found)
        rows.append(
            {
                "concepts": concepts,
                **NUMBERS,
                "first_seconds": statistics.median(call["first"] for call in cold),
                "compile_seconds": statistics.median(call["compile"] for call in cold),
                "first_kept_seconds": statistics.median(call["first"] for call in kept),
                "later_seconds": statistics.median(call["later"] for call in cold),
                "seconds": [call["first"] for call in cold],
                "repeats": len(found),
                "others_share": max(call["others_share"] for pair in found for call in pair),
                **machine.origin(0),
            }
        )
    return rows


def calls(concepts: int, folder: str) -> dict[str, float]:
    """Seconds of the first call in this process, of compilation in it, and of the median later one."""
    import jax
    import jax.monitoring

    from sims.engine import runtime
    from w2s_jax import plan

    compiling = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiling.append(seconds if "backend_compile" in event else 0.0)
    )
    runtime.configure(None, True)  # as the command computes
    jax.config.update("jax_compilation_cache_dir", folder)
    before = quiet.usage()
    taken = [_seconds(lambda i=i: plan(**NUMBERS | {"weak_accuracy": 0.7 + i / 100}, num_concepts=concepts), compiling)
             for i in range(1 + LATER)]  # fmt: skip
    others = quiet.others_share(before, quiet.usage()) or 0.0
    (first, compiled), *later = taken
    return {
        "first": first,
        "compile": compiled,
        "later": statistics.median(seconds for seconds, _ in later),
        "others_share": others,
    }


def _seconds(act, compiling: list[float]) -> tuple[float, float]:
    compiling.clear()
    start = time.perf_counter()
    act()
    return time.perf_counter() - start, sum(compiling)


def report(rows: list[dict]) -> str:
    """The figures in lines."""
    lines = [
        f"K = {row['concepts']}: first call {row['first_seconds']:.2f} s ({row['compile_seconds']:.2f} s compile), "
        f"{row['first_kept_seconds']:.2f} s with kept programs, then {row['later_seconds']:.3f} s"
        for row in rows
    ]
    return "\n".join([*lines, *quiet.warning(rows)])


if __name__ == "__main__":
    sys.exit(main())
