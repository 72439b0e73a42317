"""Whole `paper` sweeps, planned and measured, and what a sweep of 10^9 tasks would take.

    python -m benchmarks.scale --out FOLDER --json FILE [--only risk_sweep]
    python -m benchmarks.scale --out FOLDER --json FILE --only language --preset quick

Each sweep runs as a user starts it, in a process of its own, and its store stays in FOLDER. A sweep that has more tasks
than its `paper` preset is that store with more replicates: the last row plans one, from the rate of the first.
"""

import argparse
import importlib
import json
import math
import sys
import time
from pathlib import Path

from benchmarks import devices, quiet, run
from benchmarks.devices import Machine
from benchmarks.timing import in_fresh_process, peak_mb

SWEEPS = ("risk_sweep", "posterior_sweep", "theory_sweep")
ASKED = (*SWEEPS, "language")
"""Those that `--only` may name; the last is not among the rest, since its `paper` preset is for an accelerator."""
PLANNED = "risk_sweep"
MANY = 10**9
"""Tasks of the sweep that is planned."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(argv)
    chosen = options.only or list(SWEEPS)
    if error := _error(options, chosen):
        print(f"error: {error}", file=sys.stderr)
        return 2
    machine, rows = in_fresh_process(devices.machine), []
    for name in chosen:
        run.say(f"running {name} --preset {options.preset}")
        rows.append(row_of(name, options.preset, in_fresh_process(whole, name, options.preset, options.out), machine))
        options.json.write_text(json.dumps(rows, indent=1) + "\n")  # of hours of work nothing is lost
    if PLANNED in chosen:
        rows.append(planned(rows[chosen.index(PLANNED)]))
    options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n".join([*map(line, rows), *quiet.warning(rows)]))
    return 0


def whole(name: str, preset: str, out: Path) -> dict[str, float]:
    """Run a sweep from command to finished store, its program compiled: what was planned and what it took."""
    from sims.engine import runtime
    from sims.sweeps import SWEEPS as KNOWN

    sweep = KNOWN[name]
    spec, path = sweep.presets[preset], out / f"{name}.zarr"
    given = ["--preset", preset, "--out", str(out), "--no-compilation-cache"]  # a first run's time
    before, spent, start = quiet.usage(), time.process_time(), time.perf_counter()
    if code := importlib.import_module(f"sims.{name}.__main__").main(given):
        raise RuntimeError(f"the sweep stopped with exit code {code}; its own message is above.")
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    others = quiet.others_share(before, quiet.usage()) or 0.0
    job = sweep.prepare(spec, path)  # not before the command, which chooses the devices
    return {
        "replicates": spec.replicates,
        "tasks": job.tasks_per_replicate * spec.replicates,
        "planned_seconds": job.seconds,
        "seconds": seconds,
        "processor_seconds": spent,
        "devices": len(runtime.devices()),
        "disk_mb": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6,
        "peak_mb": peak_mb(),
        "others_share": others,
    }


def row_of(name: str, preset: str, found: dict[str, float], machine: Machine) -> dict:
    """One sweep, as it is stored."""
    return {"sweep": name, "preset": preset, **found, **machine.origin(0)}


def planned(row: dict) -> dict:
    """The same sweep with as many replicates as make `MANY` tasks, at the rate of a finished one; nothing is run.

    >>> found = planned(
    ...     {"sweep": "s", "preset": "paper", "replicates": 10, "tasks": 10**8, "seconds": 60.0, "disk_mb": 5.0}
    ... )
    >>> found["replicates"], found["seconds"], found["disk_mb"], found["share_run"]
    (100, 600.0, 50.0, 0.1)
    """
    more = MANY / row["tasks"]
    return {
        **row,
        "preset": f"{row['preset']}, more replicates",
        "replicates": math.ceil(row["replicates"] * more),
        "tasks": MANY,
        "planned_seconds": None,
        "seconds": row["seconds"] * more,
        "disk_mb": row["disk_mb"] * more,
        "share_run": min(1 / more, 1.0),
    }


def line(row: dict) -> str:
    """A row in words."""
    if "share_run" in row:
        about = f"at the rate of the {row['share_run']:.0%} that was run"
    else:
        about = f"planned {row['planned_seconds'] / 60:.1f} min"
    return (
        f"{row['sweep']}, {row['preset']}: {row['tasks']:,} tasks, {row['seconds'] / 60:.1f} min ({about}), "
        f"{row['disk_mb']:,.0f} MB on disk"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="Runs whole sweeps, planned and measured; plans one of 10^9 tasks.",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", required=True, help="where the stores go")
    parser.add_argument("--json", type=Path, metavar="FILE", required=True, help="where the figures go")
    parser.add_argument("--only", action="append", metavar="SWEEP", help=f"one of {', '.join(ASKED)}; may be repeated")
    parser.add_argument("--preset", default="paper", help="preset to run: smoke, quick or paper")
    return parser


def _error(options: argparse.Namespace, chosen: list[str]) -> str | None:
    """What is wrong with the options, in one sentence."""
    for name in chosen:
        if name not in ASKED:
            return f"--only must name a sweep among {', '.join(ASKED)}, got {name!r}; choose from the list."
        if (options.out / f"{name}.zarr").exists():
            return f"--out must be a folder without {name}.zarr, which would be no whole run; name another folder."
    if options.preset not in (presets := ("smoke", "quick", "paper")):
        return f"--preset must be among {', '.join(presets)}, got {options.preset!r}; choose from the list."
    return run.json_error(options.json)


if __name__ == "__main__":
    sys.exit(main())
