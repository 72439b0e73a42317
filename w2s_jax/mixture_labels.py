"""Labels drawn from a mixture, and what a derivative of such a draw can be."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.types import Scalar


def concept_levels(weights: Float[Array, "*l K n"]) -> list[Float[Array, "*l n"]]:
    """Cumulative weights of the first 1, ..., K - 1 concepts: a label's concept is k or less iff its uniform is."""
    return list(itertools.accumulate(weights[..., k, :] for k in range(weights.shape[-2] - 1)))


def choose_label(
    uniforms: Float[Array, "n"], weights: Float[Array, "*l K n"], means: Float[Array, "K n"]
) -> Float[Array, "*l n"]:
    """The mean of each row's concept, the concept drawn from the row's weights."""
    lead = (1,) * (weights.ndim - 2)
    label = jnp.broadcast_to(means[-1].reshape(*lead, -1), (*weights.shape[:-2], weights.shape[-1]))
    for k, level in enumerate(concept_levels(weights)):
        # 1 - u lies in (0, 1]: a concept of weight zero is never chosen, not even at u = 0.
        chosen = (1 - uniforms).reshape(*lead, -1) <= level
        label = label + jnp.where(chosen, (means[k] - means[k + 1]).reshape(*lead, -1), 0.0)
    return label


@jax.custom_jvp
def mixture_labels(
    uniforms: Float[Array, "n"],
    normals: Float[Array, "n"],
    weights: Float[Array, "K n"],
    means: Float[Array, "K n"],
    noise: Scalar,
) -> Float[Array, "n"]:
    """Labels of rows that draw a concept c from their weights w, with a derivative in the weights too.

        y = mu_c + sigma eps

    No function of the label alone gives every d E f(y) / dw with bounded noise. This one does so for f of degree 2,
    where f(mu_k) - f(mu_c) = (mu_k - mu_c)(f'_k + f'_c)/2, f'_j being E f' about mu_j. As the dw sum to 0,

        d E f(y) = sum_k dw_k (f(mu_k) - E f(mu_c)) = sum_k dw_k E (mu_k - mu_c)(f'_k + f'_c)/2.

    f'_c is seen. f'_k is seen where c = k, with a weight of 1/w_k; or through the noise (Stein's lemma),
    f'_k = E f'(y) (1 + (mu_k - mu_c) eps/sigma), which serves rare concepts better. w_k decides which. So

        dy = dmu_c + eps dsigma + sum_k dw_k (mu_k - mu_c)/2
             + sum_k dw_k/2 { 1[c = k] (mu_k - E mu_c)/w_k   if w_k (sigma^2 + (mu_k - E mu_c)^2) >= sigma^2
                            { (mu_k - mu_c)(1 + (mu_k - mu_c) eps/sigma)   else.

    Args:
        uniforms: u `[n]`, in [0, 1), which choose the concepts.
        normals: eps `[n]`, independent of them.
        weights: w `[K n]`, >= 0, of sum 1 in each row.
        means: mu `[K n]`, the answer of each concept.
        noise: sigma >= 0, in label units. At 0 a concept of weight 0 whose weight moves has no derivative (NaN).

    Returns:
        Labels `[n]`. First derivatives alone are defined.

    Raises:
        TypeError: if it is differentiated twice in the weights.

    Reference: derived, docs/theory.md 2.

    >>> def mean_square(share):  # E y^2 = 4 share + 1
    ...     weights = jnp.stack([jnp.full(10_000, share), jnp.full(10_000, 1 - share)])
    ...     means = jnp.repeat(jnp.array([[2.0], [0.0]]), 10_000, axis=1)
    ...     keys = jax.random.split(jax.random.key(0))
    ...     chance = jax.random.uniform(keys[0], (10_000,)), jax.random.normal(keys[1], (10_000,))
    ...     return (mixture_labels(*chance, weights, means, 1.0) ** 2).mean()
    >>> bool(abs(jax.grad(mean_square)(0.3) - 4) < 0.2)
    True
    """
    return choose_label(uniforms, weights, means) + noise * normals


@partial(mixture_labels.defjvp, symbolic_zeros=True)
def _mixture_labels_jvp(primals, tangents):
    uniforms, normals, weights, means, noise = primals
    weights_dot, means_dot, noise_dot = tangents[2:]
    labels = mixture_labels(*primals)
    index = sum(1 - uniforms > level for level in concept_levels(weights))
    chosen = jax.nn.one_hot(index, weights.shape[0], axis=0, dtype=weights.dtype)
    label_dot = jnp.zeros_like(labels)
    if not isinstance(means_dot, SymbolicZero):
        label_dot += (chosen * means_dot).sum(axis=0)
    if not isinstance(noise_dot, SymbolicZero):
        label_dot += noise_dot * normals
    if not isinstance(weights_dot, SymbolicZero):
        label_dot += (weights_dot * _slopes(chosen, *no_gradient(ONCE, (normals, weights, means, noise)))).sum(axis=0)
    return labels, label_dot.astype(labels.dtype)


ONCE = "labels drawn from a mixture have first derivatives alone; use draw='mean' for second ones."


def _slopes(chosen, normals, weights, means, noise) -> Float[Array, "K n"]:
    """What a unit of each weight moves each label by."""
    apart = means - (chosen * means).sum(axis=0, keepdims=True)
    beside = means - (weights * means).sum(axis=0, keepdims=True)
    rare = (weights * (noise**2 + beside**2) < noise**2) | (weights == 0)
    by_share = chosen * beside / jnp.where(rare, 1.0, weights)
    by_noise = apart * (1 + apart * normals[None, :] / jnp.where(rare, noise, 1.0))
    return (apart + jnp.where(rare, by_noise, by_share)) / 2
