"""How long a weak prompt must be before refinement beats naive fine-tuning at its best penalty."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.misalignment import misalignment
from w2s_jax.theory.population import Real, feature_scale, population_ridge_floor
from w2s_jax.theory.posterior import Prompts, make_contest, posterior_exponent, posterior_exponents, tilt_limit
from w2s_jax.theory.posterior_mean import misalignment_bound, sharp_coefficients
from w2s_jax.types import Task

SHORTEST = 0.5
"""Examples in the shortest prompt that `misalignment` answers for, an empty one aside."""
NUM_HALVINGS = 40
LEAST_MISALIGNMENT = 1e-4
"""Under it the integrals of `misalignment` lose relative accuracy for K > 2."""


@closed_form
def refinement_crossover(task: Task, prompts: Prompts, *, assumed_noise_var: Real | None = None) -> Float[Array, "*b"]:
    """Prompt length at which the misalignment of refinement falls to the floor of naive fine-tuning.

        s misalignment(n) = F    with F = `population_ridge_floor` and s = `task.feature_var`

    solved by bisection, the upper end from `misalignment_bound`. Lengths are real numbers.

    Args:
        task: a `Task` as `misalignment` takes it.
        prompts: "shared" or "fresh".
        assumed_noise_var: s_hat^2 > 0 of the posterior, squared label units; `task.noise_var` by default.

    Returns:
        Weak examples in the prompt, shape `[]`: at least 1/2, which is also the answer where fewer would do; `inf`
        where the floor is 0 or refinement fails (kappa = 0); NaN where `misalignment` is. For K > 2 and F/s under 1e-4,
        where `misalignment` loses its relative accuracy, it is `refinement_crossover_asymptotic`.

    Assumes: gaussian features, orthonormal concepts, infinitely many labels.

    Reference: derived, docs/theory.md 3.10.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.7, concept_shift=0.1)
    >>> [round(float(refinement_crossover(task, prompts)), 1) for prompts in ("shared", "fresh")]
    [18.2, 4.6]
    """
    kappa = posterior_exponent(task, assumed_noise_var=assumed_noise_var, prompts=prompts)
    floor = population_ridge_floor(task) / feature_scale(task)
    crosses = (floor > 0) & (kappa > 0)
    kappa, floor = jnp.where(crosses, kappa, 1.0), jnp.where(crosses, floor, 1.0)

    bound = misalignment_bound(task, 0, prompts, assumed_noise_var=assumed_noise_var)
    longest = 1 + jnp.maximum(jnp.log(bound / floor), 0.0) / (kappa if prompts == "shared" else 2 * kappa)
    length = _crossing(task, assumed_noise_var, floor, longest, prompts=prompts)
    if task.target_prior.shape[-1] > 2:
        sharp = refinement_crossover_asymptotic(task, prompts, assumed_noise_var=assumed_noise_var)
        length = jnp.where(floor < LEAST_MISALIGNMENT, sharp, length)
    return jnp.where(crosses, length, jnp.inf)


@partial(jax.jit, static_argnames="prompts")  # a leaf: else every call outside a jit would compile the loop again
def _crossing(task: Task, noise_var, floor, longest, *, prompts: Prompts) -> Float[Array, ""]:
    """The length in [1/2, `longest`] at which the misalignment is `floor`."""

    def log_excess(task, noise_var, floor, length):
        return jnp.log(misalignment(task, length, prompts, assumed_noise_var=noise_var) / floor)

    given, longest = jax.lax.stop_gradient(((task, noise_var, floor), longest))

    def halve(_, ends):
        low, high = ends
        middle = jnp.sqrt(low * high)
        above = log_excess(*given, middle) > 0
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    root = jax.lax.fori_loop(0, NUM_HALVINGS, halve, (SHORTEST + 0 * longest, longest))[1]
    # A last step of Newton's: digits, and the derivative of an implicit function.
    excess, slope = jax.jvp(partial(log_excess, task, noise_var, floor), (root,), (jnp.ones_like(root),))
    return jnp.maximum(root - excess / jax.lax.stop_gradient(slope), SHORTEST)


@closed_form
def refinement_crossover_asymptotic(
    task: Task, prompts: Prompts, *, assumed_noise_var: Real | None = None
) -> Float[Array, "*b"]:
    """`refinement_crossover` by the sharp form for long prompts: a formula, right in the limit of a low floor.

        shared:  C n^(-1/2) e^(-kappa n) = F/s  at  n = W(2 kappa C^2 s^2/F^2) / (2 kappa),  C = 2 sum p_j
        fresh:   C n^-1 e^(-2 kappa n)   = F/s  at  n = W(2 kappa C s/F) / (2 kappa),        C = (sum p_j)^2 + sum p_j^2

    with W the Lambert function, F = `population_ridge_floor`, kappa = `posterior_exponent`, s = `task.feature_var`,
    and p_j the factor of n^(-1/2) e^(-kappa n) in E w_j^2 (shared) or E w_j (fresh), over the rivals of the smallest
    exponent.

    Args:
        task: a `Task` with isotropic `feature_var [d]`, a one-hot `weak_prior` and positive noise variances.
        prompts: "shared" or "fresh".
        assumed_noise_var: s_hat^2 > 0 of the posterior, squared label units; `task.noise_var` by default.

    Returns:
        Weak examples in the prompt (a real number >= 0), shape `[]`; `inf` where the floor is 0 or refinement fails
        (kappa = 0); NaN where t* reaches 1 (fresh) or 2 (shared), which needs a large `assumed_noise_var`.

    Assumes: gaussian features, orthonormal concepts. High where it is short: for K = 2 and shared prompts by 3% to
        twofold, a little more under two examples, and by more for fresh prompts.

    Reference: derived, docs/theory.md 3.10.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=4, dim=8, weak_accuracy=0.7, concept_shift=0.5)
    >>> round(float(refinement_crossover_asymptotic(task, "shared")), 1)
    11.0
    """
    power = tilt_limit(prompts)
    exponents = posterior_exponents(task, assumed_noise_var=assumed_noise_var, prompts=prompts).exponent
    kappa = jnp.min(exponents)
    escapes = kappa > 0
    kappa = jnp.where(escapes, kappa, 1.0)
    ties = exponents <= kappa * (1 + 1e-5)
    p = jnp.where(ties, sharp_coefficients(make_contest(task, assumed_noise_var), power), 0.0)
    squared = (2 * jnp.sum(p)) ** 2 if power == 2 else jnp.sum(p) ** 2 + jnp.sum(p**2)
    floor = population_ridge_floor(task) / feature_scale(task)
    trapped = floor > 0
    safe = jnp.where(trapped, floor, 1.0)
    length = lambert_w(2 * kappa * squared / (safe**2 if power == 2 else safe)) / (2 * kappa)
    length = jnp.where(jnp.isfinite(squared), length, jnp.nan)
    return jnp.where(trapped & escapes, length, jnp.inf)


@closed_form
def lambert_w(x: Real) -> Float[Array, "*b"]:
    """W(x), the solution w >= 0 of w e^w = x for x >= 0 (principal branch), to round-off; shape `[]`.

    Four Halley steps from log(1 + x) (1 - log(1 + log(1 + x))/(2 + log(1 + x))), which is within 2% everywhere.

    >>> import math
    >>> round(float(lambert_w(math.e)), 6)
    1.0
    """
    return _halley(1.0 * jnp.asarray(x))


@jax.custom_jvp
def _halley(x: Float[Array, ""]) -> Float[Array, ""]:
    start = jnp.log1p(x)
    w = start * (1 - jnp.log1p(start) / (2 + start))
    for _ in range(4):
        scaled = x * jnp.exp(-w)  # f = w - x e^-w has the root of w e^w - x and does not overflow
        value, slope = w - scaled, 1 + scaled
        w = w - value / (slope + value * scaled / (2 * slope))
    return w


@_halley.defjvp
def _halley_jvp(primals, tangents):
    w = _halley(*primals)
    return w, tangents[0] * jnp.exp(-w) / (1 + w)
