"""Fit a network in chunks of steps: progress, metrics and checkpoints between them, and no other bit after a stop.

    FOLDER/metrics.jsonl       a line a chunk: step, means over it of loss and gradient norm, seconds, tokens per second

`sims/training/checkpoints.py` says what else is there.
"""

import functools
import json
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding

from sims.engine.checked import InputError, check_one
from sims.engine.disk import saving, write_durably
from sims.engine.progress import progress
from sims.training.checkpoints import Checkpoints
from sims.training.lanes import lanes, spread
from w2s_jax.training import TrainState, train
from w2s_jax.types import Key


def fit(
    name: str,
    folder: Path,
    config: Any,
    key: Key,
    state: TrainState,
    loss: Callable[[Any, Key], Any],
    optimizer: optax.GradientTransformation,
    num_steps: int,
    chunk: int = 100,
    *,
    tokens_per_step: int | None = None,
    chunks_per_checkpoint: int = 10,
    callback: Callable[[dict[str, float]], None] | None = None,
) -> TrainState:
    """Train to num_steps from the newest checkpoint in the folder, else from `state`; a finished run is only loaded.

    Args:
        name: of the run, on the progress bar.
        folder: the run's own.
        config: a frozen dataclass of plain values that, with the key, decides the run; a folder of another is refused.
        key: `[]`, or `[seeds]` with a state stacked likewise, which trains one network a seed: on CPUs one after
            another on each device, which is the faster way there, on others at once by `vmap`.
        state: from `init_state`.
        loss, optimizer: as for `w2s_jax.training.train`.
        num_steps: steps in all, >= 1.
        chunk: steps of one compiled program, >= 1. It changes no draw.
        tokens_per_step: for the metrics, of all seeds together; None leaves tokens per second out.
        chunks_per_checkpoint: >= 1; a kill loses at most this number of chunks, Ctrl-C and SIGTERM the one in flight.
        callback: called with the metrics of each chunk.

    Returns:
        The state after num_steps.

    Raises:
        InputError: for a count out of range, a folder of another run, a checkpoint beyond num_steps, a disk that fails,
            and for training that diverges: a loss, gradient or parameter that is not finite.
    """
    for field, count in (("num_steps", num_steps), ("chunk", chunk), ("chunks_per_checkpoint", chunks_per_checkpoint)):
        check_one(field, count, count >= 1, "at least 1", "give a whole number")
    # Not the caller's arrays but copies where they are needed: the first call and those after it then are one program.
    over = lanes(key.shape[0]) if key.ndim else None
    state = jax.tree.map(jnp.asarray, state) if over is None else jax.device_put(state, over)
    with Checkpoints(folder, config, key, state) as checkpoints:
        step = checkpoints.latest
        if step > num_steps:
            raise InputError(
                f"num_steps must be at least what the checkpoint in {folder} has, {step}, got {num_steps}; raise it or "
                f"choose another folder."
            )
        state = checkpoints.restore() if step else state
        if step and not _is_finite(state.params):  # kept by a version that did not look
            raise InputError(
                f"a network must have finite parameters, but that of step {step} in {folder} has not: its training "
                f"diverged; delete the folder, and lower the learning rate."
            )
        log = Path(folder) / "metrics.jsonl"
        if step == num_steps:
            print(f"{name}: all {num_steps} steps are done, in {folder}.", file=sys.stderr, flush=True)
            return state
        _forget_after(log, step)
        program = _program(loss, optimizer, over)
        with progress(name, num_steps, "steps  compiling", completed=step) as update:
            try:
                while step < num_steps:
                    began = time.perf_counter()
                    # Chunks end at multiples of `chunk` wherever a run stopped: the same programs, so the same bits.
                    length = min(chunk - step % chunk, num_steps - step)
                    state, metrics = jax.block_until_ready(program(key, state, length))
                    step += length
                    _check_convergence(name, folder, state, metrics, step - length, step)
                    line = _line(step, length, metrics, time.perf_counter() - began, tokens_per_step)
                    with saving(log, "adding to the metrics"), log.open("a") as file:
                        file.write(json.dumps(line, allow_nan=False) + "\n")
                    update(step, f"steps  loss {line['loss']:.4g}")
                    if step % (chunk * chunks_per_checkpoint) == 0 or step == num_steps:
                        checkpoints.save(step, state)
                    if callback is not None:
                        callback(line)
            except KeyboardInterrupt:
                checkpoints.save(step, state)
                raise
    return state


def _program(loss, optimizer, over: NamedSharding | None):
    """(key, state, length) -> (state, metrics), compiled once for each length."""

    @functools.partial(jax.jit, static_argnums=2)
    def program(key: Key, state: TrainState, length: int):
        def one(lane: tuple[Key, TrainState]):
            return train(*lane, loss, optimizer, length)

        return one((key, state)) if over is None else spread(one, over)((key, state))

    return program


def _is_finite(tree: Any) -> bool:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)


def _check_convergence(name: str, folder: Path, state: TrainState, metrics, first: int, last: int) -> None:
    """Stop where a network diverges; nothing of these steps is kept."""
    measured = np.isfinite(np.asarray(metrics.loss)) & np.isfinite(np.asarray(metrics.grad_norm))
    if measured.all() and _is_finite(state.params):
        return
    bad = np.argwhere(~measured)
    step = first + int(bad[:, -1].min()) if len(bad) else last
    raise InputError(
        f"training must stay finite, but {name} diverged at step {step}; lower its learning rate. Nothing of these "
        f"steps was kept in {folder}."
    )


def _line(step: int, length: int, metrics, seconds: float, tokens_per_step: int | None) -> dict[str, Any]:
    line = {"step": step, "loss": float(np.mean(metrics.loss)), "grad_norm": float(np.mean(metrics.grad_norm))}
    extra = {name: float(np.mean(values)) for name, values in metrics.extra.items()}
    line |= {name: value if np.isfinite(value) else None for name, value in extra.items()}  # JSON knows no NaN
    line["seconds"] = seconds
    if tokens_per_step is not None:
        line["tokens_per_second"] = tokens_per_step * length / seconds
    return line


def _forget_after(log: Path, step: int) -> None:
    """Leave out of the metrics what comes after the checkpoint, which is trained again."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):  # a line that a kill cut short
            continue
    with saving(log, "clearing the metrics"):
        write_durably(log.with_name(f".{log.name}.{uuid.uuid4().hex}"), log, "".join(kept).encode())
