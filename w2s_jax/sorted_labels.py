"""Refined labels drawn exactly, at O(K d) a cell: the rows are sorted by the concept that labels them.

A refined label is y_i = beta_{k_i} . phi_i + sigma eps_i with k_i drawn from a posterior. Where that posterior does not
look at phi_i (a prompt of its own, shared or fresh), rows are exchangeable and independent of the concept draws, so
the joint law of the moments stays the same when the first N_1 rows take concept 1, the next N_2 concept 2, and so on.
With boundaries c_k = N_1 + ... + N_k,

    Phi'y = Phi'Phi beta_K + sum_{k<K} T_k[c_k] + sigma Phi'eps,
    T_k[c] = sum_{i<=c} phi_i phi_i . (beta_k - beta_{k+1}).

T is a table of prefix sums, made once per draw of features; a cell of a sweep reads K - 1 of its rows.
Derived, docs/theory.md 2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.types import Design, Key, Moments, Scalar


def prefix_table(features: Float[Array, "n d"], concepts: Float[Array, "K d"]) -> Float[Array, "n+1 K-1 d"]:
    """T_k[c] for every boundary c = 0, ..., n and every concept but the last."""
    projected = features @ (concepts[:-1] - concepts[1:]).T

    def scan(projected, features):
        def add(total, row):
            total = total + _outer(*row)
            return total, total

        start = jnp.zeros((projected.shape[1], features.shape[1]), features.dtype)
        return jax.lax.scan(add, start, (projected, features))[1]

    def cumulative(projected, features):
        return jnp.cumsum(jax.vmap(_outer)(projected, features), axis=0)

    # A core adds rows one after another faster than a parallel prefix sum does; an accelerator the other way round.
    sums = jax.lax.platform_dependent(projected, features, cpu=scan, default=cumulative)
    return jnp.concatenate([jnp.zeros_like(sums[:1]), sums])


def _outer(left: Float[Array, "p"], right: Float[Array, "d"]) -> Float[Array, "p d"]:
    return left[:, None] * right[None, :]


def arrival_times(key: Key, num_samples: int) -> Float[Array, "{num_samples}+1"]:
    """Cumulative sums of n + 1 exponentials: for every j <= n, the first j over the (j+1)-th are j sorted uniforms."""
    return jnp.cumsum(jax.random.exponential(key, (num_samples + 1,)))


def shared_boundaries(
    arrivals: Float[Array, "r"], log_posterior: Float[Array, "K"], num_samples: Int[Array, ""] | int
) -> Int[Array, "K-1"]:
    """Boundaries of the first `num_samples` labels, which share one posterior: counts of sorted uniforms."""
    levels = jnp.cumsum(jnp.exp(log_posterior))[:-1] * arrivals[num_samples]
    return jnp.minimum(jnp.searchsorted(arrivals, levels, side="right"), num_samples)


def refined_moments(
    design: Design,
    table: Float[Array, "r p d"],
    boundaries: Int[Array, "p"],
    concepts: Float[Array, "K d"],
    noise_var: Scalar,
) -> Moments:
    """Moments of refined labels whose concepts change at the given boundaries, on the design of the first n rows."""
    jumps = jnp.take_along_axis(table, boundaries[None, :, None], axis=0)[0].sum(axis=0)
    cross = design.gram @ concepts[-1] + jumps / design.num_samples + jnp.sqrt(noise_var) * design.noise_cross
    return Moments(design.gram, cross, design.num_samples)
