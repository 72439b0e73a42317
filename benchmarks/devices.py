"""JAX's devices, as its contenders and the limits of the machine use them: all at once, each on work of its own."""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.timing import available_cores


class Machine(NamedTuple):
    """What a run was measured on."""

    name: str
    cores: int
    accelerators: int
    """Devices of JAX that are no processor cores."""


def start(devices: int) -> None:
    """Set JAX up as the sweeps do, one device a core, and compile everything anew: a first run's time is reported."""
    import jax

    from sims import runtime

    runtime.configure(devices)
    jax.config.update("jax_enable_compilation_cache", False)


def on_every_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """One program, compiled as a sweep's, that runs `function` on every device, on its slice of the first axis."""
    import jax
    from jax.sharding import AxisType
    from jax.sharding import PartitionSpec as P

    from sims.runtime import compiler_options

    mesh = jax.make_mesh((jax.device_count(),), ("device",), axis_types=(AxisType.Auto,))
    return jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=P("device"), out_specs=P("device"), check_vma=False),
        compiler_options=compiler_options(),
    )


def machine() -> Machine:
    """This machine; it starts JAX, so it is asked in a process of its own."""
    import jax

    from sims.runtime import cpu_name

    cores, device = available_cores(), jax.devices()[0]
    name = f"{cores} cores of {cpu_name()}"
    if device.platform == "cpu":
        return Machine(name, cores, 0)
    return Machine(f"{jax.device_count()} x {device.device_kind}, {name}", cores, jax.device_count())
