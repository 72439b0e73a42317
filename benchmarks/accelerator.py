"""The headline and a whole sweep on an accelerator, against an earlier run on 2 cores; its JSON names the device.

    python -m benchmarks.accelerator --json FILE [--preset paper] [--against docs/results/benchmarks.json]

On a machine without an accelerator it measures the processor and prints that this is a rehearsal, not a claim.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import devices, run
from benchmarks.report import report
from benchmarks.scale import whole
from benchmarks.timing import MIN_REPEATS, in_fresh_process


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(argv)
    if error := _error(options):
        print(f"error: {error}", file=sys.stderr)
        return 2
    machine = in_fresh_process(devices.machine)
    run.say(f"measuring {machine.name}" + ("" if machine.accelerators else ": no accelerator here, so a rehearsal"))
    rows = run.rows_of(["headline"], MIN_REPEATS, quick=options.quick)
    cores = engine_rate(json.loads(options.against.read_text()))
    run.say(f"timing risk_sweep --preset {options.preset}")
    with tempfile.TemporaryDirectory() as folder:
        sweep = in_fresh_process(whole, "risk_sweep", options.preset, Path(folder))
    found = {
        "device": machine.name,
        "is_accelerator": machine.accelerators > 0,
        "preset": options.preset,
        "preset_seconds": sweep["seconds"],
        "others_share": sweep["others_share"],
        "ratio_to_earlier_run": engine_rate(rows) / cores,
        "rows": rows,
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(report(rows))
    print(f"{found['ratio_to_earlier_run']:.3g} times the tasks/s of {options.against}")
    print(f"risk_sweep --preset {options.preset}: {found['preset_seconds']:.1f} s, compilation included")
    return 0


def engine_rate(rows: list[dict]) -> float:
    """Tasks per second of the engine on the headline."""
    return next(row["tasks_per_second"] for row in rows if row["contender"] == "w2s_jax")


def _parser() -> argparse.ArgumentParser:
    description = "Times the headline and a whole sweep on an accelerator."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator", description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", required=True, help="where the figures go")
    parser.add_argument("--preset", default="paper", help="preset of the risk sweep to time: smoke, quick or paper")
    parser.add_argument(
        "--against", type=Path, default=Path("docs/results/benchmarks.json"), metavar="FILE", help="figures on 2 cores"
    )
    parser.add_argument("--quick", action="store_true", help="a rehearsal: short runs")
    return parser


def _error(options: argparse.Namespace) -> str | None:
    """What is wrong with the options, in one sentence."""
    if options.preset not in (presets := ("smoke", "quick", "paper")):
        return f"--preset must be among {', '.join(presets)}, got {options.preset!r}; choose from the list."
    if not options.against.is_file():
        return f"--against must name the JSON of python -m benchmarks.run, got {options.against}; make it first."
    return run.json_error(options.json)


if __name__ == "__main__":
    sys.exit(main())
