"""A sweep that stops anywhere, for any reason: finished blocks stay, and the results are those of a whole run."""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import random
import re
import signal
import subprocess
import threading
import time
from unittest.mock import ANY

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sims.engine import cli
from sims.engine.checked import InputError
from sims.engine.finite import BadRisk, check_finite
from sims.engine.lock import lock_folder
from sims.engine.run import Job, named_leaves
from sims.engine.store import Store
from sims.risk_sweep import estimates
from sims.risk_sweep import job as risk_job
from sims.risk_sweep.plan import GridChunk
from sims.risk_sweep.replicate import Outcome
from sims.theory_sweep import __main__ as theory_sweep
from sims.theory_sweep import job as theory_job
from tests import tiny
from tests.helpers import assert_same_results
from tests.tiny import RISK, said_by
from w2s_jax.rng import replicate_key

# --- health ---------------------------------------------------------------------------------------------------------

SMALL = {"methods": ("source", "weak"), "sample_size": (4,), "weakness": ("noisy",), "num_icl": (0,), "dim": 5}


def poison(monkeypatch, method: str, replicate: int, teacher: int) -> None:
    """Have a method give NaN for one replicate of seed 0 and one teacher."""
    original = estimates.ESTIMATES[method]
    poisoned = jax.random.key_data(replicate_key(jax.random.key(0), replicate))

    def broken(spec, world):
        coef = original(spec, world).coef
        here = (jax.random.key_data(world.key) == poisoned).all()
        row = jnp.arange(len(spec.weak_accuracy)).reshape(-1, 1, 1, 1, 1, 1) == teacher
        return estimates.Estimate(jnp.where(here & row, jnp.nan, coef))

    monkeypatch.setitem(estimates.ESTIMATES, method, broken)


@pytest.mark.slow
def test_a_risk_that_is_not_finite_stops_its_block_and_is_named(tmp_path, capsys, monkeypatch):
    poison(monkeypatch, "weak", replicate=17, teacher=1)
    assert RISK.run(tmp_path, **SMALL) == 2
    key = "".join(f"{word:08x}" for word in np.asarray(jax.random.key_data(replicate_key(jax.random.key(0), 17))))
    assert re.search(
        r"every risk must be finite, but weak has nan at weakness=noisy, weak_accuracy=0.9, sample_size=4, "
        rf"concept_shift=0.2 in replicate 17 of seed 0 \(key 0x{key}, 2 such risks there; block 1, chunk 0\)",
        capsys.readouterr().err.splitlines()[-1],
    )
    assert Store.look(tmp_path / "risk_sweep.zarr").marks()[:, 0].tolist() == [10, 0, 0, 0]


def test_a_bad_risk_is_named_by_its_place_in_the_grid():
    spec = dataclasses.replace(RISK.spec, methods=("naive_ft", "icl_refine_shared"))
    fixed, varying = np.zeros((2, 1, 2, 2)), np.zeros((2, 1, 2, 2, 1))
    fixed[1, 0, 1, 1], varying[0, 0, 0, 1, 0] = np.inf, np.nan
    varying[1] = np.nan  # padding
    piece = GridChunk(first_teacher=3, num_teachers=1, first_shift=1, num_shifts=1, shape=(2, 1))
    outcome = Outcome(fixed, varying, fixed, varying, varying)
    assert risk_job.bad_risks(spec, lambda key, grid: outcome, [piece], [None], 0, 7) == [
        ("icl_refine_shared", "weakness=confused, weak_accuracy=0.9, sample_size=4, concept_shift=0.6, num_icl=2", ANY)
    ]
    whole = dataclasses.replace(piece, first_teacher=2, num_teachers=2)
    assert risk_job.bad_risks(spec, lambda key, grid: outcome, [whole], [None], 0, 7)[0] == (
        "naive_ft at 1",
        "weakness=confused, weak_accuracy=0.9, sample_size=20, concept_shift=0.6",
        np.inf,
    )


def test_a_replicate_that_does_not_count_is_found_as_well():
    """A block of 5 computes a group of 10, and 0 x NaN is NaN."""
    job = Job(None, [], None, [], 0, 0, diagnose=lambda chunk, i: [BadRisk("weak", "x=1", np.nan)] * (i == 8))
    spec = dataclasses.replace(RISK.spec, block_size=5)
    with pytest.raises(InputError, match="weak has nan at x=1 in replicate 8 "):
        check_finite(job, spec, {"mean.fixed_risk": np.array([np.nan])}, 0, 0)


@pytest.mark.parametrize("name", ["proportional.mean", "mean.fixed_risk", "intent"])
def test_a_sum_of_any_name_must_be_finite_but_in_the_holes_that_its_sweep_lists(name):
    job = Job(None, [], None, [], 0, 0, holes={"proportional.mean": np.array([True, False]), "accuracy": True})
    allowed = {"accuracy": np.full(3, np.nan), "proportional.mean": np.array([np.nan, 1.0]), "count": np.array(3)}
    check_finite(job, RISK.spec, allowed, 3, 0)
    with pytest.raises(InputError, match=rf"{name} of block 3, chunk 0 is not at index \(1,\)"):
        check_finite(job, RISK.spec, {**allowed, name: np.array([np.nan if "prop" in name else 1.0, np.nan])}, 3, 0)


def test_the_holes_of_a_sweep_are_where_its_sums_are_not_finite():
    few = {"studies": ("proportional",), "aspect_ratio": (0.5, 1.0), "block_size": 10}
    job = theory_job.prepare(dataclasses.replace(theory_sweep.PRESETS["smoke"], **few))
    with tiny.cheaply():
        block = named_leaves(jax.jit(job.program)(jax.random.key(0), 0, 10, job.chunks[0]))
    assert set(job.holes) == {"proportional.mean", "proportional.comoment"}
    for name, leaf in block.items():
        np.testing.assert_array_equal(~np.isfinite(leaf), np.broadcast_to(job.holes.get(name, False), leaf.shape))


# --- kills ------------------------------------------------------------------------------------------------------------

TINY = {"methods": ("naive_ft",), "weakness": ("noisy",), "num_icl": (0,), "replicates": 200, "block_size": 4}
TIMEOUT = 200


def start(out, cache) -> subprocess.Popen:
    """The tiny sweep in a process of its own."""
    return tiny.start(out, cache, "--devices", "1", **TINY)


def finish(out, cache) -> str:
    """What the tiny sweep prints, run to its end in a process of its own."""
    process = start(out, cache)
    error = said_by(process)
    assert process.returncode == 0, error
    return error


def marked(out) -> set[tuple[int, int]]:
    """Blocks that are marked; every one of them reads back."""
    if not RISK.path(out).exists():
        return set()
    store = Store.look(RISK.path(out))
    blocks = {(block, chunk) for block, chunk in np.argwhere(store.marks()).tolist()}
    for block, chunk in blocks:
        store.read(block, chunk)
    return blocks


def num_marks(out) -> int:
    """Marks that are there, at no more than a look into a folder."""
    return len(list((out / "risk_sweep.zarr" / "blocks" / "done" / "c").glob("*/*")))


def publishing(out) -> bool:
    """Whether the results are on their way into the store."""
    with contextlib.suppress(FileNotFoundError):
        return any(folder.is_dir() and folder != lock_folder(out / "risk_sweep.zarr") for folder in out.glob(".risk*"))
    return False


def wait_until(process: subprocess.Popen, holds) -> None:
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and not holds():
        assert time.monotonic() < deadline, "the sweep makes no progress"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """(results, compilation cache) of the tiny sweep, run at one go in a process of its own."""
    out = tmp_path_factory.mktemp("uninterrupted")
    finish(out, out / "cache")
    return RISK.load(out), out / "cache"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_at_any_moment_lose_only_blocks_in_flight(tmp_path, uninterrupted):
    (whole, cache), chance, kept, kills = uninterrupted, random.Random(0), set(), 10
    blocks = -(-TINY["replicates"] // TINY["block_size"])
    for number in range(kills):
        process, before = start(tmp_path, cache), num_marks(tmp_path)
        room = max(1, (blocks - before) // (kills - number))
        goal = before + chance.randint(0, room)
        if number == 0:
            time.sleep(chance.uniform(0.5, 3))  # while it starts, compiles or creates its store
        elif blocks - before <= 2 or number > kills - 3:
            wait_until(process, lambda: num_marks(tmp_path) == blocks and publishing(tmp_path))
            time.sleep(chance.uniform(0, 0.4))
        else:
            wait_until(process, lambda goal=goal: num_marks(tmp_path) > goal)
            time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=TIMEOUT)
        found = marked(tmp_path)
        assert kept <= found, "a block that was marked must stay so"
        kept = found
    finish(tmp_path, cache)
    assert_same_results(RISK.load(tmp_path), whole)
    assert [p.name for p in tmp_path.iterdir()] == ["risk_sweep.zarr"], "nothing is left beside the store"


def test_sigterm_ends_a_command_as_ctrl_c_does(capsys):
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread alone")
    assert cli.guarded(lambda: signal.raise_signal(signal.SIGTERM)) == 143
    assert capsys.readouterr().err.startswith("terminated: what is finished is saved")
    assert signal.getsignal(signal.SIGTERM) == handler


def test_nothing_is_said_of_writes_in_flight_after_the_last_line_of_an_interrupted_command(capfd, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    logger = logging.getLogger("asyncio")
    monkeypatch.setattr(logger, "level", logger.level)
    loop = asyncio.new_event_loop()
    write = loop.create_task(asyncio.sleep(3600))
    loop.run_until_complete(asyncio.sleep(0))
    assert cli.guarded(interrupt) == 130
    logger.addHandler(handler := logging.StreamHandler())
    loop.close()
    del loop, write
    gc.collect()
    logger.removeHandler(handler)
    assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "inter")]
)
def test_a_polite_signal_ends_the_command_at_once(tmp_path, uninterrupted, number, code, word):
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("a shell in the background has its commands ignore an interrupt")
    whole, cache = uninterrupted
    process = start(tmp_path, cache)
    wait_until(process, lambda: num_marks(tmp_path) > 3)
    process.send_signal(number)
    error = said_by(process)
    assert process.returncode == code, error
    assert "this process ends only when they do: a block takes about" in error
    assert word in error.splitlines()[-1] and "the same command goes on from there" in error.splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["risk_sweep.zarr"]
    assert 3 < len(marked(tmp_path)) < 50
    assert "going on" in finish(tmp_path, cache)
    assert_same_results(RISK.load(tmp_path), whole)


@pytest.mark.slow
def test_of_two_runs_at_once_one_goes_on_and_one_is_refused(tmp_path, uninterrupted):
    whole, cache = uninterrupted
    processes = [start(tmp_path, cache) for _ in range(2)]
    errors = [said_by(process) for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], errors
    winner, (refused,) = processes[codes.index(0)], [e for e, c in zip(errors, codes) if c == 2]
    assert f"is held by process {winner.pid} on " in refused
    assert_same_results(RISK.load(tmp_path), whole)
