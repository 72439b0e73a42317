"""Sweeps the concept posterior alone: how the misalignment of refinement falls, or rises, with the length of a prompt.

A replicate is one weak prompt, so millions of them are cheap, and exponents can be read where risks are far too small
for a risk sweep.
"""

import sys
from pathlib import Path
from typing import Any

from sims.engine import cli
from sims.posterior_sweep.spec import PRESETS, PosteriorSpec


def start(spec: PosteriorSpec, out: Path, options: Any = None) -> Path:
    """Run a posterior sweep, or what is missing of it, into `out`/posterior_sweep.zarr."""
    from sims.engine.run import ALONE, run
    from sims.posterior_sweep.job import prepare

    return run("posterior_sweep", spec, prepare, out, options or ALONE)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.main("posterior_sweep", __doc__, PRESETS, PosteriorSpec, start, argv, "sims.posterior_sweep.headline")


if __name__ == "__main__":
    sys.exit(main())
