"""Writes what a finished arena found of your method as a submission to docs/leaderboard.md.

    python -m sims.methods --plugin my_method.py --methods naive_ft mean_refine --preset quick --out results/mine
    python -m sims.methods.submit results/mine/methods.zarr --plugin my_method.py --out mean_refine-linear.json

The tasks and the seed are those of the preset quick, so that all submissions are compared on the same draws.
"""

import argparse
import json
import sys
from pathlib import Path

from sims.engine import cli
from sims.engine.files import check_writable
from sims.methods import plugin


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.methods.submit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", metavar="STORE", type=Path, help="a .zarr folder of python -m sims.methods --plugin")
    parser.add_argument("--plugin", metavar="FILE", type=Path, required=True, help="the file that it was run with")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="where to write the JSON")
    options = parser.parse_args(argv)
    return cli.guarded(lambda: _write(options.store, options.plugin, options.out))


def _write(store: Path, file: Path, out: Path) -> None:
    from sims.methods.submission import write_up

    check_writable(out, "--out")
    found = write_up(store, plugin.load(file))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    for budget, score in found["score"].items():
        print(f"{found['name']}, same {budget}: {score['ratio']:.3f} of naive_ft's risk (log ± {score['log_sem']:.3f})")
    print(f"wrote {out}; check it with: python -m sims.methods.verify {out} --plugin {file}")


if __name__ == "__main__":
    sys.exit(main())
