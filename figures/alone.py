"""Commands of figures that need no results of a sweep: they draw closed forms, or tables of this folder."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from figures import style


def command(prog: str, draw: Callable[[], Figure], about: str | None, argv: list[str] | None) -> int:
    """Draw the figure that `draw` is named after, as PDF and PNG, into the folder `--out`; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m figures.{prog}", description=about)
    parser.add_argument("--out", type=Path, default=Path("results/figures"), help="folder of the figure")
    out = parser.parse_args(argv).out
    with style.style():
        files = style.encode(draw())
    try:
        out.mkdir(parents=True, exist_ok=True)
        for kind, data in files.items():
            path = out / f"{draw.__name__}.{kind}"
            path.write_bytes(data)
            print(path)
    except OSError as error:
        print(f"error: --out must be a folder that can be written, got {out}: {error.strerror}.", file=sys.stderr)
        return 2
    return 0
