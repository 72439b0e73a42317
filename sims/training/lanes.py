"""Several networks at once: on CPUs one after another on each device, on accelerators side by side by `vmap`.

On two cores `vmap` took up to 1.5 times as long (docs/transformers.md)."""

import functools
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sims.engine import runtime

Name = TypeVar("Name", bound=Hashable)


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


def one_by_one(
    one: Callable[[Any], Any], given: Mapping[Name, Any], axes: Mapping[Name, tuple[int, ...]]
) -> dict[Name, Any]:
    """`one` of everything that is given under a name with leading axes, by one program that takes it in turn.

    >>> found = one_by_one(lambda x: 2 * x, {"a": jnp.ones((2, 3)), "b": jnp.ones(())}, {"a": (2, 3), "b": ()})
    >>> found["a"].shape, float(found["b"])
    ((2, 3), 2.0)
    """
    if not given:
        return {}
    flat = [
        jax.tree.map(lambda x, shape=axes[name]: x.reshape(-1, *x.shape[len(shape) :]), own)
        for name, own in given.items()
    ]
    all_found = jax.lax.map(one, jax.tree.map(lambda *parts: jnp.concatenate(parts), *flat))
    found, start = {}, 0
    for name in given:
        shape = axes[name]
        cut = slice(start, start + math.prod(shape))
        found[name] = jax.tree.map(lambda x, cut=cut, shape=shape: x[cut].reshape(*shape, *x.shape[1:]), all_found)
        start = cut.stop
    return found
