"""Whether other programs ran while something was timed: the share of the cores that went elsewhere.

The kernel counts how long each core was busy, and how long a hypervisor gave it to another machine (`steal`). What
this process and its workers did not use of that went to others.
"""

import multiprocessing
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

MOST_OTHERS = 0.05
"""Largest share of the cores that others may take: beyond it a run is repeated, and no ratio of it is printed."""
STAT = Path("/proc/stat")
"""Linux alone has it; elsewhere nothing is known of others."""


class Usage(NamedTuple):
    """Processor seconds so far."""

    wall: float
    busy: float
    """Time of the cores that this process may use, spent by any program or given to other machines."""
    own: float
    """Time spent by this process and its workers."""


def usage() -> Usage | None:
    """What is used now; None where the kernel does not say."""
    if not STAT.exists():
        return None
    return Usage(time.perf_counter(), _busy_seconds(), _own_seconds())


def others_share(before: Usage | None, after: Usage | None) -> float | None:
    """Share of the cores, in [0, 1], that others took between the two; None where it is not known.

    >>> round(others_share(Usage(0.0, 5.0, 1.0), Usage(1.0, 7.0, 2.5)) * len(os.sched_getaffinity(0)), 6)
    0.5
    """
    if before is None or after is None or after.wall <= before.wall:
        return None
    taken = (after.busy - before.busy) - (after.own - before.own)
    return min(max(taken / (after.wall - before.wall) / len(os.sched_getaffinity(0)), 0.0), 1.0)


def is_disturbed(row: Mapping[str, Any]) -> bool:
    """Whether a stored row was timed beside other programs; rows from before this was stored were not watched."""
    return (row.get("others_share") or 0.0) > MOST_OTHERS


def ratio_text(row: Mapping[str, Any], text: str) -> str:
    """A ratio as it is printed: not at all where the row was disturbed."""
    return "disturbed" if is_disturbed(row) else text


def warning(rows: list[dict]) -> list[str]:
    """A line that says which rows were disturbed, or none."""
    found = [row["others_share"] for row in rows if is_disturbed(row)]
    if not found:
        return []
    return [
        f"{len(found)} of {len(rows)} rows were timed beside other programs, which took up to {max(found):.0%} of the "
        "cores: their ratios are left out; run it again on a quiet machine."
    ]


def _busy_seconds() -> float:
    """user, nice, system, irq, softirq and steal of /proc/stat (proc(5)); guests are counted in user."""
    cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    fields = [line.split() for line in STAT.read_text().splitlines()]
    ticks = sum(int(line[place]) for line in fields if line[0] in cores for place in (1, 2, 3, 6, 7, 8))
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    spent = sum(os.times()[:4])
    for child in multiprocessing.active_children():
        after_name = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        spent += sum(map(int, after_name[11:15])) / os.sysconf("SC_CLK_TCK")  # utime, stime and waited children's
    return spent
