"""The strong rival: NumPy that shares every draw and factorisation over the grid, once per replicate.

What one replicate pays for: one design (features, their Gram matrix and its inverses, two noise cross moments), one
prompt, one set of uniforms. All else is arithmetic on a few numbers a cell:

- Naive fine-tuning is affine in (weak coefficient, source coefficient), so the grid's risks are outer sums.
- The prompt is drawn in the K + 1 dimensions of concepts and teacher; cumulative sums of its log likelihood serve every
  prompt length, and one softmax all source priors.
- Refined labels are sampled exactly, without touching n numbers a cell. Rows of features are exchangeable and
  independent of the concepts drawn, so labels may be sorted by concept: with c_k labels among the first k concepts,

      Phi' y / n = S beta_K + (1/n) sum_{k < K} T_k[c_k] + Phi' eps / n,
      T_k[m] = sum_{i <= m} phi_i phi_i' (beta_k - beta_{k+1}),

  and c_k is the number of sorted uniforms under the posterior's cumulative probability: one prefix table per replicate,
  one look-up a cell.

float32 and SFC64 are the fastest choices NumPy offers here, and are the defaults.
"""

from typing import NamedTuple

import numpy as np

from benchmarks.workload import MeanRisks, Workload

BLOCK = 8
"""Rows that `prefix_tables` sums by one small matrix product; the fastest of 4, 8, 16 and 32 at d = 32."""


class Constants(NamedTuple):
    """What does not change from replicate to replicate."""

    concepts: np.ndarray  # [K d]
    steps: np.ndarray  # [K-1 d], beta_k - beta_{k+1}
    weak_coefs: np.ndarray  # [A d]
    source_coefs: np.ndarray  # [C d]
    log_priors: np.ndarray  # [C K]
    prompt_lengths: np.ndarray  # [M]


class Workspace(NamedTuple):
    """The large arrays, allocated once: fresh pages for each replicate cost as much as some of the arithmetic."""

    rows: np.ndarray  # [blocks*BLOCK d]: a row of zeros, the n features, zeros up to a whole block
    weights: np.ndarray  # [blocks (K-1)*BLOCK BLOCK]
    tables: np.ndarray  # [blocks (K-1)*BLOCK d]


def mean_risks(workload: Workload, num_replicates: int, seed: int = 0, dtype=np.float32) -> MeanRisks:
    """Mean risks over `num_replicates` replicates, each of which serves the whole grid."""
    rng = np.random.Generator(np.random.SFC64(seed))
    constants, workspace = constants_of(workload, dtype), workspace_of(workload, dtype)
    naive_total, refined_total = np.zeros(workload.grid[:2]), np.zeros(workload.grid)
    for _ in range(num_replicates):
        naive, refined = replicate_risks(rng, workload, constants, workspace)
        naive_total += naive
        refined_total += refined
    return MeanRisks(naive_total / num_replicates, refined_total / num_replicates)


def constants_of(workload: Workload, dtype) -> Constants:
    """The workload's arrays in the working precision."""
    concepts, priors = workload.concepts, workload.source_priors
    with np.errstate(divide="ignore"):  # a source without a concept never finds it
        log_priors = np.log(priors)
    return Constants(
        concepts=concepts.astype(dtype),
        steps=(concepts[:-1] - concepts[1:]).astype(dtype),
        weak_coefs=workload.weak_coefs.astype(dtype),
        source_coefs=(priors @ concepts).astype(dtype),
        log_priors=log_priors.astype(dtype),
        prompt_lengths=np.array(workload.num_icl),
    )


def workspace_of(workload: Workload, dtype) -> Workspace:
    """Zeroed buffers for one replicate."""
    num_blocks, height = workload.num_samples // BLOCK + 1, (workload.num_concepts - 1) * BLOCK
    return Workspace(
        rows=np.zeros((num_blocks * BLOCK, workload.dim), dtype),
        weights=np.zeros((num_blocks, height, BLOCK), dtype),
        tables=np.zeros((num_blocks, height, workload.dim), dtype),
    )


def replicate_risks(
    rng: np.random.Generator, workload: Workload, constants: Constants, workspace: Workspace
) -> tuple[np.ndarray, np.ndarray]:
    """Risks of naive fine-tuning `[A C]` and of refinement `[A C M]` over the grid, from one replicate's draws."""
    n, d, rows = workload.num_samples, workload.dim, workspace.rows
    dtype = rows.dtype
    rng.standard_normal(out=rows[1 : n + 1], dtype=dtype)
    gram = rows.T @ rows
    gram /= n
    # Given the features, Phi' eps / n is normal with covariance gram / n: d normals in place of n, for each of the two.
    noise = np.linalg.cholesky(gram) @ rng.standard_normal((d, 2), dtype=dtype)
    noise *= dtype.type((workload.noise_var / n) ** 0.5)
    prefix_tables(workspace, constants.steps)
    counts = concept_counts(rng, workload, constants)
    naive = naive_risks(workload, constants, gram, noise[:, 0])
    refined = refined_risks(workload, constants, gram, noise[:, 1], workspace.tables, counts)
    num_weak, num_shifts, num_lengths = workload.grid
    return naive, refined.reshape(num_weak, num_lengths, num_shifts).swapaxes(1, 2)


def naive_risks(workload: Workload, constants: Constants, gram: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """`[A C]`: beta_P + (S + eta)^-1 (S (beta_w - beta_P) + Phi' eps / n), one solve for every right-hand side."""
    penalty = gram.dtype.type(workload.penalty)
    num_weak = len(constants.weak_coefs)
    sides = np.concatenate([gram @ constants.weak_coefs.T + noise[:, None], penalty * constants.source_coefs.T], axis=1)
    solved = np.linalg.solve(gram + penalty * np.eye(len(gram), dtype=gram.dtype), sides)
    weak, source = solved[:, :num_weak].T - constants.concepts[0], solved[:, num_weak:].T
    return (weak**2).sum(-1)[:, None] + (source**2).sum(-1) + 2 * (weak @ source.T)


def concept_counts(rng: np.random.Generator, workload: Workload, constants: Constants) -> np.ndarray:
    """`[K-1 A*M*C]`: how many refined labels of a cell show one of the first k concepts, from one shared prompt.

    Concept shift is the last axis: along it the probabilities looked up are monotone, which `searchsorted` rewards.
    """
    dtype, latent, longest = constants.concepts.dtype, workload.num_concepts + 1, max(workload.num_icl)
    prompt = rng.standard_normal((longest, latent), dtype=dtype)
    noise = rng.standard_normal(longest, dtype=dtype) * dtype.type(workload.noise_var**0.5)
    answers = constants.weak_coefs[:, :latent] @ prompt.T + noise  # [A m]
    residuals = answers - (constants.concepts[:, :latent] @ prompt.T)[:, None]  # [K A m]
    path = np.zeros((*residuals.shape[:2], longest + 1), dtype)
    np.cumsum(residuals**2, axis=-1, out=path[..., 1:])
    log_likelihood = path[..., constants.prompt_lengths] * dtype.type(-0.5 / workload.noise_var)  # [K A M]
    posterior = log_likelihood[..., None] + constants.log_priors.T[:, None, None]  # [K A M C]
    posterior -= posterior.max(axis=0)
    np.exp(posterior, out=posterior)
    below = np.cumsum(posterior, axis=0, out=posterior)
    below[:-1] /= below[-1]
    uniforms = np.sort(rng.random(workload.num_samples, dtype=dtype))
    return np.searchsorted(uniforms, below[:-1].reshape(workload.num_concepts - 1, -1))


def prefix_tables(workspace: Workspace, steps: np.ndarray) -> None:
    """Fill `tables` with T_k[m] (row m of block m // BLOCK, offset k * BLOCK): sums within blocks, then over blocks.

    Within a block the running sum is a product with a triangular matrix, several times faster than `np.cumsum`.
    """
    rows, weights, tables = workspace
    num_blocks, num_steps = len(tables), len(steps)
    along = (rows @ steps.T).reshape(num_blocks, BLOCK, num_steps).swapaxes(1, 2)[:, :, None]
    np.multiply(along, np.tri(BLOCK, dtype=rows.dtype), out=weights.reshape(num_blocks, num_steps, BLOCK, BLOCK))
    np.matmul(weights, rows.reshape(num_blocks, BLOCK, -1), out=tables)
    running = tables.reshape(num_blocks, num_steps, BLOCK, -1)
    running[1:] += np.cumsum(running[:-1, :, -1], axis=0)[:, :, None]


def refined_risks(
    workload: Workload,
    constants: Constants,
    gram: np.ndarray,
    noise: np.ndarray,
    tables: np.ndarray,
    counts: np.ndarray,
) -> np.ndarray:
    """`[A*M*C]`: least squares on the refined labels, S^-1 Phi' y / n, by one inverse."""
    inverse = np.linalg.inv(gram)
    places = counts + counts // BLOCK * (tables.shape[1] - BLOCK) + BLOCK * np.arange(len(counts))[:, None]
    flat = tables.reshape(-1, tables.shape[2])
    cross = flat[places[0]]
    for place in places[1:]:
        cross += flat[place]
    error = cross @ (inverse / gram.dtype.type(workload.num_samples))
    error += inverse @ noise + constants.concepts[-1] - constants.concepts[0]
    return np.einsum("ij,ij->i", error, error)
