"""Runs a sweep: blocks of work over devices, saved as they finish, then its results.

A unit of work is one block of replicates on one chunk of the grid: one program of one static shape, compiled once.
Every device runs a unit of its own, so neither the number of devices nor the order of units changes a bit.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sims import runtime
from sims.spec import InputError
from sims.store import Leaves, Store, check_disk, check_store, staging_folder

Tree = Any
"""Any pytree of arrays."""


class Job(NamedTuple):
    """A sweep, ready to be computed."""

    program: Callable[[jax.Array, jax.Array, jax.Array, Tree], Tree]
    """(key, first replicate, total replicates, chunk) -> sums of a block; traced once."""
    chunks: list[Tree]
    """Chunks of the grid, pytrees of one shape."""
    assemble: Callable[[Store, np.ndarray, Path], None]
    """(store, replicates per block, staging folder): write the results."""
    plan: list[str]
    """What is about to run, in words."""
    seconds: float
    """Rough estimate of the time it takes on two cores."""
    tasks_per_replicate: int
    """Cells that one replicate fills."""


def run(name: str, spec: Any, prepare: Callable[[Any], Job], out: Path) -> Path:
    """Run a sweep, or what is missing of it, into the store `out`/`name`.zarr and return its path.

    `spec` is a frozen dataclass with `replicates`, `block_size` and `seed`; `prepare` turns it into a job, and is not
    called where there is nothing to do.
    """
    path = out / f"{name}.zarr"
    replicates, size = spec.replicates, spec.block_size
    if check_store(path, spec) == replicates:
        say(f"{path} already holds this sweep, complete with {replicates:,} replicates: nothing to do.")
        return path
    job = prepare(spec)
    counts = np.minimum(size, replicates - size * np.arange(-(-replicates // size)))
    leaves = _leaf_shapes(job)
    bytes_of_blocks = sum(leaf.nbytes for leaf in leaves.values()) * len(counts) * len(job.chunks)
    for line in job.plan:
        say(line)
    say(f"disk: at most {2 * bytes_of_blocks / 1e6:,.0f} MB; time: about {duration(job.seconds)} on two cores")
    check_disk(path, 2 * bytes_of_blocks)
    store = Store.open(path, spec, (len(counts), len(job.chunks)), leaves, runtime.provenance())
    pending = store.pending(counts)
    if len(pending) < len(counts) * len(job.chunks):
        say(f"going on: {len(counts) * len(job.chunks) - len(pending)} blocks are already there")
    _compute(name, spec, job, store, counts, pending)
    staging = staging_folder(path)
    job.assemble(store, counts, staging)
    store.publish(staging, replicates)
    say(f"wrote {path}")
    return path


def say(line: str) -> None:
    """A line to the person who watches, on stderr: never wrapped, so that it can be searched for."""
    print(line, file=sys.stderr, flush=True)


def _compute(name: str, spec: Any, job: Job, store: Store, counts: np.ndarray, pending: list[tuple[int, int]]) -> None:
    if not pending:
        return
    console = Console(stderr=True)
    started = time.perf_counter()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("blocks  {task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=len(pending), rate="compiling")
        tasks = 0
        for (block, chunk), leaves in _blocks(spec, job, pending):
            _check_finite(leaves, block, chunk)
            store.write(block, chunk, int(counts[block]), leaves)
            tasks += int(counts[block]) * job.tasks_per_replicate // len(job.chunks)
            rate = tasks / (time.perf_counter() - started)
            progress.update(bar, advance=1, rate=f"{rate:,.0f} tasks/s")
    taken = time.perf_counter() - started
    say(f"{tasks:,} tasks in {duration(taken)}: {tasks / taken:,.0f} tasks/s, compilation included")


def _blocks(spec: Any, job: Job, pending: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], Leaves]]:
    """Units of work, one per device at a time; the next round is under way while one is saved."""
    launch = launcher(job.program, spec)
    width = jax.device_count()
    rounds = [pending[i : i + width] for i in range(0, len(pending), width)]

    def start(units: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], Tree]:
        filled = units + units[-1:] * (width - len(units))  # a last round may repeat a unit
        return units, launch([block for block, _ in filled], [job.chunks[chunk] for _, chunk in filled])

    under_way = start(rounds[0])
    for following in [*rounds[1:], None]:
        units, sums = under_way
        jax.block_until_ready(sums)
        if following is not None:
            under_way = start(following)
        for i, unit in enumerate(units):
            yield unit, {name: np.asarray(leaf[i]) for name, leaf in named_leaves(sums).items()}


def launcher(program: Callable, spec: Any) -> Callable[[list[int], list[Tree]], Tree]:
    """(a block number per device, a chunk per device) -> sums, stacked over devices: one compiled program for all."""
    mesh = jax.make_mesh((jax.device_count(),), ("units",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, P("units"))
    key = jax.random.key(spec.seed)

    def unit(key, total, first, chunk):
        sums = program(key, first[0], total, jax.tree.map(lambda x: x[0], chunk))
        return jax.tree.map(lambda x: x[None], sums)

    specs = (P(), P(), P("units"), P("units"))
    compiled = jax.jit(jax.shard_map(unit, mesh=mesh, in_specs=specs, out_specs=P("units"), check_vma=False))

    def launch(blocks: list[int], chunks: list[Tree]) -> Tree:
        first = jax.device_put(np.array([block * spec.block_size for block in blocks], np.int32), sharding)
        stacked = jax.tree.map(lambda *leaves: jax.device_put(jnp.stack(leaves), sharding), *chunks)
        return compiled(key, jnp.int32(spec.replicates), first, stacked)

    return launch


def named_leaves(tree: Tree) -> dict[str, Any]:
    """The leaves of a pytree of named tuples, by dotted name."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in flat}


def from_leaves(like: Tree, leaves: Leaves) -> Tree:
    """The inverse of `named_leaves`."""
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in named_leaves(like)])


def sums_like(program: Callable, chunk: Tree) -> Tree:
    """Shapes and dtypes of a block's sums, at no compute."""
    return jax.eval_shape(program, jax.random.key(0), jnp.int32(0), jnp.int32(1), chunk)


def _leaf_shapes(job: Job) -> Leaves:
    like = named_leaves(sums_like(job.program, job.chunks[0]))
    # Broadcast views: of the right shape and type, and of no size.
    return {name: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape) for name, leaf in like.items()}


def _check_finite(leaves: Leaves, block: int, chunk: int) -> None:
    for name, leaf in leaves.items():
        if name.endswith("risk") and not np.isfinite(leaf).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(leaf))[0])
            raise InputError(
                f"every risk must be finite, but {name} of block {block}, chunk {chunk} is not at index {where}; "
                f"nothing of this block was written: look for a degenerate cell there."
            )


def duration(seconds: float) -> str:
    """Seconds in words."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
