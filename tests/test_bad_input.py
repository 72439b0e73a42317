"""Bad input: one sentence on stderr, exit code 2, and nothing written."""

import re
import shutil
from collections import namedtuple

from tests import toy_sweep


def assert_refused(capsys, code: int, message: str, out=None) -> None:
    error = capsys.readouterr().err
    assert code == 2, error
    assert re.search(message, error), error
    assert error.count("\n") == 1 and error.startswith("error: "), f"one sentence, please: {error!r}"
    assert out is None or not out.exists()


def test_an_output_path_that_is_a_file_or_cannot_be_written(capsys, tmp_path):
    (file := tmp_path / "file").write_text("keep me")
    assert_refused(capsys, toy_sweep.run(file), "--out must be a directory, got the file")
    assert_refused(capsys, toy_sweep.run(file / "results"), "--out must be a folder that can be written")
    assert file.read_text() == "keep me"


def test_too_small_a_disk(capsys, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    assert toy_sweep.run(tmp_path / "x") == 2
    assert "the disk must hold" in toy_sweep.one_error(capsys) and not (tmp_path / "x").exists()
