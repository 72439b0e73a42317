"""Designs drawn as moments: their cost does not depend on the sample size, which may be traced."""

import jax.numpy as jnp

from w2s_jax.sampling import sample_moments
from w2s_jax.types import Design, Key, Scalar, Task


def direct_design(key: Key, num_samples: Scalar, dim: int) -> Design:
    """The gram matrix and noise of n gaussian examples, as `sample_design` has them in law, at n < d too."""
    one = jnp.ones(1)
    labelled_by_noise = Task(
        concepts=jnp.zeros((1, dim)),
        source_prior=one,
        target_prior=one,
        noise_var=jnp.ones(()),
        weak_concepts=jnp.zeros((1, dim)),
        weak_prior=one,
        weak_noise_var=jnp.ones(()),
        feature_var=jnp.ones(dim),
    )
    return Design(*sample_moments(key, labelled_by_noise, num_samples))
