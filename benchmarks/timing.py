"""How contenders are timed: median of several runs after a warm-up, each contender in a process of its own."""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

MIN_REPEATS = 5


class Timing(NamedTuple):
    """What was measured of one contender."""

    seconds: tuple[float, ...]
    """Wall time of each run after the warm-up."""
    warmup_seconds: float
    """Wall time of the first run, which compiles where there is something to compile."""
    peak_mb: float
    """Largest resident memory of the process so far, imports included, in 10^6 bytes."""

    @property
    def median_seconds(self) -> float:
        """The figure to quote: one slow run (another program woke up) does not move it."""
        return statistics.median(self.seconds)

    @property
    def compile_seconds(self) -> float:
        """Warm-up beyond an ordinary run, never negative."""
        return max(self.warmup_seconds - self.median_seconds, 0.0)


def measure(run: Callable[[], Any], repeats: int = MIN_REPEATS) -> Timing:
    """Time `run`, which must wait for its own results (`jax.block_until_ready`).

    >>> measure(lambda: sum(range(1000))).median_seconds < 1
    True
    """
    if repeats < MIN_REPEATS:
        raise ValueError(f"repeats must be at least {MIN_REPEATS} for a median worth quoting, got {repeats}.")
    warmup, *seconds = (_seconds(run) for _ in range(1 + repeats))
    return Timing(tuple(seconds), warmup, peak_mb())


def in_fresh_process(function: Callable[..., T], *args: Any) -> T:
    """`function(*args)` in a new interpreter, so that peak memory, caches and thread pools are its own.

    The function must be importable and its result picklable.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def peak_mb() -> float:
    """Largest resident memory of this process so far, in 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # `ru_maxrss` would remember the parent's size across fork and exec
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if "VmHWM" in lines:
            return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
