"""Checks every closed form of w2s_jax.theory against simulation, and prints a table.

Each line is one claim: what a formula predicts in one cell, what independent draws give, the standard error (SEM) of
that, and z = (simulated - predicted)/SEM. A line is ok if |z| is at most 5 and the SEM as small as required. Its
draws have an address of their own (seed and claim), so that a line does not depend on which others are run. A claim
that ends in "to 0.3%" is of an asymptotic form: only what exceeds that much counts as a deviation, in z too. A claim
of a bound may be missed from above alone. Exit code 0: every line is ok; 1: some line is not; 2: invalid input.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sims.engine import cli
from sims.engine.checked import InputError

COMPILE_SECONDS, DRAW_SECONDS = 0.8, 0.2
"""Rough time of a line on two cores: what it takes to compile, and to draw at the default precision."""
PRECISION = 0.01


def check_writable(path: Path, option: str = "--json") -> None:
    """Refuse a file that could not be written at the end, before anything is computed."""
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{option} must be a file that can be written, got {path}; name one in a folder of yours.")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--precision",
        type=float,
        default=PRECISION,
        metavar="R",
        help="SEM wanted, as a share of the predicted value (or of the scale that a claim states), > 0; half of it "
        f"takes four times the draws; default {PRECISION}",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="only claims that contain a text, or whose theory functions do",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the lines there too, with counts and scales")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw, >= 0; default 0")
    parser.add_argument("--list", action="store_true", help="print the claims and the functions they check, and stop")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, source: Callable[[], list[Any]] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(argv)
    return cli.guarded(lambda: _verify(options, source))


def _verify(options: argparse.Namespace, source: Callable[[], list[Any]] | None) -> int:
    if not (options.precision > 0 and math.isfinite(options.precision)):
        raise InputError(f"--precision must be positive and finite, got {options.precision}; 0.01 asks for 1%.")
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed must be in [0, 2^63), got {options.seed}; give a whole number.")
    if options.json is not None:
        check_writable(options.json)
    import jax

    from sims.checks import all_checks
    from sims.checks.run import choose, report, run, table
    from sims.engine import runtime
    from sims.engine.run import duration, say

    runtime.configure()
    jax.config.update("jax_enable_x64", True)  # asymptotic forms are read at values that float32 does not have
    checks = choose((source or all_checks)(), options.only)
    if options.list:
        print("\n".join(f"{check.claim}  [{', '.join(check.forms)}]" for check in checks))
        return 0
    effort = DRAW_SECONDS * (PRECISION / options.precision) ** 2
    say(f"{len(checks)} claims; time: about {duration(len(checks) * (COMPILE_SECONDS + effort))} on two cores")
    started = time.perf_counter()
    outcomes = run(checks, options.seed, options.precision)
    print(table(outcomes))
    failed = sum(not outcome.ok for outcome in outcomes)
    say(f"{len(outcomes) - failed} of {len(outcomes)} claims hold; {duration(time.perf_counter() - started)}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([report(outcome) for outcome in outcomes], indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
