"""Sweeps weak accuracy, sample size, concept shift and prompt length, and compares all methods on the same draws."""

import sys
from pathlib import Path
from typing import Any

from sims import cli
from sims.spec import SweepSpec

SMOKE = SweepSpec(
    weakness=("rotated", "confused"),
    weak_accuracy=(0.5, 0.7, 0.9),
    sample_size=(16, 64, 256),
    concept_shift=(0.25, 0.75),
    num_icl=(0, 2, 8),
    prompt_rounds=16,
    replicates=200,
    block_size=50,
)
QUICK = SweepSpec(prompt_rounds=64)
PAPER = SweepSpec(
    weak_accuracy=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    concept_shift=(0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95),
    num_icl=(0, 1, 2, 4, 8, 16, 32),
    prompt_rounds=64,
    replicates=20_000,
    block_size=500,
)
PRESETS = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}


def start(spec: SweepSpec, out: Path, options: Any = None) -> Path:
    """Run a risk sweep, or what is missing of it, into `out`/risk_sweep.zarr."""
    from sims import engine, risk_job

    return engine.run("risk_sweep", spec, risk_job.prepare, out, options or engine.ALONE)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.main("risk_sweep", __doc__, PRESETS, SweepSpec, start, argv)


if __name__ == "__main__":
    sys.exit(main())
