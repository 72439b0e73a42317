"""The decoder: causal, the same with a cache as without, its positions relative, in every type and under `vmap`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from w2s_jax.rng import stream
from w2s_jax.transformer import (
    Decoder,
    LanguageModel,
    TransformerConfig,
    attend,
    init_cache,
    rotary_angles,
    rotate,
    sample,
)

TINY = TransformerConfig(num_layers=2, width=16, num_heads=2, max_length=12, dtype="float64")
VOCAB = 7


def decoder(**change):
    return Decoder(dataclasses.replace(TINY, **change), rngs=nnx.Rngs(0))


def language_model(*, tied_head=False, **change):
    return LanguageModel(dataclasses.replace(TINY, **change), VOCAB, tied_head=tied_head, rngs=nnx.Rngs(0))


def embeddings(key, *shape):
    return jax.random.normal(key, (*shape, TINY.width))


@pytest.mark.parametrize("activation", ["swiglu", "gelu"])
def test_an_output_depends_on_all_inputs_up_to_its_own_and_on_no_later_one(key, activation):
    model, inputs = decoder(activation=activation), embeddings(key, 6)
    direction = embeddings(stream(key, "direction"))
    jacobian = jax.jit(jax.jacrev(lambda inputs: model(inputs) @ direction))(inputs)
    reach = np.abs(jacobian).max(axis=-1)  # [output input]
    assert (reach[np.triu_indices(6, 1)] == 0).all()
    assert (reach[np.tril_indices(6)] > 1e-4).all()


@pytest.mark.parametrize("cuts", [(10,), (4, 6), (3, 1, 6), (1,) * 10], ids=str)
def test_a_cache_changes_nothing(key, cuts):
    model, inputs = decoder(), embeddings(key, 3, 10)
    extend, cache, parts = jax.jit(model.__call__), init_cache(TINY, (3,)), []
    for chunk in jnp.split(inputs, np.cumsum(cuts)[:-1], axis=1):
        hidden, cache = extend(chunk, cache)
        parts.append(hidden)
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), jax.jit(model.__call__)(inputs), rtol=1e-10, atol=1e-12)
    assert int(cache.length) == 10 and cache.keys.shape == (2, 3, 12, 2, 8)


def test_one_cached_prompt_serves_many_queries(key):
    model, prompt, queries = decoder(), embeddings(key, 5), embeddings(stream(key, "queries"), 4, 2)
    _, cache = model(prompt, init_cache(TINY))
    answers = jax.jit(jax.vmap(lambda query: model(query, cache)[0]))(queries)
    whole = model(jnp.concatenate([jnp.broadcast_to(prompt, (4, 5, 16)), queries], axis=1))[:, 5:]
    np.testing.assert_allclose(answers, whole, rtol=1e-10, atol=1e-12)


def test_places_past_the_length_of_a_cache_are_not_read(key):
    model = decoder()
    _, cache = model(embeddings(key, 5), init_cache(TINY))
    spoilt = cache._replace(keys=cache.keys.at[:, 5:].set(1e6), values=cache.values.at[:, 5:].set(1e6))
    query = embeddings(stream(key, "query"), 2)
    np.testing.assert_array_equal(model(query, spoilt)[0], model(query, cache)[0])


@pytest.mark.parametrize(("temperature", "tied_head"), [(0, False), (0.7, True)])
def test_sampling_with_a_cache_is_sampling_by_full_forwards(key, temperature, tied_head):
    model = language_model(tied_head=tied_head)
    prompt = jax.random.randint(key, (3, 4), 0, VOCAB)
    drawn = jax.jit(lambda key: sample(key, model, prompt, 8, temperature))(key)
    # Places to come are padding, which a causal model does not see: one program for all lengths.
    ids, forward = jnp.pad(prompt, ((0, 0), (0, 8))), jax.jit(model.__call__)
    for i in range(8):
        logits = forward(ids)[:, 3 + i]
        step_key = jax.random.fold_in(key, i)
        token = jax.random.categorical(step_key, logits / temperature) if temperature else logits.argmax(-1)
        ids = ids.at[:, 4 + i].set(token)
    np.testing.assert_array_equal(drawn, ids[:, 4:])
    assert len(np.unique(drawn)) > 1


def test_attention_is_that_of_jax(key):
    queries, keys, values = jax.random.normal(key, (3, 2, 6, 2, 8))
    expected = jax.nn.dot_product_attention(queries, keys, values, is_causal=True)
    found = attend(queries, [(keys, values, jnp.tri(6, dtype=bool))])
    np.testing.assert_allclose(found, expected, atol=1e-6)  # jax's softmax is in single precision


def test_rotary_positions_are_relative(key):
    queries, keys = jax.random.normal(key, (2, 6, 2, 8))

    def scores(shift, spread=1):
        angles = rotary_angles(TINY, shift + spread * jnp.arange(6))
        return jnp.einsum("qhe,khe->hqk", rotate(queries, angles), rotate(keys, angles))

    np.testing.assert_allclose(scores(37), scores(0), rtol=1e-10, atol=1e-12)
    assert np.abs(scores(0, spread=2) - scores(0)).max() > 0.1
    turned = rotate(queries, rotary_angles(TINY, jnp.arange(6)))
    np.testing.assert_allclose((turned**2).sum(-1), (queries**2).sum(-1), rtol=1e-10)


def test_stacked_networks_under_vmap_are_the_networks(key):
    models = [Decoder(TINY, rngs=nnx.Rngs(seed)) for seed in range(3)]
    graph = nnx.graphdef(models[0])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(nnx.state(model) for model in models))
    inputs = embeddings(key, 2, 5)
    found = jax.jit(jax.vmap(lambda params: nnx.merge(graph, params)(inputs)))(stacked)
    for model, hidden in zip(models, found):
        np.testing.assert_allclose(hidden, model(inputs), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_lower_precision_computes_nearly_the_same(key, dtype, tolerance):
    ids = jax.random.randint(key, (3, 8), 0, VOCAB)
    exact, model = language_model(), language_model(dtype=dtype)
    found = model(ids)
    assert found.dtype == jnp.float32 and model.decoder(embeddings(key, 4)).dtype == dtype
    assert {leaf.dtype.name for leaf in jax.tree.leaves(nnx.state(model))} == {"float32"}
    nnx.update(exact, jax.tree.map(lambda leaf: leaf.astype("float64"), nnx.state(model)))
    worst = np.abs(found - exact(ids)).max()
    assert 1e-9 < worst < tolerance
    assert sample(key, model, ids, 2).shape == (3, 2)


def test_extra_embeddings_are_added(key):
    model, ids = language_model(), jnp.array([1, 2, 3])
    extra = model.embedding.embedding[jnp.array([4, 4, 4])]
    swapped = model.embedding.embedding[ids] + extra
    np.testing.assert_allclose(model(ids, extra=extra), model.head(model.decoder(swapped)), rtol=1e-12)


def test_dropout_is_off_without_a_key_and_else_decided_by_it(key):
    model, inputs = decoder(dropout=0.5), embeddings(key, 4)
    dropped = model(inputs, dropout_key=key)
    np.testing.assert_array_equal(model(inputs), decoder()(inputs))
    np.testing.assert_array_equal(dropped, model(inputs, dropout_key=key))
    assert np.abs(dropped - model(inputs)).max() > 0.1
    assert np.abs(dropped - model(inputs, dropout_key=stream(key, "other"))).max() > 0.1


def test_parameters_are_as_many_as_the_sizes_say():
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(decoder())))
    assert TINY.hidden == 48  # 8/3 of 16, rounded up
    assert count == 2 * (4 * 16**2 + 3 * 16 * 48 + 2 * 16) + 16


BAD_CONFIGS = [
    ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
    ({"width": 18, "num_heads": 4}, "width must be a multiple of 2 num_heads = 8 .*, got 18"),
    ({"mlp_width": 0}, "mlp_width must be at least 1, got 0"),
    ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    ({"rope_base": 1.0}, "rope_base must be finite and above 1, got 1.0"),
    ({"max_length": 0}, "max_length must be at least 1, got 0"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CONFIGS)
def test_sizes_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**change)


def test_what_does_not_fit_is_refused(key):
    model = language_model()
    with pytest.raises(ValueError, match="must fit max_length = 12 places, got 13"):
        model(jnp.zeros(13, int))
    with pytest.raises(ValueError, match="at most max_length = 12 places together, got 8 and 5"):
        sample(key, model, jnp.zeros(8, int), 5)
    with pytest.raises(ValueError, match="temperature must not be negative, got -1"):
        sample(key, model, jnp.zeros(8, int), 1, -1.0)
    with pytest.raises(ValueError, match="vocab_size must be at least 1, got 0"):
        LanguageModel(TINY, 0, rngs=nnx.Rngs(0))
