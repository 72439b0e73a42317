"""One run at a time: a live one is refused with its owner's name, a dead one's lock is taken over."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from sims.engine.checked import InputError
from sims.engine.lock import SILENT_SECONDS, RunLock, alive, lock_folder, owners


@pytest.fixture
def store(tmp_path):
    return tmp_path / "results" / "toy.zarr"


def assert_held(store, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RunLock(store, run="mine").__enter__()


def sign(store, run="other", age=0.0, **said) -> None:
    """Leave the sign of another process, as this one would."""
    with RunLock(store, run="model") as lock:
        owner = json.loads(lock.file.read_text())
        file = lock.file.with_name(f"{run}-{said.get('rank', 0)}.json")
        file.write_text(json.dumps({**owner, "run": run, **said}))
    then = time.time() - age
    os.utime(file, (then, then))


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_lock_comes_and_goes_without_a_trace(store):
    with RunLock(store, run="a") as lock:
        (owner,) = owners(store)
        assert alive(owner) and owner["pid"] == os.getpid() and owner["host"] == socket.gethostname()
        assert {"run", "rank", "born", "started", "command"} <= set(owner) and owner["state"] == "running"
        lock.mark("done")
        assert owners(store)[0]["state"] == "done"
    assert not store.parent.exists()


@pytest.mark.parametrize("lacking", ["nothing", "locks of files", "unix"])
def test_another_live_run_is_refused_by_name(store, monkeypatch, lacking):
    if lacking == "unix":
        monkeypatch.setitem(sys.modules, "fcntl", None)  # importing it fails
    elif lacking == "locks of files":
        monkeypatch.setattr("fcntl.flock", Mock(side_effect=OSError))
    with RunLock(store, run="a") as held:
        assert_held(store, rf"{store} is held by process {os.getpid()} on \S+ since 20\S+; wait")
        assert [owner["run"] for owner in owners(store)] == ["a"] and held.lost() is None
    with RunLock(store, run="b"):
        pass


STALE = {
    "killed": lambda: {"pid": dead_process()},
    "its number given to another": lambda: {"born": "1"},
    "another host, silent": lambda: {"place": "elsewhere", "age": SILENT_SECONDS + 5},
    "a host that has been restarted since": lambda: {"place": f"{socket.gethostname()} old boot", "age": 100},
    "failed but not yet gone": lambda: {"state": "failed: disk full"},
}


@pytest.mark.parametrize("kind", STALE)
def test_a_stale_lock_is_taken_over_with_a_line(store, capsys, kind):
    sign(store, **STALE[kind]())
    with RunLock(store, run="mine"):
        assert [owner["run"] for owner in owners(store)] == ["mine"]
    assert "took over the lock of a run that is gone: process" in capsys.readouterr().err
    assert not store.parent.exists() or not list(store.parent.iterdir())


@pytest.mark.parametrize("said", [{"place": "elsewhere", "age": SILENT_SECONDS / 2}, {"pid": os.getpid()}])
def test_a_lock_that_gives_signs_of_life_is_not_taken(store, said):
    sign(store, host="far", **said)
    assert_held(store, "on far since")


def test_a_sign_that_is_just_being_written_counts_as_alive(store):
    lock_folder(store).mkdir(parents=True)
    (lock_folder(store) / "other-0.json").write_text("")
    assert_held(store, "is held by process unknown")


def test_a_process_that_is_hidden_from_this_user_is_not_taken_for_dead(store, monkeypatch):
    """/proc mounted with hidepid: the processes of others are not there, and signals to them are refused."""
    sign(store, pid=os.getpid(), host="here")
    read = Path.read_text

    def hidden(self, *arguments, **options):
        if str(self).startswith("/proc/") and self.name == "stat":
            raise FileNotFoundError(self)
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", hidden)
    monkeypatch.setattr(os, "kill", Mock(side_effect=PermissionError))
    assert_held(store, "on here since")


def test_ranks_of_a_run_share_its_lock_and_learn_of_one_that_fails(store):
    with RunLock(store, run="a") as lock:
        with RunLock(store, run="a", rank=1):
            assert [owner["rank"] for owner in owners(store)] == [0, 1] and lock.lost() is None
        with pytest.raises(InputError), RunLock(store, run="a", rank=1):
            raise InputError("the disk is full")
        assert lock.lost() == "rank 1 of this run failed: the disk is full"
    assert not store.parent.exists(), "the last rank to leave takes every sign away"


def test_a_rank_that_vanishes_is_lost_and_one_that_is_done_is_not(store):
    with RunLock(store, run="a") as lock:
        owner, gone = json.loads(lock.file.read_text()), lock.file.with_name("a-1.json")
        gone.write_text(json.dumps({**owner, "rank": 1, "pid": dead_process()}))
        assert lock.lost().startswith("rank 1 of this run is gone: process")
        gone.write_text(gone.read_text().replace("running", "done"))
        assert lock.lost() is None
        gone.unlink()
        lock.file.unlink()
        assert "was taken away" in lock.lost()


def test_only_what_runs_left_beside_the_store_is_cleared(store):
    other = store.parent / ".another.zarr.staging"
    for folder in (other, store, store.parent / ".toy.zarr.abc123" / "risk"):
        folder.mkdir(parents=True)
    (store.parent / ".toy.zarr.0123").write_text("half a file")
    with RunLock(store, run="a", rank=1):
        left = sorted(path.name for path in store.parent.iterdir())
        assert left == [".another.zarr.staging", ".toy.zarr.lock", "toy.zarr"]
        (being_written := store.parent / ".toy.zarr.4567").write_text("half a file")
        with RunLock(store, run="a"):
            assert being_written.exists()


def test_a_folder_that_cannot_be_locked_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("keep me")
    assert_held(tmp_path / "file" / "toy.zarr", r"making its lock failed for .*; finished blocks are kept")


@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"])
def test_processes_that_were_started_together_learn_how_to_share(store, monkeypatch, name):
    monkeypatch.setenv(name, "4")
    with RunLock(store, run="a"):
        assert_held(store, rf"started 4 times at once \({name}\): with --cluster")


def test_a_thread_keeps_the_sign_fresh(store, monkeypatch):
    monkeypatch.setattr("sims.engine.lock.TOUCH_SECONDS", 0.01)
    with RunLock(store, run="a") as lock:
        os.utime(lock.file, (0, 0))
        deadline = time.monotonic() + 10
        while lock.file.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
