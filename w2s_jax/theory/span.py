"""Least squares over the span of the concepts: the linear student, whose gain over its teacher is its misfit."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.population import Real, feature_scale
from w2s_jax.types import Task


@closed_form
def span_bias(task: Task) -> Float[Array, "*b"]:
    """Excess risk of the linear student on infinitely many weak labels.

        s ||P beta_w - beta_Q||^2 = b_w^2 - misfit

    with P the projection on span{beta_k}, beta_w = `task.weak_coef`, beta_Q = `task.target_coef`, s =
    `task.feature_var`, b_w^2 = `weak_bias`, misfit = `span_misfit`. At weak accuracy a and s = 1: (1 - a)^2 for
    rotated, 0 for noisy and shifted; no gain, 2 - 2a, for confused and opposed.

    Args:
        task: a `Task` with isotropic `feature_var [d]` and linearly independent concepts, K <= d. Any Gram matrix.

    Returns:
        Squared label units, shape `[]`.

    Assumes: features of mean 0 and isotropic covariance; any distribution.

    Reference: derived, docs/theory.md 3.8.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5)
    >>> round(float(span_bias(task)), 4)
    0.25
    """
    projected = _inside(task, task.weak_coef[None])[0]
    return feature_scale(task) * jnp.sum((projected - task.target_coef) ** 2)


@closed_form
def span_misfit(task: Task) -> Float[Array, "*b"]:
    """Disagreement of the linear student with its teacher, on infinitely many weak labels: what it gains.

        s ||P beta_w - beta_w||^2

    with P the projection on span{beta_k}, beta_w = `task.weak_coef`, s = `task.feature_var`. At weak accuracy a and
    s = 1: 1 - a^2 for rotated, 1/a^2 - 1 for shifted, 0 for the others.

    Args:
        task: as in `span_bias`.

    Returns:
        Squared label units, shape `[]`.

    Assumes: as `span_bias`.

    Reference: Charikar et al. (arXiv 2405.15116) for the identity; derived, docs/theory.md 3.8.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5)
    >>> round(float(span_misfit(task)), 4)  # 1 - 0.25, the gain over the teacher
    0.75
    """
    projected = _inside(task, task.weak_coef[None])[0]
    return feature_scale(task) * jnp.sum((projected - task.weak_coef) ** 2)


@closed_form
def span_risk(task: Task, num_samples: Real) -> Float[Array, "*b"]:
    """Mean excess risk of least squares over the span of the concepts on n weak labels, exact at every n > K + 1.

        E R = bias + [(sigma_w^2 + misfit + s tau_out) K + s tau_in (K + 2)(n - 2)/(n + 2)] / (n - K - 1)

    with bias = `span_bias`, misfit = `span_misfit`, sigma_w^2 = `task.weak_noise_var`, s = `task.feature_var`;
    tau_in + tau_out = sum_k q'_k ||beta^w_k - beta_w||^2 is the spread of a mixture teacher inside and outside of the
    span, 0 for a one-hot `weak_prior`. What the teacher says outside of the span is noise to this student, independent
    of the features that it reads. The dimension d plays no part.

    Args:
        task: as in `span_bias`.
        num_samples: n, labelled examples; traced, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` for K <= n <= K + 1 and NaN under K, where the fit is not determined.

    Assumes: gaussian features.

    Reference: derived from the mean of an inverse Wishart matrix, docs/theory.md 3.8.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=9, weak_accuracy=0.5, concept_shift=0.5, noise_var=0.25)
    >>> round(float(span_risk(task, 13)), 4)  # 0.25 + (0.25 + 0.75) 2/10
    0.45
    """
    num_concepts, n = task.concepts.shape[-2], 1.0 * num_samples
    deviations = task.weak_concepts - task.weak_coef[None]
    inside = _inside(task, deviations)
    tau_in = task.weak_prior @ jnp.sum(inside**2, -1)
    tau_out = task.weak_prior @ jnp.sum((deviations - inside) ** 2, -1)
    scale = feature_scale(task)
    noise = (task.weak_noise_var + span_misfit(task) + scale * tau_out) * num_concepts
    noise = noise + scale * tau_in * (num_concepts + 2) * (n - 2) / (n + 2)
    room = n - num_concepts - 1
    risk = span_bias(task) + noise / jnp.where(room > 0, room, 1.0)
    return jnp.where(room > 0, risk, jnp.where(n < num_concepts, jnp.nan, jnp.inf))


def _inside(task: Task, rows: Float[Array, "r d"]) -> Float[Array, "r d"]:
    """The part of each row in the span of the concepts."""
    basis = jnp.linalg.qr(task.concepts.T)[0]
    return (rows @ basis) @ basis.T
