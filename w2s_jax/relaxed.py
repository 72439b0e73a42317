"""Knobs that relax the assumptions of the theory: concepts at an angle, uneven features, mixtures and contamination.

Each turns one ingredient of a `Task` (a Gram matrix, a spectrum, a prior) by one number, at whose neutral value the
assumption holds.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.inputs import kernel
from w2s_jax.types import Scalar, is_concrete


@kernel
def coherent_gram(num_concepts: int, coherence: Scalar) -> Float[Array, "K K"]:
    """The Gram matrix of unit concepts that all lie at one angle.

        G_jk = coherence for j != k,  G_kk = 1

    Args:
        num_concepts: K >= 2.
        coherence: inner product of any two concepts, in (-1/(K - 1), 1), where G is positive definite; unitless; may
            be traced. 0 gives orthonormal concepts.

    Returns:
        `[K K]`, for the argument `gram` of `make_task`.

    Raises:
        ValueError: if a Python coherence is out of its range.

    Reference: docs/theory.md 4.

    >>> coherent_gram(3, 0.5).tolist()
    [[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]
    """
    if num_concepts < 2:
        raise ValueError(f"num_concepts must be at least 2, got {num_concepts}; a single concept has no coherence.")
    if is_concrete(coherence) and not -1 / (num_concepts - 1) < coherence < 1:
        raise ValueError(
            f"coherence must be in (-1/(K - 1), 1) = ({-1 / (num_concepts - 1):.4g}, 1) for {num_concepts} concepts, "
            f"got {coherence}; their Gram matrix is not positive definite outside, and 0 makes them orthonormal."
        )
    eye = jnp.eye(num_concepts)
    return eye + coherence * (1 - eye)


@kernel
def power_law_spectrum(dim: int, exponent: Scalar) -> Float[Array, "d"]:
    """Feature variances that fall as a power of the coordinate, with mean 1.

        s_j = d j^(-exponent) / sum_i i^(-exponent),    j = 1, ..., d

    Args:
        dim: d >= 1.
        exponent: >= 0, unitless; may be traced. 0 gives isotropic features.

    Returns:
        Variances `[d]`, for the field `feature_var` of a `Task`.

    Raises:
        ValueError: if a Python exponent is negative.

    Reference: docs/theory.md 4.

    >>> [round(float(x), 3) for x in power_law_spectrum(3, 1.0)]
    [1.636, 0.818, 0.545]
    """
    if is_concrete(exponent) and not exponent >= 0:
        raise ValueError(f"exponent must not be negative, got {exponent}; 0 makes all features alike.")
    variances = jnp.arange(1.0, dim + 1) ** -exponent
    return variances / variances.mean()


@kernel
def contaminated_prior(prior: Float[Array, "*b K"], contamination: Scalar) -> Float[Array, "*b K"]:
    """A prior over concepts, each of which is replaced with some probability by one of the others, chosen uniformly.

        q(rho) = (1 - rho) q + rho (1 - q) / (K - 1)

    It makes a target that is a mixture, a weak prior that is sometimes wrong, or the concept of an example in a
    contaminated prompt.

    Args:
        prior: q `[*b K]`, K >= 2, which sums to 1.
        contamination: rho, in [0, 1], unitless; may be traced. 0 changes nothing.

    Returns:
        `[*b K]`, which sums to 1.

    Raises:
        ValueError: if a Python contamination is out of its range.

    Reference: docs/theory.md 4.

    >>> contaminated_prior(jnp.array([1.0, 0.0, 0.0]), 0.5).tolist()
    [0.5, 0.25, 0.25]
    """
    if is_concrete(contamination) and not 0 <= contamination <= 1:
        raise ValueError(f"contamination must be in [0, 1], got {contamination}; 0 changes nothing.")
    return (1 - contamination) * prior + contamination * (1 - prior) / (prior.shape[-1] - 1)
