"""Every draw has an address: stable, and independent of every other draw."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers import assert_mean
from w2s_jax.rng import replicate_key, stream


def data(key):
    """The bits of a key."""
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_addresses_are_stable_across_versions(key):
    # If these change, every stored result changes: bump the version and say so in CHANGELOG.md.
    assert data(stream(key, "features")) == (1033021219, 2305248702)
    assert data(replicate_key(key, 7)) == (1709731416, 1688110796)


def test_names_and_numbers_separate(key):
    names = ["features", "weak_noise", "prior", "frame", "prompt", "replicate", ""]
    keys = {data(stream(key, name)) for name in names} | {data(replicate_key(key, i)) for i in range(100)} | {data(key)}
    assert len(keys) == len(names) + 100 + 1
    assert data(stream(stream(key, "a"), "b")) != data(stream(stream(key, "b"), "a"))


def test_more_replicates_extend(key):
    few = jax.vmap(replicate_key, in_axes=(None, 0))(key, jnp.arange(10))
    many = jax.vmap(replicate_key, in_axes=(None, 0))(key, jnp.arange(1000))
    assert bool(jnp.all(few == many[:10]))
    assert bool(replicate_key(key, 999) == many[999])


def test_traced_index_and_jit(key):
    assert bool(jax.jit(replicate_key)(key, 3) == replicate_key(key, 3))
    assert bool(jax.jit(stream, static_argnums=1)(key, "x") == stream(key, "x"))


def test_streams_are_uncorrelated(key):
    keys = jax.vmap(replicate_key, in_axes=(None, 0))(key, jnp.arange(4000))
    one = jax.vmap(lambda k: jax.random.normal(stream(k, "features")))(keys)
    two = jax.vmap(lambda k: jax.random.normal(stream(k, "weak_noise")))(keys)
    assert_mean(one * two, 0.0, scale=1.0)
    assert_mean(one[1:] * one[:-1], 0.0, scale=1.0)
    assert_mean(one**2, 1.0, scale=1.2)
