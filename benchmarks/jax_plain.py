"""The package without its engine: `jit(vmap)` of the public kernels, every task with a dataset of its own.

What a user of the kernels writes first. All cores work, each on a device of its own; the only number tuned is `BATCH`.
"""

import itertools

import numpy as np

from benchmarks import devices
from benchmarks.timing import Run
from benchmarks.workload import MeanRisks, Workload

BATCH = 5
"""Tasks that a core draws and fits at once; the fastest of 5, 20, 80 and 320 on two cores at d = 32, n = 2048."""


def runner(workload: Workload, num_devices: int) -> tuple[Run, int]:
    """(draw and fit that many batches on every device, tasks in one of them)."""
    import jax

    devices.start(num_devices)
    program, width, size = batches(workload), jax.device_count(), batch_size()
    starts = itertools.cycle(range(0, 2**22, width))

    def run(units: int):
        firsts = [np.arange(first, first + width, dtype=np.int32) for first in itertools.islice(starts, units)]
        return jax.block_until_ready([program(first) for first in firsts])

    return run, size * width


def batch_size() -> int:
    """Tasks that a device draws and fits at once."""
    import jax

    return BATCH if jax.default_backend() == "cpu" else 64 * BATCH  # an accelerator wants more at once


def samples(workload: Workload, num_replicates: int, seed: int = 0) -> MeanRisks:
    """Risks of every pass, `[r A C]` and `[r A C M]`."""
    import jax

    program, width, total = batches(workload, seed), jax.device_count(), num_replicates * workload.num_cells
    rounds = [program(np.arange(first, first + width)) for first in range(0, -(-total // batch_size()), width)]
    risks = np.concatenate([np.asarray(x) for x in rounds])[:total].reshape(num_replicates, *workload.grid, 2)
    return MeanRisks(naive_ft=risks[..., 0].mean(axis=-1), icl_refine_shared=risks[..., 1])


def batches(workload: Workload, seed: int = 0):
    """(numbers of batches, one a device) -> risks `[devices * batch_size(), 2]` of tasks, in the order of the grid."""
    import jax
    import jax.numpy as jnp

    import w2s_jax as w2s

    key, longest, size = jax.random.key(seed), max(workload.num_icl), batch_size()
    accuracies, shifts, lengths = map(jnp.array, (workload.weak_accuracies, workload.concept_shifts, workload.num_icl))

    def risks(number):
        a, c, m = jnp.unravel_index(number % workload.num_cells, workload.grid)
        own = w2s.replicate_key(key, number)
        task = w2s.make_task(
            num_concepts=workload.num_concepts,
            dim=workload.dim,
            weak_accuracy=accuracies[a],
            concept_shift=shifts[c],
            noise_var=workload.noise_var,
        )
        data = w2s.sample_dataset(w2s.stream(own, "data"), task, workload.num_samples)
        naive = w2s.ridge_to_source(w2s.moments(data), task.source_coef, workload.penalty)
        prompt = w2s.sample_dataset(w2s.stream(own, "prompt"), task, max(longest, 1))
        posterior = w2s.posterior_path(task, prompt)[lengths[m]]
        refined = w2s.refine_labels(w2s.stream(own, "labels"), task, data.features, posterior)
        student = w2s.least_squares(w2s.moments(w2s.Dataset(data.features, refined)))
        return w2s.excess_risk(jnp.stack([naive, student]), task.target_coef)

    return devices.on_every_device(lambda first: jax.vmap(risks)(first[0] * size + jnp.arange(size)))
