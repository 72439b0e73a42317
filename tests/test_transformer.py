"""The decoder: causal, the same with a cache as without, in every type and with dropout."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from w2s_jax.rng import stream
from w2s_jax.transformer import Decoder, LanguageModel, TransformerConfig, init_cache, sample

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")

TINY = TransformerConfig(num_layers=2, width=16, num_heads=2, max_length=12, dtype="float64")
VOCAB = 7


def filled(network, *sizes, seed=0, **change):
    """A network with parameters by NumPy: to draw them with jax takes longer than a test."""
    chance = np.random.default_rng(seed)
    made = nnx.eval_shape(lambda: network(dataclasses.replace(TINY, **change), *sizes, rngs=nnx.Rngs(0)))
    nnx.update(made, jax.tree.map(lambda leaf: jnp.asarray(0.4 * chance.normal(size=leaf.shape)), nnx.state(made)))
    return made


def embeddings(*shape):
    return jnp.asarray(np.random.default_rng(1).standard_normal((*shape, TINY.width)))


def test_an_output_depends_on_all_inputs_up_to_its_own_and_on_no_later_one():
    """With gelu: with swiglu, test_language_model.py has a forward pass in NumPy."""
    moved = embeddings(5)[None] + jnp.eye(6, 5)[..., None]  # one input moved in each row, none in the last
    found = np.asarray(jax.jit(filled(Decoder, activation="gelu").__call__)(moved))
    reach = np.abs(found[:5] - found[5]).max(axis=-1)  # [input output]
    assert (reach[np.tril_indices(5, -1)] < 1e-12).all()
    assert (reach[np.triu_indices(5)] > 1e-4).all()


@pytest.mark.slow
def test_a_cache_changes_nothing_and_what_lies_past_its_length_is_not_read():
    model, inputs = filled(Decoder), embeddings(2, 12)
    extend, cache, parts = jax.jit(model.__call__), init_cache(TINY, (2,)), []
    for i in range(0, 12, 3):
        beyond = np.arange(12)[:, None, None] >= i
        spoilt = cache._replace(keys=np.where(beyond, 1e6, cache.keys), values=np.where(beyond, 1e6, cache.values))
        hidden, cache = extend(inputs[:, i : i + 3], spoilt)
        parts.append(hidden)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), extend(inputs), rtol=1e-10, atol=1e-12)
    assert int(cache.length) == 12 and cache.keys.shape == (2, 2, 12, 2, 8)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0, 0.7])
def test_sampling_with_a_cache_is_sampling_by_full_forwards(key, temperature):
    model, prompt = filled(LanguageModel, VOCAB), jnp.array([[1, 2, 3], [4, 0, 6]])
    drawn = jax.jit(lambda key: sample(key, model, prompt, 5, temperature))(key)
    # Places to come are padding, which a causal model does not see: one program for all lengths.
    ids, forward = np.pad(prompt, ((0, 0), (0, 5))), jax.jit(model.__call__)
    for i in range(5):
        logits = forward(ids)[:, 2 + i]
        step_key = jax.random.fold_in(key, i)
        ids[:, 3 + i] = jax.random.categorical(step_key, logits / temperature) if temperature else logits.argmax(-1)
    np.testing.assert_array_equal(drawn, ids[:, 3:])
    assert len(np.unique(drawn)) > 1


@pytest.mark.slow
def test_lower_precision_computes_nearly_the_same(key):
    ids = jnp.array([[1, 2, 3, 4, 5, 6, 0, 1]])
    expected = jax.jit(filled(LanguageModel, VOCAB).__call__)(ids)
    for dtype, tolerance in (("float32", 1e-4), ("bfloat16", 0.5)):
        model = filled(LanguageModel, VOCAB, dtype=dtype)
        params = jax.tree.map(lambda leaf: leaf.astype("float32"), nnx.state(model))
        nnx.update(model, params)
        run = jax.jit(lambda model=model: (model(ids), model.decoder(embeddings(4)), sample(key, model, ids, 2)))
        found, hidden, tokens = run()
        assert found.dtype == jnp.float32 and hidden.dtype == dtype and tokens.shape == (1, 2)
        assert 1e-9 < np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def test_parameters_are_in_single_precision_and_as_many_as_the_sizes_say():
    made = nnx.eval_shape(lambda: Decoder(dataclasses.replace(TINY, dtype="bfloat16"), rngs=nnx.Rngs(0)))
    leaves = jax.tree.leaves(nnx.state(made))
    assert {leaf.dtype.name for leaf in leaves} == {"float32"}
    assert TINY.hidden == 48  # 8/3 of 16, rounded up
    assert sum(leaf.size for leaf in leaves) == 2 * (4 * 16**2 + 3 * 16 * 48 + 2 * 16) + 16


def test_extra_embeddings_are_added():
    model, ids = filled(LanguageModel, VOCAB), jnp.array([1, 2, 3])
    extra = model.embedding.embedding[jnp.array([4, 4, 4])]
    found, expected = jax.jit(
        lambda: (model(ids, extra=extra), model.head(model.decoder(model.embedding(ids) + extra)))
    )()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.slow
def test_dropout_is_off_without_a_key_and_else_decided_by_it(key):
    model, inputs = filled(Decoder, dropout=0.5), embeddings(4)
    drop, plain = jax.jit(lambda key: model(inputs, dropout_key=key)), jax.jit(model.__call__)(inputs)
    dropped = drop(key)
    np.testing.assert_array_equal(plain, jax.jit(filled(Decoder).__call__)(inputs))
    np.testing.assert_array_equal(dropped, drop(key))
    assert np.abs(dropped - plain).max() > 0.1
    assert np.abs(dropped - drop(stream(key, "other"))).max() > 0.1


def test_what_does_not_fit_is_refused(key):
    model = filled(LanguageModel, VOCAB)
    with pytest.raises(ValueError, match="must fit max_length = 12 places, got 13"):
        model(jnp.zeros(13, int))
    with pytest.raises(ValueError, match="at most max_length = 12 places together, got 8 and 5"):
        sample(key, model, jnp.zeros(8, int), 5)
    with pytest.raises(ValueError, match="temperature must not be negative, got -1"):
        sample(key, model, jnp.zeros(8, int), 1, -1.0)
    with pytest.raises(ValueError, match="vocab_size must be at least 1, got 0"):
        LanguageModel(TINY, 0, rngs=nnx.Rngs(0))
