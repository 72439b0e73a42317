"""Seconds that a plan takes once the package is imported: the first call, which compiles, and later ones.

    python -m benchmarks.planning [--json FILE] [--quick]

Each repeat is two processes: one in which the first call compiles its programs and keeps them in a folder, as the
command does, and one in which it finds them there.
"""

import statistics
import sys
import tempfile
import time

from benchmarks import devices, quiet, run
from benchmarks.timing import MIN_REPEATS, compilations, in_fresh_process

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

    from sims.engine import runtime
    from w2s_jax import plan

    compiling = compilations()

    def call(weak_accuracy: float) -> tuple[float, float]:
        """Seconds of a call, and of compilation in it."""
        compiling.clear()
        start = time.perf_counter()
        plan(**NUMBERS | {"weak_accuracy": weak_accuracy}, num_concepts=concepts)
        return time.perf_counter() - start, sum(compiling)

    runtime.configure(None, True)  # as the command computes
    jax.config.update("jax_compilation_cache_dir", folder)
    before = quiet.usage()
    (first, compiled), *later = [call(NUMBERS["weak_accuracy"] + i / 100) for i in range(1 + LATER)]
    others = quiet.others_share(before, quiet.usage()) or 0.0
    return {
        "first": first,
        "compile": compiled,
        "later": statistics.median(seconds for seconds, _ in later),
        "others_share": others,
    }


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
