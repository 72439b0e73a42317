"""Several networks at once: on CPUs one after another on each device, on accelerators side by side by `vmap`.

On two cores `vmap` took up to 1.5 times as long (docs/transformers.md)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sims.engine import runtime


def lanes(count: int) -> NamedSharding:
    """`count` networks over as many devices as divide them evenly."""
    devices = runtime.devices()
    width = max(n for n in range(1, len(devices) + 1) if count % n == 0)
    mesh = jax.make_mesh((width,), ("networks",), axis_types=(AxisType.Auto,), devices=devices[:width])
    return NamedSharding(mesh, PartitionSpec("networks"))


def spread(one: Callable[[Any], Any], over: NamedSharding) -> Callable[[Any], Any]:
    """`one` for every network of a stacked pytree."""
    several = functools.partial(jax.lax.map, one) if jax.default_backend() == "cpu" else jax.vmap(one)
    return jax.shard_map(several, mesh=over.mesh, in_specs=over.spec, out_specs=over.spec, check_vma=False)
