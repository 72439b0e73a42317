"""The store of a sweep: a zarr group whose blocks survive a kill and whose results appear all at once.

    DIR/risk_sweep.zarr/
        zarr.json       configuration, seed, versions, provenance; `complete` = replicates in the results
        blocks/         one zarr chunk per block of work, and `done`, written after its data
        risk_mean, ...  the results, moved in when every block is done

Raw zarr writes the blocks; xarray reads the results.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import zarr

from sims.spec import InputError, from_json, identity, to_json

Leaves = dict[str, np.ndarray]
"""The arrays of one block, by name."""


class Store:
    """One sweep on disk. `Store.open` resumes or creates; nothing is written before every check has passed."""

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self.path, self.group = path, group
        self.blocks = group["blocks"]
        self.done = self.blocks["done"]

    @classmethod
    def open(cls, path: Path, spec, shape: tuple[int, int], leaves: Leaves, attributes: dict) -> "Store":
        """The store at `path`, created for `shape` = (blocks, chunks) of arrays like `leaves`, or grown to it."""
        if not path.exists():
            _create(path, spec, shape, leaves, attributes)
        store = cls(path, _read_group(path))
        store._grow(shape)
        return store

    def pending(self, counts: np.ndarray) -> list[tuple[int, int]]:
        """The (block, chunk) pairs that do not yet hold `counts[block]` replicates."""
        held = self.done[: len(counts)]
        return [(int(b), int(c)) for b, c in np.argwhere(held != counts[:, None])]

    def write(self, block: int, chunk: int, count: int, leaves: Leaves) -> None:
        """Save one block: its data first, then the mark that it is there."""
        for name, value in leaves.items():
            self.blocks[name][block, chunk] = value
        self.done[block, chunk] = count

    def read(self, block: int, chunk: int) -> Leaves:
        """The arrays of one block."""
        names = [name for name in self.blocks.array_keys() if name != "done"]
        try:
            return {name: np.asarray(self.blocks[name][block, chunk]) for name in names}
        except Exception as error:
            raise InputError(
                f"every block of a store must be readable, but block {block}, chunk {chunk} of {self.path} is not "
                f"({type(error).__name__}); move the store away and run the sweep again."
            ) from error

    def publish(self, staging: Path, complete: int) -> None:
        """Move finished result arrays from `staging` into the store and mark them complete."""
        self.group.attrs["complete"] = 0
        for array in sorted(p for p in staging.iterdir() if p.is_dir()):
            shutil.rmtree(self.path / array.name, ignore_errors=True)
            array.rename(self.path / array.name)
        self.group.attrs["complete"] = complete
        shutil.rmtree(staging)

    def _grow(self, shape: tuple[int, int]) -> None:
        if self.done.shape[0] < shape[0]:
            # `done` last: a kill in between leaves arrays that are too long, never a mark without its array.
            for name in [n for n in self.blocks.array_keys() if n != "done"] + ["done"]:
                array = self.blocks[name]
                array.resize((max(shape[0], array.shape[0]), *array.shape[1:]))
            self.done = self.blocks["done"]


def check_store(path: Path, spec) -> int:
    """Replicates in the results of the store at `path`; 0 where there are none yet. Reads only.

    Raises `InputError` if the path cannot hold a store of this configuration.
    """
    parent = path.parent
    if parent.exists() and not parent.is_dir():
        raise InputError(f"--out must be a directory, got the file {parent}; choose another path.")
    _check_writable(parent)
    if not path.exists():
        return 0
    attributes = _read_group(path).attrs
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


def read_config(path: Path, kind: type):
    """The specification that a store was made from."""
    if not path.exists():
        raise InputError(f"--from must name a store, but there is none at {path}; give the path of a .zarr folder.")
    attributes = _read_group(path).attrs
    try:
        return from_json(kind, attributes["config"])
    except InputError:
        raise
    except Exception as error:
        raise _corrupt(path, error) from error


def check_disk(path: Path, needed: int) -> None:
    """Refuse to start what will not fit."""
    folder = next(p for p in (path, *path.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"the disk must hold {needed / 1e6:,.0f} MB for this sweep, but {folder} has {free / 1e6:,.0f} MB free; "
            f"free some space, choose another --out or shorten the grid."
        )


def staging_folder(path: Path) -> Path:
    """A new folder beside the store, on the same file system, so that moving out of it is a rename."""
    return Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))


def _check_writable(folder: Path) -> None:
    existing = next((p for p in (folder, *folder.parents) if p.exists()), None)
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"--out must be a folder that can be written, got {folder}; choose another path.")


def _create(path: Path, spec, shape: tuple[int, int], leaves: Leaves, attributes: dict) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = staging_folder(path)
    except OSError as error:
        raise InputError(
            f"--out must be a folder that can be written, got {path.parent} ({error.strerror}); choose another path."
        ) from error
    group = zarr.open_group(str(staging), mode="w", zarr_format=3)
    group.attrs.update({"config": to_json(spec), "identity": identity(spec), "complete": 0, **attributes})
    blocks = group.create_group("blocks")
    for name, leaf in leaves.items():
        blocks.create_array(
            name, shape=(*shape, *leaf.shape), chunks=(1, 1, *(max(1, size) for size in leaf.shape)), dtype=leaf.dtype
        )
    blocks.create_array("done", shape=shape, chunks=(1, 1), dtype="int64", fill_value=0)
    staging.rename(path)


def _read_group(path: Path) -> zarr.Group:
    try:
        group = zarr.open_group(str(path), mode="r+", zarr_format=3, use_consolidated=False)
        group["blocks"]["done"][:]
    except Exception as error:
        raise _corrupt(path, error) from error
    return group


def _corrupt(path: Path, error: Exception) -> InputError:
    return InputError(
        f"a store must be a readable zarr group with a configuration, but {path} is not ({type(error).__name__}); "
        f"move it away and run the sweep again."
    )


def _differences(held, wanted) -> str:
    def shown(value) -> str:
        text = json.dumps(value)
        return text if len(text) <= 60 else text[:57] + "..."

    a, b = dataclasses.asdict(held), dataclasses.asdict(wanted)
    changed = [name for name in b if a[name] != b[name] and name != "replicates"]
    return "; ".join(f"{name} ({shown(a[name])} in the store, {shown(b[name])} asked for)" for name in changed)
