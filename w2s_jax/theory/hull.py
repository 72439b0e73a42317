"""Least squares over the convex hull of the concepts: population solution, misfit, and the large-sample risk."""

from functools import cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import gammaln, log_ndtr

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.population import Real, feature_scale
from w2s_jax.types import Task


def hull_statistical_dimension(num_concepts: int) -> float:
    """What n R / sigma_w^2 of the hull estimate tends to where the truth is one concept: slow in K, free of d.

        delta = E min_tau [(g_1 - tau)^2 + sum_{j>1} max(g_j - tau, 0)^2] = sum_m m v_m

    with g standard normal in R^K, K = `num_concepts`: the statistical dimension of the cone of directions that lead
    from a vertex of the simplex into it. v_m, m = 0 ... K - 1, are that cone's intrinsic volumes (`intrinsic_volumes`).

    Args:
        num_concepts: K >= 1, static.

    Returns:
        Unitless, in [0, K - 1]; right to 12 digits for K up to 1000.

    Raises:
        ValueError: if num_concepts is not positive.

    Reference: derived, docs/theory.md 3.5; Amelunxen, Lotz, McCoy and Tropp, *Living on the edge* (2014), for the
    statistical dimension.

    >>> [round(hull_statistical_dimension(k), 4) for k in (1, 2, 3, 4, 8, 16, 64)]
    [0.0, 0.5, 0.8333, 1.0877, 1.7592, 2.5075, 4.201]
    """
    volumes = intrinsic_volumes(num_concepts)
    return float(np.arange(num_concepts) @ volumes)


@closed_form
def hull_weights(task: Task) -> Float[Array, "*b K"]:
    """Concept weights of the hull estimate on infinitely many weak labels: the projection on the simplex.

        w = argmin_{w in simplex} ||B'w - beta_w||^2 = max(c - tau, 0),    c = B beta_w,    tau such that sum_k w_k = 1

    with B = `task.concepts`, beta_w = `task.weak_coef`. At weak accuracy a: (1 - a)/K on every rival for rotated, the
    target alone for noisy and shifted.

    Args:
        task: a `Task` with isotropic `feature_var [d]` and orthonormal concepts.

    Returns:
        `[K]`, not negative, of sum 1.

    Assumes: features of mean 0 and isotropic covariance; any distribution.

    Reference: derived, docs/theory.md 3.5.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5)
    >>> hull_weights(task).tolist()
    [0.75, 0.25]
    """
    coordinates = _coordinates(task)
    return jnp.maximum(coordinates - _level(coordinates), 0.0)


@closed_form
def hull_bias(task: Task) -> Float[Array, "*b"]:
    """Excess risk of the hull estimate on infinitely many weak labels.

        s ||B'w - beta_Q||^2

    with w = `hull_weights`, B = `task.concepts`, beta_Q = `task.target_coef`, s = `task.feature_var`. At s = 1 and
    g = sqrt((1 - a^2)/(K - 1)): (1 - a)^2 (K - 1)/K for rotated; 0 for noisy and shifted; (1 - a + g)^2 (K - 1)/K for
    confused, K/(K - 1) once (K - 1)(g - a) > 1; max(1 - a - g, 0)^2 (K - 1)/K for opposed.

    Args:
        task: as in `hull_weights`.

    Returns:
        Squared label units, shape `[]`.

    Assumes: as `hull_weights`.

    Reference: derived, docs/theory.md 3.5.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5)
    >>> round(float(hull_bias(task)), 4)  # the weak model itself: 2 - 2a = 1
    0.125
    """
    return feature_scale(task) * jnp.sum((_hull_coef(task) - task.target_coef) ** 2)


@closed_form
def hull_misfit(task: Task) -> Float[Array, "*b"]:
    """Disagreement of the hull estimate with its teacher, on infinitely many weak labels.

        s ||B'w - beta_w||^2

    with w = `hull_weights`, B = `task.concepts`, beta_w = `task.weak_coef`, s = `task.feature_var`. The gain over the
    teacher, `weak_bias` - `hull_bias`, is at least that; they are equal unless the estimate has given up the target
    concept. At s = 1: 1 - a^2 + (1 - a)^2/K for rotated, 1/a^2 - 1 for shifted, 0 for noisy.

    Args:
        task: as in `hull_weights`.

    Returns:
        Squared label units, shape `[]`.

    Assumes: as `hull_weights`.

    Reference: derived, docs/theory.md 3.5 and 3.8; Charikar et al. (arXiv 2405.15116) for the inequality.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5)
    >>> round(float(hull_misfit(task)), 4)  # 1 - 0.125, the gain over the teacher
    0.875
    """
    return feature_scale(task) * jnp.sum((_hull_coef(task) - task.weak_coef) ** 2)


@closed_form
def hull_risk(task: Task, num_samples: Real) -> Float[Array, "*b"]:
    """Mean excess risk of least squares over the hull of the concepts on n weak labels, n large.

        on a face:    E R = bias + [(sigma_w^2 + misfit + s tau_out) D + s tau_in (D + 2)(n - 2)/(n + 2)] / (n - D - 1)
        at a vertex:  E R = bias + (sigma_w^2 + misfit + s tau_out) delta / n

    with bias = `hull_bias`, misfit = `hull_misfit`, sigma_w^2 = `task.weak_noise_var`, s = `task.feature_var`. The
    first line is for D + 1 positive `hull_weights` and every other concept strictly out; the second for a single
    positive weight and no concept strictly out (perfect, noisy and shifted teachers), with delta =
    `hull_statistical_dimension`(K). tau_in + tau_out = sum_k q'_k ||beta^w_k - beta_w||^2 is the spread of a mixture
    teacher along the face and across it (0 for a one-hot `weak_prior`). For a perfect teacher of an interior mixture,
    n E R -> (K - 1)(sigma^2 + s tau) + 2 s tau with tau = 1 - ||q||^2.

    Args:
        task: as in `hull_weights`.
        num_samples: n, labelled examples; traced, shape `[]`. On a face the formula is exact but for the chance that
            the estimate is on another one: n w_k^2 must be large for every positive weight. At a vertex the next term
            is O(1/n^2).

    Returns:
        Squared label units, shape `[]`; `inf` for n <= D + 1. NaN where some concepts are strictly out and others only
        just, or where at a degenerate vertex the target is not that vertex or the teacher's concepts spread along the
        simplex: the limit has another form there. Weights and gaps under sqrt(eps) of the precision count as 0.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.5.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5, noise_var=0.25)
    >>> round(float(hull_risk(task, 102)), 5)  # 0.125 + (0.25 + 0.875)/100
    0.13625
    """
    scale, num_concepts, n = feature_scale(task), task.concepts.shape[-2], 1.0 * num_samples
    coordinates = _coordinates(task)
    level = _level(coordinates)
    tolerance = float(jnp.finfo(coordinates.dtype).eps) ** 0.5
    positive = coordinates - level > tolerance
    strict = jnp.all(positive | (level - coordinates > tolerance))
    degenerate = jnp.all(positive | (level - coordinates <= tolerance))

    deviations = task.weak_concepts - task.weak_coef[None]
    spread = task.weak_prior @ jnp.sum(deviations**2, -1)
    inside = deviations @ task.concepts.T
    tau_in = task.weak_prior @ _centred_square(inside, positive)
    noise = task.weak_noise_var + hull_misfit(task) + scale * (spread - tau_in)

    dimension = jnp.sum(positive) - 1
    room = n - dimension - 1
    on_face = noise * dimension + scale * tau_in * (dimension + 2) * (n - 2) / (n + 2)
    on_face = jnp.where(room > 0, on_face / jnp.where(room > 0, room, 1.0), jnp.inf)

    along_simplex = task.weak_prior @ _centred_square(inside, jnp.ones_like(positive))
    at_vertex = degenerate & (dimension == 0) & (hull_bias(task) <= tolerance * scale) & (along_simplex <= tolerance)
    cone = noise * hull_statistical_dimension(num_concepts) / n
    return hull_bias(task) + jnp.where(strict, on_face, jnp.where(at_vertex, cone, jnp.nan))


@cache
def intrinsic_volumes(num_concepts: int) -> np.ndarray:
    """Intrinsic volumes v_0 ... v_{K-1} of the cone from a vertex of the simplex with K = `num_concepts` vertices.

    v_m = C(K - 1, m) beta_m gamma_m: among the faces through the vertex, those of dimension m, with their internal
    angle beta_m = P(m of m + 1 iid normals lie above the mean of all) and external angle gamma_m. They sum to 1.
    """
    if num_concepts < 1:
        raise ValueError(f"num_concepts must be positive, got {num_concepts}.")
    m = np.arange(num_concepts)
    logs = [_log_internal_angle(k) + _log_external_angle(k, num_concepts) for k in range(num_concepts)]
    return np.exp(gammaln(num_concepts) - gammaln(m + 1) - gammaln(num_concepts - m) + logs)


NODES, STEP = np.linspace(-9, 9, 4001, retstep=True)


def _log_external_angle(m: int, num_concepts: int) -> float:
    """gamma_m = E Phi(T)^(K - 1 - m), T ~ N(0, 1/(m + 1)), by the trapezoidal rule."""
    density = STEP * np.sqrt((m + 1) / (2 * np.pi)) * np.exp(-(m + 1) * NODES**2 / 2)
    return np.log(density @ np.exp((num_concepts - 1 - m) * log_ndtr(NODES)))


def _log_internal_angle(m: int) -> float:
    """beta_m = E Phi(i Y / sqrt(m + 1))^m, Y ~ N(0, 1), by the trapezoidal rule along a shifted contour."""

    from scipy.optimize import fminbound  # slow to import, and needed here alone

    def exponent(z):
        return m * log_ndtr(z) + (m + 1) * z**2 / 2

    # On the imaginary axis the integrand is large and cancels; through the saddle on the real axis it does neither.
    saddle = fminbound(exponent, -np.sqrt(m) - 1, 1)
    path = exponent(saddle + 1j * NODES)
    peak = exponent(saddle)
    return peak + np.log(STEP * np.sqrt((m + 1) / (2 * np.pi)) * np.sum(np.exp(path - peak).real))


def _coordinates(task: Task) -> Float[Array, "K"]:
    return task.concepts @ task.weak_coef


def _level(coordinates: Float[Array, "K"]) -> Float[Array, ""]:
    """tau with sum_k max(c_k - tau, 0) = 1: the largest of the levels that the 1, 2, ... largest coordinates give."""
    largest_first = -jnp.sort(-coordinates)
    count = jnp.arange(1, coordinates.shape[-1] + 1, dtype=coordinates.dtype)
    return jnp.max((jnp.cumsum(largest_first) - 1) / count)


def _hull_coef(task: Task) -> Float[Array, "d"]:
    return hull_weights(task) @ task.concepts


def _centred_square(rows: Float[Array, "K K"], kept: Array) -> Float[Array, "K"]:
    """Squared length of each row's part in the directions of a face: over the kept coordinates, less their mean."""
    mean = jnp.sum(jnp.where(kept[None], rows, 0.0), -1) / jnp.sum(kept)
    return jnp.sum(jnp.where(kept[None], rows - mean[:, None], 0.0) ** 2, -1)
