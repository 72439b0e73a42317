"""Pre-trains transformers on a mixture of concepts, aligns them with weak labels, and compares them with the theory.

Strong networks are trained once and kept in `OUT/networks`; a seed draws data and teachers, measures how far the
network is from exact Bayesian inference, and fine-tunes it on weak labels, on refined labels and on the target's own.
"""

import sys
from pathlib import Path
from typing import Any

from sims.engine import cli
from sims.incontext.spec import PRESETS, InContextSpec
from sims.training import start_alone


def start(spec: InContextSpec, out: Path, options: Any = None) -> Path:
    """Run an in-context sweep, or what is missing of it, into `out`/incontext.zarr."""
    return start_alone("incontext", spec, _job, out, options)


def _job() -> Any:
    from sims.incontext import job

    return job


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.main("incontext", __doc__, PRESETS, InContextSpec, start, argv, "sims.incontext.headline")


if __name__ == "__main__":
    sys.exit(main())
