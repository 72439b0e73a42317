"""What a store records besides its results, so that no run extends it under other settings or misses a part.

Attributes of the group `blocks`, which a reader of the results does not see:

    leaves      type and shape of each sum of a block, by name: what every block must hold
    settings    the settings of jax that decide the draws
    runs        origin of the blocks: versions, commit, device, time, and `blocks` as [chunk, first, last]
    results     names of the arrays that were published

Stores older than 0.2 have none of these. Their arrays are compared all the same, and the rest takes its default.
"""

import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sims.engine.checked import InputError

Unit = tuple[int, int]
"""(block, chunk)."""

DEFAULTS = {"default_prng_impl": "threefry2x32", "threefry_partitionable": True, "random_seed_offset": 0}
"""The settings of jax that decide the draws, with their defaults."""
SETTINGS = ("enable_x64", *DEFAULTS)


def settings() -> dict[str, Any]:
    """The settings of jax, of this process, that decide which numbers a seed draws; without their prefix `jax_`.

    >>> sorted(settings())
    ['default_prng_impl', 'enable_x64', 'random_seed_offset', 'threefry_partitionable']
    """
    return {name: jax.config.values[f"jax_{name}"] for name in SETTINGS}


def check_settings(path: Path, held: dict[str, Any]) -> None:
    """Refuse to draw anything more for a store whose draws were made under other settings."""
    now = settings()
    for name, value in {"enable_x64": now["enable_x64"], **DEFAULTS, **held}.items():
        if now.get(name) != value:
            raise InputError(
                f"all draws of a store must be made under the same settings of jax, but {path} was made with "
                f"jax_{name} {value}, and here it is {now.get(name)}; run again with "
                f"JAX_{name.upper()}={_word(value)}, or choose another --out."
            )


def shapes_of(leaves: dict[str, np.ndarray]) -> dict[str, list]:
    """Type and shape of each leaf, as JSON.

    >>> shapes_of({"risk": np.zeros((2, 3), np.float32)})
    {'risk': ['float32', 2, 3]}
    """
    return {name: [str(leaf.dtype), *leaf.shape] for name, leaf in leaves.items()}


def check_shapes(path: Path, held: dict[str, list], chunks: int, wanted: dict[str, list], wanted_chunks: int) -> None:
    """Refuse blocks that were cut otherwise than this program cuts them."""
    if chunks != wanted_chunks:
        what = f"has {chunks} chunks of the grid, and here there are {wanted_chunks}"
    elif differ := [name for name in sorted(held.keys() | wanted.keys()) if held.get(name) != wanted.get(name)]:
        name = differ[0]
        what = f"holds {name} as {_shape(held.get(name))}, and here it is {_shape(wanted.get(name))}"
    else:
        return
    raise InputError(
        f"a store must be cut into blocks as this program cuts them, but {path} {what}: another version of it, or "
        f"other settings of jax, made that store; go on with those, or run it again with --from {path} --out "
        f"ANOTHER_FOLDER."
    )


def with_run(runs: list[dict], origin: dict, units: list[Unit]) -> list[dict]:
    """The list of runs after one more, which computes these blocks; every block is in one run, the last that had it.

    >>> runs = with_run([], {"commit": "a"}, [(0, 0), (1, 0), (2, 0)])
    >>> with_run(runs, {"commit": "b"}, [(1, 0)])
    [{'commit': 'a', 'blocks': [[0, 0, 0], [0, 2, 2]]}, {'commit': 'b', 'blocks': [[0, 1, 1]]}]
    """
    new, kept = set(units), []
    for run in runs:
        left = [unit for unit in units_of(run) if unit not in new]
        if left:
            kept.append({**run, "blocks": _ranges(left)})
    return [*kept, {**origin, "blocks": _ranges(units)}] if units else kept


def units_of(run: dict) -> list[Unit]:
    """The blocks of a run, in order of chunk and block."""
    return [(block, chunk) for chunk, first, last in run["blocks"] for block in range(first, last + 1)]


def flat(origin: dict[str, Any]) -> dict[str, Any]:
    """An origin as attributes that every format of files takes: numbers and strings.

    >>> flat({"versions": {"jax": "0.9.2", "numpy": "2.3"}, "commit": "a"})
    {'versions': 'jax 0.9.2, numpy 2.3', 'commit': 'a'}
    """
    return {name: words(value) if isinstance(value, dict) else value for name, value in origin.items()}


def words(versions: dict[str, str] | str) -> str:
    """Versions in words; those of stores of before 0.2 are a dict."""
    return versions if isinstance(versions, str) else ", ".join(f"{name} {held}" for name, held in versions.items())


def _ranges(units: list[Unit]) -> list[list[int]]:
    found = []
    for chunk, group in itertools.groupby(sorted((chunk, block) for block, chunk in units), lambda unit: unit[0]):
        for _, block in group:
            if found and found[-1][0] == chunk and found[-1][2] == block - 1:
                found[-1][2] = block
            else:
                found.append([chunk, block, block])
    return found


def _shape(held: list | None) -> str:
    return "nothing" if held is None else f"{held[0]} {held[1:]}"


def _word(value: Any) -> str:
    return str(int(value) if isinstance(value, bool) else value)
