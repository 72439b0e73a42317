"""How far the mean posterior of a weak prompt is from the target, exactly, for any number of concepts."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.one_factor import one_factor
from w2s_jax.theory.population import Real
from w2s_jax.theory.posterior import Prompts, tilt_limit
from w2s_jax.theory.posterior_mean import distance_of_mean, expected_rival_weights
from w2s_jax.theory.race import RaceMoments, race_moments
from w2s_jax.types import Task


@closed_form
def misalignment(
    task: Task,
    num_icl: Real,
    prompts: Prompts = "shared",
    num_prompts: Real | None = None,
    *,
    assumed_noise_var: Real | None = None,
) -> Float[Array, "*b"]:
    """Mean squared distance of the refined concept weights from the target concept.

        shared:            E||w - e_*||^2   = 2 sum_j E w_j^2 + sum_{i != j} E w_i w_j   over the rivals
        fresh:             ||E w - e_*||^2  = (sum_j E w_j)^2 + sum_j (E w_j)^2
        fresh, N prompts:  fresh + (shared - fresh)/N, the mean of ||average of N posteriors - e_*||^2

    with N = `num_prompts`; at n = `num_icl` = 0 all are (1 - alpha_*)^2 + sum_j alpha_j^2. For orthonormal concepts, s
    times it is the excess risk of the refined coefficient, and the level at which fine-tuning on refined labels
    saturates (`refined_risk`).

    For K = 2 the means are `expected_rival_weights`. For K > 2 they are integrals over one common gaussian factor,
    given which the concepts compete independently, for any source prior. Absolute error, checked for n in {1, 4,
    16, 64}, K in {3, 64} and noise variances from 0.05 to 1: under 1e-3 (K = 3) and 5e-3 (K = 64), ten times less
    where the noise is at least 0.25. Relative accuracy is lost where the value is under 1e-4: there take
    `misalignment_asymptotic`.

    Args:
        task: a `Task` with isotropic `feature_var [d]`, a one-hot `weak_prior`, a source prior positive at the target,
            and positive noise variances. For K > 2 all rivals must be alike to the teacher, to the target and to each
            other, as in every task of `make_task` and `random_task`; any source prior. `[*b]`.
        num_icl: n, weak examples in the prompt, 0 or at least 1/2 (need not be an integer); traced, shape `[*b]`.
        prompts: "shared" (one prompt for all labels) or "fresh" (one for each label).
        num_prompts: N >= 1, fresh prompts averaged; None for infinitely many; traced, shape `[*b]`.
        assumed_noise_var: s_hat^2 > 0 of the posterior, squared label units; `task.noise_var` by default.

    Returns:
        Unitless, in [0, 2], shape `[*b]`. NaN where no single factor carries what K > 2 concepts share: for K < 7, weak
        `confused` teachers of little noise (`one_factor` has the condition), and tasks whose rivals differ; there
        `sampled_misalignment` serves.

    Raises:
        ValueError: for a concrete number out of range, or another word for `prompts`.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=4, dim=5, weak_accuracy=0.7, concept_shift=0.25)
    >>> [round(float(misalignment(task, 16, prompts)), 3) for prompts in ("shared", "fresh")]
    [0.073, 0.002]
    """
    tilt_limit(prompts)  # refuses any other word
    moments = rival_moments(task, num_icl, assumed_noise_var)
    shared, fresh = distances(moments)
    if prompts == "shared":
        return shared
    return fresh if num_prompts is None else fresh + (shared - fresh) / num_prompts


@closed_form
def refined_label_spread(
    task: Task,
    num_icl: Real,
    prompts: Prompts = "shared",
    draw: Literal["sample", "mean"] = "sample",
    *,
    assumed_noise_var: Real | None = None,
) -> Float[Array, "*b"]:
    """tau of `refined_risk`: the variance of the concept behind a refined label.

        sample, shared:  1 - E||w||^2    = 2 sum_j E w_j - E||w - e_*||^2
        sample, fresh:   1 - ||E w||^2   = 2 sum_j E w_j - ||E w - e_*||^2
        mean, shared:    0
        mean, fresh:     tr Cov w        = E||w - e_*||^2 - ||E w - e_*||^2

    Args:
        task, num_icl, prompts, assumed_noise_var: as in `misalignment`.
        draw: "sample" (a label drawn from the posterior predictive distribution) or "mean" (its mean).

    Returns:
        Unitless, shape `[*b]`; as accurate as `misalignment`, and NaN where it is.

    Assumes: gaussian features, orthonormal concepts.

    Reference: derived, docs/theory.md 3.4.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.7, concept_shift=0.25)
    >>> round(float(refined_label_spread(task, 0)), 4)  # 1 - (0.75^2 + 0.25^2)
    0.375
    """
    if draw not in ("sample", "mean"):
        raise ValueError(f"draw must be 'sample' or 'mean', got {draw!r}.")
    tilt_limit(prompts)
    moments = rival_moments(task, num_icl, assumed_noise_var)
    shared, fresh = distances(moments)
    distance = shared if prompts == "shared" else fresh
    return 2 * jnp.sum(moments.weight) - distance if draw == "sample" else shared - distance


def label_spread(
    shared: Float[Array, "*b"] | Float[np.ndarray, "*b"] | float,
    fresh: Float[Array, "*b"] | Float[np.ndarray, "*b"] | float,
    num_concepts: int,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """`refined_label_spread` of sampled labels, from misalignments that are known, as from simulation.

    Rivals that are alike share what the target lacks, p = E(1 - w_*), evenly: ||E w - e_*||^2 = p^2 K/(K - 1).

        shared:  1 - E||w||^2   = 2p - E||w - e_*||^2
        fresh:   1 - ||E w||^2  = 2p - ||E w - e_*||^2

    Args:
        shared: E||w - e_*||^2, the misalignment of shared prompts, in [0, 2], `[*b]`.
        fresh: ||E w - e_*||^2, that of fresh prompts, in [0, 2], `[*b]`.
        num_concepts: K >= 2, static.

    Returns:
        (shared, fresh), unitless, each `[*b]` and at least 0.

    Assumes: rivals that are alike to the teacher and to the source, orthonormal concepts.

    Reference: derived, docs/theory.md 3.4.

    >>> [round(float(spread), 3) for spread in label_spread(0.125, 0.125, 2)]  # w = (0.75, 0.25)
    [0.375, 0.375]
    """
    missing = jnp.sqrt(jnp.asarray(fresh) * (num_concepts - 1) / num_concepts)
    return jnp.maximum(2 * missing - shared, 0.0), jnp.maximum(2 * missing - fresh, 0.0)


def distances(moments: RaceMoments) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """E||w - e_*||^2, that of shared prompts, and ||E w - e_*||^2, that of fresh ones."""
    return 2 * moments.square + moments.cross, distance_of_mean(moments.weight)


def rival_moments(task: Task, num_icl: Real, assumed_noise_var: Real | None) -> RaceMoments:
    """Means of the rivals' posterior weights `[K - 1]`, in any order, of their squares and of their products."""
    num_concepts = task.target_prior.shape[-1]
    target = jnp.argmax(task.target_prior)
    rivals = (target + 1 + jnp.arange(num_concepts - 1)) % num_concepts
    if num_concepts == 2:
        first, second = (
            expected_rival_weights(task, num_icl, power=power, assumed_noise_var=assumed_noise_var)[rivals]
            for power in (1, 2)
        )
        return RaceMoments(first, second[0], jnp.zeros_like(second[0]))
    prior = task.source_prior
    n = jnp.asarray(num_icl, prior.dtype)
    noise_var = jnp.asarray(task.noise_var if assumed_noise_var is None else assumed_noise_var, prior.dtype)
    factor = one_factor(task)
    some = race_moments(factor, prior[target], prior[rivals], noise_var, jnp.where(n > 0, n, 1.0))
    some = jax.tree.map(lambda x: jnp.where(factor.holds, x, jnp.nan), some)
    square = jnp.sum(prior[rivals] ** 2)
    none = RaceMoments(prior[rivals], square, jnp.sum(prior[rivals]) ** 2 - square)
    return jax.tree.map(lambda at_none, after: jnp.where(n > 0, after, at_none), none, some)
