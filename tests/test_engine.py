"""The engine keeps its promises: one program, the same bits however it is run, and nothing lost or done twice."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from jax.core import Tracer

from sims.engine.checked import identity
from sims.engine.store import Store
from sims.posterior_sweep import __main__ as posterior_sweep
from sims.risk_sweep import __main__ as risk_sweep
from sims.risk_sweep import job as risk_job
from sims.risk_sweep.spec import SweepSpec

TINY = SweepSpec(
    weakness=("rotated", "confused"),
    weak_accuracy=(0.6, 0.9),
    sample_size=(4, 20),
    concept_shift=(0.2, 0.6),
    num_icl=(0, 2),
    penalties=(0.1, 1.0),
    times=(0.5,),
    dim=6,
    num_concepts=3,
    replicates=40,
    block_size=10,
)


def options(out, **fields) -> list[str]:
    """Command line arguments of a tiny sweep, with some fields replaced."""
    arguments = ["--out", str(out)]
    for name, value in {**TINY.__dict__, **fields}.items():
        values = value if isinstance(value, tuple | list) else (value,)
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    return arguments


def load(out) -> xr.Dataset:
    return xr.open_zarr(out / "risk_sweep.zarr", consolidated=False).load()


def assert_same_bits(a: xr.Dataset, b: xr.Dataset) -> None:
    assert set(a.data_vars) == set(b.data_vars)
    for name in a.data_vars:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep, the number of times that its program was traced, and that after one of another seed."""
    out = tmp_path_factory.mktemp("finished")
    traces = []
    original = risk_job.block_sums

    def counted(spec, key, first, total, grid):
        if isinstance(first, Tracer) and not isinstance(grid.concept_shift, jax.ShapeDtypeStruct):
            traces.append(1)
        return original(spec, key, first, total, grid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(risk_job, "block_sums", counted)
        assert risk_sweep.main(options(out)) == 0
        first = len(traces)
        assert risk_sweep.main(options(tmp_path_factory.mktemp("other"), seed=1, replicates=10)) == 0
    return out, first, len(traces)


def test_the_whole_grid_is_one_program(finished):
    _, traces, after_another_seed = finished
    # Once for the shapes of a block, which computes nothing, and once for the program of all blocks and cells.
    assert traces == 2
    assert after_another_seed == 2


@pytest.mark.slow
def test_other_accuracies_and_shifts_run_the_program_that_was_compiled_before(finished, tmp_path):
    events = []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
    other = {"weak_accuracy": (0.5, 0.8), "concept_shift": (0.3, 0.4), "seed": 2, "replicates": 20}
    assert risk_sweep.main(options(tmp_path, **other)) == 0
    assert "/jax/compilation_cache/cache_hits" in events
    assert "/jax/compilation_cache/cache_misses" not in events


def test_a_finished_sweep_does_no_work_and_says_so(finished, capsys, monkeypatch):
    out, *_ = finished
    monkeypatch.setattr(risk_job, "prepare", lambda spec: pytest.fail("there is nothing to prepare"))
    assert risk_sweep.main(options(out)) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_resuming_changes_no_bit(finished, tmp_path, monkeypatch):
    whole, written = load(finished[0]), []
    original = Store.write

    def killed_after_two(self, block, chunk, count, leaves):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append((block, chunk))
        original(self, block, chunk, count, leaves)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "write", killed_after_two)
        assert risk_sweep.main(options(tmp_path)) == 130
    redone = []
    monkeypatch.setattr(
        Store, "write", lambda self, block, *rest: (redone.append(block), original(self, block, *rest))[1]
    )
    assert risk_sweep.main(options(tmp_path)) == 0
    assert sorted(redone) == [2, 3]
    assert_same_bits(load(tmp_path), whole)


def test_more_replicates_extend_and_never_redraw(finished, tmp_path):
    """25 replicates, then 40: the half-full third block is filled up, and the rest is kept."""
    assert risk_sweep.main(options(tmp_path, replicates=25)) == 0
    assert load(tmp_path).num_replicates.max() == 25
    assert risk_sweep.main(options(tmp_path)) == 0
    assert_same_bits(load(tmp_path), load(finished[0]))


@pytest.mark.slow
def test_block_size_changes_no_draw(finished, tmp_path):
    few = ["naive_ft", "icl_refine_shared", "icl_refine_leave_one_out"]
    assert risk_sweep.main(options(tmp_path, block_size=40, methods=few)) == 0
    other, whole = load(tmp_path), load(finished[0]).sel({"method": few, "method_2": few})
    for name in ("risk_mean", "risk_sem", "risk_cov", "naive_path_mean", "misalignment_mean", "sign_accuracy_mean"):
        np.testing.assert_allclose(other[name], whole[name], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_chunks_of_the_grid_agree_with_the_whole(finished, tmp_path, monkeypatch):
    from sims.risk_sweep import plan

    few = ["naive_ft", "icl_refine_fresh", "self_refine"]
    spec = dataclasses.replace(TINY, methods=tuple(few))
    monkeypatch.setattr(plan, "DEVICE_BYTES", plan.unit_bytes(spec, 1, 1) + plan.block_bytes(spec))
    assert len(plan.cut(spec)) == 8
    assert risk_sweep.main(options(tmp_path, methods=few)) == 0
    whole, cut = load(finished[0]).sel({"method": few, "method_2": few}), load(tmp_path)
    for name in set(whole.data_vars) - {"flow_path_mean", "flow_path_sem", "best_time"}:
        if whole[name].dtype.kind == "f":
            np.testing.assert_allclose(cut[name], whole[name], rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_a_subset_of_methods_sees_the_same_draws(finished, tmp_path):
    few = ("icl_refine_shared", "naive_ft")
    assert risk_sweep.main(options(tmp_path, methods=few, draws="data")) == 0
    part, whole = load(tmp_path).risk_mean, load(finished[0]).risk_mean
    np.testing.assert_allclose(part, whole.sel({"method": list(few)}), rtol=1e-9)


@pytest.mark.slow
def test_from_store_runs_the_stored_configuration(finished, tmp_path):
    stored = finished[0] / "risk_sweep.zarr"
    assert risk_sweep.main(["--from", str(stored), "--out", str(tmp_path)]) == 0
    assert_same_bits(load(tmp_path), load(finished[0]))


@pytest.mark.slow
def test_random_tasks_keep_the_biases(tmp_path):
    assert risk_sweep.main(options(tmp_path, task_law="random", methods=("source", "weak"))) == 0
    risk = load(tmp_path).risk_mean.isel(sample_size=0, num_icl=0).sel(weakness="rotated")
    np.testing.assert_allclose(risk.sel({"method": "weak"})[:, 0], [2 - 2 * 0.6, 2 - 2 * 0.9], rtol=1e-9)
    # (1 - alpha_*)^2 (1 + sum of squared Dirichlet shares): between the even spread and all on one rival.
    shift = np.array(TINY.concept_shift)
    source = risk.sel({"method": "source"})[0]
    assert (source > shift**2 * 1.5).all() and (source < shift**2 * 2).all()


def test_the_store_describes_itself(finished):
    data = load(finished[0])
    assert data.attrs["identity"] == identity(TINY)
    assert data.attrs["complete"] == 40
    assert {"versions", "device", "commit", "created", "config"} <= set(data.attrs)
    assert data.risk_mean.dims == (
        "method",
        "weakness",
        "weak_accuracy",
        "sample_size",
        "concept_shift",
        "num_icl",
    )
    assert data.risk_cov.dims[:2] == ("method", "method_2")
    assert data.naive_path_mean.dims[0] == "penalty" and data.flow_path_mean.dims[0] == "time"
    for axis in data.risk_mean.dims:
        assert data[axis].attrs["long_name"] and "units" in data[axis].attrs
    for method in data["method"].values:
        for axis in data.risk_mean.dims[1:]:
            row = data.risk_mean.sel({"method": method})
            constant = bool(np.allclose(row, row.isel({axis: slice(0, 1)}), rtol=1e-12))
            # Rotated and confused teachers have the same bias: `weak` uses the axis, yet does not move along it here.
            uses = bool(data[f"uses_{axis}"].sel({"method": method})) and (method, axis) != ("weak", "weakness")
            assert uses != constant, (method, axis)


@pytest.mark.slow
def test_the_posterior_sweep_extends_and_resumes_too(tmp_path):
    few = ["--preset", "smoke", "--num-icl", "0", "2", "4", "--block-size", "1000"]
    assert posterior_sweep.main([*few, "--replicates", "1500", "--out", str(tmp_path / "a")]) == 0
    assert posterior_sweep.main([*few, "--replicates", "3000", "--out", str(tmp_path / "a")]) == 0
    assert posterior_sweep.main([*few, "--replicates", "3000", "--out", str(tmp_path / "b")]) == 0
    a, b = (xr.open_zarr(tmp_path / x / "posterior_sweep.zarr", consolidated=False).load() for x in "ab")
    assert_same_bits(a, b)
    shutil.rmtree(tmp_path / "b")


THREE_MILLION_TASKS = """
import json, sys
from pathlib import Path
from benchmarks.timing import peak_mb
from sims.engine import run as engine, runtime
from sims.risk_sweep import __main__ as risk_sweep, plan
from sims.risk_sweep.spec import SweepSpec

spec = SweepSpec(
    weakness=("rotated", "noisy"), weak_accuracy=tuple(i / 100 for i in range(30, 80, 2)), sample_size=(8, 16, 32, 64),
    concept_shift=tuple(i / 100 for i in range(5, 95, 9)), num_icl=(0, 1, 2, 4, 8), penalties=(0.3,),
    methods=("source", "weak", "naive_ft", "icl_refine_shared"), dim=8, replicates=300, block_size=10,
)
assert spec.num_cells * spec.replicates == 3_000_000

def peak():
    return 1e6 * peak_mb()

peaks, saved, blocks_of = [], 0, engine._blocks

def watched(*work):
    global saved
    for unit, leaves in blocks_of(*work):
        yield unit, leaves
        peaks.append(peak())
        saved += sum(leaf.nbytes for leaf in leaves.values())

engine._blocks = watched
runtime.configure(2)
risk_sweep.start(spec, Path(sys.argv[1]))
working = 2 * plan.unit_bytes(spec, *plan.cut(spec)[0].shape)
bound = 2 * plan.DEVICE_BYTES
print(json.dumps({"first": peaks[0], "last": peak(), "saved": saved, "working": working, "bound": bound}))
"""


@pytest.mark.slow
def test_three_million_tasks_stay_in_the_memory_that_was_stated(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", THREE_MILLION_TASKS, str(tmp_path)],
        cwd=Path(__file__).parent.parent, env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["saved"] > found["working"]  # so that keeping the blocks would be seen
    assert found["last"] - found["first"] < found["working"]
    assert found["last"] < found["bound"] + 800e6  # the program itself, while it compiles
