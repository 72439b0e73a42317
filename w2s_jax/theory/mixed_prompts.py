"""Prompts whose examples come from several concepts: the exponent of their posterior, the winner, the threshold."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.population import Real
from w2s_jax.theory.posterior import PosteriorExponents, Prompts, make_contest, tilt_limit
from w2s_jax.types import Task


class MixedContest(NamedTuple):
    """Each concept j against a reference concept, on an example of each concept k that the teacher may show, s = 1.

    The row of the reference is inert, and so are the columns of concepts that are never shown.
    """

    drift: Float[Array, "*j K"]
    """h_jk = (||beta^w_k - beta_j||^2 - ||beta^w_k - beta_*||^2)/2; negative where k speaks for the rival."""
    gap: Float[Array, "*j K"]
    """D_j v_jk - h_jk^2 >= 0."""
    share: Float[Array, "K"]
    """q'_k: how often the teacher shows k."""
    prior_odds: Float[Array, "*j"]
    """alpha_j / alpha_*."""
    is_rival: Bool[Array, "*j"]
    noise_var: Float[Array, ""]
    """s_hat^2, the noise variance that the posterior assumes."""


ROWS = MixedContest(0, 0, None, 0, 0, None)  # pyright: ignore[reportArgumentType]
"""`in_axes` of a `vmap` over the rivals of a `MixedContest`."""


@closed_form
def mixed_posterior_exponent(
    task: Task, *, assumed_noise_var: Real | None = None, prompts: Prompts = "fresh"
) -> Float[Array, "*b"]:
    """`posterior_exponent` for a teacher that draws a concept for each example: contamination, or a mixture target.

        kappa = min_j kappa_j,    kappa_j = -log M_j(t),    M_j(t) = sum_k q'_k M_jk(t)
        M_jk(t) = [(1 + u h_jk)^2 - u^2 D_j v_jk]^(-1/2),    u = t/s_hat^2

    where t in (0, 1] (fresh) or (0, 2] (shared) minimises the convex M_j; D_j, v_jk and h_jk are those of
    `posterior_exponent` with beta^w_k in place of beta_w, and q' = `task.weak_prior`. Where M_j falls at 0 the rival
    loses, else kappa_j = 0. The domain of M_j ends at the first singularity of a concept that is shown at all, so
    kappa jumps down as soon as a share q'_k becomes positive whose singularity lies before t*_j (docs/theory.md 3.6).

    Args:
        task: a `Task` with isotropic `feature_var [d]` and positive noise variances. Any `weak_prior`, any Gram matrix
            of the concepts. The target concept * is the largest of `target_prior`.
        assumed_noise_var: s_hat^2 > 0 of the posterior, squared label units; `task.noise_var` by default.
        prompts: "fresh", for E w (t up to 1), or "shared", for the mean square (t up to 2).

    Returns:
        Nats per weak example, shape `[]`; 0 where the target is not strictly the concept nearest to the mean teacher
        beta_w = `task.weak_coef`. Equal to `posterior_exponent` for a one-hot `weak_prior`. Absolute error under 1e-15
        in float64 and 1e-6 in float32. First derivatives are right, but for those in a share that is 0.

    Assumes: gaussian features.

    Reference: derived (Chernoff), docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5)
    >>> shares = [0.0, 0.01, 0.1, 0.3, 0.6]
    >>> tasks = [task._replace(weak_prior=jnp.array([1 - rho, rho])) for rho in shares]
    >>> [round(float(mixed_posterior_exponent(task)), 3) for task in tasks]
    [0.549, 0.244, 0.119, 0.024, 0.0]
    """
    return jnp.min(mixed_posterior_exponents(task, assumed_noise_var=assumed_noise_var, prompts=prompts).exponent)


@closed_form
def mixed_posterior_exponents(
    task: Task, *, assumed_noise_var: Real | None = None, prompts: Prompts = "fresh"
) -> PosteriorExponents:
    """Exponent and tilt of every rival: the terms of which `mixed_posterior_exponent` is the least.

    The tilt is found by 60 bisections of the slope of log M_j and one Newton step, which also carries its derivative.

    Args:
        task, assumed_noise_var, prompts: as in `mixed_posterior_exponent`.

    Returns:
        `PosteriorExponents(exponent [K], tilt [K])`. The tilt t*_j minimises M_j over its whole domain: it is not
        limited to 1 or 2, and negative where the rival is favoured. Upper bounds of E w_j fall as e^(-kappa_j n_icl),
        for K = 2 the means themselves.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5)
    >>> task = task._replace(weak_prior=jnp.array([0.9, 0.1]))
    >>> [round(float(x), 4) for x in mixed_posterior_exponents(task).tilt]
    [0.0, 0.0681]
    """
    contest = mixed_contest(task, assumed_noise_var, jnp.argmax(task.target_prior))
    best = jax.vmap(_best_scaled_tilt, in_axes=(ROWS,))(contest)
    u = jnp.minimum(best, tilt_limit(prompts) / contest.noise_var)
    exponent = -jax.vmap(mixed_log_mgf, in_axes=(ROWS, 0))(contest, u)
    exponent = jnp.where(contest.drift @ contest.share > 0, exponent, 0.0)
    return PosteriorExponents(jnp.where(contest.is_rival, exponent, jnp.inf), contest.noise_var * best)


@closed_form
def winner_takes_all_misalignment(task: Task) -> Float[Array, "*b"]:
    """Limit of the misalignment for long prompts: all weight on one concept, for any target.

        ||e_c - q||^2 = 1 - 2 q_c + ||q||^2,    c = argmin_k ||beta_k - beta_w||,    beta_w = sum_k q'_k beta^w_k

    the limit of E||w - q||^2 and of ||E w - q||^2 alike, with q = `task.target_prior`. The winner c is the concept
    whose label distribution is nearest to the teacher's in Kullback-Leibler divergence, at any assumed noise: each
    example moves the log odds of two concepts by the difference of their squared distances to beta_w, on average. With
    orthonormal concepts that the teacher renders perfectly it is the largest of q'.

    Args:
        task: a `Task`. A concept of `source_prior` 0 cannot win.

    Returns:
        Unitless, in [0, 2], shape `[]`.

    Assumes: a single nearest concept (ties go to the first), features of isotropic covariance.

    Reference: derived, docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5)
    >>> mixture = jnp.array([0.75, 0.25])
    >>> float(winner_takes_all_misalignment(task._replace(target_prior=mixture, weak_prior=mixture)))
    0.125
    """
    won = jax.nn.one_hot(winner(task), task.target_prior.shape[-1], dtype=task.target_prior.dtype)
    return jnp.sum((won - task.target_prior) ** 2)


@closed_form
def contamination_threshold(task: Task) -> Float[Array, "*b"]:
    """The share of foreign examples in a prompt from which on refinement no longer finds the target.

        rho* = min_j h_j / (h_j - hbar_j)

    where h_j = (||beta_w - beta_j||^2 - ||beta_w - beta_*||^2)/2 is the drift of the teacher against rival j, and
    hbar_j the same for its replacement, whose prior is (1 - q')/(K - 1). A contaminated prompt has the prior
    (1 - rho) q' + rho (1 - q')/(K - 1) and the drift (1 - rho) h_j + rho hbar_j, positive for all j iff rho < rho*.
    Orthonormal concepts, one-hot q': rho* = (K - 1)/K for a perfect, noisy or shifted teacher (until every concept is
    shown equally often) and a (K - 1)/(1 + a (K - 1)) for a rotated one of weak accuracy a. Under rho* contamination
    slows the exponent and does not stop refinement at any length of the prompt: n_icl need not be o(1/rho).

    Args:
        task: a `Task` whose `weak_prior` q' is that of clean examples; its target is the largest of `target_prior`.

    Returns:
        rho* in [0, 1], unitless, shape `[]`: 0 where refinement fails without contamination, `inf` where no share
        breaks it.

    Assumes: features of isotropic covariance.

    Reference: derived, docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=4, dim=8, weak_accuracy=1.0, concept_shift=0.5)
    >>> float(contamination_threshold(task))
    0.75
    """
    foreign = task._replace(weak_prior=(1 - task.weak_prior) / (task.weak_prior.shape[-1] - 1))
    clean, replaced = make_contest(task, None), make_contest(foreign, None)
    crosses = clean.is_rival & (clean.drift > 0) & (replaced.drift <= 0)
    share = clean.drift / jnp.where(crosses, clean.drift - replaced.drift, 1.0)
    lost = clean.is_rival & (clean.drift <= 0)
    return jnp.min(jnp.where(crosses, share, jnp.where(lost, 0.0, jnp.inf)))


def winner(task: Task) -> Int[Array, ""]:
    """Index of the concept nearest to the mean teacher, among those that the source does not rule out."""
    distance = jnp.sum((task.concepts - task.weak_coef[None]) ** 2, -1)
    return jnp.argmin(jnp.where(task.source_prior > 0, distance, jnp.inf))


def mixed_contest(task: Task, assumed_noise_var: Real | None, reference: Int[Array, ""]) -> MixedContest:
    """The numbers of 3.6 for every concept against `reference`, on an example of every concept, s = 1."""
    each = jnp.eye(task.target_prior.shape[-1], dtype=task.target_prior.dtype)
    task = task._replace(target_prior=each[reference])
    shown = jax.vmap(lambda one: make_contest(task._replace(weak_prior=one), assumed_noise_var))(each)
    absent = task.weak_prior[None] == 0  # without singularities, so that they bound no domain
    return MixedContest(
        drift=jnp.where(absent, 0.0, shown.drift.T),
        gap=jnp.where(absent, 0.0, shown.gap.T),
        share=task.weak_prior,
        prior_odds=shown.prior_odds[0],
        is_rival=shown.is_rival[0],
        noise_var=shown.noise_var[0],
    )


def mixed_log_mgf(row: MixedContest, u) -> Float[Array, ""]:
    """log M(t) of one rival at t = s_hat^2 u: the cumulant generating function of an example's log odds."""
    return jnp.log1p(row.share @ jnp.expm1(-0.5 * jnp.log1p(2 * u * row.drift - u**2 * row.gap)))


def singularities(row: MixedContest) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The ends of the domain of M in u = t/s_hat^2, one on either side of 0: the nearest of those of its parts."""
    root = jnp.sqrt(row.gap + row.drift**2)  # sqrt(D v)

    def nearest(drift):
        near = drift > 0  # of the two forms of one root, that which loses no digits
        return jnp.min(
            jnp.where(near, (drift + root) / jnp.where(near, row.gap, 1.0), 1 / jnp.where(near, 1.0, root - drift))
        )

    return -nearest(-row.drift), nearest(row.drift)


def bisect(slope, low, high, steps: int):
    """Where an increasing function crosses 0, from below; what is not a number counts as beyond."""

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        falling = slope(middle) < 0
        return jnp.where(falling, middle, low), jnp.where(falling, high, middle)

    return jax.lax.fori_loop(0, steps, halve, (low, high))[0]


def parts(row: MixedContest, u):
    """g_k = M_jk^-2 at real t = s_hat^2 u, its derivative in u, and the share of each concept in M_j; all [K]."""
    g = 1 + 2 * u * row.drift - u**2 * row.gap
    weight = row.share / jnp.sqrt(g)
    return g, 2 * (row.drift - u * row.gap), weight / jnp.sum(weight)


def log_mgf_slope(row: MixedContest, u) -> Float[Array, ""]:
    """Derivative of `mixed_log_mgf` in u."""
    g, tangent, weight = parts(row, u)
    return -0.5 * weight @ (tangent / g)


def _best_scaled_tilt(row: MixedContest) -> Float[Array, ""]:
    """t*/s_hat^2, the minimiser of M over its domain; 0 at the reference."""
    fixed = jax.tree.map(jax.lax.stop_gradient, row)
    ends = (jnp.where(jnp.isfinite(end), end, jnp.sign(end)) for end in singularities(fixed))  # M = 1: no end at all
    u = jax.lax.stop_gradient(bisect(partial(log_mgf_slope, fixed), *ends, steps=60))
    g, tangent, weight = parts(fixed, u)
    curvature = weight @ (fixed.gap / g + 0.75 * (tangent / g) ** 2) - log_mgf_slope(fixed, u) ** 2
    curved = curvature > 0
    return jnp.where(curved, u - log_mgf_slope(row, u) / jnp.where(curved, curvature, 1.0), 0.0)
