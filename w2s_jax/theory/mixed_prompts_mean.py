"""How far the posterior of a prompt of several concepts, or of the wrong concept, is from the target."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.mixed_prompts import (
    ROWS,
    MixedContest,
    bisect,
    log_mgf_slope,
    mixed_contest,
    mixed_log_mgf,
    parts,
    singularities,
    winner,
)
from w2s_jax.theory.population import Real
from w2s_jax.theory.posterior import Prompts, tilt_limit
from w2s_jax.theory.posterior_mean import NUM_NODES, distance_of_mean, logistic_kernel, logistic_kernel_slope
from w2s_jax.types import Task


@closed_form
def mixed_rival_weights(
    task: Task, num_icl: Real, *, power: int = 1, assumed_noise_var: Real | None = None
) -> Float[Array, "*b K"]:
    """`expected_rival_weights` for a teacher that draws a concept for each example; exact for K = 2.

        E w_j   = (1/2 pi) int M_j(t)^n (alpha_j/alpha_*)^t  pi/sin(pi t)        dy,    t = t_0 + i y,  0 < t_0 < 1
        E w_j^2 = (1/2 pi) int M_j(t)^n (alpha_j/alpha_*)^t  (1 - t) pi/sin(pi t) dy,    0 < t_0 < 2

    with n = `num_icl`, alpha = `task.source_prior` and M_j = sum_k q'_k M_jk, q' = `task.weak_prior`, as in
    `mixed_posterior_exponent`; t_0 also lies before the first singularity of M_j. Every M_jk has a positive real part
    off the real axis, so M_j^n has no other singularities and the contour of `expected_rival_weights` serves at
    every n, and for rivals that the prompt favours. Relative error, checked for n <= 1000, s_hat^2/sigma^2 in [0.02,
    50], source priors from 1e-4 up and shares (or 0) from 1e-6 up: under 1e-9 in float64 and 5e-3 in float32, and
    under 1e-12 and 2e-4 where no share is under 1e-3.

    Args:
        task: a `Task` with isotropic `feature_var [d]`, a source prior positive at the target (the largest of
            `target_prior`) and positive noise variances. Any `weak_prior`, any Gram matrix of the concepts.
        num_icl: n >= 0, weak examples in the prompt; traced (and need not be an integer), shape `[]`.
        power: 1 for E w_j, 2 for E w_j^2.
        assumed_noise_var: s_hat^2 > 0 of the posterior, squared label units; `task.noise_var` by default.

    Returns:
        `[K]`, 0 at the target. For K > 2, the moments of X_j/(1 + X_j) for the odds X_j of j against the target: what
        the posterior would be if the strong model knew these two concepts alone and read the same prompt. The other
        concepts can only take weight away, so they are upper bounds of E w_j^power; where several rivals beat the
        target, each is near 1.

    Raises:
        ValueError: if power is neither 1 nor 2.

    Assumes: gaussian features.

    Reference: derived (Mellin-Barnes integral of the logistic function), docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.25)
    >>> task = task._replace(weak_prior=jnp.array([0.9, 0.1]))  # one example in ten is the rival's
    >>> [round(float(mixed_rival_weights(task, n)[1]), 3) for n in (0, 1, 4, 16, 64)]
    [0.25, 0.177, 0.093, 0.017, 0.0]
    """
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2, got {power}; E w_j and E w_j^2 are known.")
    return _weights(mixed_contest(task, assumed_noise_var, jnp.argmax(task.target_prior)), num_icl, power)


@closed_form
def mixed_misalignment(
    task: Task,
    num_icl: Real,
    prompts: Prompts = "shared",
    num_prompts: Real | None = None,
    *,
    assumed_noise_var: Real | None = None,
) -> Float[Array, "*b"]:
    """`misalignment` for prompts and targets of several concepts; exact for K = 2.

        shared:            E||w - q||^2   = sum_k E (w_k - q_k)^2
        fresh:             ||E w - q||^2  = sum_k (E w_k - q_k)^2
        fresh, N prompts:  fresh + (shared - fresh)/N, the mean of ||average of N posteriors - q||^2

    with q = `task.target_prior`, which may be a mixture, and N = `num_prompts`. At n = 0 both are ||alpha - q||^2
    (K = 2); for long prompts both tend to `winner_takes_all_misalignment`. On the way to a mixture target the fresh
    one may dip, at best to 0: E w passes q on its way from the source prior to a single concept.

    Args:
        task, num_icl, assumed_noise_var: as in `mixed_rival_weights`; the source prior must be positive at the winner
            (`winner_takes_all_misalignment`), not at the target.
        prompts: "shared" (one prompt for all labels) or "fresh" (one for each label).
        num_prompts: N >= 1, fresh prompts averaged; None for infinitely many; traced, shape `[]`.

    Returns:
        Unitless, shape `[]`, in [0, 2] for K = 2. For K > 2 made of separate contests with the winner: products of two
        weights that are not the winner's are dropped, and no rival takes weight from another, so that it may exceed 2.
        Right in the limit of long prompts, and no bound. Where q is one-hot and the target wins, `misalignment` is
        exact at every K.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5)
    >>> mixture = jnp.array([0.75, 0.25])
    >>> task = task._replace(target_prior=mixture, weak_prior=mixture)
    >>> [round(float(mixed_misalignment(task, n, "fresh")), 3) for n in (0, 2, 8, 32, 128)]
    [0.125, 0.008, 0.007, 0.078, 0.124]
    """
    tilt_limit(prompts)  # refuses any other word
    contest = mixed_contest(task, assumed_noise_var, winner(task))
    first = _weights(contest, num_icl, 1)
    share = jnp.where(contest.is_rival, task.target_prior, 0.0)
    fresh = distance_of_mean(first - share)
    if prompts == "fresh" and num_prompts is None:
        return fresh
    second = _weights(contest, num_icl, 2)
    shared = 2 * (jnp.sum(second) - (jnp.sum(share) + share) @ first) + distance_of_mean(share)
    return shared if prompts == "shared" or num_prompts is None else fresh + (shared - fresh) / num_prompts


@closed_form
def wrong_prompt_misalignment(
    task: Task,
    num_icl: Real,
    error: Real,
    prompts: Prompts = "shared",
    *,
    assumed_noise_var: Real | None = None,
) -> Float[Array, "*b"]:
    """Misalignment where a whole prompt is of the wrong concept with some probability; exact for K = 2.

        shared:  sum_k p_k E_k||w - q||^2,    fresh:  ||sum_k p_k E_k w - q||^2
        p_* = 1 - p,    p_k = p/(K - 1) for every other concept

    where E_k is the mean over prompts whose n = `num_icl` examples are all of concept k as the teacher renders it
    (`task.weak_concepts[k]`), p = `error`, * the largest of q = `task.target_prior`. Unlike a share of foreign
    examples, which only slows the posterior, a wrong prompt misleads it more surely the longer it is. For a one-hot
    q and weak concepts each nearest to their own, as n grows,

        shared -> 2 p,    fresh -> p^2 K/(K - 1).

    Args:
        task, num_icl, prompts, assumed_noise_var: as in `mixed_misalignment`; `weak_prior` is not read, and the
            source prior must be positive everywhere.
        error: p in [0, 1], the probability that a prompt is of a wrong concept, each equally likely; traced, shape
            `[]`.

    Returns:
        Unitless, shape `[]`, in [0, 2] for K = 2. For K > 2 as approximate as `mixed_misalignment`, with the
        right limits for long prompts.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=4, dim=8, weak_accuracy=0.9, concept_shift=0.5)
    >>> [round(float(wrong_prompt_misalignment(task, 512, 0.25, p)), 4) for p in ("shared", "fresh")]
    [0.5, 0.0833]
    """
    tilt_limit(prompts)
    num_concepts = task.target_prior.shape[-1]
    each = jnp.eye(num_concepts, dtype=task.target_prior.dtype)
    shown = jnp.where(jnp.arange(num_concepts) == jnp.argmax(task.target_prior), 1 - error, error / (num_concepts - 1))
    if prompts == "shared":
        options = {"prompts": "shared", "assumed_noise_var": assumed_noise_var}
        return shown @ jax.vmap(lambda one: mixed_misalignment(task._replace(weak_prior=one), num_icl, **options))(each)

    def deviation(one):
        """E_k w - q, the winner's entry from those of the others: no digit is lost next to a vertex."""
        contest = mixed_contest(task._replace(weak_prior=one), assumed_noise_var, winner(task._replace(weak_prior=one)))
        others = jnp.where(contest.is_rival, _weights(contest, num_icl, 1) - task.target_prior, 0.0)
        return jnp.where(contest.is_rival, others, -jnp.sum(others))

    return jnp.sum((shown @ jax.vmap(deviation)(each)) ** 2)


def _weights(contest: MixedContest, num_icl: Real, power: int) -> Float[Array, "K"]:
    """E w_j^power of every concept in its contest with the reference, 0 there."""
    num_icl = jnp.asarray(num_icl, contest.drift.dtype)
    return jax.vmap(partial(_contour_integral, power=power), in_axes=(ROWS, None))(contest, num_icl)


@partial(jax.jit, static_argnames="power")  # a leaf: without it, every call outside a jit would compile the loop again
def _contour_integral(row: MixedContest, num_icl, *, power: int) -> Float[Array, ""]:
    """The integral of `mixed_rival_weights` for one rival."""
    alive = row.prior_odds > 0
    row = row._replace(
        prior_odds=jnp.where(alive, row.prior_odds, 1.0),
        drift=jnp.where(num_icl > 0, row.drift, 0.0),  # M = 1: an empty prompt has no singularity to avoid
        gap=jnp.where(num_icl > 0, row.gap, 0.0),
    )
    start, y, dy = _contour(jax.tree.map(jax.lax.stop_gradient, row), jax.lax.stop_gradient(num_icl), power)
    log_odds = jnp.log(row.prior_odds)
    u, step = start / row.noise_var, (y / row.noise_var)[None]
    peak = num_icl * mixed_log_mgf(row, u) + start * log_odds
    # each part M_jk(t)/M_jk(t_0) - 1, then M(t)/M(t_0) - 1 = bend + i turn: no digit is lost where t is near t_0
    g, tangent, share = parts(row, u)
    bend, turn = row.gap[:, None] * step**2 / g[:, None], tangent[:, None] * step / g[:, None]
    log_size, angle = -0.25 * jnp.log1p(2 * bend + bend**2 + turn**2), -0.5 * jnp.arctan2(turn, 1 + bend)
    bend = share @ (jnp.expm1(log_size) * jnp.cos(angle) - 2 * jnp.sin(angle / 2) ** 2)
    turn = share @ (jnp.exp(log_size) * jnp.sin(angle))
    size = jnp.exp(0.5 * num_icl * jnp.log1p(2 * bend + bend**2 + turn**2))
    phase = y * log_odds + num_icl * jnp.arctan2(turn, 1 + bend)
    real, imaginary = logistic_kernel(start, y, power)
    body = size * (jnp.cos(phase) * real - jnp.sin(phase) * imaginary)
    return jnp.where(alive, jnp.exp(peak) * jnp.sum(body * dy) / jnp.pi, 0.0)


def _contour(row: MixedContest, num_icl, power: int):
    """Where the contour crosses the real axis, its nodes y > 0 [N] and their weights dy [N]; the lower half mirrors.

    As in `expected_rival_weights`: y = b sinh(x), b the distance to the nearest singularity, up to where every part of
    the integrand is under round-off.
    """
    edge = jnp.minimum(power, row.noise_var * singularities(row)[1])

    def slope(t):
        cumulant = log_mgf_slope(row, t / row.noise_var) / row.noise_var
        return num_icl * cumulant + jnp.log(row.prior_odds) + logistic_kernel_slope(t, power)

    start = bisect(slope, jnp.zeros_like(edge), edge, steps=40)  # the integrand is log-convex between its poles
    digits = -math.log(float(jnp.finfo(start.dtype).eps))
    rise = jnp.expm1(2 * digits / num_icl)  # |M_jk(t)/M_jk(t_0)|^n is round-off where |g(t)/g(t_0)| is over 1 + rise
    g, tangent, _ = parts(row, start / row.noise_var)
    bend = row.noise_var * jnp.sqrt(rise) * jnp.sqrt(g / row.gap)
    turn = row.noise_var * jnp.sqrt(rise) * jnp.sqrt(rise + 2) * g / jnp.abs(tangent)
    longest = jnp.max(jnp.where((row.share > 0) & (num_icl > 0), jnp.fmin(bend, turn), 0.0))
    end = jnp.minimum((digits + 4) / math.pi, jnp.where(num_icl > 0, longest, jnp.inf))
    reach = jnp.minimum(start, edge - start)
    width = jnp.arcsinh(end / reach) / NUM_NODES
    x = (jnp.arange(NUM_NODES) + 0.5) * width
    return start, reach * jnp.sinh(x), reach * jnp.cosh(x) * width
