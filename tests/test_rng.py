"""Every draw has an address: stable, and independent of every other draw."""

import jax
import numpy as np
import pytest
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects
from w2s_jax.rng import normals, replicate_key, seed_key, stream


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


def test_single_precision_normals_are_independent_and_normal():
    with jax.enable_x64(False):
        drawn = np.asarray(jax.jit(lambda key: normals(key, (2, 20_001)))(jax.random.key(3)))
    assert drawn.dtype == np.float32 and np.isfinite(drawn).all()
    for row in drawn:
        assert stats.kstest(row, "norm").pvalue > 1e-3
        assert stats.kstest(1.1 * row, "norm").pvalue < 1e-6
    # The two words of one Threefry evaluation lie half the draws apart: here, the two rows.
    assert_mean(drawn[0] * drawn[1], 0.0, scale=1.0)
    assert_mean(drawn[0] ** 2 * drawn[1] ** 2, 1.0)
    assert_mean_rejects(drawn[0] ** 2, 1.1)


def test_other_normals_are_those_of_jax():
    rbg = jax.random.key(0, impl="rbg")
    np.testing.assert_array_equal(normals(rbg, (3,)), jax.random.normal(rbg, (3,)))
    np.testing.assert_array_equal(normals(jax.random.key(0), (3,)), jax.random.normal(jax.random.key(0), (3,)))
    assert normals(jax.random.key(0), (0, 4)).shape == (0, 4)


@pytest.mark.parametrize("seed", [5, 2**31, 2**32 - 1, 2**32 + 5, 2**63 - 1])
def test_a_seed_counts_whole_with_and_without_64_bit_integers(seed):
    """What jax makes of it with 64-bit integers; without them it would drop the upper half."""
    whole = jax.random.key(seed)
    assert seed_key(seed) == whole
    with jax.enable_x64(False):
        assert (jax.random.key_data(seed_key(seed)) == jax.random.key_data(whole)).all()


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"seed must be in \[0, 2\^64\), got -1"):
        seed_key(-1)
