"""The exponent with which the concept posterior of a weak prompt finds the target, one rival at a time."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax.scipy.special import erf
from jaxtyping import Array, Bool, Float

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.population import Real, feature_scale
from w2s_jax.types import Task

Prompts = Literal["shared", "fresh"]
"""One prompt for all refined labels, or a fresh one for each."""


class Contest(NamedTuple):
    """Each concept against the target on one weak example, s = 1 (docs/theory.md 3.6); the target's own entry is
    inert."""

    distance: Float[Array, "K"]
    """D = ||beta_j - beta_*||^2."""
    spread: Float[Array, "K"]
    """v = ||beta_w - (beta_* + beta_j)/2||^2 + sigma_w^2."""
    drift: Float[Array, "K"]
    """h = (||beta_w - beta_j||^2 - ||beta_w - beta_*||^2)/2: how much nearer the teacher is to the target."""
    gap: Float[Array, "K"]
    """D v - h^2 >= 0, computed without cancellation."""
    prior_odds: Float[Array, "K"]
    """alpha_j / alpha_*."""
    is_rival: Bool[Array, "K"]
    noise_var: Float[Array, ""]
    """s_hat^2, the noise variance that the posterior assumes."""


class PosteriorExponents(NamedTuple):
    """Exponent and tilt of the contest of each concept with the target."""

    exponent: Float[Array, "*b K"]
    """kappa_j per weak example; `inf` at the target."""
    tilt: Float[Array, "*b K"]
    """t*_j, not limited; 0 at the target."""


@closed_form
def posterior_exponent(
    task: Task, *, assumed_noise_var: Real | None = None, prompts: Prompts = "fresh"
) -> Float[Array, "*b"]:
    """Rate at which the posterior weight of the strongest rival vanishes with the length of a weak prompt.

        kappa = min_j -log M_j(t),    M_j(t) = [(1 + u h)^2 - u^2 D v]^(-1/2),    u = t/s_hat^2
        t = t*_j = s_hat^2 h / (D v - h^2) limited to [0, 1] (fresh) or [0, 2] (shared)

    where, for rival j, D = ||beta_j - beta_*||^2, v = ||beta_w - (beta_* + beta_j)/2||^2 + sigma_w^2 and h =
    (||beta_w - beta_j||^2 - ||beta_w - beta_*||^2)/2; s_hat^2 = `assumed_noise_var`. Inside the limits kappa = -(1/2)
    log(1 - h^2/(D v)), which depends on neither s_hat^2 nor the source prior. Then E w_j falls as e^(-kappa n_icl)
    and so does the shared misalignment E||w - e_*||^2; the fresh one, ||E w - e_*||^2, falls as e^(-2 kappa n_icl).

    Args:
        task: a `Task` with isotropic `feature_var [d]` = s (D, h and the norm in v are multiplied by s) and a one-hot
            `weak_prior`. The target concept * is the largest of `target_prior`. Any Gram matrix of the concepts.
        assumed_noise_var: s_hat^2 > 0 of the posterior, squared label units; `task.noise_var` by default. A posterior
            of temperature T is one with s_hat^2 T.
        prompts: "fresh", for E w (t up to 1), or "shared", for E||w - e_*||^2 (t up to 2).

    Returns:
        Nats per weak example, shape `[]`; 0 where refinement fails, that is where the target is not strictly the
        concept nearest to the weak model.

    Assumes: gaussian features.

    Reference: derived (Chernoff), docs/theory.md 3.6; the concept posterior is that of Somerstep et al. (arXiv
    2405.16236).

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=4, dim=8, weak_accuracy=0.5, concept_shift=0.5, noise_var=0.25)
    >>> round(float(posterior_exponent(task)), 4)  # (1/2) log(2.5 / 2.25)
    0.0527
    >>> lost = make_task(num_concepts=4, dim=8, weak_accuracy=0.4, concept_shift=0.5, weakness="confused")
    >>> float(posterior_exponent(lost))
    0.0
    """
    return jnp.min(posterior_exponents(task, assumed_noise_var=assumed_noise_var, prompts=prompts).exponent)


@closed_form
def posterior_exponents(
    task: Task, *, assumed_noise_var: Real | None = None, prompts: Prompts = "fresh"
) -> PosteriorExponents:
    """Exponent and tilt of every rival: the terms of which `posterior_exponent` is the least.

    Args:
        task, assumed_noise_var, prompts: as in `posterior_exponent`.

    Returns:
        `PosteriorExponents(exponent [K], tilt [K])`. The tilt is not limited: the full exponent needs it to be at
        most 1 (fresh) or 2 (shared).

    Reference: derived, docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5, weakness="noisy")
    >>> [round(float(x), 4) for x in posterior_exponents(task).tilt]  # a^2/2 at the rival
    [0.0, 0.125]
    """
    contest = make_contest(task, assumed_noise_var)
    u = jnp.minimum(best_scaled_tilt(contest), tilt_limit(prompts) / contest.noise_var)
    exponent = 0.5 * jnp.log1p(2 * u * contest.drift - _or_zero(contest.gap, u**2 * contest.gap))
    exponent = jnp.where(contest.drift > 0, exponent, 0.0)
    return PosteriorExponents(jnp.where(contest.is_rival, exponent, jnp.inf), tilt(contest))


@closed_form
def balanced_noise_var(task: Task, target_tilt: Real = 0.5) -> Float[Array, "*b"]:
    """The assumed noise variance that keeps the posterior from overconfidence at no cost in exponent.

        s_hat^2 = t (D v - h^2)/h    so that    t*_j = t

    for the rival j of the smallest exponent, with D, v and h as in `posterior_exponent` and t = `target_tilt`. With t
    = 1/2 and a noisy or shifted teacher it is the teacher's effective noise, sigma_w^2 + delta^2.

    Args:
        task: as in `posterior_exponent`; the teacher must be strictly nearest to the target.
        target_tilt: t in (0, 1), unitless; 1/2 lies half way between trusting the prompt too much (0) and too little
            (1).

    Returns:
        s_hat^2 to pass as `assumed_noise_var`, squared label units, shape `[]`; `inf` where refinement fails.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5, noise_var=0.25, weakness="noisy")
    >>> round(float(balanced_noise_var(task)), 4)
    1.0
    """
    contest = make_contest(task, None)
    strength = best_scaled_tilt(contest) * contest.drift  # h^2/(D v - h^2), which grows with the exponent
    hardest = jnp.argmin(jnp.where(contest.is_rival, strength, jnp.inf))
    drift, gap = contest.drift[hardest], contest.gap[hardest]
    return jnp.where(drift > 0, target_tilt * gap / jnp.where(drift > 0, drift, 1.0), jnp.inf)


@closed_form
def uniform_posterior_exponent(task: Task) -> Float[Array, "*b"]:
    """`posterior_exponent` for features uniform on [-1, 1]^d, axis-aligned concepts and a noisy or perfect teacher.

        e^-kappa = sqrt(pi/p) erf(2 sqrt p)/2 - (1 - e^(-4p))/(4p),    p = 1/(8 sigma_w^2)

    with sigma_w^2 = `task.weak_noise_var`.

    Args:
        task: a `Task` whose concepts are distinct unit vectors of the axes and whose teacher has the target's
            coefficient; `weak_noise_var` > 0.

    Returns:
        Nats per weak example, shape `[]`.

    Assumes: features uniform on [-1, 1]^d; an assumed noise variance of at most 2 `weak_noise_var` (fresh) or 4
    (shared).

    Reference: derived, docs/theory.md 3.6.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5, noise_var=0.25, weakness="noisy")
    >>> round(float(uniform_posterior_exponent(task)), 4)
    0.0787
    """
    p = 1 / (8 * task.weak_noise_var)
    return -jnp.log(jnp.sqrt(jnp.pi / p) * erf(2 * jnp.sqrt(p)) / 2 + jnp.expm1(-4 * p) / (4 * p))


def make_contest(task: Task, assumed_noise_var: Real | None) -> Contest:
    """The numbers of 3.6 for every concept, features scaled to unit variance."""
    scale = feature_scale(task)
    target = jnp.argmax(task.target_prior)
    is_rival = jnp.arange(task.target_prior.shape[-1]) != target
    own = task.concepts[target][None]
    delta = task.concepts - own
    offset = task.weak_coef[None] - (task.concepts + own) / 2
    length2 = jnp.sum(delta**2, -1)
    along = -jnp.sum(delta * offset, -1)  # h before scaling
    across = offset + (along / jnp.where(length2 > 0, length2, 1.0))[:, None] * delta
    prior = jnp.where(is_rival, task.source_prior, 0.0)
    return Contest(
        distance=scale * length2,
        spread=scale * jnp.sum(offset**2, -1) + task.weak_noise_var,
        drift=scale * along,
        gap=scale * length2 * (scale * jnp.sum(across**2, -1) + task.weak_noise_var),
        prior_odds=prior / task.source_prior[target],
        is_rival=is_rival,
        noise_var=jnp.asarray(task.noise_var if assumed_noise_var is None else assumed_noise_var, own.dtype),
    )


def tilt(contest: Contest) -> Float[Array, "K"]:
    """t* = s_hat^2 h/(D v - h^2), not limited; negative where the rival is nearer than the target."""
    safe = jnp.where(contest.gap > 0, contest.gap, 1.0)
    limit = jnp.where(contest.drift == 0, 0.0, jnp.copysign(jnp.inf, contest.drift))
    return jnp.where(contest.gap > 0, contest.noise_var * contest.drift / safe, limit)


def best_scaled_tilt(contest: Contest) -> Float[Array, "K"]:
    """t*/s_hat^2 = h/(D v - h^2), 0 at least."""
    safe = jnp.where(contest.gap > 0, contest.gap, 1.0)
    rising = jnp.where(contest.drift > 0, contest.drift, 0.0)
    return jnp.where(contest.gap > 0, rising / safe, jnp.where(contest.drift > 0, jnp.inf, 0.0))


def tilt_limit(prompts: Prompts) -> int:
    """How far t may reach: w and w^2 are bounded by the first and the second power of the odds."""
    if prompts not in ("shared", "fresh"):
        raise ValueError(f"prompts must be 'shared' or 'fresh', got {prompts!r}.")
    return 2 if prompts == "shared" else 1


def log_mgf(contest: Contest, t):
    """log M(t), the cumulant generating function of one example's log odds."""
    u = t / contest.noise_var
    return -0.5 * jnp.log1p(2 * u * contest.drift - u**2 * contest.gap)


def _or_zero(factor, product):
    """`product`, or 0 where its factor is 0 and the other may be infinite."""
    return jnp.where(factor > 0, product, 0.0)
