"""What the machine can do and what a replicate takes of it: the tasks/s that each resource alone would allow.

Three resources: bytes moved, floating-point operations, normal draws. The rates are measured, on one device and on all.
A replicate's needs are counted by hand, for what the algorithm must do, and by XLA, for what the compiled
program does; neither count has the time between a resource and the next, so no program reaches the limit.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from benchmarks import devices, engine
from benchmarks.timing import in_fresh_process, measure
from benchmarks.workload import Workload

IN_CACHE = 2**18
"""Numbers (1 MB) in the array that is copied in cache: about a replicate's features and prefix table."""
IN_MEMORY = 2**26
"""Numbers (268 MB) in the array that is copied in memory."""
MATRIX = 1024
DRAWS = 2**20


class Limit(NamedTuple):
    """What one resource yields per second, and what a replicate needs of it."""

    resource: str
    devices: int
    rate: float
    unit: str
    need: float
    """Per replicate, in the same unit without `per second`."""
    binds: bool
    """Whether the engine's work on the headline lives on this resource; the others are there to compare with."""

    def tasks_per_second(self, workload: Workload) -> float:
        """What this resource alone would allow."""
        return workload.num_cells * self.rate / self.need


class Needs(NamedTuple):
    """What one replicate of the whole grid takes."""

    flops: float
    bytes: float
    normals: float


def needs(workload: Workload) -> Needs:
    """Counted by hand, each array written once and read as often as the algorithm reads it; numbers of 4 bytes."""
    n, d, rivals = workload.num_samples, workload.dim, workload.num_concepts - 1
    num_weak, num_shifts, _ = workload.grid
    fits = workload.num_cells + num_weak * num_shifts  # refined, and naive, which reads no prompt
    gram, crosses, table, spectrum = 2 * n * d**2, 4 * n * d, 4 * n * rivals * d, 9 * d**3
    looked_up = workload.num_cells * rivals * d
    return Needs(
        flops=gram + crosses + table + spectrum + looked_up + 2 * fits * d**2,
        # Features: drawn, read by the gram matrix and by the table. Table: written. Coefficients: written and scored.
        bytes=4 * (3 * n * d + n * rivals * d + looked_up + 2 * fits * d),
        normals=n * d + 2 * n + max(workload.num_icl) * (workload.num_concepts + 2),
    )


def compiled_needs(workload: Workload) -> Needs:
    """What XLA counts in the compiled program of one replicate; it sees no normals, and nothing inside LAPACK."""
    import jax

    from sims.risk_sweep.replicate import simulate
    from sims.risk_sweep.world import make_grid

    spec = engine.specification(workload)
    lowered = jax.jit(partial(simulate, spec)).lower(jax.random.key(0), make_grid(spec))
    cost = lowered.compile().cost_analysis() or {}
    return Needs(cost.get("flops", 0.0), cost.get("bytes accessed", 0.0), 0.0)


def measured(workload: Workload, num_devices: int, repeats: int, seconds: float) -> list[Limit]:
    """All limits on `num_devices` devices, measured in a separate process."""
    return in_fresh_process(_measure_here, workload, num_devices, repeats, seconds, cores=num_devices)


def _measure_here(workload: Workload, num_devices: int, repeats: int, seconds: float) -> list[Limit]:
    import jax

    devices.start(num_devices)
    width, own = jax.device_count(), needs(workload)
    needed = {"bytes/s": own.bytes, "flop/s": own.flops, "normals/s": own.normals}
    # A replicate stays in cache, and draws by the package's own generator; SFC64 draws for the rivals.
    idle = ("copy, in memory", "normals, jax.random", "normals, NumPy SFC64")
    limits = []
    for resource, unit, amount, run in _probes(width):
        timing = measure(run, repeats, seconds)
        rate = amount * timing.units / timing.median_seconds
        limits.append(Limit(resource, width, rate, unit, needed[unit], resource not in idle))
    return limits


def _probes(width: int) -> Iterator[tuple[str, str, float, Callable]]:
    """(resource, unit, amount in one unit of work on `width` devices, what to run)."""
    import jax
    import jax.numpy as jnp

    from w2s_jax.rng import normals

    def repeat(program, argument):
        return lambda units: jax.block_until_ready([program(argument) for _ in range(units)])

    # Many passes over one array: fresh memory for each result would cost more than the copy.
    copies = (("copy, in memory", IN_MEMORY // width, 10), ("copy, in cache", IN_CACHE, 500))
    for resource, size, passes in copies:
        again = devices.on_every_device(lambda x, k=passes: jax.lax.fori_loop(0, k, lambda _, y: y + 1, x))
        numbers = jnp.ones((width, size), jnp.float32)
        yield resource, "bytes/s", 8.0 * passes * numbers.size, repeat(again, numbers)

    product = devices.on_every_device(lambda x: x @ x)
    square = jnp.full((width, MATRIX, MATRIX), 1e-3, jnp.float32)
    yield "matmul", "flop/s", 2.0 * width * MATRIX**3, repeat(product, square)

    for name, normal in (("w2s_jax", normals), ("jax.random", jax.random.normal)):
        draw = devices.on_every_device(lambda i, normal=normal: normal(jax.random.key(i[0]), (1, DRAWS)))
        yield f"normals, {name}", "normals/s", float(width * DRAWS), repeat(draw, np.arange(width))

    if jax.default_backend() != "cpu":
        return
    generators = [np.random.Generator(np.random.SFC64(i)) for i in range(width)]
    buffers = [np.empty(DRAWS, np.float32) for _ in generators]
    with ThreadPoolExecutor(width) as pool:

        def fill(units: int):
            for _ in range(units):
                list(pool.map(lambda g, out: g.standard_normal(out=out, dtype=np.float32), generators, buffers))

        yield "normals, NumPy SFC64", "normals/s", float(width * DRAWS), fill
