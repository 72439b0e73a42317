"""The lock of a run: one store is written by one run at a time, whose ranks share it.

    DIR/.risk_sweep.zarr.lock/
        <run>-<rank>.json       the process that works on DIR/risk_sweep.zarr: host, number, start, state

A lock outlives its process when that is killed, so its owner is looked up: on this host by the process itself, on
another by the file's age, since a thread touches it as long as the process lives. Death is never assumed: a process
that the system hides from this user is taken for alive.
"""

import contextlib
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sims.engine.checked import InputError
from sims.engine.disk import saving

TOUCH_SECONDS = 10
"""Time between two signs of life."""
SILENT_SECONDS = 60
"""A process of another host without a sign of life for this time counts as dead."""

HIDDEN = "alive"
"""Start time of a process whose start cannot be read."""

Owner = dict[str, Any]
"""Record of a rank: run, rank, host, place, pid, born, started, command, state; `age` in seconds."""


class RunLock:
    """Holds the store at `path` for one run while the context lasts; ranks of the same run share it.

    Args:
        path: the store, DIR/NAME.zarr. It need not exist, nor need DIR, which is then made (and taken away again if
            nothing else was written there).
        run: identifies the run; the same in all its ranks.
        rank: number of this process in the run, from 0. The first to start removes the files that killed runs left.

    Raises:
        InputError: on entry, if another live run holds the store or DIR cannot be written.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> store = Path(folder.name) / "risk_sweep.zarr"
    >>> with RunLock(store, run="first") as lock, RunLock(store, run="first", rank=1):
    ...     len(owners(store)), lock.lost()
    (2, None)
    >>> owners(store)
    []
    >>> folder.cleanup()
    """

    def __init__(self, path: Path, run: str, rank: int = 0) -> None:
        self.path, self.run, self.rank = path, run, rank
        self.file = lock_folder(path) / f"{run}-{rank}.json"
        self._stop = threading.Event()
        self._made: list[Path] = []
        self._said: Owner = {
            "run": run,
            "rank": rank,
            "host": socket.gethostname(),
            "place": _place(),
            "pid": os.getpid(),
            "born": _born(os.getpid()),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(sys.argv),
            "state": "running",
        }

    def __enter__(self) -> "RunLock":
        self._made = [p for p in self.path.parents if not p.exists()]
        with saving(self.path, "making its lock"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # First sign, then look: of two runs that come at once, one at least sees the other, guard or none.
            with _guard(self.path.parent):
                self._sign("running")
                signed = owners(self.path, self.file)
                others = [owner for owner in signed if owner["run"] != self.run]
                holder = next((owner for owner in others if works(owner)), None)
                if holder:
                    self._sign_off()
                    raise InputError(
                        f"a store is written by one run at a time, but {self.path} is held by process {holder['pid']} "
                        f"on {holder['host']} since {holder['started']}; {_way_out()}."
                    )
                for owner in others:
                    print(f"took over the lock of a run that is gone: {_shown(owner)}", file=sys.stderr, flush=True)
                    owner["file"].unlink(missing_ok=True)
                if len(signed) - len(others) == 1:  # the first of its run: no process writes yet
                    clear_leftovers(self.path)
        threading.Thread(target=self._give_signs, daemon=True).start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._stop.set()
        if error is not None:
            with contextlib.suppress(OSError):  # a full disk must not hide the error that is under way
                self._sign(f"failed: {error or kind.__name__}")
        with contextlib.suppress(OSError), _guard(self.path.parent):
            ranks = [o for o in owners(self.path, self.file) if o["run"] == self.run and o["rank"] != self.rank]
            last = not any(works(owner) for owner in ranks)
            if error is None or last:  # ranks that still work must learn that this one has failed
                self._sign_off(ranks if last else [])

    def mark(self, state: str) -> None:
        """Publish the state of this rank to the others: "running", "done" or "failed: <sentence>"."""
        with saving(self.path, "signing its lock"):
            self._sign(state)

    def lost(self) -> str | None:
        """One sentence if another rank of this run has failed or vanished, or the lock has been taken; else None."""
        if not self.file.exists():
            return f"the lock of {self.path} was taken away, so another run may be writing it"
        for owner in owners(self.path, self.file):
            if owner["run"] == self.run and owner["rank"] != self.rank and owner["state"] != "done":
                if owner["state"].startswith("failed"):
                    return f"rank {owner['rank']} of this run {owner['state']}"
                if not alive(owner):
                    return f"rank {owner['rank']} of this run is gone: {_shown(owner)}"
        return None

    def _give_signs(self) -> None:
        while not self._stop.wait(TOUCH_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.file)

    def _sign(self, state: str) -> None:
        self._said["state"] = state
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps(self._said, indent=1))

    def _sign_off(self, ranks: list[Owner] | None = None) -> None:
        for file in (self.file, *(owner["file"] for owner in ranks or [])):
            file.unlink(missing_ok=True)
        for folder in (self.file.parent, *self._made):
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


def lock_folder(path: Path) -> Path:
    """Where the ranks that work on a store sign."""
    return path.parent / f".{path.name}.lock"


def owners(path: Path, clock: Path | None = None) -> list[Owner]:
    """What the ranks that have signed for the store at `path` say of themselves, dead or alive; reads only.

    Ages are read off the file system's own clock by touching `clock`, a file of one's own, since the clocks of hosts
    differ; without one, off this host's.
    """
    now = datetime.now(UTC).timestamp()
    if clock is not None:
        with contextlib.suppress(FileNotFoundError):  # taken away just now
            os.utime(clock)
            now = clock.stat().st_mtime
    return [owner for file in sorted(lock_folder(path).glob("*.json")) if (owner := _read(file, now))]


def alive(owner: Owner) -> bool:
    """Whether the process of an owner still runs."""
    if owner["place"] != _place():
        return owner["age"] < SILENT_SECONDS
    born = _born(owner["pid"])
    return born is not None and (born == owner["born"] or HIDDEN in (born, owner["born"]))


def works(owner: Owner) -> bool:
    """Whether the process of an owner may still write: one that has failed says so on its way out."""
    return alive(owner) and not owner["state"].startswith("failed")


def clear_leftovers(path: Path) -> None:
    """Remove unfinished files of killed runs beside the store; call it only with its lock held."""
    for left in path.parent.glob(f".{path.name}.*"):
        if left.is_file():
            left.unlink()
        elif left != lock_folder(path):
            shutil.rmtree(left, ignore_errors=True)


def _read(file: Path, now: float) -> Owner | None:
    run, _, rank = file.stem.rpartition("-")
    unknown = dict.fromkeys(("host", "place", "pid", "born", "started", "command"), "unknown")
    try:
        with file.open() as opened:  # opening asks a network file system for the age again
            age = now - os.fstat(opened.fileno()).st_mtime
            said = json.load(opened)
    except FileNotFoundError:
        return None
    except ValueError:  # it is being written just now
        said = {}
    return {**unknown, "run": run, "rank": int(rank), "state": "running", **said, "age": age, "file": file}


@contextlib.contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """One process of this host at a time. Some file systems have no such locks: signing first is what is safe."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl  # not on Windows

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _place() -> str:
    """What gives a process number its meaning: host, boot and namespace, since containers may share a name."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return " ".join(parts)


def _born(pid: int) -> str | None:
    """When a process of this host started, in the kernel's words, or `HIDDEN`; None if it is dead."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except ProcessLookupError:
        return None
    except OSError:  # no /proc, or one that shows each user no more than their own processes
        return _signalled(pid)
    return None if state in "ZX" else fields[18]


def _signalled(pid: int) -> str | None:
    # A process with the number of a dead one cannot be distinguished from it here.
    if os.name == "nt":  # where this signal would end it
        return HIDDEN
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
    return HIDDEN


def _way_out() -> str:
    """What to do about a store that is held."""
    for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if (count := os.environ.get(name, "1")) not in ("", "1"):
            return f"this command was started {count} times at once ({name}): with --cluster those share one sweep"
    return "wait until that run has ended, or choose another --out"


def _shown(owner: Owner) -> str:
    return f"process {owner['pid']} on {owner['host']}, started {owner['started']}"
