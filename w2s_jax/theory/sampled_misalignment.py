"""The misalignment of any task of concepts and a linear teacher, by sampling, with its error: where no closed form is.

A prompt of m examples reaches the posterior through K sums of squares, the diagonal of a K x K Wishart matrix. Its
Bartlett factor is filled from Sobol points, scrambled several times over; the scatter between scrambles is the error.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from scipy import special

from w2s_jax.theory.closed_form import check_range, task_batch
from w2s_jax.theory.posterior import Prompts, tilt_limit
from w2s_jax.types import Task

NUM_SCRAMBLES = 16


class SampledMisalignment(NamedTuple):
    """A mean over sampled prompts."""

    value: np.ndarray
    """The misalignment, unitless, `[*b]`."""
    error: np.ndarray
    """Its standard error, `[*b]`."""


def sampled_misalignment(
    task: Task,
    num_icl: ArrayLike,
    prompts: Prompts = "shared",
    *,
    assumed_noise_var: ArrayLike | None = None,
    log2_points: int = 11,
    seed: int = 0,
) -> SampledMisalignment:
    """Misalignment by randomised quasi-Monte Carlo: any concepts, any teacher that shows one of them, and an error.

    Args:
        task: a `Task` of concrete numbers with isotropic `feature_var`, a one-hot `weak_prior` and positive noise
            variances. Any Gram matrix. `[*b]`; tasks of one prompt length share their points.
        num_icl: weak examples in the prompt, whole numbers >= 0 that broadcast to `[*b]`.
        prompts: "shared" (one prompt for all labels) or "fresh" (one for each label).
        assumed_noise_var: s_hat^2 > 0 of the posterior, squared label units; `task.noise_var` by default.
        log2_points: 2 to this power points in each of 16 scrambles; 11 brings the error to about 0.3% of a value
            near 1.
        seed: of the scrambles; the same seed gives the same numbers.

    Returns:
        `SampledMisalignment(value [*b], error [*b])`, float64 NumPy arrays.

    Raises:
        ValueError: for a number out of range, a length that is no whole number, or traced arguments.

    Assumes: gaussian features.

    Reference: Bartlett decomposition (textbook); scrambled nets: Owen (1995); docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=3, dim=3, weak_accuracy=0.3, concept_shift=0.5, weakness="confused")
    >>> value, error = sampled_misalignment(task, 4)
    >>> bool(abs(value - 1.43) < 0.02), bool(error < 0.01)
    (True, True)
    """
    tilt_limit(prompts)  # refuses any other word
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((task, num_icl, assumed_noise_var))):
        raise ValueError(
            "sampled_misalignment needs concrete numbers, got traced ones; call it outside of jit and vmap."
        )
    check_range("num_icl", num_icl)
    if assumed_noise_var is not None:
        check_range("assumed_noise_var", assumed_noise_var)
    shape = np.broadcast_shapes(
        task_batch(task), np.shape(num_icl), np.shape(0.0 if assumed_noise_var is None else assumed_noise_var)
    )
    task = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), task)
    own = task.noise_var if assumed_noise_var is None else assumed_noise_var
    lengths, noise_var = (np.broadcast_to(np.asarray(x, np.float64), shape).ravel() for x in (num_icl, own))
    if (lengths != np.round(lengths)).any():
        raise ValueError(f"num_icl must be a whole number, got {lengths[lengths != np.round(lengths)][0]}; round it.")
    covariance, prior, target = (
        np.broadcast_to(leaf, (*shape, *leaf.shape[task.noise_var.ndim :])).reshape(
            -1, *leaf.shape[task.noise_var.ndim :]
        )
        for leaf in (_residual_covariance(task), task.source_prior, task.target_prior)
    )
    value, error = np.empty(lengths.size), np.empty(lengths.size)
    for length in np.unique(lengths):
        cells = np.flatnonzero(lengths == length)
        means = np.empty((NUM_SCRAMBLES, cells.size, prior.shape[-1] + 1))
        for scramble in range(NUM_SCRAMBLES if length else 1):
            factors = _bartlett(int(length), prior.shape[-1], log2_points, [seed, int(length), scramble])
            for i, cell in enumerate(cells):
                gaps = _weights(factors, covariance[cell], prior[cell], noise_var[cell]) - _winner(target[cell])
                means[scramble, i] = [*gaps.mean(0), (gaps**2).sum(1).mean()]
        if not length:
            means[:] = means[:1]
        distances = means[..., -1] if prompts == "shared" else (means[..., :-1] ** 2).sum(-1)
        overall = means.mean(0)
        value[cells] = overall[:, -1] if prompts == "shared" else (overall[:, :-1] ** 2).sum(-1)
        error[cells] = distances.std(0, ddof=1) / NUM_SCRAMBLES**0.5
    return SampledMisalignment(value.reshape(shape), error.reshape(shape))


def _residual_covariance(task: Task) -> np.ndarray:
    """Covariance of the residuals y - beta_k . phi, `[*b K K]`."""
    weak = np.einsum("...k,...kd->...d", task.weak_prior, task.weak_concepts)
    gap = (weak[..., None, :] - task.concepts) * np.sqrt(task.feature_var)[..., None, :]
    return gap @ np.swapaxes(gap, -1, -2) + task.weak_noise_var[..., None, None]


def _winner(prior: np.ndarray) -> np.ndarray:
    return np.eye(prior.size)[np.argmax(prior)]


def _weights(factors, covariance, prior, noise_var) -> np.ndarray:
    """Posteriors `[N K]`; the largest direction of the covariance takes the first, most even, coordinates."""
    sizes, directions = np.linalg.eigh(covariance)
    root = directions[:, ::-1] * np.sqrt(np.maximum(sizes[::-1], 0.0))
    squares = np.square(root @ factors).sum(-1)
    with np.errstate(divide="ignore"):
        return special.softmax(np.log(prior) - squares / (2 * noise_var), axis=-1)


def _bartlett(length: int, num_concepts: int, log2_points: int, seed: list[int]) -> np.ndarray:
    """Lower triangles `[N K min(K, m)]` of which each times its transpose is Wishart, K x K, of m degrees."""
    from scipy.stats import qmc  # slow to import, and needed here alone

    columns = min(length, num_concepts)
    if not columns:
        return np.zeros((1, num_concepts, 0))
    rows, cols = np.tril_indices(num_concepts, 0, columns)
    order = np.argsort(cols, kind="stable")
    rows, cols = rows[order], cols[order]
    sobol = qmc.Sobol(rows.size, scramble=True, rng=np.random.default_rng(seed))
    points = np.clip(sobol.random_base2(log2_points), 1e-12, 1 - 1e-12)
    diagonal = rows == cols
    factors = np.zeros((len(points), num_concepts, columns))
    factors[:, rows[~diagonal], cols[~diagonal]] = special.ndtri(points[:, ~diagonal])
    degrees = length - cols[diagonal]
    factors[:, rows[diagonal], cols[diagonal]] = np.sqrt(2 * special.gammaincinv(degrees / 2, points[:, diagonal]))
    return factors
