"""The engine on the risk sweep: one program, and the same draws however the sweep is cut, chosen from or run."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from jax.core import Tracer

from sims.risk_sweep import __main__ as risk_sweep
from sims.risk_sweep import job as risk_job
from sims.risk_sweep import plan
from tests.helpers import assert_same_results
from tests.test_house import run_python
from tests.tiny import RISK, cheaply

TINY = RISK.spec
load = RISK.load


@pytest.fixture(scope="module")
def done(finished):
    """A finished risk sweep."""
    return finished("risk_sweep")


@pytest.mark.slow
def test_the_whole_grid_is_one_program(tmp_path, monkeypatch):
    """It is traced for the shapes of a block, which computes nothing, then for all blocks and cells; never again.

    A grid of other values is traced anew, and takes the compiled program from the cache.
    """
    traces, original = [], risk_job.block_sums

    def counted(spec, key, first, total, grid):
        if isinstance(first, Tracer) and not isinstance(grid.concept_shift, jax.ShapeDtypeStruct):
            traces.append(1)
        return original(spec, key, first, total, grid)

    monkeypatch.setattr(risk_job, "block_sums", counted)
    few = {"methods": ("weak", "naive_ft"), "weakness": ("noisy",), "num_icl": (0,)}
    assert RISK.run(tmp_path / "a", **few) == 0
    assert len(traces) == 2
    assert RISK.run(tmp_path / "b", **few, seed=1, replicates=10) == 0
    assert len(traces) == 2
    events = []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
    other = {"weak_accuracy": (0.5, 0.8), "concept_shift": (0.3, 0.4), "seed": 2, "replicates": 20}
    assert RISK.run(tmp_path / "c", **few, **other) == 0
    assert "/jax/compilation_cache/cache_hits" in events
    assert "/jax/compilation_cache/cache_misses" not in events


@pytest.mark.slow
def test_neither_the_block_size_nor_other_methods_change_a_draw(done, tmp_path):
    few = ["icl_refine_shared", "naive_ft"]
    assert RISK.run(tmp_path, block_size=40, methods=few, draws="data") == 0
    other, whole = load(tmp_path), done.data.sel({"method": few, "method_2": few})
    for name in ("risk_mean", "risk_sem", "risk_cov", "naive_path_mean", "misalignment_mean", "sign_accuracy_mean"):
        np.testing.assert_allclose(other[name], whole[name], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_chunks_of_the_grid_agree_with_the_whole(done, tmp_path, monkeypatch):
    few = ["naive_ft", "icl_refine_fresh", "self_refine"]
    spec = dataclasses.replace(TINY, methods=tuple(few))
    monkeypatch.setattr(plan, "DEVICE_BYTES", plan.unit_bytes(spec, 1, 1) + plan.block_bytes(spec))
    assert len(plan.cut(spec)) == 8
    assert RISK.run(tmp_path, methods=few) == 0
    whole, cut = done.data.sel({"method": few, "method_2": few}), load(tmp_path)
    for name in set(whole.data_vars) - {"flow_path_mean", "flow_path_sem", "best_time"}:
        if whole[name].dtype.kind == "f":
            np.testing.assert_allclose(cut[name], whole[name], rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_from_store_runs_the_stored_configuration(done, tmp_path):
    with cheaply():
        assert risk_sweep.main(["--from", str(RISK.path(done.out)), "--out", str(tmp_path)]) == 0
    assert_same_results(load(tmp_path), done.data)


@pytest.mark.slow
def test_random_tasks_keep_the_biases(tmp_path):
    assert RISK.run(tmp_path, task_law="random", methods=("source", "weak")) == 0
    risk = load(tmp_path).risk_mean.isel(sample_size=0, num_icl=0).sel(weakness="rotated")
    np.testing.assert_allclose(risk.sel({"method": "weak"})[:, 0], [2 - 2 * 0.6, 2 - 2 * 0.9], rtol=1e-9)
    # (1 - alpha_*)^2 (1 + sum of squared Dirichlet shares): between the even spread and all on one rival.
    shift = np.array(TINY.concept_shift)
    source = risk.sel({"method": "source"})[0]
    assert (source > shift**2 * 1.5).all() and (source < shift**2 * 2).all()


MILLIONS_OF_TASKS = """
import json, sys
from pathlib import Path
from benchmarks.timing import peak_mb
from sims.engine import run, runtime
from sims.risk_sweep import __main__ as risk_sweep, plan
from sims.risk_sweep.spec import SweepSpec

spec = SweepSpec(
    weakness=("rotated", "noisy"), weak_accuracy=tuple(i / 100 for i in range(30, 80, 2)), sample_size=(8, 16, 32, 64),
    concept_shift=tuple(i / 100 for i in range(5, 95, 9)), num_icl=(0, 1, 2, 4, 8), penalties=(0.3,),
    methods=("source", "weak", "naive_ft", "icl_refine_shared"), dim=8, replicates=300, block_size=10,
)
assert spec.num_cells * spec.replicates == 3_000_000

peaks, saved, blocks_of = [], 0, run._blocks

def watched(*work):
    global saved
    for unit, leaves in blocks_of(*work):
        yield unit, leaves
        peaks.append(1e6 * peak_mb())
        saved += sum(leaf.nbytes for leaf in leaves.values())

run._blocks = watched
runtime.configure(2)
risk_sweep.start(spec, Path(sys.argv[1]))
working = 2 * plan.unit_bytes(spec, *plan.cut(spec)[0].shape)
bound = 2 * plan.DEVICE_BYTES
print(json.dumps({"first": peaks[0], "last": 1e6 * peak_mb(), "saved": saved, "working": working, "bound": bound}))
"""


@pytest.mark.slow
def test_millions_of_tasks_stay_in_the_memory_that_was_stated(tmp_path):
    found = json.loads(run_python(MILLIONS_OF_TASKS, str(tmp_path), timeout=280, JAX_PLATFORMS="cpu").stdout)
    assert found["saved"] > found["working"]  # so that keeping the blocks would be seen
    assert found["last"] - found["first"] < found["working"]
    assert found["last"] < found["bound"] + 800e6  # the program itself, while it compiles
