"""Infinite data: the biases of source and teacher, the paths between them, and the floor of those paths."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.types import Scalar, Task

Real = Scalar | int | Int[Array, ""]
"""A real number or a count, concrete or traced."""


@closed_form
def source_bias(task: Task) -> Float[Array, "*b"]:
    """Excess risk of the source model, the start of every fine-tuning path.

        b_P^2 = s ||beta_P - beta_Q||^2

    with beta_P = `task.source_coef`, beta_Q = `task.target_coef`, s = `task.feature_var`. For orthonormal concepts
    and s = 1 it is ||alpha - q||^2.

    Args:
        task: a `Task`; its `feature_var [d]` need not be isotropic here.

    Returns:
        Squared label units, shape `[]`.

    Assumes: features of mean 0 and covariance diag(`feature_var`); any distribution.

    Reference: the source bias of Somerstep et al. (arXiv 2405.16236); derived, docs/theory.md 3.1.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=3, dim=4, weak_accuracy=0.5, concept_shift=0.5)
    >>> round(float(source_bias(task)), 4)  # 0.5^2 + 0.25^2 + 0.25^2
    0.375
    """
    return jnp.sum(task.feature_var * _source_gap(task) ** 2)


@closed_form
def weak_bias(task: Task) -> Float[Array, "*b"]:
    """Excess risk of the weak model's regression function, the end of every fine-tuning path.

        b_w^2 = s ||beta_w - beta_Q||^2

    with beta_w = `task.weak_coef`, beta_Q = `task.target_coef`, s = `task.feature_var`. At weak accuracy a and s = 1:
    2 - 2a for rotated, confused and opposed, 1/a^2 - 1 for shifted, 0 for noisy.

    Args:
        task: a `Task`; its `feature_var [d]` need not be isotropic here.

    Returns:
        Squared label units, shape `[]`.

    Assumes: features of mean 0 and covariance diag(`feature_var`); any distribution.

    Reference: derived, docs/theory.md 3.1.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.75, concept_shift=0.5)
    >>> round(float(weak_bias(task)), 4)
    0.5
    """
    return jnp.sum(task.feature_var * _weak_gap(task) ** 2)


@closed_form
def bias_inner_product(task: Task) -> Float[Array, "*b"]:
    """Inner product of the two biases: negative where source and teacher err in opposite directions.

        c = s <beta_w - beta_Q, beta_P - beta_Q>

    with beta_w = `task.weak_coef`, beta_P = `task.source_coef`, beta_Q = `task.target_coef`, s = `task.feature_var`.
    With s = 1, one target concept of source prior alpha_*, and g = sqrt((1 - a^2)/(K - 1)): (1 - alpha_*)(1 - a) for
    rotated, 0 for shifted and noisy, (1 - alpha_*)(1 - a + g) for confused, (1 - alpha_*)(1 - a - g) for opposed.

    Args:
        task: a `Task`; its `feature_var [d]` need not be isotropic here.

    Returns:
        Squared label units, either sign, shape `[]`.

    Assumes: features of mean 0 and covariance diag(`feature_var`); any distribution.

    Reference: derived, docs/theory.md 3.1.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.75, concept_shift=0.5)
    >>> round(float(bias_inner_product(task)), 4)
    0.125
    """
    return jnp.sum(task.feature_var * _weak_gap(task) * _source_gap(task))


@closed_form
def population_ridge_risk(task: Task, penalty: Real) -> Float[Array, "*b"]:
    """Excess risk of naive fine-tuning with a penalty toward the source, on infinitely many weak labels.

        R(eta) = (b_w^2 + 2 eta c + eta^2 b_P^2) / (1 + eta)^2,    eta = penalty / s

    with b_w^2 = `weak_bias`, c = `bias_inner_product`, b_P^2 = `source_bias`, s = `task.feature_var`.

    Args:
        task: a `Task`; its `feature_var [d]` need not be isotropic (each coordinate then has its own eta).
        penalty: eta >= 0 of (1/n) sum of squares + eta ||b - beta_P||^2, in units of the feature variance; `inf`
            gives the source; traced, shape `[]`.

    Returns:
        Squared label units, shape `[]`.

    Assumes: features of mean 0 and covariance diag(`feature_var`); any distribution.

    Reference: derived, docs/theory.md 3.2.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.75, concept_shift=0.5)
    >>> round(float(population_ridge_risk(task, 1.0)), 4)
    0.3125
    """
    return _blended_risk(task, task.feature_var / (task.feature_var + penalty))


@closed_form
def population_flow_risk(task: Task, time: Real) -> Float[Array, "*b"]:
    """Excess risk of gradient flow from the source, stopped at a time, on infinitely many weak labels.

        R(t) = ||w (beta_w - beta_Q) + (1 - w)(beta_P - beta_Q)||^2 s,    w = 1 - exp(-2 s t)

    with t = `time`, s = `task.feature_var`: the path of `population_ridge_risk` in another parameter, so the same
    floor.

    Args:
        task: a `Task`; its `feature_var [d]` need not be isotropic (each coordinate then has its own w).
        time: t >= 0 of db/dt = -gradient of the mean squared error, in units of 1/feature variance; `inf` gives the
            weak model; traced, shape `[]`.

    Returns:
        Squared label units, shape `[]`.

    Assumes: features of mean 0 and covariance diag(`feature_var`); any distribution.

    Reference: derived, docs/theory.md 3.2.

    >>> import math
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.75, concept_shift=0.5)
    >>> round(float(population_flow_risk(task, 0.5 * math.log(2))), 4)  # half way: as penalty 1
    0.3125
    """
    return _blended_risk(task, -jnp.expm1(-2 * task.feature_var * time))


@closed_form
def population_ridge_floor(task: Task) -> Float[Array, "*b"]:
    """The least risk of naive fine-tuning over all penalties: the squared distance from the target to [weak, source].

        F = (b_w^2 b_P^2 - c^2) / (b_w^2 + b_P^2 - 2c)   if c < min(b_w^2, b_P^2),   else min(b_w^2, b_P^2)

    with b_w^2 = `weak_bias`, b_P^2 = `source_bias`, c = `bias_inner_product`. With c >= 0 it is at least half the
    smaller bias; with c < 0 it is under b_w^2 b_P^2 / (b_w^2 + b_P^2); for a noisy teacher it is 0.

    Args:
        task: a `Task` with isotropic `feature_var [d]`.

    Returns:
        Squared label units, shape `[]`.

    Assumes: isotropic features of mean 0. At finite n and a penalty not chosen from the data, no mean risk is under it.

    Reference: derived, docs/theory.md 3.2.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.75, concept_shift=0.5)
    >>> round(float(population_ridge_floor(task)), 4)
    0.3125
    """
    weak, source, inner, interior = _segment(task)
    length = jnp.where(interior, weak + source - 2 * inner, 1.0)
    return jnp.where(interior, (weak * source - inner**2) / length, jnp.minimum(weak, source))


@closed_form
def population_best_penalty(task: Task) -> Float[Array, "*b"]:
    """The penalty that attains `population_ridge_floor`.

        eta* = s (b_w^2 - c) / (b_P^2 - c)   if c < min(b_w^2, b_P^2);   else 0 if b_w^2 <= b_P^2, inf if not

    with b_w^2 = `weak_bias`, b_P^2 = `source_bias`, c = `bias_inner_product`, s = `task.feature_var`.

    Args:
        task: a `Task` with isotropic `feature_var [d]`.

    Returns:
        In units of the feature variance, in [0, inf], shape `[]`.

    Assumes: isotropic features of mean 0.

    Reference: derived, docs/theory.md 3.2.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.75, concept_shift=0.5)
    >>> round(float(population_best_penalty(task)), 4)
    1.0
    """
    weak, source, inner, interior = _segment(task)
    eta = (weak - inner) / jnp.where(interior, source - inner, 1.0)
    return jnp.where(interior, feature_scale(task) * eta, jnp.where(weak <= source, 0.0, jnp.inf))


def feature_scale(task: Task) -> Float[Array, ""]:
    """s, the variance of an isotropic feature (the mean of `feature_var`)."""
    return jnp.mean(task.feature_var)


def _blended_risk(task: Task, weak_weight: Float[Array, "d"]) -> Float[Array, ""]:
    blend = weak_weight * _weak_gap(task) + (1 - weak_weight) * _source_gap(task)
    return jnp.sum(task.feature_var * blend**2)


def _segment(task: Task):
    weak, source, inner = weak_bias(task), source_bias(task), bias_inner_product(task)
    return weak, source, inner, inner < jnp.minimum(weak, source)


def _source_gap(task: Task) -> Float[Array, "d"]:
    return task.source_coef - task.target_coef


def _weak_gap(task: Task) -> Float[Array, "d"]:
    return task.weak_coef - task.target_coef
