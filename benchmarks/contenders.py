"""The contenders: how each is run on a workload, what it needs, and how many cores it gets."""

import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from benchmarks import engine, jax_plain, numpy_loop, numpy_vectorised, sklearn_loop, torch_batched
from benchmarks.timing import Run, Timing, in_fresh_process, measure
from benchmarks.workload import MeanRisks, Workload, spread

MeanRisksOf = Callable[..., MeanRisks]
"""(workload, replicates, seed) -> mean risks."""
Start = Callable[[Workload, int], Any]
"""(workload, devices) -> a context that gives what to run, and the tasks in one unit of it."""

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""For a process per core: their libraries' own threads would stand in each other's way."""


class Contender(NamedTuple):
    """One way to do the work."""

    start: Start
    what: str
    """In words, for the table."""
    parallel: bool = False
    """Whether it is given `devices` cores; the others get one process, whose libraries may use every core."""
    compiles: bool = False
    needs: str | None = None
    """A module that may not be installed."""
    environment: Mapping[str, str] = {}

    def absent(self) -> str | None:
        """Why it cannot take part here, in a sentence, or None."""
        if self.needs and importlib.util.find_spec(self.needs) is None:
            return f"{self.needs} is not installed"
        return None


def one_task(workload: Workload) -> Workload:
    """A single cell of the same sizes: a task that is drawn and fitted on its own takes as long on any grid."""
    sizes = {"dim": workload.dim, "num_samples": workload.num_samples, "num_concepts": workload.num_concepts}
    return spread(1, 1, (max(workload.num_icl),), **sizes)


@contextmanager
def one_process(mean_risks: MeanRisksOf, shrink: bool, workload: Workload, devices: int) -> Iterator[tuple[Run, int]]:
    """One process."""
    cells = one_task(workload) if shrink else workload
    yield lambda replicates: mean_risks(cells, replicates), cells.num_cells


@contextmanager
def process_per_core(
    mean_risks: MeanRisksOf, shrink: bool, workload: Workload, devices: int
) -> Iterator[tuple[Run, int]]:
    """The same in `devices` processes with seeds of their own, as a user in a hurry would run it."""
    cells = one_task(workload) if shrink else workload
    with ProcessPoolExecutor(devices, mp_context=multiprocessing.get_context("spawn")) as pool:

        def run(replicates: int) -> list[MeanRisks]:
            return list(pool.map(mean_risks, [cells] * devices, [replicates] * devices, range(devices)))

        yield run, devices * cells.num_cells


@contextmanager
def on_devices(runner: Callable[..., tuple[Run, int]], workload: Workload, devices: int) -> Iterator[tuple[Run, int]]:
    """A JAX program on `devices` of its devices."""
    yield runner(workload, devices)


@contextmanager
def torch_at_its_best(workload: Workload, devices: int) -> Iterator[tuple[Run, int]]:
    """One process on a GPU, and without one a process per core."""
    on_gpu = torch_batched.device() == "cuda"
    with (one_process if on_gpu else process_per_core)(torch_batched.mean_risks, True, workload, devices) as found:
        yield found


CONTENDERS: dict[str, Contender] = {
    "numpy_loop": Contender(partial(one_process, numpy_loop.mean_risks, True), "NumPy, one task after another"),
    "sklearn_loop": Contender(
        partial(one_process, sklearn_loop.mean_risks, True), "scikit-learn, one task after another", needs="sklearn"
    ),
    "torch_batched": Contender(
        torch_at_its_best,
        "PyTorch, batches of tasks",
        parallel=True,
        needs="torch",
        environment=ONE_THREAD,
    ),
    "jax_plain": Contender(
        partial(on_devices, jax_plain.runner), "jit(vmap) of the kernels, data drawn per task", True, True
    ),
    "numpy_vectorised": Contender(
        partial(one_process, numpy_vectorised.mean_risks, False), "NumPy, draws shared over the grid"
    ),
    "numpy_vectorised_every_core": Contender(
        partial(process_per_core, numpy_vectorised.mean_risks, False),
        "the same, a process per core",
        parallel=True,
        environment=ONE_THREAD,
    ),
    "w2s_jax": Contender(partial(on_devices, engine.runner), "the sweep engine", True, True),
    "w2s_jax_moments": Contender(
        partial(on_devices, partial(engine.runner, draws="moments")), "the engine, moments drawn directly", True, True
    ),
    "w2s_jax_moments_mean": Contender(
        partial(on_devices, partial(engine.runner, draws="moments", refined_labels="mean")),
        "the same, refined labels not sampled but the posterior mean: another estimator",
        True,
        True,
    ),
}


def time(name: str, workload: Workload, devices: int, repeats: int, seconds: float) -> tuple[Timing, int]:
    """Time a contender in a process of its own; also the tasks in one unit of its work."""
    contender = CONTENDERS[name]
    cores = devices if contender.parallel else None
    return in_fresh_process(
        _time_here, name, workload, devices, repeats, seconds, cores=cores, environment=contender.environment
    )


def _time_here(name: str, workload: Workload, devices: int, repeats: int, seconds: float) -> tuple[Timing, int]:
    with CONTENDERS[name].start(workload, devices) as (run, tasks):
        return measure(run, repeats, seconds), tasks
