"""What `sims.inspect` prints about a store, what damage it finds, and that it repairs it to the same bits."""

import os
import shutil
import stat

import numpy as np
import pytest

from sims import inspect
from sims.engine.disk import DurableStore
from sims.engine.lock import RunLock
from sims.engine.store import Store
from tests.test_bad_input import assert_refused
from tests.toy_sweep import assert_same_results, edit_metadata, flip_a_bit, look, run, set_format


def test_a_sound_store(whole_toy, capsys):
    assert look(whole_toy) == 0
    text = capsys.readouterr().out
    for line in (
        "format 2, 0.0",
        "sweep       toy, preset quick, identity",
        "grid        cells: 0, 1, 2",
        "replicates 10, block_size 5, seed 0",
        "provenance  created 20",
        "progress    4 of 4 blocks, of 2 chunks of the grid",
        "10 of 10 replicates of every cell",
        "results are there, of 10 replicates",
        "lock        free",
        "health      sound: all 4 finished blocks and the results read back",
    ):
        assert line in text
    assert max(map(len, text.splitlines())) <= 120


def test_an_interrupted_sweep_shows_its_progress(tmp_path, capsys, monkeypatch):
    write = Store.write

    def killed(self, block, chunk, count, leaves):
        if (block, chunk) == (1, 0):
            raise KeyboardInterrupt
        write(self, block, chunk, count, leaves)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", killed)
        assert run(tmp_path) == 130
    (tmp_path / "toy.zarr" / "blocks" / "done" / "c" / "0" / "1").unlink()
    with RunLock(tmp_path / "toy.zarr", run="a"):
        assert look(tmp_path) == 0
    text = capsys.readouterr().out
    assert "progress    1 of 4 blocks" in text and "of 10 replicates, by chunk of the grid: 5, 0" in text
    assert "results are not there yet" in text
    assert f"held by process {os.getpid()}" in text


BLOCK = "blocks/risk/c/1/0/0"
DAMAGE = {
    "blocks and marks": (flip_a_bit, {BLOCK: "block 1, chunk 0", "blocks/done/c/0/1": "the mark of block 0, chunk 1"}),
    "missing files": (
        os.unlink,
        {
            "blocks/nothing/c/1/1/0": "block 1, chunk 1: FileNotFoundError",
            "void/c/0": "result void: 1 of its files are missing",
        },
    ),
    "results": (flip_a_bit, {"risk/c/0/0": "result risk"}),
    "missing parts": (shutil.rmtree, {"blocks/count": "blocks/count: is missing", "void": "result void: is missing"}),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_mended_to_the_same_bits(whole_toy, toy_copy, capsys, kind):
    damage, faults = DAMAGE[kind]
    for file in faults:
        damage(toy_copy / "toy.zarr" / file)
    assert look(toy_copy) == 1
    text = capsys.readouterr().out
    assert f"health      {len(faults)} faults" in text and all(words in text for words in faults.values())
    assert look(toy_copy, "--repair") == 0
    assert "health      sound" in capsys.readouterr().out
    assert_same_results(toy_copy, whole_toy)
    for block, chunk in np.ndindex(2, 2):
        mended, original = (Store.look(out / "toy.zarr").read(block, chunk) for out in (toy_copy, whole_toy))
        for name in original:
            np.testing.assert_array_equal(mended[name], original[name])
    assert look(toy_copy) == 0


def test_repair_of_a_sound_store_does_nothing(toy_copy, monkeypatch):
    monkeypatch.setattr(inspect, "repair", lambda *_: pytest.fail("there is nothing to mend"))
    assert look(toy_copy, "--repair") == 0


def test_a_store_that_has_grown_is_mended_to_its_size(toy_copy):
    assert run(toy_copy, replicates=13) == 0
    assert run(toy_copy.parent / "twin", replicates=13) == 0
    flip_a_bit(toy_copy / "toy.zarr" / BLOCK)
    assert look(toy_copy, "--repair") == 0
    assert_same_results(toy_copy, toy_copy.parent / "twin")


def test_looking_writes_nothing(toy_copy, monkeypatch):
    monkeypatch.setattr(DurableStore, "set_sync", lambda *_: pytest.fail("a look must not write"))
    for path in (*toy_copy.rglob("*"), toy_copy):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        assert look(toy_copy) == 0
    finally:
        for path in (toy_copy, *toy_copy.rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


# --- bad input --------------------------------------------------------------------------------------------------------


CASES = {
    "no store": (lambda out: (out / "toy.zarr").rename(out / "x.zarr"), "STORE must be the folder of a store"),
    "another version": (lambda out: set_format(out / "toy.zarr", 1), "a store must have format 2"),
    "an unknown sweep": (
        lambda out: edit_metadata(out / "toy.zarr", lambda held: held.update(sweep="another")),
        "is of another; give the path of one of those",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_read_is_refused(capsys, toy_copy, case):
    damage, message = CASES[case]
    damage(toy_copy)
    assert_refused(capsys, look(toy_copy, "--repair"), message)


def test_a_store_that_is_being_written_is_not_mended(capsys, toy_copy):
    flip_a_bit(toy_copy / "toy.zarr" / BLOCK)
    with RunLock(toy_copy / "toy.zarr", run="a"):
        assert_refused(capsys, look(toy_copy, "--repair"), "is held by process")
