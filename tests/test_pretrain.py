"""Fitting with checkpoints: no bit depends on a stop, a folder belongs to one run, a finished run is only loaded."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sims.engine.checked import InputError
from sims.training.checkpoints import Checkpoints
from sims.training.fit import fit
from tests.helpers import assert_same_trees, files
from w2s_jax.training import TrainingConfig, init_state, make_optimizer
from w2s_jax.types import stack

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")

STEPS, CHUNK = 14, 3
TRAINING = TrainingConfig(num_steps=STEPS, learning_rate=0.05)


@dataclasses.dataclass(frozen=True)
class Config:
    training: TrainingConfig = TRAINING
    width: int = 4


class Stop(Exception):
    pass


def loss(params, key):
    inputs = jax.random.normal(key, (8, 4))
    error = jnp.tanh(inputs @ params["in"]) @ params["out"] - inputs.sum(axis=1)
    return (error**2).mean(), {"largest": jnp.abs(error).max()}


def start(seed=1, width=4):
    chance = np.random.default_rng(seed)
    shapes = {"in": (4, width), "out": (width,)}
    params = {name: jnp.asarray(chance.standard_normal(shape), "float32") for name, shape in shapes.items()}
    return init_state(params, make_optimizer(TRAINING))


def run(folder, key, *, config=None, state=None, num_steps=STEPS, **options):
    state = start() if state is None else state
    options = {"chunk": CHUNK, "chunks_per_checkpoint": 2} | options
    return fit("toy", folder, config or Config(), key, state, loss, make_optimizer(TRAINING), num_steps, **options)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def stop_after(chunks, kind):
    def callback(line):
        if line["step"] == chunks * CHUNK:
            raise kind

    return callback


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, run(folder, jax.random.key(0), tokens_per_step=8)


# A failure after 3 chunks loses the third, since every second is saved; Ctrl-C saves before it ends the run.
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "kept"), [(Stop, 2 * CHUNK), (KeyboardInterrupt, 3 * CHUNK)])
def test_an_interrupted_run_resumes_to_the_bit(tmp_path, key, whole, kind, kept):
    """Beside a checkpoint that was never finished, and a line that a kill cut short."""
    folder, expected = whole
    with pytest.raises(kind):
        run(tmp_path, key, callback=stop_after(3, kind))
    (tmp_path / "checkpoints" / "12.orbax-checkpoint-tmp").mkdir()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')
    with Checkpoints(tmp_path, Config(), key, start()) as checkpoints:
        assert checkpoints.latest == kept
    seen = []
    resumed = run(tmp_path, key, callback=seen.append)
    assert seen[0]["step"] == kept + CHUNK
    assert_same_trees(resumed, expected)
    own, others = ([{**line, "seconds": 0, "tokens_per_second": 0} for line in lines(f)] for f in (tmp_path, folder))
    assert own == others


def test_a_finished_run_has_a_line_a_chunk_and_is_loaded_without_training(whole, capsys):
    folder, expected = whole
    before, called, found = (folder / "metrics.jsonl").read_text(), [], lines(folder)
    assert [line["step"] for line in found] == [3, 6, 9, 12, 14]
    assert found[-1]["loss"] < found[0]["loss"]
    names = {"step", "loss", "grad_norm", "largest", "seconds", "tokens_per_second"}
    assert all(line.keys() == names for line in found)
    assert found[0]["tokens_per_second"] == pytest.approx(8 * CHUNK / found[0]["seconds"])
    assert_same_trees(run(folder, jax.random.key(0), callback=called.append), expected)
    assert not called and (folder / "metrics.jsonl").read_text() == before
    assert f"all {STEPS} steps are done" in capsys.readouterr().err


def test_training_that_diverges_stops_is_named_and_is_not_kept(tmp_path, key):
    at = 13  # the middle of the last chunk

    def broken(params, step_key):
        value, report = loss(params, step_key)
        hit = (jax.random.key_data(step_key) == jax.random.key_data(jax.random.fold_in(key, at))).all()
        return jnp.where(hit, jnp.nan, value), {**report, "never": jnp.nan}

    optimizer = make_optimizer(TRAINING)
    for _ in range(2):
        with pytest.raises(InputError, match=rf"training must stay finite, but toy diverged at step {at}; lower its"):
            fit("toy", tmp_path, Config(), key, start(), broken, optimizer, STEPS, chunk=CHUNK)
    assert [line["step"] for line in lines(tmp_path)] == list(range(CHUNK, at, CHUNK))
    assert all(line["never"] is None for line in lines(tmp_path))
    with Checkpoints(tmp_path, Config(), key, start()) as checkpoints:
        assert checkpoints.latest == 0


def test_a_network_that_an_earlier_version_kept_though_it_diverged_is_refused(tmp_path, key):
    state = start()
    with Checkpoints(tmp_path, Config(), key, state) as checkpoints:
        checkpoints.save(STEPS, state._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, state.params)))
    with pytest.raises(InputError, match=r"must have finite parameters, but that of step 14 .* delete the folder"):
        run(tmp_path, key, state=state)


@pytest.mark.slow
def test_many_seeds_at_once_resume_too(tmp_path):
    keys, state = jax.random.split(jax.random.key(0), 2), stack([start(0), start(1)])
    expected = run(tmp_path / "whole", keys, state=state)
    with pytest.raises(Stop):
        run(tmp_path / "part", keys, state=state, callback=stop_after(3, Stop))
    assert_same_trees(run(tmp_path / "part", keys, state=state), expected)
    assert expected.params["in"].shape == (2, 4, 4) and expected.step.tolist() == [STEPS, STEPS]


OTHER_RUNS = [
    ({"config": Config(width=5)}, "differs in width; choose another folder"),
    ({"config": Config(TrainingConfig(num_steps=STEPS, learning_rate=0.1))}, "differs in training; choose another"),
    ({"key": jax.random.key(3)}, "has another key or network; choose another folder"),
    ({"num_steps": 10}, "num_steps must be at least what the checkpoint in .* has, 14, got 10; raise it"),
    ({"state": start(width=5)}, "has another key or network; choose another folder"),
    ({"chunk": 0}, "chunk must be at least 1, got 0"),
]


@pytest.mark.parametrize(("change", "message"), OTHER_RUNS, ids=lambda case: case if isinstance(case, str) else "")
def test_another_run_is_refused_in_one_sentence(whole, change, message):
    folder = whole[0]
    before = files(folder)
    with pytest.raises(InputError, match=message) as error:
        run(folder, **{"key": jax.random.key(0)} | change)
    assert str(error.value).count("\n") == 0 and str(error.value).endswith(".")
    assert files(folder) == before


def test_a_folder_that_cannot_be_written_or_read(tmp_path, key):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be able to write"):
        run(tmp_path / "file" / "run", key)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"readable run\.json"):
        run(tmp_path / "run", key)
