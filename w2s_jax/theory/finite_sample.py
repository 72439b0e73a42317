"""Finite samples: ridge in the proportional limit; least squares exactly, on weak, refined and partly true labels."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.population import Real, bias_inner_product, feature_scale, source_bias, weak_bias
from w2s_jax.types import Scalar, Task


@closed_form
def ridge_risk(task: Task, num_samples: Real, penalty: Real) -> Float[Array, "*b"]:
    """Mean excess risk of naive fine-tuning on n weak labels, in the limit of n and d large together.

        E R = b_w^2 t2 + 2 c (eta t1) + b_P^2 (eta^2 t0) + (sigma_w^2 + s tau) (d/n) t1,    eta = penalty / s

    where t_j is the Marchenko-Pastur limit of (1/d) tr S^j (S + eta)^-2: with gamma = d/n,
    r = sqrt((1 - gamma + eta)^2 + 4 gamma eta) and k = 2/(1 + gamma + eta + r),

        t1 = k/r,    t2 = k (1 - eta/r),    eta^2 t0 = 1 - k - eta k/r.

    b_w^2 = `weak_bias`, c = `bias_inner_product`, b_P^2 = `source_bias`, sigma_w^2 = `task.weak_noise_var`, s =
    `task.feature_var`; tau is the spread of a mixture teacher, 0 for a one-hot `weak_prior`.

    Args:
        task: a `Task` with isotropic `feature_var [d]`.
        num_samples: n > 0, labelled examples; traced, shape `[]`.
        penalty: eta >= 0 of (1/n) sum of squares + eta ||b - beta_P||^2, finite, in units of the feature variance;
            traced, shape `[]`. At 0 the expression is the limit of least squares (`least_squares_risk` is exact
            there).

    Returns:
        Squared label units, shape `[]`; `inf` at penalty 0 and n = d.

    Assumes: gaussian features. With exact means of t_j in place of their limits the first line (one-hot `weak_prior`)
        is exact at every n and d; the limits are off by O(1/d).

    Reference: derived from the Marchenko-Pastur law, docs/theory.md 3.3.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=32, weak_accuracy=0.75, concept_shift=0.5)
    >>> [round(float(ridge_risk(task, n, 1.0)), 3) for n in (64, 1024, 10**6)]
    [0.367, 0.316, 0.313]
    """
    eta, gamma, r, k = _spectrum(task, num_samples, penalty)
    ratio = jnp.where(r > 0, eta / jnp.where(r > 0, r, 1.0), 0.0)  # at gamma = 1, eta -> 0 it vanishes as sqrt(eta)/2
    fit = weak_bias(task) * k * (1 - ratio)
    mixed = 2 * bias_inner_product(task) * k * ratio
    start = source_bias(task) * (1 - k - k * ratio)
    noise = task.weak_noise_var + feature_scale(task) * _teacher_spread(task)
    return fit + mixed + start + _over(noise * gamma * k, r)


@closed_form
def ridge_risk_correction(task: Task, num_samples: Real, penalty: Real) -> Float[Array, "*b"]:
    """What `ridge_risk` leaves out at finite n and d, to leading order: the term of order 1/n.

        b_w^2 e2 + 2 c (eta e1) + b_P^2 (eta^2 e0) + sigma_w^2 (d/n) e1,    eta = penalty / s

    where e_j is the term that (1/d) tr S^j (S + eta)^-2 has beside its limit t_j: with gamma, r and k of `ridge_risk`,

        e1 = k/(n r^2) [1 - eta/r - 2 eta (1 + gamma + eta)/r^2],   e = -eta k/(n r^2),   e2 = e - eta e1,
        eta^2 e0 = -e - eta e1.

    Args:
        task: a `Task` with isotropic `feature_var [d]` and a one-hot `weak_prior`.
        num_samples: n > 0, labelled examples; traced, shape `[]`.
        penalty: eta >= 0, finite, as in `ridge_risk`; traced, shape `[]`.

    Returns:
        Squared label units, either sign, shape `[]`; to be added to `ridge_risk`, which is then off by O(1/n^2).
        Large, and of no use, where eta is small and n near d: r is small there. `inf` or NaN at penalty 0 and n = d.

    Assumes: gaussian features.

    Reference: Bai and Silverstein (2004) for the term of the trace; derived, docs/theory.md 3.3.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=8, weak_accuracy=0.75, concept_shift=0.75)
    >>> round(float(ridge_risk(task, 16, 1.0)), 3), round(float(ridge_risk_correction(task, 16, 1.0)), 4)
    (0.612, 0.0088)
    """
    eta, gamma, r, k = _spectrum(task, num_samples, penalty)
    unit = k / (num_samples * r**2)
    first = unit * (1 - eta / r - 2 * eta * (1 + gamma + eta) / r**2)
    fit = weak_bias(task) * eta * (-unit - first)
    mixed = 2 * bias_inner_product(task) * eta * first
    start = source_bias(task) * eta * (unit - first)
    return fit + mixed + start + task.weak_noise_var * gamma * first


@closed_form
def least_squares_risk(task: Task, num_samples: Real) -> Float[Array, "*b"]:
    """Mean excess risk of naive fine-tuning without penalty on n weak labels, exact at every n and d.

        n > d + 1:  E R = b_w^2 + [sigma_w^2 d + s tau (d + 2)(n - 2)/(n + 2)] / (n - d - 1)
        n < d - 1:  E R = (n/d) b_w^2 + (1 - n/d) b_P^2 + [sigma_w^2 n + s tau (n/d)(d - 2)] / (d - n - 1)

    with b_w^2 = `weak_bias`, b_P^2 = `source_bias`, sigma_w^2 = `task.weak_noise_var`, s = `task.feature_var`; tau =
    sum_k q'_k ||beta^w_k||^2 - ||beta_w||^2 is the spread of a mixture teacher, 0 for a one-hot `weak_prior`. Under d
    the estimate is the interpolator nearest to the source.

    Args:
        task: a `Task` with isotropic `feature_var [d]`.
        num_samples: n > 0, labelled examples; traced, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` for d - 1 <= n <= d + 1 (unless the labels are free of noise).

    Assumes: gaussian features.

    Reference: derived from the mean of an inverse Wishart matrix, docs/theory.md 3.4.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=8, weak_accuracy=0.75, concept_shift=0.5)
    >>> [round(float(least_squares_risk(task, n)), 4) for n in (4, 8, 29)]
    [0.8333, inf, 0.6]
    """
    return _least_squares(task, num_samples, weak_bias(task), task.weak_noise_var, _teacher_spread(task))


@closed_form
def refined_risk(
    task: Task, num_samples: Real, misalignment: Scalar, spread: Scalar, *, noise_var: Real | None = None
) -> Float[Array, "*b"]:
    """Mean excess risk of least squares on n refined labels: the misalignment, then saturation at O(d sigma^2/n).

        n > d + 1:  E R = s misalignment + [sigma^2 d + s tau (d + 2)(n - 2)/(n + 2)] / (n - d - 1)

    and under d the second line of `least_squares_risk` with s `misalignment` for b_w^2; tau = `spread`, sigma^2 =
    `noise_var`, s = `task.feature_var`.

    Args:
        task: a `Task` with isotropic `feature_var [d]`.
        num_samples: n > 0, refined labels; traced, shape `[]`.
        misalignment: E||w - e_*||^2 (one shared prompt) or ||E w - e_*||^2 (a fresh prompt per label), as given by
            `theory.misalignment` or by simulation; unitless, shape `[]`.
        spread: tau >= 0, the variance of a label's concept, unitless, shape `[]`. Sampled labels: 1 - E||w||^2
            (shared), 1 - ||E w||^2 (fresh); posterior-mean labels: 0 (shared), tr Cov w (fresh). See
            `theory.refined_label_spread`.
        noise_var: sigma^2 of a refined label, squared label units; `task.noise_var` by default, 0 for posterior-mean
            labels.

    Returns:
        Squared label units, shape `[]`; `inf` for d - 1 <= n <= d + 1 (unless the labels are free of noise).

    Assumes: gaussian features, orthonormal concepts, prompts independent of the refined features.

    Reference: derived, docs/theory.md 3.4.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=8, weak_accuracy=0.75, concept_shift=0.5)
    >>> round(float(refined_risk(task, 29, 0.0, 0.0)), 4)  # a posterior that has found the target: the ceiling
    0.1
    """
    noise_var = task.noise_var if noise_var is None else noise_var
    return _least_squares(task, num_samples, feature_scale(task) * misalignment, noise_var, spread)


@closed_form
def mixed_labels_risk(task: Task, num_samples: Real, num_true: Real) -> Float[Array, "*b"]:
    """Mean excess risk of least squares on n weak labels of which n_t have been replaced by true ones, exactly.

        E R = b_w^2 f + [(n_w sigma_w^2 + n_t sigma^2)/n] d/(n - d - 1),    n_w = n - n_t
        f = n_w/(n (n + 2)) [n_w + 2 + n_t (n + 1) (d - 1)/((n - 1) (n - d - 1))]

    With gram matrices G_w + G_t = G of the two parts, the student's error without noise is G^-1 G_w (beta_w - beta_Q);
    U = G^-1/2 G_w G^-1/2 is matrix-beta, independent of G, with E U_ij U_kl = p d_ij d_kl + q (d_ik d_jl + d_il d_jk),
    q = n_w n_t/(n (n - 1) (n + 2)), p + 2 q = n_w (n_w + 2)/(n (n + 2)). For n much larger than d, f = (n_w/n)^2.

    b_w^2 = `weak_bias`, sigma_w^2 = `task.weak_noise_var`, sigma^2 = `task.noise_var`.

    Args:
        task: a `Task` with isotropic `feature_var [d]` and one-hot `weak_prior` and `target_prior`.
        num_samples: n >= d + 2, all examples; traced, shape `[]`.
        num_true: n_t, those with a true label, in [0, n]; traced, shape `[]`.

    Returns:
        Squared label units, shape `[]`; NaN under n = d + 2, or where n_t exceeds n.

    Assumes: gaussian features.

    Reference: derived from the moments of the Wishart and matrix-beta distributions, docs/theory.md 3.4.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=8, weak_accuracy=0.75, concept_shift=0.5)
    >>> [round(float(mixed_labels_risk(task, 256, k)), 4) for k in (0, 26, 256)]
    [0.5081, 0.4133, 0.0081]
    """
    d, n, true = task.feature_var.shape[-1], 1.0 * num_samples, 1.0 * num_true
    weak, room = n - true, n - d - 1
    exists = (room > 0) & (weak >= 0)
    room = jnp.where(exists, room, 1.0)
    noise = (weak * task.weak_noise_var + true * task.noise_var) / n * d / room
    apart = true * (n + 1) * (d - 1) / ((n - 1) * room)
    share = weak / (n * (n + 2)) * (weak + 2 + apart)
    return jnp.where(exists, weak_bias(task) * share + noise, jnp.nan)


def _least_squares(task: Task, num_samples: Real, bias, noise_var, spread) -> Float[Array, ""]:
    """Mean risk of least squares whose labels have mean coefficient at distance `bias` and the given noise."""
    d, n = task.feature_var.shape[-1], 1.0 * num_samples
    seen = jnp.minimum(n / d, 1.0)  # share of directions that n rows determine
    over = n > d
    spread = feature_scale(task) * spread
    noise = jnp.where(
        over, noise_var * d + spread * (d + 2) * (n - 2) / (n + 2), noise_var * n + spread * n * (d - 2) / d
    )
    room = jnp.maximum(jnp.where(over, n - d, d - n) - 1, 0)
    return seen * bias + (1 - seen) * source_bias(task) + _over(noise, room)


def _spectrum(task: Task, num_samples: Real, penalty: Real):
    """eta, gamma = d/n, and of the Marchenko-Pastur distribution at eta: r and k, the mean of x/(x + eta)."""
    eta = penalty / feature_scale(task)
    gamma = task.feature_var.shape[-1] / num_samples
    r = _safe_sqrt((1 - gamma + eta) ** 2 + 4 * gamma * eta)
    return eta, gamma, r, 2 / (1 + gamma + eta + r)


def _teacher_spread(task: Task) -> Float[Array, ""]:
    """tau = sum_k q'_k ||beta^w_k - beta_w||^2: what a teacher that draws its concept per example adds to the noise."""
    return task.weak_prior @ jnp.sum((task.weak_concepts - task.weak_coef[None]) ** 2, -1)


def _over(noise, room) -> Float[Array, ""]:
    """noise / room: `inf` where there is no room, 0 where there is no noise."""
    return jnp.where(noise > 0, jnp.where(room > 0, noise / jnp.where(room > 0, room, 1.0), jnp.inf), 0.0)


def _safe_sqrt(x) -> Float[Array, ""]:
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)
