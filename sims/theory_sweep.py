"""Simulates every part of the theory that has a closed form or a relaxed assumption, and feeds the figures of both.

One replicate is one draw of every study: the hull, the EM ladder, mixture targets, contaminated prompts, relaxed
assumptions, misfit and the proportional limit.
"""

import sys
from pathlib import Path
from typing import Any

from sims import cli
from sims.theory_spec import TheorySpec

SMOKE = TheorySpec(
    hull_num_concepts=(2, 4),
    hull_sample_size=(64, 512),
    em_steps=(0, 1, 10, 100),
    em_sample_size=(256,),
    target_weight=(0.75,),
    contamination=(0.0, 0.2),
    num_icl=(0, 1, 4, 16),
    weak_accuracy=(0.4, 0.8),
    aspect_ratio=(0.25, 0.75, 1.0, 2.0),
    replicates=200,
)
QUICK = TheorySpec()
PAPER = TheorySpec(
    contamination=(0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    num_icl=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256),
    replicates=20_000,
    block_size=500,
)
PRESETS = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}


def start(spec: TheorySpec, out: Path, options: Any = None) -> Path:
    """Run a theory sweep, or what is missing of it, into `out`/theory_sweep.zarr."""
    from sims import engine, theory_job

    return engine.run("theory_sweep", spec, theory_job.prepare, out, options or engine.ALONE)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.main("theory_sweep", __doc__, PRESETS, TheorySpec, start, argv)


if __name__ == "__main__":
    sys.exit(main())
