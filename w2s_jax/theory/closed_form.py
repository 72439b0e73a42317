"""What every function of the package does with its arguments: numbers out of range are refused, batches are mapped."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from w2s_jax.types import Task

Result = TypeVar("Result")


class Range(NamedTuple):
    """The values that an argument may take."""

    low: float
    high: float
    meaning: str
    strict: bool = False
    """Whether the lower end is left out."""


COUNT = Range(0, math.inf, "a number of examples")
RANGES = {
    "num_icl": COUNT,
    "num_samples": Range(0, math.inf, "a number of examples", strict=True),
    "num_true": COUNT,
    "num_prompts": Range(1, math.inf, "a number of prompts"),
    "num_steps": Range(0, math.inf, "a number of steps, 0 being the source prior"),
    "penalty": Range(0, math.inf, "the weight of a square"),
    "time": Range(0, math.inf, "the time since the start"),
    "misalignment": Range(0, math.inf, "a squared distance"),
    "assumed_noise_var": Range(0, math.inf, "a variance that the posterior divides by", strict=True),
    "noise_var": Range(0, math.inf, "a variance"),
    "error": Range(0, 1, "a probability"),
    "target_tilt": Range(0, 1, "a share of the way from no trust in the prompt to too little", strict=True),
    "x": Range(0, math.inf, "on the principal branch"),
}
"""Arguments by name: the same name means the same thing in every closed form."""


def closed_form(form: Callable[..., Result]) -> Callable[..., Result]:
    """Check the numbers of a closed form, and map it over a batch.

    `form(task, ...)` is written for one task and scalars. Called with a batched task (`concepts [*b K d]` and so on),
    or with arrays of numbers, it is mapped over all of them, broadcast against each other: a result of shape `[...]`
    becomes `[*b ...]`. Concrete numbers out of range are refused; of traced ones the range is documented.

    Raises:
        ValueError: for a number out of range, or a task whose fields have different batch dimensions.
    """
    signature = inspect.signature(form)

    @functools.wraps(form)
    def checked(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        numbers = {name: value for name, value in given.items() if name in RANGES and value is not None}
        for name, value in numbers.items():
            check_range(name, value)
        batch = task_batch(given["task"]) if "task" in given else ()
        shape = jnp.broadcast_shapes(batch, *(np.shape(value) for value in numbers.values()))
        if not shape:
            return form(*args, **kwargs)
        mapped = {name: _flat(value, shape) for name, value in numbers.items()}
        if "task" in given:
            mapped["task"] = jax.tree.map(lambda leaf: _flat(leaf, shape, len(batch)), given["task"])
        fixed = {name: value for name, value in given.items() if name not in mapped}
        result = jax.vmap(lambda mapped: form(**mapped, **fixed))(mapped)
        return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), result)

    return checked


def check_range(name: str, value) -> None:
    """Refuse a concrete number, or an array with an entry, outside the range of its name."""
    if isinstance(value, Tracer):
        return
    low, high, meaning, strict = RANGES[name]
    numbers = np.asarray(value)
    wrong = (numbers <= low if strict else numbers < low) | (numbers > high)
    if wrong.any():
        upper = f" and at most {high:g}" if high < math.inf else ""
        lower = f"above {low:g}" if strict else f"at least {low:g}"
        raise ValueError(f"{name} must be {lower}{upper}, got {numbers[wrong].flat[0]}; it is {meaning}.")


def task_batch(task: Task) -> tuple[int, ...]:
    """The batch dimensions of a task, which all of its fields must share."""
    own = Task(2, 1, 1, 0, 2, 1, 0, 1)  # pyright: ignore[reportArgumentType]
    shapes = {name: np.shape(leaf)[: np.ndim(leaf) - rank] for name, leaf, rank in zip(task._fields, task, own)}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(f"All fields of a task must have the same batch dimensions, got {told}; broadcast them.")
    return shapes["noise_var"]


def _flat(leaf, shape: tuple[int, ...], num_batch: int | None = None):
    """The leaf broadcast to `shape` over its batch dimensions (all of them by default), which become one."""
    leaf = jnp.asarray(leaf)
    own = leaf.shape[leaf.ndim if num_batch is None else num_batch :]
    lead = leaf.shape[: leaf.ndim - len(own)]
    leaf = leaf.reshape(*(1,) * (len(shape) - len(lead)), *lead, *own)
    return jnp.broadcast_to(leaf, (*shape, *own)).reshape(-1, *own)
