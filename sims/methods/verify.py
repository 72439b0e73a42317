"""Runs the method of a submission again, and refuses numbers that do not come out again.

    python -m sims.methods.verify mean_refine-linear.json --plugin my_method.py

The source must be the one that was submitted (sha256). It and naive_ft run on the submission's tasks twice: on its own
draws, where every number must be the same but for rounding, and with another seed, on draws that nobody has seen, where
scores and risks must agree within their errors. Exit code 0: they do; 2: they do not.
"""

import argparse
import dataclasses
import itertools
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sims.engine import cli, runtime
from sims.engine.checked import InputError
from sims.methods import plugin
from sims.methods.__main__ import start
from sims.methods.spec import BUDGETS, ArenaSpec
from sims.methods.submission import NAIVE, RISKS, Score, numbers_of, preset_of, read

SAME = 0.02
"""Share by which a number may be off on the same draws: machines round otherwise, and then choose other knobs."""
LEAST = 1e-6
"""Risks and errors below this are rounding."""
FALSE_ALARM = 1e-4
"""Chance that a score which does reproduce is refused."""
MOST_ERRORS = 6.0
"""Standard errors that a risk may be off: there are many tasks, and rare mistakes make errors uneven."""


def verify(path: Path, file: Path, seed: int, replicates: int | None, out: Path) -> list[str]:
    """What was found again, in words; the runs' stores are written to `out`.

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
    alike = dataclasses.replace(
        preset_of(found["labels"]),
        methods=(NAIVE, found["name"]),
        plugin=own,
        seed=found["seed"],
        replicates=found["replicates"],
    )
    other = dataclasses.replace(alike, seed=seed, replicates=replicates or alike.replicates)
    again = numbers_of(start(alike, out / "same_draws"), alike)
    for field, budget in itertools.product(RISKS, BUDGETS):
        pair = [np.array(numbers[field][budget]) for numbers in (found, again)]
        _must_agree(path, f"{field} at the same {budget}", *pair, SAME * np.maximum(pair[1], LEAST), alike)
    ours = numbers_of(start(other, out / "other_draws"), other)
    return [_scores_agree(path, found, ours, other, budget) for budget in BUDGETS]


def _scores_agree(path: Path, found: dict[str, Any], ours: dict[str, Any], spec: ArenaSpec, budget: str) -> str:
    """What two runs on other draws found, in words, if they agree."""
    scores = [Score(**numbers["score"][budget]) for numbers in (found, ours)]
    blocks = -(-spec.replicates // spec.block_size)
    most = float(stats.t.isf(FALSE_ALARM / 2, blocks - 1)) * np.hypot(*(score.log_sem for score in scores))
    logs = [np.log([score.ratio]) for score in scores]
    _must_agree(path, f"logarithm of the score at the same {budget}", *logs, np.array([most]), spec)
    for field in ("risk", "naive_risk"):
        pair = [np.array(numbers[field][budget]) for numbers in (found, ours)]
        errors = np.hypot(*(numbers[f"{field}_sem"][budget] for numbers in (found, ours)))
        _must_agree(path, f"{field} at the same {budget}", *pair, MOST_ERRORS * errors + SAME * pair[1], spec)
    given, again = (score.ratio for score in scores)
    return f"same {budget}: {given:.4f} of naive_ft's risk submitted, {again:.4f} found on other draws"


def _must_agree(path: Path, what: str, given: np.ndarray, again: np.ndarray, most: np.ndarray, spec: ArenaSpec) -> None:
    """Refuse numbers that are further apart than `most`."""
    off = np.abs(given - again) / most
    at = int(off.argmax())
    if not off[at] <= 1:
        where = f" in task {at}" * (len(given) > 1)
        raise InputError(
            f"a submission must come out again, but its {what}{where} is {given[at]:.4g} in {path} and {again[at]:.4g} "
            f"with seed {spec.seed}, more than {most[at]:.2g} apart; submit what its method finds."
        )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.methods.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("submission", metavar="FILE", type=Path, help="JSON of python -m sims.methods.submit")
    parser.add_argument("--plugin", metavar="FILE", type=Path, required=True, help="the source that was submitted")
    parser.add_argument(
        "--seed", type=int, default=None, help="of the draws that nobody has seen (default: a random one)"
    )
    parser.add_argument("--replicates", type=int, default=None, help="of these (default: as many as were submitted)")
    parser.add_argument("--out", type=Path, default=None, help="folder to keep the run in (default: it is not kept)")
    options = parser.parse_args(argv)

    def act() -> None:
        seed = 1 + secrets.randbelow(2**31) if options.seed is None else options.seed
        with tempfile.TemporaryDirectory() as folder, runtime.restored():
            runtime.configure()
            out = options.out or Path(folder)
            for line in verify(options.submission, options.plugin, seed, options.replicates, out):
                print(line)
        print(f"verified: {options.submission} comes out again, on its own draws and with seed {seed}")

    return cli.guarded(act)


if __name__ == "__main__":
    sys.exit(main())
