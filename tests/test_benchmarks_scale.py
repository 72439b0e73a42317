"""The benchmarks of whole sweeps and of a plan: what they measure of one, what is planned, and what is refused."""

import json
import os

import pytest

from benchmarks import devices, planning, scale, startup
from benchmarks.timing import in_fresh_process
from sims.sweeps import SWEEPS
from tests.test_bad_input import assert_refused

MACHINE = devices.Machine("2 cores of a processor", 2, 0, "0123456789ab", {"jax": "1.2.3"})
FOUND = {"replicates": 200, "tasks": 10**7, "planned_seconds": 60.0, "seconds": 66.0}
FOUND |= {"disk_mb": 7.0, "peak_mb": 800.0, "others_share": 0.01}


@pytest.fixture
def imagined(monkeypatch):
    """Sweeps that nobody runs."""
    found = []

    def run(function, *args):
        if function is devices.machine:
            return MACHINE
        found.append(args[:2])
        return dict(FOUND)

    monkeypatch.setattr(scale, "in_fresh_process", run)
    return found


def test_every_sweep_is_run_and_a_thousand_million_tasks_are_planned(imagined, tmp_path, capsys):
    path = tmp_path / "scale.json"
    assert scale.main(["--out", str(tmp_path), "--json", str(path)]) == 0
    assert imagined == [(name, "paper") for name in scale.SWEEPS] and set(scale.SWEEPS) <= set(SWEEPS)
    *rows, plan = json.loads(path.read_text())
    assert [row["sweep"] for row in rows] == list(scale.SWEEPS) and all(FOUND.items() <= row.items() for row in rows)
    assert all(row["commit"] == MACHINE.commit for row in rows)
    assert (plan["tasks"], plan["replicates"], plan["seconds"], plan["share_run"]) == (10**9, 20_000, 6600.0, 0.01)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and said[0] == "risk_sweep, paper: 10,000,000 tasks, 1.1 min (planned 1.0 min), 7 MB on disk"
    assert said[3].endswith("110.0 min (at the rate of the 1% that was run), 700 MB on disk")


@pytest.mark.slow
def test_a_sweep_is_run_as_a_user_starts_it(tmp_path):
    path = tmp_path / "scale.json"
    given = ["--out", str(tmp_path), "--json", str(path), "--only", "posterior_sweep", "--preset", "smoke"]
    assert scale.main(given) == 0
    (row,) = json.loads(path.read_text())
    spec = SWEEPS["posterior_sweep"].presets["smoke"]
    assert row["replicates"] == spec.replicates and row["tasks"] == spec.replicates * spec.num_cells
    assert row["devices"] == len(os.sched_getaffinity(0))  # as many as the command itself takes
    assert row["seconds"] > 0.1 and row["processor_seconds"] > 0.1 and row["disk_mb"] > 0.001 and row["peak_mb"] > 100
    assert (tmp_path / "posterior_sweep.zarr").is_dir()
    assert scale.main(given) == 2  # it is there


@pytest.mark.slow
def test_a_plan_is_timed_with_and_without_kept_programs(tmp_path):
    cold, kept = (in_fresh_process(planning.calls, 2, str(tmp_path)) for _ in range(2))
    assert 0 < kept["compile"] < cold["compile"] / 2 < cold["first"]
    assert kept["first"] < cold["first"] and 2 * cold["later"] < kept["first"]


@pytest.mark.slow
def test_a_start_is_faster_with_kept_programs_and_of_a_finished_sweep(tmp_path):
    path = tmp_path / "startup.json"
    assert startup.main(["--quick", "--json", str(path)]) == 0
    found = {row["what"]: row for row in json.loads(path.read_text())}
    cold, kept = found[startup.COLD], found[startup.KEPT]
    assert 0 < kept["compile_seconds"] < cold["compile_seconds"] / 2 < cold["median_seconds"]
    imported, finished = (found[what]["median_seconds"] for what in (startup.IMPORT, startup.FINISHED))
    assert 0.05 < imported < finished < kept["median_seconds"] < cold["median_seconds"]
    assert all(row["repeats"] == len(row["seconds"]) == 2 for row in found.values())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--only", "risk"],
            "--only must name a sweep among risk_sweep, posterior_sweep, theory_sweep, language, got 'risk';",
        ),
        (["--preset", "big"], "--preset must be among smoke, quick, paper, got 'big';"),
        (["--json", "/"], "--json must name a file in an existing folder"),
    ],
)
def test_bad_input_gets_one_sentence(imagined, tmp_path, capsys, options, says):
    code = scale.main(["--out", str(tmp_path), "--json", str(tmp_path / "x.json"), *options])
    assert_refused(capsys, code, says)
    assert not imagined and not list(tmp_path.iterdir())
