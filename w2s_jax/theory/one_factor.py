"""Why the concepts compete independently for a weak prompt: one gaussian factor carries all that they share."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from w2s_jax.theory.population import feature_scale
from w2s_jax.types import Task


class OneFactor(NamedTuple):
    """The residuals of a weak label under target and rivals: y - beta_k . phi = loading_k xi + sqrt(own_k) z_k, with
    xi and every z_k standard normal and independent (docs/theory.md 3.6)."""

    target_loading: Float[Array, ""]
    """What the target's residual takes from the common factor, label units."""
    target_own: Float[Array, ""]
    """Variance of the rest, squared label units."""
    rival_loading: Float[Array, ""]
    """The same for every rival."""
    rival_own: Float[Array, ""]
    """The same for every rival."""
    holds: Bool[Array, ""]
    """Whether the task has this structure; elsewhere the other fields describe some other task."""


def residual_covariance(task: Task) -> Float[Array, "K K"]:
    """Cov(y - beta_j . phi, y - beta_k . phi) = s <beta_w - beta_j, beta_w - beta_k> + sigma_w^2, of a weak example."""
    gap = task.weak_coef[None] - task.concepts
    return feature_scale(task) * gap @ gap.T + task.weak_noise_var


def one_factor(task: Task) -> OneFactor:
    """The factor of a task whose rivals are alike to the teacher, to the target and to each other.

    With u_* and u the residual variances of target and rival, c the covariance of a rival with the target and e that
    of two rivals,

        rival_loading = sqrt(e),      rival_own = u - e
        target_loading = c/sqrt(e),   target_own = u_* - c^2/e

    which exists where e > 0 and e u_* >= c^2. For orthonormal concepts, s = 1 and g = beta_w . beta_j at the rivals, a
    = beta_w . beta_*, the condition reads ||beta_w||^2 + sigma_w^2 >= 2 g + (a - g)^2: always for g <= 0 (rotated,
    shifted, noisy, opposed), and for confused teachers at K >= 7; at K < 7 unless they are weak and their noise small.
    """
    covariance = residual_covariance(task)
    num_concepts = covariance.shape[-1]
    target = jnp.argmax(task.target_prior)
    is_rival = jnp.arange(num_concepts) != target
    on_diagonal = jnp.eye(num_concepts, dtype=bool)
    diagonal = jnp.diagonal(covariance)
    tolerance = float(jnp.finfo(covariance.dtype).eps) ** 0.5 * jnp.mean(diagonal)

    between = jnp.mean(covariance, where=is_rival[:, None] & is_rival[None] & ~on_diagonal)
    shares = between > tolerance
    root = jnp.sqrt(jnp.where(shares, between, 1.0))
    loading = jnp.where(is_rival, root, jnp.mean(covariance[target], where=is_rival) / root)
    own = diagonal - loading**2
    rival_own = jnp.mean(own, where=is_rival)
    told = loading[:, None] * loading[None] + jnp.where(on_diagonal, jnp.where(is_rival, rival_own, own)[:, None], 0.0)
    holds = shares & (own[target] >= 0) & (jnp.max(jnp.abs(covariance - told)) <= tolerance)
    return OneFactor(loading[target], own[target], root, rival_own, holds)
