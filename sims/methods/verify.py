"""Runs the method of a submission again, on draws that it has not seen, and refuses numbers that do not come out again.

    python -m sims.methods.verify mean_refine-linear.json --plugin my_method.py

The source must be the one that was submitted (sha256). It and naive_ft run on the submission's tasks with another
seed; scores and the risks in every task must agree within their errors. Exit code 0: they do; 2: they do not.
"""

import argparse
import dataclasses
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from sims.engine import cli, runtime
from sims.engine.checked import InputError
from sims.methods import plugin
from sims.methods.__main__ import start
from sims.methods.spec import BUDGETS, ArenaSpec
from sims.methods.submission import NAIVE, Score, preset_of, read, scores_of

FALSE_ALARM = 1e-4
"""Chance that a score which does reproduce is refused."""
MOST_ERRORS = 6.0
"""Standard errors that a task may be off: there are many tasks, and rare mistakes make their errors uneven."""
ERRORS_DIFFER = 1.5
"""Factor by which the standard errors of a submission may be off, in the median over tasks."""

ROUNDING = 1e-5
"""Share of a risk that it may always be off: a method that reads no example has no error."""


def verify(path: Path, file: Path, seed: int, replicates: int | None, out: Path) -> list[str]:
    """What was found again, in words; the run's store is written to `out`.

    Raises:
        InputError: if the file is not that of the submission, or its numbers do not reproduce.
    """
    found, own = read(path), plugin.load(file)
    if own != f"{found['name']} {found['sha256']}":
        raise InputError(
            f"--plugin must be the file that was submitted, {found['name']} of sha256 {found['sha256'][:12]}..., but "
            f"{file} is {own[: own.index(' ') + 13]}...; give that file, or submit it anew."
        )
    if seed == found["seed"]:
        raise InputError(f"--seed must be another than that of the submission, got {seed}; leave it out.")
    spec = dataclasses.replace(
        preset_of(found["labels"]),
        methods=(NAIVE, found["name"]),
        plugin=own,
        seed=seed,
        replicates=found["replicates"] if replicates is None else replicates,
    )
    store = start(spec, out)
    return compare(path, found, spec, store)


def compare(path: Path, found: dict[str, Any], spec: ArenaSpec, store: Path) -> list[str]:
    """A line for each budget, if a submission agrees with another run of it."""
    data = xr.open_zarr(store, consolidated=False).load()
    more = int(data.num_replicates) / found["replicates"]
    blocks, lines = -(-spec.replicates // spec.block_size), []
    again = scores_of(store, spec)

    def must(agrees: bool, what: str, given: float, ours: float, most: str) -> None:
        if not agrees:
            raise InputError(
                f"a submission must come out again, but {what} is {given:.4g} in {path} and {ours:.4g} with seed "
                f"{spec.seed}, further apart than {most}; submit what its method finds."
            )

    for budget in BUDGETS:
        given, ours = Score(**found["score"][budget]), again[budget]
        most = float(stats.t.isf(FALSE_ALARM / 2, blocks - 1)) * ours.log_sem * np.sqrt(1 + more)
        close = abs(np.log(given.ratio / ours.ratio)) <= most
        must(close, f"the score at the same {budget}", given.ratio, ours.ratio, f"{most:.1%}")
        lines.append(
            f"same {budget}: {given.ratio:.4f} of naive_ft's risk submitted, {ours.ratio:.4f} found again; they may be "
            f"{most:.1%} apart"
        )
        held = np.array(found["risk_sem"][budget])
        for field, name in (("risk", found["name"]), ("naive_risk", NAIVE)):
            at = {"tuning": "weak_labels", "method": name, "budget": budget}
            mean, sem = (data[part].sel(at).values.ravel() for part in ("risk_mean", "risk_sem"))
            expected = sem * np.sqrt(more)
            if field == "risk":
                ratio = np.median(np.maximum(held, 1e-12) / np.maximum(expected, 1e-12))
                close, typical = 1 / ERRORS_DIFFER <= ratio <= ERRORS_DIFFER, (np.median(held), np.median(expected))
                must(close, f"the median standard error at the same {budget}", *typical, f"a factor {ERRORS_DIFFER:g}")
                expected = held
            off = np.abs(np.array(found[field][budget]) - mean) / (np.hypot(sem, expected) + ROUNDING * mean)
            at = int(off.argmax())
            what = f"the risk of {name} in task {at} at the same {budget}"
            must(off[at] <= MOST_ERRORS, what, found[field][budget][at], mean[at], f"{MOST_ERRORS:g} standard errors")
    return lines


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.methods.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("submission", metavar="FILE", type=Path, help="JSON of python -m sims.methods.submit")
    parser.add_argument("--plugin", metavar="FILE", type=Path, required=True, help="the source that was submitted")
    parser.add_argument("--seed", type=int, default=None, help="of the held-out draws (default: a random one)")
    parser.add_argument("--replicates", type=int, default=None, help="as many as were submitted, unless given")
    parser.add_argument("--out", type=Path, default=None, help="folder to keep the run in (default: it is not kept)")
    options = parser.parse_args(argv)

    def act() -> None:
        seed = 1 + secrets.randbelow(2**31) if options.seed is None else options.seed
        with tempfile.TemporaryDirectory() as folder, runtime.restored():
            runtime.configure()
            out = options.out or Path(folder)
            for line in verify(options.submission, options.plugin, seed, options.replicates, out):
                print(line)
        print(f"verified: {options.submission} comes out again with seed {seed}")

    return cli.guarded(act)


if __name__ == "__main__":
    sys.exit(main())
