"""The store of a sweep: a zarr group whose blocks survive a kill and whose results appear all at once.

    DIR/risk_sweep.zarr/
        zarr.json       configuration, seed, versions, provenance; `complete` = replicates in the results
        blocks/         one zarr chunk per block of work, and `done`, written when its data is on the disk; in its
                        attributes the expected contents and the origin of blocks (`manifest.py`)
        risk_mean, ...  the results, moved in when every block is done

Raw zarr writes the blocks, each with its checksum; xarray reads the results.
"""

import contextlib
import dataclasses
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from sims.engine import manifest
from sims.engine.checked import InputError, from_json, identity, to_json
from sims.engine.disk import DurableStore, move, saving, staging, sync, sync_tree

Leaves = dict[str, np.ndarray]
"""The arrays of one block, by name."""

FORMAT = 2
"""Format of the stores that are written; the root attribute `format`."""
CHANGES = {
    2: "blocks and results carry checksums, and the store says which sweep it is of",
}
"""Changes of each format. Every store can be read by xarray and drawn; only stores of the present format can grow."""

CODECS = (ZstdCodec(), Crc32cCodec())
"""Codecs of every array in a store: a flipped bit is an error when it is read."""


class Store:
    """One sweep on disk. `Store.open` resumes or creates; nothing is written before every check has passed."""

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self.path, self.group = path, group
        try:
            self._find_arrays()
        except Exception as error:
            raise _corrupt(path, error) from error

    @classmethod
    def open(
        cls, path: Path, spec, shape: tuple[int, int], leaves: Leaves, origin: dict, sweep: str | None = None
    ) -> "Store":
        """The store at `path`, created for `shape` = (blocks, chunks) of arrays like `leaves`, or grown to it.

        `origin` describes the run, and `sweep` names the sweep, if that is not the name of the folder.
        """
        with saving(path, "making or growing the store"):
            if not path.exists():
                _create(path, spec, shape, leaves, origin, sweep or path.stem)
            check_format(path)
            completed(path, spec)
            store = cls(path, _open_group(path, writable=True))
            store._grow(spec, shape)
        return store

    @classmethod
    def look(cls, path: Path) -> "Store":
        """The store at `path`, to be read only, be it on read-only media."""
        return cls(path, _open_group(path))

    def pending(self, counts: np.ndarray) -> list[tuple[int, int]]:
        """The (block, chunk) pairs that do not yet hold `counts[block, chunk]` replicates; 0 asks for none."""
        try:
            held = np.asarray(self.done[: len(counts)])
        except Exception as error:
            raise InputError(
                f"every mark of a finished block must be readable, but one of {self.path} is not "
                f"({type(error).__name__}); {_repair(self.path)}."
            ) from error
        return [(int(b), int(c)) for b, c in np.argwhere((counts > 0) & (held != counts))]

    def marks(self) -> np.ndarray:
        """Replicates that each block holds, `[blocks, chunks]`; -1 where the mark itself cannot be read."""
        with contextlib.suppress(Exception):
            return np.asarray(self.done[...])
        held = np.full(self.done.shape, -1)
        for where in np.ndindex(self.done.shape):
            with contextlib.suppress(Exception):
                held[where] = self.done[where]
        return held

    def begin(self, origin: dict, units: list[manifest.Unit]) -> None:
        """Record the run that is about to compute these blocks; called by one process of a run."""
        about = {}
        if "leaves" not in self.about:  # made by a version that noted nothing
            about = {"leaves": self._shapes(), "settings": manifest.settings()}
        if units:
            about["runs"] = manifest.with_run(self.about.get("runs", []), origin, units)
        if about:
            with saving(self.path, "recording the run"):
                self._note(**about)

    def origins(self) -> list[tuple[dict, int]]:
        """Origins of the finished blocks, and their replicates of a cell: several runs may have written a store.

        What no run has noted is the work of the one that made the store, as far as that is known.
        """
        marks, found = np.maximum(self.marks(), 0), []
        for run in self.about.get("runs", []):
            there = [unit for unit in manifest.units_of(run) if unit[0] < len(marks) and marks[unit] > 0]
            if there:
                found.append(({key: run[key] for key in run if key != "blocks"}, sum(int(marks[u]) for u in there)))
                for unit in there:
                    marks[unit] = 0
        if marks.any():
            names = ("versions", "device", "commit", "created")
            first = {name: self.group.attrs[name] for name in names if name in self.group.attrs}
            found.insert(0, (first, int(marks.sum())))
        return found

    def lacking(self) -> list[str]:
        """Names of sums that every block must hold, and none does: their arrays are gone."""
        return [name for name in self.about.get("leaves", {}) if name not in self.arrays]

    def make_anew(self) -> None:
        """Make the arrays that are lacking, and have all blocks computed again."""
        if not (lacking := self.lacking()):
            return
        self.done[...] = 0
        for name in lacking:
            shutil.rmtree(self.path / "blocks" / name, ignore_errors=True)
            dtype, *shape = self.about["leaves"][name]
            _create_leaf(self.group["blocks"], name, self.done.shape, tuple(shape), dtype)
        self._find_arrays()

    def write(self, block: int, chunk: int, count: int, leaves: Leaves) -> None:
        """Save one block: its data first, then the mark that it is there."""
        with saving(self.path, f"writing block {block}, chunk {chunk}"):
            if self.done[block, chunk] != 0:  # fewer replicates: what it holds is about to be replaced
                self.unmark(block, chunk)
            with ThreadPoolExecutor() as pool:  # most of it is waiting for the disk
                list(pool.map(lambda name: self._write_chunk(name, block, chunk, leaves[name]), leaves))
            self.done[block, chunk] = count

    def unmark(self, block: int, chunk: int) -> None:
        """Mark a block to be recomputed by the next run."""
        self.done[block, chunk] = 0

    def read(self, block: int, chunk: int) -> Leaves:
        """The arrays of one block."""
        self._check_parts()
        try:
            return {name: self._read_chunk(array, block, chunk) for name, array in self.arrays.items()}
        except Exception as error:
            raise InputError(
                f"every block of a store must be readable, but block {block}, chunk {chunk} of {self.path} is not "
                f"({type(error).__name__}); {_repair(self.path)}."
            ) from error

    def publish(self, folder: Path, complete: int, **attributes) -> None:
        """Move finished result arrays from `folder` into the store, and mark them complete when all are there.

        A kill in between leaves `complete` at 0, and the next run assembles the results again.
        """
        sync_tree(folder)
        self.withdraw()
        arrays = sorted(p for p in folder.iterdir() if p.is_dir())
        results = [array.name for array in arrays]
        for array in arrays:
            shutil.rmtree(self.path / array.name, ignore_errors=True)
            move(array, self.path / array.name)
        sync(self.path)
        self._note(results=results)
        # Not every format of files has a value for None: what is not known is not there.
        kept = {name: value for name, value in self.group.attrs.asdict().items() if name not in attributes}
        known = {name: value for name, value in attributes.items() if value is not None}
        self.group.attrs.put({**kept, "complete": complete, **known})

    def withdraw(self) -> None:
        """Mark the results to be assembled again by the next run."""
        self.group.attrs["complete"] = 0

    def _write_chunk(self, name: str, block: int, chunk: int, value: np.ndarray) -> None:
        self.arrays[name][block, chunk] = value

    def _read_chunk(self, array: zarr.Array, block: int, chunk: int) -> np.ndarray:
        file = self.path / array.path / array.metadata.encode_chunk_key((block, chunk, *(0,) * (array.ndim - 2)))
        if array.size and not file.exists():  # zarr would give the fill value
            raise FileNotFoundError(file)
        return np.asarray(array[block, chunk])

    def _find_arrays(self) -> None:
        # A chunk of nothing but fill values is written too, so that a missing file is a missing block.
        with zarr.config.set({"array.write_empty_chunks": True}):
            blocks = self.group["blocks"]
            self.about: dict[str, Any] = blocks.attrs.asdict()
            # A folder that is no array, such as an editor or a file browser leaves, is none of ours.
            there = sorted(p.parent.name for p in (self.path / "blocks").glob("*/zarr.json"))
            self.arrays = {name: blocks[name] for name in there if name in self.about.get("leaves", there)}
            self.done = blocks["done"]
        self.arrays.pop("done", None)

    def _shapes(self) -> dict[str, list]:
        return {name: [str(array.dtype), *array.shape[2:]] for name, array in self.arrays.items()}

    def _note(self, **about) -> None:
        self.group["blocks"].attrs.update(about)
        self.about |= about

    def check(self, leaves: Leaves, chunks: int) -> None:
        """Raise an `InputError` unless all blocks exist and match these sums, number of chunks and jax's settings."""
        manifest.check_settings(self.path, self.about.get("settings", {}))
        self._check_parts()
        manifest.check_shapes(self.path, self._shapes(), self.done.shape[1], manifest.shapes_of(leaves), chunks)

    def _check_parts(self) -> None:
        if lacking := self.lacking():
            raise InputError(
                f"a store must hold blocks/{lacking[0]}, which is missing in {self.path}; {_repair(self.path)}."
            )

    def _grow(self, spec, shape: tuple[int, int]) -> None:
        if spec.replicates > from_json(type(spec), self.group.attrs["config"]).replicates:
            self.group.attrs["config"] = to_json(spec)
        if self.done.shape[0] < shape[0]:
            # `done` last: a kill in between leaves arrays that are too long, never a mark without its array.
            for array in (*self.arrays.values(), self.done):
                array.resize((max(shape[0], array.shape[0]), *array.shape[1:]))
            self._find_arrays()


def check_store(path: Path, spec) -> int:
    """Replicates in the results of the store at `path`; 0 where there are none yet. Reads only.

    Raises `InputError` if the path cannot hold a store of this configuration.
    """
    parent = path.parent
    if parent.exists() and not parent.is_dir():
        raise InputError(f"--out must be a directory, got the file {parent}; choose another path.")
    if path.exists():
        check_format(path)
    complete = completed(path, spec)
    if path.exists() and complete < spec.replicates:
        manifest.check_settings(path, _open_group(path)["blocks"].attrs.get("settings", {}))
    if complete != spec.replicates:
        _check_writable(parent)
    return complete


def completed(path: Path, spec) -> int:
    """Replicates in the results of the store at `path`, of any format; 0 where there are none yet.

    Raises `InputError` if it is a store of another configuration.
    """
    if not path.exists():
        return 0
    attributes = _open_group(path).attrs
    try:
        held = from_json(type(spec), attributes["config"])
        complete = int(attributes["complete"])
    except Exception as error:
        raise _corrupt(path, error) from error
    if identity(held) != identity(spec):
        raise InputError(
            f"a store holds one configuration, but {path} differs in {_differences(held, spec)}; "
            f"choose another --out or move that store away."
        )
    return complete


def check_format(path: Path) -> None:
    """Refuse to go on with a store that another version of this program wrote."""
    held = _open_group(path).attrs.get("format", 1)
    if held == FORMAT:
        return
    later = "a later version of this program wrote it; go on with that version"
    changes = "; ".join(text for number, text in CHANGES.items() if isinstance(held, int) and number > held)
    earlier = f"since then {changes}; its results can still be read and drawn, and to go on, run it again with"
    raise InputError(
        f"a store must have format {FORMAT}, but {path} has format {held}: "
        + (f"{earlier} --from {path} --out ANOTHER_FOLDER." if changes else f"{later}.")
    )


def read_config(path: Path, kind: type):
    """The specification that a store was made from."""
    if not path.exists():
        raise InputError(f"--from must name a store, but there is none at {path}; give the path of a .zarr folder.")
    attributes = _open_group(path).attrs
    try:
        return from_json(kind, attributes["config"])
    except InputError:
        raise
    except Exception as error:
        raise _corrupt(path, error) from error


def save_results(data: xr.Dataset, folder: Path) -> None:
    """Write results, or the coordinates of results to come, into the folder from which they will be published."""
    encoding = {name: {"compressors": CODECS} for name in data.variables}
    for coordinate in data.coords.values():
        if coordinate.dtype.kind == "U":  # a type that not every reader of zarr knows, so once more in words
            coordinate.attrs["labels"] = " ".join(coordinate.values.ravel())
    data.to_zarr(folder, mode="w", zarr_format=3, consolidated=False, encoding=encoding)


def check_disk(path: Path, needed: int) -> None:
    """Refuse to start what will not fit."""
    folder = next(p for p in (path, *path.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"the disk must hold {needed / 1e6:,.0f} MB for this sweep, but {folder} has {free / 1e6:,.0f} MB free; "
            f"free some space, choose another --out or shorten the grid."
        )


def _check_writable(folder: Path) -> None:
    existing = next((p for p in (folder, *folder.parents) if p.exists()), None)
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"--out must be a folder that can be written, got {folder}; choose another path.")


def _create(path: Path, spec, shape: tuple[int, int], leaves: Leaves, origin: dict, sweep: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with staging(path) as folder:
        new = folder / path.name
        group = zarr.open_group(str(new), mode="w", zarr_format=3)
        own = {"format": FORMAT, "sweep": sweep, "config": to_json(spec), "identity": identity(spec)}
        group.attrs.update({**own, "complete": 0, **manifest.flat(origin)})
        blocks = group.create_group("blocks")
        blocks.attrs.update({"leaves": manifest.shapes_of(leaves), "settings": manifest.settings()})
        for name, leaf in leaves.items():
            _create_leaf(blocks, name, shape, leaf.shape, leaf.dtype)
        _create_leaf(blocks, "done", shape, (), "int64")
        sync_tree(new)
        new.rename(path)
        sync(path.parent)


def _create_leaf(blocks: zarr.Group, name: str, shape: tuple[int, int], own: tuple[int, ...], dtype) -> None:
    # Dimensions have names, so that a reader who opens every group of the store meets no nameless one.
    blocks.create_array(
        name,
        shape=(*shape, *own),
        chunks=(1, 1, *(max(1, size) for size in own)),
        dtype=dtype,
        fill_value=0,
        compressors=CODECS,
        dimension_names=("block", "chunk", *(f"{name}_{axis}" for axis in range(len(own)))),
    )


def _open_group(path: Path, writable: bool = False) -> zarr.Group:
    try:
        where, mode = (DurableStore(path), "r+") if writable else (str(path), "r")
        group = zarr.open_group(where, mode=mode, zarr_format=3, use_consolidated=False)
        if group["blocks"]["done"].ndim != 2:
            raise ValueError("marks must be a table of blocks and chunks")
    except Exception as error:
        raise _corrupt(path, error) from error
    return group


def _corrupt(path: Path, error: Exception) -> InputError:
    return InputError(
        f"a store must be a readable zarr group with a configuration, but {path} is not ({type(error).__name__}); "
        f"move it away and run the sweep again."
    )


def _repair(path: Path) -> str:
    return f"compute it again with: python -m sims.inspect {path} --repair"


def _differences(held, wanted) -> str:
    def shown(value) -> str:
        text = json.dumps(value)
        return text if len(text) <= 60 else text[:57] + "..."

    a, b = dataclasses.asdict(held), dataclasses.asdict(wanted)
    changed = [name for name in b if a[name] != b[name] and name != "replicates"]
    return "; ".join(f"{name} ({shown(a[name])} in the store, {shown(b[name])} asked for)" for name in changed)
