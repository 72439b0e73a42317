"""Simulates every part of the theory that has a closed form or a relaxed assumption, and feeds the figures of both.

One replicate is one draw of every study: the hull, the EM ladder, mixture targets, contaminated prompts, relaxed
assumptions, misfit, the proportional limit, the accuracy plane, scaling laws, self-training and spurious correlations.
"""

import sys
from pathlib import Path
from typing import Any

from sims.engine import cli
from sims.theory_sweep.spec import PRESETS, TheorySpec


def start(spec: TheorySpec, out: Path, options: Any = None) -> Path:
    """Run a theory sweep, or what is missing of it, into `out`/theory_sweep.zarr."""
    from sims.engine.run import ALONE, run
    from sims.theory_sweep.job import prepare

    return run("theory_sweep", spec, prepare, out, options or ALONE)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.main("theory_sweep", __doc__, PRESETS, TheorySpec, start, argv, "sims.theory_sweep.headline")


if __name__ == "__main__":
    sys.exit(main())
