"""Sequential precision: how many replicates each chunk of a grid still needs for its risks to be known well enough.

After every round the relative standard error of each risk is read off the blocks, and a chunk that is not there yet
gets more. The rounds are a function of the blocks alone, so that any process, now or later, walks through the same.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr

from sims.engine.checked import InputError

MARGIN = 1.05
"""Replicates asked for, over those estimated to be enough: an estimate that is short by a little costs a round."""
NUM_NAMED = 5
"""Risks that a report names."""


class Target(NamedTuple):
    """How well every risk of a sweep is to be known."""

    sem: float
    """Standard error of the mean risk over the mean risk, in (0, 1)."""
    cap: int
    """Replicates at which a chunk stops, whether it is there or not."""


class Errors(NamedTuple):
    """Relative standard errors of the risks of a chunk."""

    values: np.ndarray
    """Any shape, one a risk; 0 where both are 0, NaN where the grid has a hole by design (it has no error to lower)."""
    name: Callable[[tuple[int, ...]], str]
    """Words for an index into `values`: grid values and method."""


class Look(NamedTuple):
    """What a round found in a chunk."""

    worst: float
    short: int
    """Risks above the target."""
    risks: int
    named: list[tuple[float, str]]
    """The worst of those above it: (relative standard error, words)."""


class Published(NamedTuple):
    """What the results of a store hold; root attributes of the same names."""

    complete: int = 0
    """Replicates behind every cell at least; 0 where there are no results."""
    replicates: tuple[int, ...] = ()
    """Replicates of each chunk of the grid; kept while results are assembled again."""
    target_sem: float | None = None
    max_replicates: int | None = None
    risks_short: int = 0
    """Risks that are above the target at the cap."""


def make_target(sem: float | None, cap: int | None, replicates: int) -> Target | None:
    """The target that a command's options ask for, if any; 100 times the replicates is the cap unless one is given."""
    if sem is None:
        if cap is not None:
            raise InputError(f"--max-replicates caps a --target-sem, but only {cap} was given; give both or neither.")
        return None
    if not 0 < sem < 1:
        raise InputError(f"--target-sem must be in (0, 1), got {sem:g}; 0.02 asks for two percent of each risk.")
    cap = 100 * replicates if cap is None else cap
    if cap < replicates:
        raise InputError(f"--max-replicates must be at least replicates, {replicates}, got {cap}; raise it.")
    return Target(sem, cap)


def read_published(path: Path) -> Published:
    """What the results of the store at `path` hold."""
    if not path.exists():
        return Published()
    attributes = zarr.open_group(str(path), mode="r", zarr_format=3, use_consolidated=False).attrs.asdict()
    held: dict[str, Any] = {name: attributes[name] for name in Published._fields if name in attributes}
    return Published(**{**held, "replicates": tuple(held.get("replicates", ()))})


def is_enough(held: Published, replicates: int, target: Target | None) -> bool:
    """Whether the results already are what is asked for."""
    if held.complete < replicates:
        return False
    if target is None:
        return True
    if held.target_sem is None or held.max_replicates is None or held.target_sem > target.sem:
        return False
    return not held.risks_short or (held.target_sem == target.sem and held.max_replicates >= target.cap)


def first_counts(held: Published, spec: Any, num_chunks: int, target: Target | None) -> np.ndarray:
    """Replicates that the first round has in each block and chunk, `[blocks chunks]`: never fewer than were published.

    With a target blocks are whole, so that a next round adds to them.
    """
    totals = np.maximum(spec.replicates, held.replicates or held.complete) * np.ones(num_chunks, np.int64)
    if target is not None:
        totals = -(-totals // spec.block_size) * spec.block_size
    return counts_of(totals, spec.block_size)


def counts_of(totals: np.ndarray, size: int) -> np.ndarray:
    """Replicates in each block and chunk, `[blocks chunks]`, that add up to `totals [chunks]`.

    >>> counts_of(np.array([5, 2]), 2).tolist()
    [[2, 2], [2, 0], [1, 0]]
    """
    first = size * np.arange(-(-totals.max() // size))
    return np.clip(totals[None, :] - first[:, None], 0, size)


def relative(sem: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Standard error over the size of the mean: 0 where it is 0, infinite where the mean alone is.

    >>> relative(np.array([0.0, 0.1, 0.1]), np.array([0.0, 0.0, -2.0])).tolist()
    [0.0, inf, 0.05]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sem == 0, 0.0, sem / np.abs(mean))


def name_cell(axes: dict[str, Any], at: tuple[int, ...]) -> str:
    """The values at an index over named axes, in words.

    >>> name_cell({"num_icl": (0, 4), "weakness": ("noisy",)}, (1, 0))
    'num_icl=4, weakness=noisy'
    """
    return ", ".join(f"{axis}={values[i]}" for (axis, values), i in zip(axes.items(), at))


def look(errors: Errors, target: Target) -> Look:
    """How far the risks of a chunk are from the target; NaN is a hole in the grid, which decides nothing.

    >>> look(Errors(np.array([0.2, np.nan, 0.05]), str), Target(0.1, 100))
    Look(worst=0.2, short=1, risks=2, named=[(0.2, '(0,)')])
    """
    values = errors.values.ravel()
    there = np.flatnonzero(~np.isnan(values))
    above = there[values[there] > target.sem]
    order = above[np.argsort(-values[above], kind="stable")][:NUM_NAMED]
    named = [(float(values[i]), errors.name(tuple(map(int, np.unravel_index(i, errors.values.shape))))) for i in order]
    return Look(float(values[there].max(initial=0.0)), above.size, there.size, named)


def next_total(total: int, worst: float, size: int, target: Target) -> int:
    """Replicates of a chunk's next round, in whole blocks; `total` where it is there or at the cap.

    Standard errors fall as 1 / sqrt(replicates). At most twice as many, so that a bad early estimate costs little.

    >>> [next_total(100, worst, 10, Target(0.1, 150)) for worst in (0.1, 0.11, 0.3)]
    [100, 130, 150]
    """
    if worst <= target.sem:
        return total
    needed = total * min(2.0, MARGIN * (worst / target.sem) ** 2)
    most = max(total, target.cap // size * size)
    return min(most, math.ceil(needed / size) * size)


def publication(held: Published, totals: np.ndarray, looks: list[Look], target: Target | None) -> Published:
    """What results of `totals` replicates a chunk hold, where there were those of `held`."""
    replicates = tuple(int(total) for total in totals)
    if target is None and replicates == held.replicates:  # the same, assembled again
        return held._replace(complete=min(replicates))
    asked = (target.sem, target.cap) if target else (None, None)
    return Published(min(replicates), replicates, *asked, sum(found.short for found in looks))


def report(looks: list[Look], totals: np.ndarray, target: Target) -> list[str]:
    """What became of the target, in words."""
    short, risks = sum(found.short for found in looks), sum(found.risks for found in looks)
    lines = [
        f"relative SEM {target.sem:g}: {risks - short:,} of {risks:,} risks (cell and method) are there, "
        f"after {totals.min():,} to {totals.max():,} replicates"
    ]
    named = sorted(((*entry, int(total)) for found, total in zip(looks, totals) for entry in found.named), reverse=True)
    if named:
        lines.append(f"above it at the cap of {target.cap:,} replicates, the worst of {short:,}:")
        lines += [f"  {words}: {value:.3g} after {n:,} replicates" for value, words, n in named[:NUM_NAMED]]
    return lines
