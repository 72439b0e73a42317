"""Timings know when other programs ran beside them: they are repeated, and no ratio of them is printed."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks import quiet, timing
from benchmarks.quiet import Usage
from benchmarks.report import report

ROW = {"workload": "a grid", "axis": "headline", "tasks_per_second": 1e6, "ratio_to_numpy_loop": 1234.0}
ROW |= {"compile_seconds": 1.0, "peak_mb": 100.0, "devices": 2, "machine": "2 cores", "repeats": 5}
CONTENDERS = ("numpy_vectorised", "numpy_vectorised_every_core", "w2s_jax")


@pytest.mark.skipif(not quiet.STAT.exists(), reason="the kernel of this system does not say who uses its cores")
def test_another_program_is_seen_and_own_work_is_not():
    """A sleeping process sees a busy one; its own work, as much of it, is not counted as another's."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while quiet.usage().busy - quiet.usage().own <= 0:
            time.sleep(0.1)
        before = quiet.usage()
        time.sleep(2.0)
        beside = quiet.others_share(before, quiet.usage())
    finally:
        other.kill()
        other.wait()
    before, until = quiet.usage(), time.process_time() + 1.0
    while time.process_time() < until:
        pass
    after = quiet.usage()
    assert after.own - before.own == pytest.approx(1.0, abs=0.2)
    assert after.busy - before.busy >= 0.8  # own work is in the busy time, and taken out of it
    assert beside >= 0.3 / len(os.sched_getaffinity(0))


def test_disturbed_runs_are_repeated_and_the_quietest_is_kept(monkeypatch):
    shares, taken = iter([0.6, 0.2, 0.4]), []
    monkeypatch.setattr(quiet, "others_share", lambda before, after: next(shares))

    def run(units: int) -> None:
        taken.append(sum(range(100 * units)))

    found = timing.measure(run, seconds=1e-5)
    assert found.others_share == 0.2 and next(shares, None) is None
    monkeypatch.setattr(quiet, "others_share", lambda before, after: 0.01)
    assert timing.measure(run, seconds=1e-5).others_share == 0.01


def test_of_what_is_not_known_nothing_is_said():
    assert quiet.others_share(None, Usage(1.0, 1.0, 1.0)) is None
    assert not quiet.is_disturbed({"others_share": None}) and quiet.warning([{}, {"others_share": 0.01}]) == []


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_disturbed_ratio_is_not_printed(share):
    text = report([ROW | {"contender": name, "others_share": share} for name in CONTENDERS])
    assert ("1,234" in text) == (share == 0) and (" times numpy_vectorised" in text) == (share == 0)
    assert ("3 of 3 rows were timed beside other programs, which took up to 30% of the cores" in text) == (share > 0)
