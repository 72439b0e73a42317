"""The plain rival: a Python loop that draws and fits every task by itself.

Each pass is what a careful user writes first: vectorised within the task, one Gram matrix for both fits, no factor
formed twice. float32 and SFC64 are used throughout, the fastest choice NumPy offers here.
"""

import numpy as np

from benchmarks.workload import MeanRisks, Workload


def mean_risks(workload: Workload, num_replicates: int, seed: int = 0, dtype=np.float32) -> MeanRisks:
    """Mean risks over `num_replicates` passes through the grid, every task with draws of its own."""
    rng = np.random.Generator(np.random.SFC64(seed))
    concepts, weak_coefs, priors = (
        x.astype(dtype) for x in (workload.concepts, workload.weak_coefs, workload.source_priors)
    )
    total = np.zeros((*workload.grid, 2))
    for _ in range(num_replicates):
        for a, c, m in np.ndindex(workload.grid):
            total[a, c, m] += task_risks(rng, workload, concepts, weak_coefs[a], priors[c], workload.num_icl[m])
    mean = total / num_replicates
    return MeanRisks(naive_ft=mean[..., 0].mean(axis=-1), icl_refine_shared=mean[..., 1])


def task_risks(
    rng: np.random.Generator,
    workload: Workload,
    concepts: np.ndarray,
    weak_coef: np.ndarray,
    source_prior: np.ndarray,
    num_icl: int,
) -> tuple[float, float]:
    """Excess risks of naive fine-tuning and of shared-prompt refinement on one task."""
    n, d, dtype = workload.num_samples, workload.dim, concepts.dtype
    noise_std = dtype.type(workload.noise_var**0.5)
    target_coef, source_coef = concepts[0], source_prior @ concepts

    features = rng.standard_normal((n, d), dtype=dtype)
    gram = features.T @ features / n

    labels = features @ weak_coef + noise_std * rng.standard_normal(n, dtype=dtype)
    cross = features.T @ labels / n
    naive = source_coef + np.linalg.solve(
        gram + dtype.type(workload.penalty) * np.eye(d, dtype=dtype), cross - gram @ source_coef
    )

    prompt = rng.standard_normal((num_icl, d), dtype=dtype)
    answers = prompt @ weak_coef + noise_std * rng.standard_normal(num_icl, dtype=dtype)
    residuals = answers[:, None] - prompt @ concepts.T
    with np.errstate(divide="ignore"):  # a source without a concept never finds it
        log_posterior = np.log(source_prior) - (residuals**2).sum(axis=0) / (2 * workload.noise_var)
    posterior = np.exp(log_posterior - log_posterior.max())
    posterior /= posterior.sum()

    chosen = np.searchsorted(posterior.cumsum()[:-1], rng.random(n, dtype=dtype), side="right")
    refined = (features @ concepts.T)[np.arange(n), chosen] + noise_std * rng.standard_normal(n, dtype=dtype)
    student = np.linalg.solve(gram, features.T @ refined / n)

    return float(((naive - target_coef) ** 2).sum()), float(((student - target_coef) ** 2).sum())
