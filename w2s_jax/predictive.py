"""Distributions of a scalar label on bins: the answers of a predictor.

A distribution (`law` in names) is the log mass of each of B bins, so that a network's softmax and an exact mixture of
normals have one form, and the same measures apply to both. The first bin reaches to -inf and the last to inf: masses
sum to 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, logsumexp
from jaxtyping import Array, Float, Int

from w2s_jax.rng import stream
from w2s_jax.types import Key, Scalar, is_concrete


class Bins(NamedTuple):
    """The bins of a scalar label, B >= 2 of them."""

    edges: Float[Array, "B+1"]
    """Increasing, in label units. A label outside belongs to the nearest bin: the outer edges bound where labels are
    drawn, not which mass counts."""

    @property
    def centers(self) -> Float[Array, "B"]:
        """The middle of each bin, in label units."""
        return (self.edges[1:] + self.edges[:-1]) / 2


def make_bins(limit: float, num_bins: int) -> Bins:
    """Equal bins on [-limit, limit].

    Args:
        limit: > 0, in label units. `share_outside` measures what it misses; 4 to 5 standard deviations of a label miss
            almost nothing.
        num_bins: B >= 2, static. A bin should be no wider than the standard deviation of the label noise.

    Returns:
        `Bins(edges [B+1])`.

    Raises:
        ValueError: for a limit that is not positive, or fewer than 2 bins.

    >>> make_bins(2.0, 4).edges.tolist()
    [-2.0, -1.0, 0.0, 1.0, 2.0]
    """
    if not limit > 0:
        raise ValueError(f"limit must be positive, got {limit}; take some standard deviations of the labels.")
    if num_bins < 2:
        raise ValueError(f"num_bins must be at least 2, got {num_bins}; a single bin cannot distinguish labels.")
    return Bins(jnp.linspace(-limit, limit, num_bins + 1))


def bin_index(bins: Bins, labels: Float[Array, "*b"]) -> Int[Array, "*b"]:
    """The bin of each label, in [0, B); a label on an edge belongs to the bin above it.

    >>> bin_index(make_bins(2.0, 4), jnp.array([-9.0, -0.5, 0.0, 9.0])).tolist()
    [0, 1, 2, 3]
    """
    return jnp.searchsorted(bins.edges[1:-1], labels, side="right")


def share_outside(bins: Bins, labels: Float[Array, "*b"]) -> Float[Array, ""]:
    """The share of labels beyond the outer edges, in [0, 1]: where it is not small, the bins are too narrow.

    >>> float(share_outside(make_bins(2.0, 4), jnp.array([-9.0, -0.5, 0.0, 9.0])))
    0.5
    """
    return ((labels < bins.edges[0]) | (labels > bins.edges[-1])).mean(dtype=labels.dtype)


# --- distributions --------------------------------------------------------------------------------------------------


def mixture_law(
    means: Float[Array, "*b K"], log_weights: Float[Array, "*b K"], noise_var: Scalar, bins: Bins
) -> Float[Array, "*b B"]:
    """The distribution of a mixture of normals of one variance, exactly.

        log sum_k w_k [Phi((e_j+1 - mu_k) / sigma) - Phi((e_j - mu_k) / sigma)],    j = 0, ..., B - 1

    Args:
        means: mu `[*b K]`, in label units.
        log_weights: log w `[*b K]`, normalised; -inf is a weight of zero.
        noise_var: sigma^2 > 0, in squared label units.
        bins: B bins, the outer edges e_0 and e_B read as -inf and inf.

    Returns:
        Log masses `[*b B]`, which keep their digits in the tails; masses sum to 1.

    Raises:
        ValueError: if a Python noise_var is not positive.

    >>> law = mixture_law(jnp.array([-1.0, 1.0]), jnp.log(jnp.array([0.5, 0.5])), 0.01, make_bins(2.0, 2))
    >>> jnp.exp(law).tolist()
    [0.5, 0.5]
    """
    if is_concrete(noise_var) and not noise_var > 0:
        raise ValueError(f"noise_var must be positive, got {noise_var}; without noise labels have no density.")
    lead = (1,) * means.ndim
    z = (bins.edges[1:-1].reshape(*lead, -1) - means[..., None]) / jnp.sqrt(noise_var)
    # Differences are taken in the tail where both ends are small: there nothing cancels.
    low, high = z[..., :-1], z[..., 1:]
    upper = low + high > 0
    low, high = jnp.where(upper, -high, low), jnp.where(upper, -low, high)
    log_high = log_ndtr(high)
    inner = log_high + jax.nn.log1mexp(log_high - log_ndtr(low))
    masses = jnp.concatenate([log_ndtr(z[..., :1]), inner, log_ndtr(-z[..., -1:])], axis=-1)
    return logsumexp(log_weights[..., None] + masses, axis=-2)


def law_mean(log_law: Float[Array, "*b B"], bins: Bins) -> Float[Array, "*b"]:
    """The mean of a distribution whose labels sit at the centres of their bins, in label units.

    >>> float(law_mean(jnp.log(jnp.array([0.25, 0.75])), make_bins(2.0, 2)))
    0.5
    """
    return jnp.exp(log_law) @ bins.centers


def law_variance(log_law: Float[Array, "*b B"], bins: Bins) -> Float[Array, "*b"]:
    """The variance of a distribution whose labels sit at the centres of their bins, in squared label units.

    For a smooth density in bins of width h it is h^2 / 12 above the true variance (Sheppard's correction, not applied).

    >>> float(law_variance(jnp.log(jnp.array([0.25, 0.75])), make_bins(2.0, 2)))
    0.75
    """
    centers = bins.centers.reshape((1,) * (log_law.ndim - 1) + (-1,))
    return (jnp.exp(log_law) * (centers - law_mean(log_law, bins)[..., None]) ** 2).sum(axis=-1)


def kl(log_p: Float[Array, "*b B"], log_q: Float[Array, "*b B"]) -> Float[Array, "*b"]:
    """KL(p || q) in nats: the cost per label of predicting by q where p is true.

    >>> p, q = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.75]))
    >>> round(float(kl(p, q)), 4), float(kl(p, p))
    (0.1438, 0.0)
    """
    shown = log_p > -jnp.inf  # a bin of mass zero costs nothing, for any q
    return jnp.where(shown, jnp.exp(log_p) * (jnp.where(shown, log_p, 0.0) - jnp.where(shown, log_q, 0.0)), 0.0).sum(-1)


def sample_label(key: Key, log_law: Float[Array, "*b B"], bins: Bins) -> Float[Array, "*b"]:
    """A label from each distribution: its bin is drawn, its place in the bin is uniform.

    Args:
        key: a typed key; "bin" and "place" are its streams.
        log_law: log masses `[*b B]`.
        bins: B bins; draws lie within their outer edges.

    Returns:
        Labels `[*b]`, with `law_mean` as mean, and `law_variance` plus h^2 / 12 as variance in bins of width h.

    >>> law = jnp.log(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
    >>> (sample_label(jax.random.key(0), law, make_bins(2.0, 2)) > 0).tolist()
    [True, False]
    """
    drawn = jax.random.categorical(stream(key, "bin"), log_law)
    place = jax.random.uniform(stream(key, "place"), drawn.shape, log_law.dtype)
    return bins.edges[drawn] + place * (bins.edges[drawn + 1] - bins.edges[drawn])


# --- calibration ----------------------------------------------------------------------------------------------------


def randomized_pit(
    key: Key, log_law: Float[Array, "*b B"], labels: Float[Array, "*b"], bins: Bins
) -> Float[Array, "*b"]:
    """Position of each label in its distribution: uniform on [0, 1] exactly if labels are drawn from it.

        u = P(bins below y's) + v P(y's bin),    v ~ uniform on [0, 1]

    Args:
        key: a typed key, for v.
        log_law: log masses `[*b B]`.
        labels: `[*b]`, in label units.
        bins: B bins.

    Returns:
        Probability integral transforms `[*b]`, in [0, 1].

    Reference: Czado, Gneiting and Held, Predictive model assessment for count data (2009).

    >>> law = jnp.log(jnp.array([0.25, 0.75]))
    >>> 0 <= float(randomized_pit(jax.random.key(0), law, jnp.array(-1.0), make_bins(2.0, 2))) <= 0.25
    True
    """
    index = bin_index(bins, labels)[..., None]
    masses = jnp.exp(log_law)
    mass = jnp.take_along_axis(masses, index, axis=-1)[..., 0]
    below = jnp.take_along_axis(jnp.cumsum(masses, axis=-1), index, axis=-1)[..., 0] - mass
    return jnp.clip(below + jax.random.uniform(key, labels.shape, log_law.dtype) * mass, 0.0, 1.0)


def interval_coverage(pit: Float[Array, "n *b"], levels: Float[Array, "c"]) -> Float[Array, "c *b"]:
    """The share of labels inside the central interval of each level: the level itself, if the predictor is calibrated.

    >>> pit = jnp.array([0.1, 0.4, 0.6, 0.9])
    >>> interval_coverage(pit, jnp.array([0.5, 1.0])).tolist()
    [0.5, 1.0]
    """
    width = 2 * jnp.abs(pit - 0.5)
    return (width[None] <= levels.reshape(-1, *(1,) * pit.ndim)).mean(axis=1, dtype=pit.dtype)
