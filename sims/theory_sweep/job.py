"""The program of a theory sweep: one replicate is one draw of every study; its blocks, sums and results."""

import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from sims.engine import runtime
from sims.engine.finite import GROUP_SIZE
from sims.engine.precision import Errors, name_cell, relative
from sims.engine.run import Job, bound
from sims.engine.store import Store, save_results
from sims.engine.sums import merged, over_groups
from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies import STUDIES
from w2s_jax import statistics
from w2s_jax.rng import replicate_key, stream
from w2s_jax.types import Key

Sums = dict[str, statistics.Summary]
"""The summary of each study, by name."""


def block_sums(spec: TheorySpec, key: Key, first: Array, total: Array, inputs: dict) -> Sums:
    """Summaries of replicates first, ..., first + block_size - 1, of which only those below `total` count."""

    def summarize(start: Array) -> Sums:
        index = start + jnp.arange(GROUP_SIZE)
        samples = jax.lax.map(lambda i: replicate(spec, replicate_key(key, i), inputs), index)
        counts = (index < total).astype(float)
        return {name: statistics.summarize(samples[name], counts) for name in samples}

    def merge(a: Sums, b: Sums) -> Sums:
        return {name: statistics.merge(a[name], b[name]) for name in a}

    return over_groups(summarize, merge, first + GROUP_SIZE * jnp.arange(spec.block_size // GROUP_SIZE))


def replicate(spec: TheorySpec, key: Key, inputs: dict) -> dict[str, Array]:
    """One draw of every study, `[*axes quantities]`."""
    return {name: STUDIES[name].simulate(spec, stream(key, name), inputs[name]) for name in spec.studies}


def assemble(spec: TheorySpec, store: Store, counts: np.ndarray, staging: Path) -> None:
    """Merge the blocks in float64 and write the results."""
    variables, coords = {}, {}
    for name, summary in _merged(spec, store, np.arange(len(counts))).items():
        study = STUDIES[name]
        every = {f"{name}_{axis}": values for axis, values in study.axes(spec).items()}
        names, dims = np.array(study.quantities(spec)), tuple(every)
        coords |= {dim: np.array(values) for dim, values in every.items()}
        coords |= {f"{name}_quantity": names, f"{name}_quantity_2": names}
        parts = {
            "mean": (summary.mean, (*dims, f"{name}_quantity"), "mean"),
            "sem": (statistics.sem(summary), (*dims, f"{name}_quantity"), "standard error of the mean"),
            "cov": (
                statistics.covariance(summary),
                (*dims, f"{name}_quantity", f"{name}_quantity_2"),
                "covariance of the quantities of one replicate",
            ),
        }
        for part, (values, where, text) in parts.items():
            variables[f"{name}_{part}"] = (where, values, {"long_name": f"{name}: {text}"})
    count = int(counts.sum())
    variables["num_replicates"] = ((), np.array(count), {"long_name": "independent replicates", "units": "1"})
    save_results(xr.Dataset(variables, coords), staging)


def relative_sem(spec: TheorySpec, store: Store, blocks: np.ndarray, chunk: int) -> Errors:
    """Relative standard errors of the quantities that are risks, all studies in one row."""
    values, words = [], []
    for name, summary in _merged(spec, store, blocks).items():
        quantities, axes = STUDIES[name].quantities(spec), STUDIES[name].axes(spec)
        # Those of `relaxed` are called after the methods.
        risks = [i for i, q in enumerate(quantities) if q.endswith("risk") or name == "relaxed"]
        found = relative(statistics.sem(summary), summary.mean)[..., risks]
        named = {**axes, "quantity": [quantities[i] for i in risks]}
        values.append(found.ravel())
        words += [f"{name}: {name_cell(named, at)}" for at in np.ndindex(found.shape)]
    return Errors(np.concatenate(values), lambda at: words[at[0]])


def holes(spec: TheorySpec) -> dict[str, np.ndarray | bool]:
    """The sums that are NaN by design."""
    found = {name: np.asarray(STUDIES[name].holes(spec)) for name in spec.studies}
    means = {f"{name}.mean": held for name, held in found.items() if held.any()}
    pairs = {f"{name}.comoment": held[..., :, None] | held[..., None, :] for name, held in found.items() if held.any()}
    return means | pairs


def _merged(spec: TheorySpec, store: Store, blocks: np.ndarray) -> Sums:
    read = [store.read(int(block), 0) for block in blocks]
    return {name: merged(read, f"{name}.") for name in spec.studies}


def prepare(spec: TheorySpec) -> Job:
    """The studies, and the program that fills a block of them."""
    inputs = {name: STUDIES[name].inputs(spec) for name in spec.studies}
    shapes = jax.eval_shape(lambda: replicate(spec, jax.random.key(0), inputs))
    cells = sum(math.prod(leaf.shape[:-1]) for leaf in shapes.values())
    seconds = sum(STUDIES[name].seconds for name in spec.studies)
    blocks = math.ceil(spec.replicates / spec.block_size)
    return Job(
        program=bound(block_sums, spec),
        chunks=[inputs],
        assemble=partial(assemble, spec),
        plan=[
            f"{len(spec.studies)} studies, {cells:,} cells x {spec.replicates:,} independent replicates",
            f"{blocks} blocks of {spec.block_size:,} replicates on {len(runtime.devices())} devices",
        ],
        seconds=30 + seconds * spec.replicates / 2,
        tasks_per_replicate=cells,
        relative_sem=partial(relative_sem, spec),
        holes=holes(spec),
    )
