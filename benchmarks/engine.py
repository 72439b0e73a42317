"""The package's contender: the sweep engine itself, on every core, restricted to the workload's two methods."""

from functools import partial

import numpy as np

from benchmarks.workload import MeanRisks, Workload


def runner(workload: Workload, num_replicates: int):
    """A function that simulates `num_replicates` per device and call, and how many replicates that is in all."""
    import jax

    from sims import engine, runtime
    from sims.spec import SweepSpec
    from sims.sums import block_sums
    from sims.world import make_grid

    runtime.configure()
    jax.config.update("jax_enable_compilation_cache", False)  # the compile time reported is a first run's
    spec = SweepSpec(
        weakness=("rotated",),
        weak_accuracy=workload.weak_accuracies,
        concept_shift=workload.concept_shifts,
        sample_size=(workload.num_samples,),
        num_icl=workload.num_icl,
        methods=("naive_ft", "icl_refine_shared"),
        penalties=(workload.penalty,),
        dim=workload.dim,
        num_concepts=workload.num_concepts,
        noise_var=workload.noise_var,
        replicates=10**9,
        block_size=num_replicates,
    )
    launch, grid, devices = engine.launcher(partial(block_sums, spec), spec), make_grid(spec), jax.device_count()
    calls = iter(range(0, 10**9, devices))

    def run():
        first = next(calls)
        return jax.block_until_ready(launch(list(range(first, first + devices)), [grid] * devices))

    return run, num_replicates * devices


def mean_risks(workload: Workload, num_replicates: int) -> MeanRisks:
    """Mean risks of one call, to be compared with the rivals'."""
    run, _ = runner(workload, num_replicates)
    mean = run().mean
    return MeanRisks(
        np.asarray(mean.fixed_risk).mean(axis=0)[:, :, 0, 0], np.asarray(mean.varying_risk).mean(axis=0)[:, :, 0, :, 0]
    )
