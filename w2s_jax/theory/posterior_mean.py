"""How far the concept posterior of a weak prompt is from the target: exactly, asymptotically, and at most."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.population import Real
from w2s_jax.theory.posterior import Contest, Prompts, log_mgf, make_contest, tilt, tilt_limit
from w2s_jax.types import Task

NUM_NODES = 192
"""Nodes of the contour integral: 64 reach 2e-5, 128 reach 2e-9 and 192 reach 1e-11 on the range of
`expected_rival_weights`."""


@closed_form
def expected_rival_weights(
    task: Task, num_icl: Real, *, power: int = 1, assumed_noise_var: Real | None = None
) -> Float[Array, "*b K"]:
    """Mean posterior weight of each rival, or its mean square, when the rival meets the target alone; exact for K = 2.

        E w_j   = (1/2 pi) int M_j(t)^n (alpha_j/alpha_*)^t  pi/sin(pi t)        dy,    t = t_0 + i y,  0 < t_0 < 1
        E w_j^2 = (1/2 pi) int M_j(t)^n (alpha_j/alpha_*)^t  (1 - t) pi/sin(pi t) dy,    0 < t_0 < 2

    with n = `num_icl`, alpha = `task.source_prior` and M_j, D, v, h as in `posterior_exponent`. The contour passes
    through the saddle of the integrand; with y = b sinh(x), b its distance to the nearest singularity, the midpoint
    rule on 192 nodes converges exponentially. Relative error, checked for n <= 1000, s_hat^2/sigma^2 in [0.002, 200]
    and source priors from 1e-6 up: under 1e-11 in float64; in float32 under 1e-4 for n <= 100 and of the order of
    1e-3 at n = 1000.

    Args:
        task: a `Task` with isotropic `feature_var [d]`, a one-hot `weak_prior`, a source prior positive at the target,
            and positive noise variances. Any Gram matrix of the concepts.
        num_icl: n >= 0, weak examples in the prompt; traced (and need not be an integer), shape `[]`.
        power: 1 for E w_j, 2 for E w_j^2.
        assumed_noise_var: s_hat^2 > 0 of the posterior, squared label units; `task.noise_var` by default.

    Returns:
        `[K]`, 0 at the target. For K > 2, upper bounds of E w_j^power: the other rivals can only take weight away.

    Assumes: gaussian features.

    Reference: derived (Mellin-Barnes integral of the logistic function), docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.7, concept_shift=0.25)
    >>> [round(float(expected_rival_weights(task, n)[1]), 3) for n in (0, 1, 4, 16, 64)]
    [0.25, 0.236, 0.138, 0.019, 0.0]
    """
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2, got {power}.")
    contest = make_contest(task, assumed_noise_var)
    num_icl = jnp.asarray(num_icl, contest.drift.dtype)
    axes = Contest(0, 0, 0, 0, 0, 0, None)  # pyright: ignore[reportArgumentType]
    return jax.vmap(partial(_contour_integral, power=power), in_axes=(axes, None))(contest, num_icl)


@closed_form
def rival_weights_asymptotic(
    task: Task, num_icl: Real, *, power: int = 1, assumed_noise_var: Real | None = None
) -> Float[Array, "*b K"]:
    """Sharp form of `expected_rival_weights` for long prompts, constant included.

        t* < power:  E w_j   ~ (alpha_j/alpha_*)^t* [pi/sin(pi t*)] e^(-kappa n) / sqrt(2 pi n V)
                     E w_j^2 ~ (1 - t*) times that,    V = (D v - h^2)^2 / (D v s_hat^4)
        t* > power:  E w_j^power ~ (alpha_j/alpha_*)^power M_j(power)^n

    with n = `num_icl` and the rest as in `posterior_exponent`.

    Args:
        task, num_icl, power, assumed_noise_var: as in `expected_rival_weights`; n > 0.

    Returns:
        `[K]`, 0 at the target, NaN where the rival is as near to the teacher as the target is. The ratio to the truth
        is 1 + O(1/n), and 2 at worst next to t* = power.

    Assumes: gaussian features, the target strictly nearest to the teacher.

    Reference: derived (saddle point), docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.7, concept_shift=0.25)
    >>> ratio = expected_rival_weights(task, 100)[1] / rival_weights_asymptotic(task, 100)[1]
    >>> 0.9 < float(ratio) < 1
    True
    """
    contest = make_contest(task, assumed_noise_var)
    saddle = tilt(contest)
    decay = jnp.exp(num_icl * log_mgf(contest, jnp.minimum(saddle, power)))
    sharp = sharp_coefficients(contest, power) / jnp.sqrt(1.0 * num_icl)
    weights = jnp.where(saddle < power, sharp, contest.prior_odds**power) * decay
    return jnp.where(contest.prior_odds > 0, jnp.where(contest.drift > 0, weights, jnp.nan), 0.0)


@closed_form
def misalignment_asymptotic(
    task: Task, num_icl: Real, prompts: Prompts = "shared", *, assumed_noise_var: Real | None = None
) -> Float[Array, "*b"]:
    """Sharp form of `misalignment` for long prompts, for any number of concepts.

        shared:  2 sum_j E w_j^2                      ~ n^(-1/2) e^(-kappa n)
        fresh:   (sum_j E w_j)^2 + sum_j (E w_j)^2    ~ n^(-1) e^(-2 kappa n)

    with the means from `rival_weights_asymptotic`, n = `num_icl` and kappa = `posterior_exponent`.

    Args:
        task, num_icl, assumed_noise_var: as in `rival_weights_asymptotic`.
        prompts: "shared" or "fresh".

    Returns:
        Unitless, shape `[]`; larger than the truth at short prompts.

    Assumes: gaussian features, the target strictly nearest to the teacher.

    Reference: derived, docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> from w2s_jax.theory import misalignment
    >>> task = make_task(num_concepts=4, dim=8, weak_accuracy=0.7, concept_shift=0.25)
    >>> 0.9 < float(misalignment(task, 64) / misalignment_asymptotic(task, 64)) < 1
    True
    """
    if tilt_limit(prompts) == 2:
        return 2 * jnp.sum(rival_weights_asymptotic(task, num_icl, power=2, assumed_noise_var=assumed_noise_var))
    return distance_of_mean(rival_weights_asymptotic(task, num_icl, assumed_noise_var=assumed_noise_var))


@closed_form
def posterior_error_bound(task: Task, num_icl: Real, *, assumed_noise_var: Real | None = None) -> Float[Array, "*b"]:
    """An upper bound on the mean posterior weight that is not on the target.

        E(1 - w_*) <= sum_j t^t (1 - t)^(1 - t) (alpha_j/alpha_*)^t M_j(t)^n,    t = t*_j limited to [0, 1]

    with n = `num_icl` and the rest as in `posterior_exponent`: for t*_j in (0, 1), M_j(t)^n = e^(-kappa_j n).

    Args:
        task, num_icl, assumed_noise_var: as in `expected_rival_weights`; n >= 0.

    Returns:
        Unitless, shape `[]`; above 1 where it says nothing.

    Assumes: gaussian features. Valid at every n and K.

    Reference: derived (Chernoff), docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.7, concept_shift=0.25)
    >>> float(expected_rival_weights(task, 32)[1]) < float(posterior_error_bound(task, 32)) < 0.06
    True
    """
    return jnp.sum(_bounds(task, num_icl, 1, assumed_noise_var))


@closed_form
def misalignment_bound(
    task: Task, num_icl: Real, prompts: Prompts = "shared", *, assumed_noise_var: Real | None = None
) -> Float[Array, "*b"]:
    """An upper bound on `misalignment`, for any number of concepts.

        shared:  E||w - e_*||^2   <= K sum_j p_j,    p_j = [u^u (1 - u)^(1 - u)]^2 (alpha_j/alpha_*)^t M_j(t)^n
        fresh:   ||E w - e_*||^2  <= (sum_j p_j)^2 + sum_j p_j^2,    p_j the terms of `posterior_error_bound`

    with t = t*_j limited to [0, 2] and u = t/2 (shared), n = `num_icl`, K concepts, the rest as in
    `posterior_exponent`.

    Args:
        task, num_icl, prompts, assumed_noise_var: as in `misalignment`; n >= 0.

    Returns:
        Unitless, shape `[]`; above 2 where it says nothing.

    Assumes: gaussian features. Valid at every n and K.

    Reference: derived (Chernoff, then Cauchy-Schwarz over the rivals), docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> from w2s_jax.theory import misalignment
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.7, concept_shift=0.25)
    >>> float(misalignment(task, 32)) < float(misalignment_bound(task, 32)) < 0.08
    True
    """
    if tilt_limit(prompts) == 2:
        return task.concepts.shape[-2] * jnp.sum(_bounds(task, num_icl, 2, assumed_noise_var))
    return distance_of_mean(_bounds(task, num_icl, 1, assumed_noise_var))


def sharp_coefficients(contest: Contest, power: int) -> Float[Array, "K"]:
    """p_j: the factor of n^(-1/2) e^(-kappa_j n) in E w_j^power, for t* in (0, power); 0 at the target."""
    inside = (contest.drift > 0) & (tilt(contest) < power)
    t = jnp.where(inside, tilt(contest), 0.5)
    dv = jnp.where(inside, contest.distance * contest.spread, 1.0)
    deviation = jnp.where(inside, contest.gap, 1.0) / (jnp.sqrt(dv) * contest.noise_var)  # sqrt(V)
    away = jnp.pi * (1 - t)
    safe = jnp.where(away == 0, 1.0, away)
    kernel = jnp.where(away == 0, 1.0, safe / jnp.sin(safe)) / (1 if power == 2 else 1 - t)
    sharp = _odds_to(contest, t) * kernel / (math.sqrt(2 * math.pi) * deviation)
    return jnp.where(contest.prior_odds > 0, jnp.where(inside, sharp, jnp.inf), 0.0)


def _bounds(task: Task, num_icl: Real, power: int, assumed_noise_var: Real | None) -> Float[Array, "K"]:
    """Bounds of E w_j^power: w^p <= x^p/(1 + x)^p <= c(t) x^t for the odds x and any t in [0, p]."""
    contest = make_contest(task, assumed_noise_var)
    t = jnp.clip(tilt(contest), 0.0, power)
    inside = (t > 0) & (t < power)
    share = jnp.where(inside, t / power, 0.5)
    log_constant = power * (share * jnp.log(share) + (1 - share) * jnp.log1p(-share))
    return jnp.exp(jnp.where(inside, log_constant, 0.0) + num_icl * log_mgf(contest, t)) * _odds_to(contest, t)


def _odds_to(contest: Contest, t: Float[Array, "K"]) -> Float[Array, "K"]:
    """(alpha_j/alpha_*)^t, 0 at the target and where the source rules the concept out, with finite gradients."""
    alive = contest.prior_odds > 0
    return jnp.where(alive, jnp.where(alive, contest.prior_odds, 1.0) ** t, 0.0)


def distance_of_mean(rivals: Float[Array, "K"]) -> Float[Array, ""]:
    """||E w - e_*||^2 from the weights of the rivals."""
    return jnp.sum(rivals) ** 2 + jnp.sum(rivals**2)


@partial(jax.jit, static_argnames="power")  # a leaf: without it, every call outside a jit would compile the loop again
def _contour_integral(contest: Contest, num_icl, *, power: int) -> Float[Array, ""]:
    """The integral of `expected_rival_weights` for one rival (a `Contest` of scalars)."""
    alive = contest.prior_odds > 0
    contest = contest._replace(
        prior_odds=jnp.where(alive, contest.prior_odds, 1.0),
        drift=jnp.where(num_icl > 0, contest.drift, 0.0),  # M = 1: an empty prompt has no branch point to avoid
        gap=jnp.where(num_icl > 0, contest.gap, 0.0),
    )
    start, y, dy = _contour(jax.tree.map(jax.lax.stop_gradient, contest), jax.lax.stop_gradient(num_icl), power)
    log_odds = jnp.log(contest.prior_odds)
    peak = num_icl * log_mgf(contest, start) + start * log_odds
    # (M(t)/M(t_0))^n from g(t)/g(t_0) - 1 = bend + i turn, in real arithmetic: no digit is lost where t is near t_0
    scaled, y_scaled = start / contest.noise_var, y / contest.noise_var
    g = 1 + 2 * scaled * contest.drift - scaled**2 * contest.gap
    bend = contest.gap * y_scaled**2 / g
    turn = 2 * (contest.drift - scaled * contest.gap) * y_scaled / g
    size = jnp.exp(-0.25 * num_icl * jnp.log1p(2 * bend + bend**2 + turn**2))
    phase = y * log_odds - 0.5 * num_icl * jnp.arctan2(turn, 1 + bend)
    real, imaginary = logistic_kernel(start, y, power)
    body = size * (jnp.cos(phase) * real - jnp.sin(phase) * imaginary)
    return jnp.where(alive, jnp.exp(peak) * jnp.sum(body * dy) / jnp.pi, 0.0)


def _contour(contest: Contest, num_icl, power: int):
    """Where the contour crosses the real axis, its nodes y > 0 [N] and their weights dy [N]; the lower half mirrors.

    All singularities (poles at integers, branch points of M) lie on the real axis outside (0, edge), so that y = b
    sinh(x) leaves a strip of analyticity of fixed width in x. The range of y ends where the integrand is under
    round-off.
    """
    root = jnp.sqrt(contest.distance * contest.spread)
    near = contest.drift > 0
    branch = jnp.where(
        near, (contest.drift + root) / jnp.where(near, contest.gap, 1.0), 1 / jnp.where(near, 1.0, root - contest.drift)
    )
    edge = jnp.where(num_icl > 0, jnp.minimum(power, contest.noise_var * branch), power)
    start = _saddle(contest, num_icl, edge, power)
    reach = jnp.minimum(start, edge - start)
    digits = -math.log(float(jnp.finfo(start.dtype).eps))
    scaled = start / contest.noise_var
    g = 1 + 2 * scaled * contest.drift - scaled**2 * contest.gap
    # |M(t)/M(t_0)|^n is under round-off where |g(t)/g(t_0)| is over 1 + rise; g has curvature `gap` and a slope in y
    rise = jnp.expm1(2 * digits / num_icl)
    bend = contest.noise_var * jnp.sqrt(rise) * jnp.sqrt(g / contest.gap)
    slope = jnp.abs(contest.drift - scaled * contest.gap)
    turn = contest.noise_var * jnp.sqrt(rise) * jnp.sqrt(rise + 2) * g / (2 * slope)
    end = jnp.minimum((digits + 4) / math.pi, jnp.fmin(bend, turn))
    step = jnp.arcsinh(end / reach) / NUM_NODES
    x = (jnp.arange(NUM_NODES) + 0.5) * step
    return start, reach * jnp.sinh(x), reach * jnp.cosh(x) * step


def _saddle(contest: Contest, num_icl, edge, power: int) -> Float[Array, ""]:
    """Minimum over (0, edge) of the integrand, which is log-convex there: by bisection of its logarithmic slope."""

    def slope(t):
        u = t / contest.noise_var
        g = 1 + 2 * u * contest.drift - u**2 * contest.gap
        cumulant = -(contest.drift - u * contest.gap) / (contest.noise_var * g)
        return num_icl * cumulant + jnp.log(contest.prior_odds) + logistic_kernel_slope(t, power)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        rising = slope(middle) > 0
        return jnp.where(rising, low, middle), jnp.where(rising, middle, high)

    low, high = jax.lax.fori_loop(0, 40, halve, (jnp.zeros_like(edge), edge))
    return (low + high) / 2


def logistic_kernel_slope(t, power: int):
    """Derivative of the logarithm of pi/sin(pi t), or of (1 - t) pi/sin(pi t), at real t."""
    if power == 1:
        return -jnp.pi / jnp.tan(jnp.pi * t)
    far = jnp.abs(t - 1) > 1e-3
    away = jnp.where(far, t - 1, 0.5)
    return jnp.where(far, 1 / away - jnp.pi / jnp.tan(jnp.pi * away), jnp.pi**2 / 3 * (t - 1))


def logistic_kernel(start, y, power: int):
    """Real and imaginary part of pi/sin(pi t), or (1 - t) pi/sin(pi t), at t = start + i y."""
    whole = jnp.round(start)  # taken out of the sine, which keeps its digits next to a pole
    sign = jnp.where(whole % 2 == 0, jnp.pi, -jnp.pi)
    real = jnp.sin(jnp.pi * (start - whole)) * jnp.cosh(jnp.pi * y)
    imaginary = jnp.cos(jnp.pi * (start - whole)) * jnp.sinh(jnp.pi * y)
    factor = sign / (real**2 + imaginary**2)
    if power == 1:
        return factor * real, -factor * imaginary
    rest = 1 - start
    return factor * (rest * real - y * imaginary), -factor * (rest * imaginary + y * real)
