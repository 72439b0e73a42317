"""Bad input: one sentence on stderr, exit code 2, and nothing written."""

import shutil
from collections import namedtuple

import pytest

from sims.posterior_sweep import __main__ as posterior_sweep
from sims.risk_sweep import __main__ as risk_sweep
from tests.test_engine import options
from w2s_jax.tasks import make_task

FIELDS = [
    ("weak_accuracy", (1.5,), r"weak_accuracy must be in \(0, 1\], got 1.5"),
    ("num_concepts", 6, r"dim must be at least num_concepts \+ 1 = 7 .*, got 6"),
    ("seed", -1, r"seed must be in \[0, 2\^63\), got -1"),
    ("num_icl", (2, 2), "num_icl must not repeat a value, got 2 more than once"),
    ("weak_accuracy", (), "weak_accuracy must hold at least one value"),
]


def assert_refused(capsys, code: int, message: str, out=None) -> None:
    import re

    error = capsys.readouterr().err
    assert code == 2, error
    assert re.search(message, error), error
    assert error.count("\n") == 1 and error.startswith("error: "), f"one sentence, please: {error!r}"
    assert out is None or not out.exists()


@pytest.mark.parametrize(("name", "value", "message"), FIELDS)
def test_a_field_out_of_range(capsys, tmp_path, name, value, message):
    out = tmp_path / "results"
    assert_refused(capsys, risk_sweep.main(options(out, **{name: value})), message, out)


def test_confused_fits_where_rotated_does_not():
    settings = {"num_concepts": 6, "dim": 6, "weak_accuracy": 0.5, "concept_shift": 0.1}
    assert make_task(weakness="confused", **settings).concepts.shape == (6, 6)
    with pytest.raises(ValueError, match="dim must be at least 7 for 6 concepts and a rotated teacher, got 6"):
        make_task(weakness="rotated", **settings)


@pytest.mark.parametrize("command", [risk_sweep, posterior_sweep])
def test_an_unknown_preset(capsys, tmp_path, command):
    code = command.main(["--preset", "giant", "--out", str(tmp_path / "x")])
    assert_refused(capsys, code, "preset must be among smoke, quick, paper; got 'giant'", tmp_path / "x")


def test_an_output_path_that_is_a_file(capsys, tmp_path):
    (tmp_path / "file").write_text("keep me")
    assert_refused(capsys, risk_sweep.main(options(tmp_path / "file")), "--out must be a directory, got the file")
    assert (tmp_path / "file").read_text() == "keep me"


def test_an_output_path_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("keep me")
    code = risk_sweep.main(options(tmp_path / "file" / "results"))
    assert_refused(capsys, code, "--out must be a folder that can be written")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    out = tmp_path_factory.mktemp("stored")
    assert risk_sweep.main(options(out, methods=("source", "weak"), replicates=4, block_size=2)) == 0
    return out


def copy_of(stored, tmp_path):
    shutil.copytree(stored, tmp_path / "copy")
    return tmp_path / "copy"


def small(out, **fields) -> list[str]:
    return options(out, **{"methods": ("source", "weak"), "replicates": 4, "block_size": 2, **fields})


def test_a_store_of_another_configuration(capsys, stored, tmp_path):
    out = copy_of(stored, tmp_path)
    before = sorted(p.relative_to(out) for p in out.rglob("*"))
    message = r"a store holds one configuration, but .* differs in seed \(0 in the store, 7 asked for\)"
    assert_refused(capsys, risk_sweep.main(small(out, seed=7)), message)
    assert sorted(p.relative_to(out) for p in out.rglob("*")) == before


@pytest.mark.parametrize("damage", ["no metadata", "broken metadata", "no configuration"])
def test_a_corrupt_store(capsys, stored, tmp_path, damage):
    out = copy_of(stored, tmp_path)
    metadata = out / "risk_sweep.zarr" / "zarr.json"
    if damage == "no metadata":
        metadata.unlink()
    else:
        text = metadata.read_text()
        metadata.write_text(text[:100] if damage == "broken metadata" else text.replace('"config"', '"conf"'))
    message = "a store must be a readable zarr group with a configuration"
    assert_refused(capsys, risk_sweep.main(small(out)), message)
    assert_refused(capsys, risk_sweep.main(["--from", str(out / "risk_sweep.zarr")]), message)


def test_a_corrupt_block(capsys, stored, tmp_path):
    out = copy_of(stored, tmp_path)
    for chunk in (out / "risk_sweep.zarr" / "blocks" / "mean.fixed_risk" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"not a chunk")
    capsys.readouterr()
    assert risk_sweep.main(small(out, replicates=6)) == 2
    assert "every block of a store must be readable" in capsys.readouterr().err


def test_no_store_to_run_again(capsys, tmp_path):
    code = risk_sweep.main(["--from", str(tmp_path / "none.zarr"), "--out", str(tmp_path / "x")])
    assert_refused(capsys, code, "--from must name a store, but there is none", tmp_path / "x")


def test_too_small_a_disk(capsys, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    out = tmp_path / "results"
    assert risk_sweep.main(options(out)) == 2
    assert "the disk must hold" in capsys.readouterr().err
    assert not out.exists()


def test_a_grid_whose_smallest_unit_does_not_fit(capsys, tmp_path):
    out = tmp_path / "results"
    code = risk_sweep.main(options(out, sample_size=(10**8,)))
    assert_refused(capsys, code, "one teacher and one concept shift must fit", out)


def test_devices_below_one(capsys, tmp_path):
    code = risk_sweep.main([*options(tmp_path / "x"), "--devices", "0"])
    assert_refused(capsys, code, "devices must be at least 1, got 0", tmp_path / "x")
