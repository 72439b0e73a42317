"""Refined labels drawn exactly, at O(K d) a cell: the rows are sorted by the concept that labels them.

A refined label is y_i = beta_{k_i} . phi_i + sigma eps_i with k_i drawn from a posterior. Where that posterior does not
depend on phi_i (a prompt of its own, shared or fresh), rows are exchangeable and independent of the concept draws, so
the joint distribution of the moments stays the same when the first N_1 rows take concept 1, the next N_2 concept 2, and
so on. With boundaries c_k = N_1 + ... + N_k,

    Phi'y = Phi'Phi beta_K + sum_{k<K} T_k[c_k] + sigma Phi'eps,
    T_k[c] = sum_{i<=c} phi_i phi_i . (beta_k - beta_{k+1}).

T is a table of prefix sums, made once per draw of features; a cell of a sweep reads K - 1 of its rows.
Derived, docs/theory.md 2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.gradients import no_gradient
from w2s_jax.inputs import kernel
from w2s_jax.types import Design, Key, Moments, Scalar


@kernel
def prefix_table(features: Float[Array, "n d"], concepts: Float[Array, "K d"]) -> Float[Array, "n+1 K-1 d"]:
    """T_k[c] for every boundary c = 0, ..., n and every concept but the last."""
    return prefix_sums(features @ (concepts[:-1] - concepts[1:]).T, features)


def prefix_sums(left: Float[Array, "n p"], right: Float[Array, "n *p q"]) -> Float[Array, "n+1 p q"]:
    """Sums of left_ik right_i (or right_ik, where each k has a row of its own) over i <= c, for every c = 0, ..., n."""

    # A row of zeros at the end, so that n + 1 sums come out of one pass over the rows: those before each of them.
    left, right = (jnp.concatenate([x, jnp.zeros_like(x[:1])]) for x in (left, right))

    def scan(left, right):
        def add(total, row):
            return total + _outer(*row), total

        start = jnp.zeros_like(right, shape=(left.shape[1], right.shape[-1]))
        return jax.lax.scan(add, start, (left, right), unroll=4)[1]  # four rows a turn: twice as fast as one

    def cumulative(left, right):
        sums = jnp.cumsum(jax.vmap(_outer)(left, right), axis=0)
        return jnp.concatenate([jnp.zeros_like(sums[:1]), sums[:-1]])

    # A core adds rows one after another faster than a parallel prefix sum does; an accelerator the other way round.
    return jax.lax.platform_dependent(left, right, cpu=scan, default=cumulative)


def _outer(left: Float[Array, "p"], right: Float[Array, "*p q"]) -> Float[Array, "p q"]:
    return left[:, None] * (right if right.ndim == 2 else right[None, :])


@kernel
def arrival_times(key: Key, num_samples: int) -> Float[Array, "{num_samples}+1"]:
    """Cumulative sums of n + 1 exponentials: for every j <= n, the first j over the (j+1)-th are j sorted uniforms."""
    return jnp.cumsum(jax.random.exponential(key, (num_samples + 1,)))


COUNTS_JUMP = (
    "boundaries are counts without a derivative in the posterior; draw labels by refine_labels, or take "
    "differences of means over many keys."
)


@kernel
def shared_boundaries(
    arrivals: Float[Array, "r"], log_posterior: Float[Array, "*b K"], num_samples: Int[Array, ""] | int
) -> Int[Array, "*b K-1"]:
    """Boundaries of the first `num_samples` labels, which share one posterior: counts of sorted uniforms."""
    arrivals, log_posterior = no_gradient(COUNTS_JUMP, (arrivals, log_posterior))
    levels = jnp.cumsum(jnp.exp(log_posterior), axis=-1)[..., :-1] * arrivals[num_samples]
    return jnp.minimum(count_up_to(arrivals, levels), num_samples)


@kernel
def count_up_to(ascending: Float[Array, "r"], levels: Float[Array, "*b"]) -> Int[Array, "*b"]:
    """How many of the ascending values are <= each level: `jnp.searchsorted(ascending, levels, side="right")`.

    Bisection on flat indices: with thousands of levels a core does it ten times as fast as `jnp.searchsorted`, whose
    indices have an axis for each axis of the levels. Give all levels in one call; `vmap` would undo the flat index.

    >>> count_up_to(jnp.array([1.0, 2.0, 2.0, 5.0]), jnp.array([0.5, 2.0, 9.0])).tolist()
    [0, 3, 4]
    """
    size = 1 << ascending.shape[0].bit_length()
    padded = jnp.concatenate([ascending, jnp.full(size - ascending.shape[0], jnp.inf, ascending.dtype)])
    flat = levels.reshape(-1)

    def halve(i, count):
        further = count + (size >> (i + 1)).astype(jnp.int32)
        reached = padded.at[further - 1].get(mode="promise_in_bounds") <= flat
        return jnp.where(reached, further, count)

    count = jax.lax.fori_loop(0, ascending.shape[0].bit_length(), halve, jnp.zeros_like(flat, jnp.int32))
    return jnp.minimum(count, ascending.shape[0]).reshape(levels.shape)


def look_up(table: Float[Array, "r p q"], boundaries: Int[Array, "*b p"]) -> Float[Array, "*b q"]:
    """sum_k table[c_k, k]: the jumps at the boundaries, which must lie in [0, r); `vmap` would undo the flat index."""
    rows, steps, width = table.shape
    places = boundaries.reshape(-1, steps) * steps + jnp.arange(steps)[None, :]
    jumps = table.reshape(rows * steps, width).at[places].get(mode="promise_in_bounds")
    return jumps.sum(axis=1).reshape(*boundaries.shape[:-1], width)


@kernel
def refined_moments(
    design: Design,
    table: Float[Array, "r p d"],
    boundaries: Int[Array, "p"],
    concepts: Float[Array, "K d"],
    noise_var: Scalar,
) -> Moments:
    """Moments of refined labels whose concepts change at the given boundaries, on the design of the first n rows."""
    jumps = look_up(table, boundaries)
    cross = design.gram @ concepts[-1] + jumps / design.num_samples + jnp.sqrt(noise_var) * design.noise_cross
    return Moments(design.gram, cross, design.num_samples)
