"""Seconds before a command does its work: imports, compilation with and without kept programs, a finished sweep.

    python -m benchmarks.startup [--json FILE] [--quick]

Each repeat starts processes of its own. The sweep is the `quick` preset of the risk sweep with as few replicates as
fill one block on each device: its program is that of the whole preset.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import devices, quiet, run
from benchmarks.devices import Machine
from benchmarks.timing import MIN_REPEATS, available_cores, compilations, in_fresh_process

CACHE = "JAX_COMPILATION_CACHE_DIR"
IMPORT, HELP, FINISHED = "`import w2s_jax`", "`--help` of the sweep", "a finished sweep again"
COLD, KEPT = "a first sweep", "another seed, with kept programs"


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Times what a user waits for before a command does its work."
    return run.command(argv, "startup", about, "the smoke preset, two repeats", rows_of, report)


def rows_of(quick: bool) -> list[dict]:
    """A row for each thing that is waited for."""
    machine, repeats, rows = in_fresh_process(devices.machine), 2 if quick else MIN_REPEATS, []
    with tempfile.TemporaryDirectory() as folder:
        sweep = ["-m", "sims.risk_sweep", *_options("smoke" if quick else "quick"), "--out"]
        command([*sweep, folder], folder)
        for what, arguments in (
            (IMPORT, ["-c", "import w2s_jax"]),
            (HELP, ["-m", "sims.risk_sweep", "--help"]),
            (FINISHED, [*sweep, folder]),
        ):
            run.say(what)
            before = quiet.usage()  # a single call is too short to see others beside it
            calls = [{"seconds": command(arguments, folder)} for _ in range(repeats)]
            rows.append(_row(machine, what, calls, quiet.others_share(before, quiet.usage()) or 0.0))
    found: dict[str, list[dict[str, float]]] = {COLD: [], KEPT: []}
    for repeat in range(repeats):
        run.say(f"a sweep, process {repeat + 1}")
        with tempfile.TemporaryDirectory() as folder:
            for seed, calls in enumerate(found.values()):
                given = [*_options("smoke" if quick else "quick"), "--seed", str(seed), "--out", f"{folder}/{seed}"]
                calls.append(in_fresh_process(sweep_here, given, environment={CACHE: folder}))
    return rows + [_row(machine, what, calls, max(call["others"] for call in calls)) for what, calls in found.items()]


def command(arguments: list[str], folder: str) -> float:
    """Seconds of a command from start to end, with programs kept in a folder."""
    environment, start = {**os.environ, CACHE: folder}, time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=True)
    return time.perf_counter() - start


def sweep_here(given: list[str]) -> dict[str, float]:
    """Seconds of a sweep in this process, imports included, and of compilation in it."""
    before, start = quiet.usage(), time.perf_counter()
    compiling = compilations()
    from sims.risk_sweep import __main__ as risk_sweep

    if code := risk_sweep.main(given):
        raise RuntimeError(f"the sweep stopped with exit code {code}; its own message is above.")
    seconds, others = time.perf_counter() - start, quiet.others_share(before, quiet.usage()) or 0.0
    return {"seconds": seconds, "compile": sum(compiling), "others": others}


def _options(preset: str) -> list[str]:
    from sims.risk_sweep.spec import PRESETS

    return ["--preset", preset, "--replicates", str(PRESETS[preset].block_size * available_cores())]


def _row(machine: Machine, what: str, calls: list[dict[str, float]], others: float) -> dict:
    compiling = [call["compile"] for call in calls if "compile" in call]
    return {
        "what": what,
        "median_seconds": statistics.median(call["seconds"] for call in calls),
        "compile_seconds": statistics.median(compiling) if compiling else None,
        "seconds": [call["seconds"] for call in calls],
        "repeats": len(calls),
        "others_share": others,
        **machine.origin(0),
    }


def report(rows: list[dict]) -> str:
    """The figures in lines."""
    lines = []
    for row in rows:
        compiling = row["compile_seconds"]
        part = "" if compiling is None else f", of which compilation {compiling:.2f} s"
        lines.append(f"{row['what']}: {row['median_seconds']:.2f} s{part}")
    return "\n".join([*lines, *quiet.warning(rows)])


if __name__ == "__main__":
    sys.exit(main())
