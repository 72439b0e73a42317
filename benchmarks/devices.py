"""JAX's devices, as its contenders and the limits of the machine use them: all at once, each on work of its own."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.timing import available_cores


class Machine(NamedTuple):
    """What a run was measured on."""

    name: str
    cores: int
    accelerators: int
    """Devices of JAX that are no processor cores."""
    commit: str = "unknown"
    """Commit of the code that is measured; with `-dirty` where it has uncommitted changes."""
    versions: Mapping[str, str] = {}

    def origin(self, seed: int) -> dict[str, Any]:
        """Where a row comes from, as it is stored in each."""
        return {"machine": self.name, "commit": self.commit, "versions": dict(self.versions), "seed": seed}


def start(devices: int) -> None:
    """Set JAX up as the sweeps do, one device a core, without cached programs, since compile times are reported."""
    import jax

    from sims.engine import runtime

    runtime.configure(devices)
    jax.config.update("jax_enable_compilation_cache", False)


def on_every_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """One program, compiled as a sweep's, that runs `function` on every device, on its slice of the first axis."""
    import jax
    from jax.sharding import AxisType
    from jax.sharding import PartitionSpec as P

    from sims.engine.runtime import compiler_options

    mesh = jax.make_mesh((jax.device_count(),), ("device",), axis_types=(AxisType.Auto,))
    return jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=P("device"), out_specs=P("device"), check_vma=False),
        compiler_options=compiler_options(),
    )


def machine() -> Machine:
    """This machine and the code on it; it starts JAX, so it is asked in a process of its own."""
    import jax

    from sims.engine.runtime import cpu_name, provenance

    cores, device, code = available_cores(), jax.devices()[0], provenance()
    name, count = f"{cores} cores of {cpu_name()}", 0
    if device.platform != "cpu":
        name, count = f"{jax.device_count()} x {device.device_kind}, {name}", jax.device_count()
    return Machine(name, cores, count, code["commit"], code["versions"])
