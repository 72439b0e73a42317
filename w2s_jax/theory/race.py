"""The mean posterior of a weak prompt at any number of concepts, as the outcome of a race of independent runners.

A weight w_k = b_k/(sum_j b_j) is the probability that, of exponential clocks of rates b_j, the k-th rings first. Given
the common factor (`one_factor`) the rates are independent, so that the first ring is an integral over one time,
for any number of concepts. On the scale of log time a clock rings at

    T_k = log E_k - log b_k = log E_k - log alpha_k + Q_k/(2 s_hat^2),    E_k exponential, Q_k noncentral chi-square

whose characteristic function is in closed form, and whose density is one Fourier transform away (docs/theory.md 3.6).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from w2s_jax.theory.one_factor import OneFactor

NUM_FACTORS = 24
"""Nodes for the length of the common factor over the prompt."""
NUM_TIMES = 512
"""Points of log time, a power of two."""
REACH = 4.8
"""Radii are followed so far from their root mean square: what is left has probability 1e-6 (they are 1-Lipschitz)."""
EMPTY = 1e-6
"""Probability of a radius too small to be followed."""
EARLY, LATE = 14.0, 3.0
"""log E is followed from -14 (probability 8e-7) to 3 (2e-9)."""


class RaceMoments(NamedTuple):
    """Means over prompts of the posterior weights of the rivals."""

    weight: Float[Array, "J"]
    """E w_j of each rival."""
    square: Float[Array, ""]
    """sum_j E w_j^2."""
    cross: Float[Array, ""]
    """sum over pairs i != j of E w_i w_j."""


class Clocks(NamedTuple):
    """When the clocks of concepts ring, over a grid of log time."""

    density: Float[Array, "k t"]
    slope: Float[Array, "k t"]
    """Derivative of the density."""
    survival: Float[Array, "k t"]
    """Probability that it has not rung yet."""


@jax.jit  # a leaf: without it, every call outside a jit would compile the loop again
def race_moments(
    factor: OneFactor,
    target_prior: Float[Array, ""],
    rival_priors: Float[Array, "J"],
    noise_var: Float[Array, ""],
    num_icl: Float[Array, ""],
) -> RaceMoments:
    """Mean posterior weights after n > 0 weak examples.

    With p_k, S_k the density and survival of clock k in log time u, h_k = p_k/S_k and f_k = (p_k - p_k')/S_k,

        E w_j = int S h_j du,   E w_j^2 = int S f_j du,   E w_i w_j = int S h_i h_j du,   S = prod_k S_k

    under every length of the factor, and then averaged over it.

    Args:
        factor: `one_factor` of the task.
        target_prior, rival_priors: alpha_* > 0 and the rivals' alpha_j >= 0 `[J]`.
        noise_var: s_hat^2 > 0 of the posterior, squared label units.
        num_icl: n > 0; a chi-square variable takes any real number of degrees.
    """
    runs = rival_priors > 0
    log_priors = jnp.log(jnp.append(jnp.where(runs, rival_priors, 1.0), target_prior))
    log_priors = jnp.where(jnp.append(runs, True), log_priors, log_priors[-1])  # one that does not run: no wider grid
    kinds = np.append(np.zeros(len(runs), int), 1)  # of clocks: rivals are alike, and last is the target
    floor = 8 * float(jnp.finfo(log_priors.dtype).eps)  # of a survival, which is a sum of round-off then

    def given(length):
        start, step = _grid(factor, length, log_priors, noise_var, num_icl)
        frequency = 2 * jnp.pi / (NUM_TIMES * step) * jnp.arange(NUM_TIMES // 2 + 1, dtype=step.dtype)[None]
        loadings = jnp.stack([factor.rival_loading, factor.target_loading])
        owns = jnp.stack([factor.rival_own, factor.target_own])
        size, phase = _characteristic(loadings[:, None] * length, owns[:, None], noise_var, num_icl, frequency)
        turned = phase[kinds] - frequency * (log_priors[:, None] + start)
        clocks = _ring(size[kinds], turned, frequency, step)  # all in one, since most of a first call is compilation
        rivals = Clocks(*(part[:-1] for part in clocks))
        survival = jnp.maximum(rivals.survival, floor)
        hazard = jnp.where(runs[:, None], rivals.density / survival, 0.0)
        twice = jnp.where(runs[:, None], (rivals.density - rivals.slope) / survival, 0.0)
        waiting = jnp.sum(jnp.where(runs[:, None], jnp.log(survival), 0.0), 0)
        everyone = step * clocks.survival[-1] * jnp.exp(waiting)
        together = jnp.sum(hazard, 0)
        return RaceMoments(
            hazard @ everyone, jnp.sum(twice, 0) @ everyone, (together**2 - jnp.sum(hazard**2, 0)) @ everyone
        )

    lengths, mass = _chi(num_icl)
    return jax.tree.map(lambda x: jnp.tensordot(mass, x, 1), jax.lax.map(given, lengths))


def _ring(size, phase, frequency, step) -> Clocks:
    """Clocks from size and phase `[k f]` of their characteristic functions, counted from the start of the grid."""
    size = size / step
    real, imaginary = size * jnp.cos(phase), -size * jnp.sin(phase)
    density = jnp.fft.irfft(jax.lax.complex(real, imaginary))
    slope = jnp.fft.irfft(jax.lax.complex(-frequency * imaginary, frequency * real))
    later = jax.lax.cumsum(density, 1, reverse=True) - density / 2  # the trapezoid rule, with its first correction
    return Clocks(density, slope, step * later + step**2 / 12 * slope)


def _characteristic(shared, own, noise_var, num_icl, w) -> tuple[Float[Array, "k f"], Float[Array, "k f"]]:
    """|E e^(iwT)| and its phase for T = log E + Q/(2 s_hat^2), Q the sum of n squares of mean square `shared`^2/n and
    variance `own`."""
    log_size, phase = _log_gamma(w)
    a = w * own / noise_var
    pull = shared**2 * w / (2 * noise_var * (1 + a**2))
    log_size = log_size - 0.25 * num_icl * jnp.log1p(a**2) - a * pull
    return jnp.exp(log_size), phase + 0.5 * num_icl * jnp.arctan(a) + pull


def _log_gamma(w: Float[Array, "1 f"]) -> tuple[Float[Array, "1 f"], Float[Array, "1 f"]]:
    """log Gamma(1 + i w) for w >= 0, to 1e-8: |Gamma|^2 = pi w/sinh(pi w), and Stirling's series for the phase."""
    safe = jnp.where(w > 0, w, 1.0)
    log_size = 0.5 * (jnp.log(2 * jnp.pi * safe) - jnp.pi * safe - jnp.log1p(-jnp.exp(-2 * jnp.pi * safe)))
    square = 49 + w**2  # |7 + i w|^2, six steps of the recursion up
    phase = 6.5 * jnp.arctan(w / 7) + w * (0.5 * jnp.log(square) - 1)
    phase = phase - w / square / 12 + (147 * w / square - w * (w**2 / square)) / square**2 / 360
    phase = phase - jnp.sum(jnp.arctan(w / np.arange(1.0, 7.0, dtype=w.dtype)[:, None]), 0, keepdims=True)
    return jnp.where(w > 0, log_size, 0.0), phase


def _grid(factor: OneFactor, length, log_priors, noise_var, num_icl):
    """Start and step of a grid of log time that holds the ring of every clock: a Fourier transform is periodic."""
    factor, length, log_priors, noise_var, num_icl = jax.lax.stop_gradient(
        (factor, length, log_priors, noise_var, num_icl)
    )
    loading = jnp.stack([factor.rival_loading, jnp.abs(factor.target_loading)])
    spread = jnp.sqrt(jnp.maximum(jnp.stack([factor.rival_own, factor.target_own]), 0.0))
    typical = jnp.sqrt((loading * length) ** 2 + spread**2 * num_icl)
    low = jnp.maximum(typical - REACH * spread, 0.0) ** 2 / (2 * noise_var)
    high = (typical + REACH * spread) ** 2 / (2 * noise_var)
    weakest, strongest = jnp.min(log_priors[:-1]), jnp.max(log_priors[:-1])
    start = jnp.minimum(low[0] - strongest, low[1] - log_priors[-1]) - EARLY
    end = jnp.maximum(high[0] - weakest, high[1] - log_priors[-1]) + LATE
    return start, (end - start) / NUM_TIMES


def _chi(num_icl) -> tuple[Float[Array, "q"], Float[Array, "q"]]:
    """Nodes and weights for a chi variable of n degrees: even steps of x in r = log(1 + e^x), r small or large."""
    n = jax.lax.stop_gradient(num_icl)
    # Stirling's series for n/2 + 1, within 0.07 from n = 1/2 on: near enough for a reach.
    log_gamma = 0.5 * jnp.log(jnp.pi * n) + n / 2 * (jnp.log(n / 2) - 1) + 1 / (6 * n)
    empty = jnp.maximum((jnp.log(EMPTY) + log_gamma) / n + jnp.log(2.0) / 2, -40.0)
    low = jnp.maximum(jnp.sqrt(n) - REACH, jnp.exp(empty))
    x = jnp.linspace(low + jnp.log(-jnp.expm1(-low)), jnp.sqrt(n) + REACH, NUM_FACTORS, dtype=n.dtype)
    r = jax.nn.softplus(x)
    return r, jax.nn.softmax((num_icl - 1) * jnp.log(r) - r**2 / 2 - jax.nn.softplus(-x))
