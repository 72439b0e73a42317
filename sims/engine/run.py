"""Runs a sweep: blocks of work over devices and processes, saved as they finish, then its results.

A unit of work is one block of replicates on one chunk of the grid: one program of one static shape, compiled once.
Every device runs units of its own, and every process saves its own, so neither the number of devices or processes nor
the order of units changes a bit.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import zarr
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from sims.engine import hosts, precision, runtime
from sims.engine.checked import InputError
from sims.engine.disk import followed, output_folder, saving, staging
from sims.engine.finite import BadRisk, check_finite
from sims.engine.hosts import Ranks
from sims.engine.lock import RunLock
from sims.engine.precision import Errors, Target
from sims.engine.progress import progress, rate
from sims.engine.store import Leaves, Store, check_disk, check_store
from w2s_jax.rng import seed_key

Tree = Any
"""Any pytree of arrays."""


class Job(NamedTuple):
    """A sweep, ready to be computed."""

    program: Callable[[jax.Array, jax.Array, jax.Array, Tree], Tree]
    """(key, first replicate, total replicates, chunk) -> sums of a block; traced once."""
    chunks: list[Tree]
    """Chunks of the grid, pytrees of one shape."""
    assemble: Callable[[Store, np.ndarray, Path], None]
    """(store, replicates per block and chunk, staging folder): write the results."""
    plan: list[str]
    """What is about to run, in words."""
    seconds: float
    """Rough estimate of the time it takes on two cores."""
    tasks_per_replicate: int
    """Tasks of one replicate: the cells that it fills, or the networks that it fine-tunes."""
    diagnose: Callable[[int, int], list[BadRisk]] | None = None
    """(chunk, replicate) -> the risks of that replicate, computed alone, that are not finite."""
    relative_sem: Callable[[Store, np.ndarray, int], Errors] | None = None
    """(store, numbers of the blocks, chunk) -> relative standard errors of the risks; a `Target` needs it."""
    unit: str = "tasks"
    """Name of a task in the progress."""
    doing: str = "compiling"
    """What is under way until the first block is done."""
    holes: Mapping[str, np.ndarray | bool] = MappingProxyType({})
    """Sums that may be NaN by design, by name: all of it (True), or where the array is True. All others are finite."""


class Outline(NamedTuple):
    """What is about to run, where a job cannot be made without computing: a sweep that first trains its networks."""

    plan: list[str]
    seconds: float | None
    """As of a job; None where it depends on a model that is not read yet."""


class Options(NamedTuple):
    """How a sweep is run: nothing that its identity knows of."""

    ranks: Ranks | None = None
    """The processes that share it; none: this one alone."""
    target: Target | None = None
    """How well its risks are to be known; none: its replicates and no more."""
    dry: bool = False
    """Whether its plan is printed and nothing is computed or written."""


ALONE = Options()
"""One process and no target."""


UNKNOWN = "known when the networks are there"
"""Disk and time of a dry run, where they depend on what is not."""


def run(
    name: str,
    spec: Any,
    prepare: Callable[[Any], Job],
    out: Path,
    options: Options = ALONE,
    outline: Callable[[Any], Outline] | None = None,
) -> Path:
    """Run a sweep, or what is missing of it, into the store `out`/`name`.zarr and return its path.

    `spec` is a frozen dataclass with `replicates`, `block_size` and `seed`; `prepare` turns it into a job, and is not
    called where there is nothing to do. With several processes all of them call this; each returns when the results
    are there. `outline` is needed for a dry run where `prepare` computes.
    """
    path = output_folder(out) / f"{name}.zarr"
    if options.dry:
        _tell_plan(path, name, spec, prepare, options, outline)
        return path
    return run_at(path, name, spec, prepare, options)


def _tell_plan(
    path: Path,
    name: str,
    spec: Any,
    prepare: Callable[[Any], Job],
    options: Options,
    outline: Callable[[Any], Outline] | None,
) -> None:
    """Print what a run would do: it reads the store, if there is one, and writes nothing."""
    path = followed(path)
    if _is_done(path, spec, options.target, say):
        return
    if outline is not None:
        known = outline(spec)
        minutes = f"time: {UNKNOWN}" if known.seconds is None else _time(known.seconds, hosts.alone())
        for line in (*known.plan, f"disk: {UNKNOWN}; {minutes}"):
            say(line)
    else:
        job = prepare(spec)
        counts = precision.first_counts(precision.read_published(path), spec, len(job.chunks), options.target)
        _announce(job, _disk_bytes(_leaf_shapes(job), counts), hosts.alone(), say)
    there = f"holds {np.count_nonzero(Store.look(path).marks()):,} blocks already" if path.exists() else "is not there"
    say(f"dry run: {path} {there}; nothing was written")


def _announce(job: Job, disk: int, ranks: Ranks, tell: Callable[[str], None]) -> None:
    """The plan, the disk and the time of a run."""
    for line in job.plan:
        tell(line)
    tell(f"disk: at most {disk / 1e6:,.0f} MB; {_time(job.seconds, ranks)}")


def _time(seconds: float, ranks: Ranks) -> str:
    each = " a process" if ranks.count > 1 else ""
    return f"time: about {duration(seconds / ranks.count)} on two cores{each}"


def _disk_bytes(leaves: Leaves, counts: np.ndarray) -> int:
    """What blocks and results take at most."""
    return 2 * sum(leaf.nbytes for leaf in leaves.values()) * np.count_nonzero(counts)


def run_at(path: Path, name: str, spec: Any, prepare: Callable[[Any], Job], options: Options = ALONE) -> Path:
    """As `run`, into the store at `path`, in any folder; a symbolic link is followed."""
    path, target = followed(path), options.target
    ranks = options.ranks or hosts.alone()
    tell = say if ranks.index == 0 else _silent
    if _is_done(path, spec, target, tell):
        return path
    runtime.devices()
    with RunLock(path, ranks.run, ranks.index) as lock:
        # Looked at again, now that no other run can change it: what was published meanwhile is never computed again.
        if _is_done(path, spec, target, tell):
            return path
        held = precision.read_published(path)
        job = prepare(spec)
        if target is not None and job.relative_sem is None:
            raise InputError(f"--target-sem needs a sweep with risks, and {name} has none; leave it out.")
        work = _Work(name, spec, job, path, _leaf_shapes(job), ranks, lock, tell)
        if path.exists():
            Store.look(path).check(work.leaves, len(job.chunks))
        counts = precision.first_counts(held, spec, len(job.chunks), target)
        _announce(job, _disk_bytes(work.leaves, counts), ranks, tell)
        store, counts, looks = _rounds(work, counts, target)
        totals = counts.sum(axis=0)
        found = precision.publication(held, totals, looks, target)
        if ranks.index == 0:
            with saving(path, "writing the results"), staging(path) as folder:
                job.assemble(store, counts, folder)
                store.publish(folder, **found._asdict())
        else:
            hosts.wait(lambda: precision.read_published(path) == found, lock, ranks)
    for line in precision.report(looks, totals, target) if target else ():
        tell(line)
    tell(f"wrote {path}")
    return path


def _is_done(path: Path, spec: Any, target: Target | None, tell: Callable[[str], None]) -> bool:
    """Whether the store at `path` can be of this sweep, and its results are what is asked for."""
    check_store(path, spec)
    held = precision.read_published(path)
    if not precision.is_enough(held, spec.replicates, target):
        return False
    tell(f"{path} already holds this sweep, complete with {held.complete:,} replicates: nothing to do.")
    if target is not None and held.risks_short:
        tell(f"{held.risks_short:,} of its risks are above the relative SEM of {target.sem:g} at the cap.")
    return True


def say(line: str) -> None:
    """Print a line to stderr for the user: never wrapped, so that it can be searched for."""
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """Processes other than the first print nothing."""


class _Work(NamedTuple):
    """A sweep under way in this process."""

    name: str
    spec: Any
    job: Job
    path: Path
    leaves: Leaves
    ranks: Ranks
    lock: RunLock
    tell: Callable[[str], None]


def _rounds(work: _Work, counts: np.ndarray, target: Target | None) -> tuple[Store, np.ndarray, list[precision.Look]]:
    """Fill the blocks, with a target round after round: the store, counts `[blocks chunks]`, how good its risks are.

    Every process walks through the same rounds: each waits for the blocks of one, and reads the next off them.
    """
    looks: dict[int, precision.Look] = {}
    fresh = range(counts.shape[1])
    while True:
        store = _filled(work, counts, is_first=not looks)
        if target is None or work.job.relative_sem is None:
            return store, counts, []
        for chunk in fresh:
            errors = work.job.relative_sem(store, np.flatnonzero(counts[:, chunk]), chunk)
            looks[chunk] = precision.look(errors, target)
        totals = counts.sum(axis=0)
        following = np.array(
            [
                precision.next_total(int(total), looks[chunk].worst, work.spec.block_size, target)
                for chunk, total in enumerate(totals)
            ]
        )
        fresh = [int(chunk) for chunk in np.flatnonzero(following > totals)]
        if not fresh:
            return store, counts, [looks[chunk] for chunk in sorted(looks)]
        work.tell(
            f"relative SEM up to {max(looks[chunk].worst for chunk in fresh):.3g}, target {target.sem:g}: {len(fresh)} "
            f"of {len(totals)} chunks of the grid go on, to at most {following.max():,} replicates"
        )
        counts = precision.counts_of(following, work.spec.block_size)


def _filled(work: _Work, counts: np.ndarray, is_first: bool) -> Store:
    """The store once all of its blocks are there, of which this process computes its share."""
    check_disk(work.path, _disk_bytes(work.leaves, counts))
    if work.ranks.index > 0:
        hosts.wait(functools.partial(_has_room, work.path, len(counts)), work.lock, work.ranks)
    origin = runtime.provenance()
    store = Store.open(work.path, work.spec, counts.shape, work.leaves, origin, work.name)
    every = [(int(block), int(chunk)) for block, chunk in np.argwhere(counts)]
    missing = set(store.pending(counts))
    if work.ranks.index == 0:
        store.begin(origin, sorted(missing))
    if is_first and len(missing) < len(every):
        work.tell(f"going on: {len(every) - len(missing)} blocks are already there")
    own = [unit for unit in hosts.share(every, work.ranks) if unit in missing]
    if own:
        # Rank 0 removes files of killed runs beside the store when it signs, so none that are written from now on.
        hosts.wait(lambda: 0 in hosts.signed(work.lock), work.lock, work.ranks)
        _compute(work, store, counts, own)
    hosts.wait(_all_marked(store, counts, sorted(missing.difference(own))), work.lock, work.ranks)
    return store


def _has_room(path: Path, blocks: int) -> bool:
    """Whether the process that makes and grows the store has done so."""
    try:
        return zarr.open_array(str(path / "blocks" / "done"), mode="r", zarr_format=3).shape[0] >= blocks
    except (FileNotFoundError, ValueError):
        return False


def _all_marked(store: Store, counts: np.ndarray, left: list[tuple[int, int]]) -> Callable[[], bool]:
    """Whether the blocks that others compute are there; looks at none twice that is."""

    def ready() -> bool:
        while left and int(store.done[left[-1]]) == counts[left[-1]]:
            left.pop()
        return not left

    return ready


def _compute(work: _Work, store: Store, counts: np.ndarray, pending: list[tuple[int, int]]) -> None:
    started = time.perf_counter()
    title = work.name if work.ranks.count == 1 else f"{work.name}, process 0 of {work.ranks.count}"
    job = work.job
    with progress(title, len(pending), f"blocks  {job.doing}", hidden=work.ranks.index > 0) as update:
        tasks, done = 0, 0
        try:
            for (block, chunk), leaves in _blocks(work.spec, job, counts, pending):
                check_finite(job, work.spec, leaves, block, chunk)
                store.write(block, chunk, int(counts[block, chunk]), leaves)
                tasks, done = tasks + int(counts[block, chunk]) * job.tasks_per_replicate // len(job.chunks), done + 1
                update(done, f"blocks  {rate(tasks, time.perf_counter() - started, job.unit)}")
        except KeyboardInterrupt:
            # jax stops no program that runs, and Python does not end before it.
            taken = (time.perf_counter() - started) * len(runtime.devices())
            long = f": a block takes about {duration(taken / done)}" if done else ""
            work.tell(f"stopping; blocks in flight are dropped, but this process ends only when they do{long}")
            raise
    taken = time.perf_counter() - started
    work.tell(f"{tasks:,} {job.unit} in {duration(taken)}: {rate(tasks, taken, job.unit)}, compilation included")


def _blocks(
    spec: Any, job: Job, counts: np.ndarray, pending: list[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], Leaves]]:
    """Units of work, one per device at a time; the next round is under way while one is saved."""
    launch = launcher(job.program, spec)
    width = len(runtime.devices())
    rounds = [pending[i : i + width] for i in range(0, len(pending), width)]

    def start(units: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], Tree]:
        filled = units + units[-1:] * (width - len(units))  # a last round may repeat a unit
        blocks, chunks = zip(*filled)
        return units, launch(blocks, [job.chunks[chunk] for chunk in chunks], [int(counts[unit]) for unit in filled])

    under_way = start(rounds[0])
    for following in [*rounds[1:], None]:
        units, sums = under_way
        jax.block_until_ready(sums)
        if following is not None:
            under_way = start(following)
        for i, unit in enumerate(units):
            yield unit, {name: np.asarray(leaf[i]) for name, leaf in named_leaves(sums).items()}


Launch = Callable[..., Tree]
"""(a block number per device, a chunk per device, replicates per device) -> sums, stacked over devices."""


def launcher(program: Callable, spec: Any) -> Launch:
    """One compiled program for all blocks; without replicates a launch fills its blocks."""
    compiled, sharding = _compiled(program, tuple(runtime.devices()))
    key = seed_key(spec.seed)

    def launch(blocks: Sequence[int], chunks: list[Tree], counts: Sequence[int] | None = None) -> Tree:
        first = np.array(blocks, np.int32) * np.int32(spec.block_size)
        total = first + np.asarray(spec.block_size if counts is None else counts, np.int32)
        stacked = jax.tree.map(lambda *leaves: jax.device_put(jnp.stack(leaves), sharding), *chunks)
        given = (key, jax.device_put(total, sharding), jax.device_put(first, sharding), stacked)
        return compiled(*given)(*given)

    return launch


@functools.lru_cache(maxsize=4)
def _compiled(program: Callable, devices: tuple[jax.Device, ...]) -> tuple[Callable, NamedSharding]:
    """What compiles the program on every device at once for given inputs, once for each of their shapes, and how these
    lie; kept, so that the next sweep traces nothing again."""
    mesh = jax.make_mesh((len(devices),), ("units",), axis_types=(AxisType.Auto,), devices=devices)

    def unit(key, total, first, chunk):
        sums = program(key, first[0], total[0], jax.tree.map(lambda x: x[0], chunk))
        return jax.tree.map(lambda x: x[None], sums)

    specs = (P(), P("units"), P("units"), P("units"))
    sharded = jax.shard_map(unit, mesh=mesh, in_specs=specs, out_specs=P("units"), check_vma=False)
    jitted, executables = jax.jit(sharded, compiler_options=runtime.compiler_options()), {}

    def for_inputs(*given):
        leaves, structure = jax.tree.flatten(given)
        shapes = (structure, *((leaf.shape, leaf.dtype) for leaf in leaves))
        if shapes not in executables:
            executables[shapes] = runtime.fitting(jitted.lower(*given).compile(), devices)
        return executables[shapes]

    return for_inputs, NamedSharding(mesh, P("units"))


def bound(block_sums: Callable, spec: Any) -> Callable:
    """The program of a sweep: the same object for all specifications that differ in seed and replicates alone."""
    return _bound(block_sums, dataclasses.replace(spec, seed=0, replicates=2))


@functools.lru_cache(maxsize=4)
def _bound(block_sums: Callable, spec: Any) -> Callable:
    return functools.partial(block_sums, spec)


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


def duration(seconds: float) -> str:
    """Seconds in words."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
