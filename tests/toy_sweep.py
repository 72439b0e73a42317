"""A sweep that compiles in no time: every path of engine and store, and a mean of normal draws for a risk."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from sims import inspect
from sims.engine import cli
from sims.engine.run import Job
from sims.engine.run import run as run_sweep
from sims.engine.store import save_results
from sims.sweeps import Sweep
from tests import helpers
from w2s_jax.rng import replicate_key


@dataclasses.dataclass(frozen=True)
class ToySpec:
    """Three cells, each a normal draw, in two chunks."""

    cells: tuple[int, ...] = (0, 1, 2)
    replicates: int = 10
    block_size: int = 5
    seed: int = 0


def program(key, first, total, chunk):
    index = first + jnp.arange(5)
    draws = jax.vmap(lambda i: jax.random.normal(replicate_key(key, i), (3,)) + chunk)(index)
    weight = (index < total).astype(float)
    return {"count": weight.sum(), "risk": weight @ draws, "nothing": jnp.zeros(2), "empty": jnp.zeros((2, 0))}


def assemble(store, counts, folder: Path) -> None:
    blocks = [[store.read(b, c) for b in range(len(counts))] for c in range(2)]
    mean = np.array([sum(b["risk"] for b in column) / sum(b["count"] for b in column) for column in blocks])
    save_results(xr.Dataset({"risk": (("chunk", "cell"), mean), "void": (("cell",), np.full(3, np.nan))}), folder)


def prepare(spec: ToySpec) -> Job:
    chunks = [jnp.zeros(3), jnp.arange(3.0)]
    return Job(program, chunks, assemble, plan=["toy"], seconds=1, tasks_per_replicate=6)


def run(out: Path, **fields) -> int:
    """The exit code of a command that runs the toy sweep into `out`."""

    def act() -> None:
        run_sweep("toy", ToySpec(**fields), prepare, out)

    return cli.guarded(act)


def load(out: Path) -> xr.Dataset:
    return helpers.load(out / "toy.zarr")


def assert_same_results(out: Path, other: Path) -> None:
    helpers.assert_same_results(load(out), load(other))


SWEEP = Sweep("toy", ToySpec, {"quick": ToySpec()}, lambda spec, out: prepare(spec))
"""The toy sweep in the form that `sims.inspect` reads."""


def look(out: Path, *options: str) -> int:
    """The exit code of `sims.inspect` on a toy store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(inspect.SWEEPS, "toy", SWEEP)
        return inspect.main([str(out / "toy.zarr"), *options])


def one_error(capsys) -> str:
    """The only line on stderr that reports an error."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def edit_metadata(folder: Path, change: Callable[[dict], None]) -> None:
    """Change the attributes of a group in place."""
    metadata = json.loads((folder / "zarr.json").read_text())
    change(metadata["attributes"])
    (folder / "zarr.json").write_text(json.dumps(metadata))


def set_format(store: Path, number) -> None:
    """Give a store another version of the format, or none."""
    edit_metadata(store, lambda held: held.pop("format") if number is None else held.update(format=number))


def without_manifest(out: Path) -> None:
    """Make a store one of version 0.1.0: blocks have no attributes, versions are a dict, what is not known is None."""
    edit_metadata(out / "toy.zarr" / "blocks", dict.clear)
    known = {"versions": {"w2s_jax": "0.1.0", "jax": "0.9.2"}, "target_sem": None}
    edit_metadata(out / "toy.zarr", lambda held: held.update(known))


def flip_a_bit(path: Path) -> None:
    """Damage a file as a disk may."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
