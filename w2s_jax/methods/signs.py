"""Labels that are signs: their distribution under a mixture of concepts, and the linear logit nearest to it.

    P(y = +1 | phi) = sum_k w_k sigmoid(c_k . phi),    c_k = beta_k / sigma

A mixture of logistic models is not a logistic model. The student has a linear logit b . phi; `nearest_logit` has the
least cross entropy to the mixture.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.logistic import softplus
from w2s_jax.types import Key, Scalar

GRID_STEP, GRID_END = 0.05, 9.0
ROOT_STEPS = 25


def nearest_logit(
    logit_concepts: Float[Array, "K d"], prior: Float[Array, "K"], feature_var: Float[Array, "d"]
) -> Float[Array, "d"]:
    """The linear logit of least cross entropy under a mixture of logistic models.

        b = argmin_b E[log(1 + e^{-y b.phi})],   y ~ sum_k w_k sigmoid(c_k . phi),   phi ~ N(0, diag s)

    By Stein's lemma E[phi sigmoid(c.phi)] = S c h(r)/r with r^2 = sum_j s_j c_j^2 and h(r) = E[z sigmoid(r z)], z ~
    N(0, 1), so that the equation E[phi (P - sigmoid(b.phi))] = 0 has a direction in closed form and a length that one
    number decides:

        m = sum_k w_k c_k h(r_k)/r_k,    b = m r/|m|_S  with  h(r) = |m|_S

    h rises and is concave, from r/4 to 1/sqrt(2 pi), so that Newton's method from r = 4 |m|_S climbs to the root, which
    is at most the largest r_k. Of one concept it is c_k itself; of concepts that are equally long it is along the
    mixture's regression vector sum_k w_k c_k.

    Args:
        logit_concepts: c_k `[K d]`, in log odds per unit of a feature.
        prior: w `[K]`, on the simplex.
        feature_var: s `[d]`, >= 0.

    Returns:
        Coefficients b `[d]`. h is a trapezoid sum of error e^{-395/r} (Poisson summation; the poles are at i pi/r):
        below 1e-12 for r <= 14.

    Reference: derived, docs/methods.md.

    >>> mixture = nearest_logit(jnp.array([[2.0, 0.0], [0.0, 2.0]]), jnp.array([0.5, 0.5]), jnp.ones(2))
    >>> [round(float(b), 2) for b in mixture]
    [0.74, 0.74]
    """
    lengths = jnp.sqrt((jnp.square(logit_concepts) * feature_var[None]).sum(axis=1))
    slopes = jax.vmap(_slope)(lengths)
    pull = (prior * slopes) @ logit_concepts
    size = jnp.square(pull) @ feature_var
    exists = size > 0
    size = jnp.sqrt(jnp.where(exists, size, 1.0))

    def climb(_, length: Array) -> Array:
        value, rise = jax.jvp(lambda r: r * _slope(r), (length,), (jnp.ones_like(length),))
        return length + (size - value) / jnp.maximum(rise, jnp.finfo(rise.dtype).tiny)

    length = jax.lax.fori_loop(0, ROOT_STEPS, climb, 4 * size)
    return pull * jnp.where(exists, length / size, 0.0)


def _slope(length: Float[Array, ""]) -> Float[Array, ""]:
    """h(r)/r = E[z sigmoid(r z)]/r = E[sigmoid'(r z)], smooth at r = 0."""
    grid = jnp.arange(0.0, GRID_END, GRID_STEP, dtype=length.dtype)
    weights = jnp.exp(-jnp.square(grid) / 2) * (GRID_STEP * (2 / jnp.sqrt(2 * jnp.pi)))
    weights = weights.at[0].multiply(0.5)
    chance = jax.nn.sigmoid(length * grid)
    return weights @ (chance * (1 - chance))


def log_odds(logits: Float[Array, "K n"], prior: Float[Array, "K"]) -> Float[Array, "n"]:
    """Log odds of +1 under a mixture: log sum_k w_k sigmoid(f_k) - log sum_k w_k sigmoid(-f_k).

    >>> log_odds(jnp.array([[2.0], [-1.0]]), jnp.array([1.0, 0.0])).round(3).tolist()
    [2.0]
    """
    log_prior = jnp.log(prior)[:, None]
    return logsumexp(log_prior + jax.nn.log_sigmoid(logits), axis=0) - logsumexp(
        log_prior + jax.nn.log_sigmoid(-logits), axis=0
    )


def draw_signs(key: Key, logits: Float[Array, "n"]) -> Float[Array, "n"]:
    """Signs with these log odds, drawn independently."""
    return sign_of(jax.random.uniform(key, logits.shape), jax.nn.sigmoid(logits))


SIGNS_JUMP = (
    "a sign that is drawn has no derivative, since it jumps; use linear labels, or differences of means over many keys."
)


def sign_of(uniform: Float[Array, "n"], chance: Float[Array, "n"]) -> Float[Array, "n"]:
    """+1 with the probability `chance`, -1 else, by a uniform draw."""
    return jnp.where(uniform < no_gradient(SIGNS_JUMP, chance), 1.0, -1.0).astype(chance.dtype)


def soft_sign(log_odds: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The expected sign, 2 sigmoid(l) - 1 = tanh(l/2)."""
    return jnp.tanh(log_odds / 2)


def log_loss(labels: Float[Array, "*#b"], logits: Float[Array, "*#b"]) -> Float[Array, "*b"]:
    """-log P(y) for signs, log(1 + e^{-y f})."""
    return softplus(-labels * logits)


def logit_concepts(concepts: Float[Array, "K d"], noise_var: Scalar) -> Float[Array, "K d"]:
    """c_k = beta_k / sigma: concepts in log odds."""
    return concepts / jnp.sqrt(noise_var)
