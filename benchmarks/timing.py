"""How contenders are timed: the median of several runs after a warm-up, each contender in a process of its own."""

import contextlib
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmarks import quiet

T = TypeVar("T")

MIN_REPEATS = 5
TRIES = 3
"""How often a timing is taken at most while other programs disturb it; the quietest is kept."""

Run = Callable[[int], Any]
"""Does that many units of work, and waits for its own results (`jax.block_until_ready`)."""


class Timing(NamedTuple):
    """What was measured of one contender."""

    seconds: tuple[float, ...]
    """Wall time of each timed run."""
    units: int
    """Units of work in a timed run, chosen by calibration."""
    warmup_seconds: float
    """Wall time of the first unit, which compiles where there is something to compile."""
    peak_mb: float
    """Largest resident memory so far of the process and those that it started, imports included, in 10^6 bytes."""
    cores_used: float
    """Processor time of this process alone over wall time, in the timed runs."""
    others_share: float | None = None
    """Share of the cores that other programs took in the timed runs; None where the kernel does not say."""

    @property
    def median_seconds(self) -> float:
        """The figure to quote: one slow run (another program woke up) does not move it."""
        return statistics.median(self.seconds)

    @property
    def compile_seconds(self) -> float:
        """Warm-up beyond an ordinary unit, never negative."""
        return max(self.warmup_seconds - self.median_seconds / self.units, 0.0)


def measure(run: Run, repeats: int = MIN_REPEATS, seconds: float = 1.0) -> Timing:
    """Time `run`, in runs of at least about `seconds`.

    >>> measure(lambda units: sum(range(1000 * units)), seconds=0.01).median_seconds < 1
    True
    """
    (timing,) = _by_turns((run,), repeats, seconds)
    return timing


def measure_beside(run: Run, rival: Run, repeats: int = MIN_REPEATS, seconds: float = 1.0) -> tuple[Timing, Timing]:
    """Time two by turns, so that a machine that is busier for a while slows both.

    >>> slow, fast = measure_beside(lambda n: sum(range(9000 * n)), lambda n: sum(range(1000 * n)), seconds=0.01)
    >>> len(slow.seconds) == len(fast.seconds) == MIN_REPEATS
    True
    """
    first, second = _by_turns((run, rival), repeats, seconds)
    return first, second


def _by_turns(runs: tuple[Run, ...], repeats: int, seconds: float) -> list[Timing]:
    if repeats < MIN_REPEATS:
        raise ValueError(f"repeats must be at least {MIN_REPEATS} for a median worth quoting, got {repeats}.")
    warmup = [_seconds(run, 1) for run in runs]
    units = [calibrate(run, seconds) for run in runs]
    found: list[tuple[float, list[Timing]]] = []
    while len(found) < TRIES and (not found or found[-1][0] > quiet.MOST_OTHERS):
        before, wall, processor = quiet.usage(), time.perf_counter(), time.process_time()
        turns = [[_seconds(run, count) for run, count in zip(runs, units)] for _ in range(repeats)]
        cores_used = (time.process_time() - processor) / (time.perf_counter() - wall)
        others = quiet.others_share(before, quiet.usage())
        timings = [
            Timing(timed, count, start, peak_mb(), cores_used, others)
            for timed, count, start in zip(zip(*turns), units, warmup)
        ]
        found.append((others or 0.0, timings))
    return min(found, key=lambda each: each[0])[1]


def compilations() -> list[float]:
    """Seconds of each compilation of this process from now on, in a list that grows."""
    import jax.monitoring

    found: list[float] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if "backend_compile" in event:
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return found


def calibrate(run: Run, seconds: float) -> int:
    """How many units of work take `seconds` or, where one unit takes longer, 1."""
    units = 1
    while (taken := _seconds(run, units)) < seconds / 2:
        units = max(2 * units, min(100 * units, int(units * seconds / taken)))
    return max(1, round(units * seconds / taken))


def in_fresh_process(
    function: Callable[..., T], *args: Any, cores: int | None = None, environment: Mapping[str, str] | None = None
) -> T:
    """`function(*args)` in a new interpreter, so that peak memory, caches and thread pools are its own.

    The function must be importable and its result picklable. The process, its threads and what it starts stay on the
    first `cores` cores of this one, from before its first import: thread pools are sized by what they find.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with _environment(environment or {}), _pinned(cores):
            result = pool.submit(function, *args)  # starts the process, which inherits both
        return result.result()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_mb() -> float:
    """Largest resident memory so far of this process and of those that it started, in 10^6 bytes."""
    if Path("/proc/self/status").exists():  # `ru_maxrss` would remember the parent's size across fork and exec
        pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
        return sum(_peak_bytes(Path(f"/proc/{pid}/status")) for pid in pids) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _peak_bytes(status: Path) -> int:
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


@contextlib.contextmanager
def _pinned(cores: int | None) -> Iterator[None]:
    if cores is None or not hasattr(os, "sched_setaffinity"):  # macOS cannot pin
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _seconds(run: Run, units: int) -> float:
    start = time.perf_counter()
    run(units)
    return time.perf_counter() - start
