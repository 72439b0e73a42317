"""Devices and processes: any number of them gives the same bits, and each saves its own work."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
import yaml

from sims.engine import hosts, runtime
from sims.engine.checked import InputError
from sims.engine.hosts import Ranks
from tests.conftest import ROOT
from tests.helpers import assert_same_results
from tests.test_bad_input import assert_refused
from tests.tiny import RISK, said_by, start

SMALL = {"methods": ("weak", "naive_ft"), "weakness": ("rotated",), "replicates": 60}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--coordinator", "here:1234"], "belong together, but --num-processes is missing; give all three or none"),
        (["--process-id", "0"], "belong together, but --coordinator is missing"),
        (["--coordinator", "here:0", "--num-processes", "2", "--process-id", "0"], "must be HOST:PORT, got here:0;"),
        (["--coordinator", "a:1", "--num-processes", "0", "--process-id", "0"], "must be at least 1, got 0;"),
        (["--coordinator", "a:1", "--num-processes", "2", "--process-id", "2"], "must be in [0, 2), got 2;"),
        (["--cluster", "--coordinator", "a:1"], "--cluster already determines --coordinator"),
        (["--devices", "0"], "devices must be at least 1, got 0;"),
        (["--devices", "100000"], "--devices must be in [1, "),
    ],
)
def test_impossible_numbers(arguments, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runtime, "_limit", None)  # as it is before a command, and again after this one
    assert_refused(capsys, RISK.run(tmp_path / "x", *arguments), re.escape(sentence), tmp_path / "x")


def test_more_accelerators_than_there_are(monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(platform="gpu", device_kind="H")] * 2)
    monkeypatch.setattr(runtime, "_limit", 1)
    assert len(runtime.devices()) == 1 and runtime.device_name() == "1 x H"
    monkeypatch.setattr(runtime, "_limit", 3)
    with pytest.raises(InputError, match=r"--devices must be in \[1, 2\] \(this process has 2\), got 3;"):
        runtime.devices()


def test_every_unit_is_some_process_own_and_another_one_in_the_next_run():
    units = [(block, chunk) for block in range(7) for chunk in range(3)]
    for count in (1, 2, 3, 8):
        shares = [hosts.share(units, Ranks(i, count, "run")) for i in range(count)]
        assert sorted(unit for share in shares for unit in share) == units
        assert all(share == sorted(share) for share in shares)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    units = list(range(200))  # what a killed process leaves is spread over those that come after it
    left = set(hosts.share(units, Ranks(1, 2, "first")))
    shares = [left.intersection(hosts.share(units, Ranks(i, 2, "second"))) for i in range(2)]
    assert min(map(len, shares)) > 30


def test_waiting_ends_with_what_is_waited_for_or_with_a_lost_process(monkeypatch):
    monkeypatch.setattr(hosts, "POLL_SECONDS", 0.0)

    def wait(answers, lost=None):
        answers = iter(answers)
        hosts.wait(lambda: next(answers), SimpleNamespace(lost=lambda: lost, path="x.zarr"), Ranks(0, 3, "a"))  # type: ignore[arg-type]

    gone = "rank 1 of this run is gone"
    wait([False, False, True])
    wait([False, True, True], gone)  # it was done before
    with pytest.raises(InputError, match=f"needs every process of its run to finish, but {gone}; wh"):
        wait([False] * 9, gone)
    monkeypatch.setattr(hosts, "SIGNING_SECONDS", 0.0)
    monkeypatch.setattr(hosts, "signed", lambda lock: {0, 2})
    with pytest.raises(InputError, match="but rank 1 of this run has not signed the lock of x"):
        wait([False] * 9)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where commands keep their compiled programs."""
    return tmp_path_factory.mktemp("cache")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start_all(cache, out, count: int) -> list[subprocess.Popen]:
    where = ["--coordinator", f"localhost:{free_port()}", "--num-processes", str(count), "--devices", "1"]
    return [start(out, cache, *where, "--process-id", str(i), **SMALL) for i in range(count)]


def finish(processes) -> list[str]:
    """What each process prints until it ends, without an error."""
    said = [said_by(process) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said


@pytest.fixture(scope="module")
def single(cache, tmp_path_factory):
    """The results of one process on one device."""
    out = tmp_path_factory.mktemp("single")
    finish([start(out, cache, "--devices", "1", **SMALL)])
    return RISK.load(out)


@pytest.mark.slow
def test_any_number_of_devices_gives_the_same_bits(single, cache, tmp_path):
    (said,) = finish([start(tmp_path, cache, "--devices", "3", **SMALL)])
    assert "on 3 devices" in said
    assert_same_results(RISK.load(tmp_path), single)


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "count"), [(0, 2), (1, 4)])
def test_a_killed_process_loses_its_blocks_in_flight_and_no_more(victim, count, single, cache, tmp_path):
    """The others finish their own share; started again, by as many processes, the sweep ends with the same bits."""
    processes = start_all(cache, tmp_path, count)
    marks = tmp_path / "risk_sweep.zarr" / "blocks" / "done" / "c"
    give_up = time.monotonic() + 200
    while not any(marks.glob("*/*")):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    processes[victim].send_signal(signal.SIGKILL)
    said = [said_by(process) for process in processes]
    other = (victim + 1) % count
    code = processes[other].returncode
    if code:  # unless it was killed when all its blocks were there
        assert code == 2 and f"rank {victim} of this run is gone" in said[other]
    said = finish(start_all(cache, tmp_path, count))
    assert "blocks are already there" in said[0] or not code
    assert_same_results(RISK.load(tmp_path), single)


# --- What docs/running.md has schedulers run ------------------------------------------------------------------------

BLOCKS = re.findall(r"```\w*\n(.*?)```", (ROOT / "docs" / "running.md").read_text(), re.DOTALL)
SRUN = """#!/bin/bash
# srun for two tasks on this machine, with the variables that Slurm gives to each
export SLURM_JOB_ID=$((1 + RANDOM)) SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2 SLURM_STEP_NUM_NODES=1
for i in 0 1; do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" $MORE & tasks+=($!); done
for task in "${tasks[@]}"; do wait "$task" || exit $?; done
"""


@pytest.mark.slow
def test_the_slurm_script_runs_where_slurm_sets_its_variables(single, cache, tmp_path):
    (script,) = (block for block in BLOCKS if block.startswith("#!"))
    (tmp_path / "script").write_text(script)
    subprocess.run(["bash", "-n", tmp_path / "script"], check=True)
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    out = tmp_path / "results"
    own = RISK.options(out, **SMALL)[2:]
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SCRATCH": str(tmp_path),
        "MORE": " ".join([*own, "--devices", "1"]),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
    }
    done = subprocess.run(["bash", tmp_path / "script"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("blocks of") == done.stderr.count("wrote") == 1  # one process speaks for both
    data = RISK.load(out)
    assert data.attrs["device"].startswith("2 processes of 1 x ")
    assert_same_results(data, single)
    assert [path.name for path in out.iterdir()] == ["risk_sweep.zarr"]


@pytest.mark.slow
def test_the_job_for_kubernetes_meets_at_its_own_service(tmp_path, capsys):
    (text,) = (block for block in BLOCKS if block.startswith("apiVersion"))
    service, job = yaml.safe_load_all(text)
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service") and service["spec"]["clusterIP"] == "None"
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job") and job["spec"]["completionMode"] == "Indexed"
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    assert service["spec"]["selector"] == {"job-name": name} and pod["subdomain"] == service["metadata"]["name"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    mounts, volumes = ([one["name"] for one in part] for part in (container["volumeMounts"], pod["volumes"]))
    assert mounts == volumes
    ((_, module), arguments) = (words := container["args"][0].split())[1:3], words[3:]
    assert words[0] == "python" and importlib.util.find_spec(module)
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert given["--coordinator"].startswith(f"{name}-0.{pod['subdomain']}:")
    assert int(given["--num-processes"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert given["--process-id"] == "$JOB_COMPLETION_INDEX"
    assert given["--out"] == container["volumeMounts"][0]["mountPath"]
    alone = ["--preset", given["--preset"], "--out", str(tmp_path / "x"), "--dry-run"]
    assert RISK.command(alone) == 0 and "replicates" in capsys.readouterr().err


MEETING = """
import functools, sys
from sims.engine import hosts
from sims.risk_sweep import __main__ as risk_sweep
hosts.start = functools.partial(hosts.start, timeout=3)
sys.exit(risk_sweep.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("index", "why"), [("0", "the others did not all call"), ("1", "it does not answer")])
def test_a_coordinator_that_does_not_answer_is_one_sentence(index, why, tmp_path):
    port = free_port()
    arguments = ["--coordinator", f"localhost:{port}", "--num-processes", "2", "--process-id", index]
    done = subprocess.run(
        [sys.executable, "-c", MEETING, "--preset", "smoke", "--out", str(tmp_path / "x"), *arguments],
        cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    sentence = done.stderr.strip().splitlines()[0]
    assert sentence.startswith(f"error: all 2 processes must meet at the coordinator at localhost:{port} within 3 s")
    assert why in sentence
    assert not (tmp_path / "x").exists()
