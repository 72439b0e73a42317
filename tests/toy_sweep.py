"""A sweep that compiles in no time: every path of engine and store, and a mean of normal draws for a risk."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from sims.engine import cli
from sims.engine import run as engine
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


def prepare(spec: ToySpec) -> engine.Job:
    chunks = [jnp.zeros(3), jnp.arange(3.0)]
    return engine.Job(program, chunks, assemble, plan=["toy"], seconds=1, tasks_per_replicate=6)


def run(out: Path, **fields) -> int:
    """The exit code of a command that runs the toy sweep into `out`."""

    def act() -> None:
        engine.run("toy", ToySpec(**fields), prepare, out)

    return cli.guarded(act)


def load(out: Path) -> xr.Dataset:
    return helpers.load(out / "toy.zarr")


def assert_same_results(out: Path, other: Path) -> None:
    helpers.assert_same_results(load(out), load(other))


SWEEP = Sweep("toy", ToySpec, {"quick": ToySpec()}, lambda spec, out: prepare(spec))
"""The toy sweep in the form that `sims.inspect` reads."""
