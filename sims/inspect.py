"""Prints what a store holds, its origin, its progress and whether it is sound, and repairs it.

    python -m sims.inspect STORE [--repair]

reads every finished block and the results against their checksums. Exit code 0: sound; 1: something is damaged; 2:
this is no store that can be inspected. `--repair` recomputes damaged blocks, to the same bits.
"""

import argparse
import dataclasses
import functools
import sys
import textwrap
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sims.engine import cli, manifest, runtime
from sims.engine.checked import InputError, identity
from sims.engine.disk import followed, saving
from sims.engine.lock import RunLock, alive, owners
from sims.engine.precision import Target, first_counts, read_published
from sims.engine.run import Options, run_at
from sims.engine.store import Store, check_format, read_config
from sims.sweeps import SWEEPS, Sweep

WIDTH = 120


class Fault(NamedTuple):
    """Something in a store that does not read back."""

    what: str
    why: str
    block: tuple[int, int] | None = None
    """(block, chunk); None for a result."""


def find_faults(store: Store) -> list[Fault]:
    """Read every block that is marked, every mark, and the results where there are any."""
    return [*_faults_of_blocks(store), *_faults_of_results(store)]


def _faults_of_blocks(store: Store) -> Iterator[Fault]:
    marks = store.marks()
    if lacking := store.lacking():
        yield from (Fault(f"blocks/{name}", "is missing, so that every block is") for name in lacking)
        return
    for block, chunk in np.argwhere(marks).tolist():
        where = f"block {block}, chunk {chunk}"
        if marks[block, chunk] < 0:
            yield Fault(f"the mark of {where}", "does not read back", (block, chunk))
            continue
        try:
            store.read(block, chunk)
        except InputError as error:
            yield Fault(where, f"{type(error.__cause__).__name__}: {error.__cause__}", (block, chunk))


def _faults_of_results(store: Store) -> Iterator[Fault]:
    if not read_published(store.path).complete:
        return
    there = {p.parent.name for p in store.path.glob("*/zarr.json")} - {"blocks"}
    for name in sorted(there | set(store.about.get("results", []))):
        if name not in there:
            yield Fault(f"result {name}", "is missing")
            continue
        try:
            array = store.group[name]
            array[...]
            if array.nchunks_initialized < array.nchunks:
                yield Fault(f"result {name}", f"{array.nchunks - array.nchunks_initialized} of its files are missing")
        except Exception as error:
            yield Fault(f"result {name}", f"{type(error).__name__}: {error}")


def repair(path: Path) -> None:
    """Take back the marks of damaged blocks and the results, and run what is then missing of the sweep."""
    with RunLock(path, run=uuid.uuid4().hex[:12]), saving(path, "taking back the marks of damaged blocks"):
        # Read again now that no run can change it: since the first look one may have.
        sweep = _sweep_of(Store.look(path))
        spec, held = read_config(path, sweep.kind), read_published(path)
        store = Store.open(path, spec, (0, 0), {}, {})
        manifest.check_settings(path, store.about.get("settings", {}))
        store.make_anew()
        for fault in find_faults(store):
            if fault.block:
                store.unmark(*fault.block)
        store.withdraw()
    target = Target(held.target_sem, held.max_replicates) if held.target_sem and held.max_replicates else None
    with runtime.restored():
        runtime.configure()
        prepare = functools.partial(sweep.prepare, out=path.parent)
        run_at(path, store.group.attrs["sweep"], spec, prepare, Options(target=target))


def describe(store: Store, spec: Any) -> Iterator[tuple[str, str]]:
    """What a store holds, as lines under headings."""
    attributes = defaultdict(lambda: "unknown", store.group.attrs.asdict())
    files = [p.stat().st_size for p in store.path.rglob("*") if p.is_file()]
    yield "store", f"{store.path}, format {attributes['format']}, {sum(files) / 1e6:,.2f} MB in {len(files):,} files"
    presets = _sweep_of(store).presets
    preset = next((f"preset {name}" for name, known in presets.items() if identity(known) == identity(spec)), "its own")
    yield "sweep", f"{attributes['sweep']}, {preset}, identity {attributes['identity']}"
    fields = dataclasses.asdict(spec)
    for name, values in fields.items():
        if isinstance(values, tuple) and values:
            yield "grid", f"{name}: {', '.join(map(str, values))}"
    yield "grid", ", ".join(f"{name} {value}" for name, value in fields.items() if not isinstance(value, tuple))
    if "leaves" not in store.about:
        yield "store", "made by an earlier version, which recorded neither expected contents nor runs"
    yield "provenance", f"created {attributes['created']}, commit {attributes['commit']}, on {attributes['device']}"
    yield "provenance", manifest.words(attributes["versions"])
    if len(origins := store.origins()) > 1:
        for origin, count in origins:
            known = defaultdict(lambda: "unknown", origin)
            versions = manifest.words(known["versions"])
            yield (
                "provenance",
                (
                    f"{count:,} replicates of a chunk of the grid: {known['created']}, commit {known['commit']}, on "
                    f"{known['device']}, {versions}"
                ),
            )
    for line in _progress(store, spec):
        yield "progress", line
    held = owners(store.path)
    yield "lock", "free" if not held else ""
    for owner in held:
        who = f"process {owner['pid']} on {owner['host']}, rank {owner['rank']}, since {owner['started']}"
        yield "lock", f"held by {who}, {owner['state']}" if alive(owner) else f"left behind by {who}, which is gone"


def _progress(store: Store, spec: Any) -> Iterator[str]:
    marks, published = np.maximum(store.marks(), 0), read_published(store.path)
    wanted = first_counts(published, spec, marks.shape[1], None)
    both = min(len(marks), len(wanted))
    finished = np.count_nonzero((wanted[:both] > 0) & (marks[:both] >= wanted[:both]))
    grid = "" if marks.shape[1] == 1 else f", of {marks.shape[1]} chunks of the grid"
    yield f"{finished:,} of {np.count_nonzero(wanted):,} blocks{grid}"
    held = marks.sum(axis=0)
    if held.min() == held.max():
        yield f"{held[0]:,} of {spec.replicates:,} replicates of every cell"
    else:
        yield f"of {spec.replicates:,} replicates, by chunk of the grid: {', '.join(f'{n:,}' for n in held)}"
    complete = published.complete
    yield f"results are there, of {complete:,} replicates" if complete else "results are not there yet"


def _sweep_of(store: Store) -> Sweep:
    name = store.group.attrs.get("sweep")
    if name not in SWEEPS:
        raise InputError(
            f"a store must be of {', '.join(SWEEPS)}, but {store.path} is of {name}; give the path of one of those."
        )
    return SWEEPS[name]


def _say(heading: str, line: str) -> None:
    print(textwrap.fill(line, WIDTH, initial_indent=f"{heading:<12}", subsequent_indent=" " * 14))


def inspect(path: Path, mend: bool) -> int:
    """Print what the store at `path` holds, repair it if asked to, and return the exit code."""
    path = followed(path)
    if not path.is_dir():
        raise InputError(f"STORE must be the folder of a store, but there is none at {path}; give a .zarr folder.")
    inside = sorted(found.name for found in path.glob("*.zarr"))
    if inside and not (path / "zarr.json").exists():
        raise InputError(
            f"STORE must be one store, but {path} is a folder of stores: {', '.join(inside)}; give one of them."
        )
    check_format(path)
    store = Store.look(path)
    spec = read_config(path, _sweep_of(store).kind)
    last = ""
    for heading, line in describe(store, spec):
        if line:
            _say(heading if heading != last else "", line)
            last = heading
    faults = find_faults(store)
    if faults and mend:
        _say_health(store, faults)
        repair(path)
        store = Store.look(path)
        faults = find_faults(store)
    _say_health(store, faults)
    return 1 if faults else 0


def _say_health(store: Store, faults: list[Fault]) -> None:
    if not faults:
        _say("health", f"sound: all {np.count_nonzero(store.marks()):,} finished blocks and the results read back")
        return
    _say("health", f"{len(faults):,} faults; --repair computes what is damaged again")
    for fault in faults:
        _say("", f"{fault.what}: {fault.why}")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.inspect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", metavar="STORE", type=Path, help="a .zarr folder that a sweep wrote")
    parser.add_argument("--repair", action="store_true", help="compute damaged blocks and results again")
    options = parser.parse_args(argv)
    return cli.guarded(lambda: inspect(options.store, options.repair))


if __name__ == "__main__":
    sys.exit(main())
