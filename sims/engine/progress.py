"""Progress of long work on stderr: a bar on a terminal; elsewhere, as in a cluster's log, a line a minute."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

INTERVAL = 60.0
"""Seconds between lines where there is no terminal."""

Update = Callable[[int, str], None]
"""(what is done, a note): shows both."""


@contextlib.contextmanager
def progress(title: str, total: int, note: str = "", *, completed: int = 0, hidden: bool = False) -> Iterator[Update]:
    """Show how much of `total` is done while the body runs.

    Args:
        title: what is under way.
        total: units of work, >= 1.
        note: shown beside the count until the first update, such as "compiling".
        completed: units that are done already.
        hidden: show nothing.

    Yields:
        The function that updates it.

    >>> with progress("demo", 2, hidden=True) as update:
    ...     update(1, "half way")
    """
    if hidden:
        yield lambda done, note: None
    elif sys.stderr.isatty():
        with _bar(title, total, note, completed) as update:
            yield update
    else:
        with _lines(title, total, note, completed) as update:
            yield update


@contextlib.contextmanager
def _bar(title: str, total: int, note: str, completed: int) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        bar = shown.add_task(title, total=total, completed=completed, note=note)
        yield lambda done, note: shown.update(bar, completed=done, note=note)


@contextlib.contextmanager
def _lines(title: str, total: int, note: str, completed: int) -> Iterator[Update]:
    state, ended, began = [completed, note], threading.Event(), time.perf_counter()

    def report() -> None:
        while not ended.wait(INTERVAL):
            minutes = (time.perf_counter() - began) / 60
            words = f"{title}: {state[0]:,} of {total:,}, {state[1]}, {minutes:.0f} min so far"
            print(words, file=sys.stderr, flush=True)

    def update(done: int, note: str) -> None:
        state[:] = done, note

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield update
    finally:
        ended.set()
        reporter.join()


def rate(count: float, seconds: float, unit: str) -> str:
    """How many a second, or a minute where that is under one.

    >>> rate(3000, 2.0, "tasks"), rate(1, 8.0, "fits")
    ('1,500 tasks/s', '7.5 fits/min')
    """
    each = count / max(seconds, 1e-9)
    return f"{each:,.0f} {unit}/s" if each >= 1 else f"{60 * each:.2g} {unit}/min"
