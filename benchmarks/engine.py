"""The package's contender: the sweep engine itself, on every core, restricted to the workload's two methods."""

import itertools

import numpy as np

from benchmarks import devices
from benchmarks.timing import Run
from benchmarks.workload import MeanRisks, Workload


def specification(workload: Workload, **fields):
    """The workload as a sweep that draws its examples, as the rivals do, unless `fields` say otherwise."""
    from sims.risk_sweep.spec import SweepSpec

    return SweepSpec(
        weakness=("rotated",),
        weak_accuracy=workload.weak_accuracies,
        concept_shift=workload.concept_shifts,
        sample_size=(workload.num_samples,),
        num_icl=workload.num_icl,
        penalties=(workload.penalty,),
        dim=workload.dim,
        num_concepts=workload.num_concepts,
        noise_var=workload.noise_var,
        **{"methods": ("naive_ft", "icl_refine_shared"), "draws": "data", **fields},
    )


def runner(workload: Workload, num_devices: int, **fields) -> tuple[Run, int]:
    """(simulate that many blocks of replicates on every device, tasks in one of them).

    Blocks go through the engine's own launcher, chunk of the grid by chunk, and are not written to a store.
    """
    import jax

    from sims.engine import runtime
    from sims.engine.run import launcher
    from sims.risk_sweep import job as risk_job

    devices.start(num_devices)
    spec = specification(workload, replicates=10**9, block_size=block_size(workload, **fields), **fields)
    job, width = risk_job.prepare(spec), len(runtime.devices())
    launch = launcher(job.program, spec)
    starts = itertools.cycle(range(0, 10**9 // spec.block_size - width, width))

    def run(units: int):
        rounds = [list(range(first, first + width)) for first in itertools.islice(starts, units)]
        return jax.block_until_ready([launch(blocks, [chunk] * width) for blocks in rounds for chunk in job.chunks])

    return run, spec.block_size * width * workload.num_cells


def block_size(workload: Workload, draws: str = "data", refined_labels: str = "sample", **_) -> int:
    """Replicates in a block of some tenths of a second, so that few blocks fill a timed run: a multiple of 10."""
    # As moments, labels that sample their concept still need each example's coordinates among the concepts.
    per_example = workload.dim if draws == "data" else workload.num_concepts if refined_labels == "sample" else 0
    drawn = workload.num_samples * per_example + 10 * workload.dim**2
    return 10 * int(np.clip(1_250_000 // (drawn + 30 * workload.num_cells), 1, 50))


def samples(workload: Workload, num_replicates: int, **fields) -> MeanRisks:
    """Risks of every replicate, `[r A C]` and `[r A C M]`, to be compared with the rivals'."""
    import jax

    from sims.risk_sweep.replicate import simulate
    from sims.risk_sweep.world import make_grid
    from w2s_jax.rng import replicate_key, seed_key

    spec = specification(workload, **fields)
    key, grid = seed_key(spec.seed), make_grid(spec)
    one_by_one = jax.jit(lambda numbers: jax.lax.map(lambda i: simulate(spec, replicate_key(key, i), grid), numbers))
    outcomes = one_by_one(np.arange(num_replicates))
    return MeanRisks(
        np.asarray(outcomes.fixed_risk)[:, :, :, 0, 0], np.asarray(outcomes.varying_risk)[:, :, :, 0, :, 0]
    )
