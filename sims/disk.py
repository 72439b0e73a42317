"""How bytes reach the disk: on it, whole, before they have their name; and one sentence where they cannot."""

import asyncio
import contextlib
import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import zarr
from zarr.storage import LocalStore

from sims.spec import InputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


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
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    for folder in {path.parent, *(folder.parent for folder in made)}:
        sync(folder)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
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
    """A new folder beside the store, on the same file system, so that moving out of it is a rename; removed at last.

    A chunk of nothing but fill values is written as well, so that a missing file is a fault.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with zarr.config.set({"array.write_empty_chunks": True}):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
