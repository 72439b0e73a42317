"""Runs checks, as many at once as there are cores, and puts their outcomes in a table."""

import math
import os
from concurrent.futures import ThreadPoolExecutor, as_completed

from sims.checks.check import Check, Outcome, judge, simulate
from sims.engine import runtime
from sims.engine.checked import InputError
from sims.engine.progress import progress


def run(checks: list[Check], seed: int, precision: float) -> list[Outcome]:
    """Simulate the checks, as many at once as there are cores (at most 4), and judge them in their order."""
    # Not one of the sweeps' devices each: most of the work is compilation, which threads share as well.
    outcomes: dict[int, Outcome] = {}
    workers = min(os.cpu_count() or 1, runtime.MAX_CPU_DEVICES)
    with progress("verify", len(checks), "claims") as update, ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(_outcome, check, seed, precision): i for i, check in enumerate(checks)}
        try:
            for future in as_completed(futures):
                outcomes[futures[future]] = future.result()
                update(len(outcomes), "claims")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [outcomes[i] for i in range(len(checks))]


def _outcome(check: Check, seed: int, precision: float) -> Outcome:
    return judge(check, simulate(check, seed, precision))


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as lines of text, not wrapped, so that they can be searched."""
    width = max(len(outcome.claim) for outcome in outcomes)
    lines = [f"     {'claim':{width}} {'predicted':>11} {'simulated':>11} {'SEM':>9} {'z':>6}"]
    for o in outcomes:
        verdict = "ok  " if o.ok else "FAIL"
        lines.append(f"{verdict} {o.claim:{width}} {o.predicted:11.5g} {o.simulated:11.5g} {o.sem:9.2g} {o.z:6.2f}")
    return "\n".join(lines)


def report(outcome: Outcome) -> dict:
    """An outcome for a JSON file, in which NaN and infinities have no place."""
    fields = outcome._asdict()
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}


def choose(checks: list[Check], only: list[str]) -> list[Check]:
    """The checks whose claim, or one of whose forms, contains one of the texts; all of them if there is no text."""

    def speaks_of(check: Check, text: str) -> bool:
        return any(text.lower() in name.lower() for name in (check.claim, *check.forms))

    for text in only:
        if not any(speaks_of(check, text) for check in checks):
            raise InputError(f"--only must match a claim or a form, but none contains {text!r}; see --list.")
    return [check for check in checks if not only or any(speaks_of(check, text) for text in only)]
