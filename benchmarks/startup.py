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
from collections.abc import Callable

from benchmarks import devices, quiet, run
from benchmarks.devices import Machine
from benchmarks.timing import MIN_REPEATS, available_cores, in_fresh_process

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
            calls = [command(arguments, folder) for _ in range(repeats)]
            others = quiet.others_share(before, quiet.usage()) or 0.0
            rows.append(_row(machine, what, [call | {"others_share": others} for call in calls]))
    found: dict[str, list[dict[str, float]]] = {COLD: [], KEPT: []}
    for repeat in range(repeats):
        run.say(f"a sweep, process {repeat + 1}")
        with tempfile.TemporaryDirectory() as folder:
            for seed, calls in enumerate(found.values()):
                given = [*_options("smoke" if quick else "quick"), "--seed", str(seed), "--out", f"{folder}/{seed}"]
                calls.append(in_fresh_process(sweep_here, given, environment={CACHE: folder}))
    return rows + [_row(machine, what, calls) for what, calls in found.items()]


def command(arguments: list[str], folder: str) -> dict[str, float]:
    """Seconds of a command from start to end, with programs kept in a folder."""

    def call() -> None:
        environment = {**os.environ, CACHE: folder}
        subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=True)

    return _timed(call)


def sweep_here(given: list[str]) -> dict[str, float]:
    """Seconds of a sweep in this process, imports included, and of compilation in it."""
    compiling: list[float] = []

    def listen(event: str, seconds: float, **_) -> None:
        if "backend_compile" in event:
            compiling.append(seconds)

    def call() -> None:
        import jax.monitoring

        from sims.risk_sweep import __main__ as risk_sweep

        jax.monitoring.register_event_duration_secs_listener(listen)
        if code := risk_sweep.main(given):
            raise RuntimeError(f"the sweep stopped with exit code {code}; its own message is above.")

    return _timed(call) | {"compile": sum(compiling)}


def _timed(call: Callable[[], None]) -> dict[str, float]:
    before, start = quiet.usage(), time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "others_share": quiet.others_share(before, quiet.usage()) or 0.0}


def _options(preset: str) -> list[str]:
    from sims.risk_sweep.spec import PRESETS

    return ["--preset", preset, "--replicates", str(PRESETS[preset].block_size * available_cores())]


def _row(machine: Machine, what: str, calls: list[dict[str, float]]) -> dict:
    compiling = [call["compile"] for call in calls if "compile" in call]
    return {
        "what": what,
        "median_seconds": statistics.median(call["seconds"] for call in calls),
        "compile_seconds": statistics.median(compiling) if compiling else None,
        "seconds": [call["seconds"] for call in calls],
        "repeats": len(calls),
        "others_share": max(call["others_share"] for call in calls),
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
