"""Pre-trains transformers on a mixture of concepts, aligns them with weak labels, and compares them with the theory.

Strong networks are trained once and kept in `OUT/networks`; a seed draws data and teachers, measures how far the
network is from exact Bayesian inference, and fine-tunes it on weak labels, on refined labels and on the target's own.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from sims.engine import cli
from sims.incontext.spec import PRESETS, InContextSpec


def start(spec: InContextSpec, out: Path, options: Any = None) -> Path:
    """Run an in-context sweep, or what is missing of it, into `out`/incontext.zarr."""
    from sims.engine.run import ALONE, run
    from sims.incontext.job import outline, prepare
    from sims.training import check_alone

    options = options or ALONE
    check_alone(options)
    return run("incontext", spec, partial(prepare, out=out), out, options, outline)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.main("incontext", __doc__, PRESETS, InContextSpec, start, argv, "sims.incontext.headline")


if __name__ == "__main__":
    sys.exit(main())
