"""Sweeps weak accuracy, sample size, concept shift and prompt length, and compares all methods on the same draws."""

import sys
from pathlib import Path
from typing import Any

from sims.engine import cli
from sims.risk_sweep.spec import PRESETS, SweepSpec


def start(spec: SweepSpec, out: Path, options: Any = None) -> Path:
    """Run a risk sweep, or what is missing of it, into `out`/risk_sweep.zarr."""
    from sims.engine.run import ALONE, run
    from sims.risk_sweep.job import prepare

    return run("risk_sweep", spec, prepare, out, options or ALONE)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.main("risk_sweep", __doc__, PRESETS, SweepSpec, start, argv, "sims.risk_sweep.headline")


if __name__ == "__main__":
    sys.exit(main())
