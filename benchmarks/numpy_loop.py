"""The simplest implementation: a Python loop that draws and fits every task separately.

Each pass is what a careful user writes first: vectorised within the task, one Gram matrix for both fits, no factor
formed twice. float32 and SFC64 are used throughout, the fastest choice NumPy offers here.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.workload import MeanRisks, Workload


class Draws(NamedTuple):
    """One task's data: its features with weak labels and with refined ones."""

    features: np.ndarray  # [n d]
    labels: np.ndarray  # [n]
    refined: np.ndarray  # [n]


Fit = Callable[[Workload, Draws, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(workload, draws, source coefficients) -> coefficients of naive fine-tuning and of refinement."""


def fit(workload: Workload, draws: Draws, source_coef: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations, the Gram matrix formed once."""
    features, n, d = draws.features, workload.num_samples, workload.dim
    dtype = features.dtype
    gram = features.T @ features / n
    residual = features.T @ draws.labels / n - gram @ source_coef
    naive = np.linalg.solve(gram + dtype.type(workload.penalty) * np.eye(d, dtype=dtype), residual)
    return source_coef + naive, np.linalg.solve(gram, features.T @ draws.refined / n)


def mean_risks(
    workload: Workload, num_replicates: int, seed: int = 0, dtype=np.float32, *, fit: Fit = fit
) -> MeanRisks:
    """Mean risks over `num_replicates` passes through the grid, every task with draws of its own."""
    rng = np.random.Generator(np.random.SFC64(seed))
    concepts, weak_coefs, priors = (
        x.astype(dtype) for x in (workload.concepts, workload.weak_coefs, workload.source_priors)
    )
    total = np.zeros((*workload.grid, 2))
    for _ in range(num_replicates):
        for a, c, m in np.ndindex(workload.grid):
            draws = draw(rng, workload, concepts, weak_coefs[a], priors[c], workload.num_icl[m])
            coefs = np.stack(fit(workload, draws, priors[c] @ concepts))
            total[a, c, m] += ((coefs - concepts[0]) ** 2).sum(axis=-1)
    mean = total / num_replicates
    return MeanRisks(naive_ft=mean[..., 0].mean(axis=-1), icl_refine_shared=mean[..., 1])


def draw(
    rng: np.random.Generator,
    workload: Workload,
    concepts: np.ndarray,
    weak_coef: np.ndarray,
    source_prior: np.ndarray,
    num_icl: int,
) -> Draws:
    """Draw one task's data: weak labels, then a prompt, the concept posterior that it leaves and refined labels."""
    n, d, dtype = workload.num_samples, workload.dim, concepts.dtype
    noise_std = dtype.type(workload.noise_var**0.5)
    features = rng.standard_normal((n, d), dtype=dtype)
    labels = features @ weak_coef + noise_std * rng.standard_normal(n, dtype=dtype)

    prompt = rng.standard_normal((num_icl, d), dtype=dtype)
    answers = prompt @ weak_coef + noise_std * rng.standard_normal(num_icl, dtype=dtype)
    residuals = answers[:, None] - prompt @ concepts.T
    with np.errstate(divide="ignore"):  # a source without a concept never finds it
        log_posterior = np.log(source_prior) - (residuals**2).sum(axis=0) / (2 * workload.noise_var)
    posterior = np.exp(log_posterior - log_posterior.max())
    posterior /= posterior.sum()

    chosen = np.searchsorted(posterior.cumsum()[:-1], rng.random(n, dtype=dtype), side="right")
    refined = (features @ concepts.T)[np.arange(n), chosen] + noise_std * rng.standard_normal(n, dtype=dtype)
    return Draws(features, labels, refined)
