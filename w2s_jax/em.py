"""Expectation maximisation on the mixture weights: from refinement with one example to maximum likelihood, by one knob.

The concepts and the noise are known, and only the weights of the mixture are fitted to the weak sample. The log
likelihood is concave in them, and no step lowers it. The first step is refinement from one example.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.inputs import kernel
from w2s_jax.refinement import concept_evidence, likelihood_ratio
from w2s_jax.types import Dataset, Scalar, Task, is_concrete


@kernel
def em_prior(
    task: Task, dataset: Dataset, num_steps: int, *, assumed_noise_var: Scalar | None = None
) -> Float[Array, "K"]:
    """Mixture weights after T steps of EM, from the source prior.

        w_k <- (1/n) sum_i w_k N(y_i; beta_k . phi_i, s_hat^2) / sum_j w_j N(y_i; beta_j . phi_i, s_hat^2)

    from w = alpha: a step is the mean over the sample of one-example posteriors under the weights so far. T = 1 is the
    mean of what refinement infers from one example; T -> infinity maximises the likelihood over weights on the concepts
    that alpha allows. The coefficients are B'w, `weights @ task.concepts`. The work is O(n K d + T n K).

    Args:
        task: a `Task`; its concepts beta_k `[K d]` and source prior alpha `[K]` are read.
        dataset: weak-labelled examples, features `[n d]` and labels `[n]`, n >= 1.
        num_steps: T >= 0, static; 0 is the source prior.
        assumed_noise_var: s_hat^2 > 0, squared label units; None means the task's noise_var, at 0 the limit.

    Returns:
        Weights `[K]` on the simplex; 0 where the source prior is 0.

    Raises:
        ValueError: if num_steps is negative, or a Python assumed_noise_var is not positive.

    Reference: Dempster, Laird and Rubin (1977); docs/theory.md 3.7.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.75)
    >>> weak = Dataset(jnp.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), jnp.array([2.0, 0.0]))  # as concept 0 answers
    >>> [round(float(em_prior(task, weak, num_steps)[0]), 2) for num_steps in (0, 1, 100)]
    [0.25, 1.0, 1.0]
    """
    return em_path(task, dataset, (num_steps,), assumed_noise_var=assumed_noise_var)[0]


@kernel
def em_path(
    task: Task, dataset: Dataset, steps: tuple[int, ...], *, assumed_noise_var: Scalar | None = None
) -> Float[Array, "t K"]:
    """The weights of `em_prior` after several numbers of steps, by one run of the longest.

    Args:
        task, dataset, assumed_noise_var: as in `em_prior`.
        steps: numbers of steps, each >= 0, in any order, static.

    Returns:
        Weights `[len(steps) K]`, one row for each of `steps`.

    Raises:
        ValueError: as `em_prior`.

    Reference: docs/theory.md 3.7.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.75)
    >>> em_path(task, Dataset(jnp.ones((4, 3)), jnp.ones(4)), (0, 1, 16)).shape
    (3, 2)
    """
    evidence = concept_evidence(task, dataset, assumed_noise_var=assumed_noise_var)
    likelihood = likelihood_ratio(evidence, task.source_prior)
    weights, taken, path = task.source_prior.astype(likelihood.dtype), 0, {}
    for num_steps in sorted(set(steps)):
        path[num_steps] = weights = em_steps(weights, likelihood, num_steps - taken)
        taken = num_steps
    return jnp.stack([path[num_steps] for num_steps in steps])


@kernel
def em_steps(
    prior: Float[Array, "K"], likelihood: Float[Array, "K n"], num_steps: Int[Array, ""] | int
) -> Float[Array, "K"]:
    """Weights after further EM steps from `prior`, by the likelihoods of the rows (`refinement.likelihood_ratio`)."""
    if is_concrete(num_steps) and num_steps < 0:
        raise ValueError(f"the number of EM steps must not be negative, got {num_steps}; 0 leaves the prior.")

    def step(_, weights: Float[Array, "K"]) -> Float[Array, "K"]:
        # Bayes' rule and the mean over rows, as two products with the matrix of likelihoods.
        return weights * (likelihood @ (1 / (weights @ likelihood))) / likelihood.shape[1]

    return jax.lax.fori_loop(0, num_steps, step, prior)
