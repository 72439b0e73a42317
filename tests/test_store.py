"""A store survives kills, full disks, read-only media, flipped bits and other versions."""

import errno
import itertools
import os
import pkgutil
import re
import stat
from pathlib import Path

import numpy as np
import pytest

from sims.engine import disk
from sims.engine.checked import InputError
from sims.engine.lock import RunLock
from sims.engine.store import Store, read_config, save_results
from sims.risk_sweep import __main__ as risk_sweep
from tests.helpers import files
from tests.test_bad_input import assert_refused
from tests.toy_sweep import ToySpec, assert_same_results, edit_metadata, flip_a_bit, load, one_error, run, set_format


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [flip_a_bit, os.unlink])
@pytest.mark.parametrize("name", ["risk", "nothing"])
def test_a_damaged_block_is_named_with_its_remedy(toy_copy, name, damage):
    """Nothing is all zeros, which zarr would take a missing file for."""
    damage(toy_copy / "toy.zarr" / "blocks" / name / "c" / "1" / "1" / "0")
    store = Store.look(toy_copy / "toy.zarr")
    with pytest.raises(InputError, match=r"every block of a store must be readable.*block 1, chunk 1 of .* --repair"):
        store.read(1, 1)
    store.read(1, 0)


def test_a_damaged_mark_stops_a_sweep_that_goes_on(toy_copy, capsys):
    flip_a_bit(toy_copy / "toy.zarr" / "blocks" / "done" / "c" / "0" / "0")
    assert (Store.look(toy_copy / "toy.zarr").marks() == -1).sum() == 1
    assert run(toy_copy, replicates=20) == 2
    assert re.search("every mark of a finished block must be readable, .* --repair", one_error(capsys))


CORRUPT = {
    "no metadata": lambda store: (store / "zarr.json").unlink(),
    "broken metadata": lambda store: (store / "zarr.json").write_text("{"),
    "no configuration": lambda store: edit_metadata(store, lambda held: held.pop("config")),
    "broken metadata of a block": lambda store: (store / "blocks" / "risk" / "zarr.json").write_text("{"),
}


@pytest.mark.parametrize("damage", CORRUPT)
def test_a_corrupt_store_is_one_sentence(toy_copy, capsys, damage):
    CORRUPT[damage](toy_copy / "toy.zarr")
    message = "a store must be a readable zarr group"
    assert_refused(capsys, run(toy_copy, replicates=20), message)
    if "block" not in damage:
        assert_refused(capsys, risk_sweep.main(["--from", str(toy_copy / "toy.zarr")]), message)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (None, "must have format 2, but .* has format 1: since then blocks and results carry checksums, .* --from .*"),
        (3, "has format 3: a later version of this program wrote it; go on with that version"),
        ("two", "has format two: a later version"),
    ],
)
def test_a_store_of_another_version(whole_toy, toy_copy, capsys, number, message):
    set_format(toy_copy / "toy.zarr", number)
    before = files(toy_copy)
    assert run(toy_copy, replicates=20) == 2
    assert re.search(message, one_error(capsys))
    assert files(toy_copy) == before
    # Its results are read, and its configuration can be run again, as the sentence says.
    assert_same_results(toy_copy, whole_toy)
    assert read_config(toy_copy / "toy.zarr", ToySpec) == ToySpec()


# --- disks that fail --------------------------------------------------------------------------------------------------


def break_down(patch, step: str, at: int, error: BaseException) -> None:
    """Have the `at`-th call of a function raise an error."""
    original, calls = pkgutil.resolve_name(step), itertools.count(1)

    def call(*arguments, **options):
        if next(calls) == at:
            raise error
        return original(*arguments, **options)

    patch.setattr(step, call)


def failure(code: int) -> OSError:
    return OSError(code, os.strerror(code))


WRITE = "sims.engine.disk.write_durably"
"""Files, in order: the writers of blocks; three arrays and a mark of each of 4 blocks; `complete` = 0; the names of the
results; `complete` = 10."""
FAILURES = [
    *((WRITE, at, errno.ENOSPC, ".*", blocks) for at, blocks in {1: 0, 5: 0, 8: 1, 17: 3, 18: 4, 19: 4, 20: 4}.items()),
    ("sims.engine.disk.tempfile.mkdtemp", 1, errno.EROFS, ".*", 0),
    ("sims.engine.store.sync_tree", 1, errno.EDQUOT, ".*", 0),
    ("sims.engine.disk.os.fsync", 1, errno.EIO, ".*", 0),
    ("sims.engine.disk.Path.replace", 1, errno.EACCES, ".*", 0),
    ("tests.toy_sweep.save_results", 1, errno.ENOSPC, "writing the results", 4),
]


@pytest.mark.parametrize(("step", "at", "code", "deed", "blocks"), FAILURES)
def test_a_failure_of_a_disk_is_one_sentence(whole_toy, tmp_path, capsys, monkeypatch, step, at, code, deed, blocks):
    """It costs the block in flight and no more."""
    with monkeypatch.context() as patch:
        break_down(patch, step, at, failure(code))
        assert run(tmp_path) == 2
    because = rf"{deed} failed for .*toy.zarr \({os.strerror(code)}\)"
    assert re.search(f"a run must be able to write its store, but {because}; finished blocks", one_error(capsys))
    assert set(names_in(tmp_path)) <= {"toy.zarr"}
    finished = []
    if (tmp_path / "toy.zarr").exists():
        store = Store.look(tmp_path / "toy.zarr")
        finished = [store.read(*unit) for unit in np.argwhere(store.marks() > 0).tolist()]
    assert len(finished) == blocks
    assert run(tmp_path) == 0
    assert_same_results(tmp_path, whole_toy)
    assert names_in(tmp_path) == ["toy.zarr"]


# --- kills ------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends the program where it stands, as SIGKILL does."""


STEPS_OF_PUBLISHING = [
    ("disk.write_durably", 1),  # complete = 0
    ("store.shutil.rmtree", 1),
    ("disk.Path.rename", 1),
    ("store.shutil.rmtree", 2),
    ("disk.Path.rename", 2),
    ("store.sync", 1),
    ("disk.write_durably", 2),  # the names of the results
    ("disk.write_durably", 3),  # complete = 10
]


@pytest.mark.parametrize(("step", "at"), STEPS_OF_PUBLISHING)
def test_results_that_a_kill_interrupts_are_assembled_again(whole_toy, toy_copy, monkeypatch, step, at):
    store = Store.open(toy_copy / "toy.zarr", ToySpec(), (0, 0), {}, {})
    folder = toy_copy / ".toy.zarr.staging"
    folder.mkdir()
    save_results(load(toy_copy).drop_attrs() + 1, folder)
    with monkeypatch.context() as patch:
        break_down(patch, f"sims.engine.{step}", at, Killed())
        with pytest.raises(Killed):
            store.publish(folder, 10)
    first = (step, at) == STEPS_OF_PUBLISHING[0]
    assert load(toy_copy).attrs["complete"] == (10 if first else 0)
    assert run(toy_copy) == 0
    assert_same_results(toy_copy, whole_toy)


def test_a_block_that_is_filled_up_is_unmarked_first(tmp_path, monkeypatch):
    """A block of 2 replicates that is to hold 5 must not keep its mark while its arrays are replaced."""
    assert run(tmp_path, replicates=7) == 0
    break_down(monkeypatch, "sims.engine.disk.write_durably", 4, Killed())
    with pytest.raises(Killed):
        run(tmp_path, replicates=10)
    assert Store.look(tmp_path / "toy.zarr").marks()[1, 0] == 0


def test_a_store_is_created_whole_or_not_at_all(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        break_down(patch, "sims.engine.store.sync_tree", 1, Killed())
        with pytest.raises(Killed):
            run(tmp_path)
    assert not (tmp_path / "toy.zarr").exists()
    assert run(tmp_path) == 0


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_file_system_that_cannot_sync_folders_is_used_with_one_warning(whole_toy, tmp_path, capsys, monkeypatch):
    original = os.fsync

    def files_alone(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise failure(errno.EINVAL)
        original(handle)

    monkeypatch.setattr("sims.engine.disk.os.fsync", files_alone)
    monkeypatch.setattr(disk, "_told", set())
    assert run(tmp_path) == 0
    assert capsys.readouterr().err.count("cannot be asked to save folders at once") == 1
    assert_same_results(tmp_path, whole_toy)


def test_a_store_on_another_disk_by_a_link_has_one_lock_and_is_written_there(whole_toy, tmp_path, capsys):
    out, elsewhere = tmp_path / "out", tmp_path / "big disk"
    out.mkdir()
    elsewhere.mkdir()
    (out / "toy.zarr").symlink_to(elsewhere / "mine.zarr")
    with RunLock(elsewhere / "mine.zarr", run="a"):
        assert run(out) == 2
        assert "is held by process" in one_error(capsys)
    assert run(out) == 0
    assert_same_results(out, whole_toy)
    assert load(out).attrs["sweep"] == "toy" and (out / "toy.zarr").is_symlink()
    assert (names_in(out), names_in(elsewhere)) == (["toy.zarr"], ["mine.zarr"])


def test_a_part_of_a_store_on_another_disk_is_written_too(whole_toy, tmp_path, monkeypatch):
    """Files can only be renamed within a folder there: those from beside the store are copied first."""

    def within_a_folder(original):
        def call(self, target):
            if self.parent != Path(target).parent and "toy.zarr" in Path(target).parts[:-1]:
                raise failure(errno.EXDEV)
            return original(self, target)

        return call

    for name in ("replace", "rename"):
        monkeypatch.setattr(Path, name, within_a_folder(getattr(Path, name)))
    assert run(tmp_path) == 0
    assert_same_results(tmp_path, whole_toy)
    assert names_in(tmp_path) == ["toy.zarr"] and not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("{}/toy.zarr", r"must be the folder of stores, got the store .*toy.zarr; give --out .*"),
        ("s3://bucket/x", "must be a folder of this machine, got an address of s3, s3:/bucket/x; mount it"),
    ],
)
def test_what_is_no_folder_of_stores_is_refused(whole_toy, capsys, out, sentence):
    assert run(Path(out.format(whole_toy))) == 2
    assert re.search(sentence, one_error(capsys))
    assert not Path("s3:").exists() and names_in(whole_toy) == ["toy.zarr"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert disk.output_folder(Path("~/x")) == tmp_path / "x"
