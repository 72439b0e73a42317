"""The benchmark command: what it measures, what it writes, what it refuses."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import accelerator, contenders, devices, engine, limits, networks, parts, profile, run
from benchmarks.report import limit_lines, report
from benchmarks.timing import Timing
from benchmarks.workload import Workload
from sims.engine.checked import InputError
from tests.conftest import ROOT

PROMISED = {"workload", "contender", "tasks_per_second", "compile_seconds", "peak_mb", "ratio_to_numpy_loop"}
PROMISED |= {"commit", "seed", "versions", "machine"}
MACHINE = devices.Machine("2 cores of a processor", 2, 0, "0123456789ab-dirty", {"jax": "1.2.3"})
SECONDS_A_TASK = {"numpy_loop": 1e-3, "numpy_vectorised": 1e-6, "w2s_jax": 5e-7}


def fake_time(name, workload, cores, repeats, seconds):
    """A timing whose every figure is known: time grows with n and falls with the cores of a parallel contender."""
    width = cores if contenders.CONTENDERS[name].parallel else 1
    run_time = SECONDS_A_TASK.get(name, 1e-4) * workload.num_samples / 2048 * 1000 / width**0.5
    return Timing((run_time,) * repeats, units=10, warmup_seconds=2.0, peak_mb=50.0, cores_used=width), 100


def fake_limits(workload, width, repeats, seconds):
    return [
        limits.Limit("matmul", width, 1e9 * width, "flop/s", 1e3, True),
        limits.Limit("normals, w2s_jax", width, 1e6 * width, "normals/s", 1e2, True),
        limits.Limit("normals, NumPy SFC64", width, 1e5 * width, "normals/s", 1e2, False),
    ]


WHOLE = {"seconds": 12.5, "others_share": 0.01}
"""What a whole sweep takes."""


@pytest.fixture
def faked(monkeypatch):
    """Nothing is timed: only what is asked for and what is made of the answers."""
    asked = []

    def time(*args):
        asked.append(args[:3])
        return fake_time(*args)

    answers = {devices.machine: MACHINE, limits.compiled_needs: limits.Needs(2e3, 3e3, 0.0)}
    monkeypatch.setattr(contenders, "time", time)
    monkeypatch.setattr(limits, "measured", fake_limits)
    monkeypatch.setattr(run, "in_fresh_process", lambda function, *args: answers[function])
    monkeypatch.setattr(accelerator, "in_fresh_process", lambda function, *args: answers.get(function, WHOLE))
    return asked


def rows_of(tmp_path, *argv) -> list[dict]:
    path = tmp_path / "benchmarks.json"
    assert run.main(["--json", str(path), *argv]) == 0
    return json.loads(path.read_text())


def sizes(row: dict) -> tuple:
    return row.get("d"), row.get("n"), row.get("K")


def assert_ratios_follow_from_rates(rows) -> None:
    """Each row's ratio is its rate over that of the loop at the same sizes; and each says where it comes from."""
    loops = {sizes(r): r["tasks_per_second"] for r in rows if r["contender"] == "numpy_loop"}
    headline = next(iter(loops.values()))
    for row in rows:
        assert set(row) >= PROMISED
        loop = headline if row.get("axis") == "limit" else loops[sizes(row)]
        assert row["ratio_to_numpy_loop"] == pytest.approx(row["tasks_per_second"] / loop, rel=1e-9), row


def test_every_part_writes_the_promised_keys_at_the_promised_sizes(tmp_path, capsys, faked):
    rows = rows_of(tmp_path)
    assert_ratios_follow_from_rates(rows)
    assert {row["axis"] for row in rows} == {*parts.PARTS, "limit"}
    assert all((row["commit"], row["versions"]) == (MACHINE.commit, {"jax": "1.2.3"}) for row in rows)
    assert len(faked) == len(set(faked))  # what two parts share is measured once
    first = rows[0]
    assert (first["contender"], first["d"], first["n"], first["cells"]) == ("numpy_loop", 32, 2048, 2000)
    assert first["tasks_per_second"] == pytest.approx(100 * 10 / first["median_seconds"])
    assert all(row["tasks"] / row["median_seconds"] == row["tasks_per_second"] for row in rows if "tasks" in row)
    assert {row["compile_seconds"] > 0 for row in rows if row["contender"] == "w2s_jax"} == {True}
    assert {row["compile_seconds"] for row in rows if row["contender"] == "numpy_vectorised"} == {0.0}

    def values(part, name):
        return [row["value"] for row in rows if (row["axis"], row["contender"]) == (part, name)]

    assert values("d", "w2s_jax") == values("d", "numpy_loop") == [8, 16, 32, 64, 128, 256]
    assert values("n", "w2s_jax") == values("n", "numpy_vectorised") == [64, 512, 2048, 16384, 65536]
    assert values("n", "w2s_jax_moments_mean")[-1] == values("n", "numpy_loop")[-1] == 10**6
    assert values("K", "w2s_jax") == values("K", "numpy_loop") == [2, 4, 8, 16]
    assert values("cells", "w2s_jax") == [1, 20, 200, 2000, 20_000, 100_000]
    assert values("devices", "w2s_jax") == [1, 2]
    for row in rows:
        if row["axis"] in ("d", "n", "K", "cells", "devices"):
            assert row[row["axis"]] == row["value"] or row["contender"] == "numpy_loop"
    printed = capsys.readouterr()
    assert "| w2s_jax: the sweep engine | 2 |" in printed.out
    assert "2 cores of a processor; medians of 5" in printed.out
    assert f"w2s_jax: {2 * 2**0.5:.2f} times numpy_vectorised, both drawing the examples" in printed.out
    assert f"[{len(faked)}/{len(faked)}]" in printed.err and "min left" in printed.err


def test_efficiency_is_the_rate_of_a_core_over_that_of_one_alone(tmp_path, faked):
    rows = rows_of(tmp_path, "--only", "devices")
    found = {row["devices"]: row["efficiency"] for row in rows if row["contender"] == "w2s_jax"}
    assert found == pytest.approx({1: 1.0, 2: 2**0.5 / 2})
    assert not [row for row in rows if row["axis"] == "limit"]


def test_the_lowest_limit_that_binds_is_the_one_quoted(tmp_path, faked):
    rows = rows_of(tmp_path, "--only", "headline", "--repeats", "6")
    assert {row["repeats"] for row in rows if row["axis"] == "headline"} == {6}
    limit = next(r for r in rows if r["contender"] == "limit: normals, w2s_jax" and r["devices"] == 2)
    assert limit["tasks_per_second"] == pytest.approx(2000 * 2e6 / 1e2)
    ours = next(row for row in rows if row["contender"] == "w2s_jax")["tasks_per_second"]
    fraction = ours / limit["tasks_per_second"]
    assert limit_lines(rows)[-1] == f"the lowest is limit: normals, w2s_jax; w2s_jax reaches {fraction:.0%} of it"
    assert "2e+03 by XLA's count" in report(rows)


def test_a_contender_that_is_not_installed_is_left_out_with_a_line(tmp_path, capsys, faked, monkeypatch):
    absent = contenders.CONTENDERS["torch_batched"]._replace(needs="no_such_module")
    monkeypatch.setitem(contenders.CONTENDERS, "torch_batched", absent)
    rows = rows_of(tmp_path, "--only", "headline")
    assert "torch_batched" not in {row["contender"] for row in rows}
    assert "torch_batched is left out: no_such_module is not installed" in capsys.readouterr().err


def test_a_size_that_a_sweep_refuses_is_left_out_with_its_reason(tmp_path, capsys, faked, monkeypatch):
    def refuse(name, workload, *rest):
        if workload.num_samples == 10**6 and name != "numpy_loop":
            raise InputError("one teacher must fit.")
        return fake_time(name, workload, *rest)

    monkeypatch.setattr(contenders, "time", refuse)
    rows = rows_of(tmp_path, "--only", "n")
    assert "left out: one teacher must fit." in capsys.readouterr().err
    assert [row["contender"] for row in rows if row["n"] == 10**6] == ["numpy_loop"]
    assert_ratios_follow_from_rates(rows)


def test_an_accelerator_takes_the_place_of_the_cores(tmp_path, capsys, faked, monkeypatch):
    machine = devices.Machine("4 x a GPU", 16, 4)
    monkeypatch.setattr(run, "in_fresh_process", lambda function, *a: machine if a == () else limits.Needs(1, 1, 0))
    rows = rows_of(tmp_path, "--only", "headline", "--only", "devices")
    assert "the ladder over cores is left out" in capsys.readouterr().err
    assert {row["devices"] for row in rows if row["contender"].startswith("w2s_jax")} == {4}
    assert {row["devices"] for row in rows if row["contender"] == "numpy_vectorised_every_core"} == {16}


def test_a_sweep_on_an_accelerator_names_the_device(tmp_path, capsys, faked):
    against, out = tmp_path / "cores.json", tmp_path / "accelerator.json"
    against.write_text(json.dumps([{"contender": "w2s_jax", "tasks_per_second": 1e6}]))
    assert accelerator.main(["--json", str(out), "--against", str(against), "--preset", "smoke"]) == 0
    found = json.loads(out.read_text())
    assert (found["device"], found["is_accelerator"], found["preset_seconds"]) == (MACHINE.name, False, 12.5)
    assert found["ratio_to_earlier_run"] == pytest.approx(accelerator.engine_rate(found["rows"]) / 1e6)
    assert "no accelerator here, so a rehearsal" in capsys.readouterr().err


def test_a_profile_counts_milliseconds_of_a_replicate(tmp_path, monkeypatch):
    timing, answers = fake_time("w2s_jax", Workload(), 1, 5, 1.0)[0], {devices.machine: MACHINE}
    monkeypatch.setattr(profile, "in_fresh_process", lambda function, *_, **__: answers.get(function, (timing, 50)))
    assert profile.main(["--json", str(tmp_path / "profile.json")]) == 0
    rows = json.loads((tmp_path / "profile.json").read_text())
    assert [row["variant"] for row in rows] == list(profile.VARIANTS)
    assert {row["milliseconds"] for row in rows} == {1e3 * timing.median_seconds / (10 * 50)}
    for _, workload, fields in profile.VARIANTS.values():
        spec = engine.specification(workload, **fields)
        assert spec.num_cells == workload.num_cells and all(getattr(spec, name) == fields[name] for name in fields)


@pytest.mark.parametrize(
    ("command", "argv", "words"),
    [
        (run, ["--repeats", "3"], "--repeats must be at least 5 for a median worth quoting, got 3"),
        (run, ["--only", "k"], "--only must name a part among headline, d, n, K, cells, devices, got 'k'"),
        (run, ["--json", "{folder}/none/x.json"], "--json must name a file in an existing folder"),
        (networks, ["--json", "{folder}"], "--json must name a file in an existing folder"),
        (accelerator, ["--json", "{folder}/x.json", "--preset", "giant"], "--preset must be among smoke, quick, paper"),
        (accelerator, ["--json", "{folder}/x.json", "--against", "{folder}/y"], "--against must name the JSON"),
    ],
)
def test_bad_options_are_one_sentence_and_write_nothing(tmp_path, capsys, command, argv, words):
    assert command.main([a.format(folder=tmp_path) for a in argv]) == 2
    printed = capsys.readouterr()
    assert words in printed.err and not printed.out
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_quick_run_shares_every_size_with_the_loop():
    for cases in (parts.cases(list(parts.PARTS), 2, quick) for quick in (True, False)):
        loops = {run._sizes(c.workload) for c in cases if c.contender == "numpy_loop"}
        assert {run._sizes(c.workload) for c in cases} == loops
    assert len(parts.cases(list(parts.PARTS), 2, quick=True)) < len(cases) / 1.5


def test_needs_are_those_of_the_algorithm():
    """A replicate's normals are nearly all features; at many cells nearly all flops are a product a fit."""
    few, many = limits.needs(Workload()), limits.needs(Workload(num_icl=tuple(range(1, 501))))
    assert few.normals == pytest.approx(2048 * 32, rel=0.1)
    assert many.flops == pytest.approx(2 * 32**2 * 400 * 501, rel=0.1)
    limit = limits.Limit("matmul", 1, 5e9, "flop/s", few.flops, True)
    assert limit.tasks_per_second(Workload()) == pytest.approx(2000 * 5e9 / few.flops)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_headline_is_measured(tmp_path):
    """The real command, shortened: every contender in its own process, and the limits of the machine."""
    path = tmp_path / "benchmarks.json"
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--only", "headline", "--json", str(path)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())
    assert_ratios_follow_from_rates(rows)
    rates = {row["contender"]: row["tasks_per_second"] for row in rows if row["axis"] == "headline"}
    assert set(rates) == {name for name, one in contenders.CONTENDERS.items() if not one.absent()} - {
        "w2s_jax_moments_mean"
    }
    # Two thousand cells share their draws: on no machine, however busy, is that lost again.
    assert rates["w2s_jax"] > 10 * rates["numpy_loop"]
    assert all(len(row["commit"].removesuffix("-dirty")) == 12 and row["versions"]["jax"] for row in rows)
    assert "w2s_jax reaches" in done.stdout
