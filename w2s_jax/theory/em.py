"""EM on the mixture weights: from one-example refinement, its first step, to maximum likelihood, its limit."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.one_example import example_moments, one_example_refinement_prior, one_example_spread, shown
from w2s_jax.theory.population import Real, feature_scale
from w2s_jax.types import Task


@closed_form
def population_em_prior(
    task: Task, num_steps: int | Int[Array, ""], *, assumed_noise_var: Real | None = None
) -> Float[Array, "*b K"]:
    """Mixture weights after T steps of EM on infinitely many weak examples, from the source prior.

        pi_0 = alpha,    pi_{t+1} = q' C(pi_t)

    with C(pi) the `one_example_transition` under prior pi, alpha = `task.source_prior`, q' = `task.weak_prior`. Its
    first step is `one_example_refinement_prior`. If the teacher's concepts and noise are the model's own, q' is the
    fixed point, and next to it the error shrinks by the factors 1 - lambda, lambda the eigenvalues of C(q') (less one
    that is 1).

    Args:
        task: as in `one_example_transition`; a concept that the source rules out stays out.
        num_steps: T >= 0; may be traced, shape `[]`. Every step is a quadrature.
        assumed_noise_var: s_hat^2 > 0, squared label units; `task.noise_var` by default.

    Returns:
        `[K]`, of sum 1; NaN where a concept that the teacher shows leans on another.

    Raises:
        ValueError: if a Python num_steps is negative.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.7.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5, noise_var=0.25)
    >>> [round(float(x), 3) for x in population_em_prior(task, 8)]
    [0.992, 0.008]
    """

    def step(_, prior):
        return shown(task, example_moments(task, prior, assumed_noise_var).weight)

    return jax.lax.fori_loop(0, num_steps, step, task.source_prior)


@closed_form
def em_first_step_risk(task: Task, num_samples: Real, *, assumed_noise_var: Real | None = None) -> Float[Array, "*b"]:
    """Mean excess risk of one step of EM on n weak examples, exact at every n.

        E R = s (||E w - q||^2 + tr Cov w / n)

    with E w = `one_example_refinement_prior`, tr Cov w = `one_example_spread`, q = `task.target_prior`, s =
    `task.feature_var`.

    Args:
        task, assumed_noise_var: as in `one_example_transition`.
        num_samples: n > 0, weak examples; traced, shape `[]`.

    Returns:
        Squared label units, shape `[]`; NaN where a concept that the teacher shows leans on another.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.7.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5, noise_var=0.25)
    >>> round(float(em_first_step_risk(task, 100)), 3)
    0.122
    """
    gap = one_example_refinement_prior(task, assumed_noise_var=assumed_noise_var) - task.target_prior
    spread = one_example_spread(task, assumed_noise_var=assumed_noise_var)
    return feature_scale(task) * (jnp.sum(gap**2) + spread / num_samples)


@closed_form
def em_limit_risk(task: Task, num_samples: Real) -> Float[Array, "*b"]:
    """Mean excess risk of maximum likelihood, the limit of EM, on n weak examples; n large, an interior mixture.

        E R = (s/n) tr T (T'H T)^-1 T' = (s/n) (tr H^-1 - ||q||^2),    H_jk = E_q[w_j w_k] / (q_j q_k) = C_jk(q) / q_k

    with q = `task.target_prior`, w the posterior after one example under prior q, C(q) the `one_example_transition`
    under it, s = `task.feature_var`; H is the information of one example on the weights, T an orthonormal basis of
    the directions of sum 0. Were the concepts seen, it would be (s/n)(1 - ||q||^2). The source prior plays no part.

    Args:
        task: a `Task` with isotropic `feature_var [d]` and orthonormal concepts, which the teacher shows with the
            model's own noise: `weak_concepts` = `concepts`, `weak_noise_var` = `noise_var` > 0, `weak_prior` =
            `target_prior`, every weight positive.
        num_samples: n > 0, weak examples; traced, shape `[]`. The estimate must be clear of the boundary: n q_k^2
            large for every k.

    Returns:
        Squared label units, shape `[]`; NaN for any other teacher, and where a weight is 0.

    Assumes: gaussian features.

    Reference: derived (Fisher information, the identity H q = 1), docs/theory.md 3.7.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5, noise_var=0.25)
    >>> half = jnp.array([0.5, 0.5])
    >>> round(float(em_limit_risk(task._replace(target_prior=half, weak_prior=half), 1000)), 5)
    0.00098
    """
    prior = task.target_prior
    tolerance = float(jnp.finfo(prior.dtype).eps) ** 0.5
    own_concepts = jnp.max(jnp.abs(task.weak_concepts - task.concepts)) <= tolerance
    own_noise = jnp.abs(task.weak_noise_var - task.noise_var) <= tolerance * task.noise_var
    own_prior = jnp.max(jnp.abs(task.weak_prior - prior)) <= tolerance
    valid = own_concepts & own_noise & own_prior & (jnp.min(prior) > tolerance)
    # Without it, a singular matrix would put NaN into the gradient of valid neighbours of a batch.
    identity = jnp.eye(prior.shape[0], dtype=prior.dtype)
    transition = jnp.where(valid, example_moments(task, prior, None).weight, identity)
    inverse = prior * jnp.diagonal(jnp.linalg.inv(transition))
    risk = feature_scale(task) * (jnp.sum(inverse) - jnp.sum(prior**2)) / num_samples
    return jnp.where(valid, risk, jnp.nan)
