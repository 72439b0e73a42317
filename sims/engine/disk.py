"""How bytes reach the disk: on it, whole, before they have their name; and one sentence where they cannot."""

import asyncio
import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import zarr
from zarr.storage import LocalStore

from sims.engine.checked import InputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
UNKNOWN = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.ENOTTY)
"""What file systems answer that know no such call."""

_told: set[str] = set()


class DurableStore(LocalStore):
    """zarr's store of local files, of which neither a kill nor a power cut leaves a part."""

    async def set(self, key, value) -> None:
        """Save a file under its key."""
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key, value) -> None:
        """The same, for callers without an event loop."""
        # Under a name beside the store until it is whole: what a kill leaves there is cleared by the next run.
        new = self.root.parent / f".{self.root.name}.{uuid.uuid4().hex}"
        write_durably(new, self.root / key, value.to_bytes())


def write_durably(new: Path, path: Path, data: bytes) -> None:
    """Write a file as `new`, and give it the name `path` when it is on the disk."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with new.open("xb") as file:
            file.write(data)
        sync(new)
        _rename(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    for folder in {path.parent, *(folder.parent for folder in made)}:
        sync(folder)


def _rename(new: Path, path: Path) -> None:
    try:
        new.replace(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A part of the store lies on another disk: there once more, under a name beside the final one.
        near = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            shutil.copyfile(new, near)
            sync(near)
            near.replace(path)
        finally:
            near.unlink(missing_ok=True)
        new.unlink()


def move(folder: Path, target: Path) -> None:
    """Give a folder another name, on another disk too; what is moved must be on the disk."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(folder, target)
        sync_tree(target)


def followed(path: Path) -> Path:
    """Where a path leads: a store that is a symbolic link has one name and one lock, and is written on its own disk."""
    return path.resolve() if path.is_symlink() else path


def output_folder(out: Path) -> Path:
    """The folder that --out names, with ~ for the home folder.

    Raises:
        InputError: for the address of a remote store, and for a store, where the folder of stores is asked for.

    >>> output_folder(Path("results")).name
    'results'
    """
    if address := re.match(r"([a-z][a-z0-9+.-]+):/", str(out)):
        raise InputError(
            f"--out must be a folder of this machine, got an address of {address[1]}, {out}; mount it, or copy the "
            f"store there afterwards."
        )
    if out.suffix == ".zarr" or (out / "zarr.json").is_file():
        raise InputError(f"--out must be the folder of stores, got the store {out}; give --out {out.parent}.")
    try:
        return out.expanduser()
    except RuntimeError as error:
        raise InputError(f"--out must be a folder, but {out} has no home here ({error}); write it in full.") from error


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; where that cannot be known, say so once."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        if os.name != "nt" or not path.is_dir():  # Windows opens no folders
            raise
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
        kind = "folders" if path.is_dir() else "files"
        if kind not in _told:
            _told.add(kind)
            print(
                f"note: the file system of {path} cannot be asked to save {kind} at once, so a power cut, though no "
                f"kill, may lose the last ones; `python -m sims.inspect` finds what is lost.",
                file=sys.stderr,
                flush=True,
            )
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until a folder and everything below it are on the disk."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


@contextlib.contextmanager
def saving(path: Path, deed: str) -> Iterator[None]:
    """Turn a failure of the disk into one sentence; what was marked done before stays done."""
    try:
        yield
    except OSError as error:
        remedy = "look at the disk"
        if error.errno in FULL:
            remedy = "free some space, or copy the store to a larger disk"
        if error.errno in READ_ONLY:
            remedy = "make the folder writable, or copy the store to one that is"
        raise InputError(
            f"a run must be able to write its store, but {deed} failed for {path} ({error.strerror or error}); "
            f"finished blocks are kept: {remedy}, and the same command goes on from there."
        ) from error


@contextlib.contextmanager
def staging(path: Path) -> Iterator[Path]:
    """A new folder beside the store, on the same file system, so that moving out of it is a rename; removed at the end.

    A chunk of nothing but fill values is written as well, so that a missing file is a fault.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with zarr.config.set({"array.write_empty_chunks": True}):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
