"""Designs drawn as moments: their cost does not depend on the sample size, which may be traced."""

import jax
import jax.numpy as jnp

from w2s_jax.rng import stream
from w2s_jax.sampling import wishart_root
from w2s_jax.types import Design, Key, Scalar


def direct_design(key: Key, num_samples: Scalar, dim: int) -> Design:
    """The gram matrix and noise of n gaussian examples, distributed as those of `sample_design`, at n < d too."""
    root = wishart_root(stream(key, "root"), num_samples, dim)
    noise = jax.random.normal(stream(key, "noise"), (dim,))
    size = jnp.asarray(num_samples, root.dtype)
    return Design(root.T @ root / size, noise @ root / size, size)
