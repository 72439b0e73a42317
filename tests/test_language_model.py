"""What a real language model adds to the decoder: grouped heads, biases, norms of queries and keys, scaled positions, a
scan over layers, rows of unequal length. The reference is the forward pass in NumPy of tests/tiny_checkpoints.py;
tests/test_checkpoints.py compares with transformers.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import log_softmax

from tests.helpers import assert_same_trees
from tests.tiny_checkpoints import llama3_factors, reference_logits, wave_numbers
from w2s_jax.alignment.combined import contrast
from w2s_jax.checkpoints.folder_config import write_config
from w2s_jax.checkpoints.layout import Layout
from w2s_jax.checkpoints.parameters import take_apart
from w2s_jax.transformer import (
    LanguageModel,
    RopeScaling,
    TransformerConfig,
    attend,
    generate,
    generation,
    init_cache,
    read,
    rotary_angles,
    sample,
    target_log_probs,
    token_log_probs,
    with_scan,
)
from w2s_jax.transformer.model import blank_model

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")

VOCAB = 23
QWEN = TransformerConfig(
    num_layers=2,
    width=12,
    num_heads=4,
    num_kv_heads=2,
    head_width=6,
    mlp_width=20,
    max_length=32,
    dtype="float64",
    rope_base=50.0,
    norm_eps=1e-2,
    qkv_bias=True,
    qk_norm=True,
    rope_scaling=RopeScaling(factor=4.0, original_length=24),
)
LLAMA = dataclasses.replace(QWEN, head_width=None, num_kv_heads=1, width=16, qkv_bias=False, qk_norm=False)
PROMPTS = np.random.default_rng(1).integers(0, VOCAB, (3, 5))  # what lies beyond a row's length is any token
LENGTHS = np.array([2, 5, 3])
PREFIX = np.random.default_rng(2).integers(0, VOCAB, 4)


@functools.cache
def language_model(config=QWEN, *, tied_head=False, scan_layers=False):
    """A model with random numbers in every parameter, biases and scales of norms too; the same ones when scanned."""
    chance, model = np.random.default_rng(2), blank_model(config, VOCAB, tied_head=tied_head)
    nnx.update(model, jax.tree.map(lambda x: jnp.asarray(0.5 * chance.normal(size=x.shape), x.dtype), nnx.state(model)))
    return with_scan(model, scan_layers)


def table_of(config, tied_head=False):
    """The config.json of a model, but for biases and norms, which no family has both."""
    plain = dataclasses.replace(config, qkv_bias=False, qk_norm=False)
    return write_config(Layout(plain, VOCAB, tied_head, config.max_length))


@functools.cache
def stored(config=QWEN, tied_head=False):
    """That, and the tensors of a model as they would be stored."""
    model = language_model(config, tied_head=tied_head, scan_layers=True)
    return table_of(config, tied_head), dict(take_apart(Layout(config, VOCAB, tied_head, config.max_length), model))


@pytest.mark.parametrize(("config", "tied_head", "scan_layers"), [(QWEN, False, False), (LLAMA, True, True)])
def test_logits_are_those_of_a_forward_pass_in_numpy(config, tied_head, scan_layers):
    found = jax.jit(language_model(config, tied_head=tied_head, scan_layers=scan_layers).__call__)(PROMPTS)
    for row, logits in zip(PROMPTS, found):
        expected = reference_logits(*stored(config, tied_head), row)
        np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-10)


def test_a_group_of_heads_reads_the_same_keys(key):
    queries = jax.random.normal(key, (2, 5, 6, 8))
    keys, values = np.random.default_rng(0).normal(size=(2, 2, 5, 3, 8))

    @jax.jit
    def both(keys, values):
        repeated = (jnp.repeat(array, 2, axis=-2) for array in (keys, values))
        expected = jax.nn.dot_product_attention(queries, *repeated, is_causal=True)
        return attend(queries, [(keys, values, jnp.tri(5, dtype=bool))]), expected

    np.testing.assert_allclose(*both(keys, values), atol=1e-6)  # jax's softmax is in single precision


SCALINGS = [None, RopeScaling(original_length=4096), RopeScaling(32.0, 0.5, 3.0, 512)]


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_rotary_positions_are_scaled_by_the_rule_of_llama_3(scaling):
    config = TransformerConfig(width=128, num_heads=2, rope_base=5e5, rope_scaling=scaling, dtype="float64")
    positions = np.array([0, 1, 77, 8191])
    table = table_of(config)
    expected = np.outer(positions, wave_numbers(table))
    np.testing.assert_allclose(rotary_angles(config, jnp.asarray(positions)), expected, rtol=1e-12)
    assert scaling is None or len(set(llama3_factors(table))) > 3  # kept, slowed, and some between
    low = rotary_angles(dataclasses.replace(config, dtype="bfloat16"), jnp.asarray(positions))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, expected, rtol=1e-5)


@functools.cache
def continued(prefix: bool):
    """The nine likeliest tokens after each prompt: every row is read anew for each."""
    rows = [[*PREFIX] * prefix + row[:length].tolist() for row, length in zip(PROMPTS, LENGTHS)]
    for row in rows:
        for _ in range(9):
            row.append(int(reference_logits(*stored(), row)[-1].argmax()))
    return np.array([row[-9:] for row in rows])


@pytest.mark.parametrize(("prefix", "scan_layers"), [(False, False), (True, True)])
def test_rows_of_unequal_length_are_continued_as_each_alone(prefix, scan_layers):
    model = language_model(scan_layers=scan_layers)

    @jax.jit
    def run():
        before = None
        if prefix:
            before = read(model, jnp.asarray([*PREFIX, 7, 7]))[1]._replace(length=jnp.asarray(PREFIX.size))
        return generate(None, model, jnp.asarray(PROMPTS), jnp.asarray(LENGTHS), 9, prefix=before)

    found = run()
    np.testing.assert_array_equal(found, continued(prefix))
    assert len(np.unique(found)) > 3


def test_models_that_write_together_read_what_they_wrote():
    """Every row is read anew for each token by both; one model alone writes something else."""
    models = (language_model(), language_model(LLAMA))
    rule = functools.partial(contrast, alpha=0.3, relative_top=0.1)
    run = functools.partial(generate, num_tokens=5)
    prompts, lengths = jnp.asarray(PROMPTS), jnp.asarray(LENGTHS)
    found, likeliest = jax.jit(lambda: run(None, models, prompts, lengths, rule=rule))(), jax.jit(rule)
    rows = [row[:length].tolist() for row, length in zip(PROMPTS, LENGTHS)]
    for tokens in np.asarray(found).T:
        logits = [[reference_logits(*stored(config), row)[-1] for row in rows] for config in (QWEN, LLAMA)]
        np.testing.assert_array_equal(likeliest(log_softmax(logits, axis=-1)).argmax(-1), tokens)
        rows = [[*row, int(token)] for row, token in zip(rows, tokens)]
    assert not np.array_equal(found, continued(False)[:, :5])
    with pytest.raises(ValueError, match="2 models write together by a rule; give one"):
        run(None, models, prompts, lengths)


def test_a_row_repeats_the_token_that_ended_it_and_no_step_is_taken_after_the_last(monkeypatch):
    free, steps, real = continued(False), [], generation._draw

    def counted(key, logits, index, temperature):
        jax.debug.callback(lambda i: steps.append(int(i)), index)
        return real(key, logits, index, temperature)

    monkeypatch.setattr(generation, "_draw", counted)
    stop = tuple(int(row[2]) for row in free)
    model = language_model()
    found = jax.jit(lambda: generate(None, model, jnp.asarray(PROMPTS), jnp.asarray(LENGTHS), 9, stop=stop))()
    jax.effects_barrier()
    ends = [next(i for i, token in enumerate(row) if token in stop) for row in free]
    expected = np.array([[*row[:end], *[row[end]] * (9 - end)] for row, end in zip(free, ends)])
    np.testing.assert_array_equal(found, expected)
    assert sorted(steps) == list(range(max(ends) + 1))
    assert 0 < max(ends) < 8 and (found != free).any()


def test_tokens_are_drawn_as_sample_draws_them(key):
    model, prompts = language_model(), jnp.asarray(PROMPTS)
    drawn = jax.jit(lambda t: generate(key, model, prompts, jnp.full(3, 5), 8, temperature=t))(0.7)
    np.testing.assert_array_equal(drawn, jax.jit(lambda t: sample(key, model, prompts, 8, t))(0.7))
    assert len(np.unique(drawn)) > 3


def test_the_likeliest_tokens_cost_no_chance_and_one_place_of_logits():
    model = language_model()

    def program(temperature):
        lengths = jnp.asarray(LENGTHS)
        run = functools.partial(generate, num_tokens=4, temperature=temperature)
        return str(jax.make_jaxpr(lambda key: run(key, model, jnp.asarray(PROMPTS), lengths))(jax.random.key(0)))

    greedy, drawn = program(0.0), program(0.5)
    assert "random_bits" in drawn and "random_bits" not in greedy
    assert f"[3,{VOCAB}]" in greedy and f"[3,5,{VOCAB}]" not in greedy


@pytest.mark.parametrize("scan_layers", [False, True])
def test_lower_and_upper_layers_are_the_whole(scan_layers):
    model = language_model(scan_layers=scan_layers)
    half = dataclasses.replace(QWEN, num_layers=1)

    @jax.jit
    def run(ids, prefix):
        plain = model.upper(model.lower(ids, 1), 1)
        stream, below = model.lower(prefix, 1, init_cache(half, (), 4))
        _, above = model.upper(stream, 1, init_cache(half, (), 4))
        after = model.upper(model.lower(ids, 1, prefix=below), 1, prefix=above)
        return plain, after, model.lower(ids, 0), model.upper(model.lower(ids, 2), 2)

    plain, after, nothing, everything = run(jnp.asarray(PROMPTS), jnp.asarray(PREFIX))
    np.testing.assert_array_equal(nothing, model.embedding(jnp.asarray(PROMPTS)))
    for b, row in enumerate(PROMPTS):
        whole = reference_logits(*stored(), [*PREFIX, *row])
        np.testing.assert_allclose(after[b], whole[4:], rtol=1e-9, atol=1e-10)
        alone = reference_logits(*stored(), row)
        np.testing.assert_allclose(plain[b], alone, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(everything[b], alone, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
def test_a_scan_and_rows_at_a_time_change_no_gradient():
    ids, first = jnp.asarray(PROMPTS), 2

    def by_rows(model):
        scored = token_log_probs(model, ids, first=first, rows=2)
        return (scored**2).sum(), scored

    def at_once(model):
        laws = jax.nn.log_softmax(model(ids))[:, first - 1 : -1]
        scored = jnp.take_along_axis(laws, ids[:, first:, None], axis=-1)[..., 0]
        return (scored**2).sum(), scored

    def gradient(loss, model):
        graph, params = nnx.split(model)
        return jax.jit(jax.grad(lambda params: loss(nnx.merge(graph, params)), has_aux=True))(params)

    found, scored = gradient(by_rows, language_model(scan_layers=True))
    expected, exact = gradient(at_once, language_model())
    np.testing.assert_allclose(scored, exact, rtol=1e-9)
    expected = nnx.state(with_scan(nnx.merge(nnx.graphdef(language_model()), expected), True))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)
        assert np.abs(other).max() > 1e-3


def test_a_scan_over_layers_draws_the_same_parameters_which_are_stacked_and_taken_apart():
    configs = (QWEN, dataclasses.replace(QWEN, scan_layers=True))
    drawn = jax.jit(lambda: [nnx.state(LanguageModel(config, VOCAB, rngs=nnx.Rngs(3))) for config in configs])()
    plain, scanned = (nnx.merge(nnx.graphdef(blank_model(c, VOCAB)), state) for c, state in zip(configs, drawn))
    assert scanned.decoder.blocks.qkv.kernel.shape == (2, 12, (4 + 2 + 2) * 6)
    for one, other in ((with_scan(plain, True), scanned), (with_scan(scanned, False), plain)):
        assert one.config == one.decoder.config == other.config
        assert_same_trees(nnx.to_pure_dict(nnx.state(one)), nnx.to_pure_dict(nnx.state(other)))


@pytest.mark.slow
def test_parameters_in_bfloat16_are_read_as_they_are():
    config = dataclasses.replace(LLAMA, dtype="bfloat16")
    graph, params = nnx.split(language_model(config, scan_layers=True))
    short = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), params)
    run = jax.jit(lambda params: nnx.merge(graph, params)(jnp.asarray(PROMPTS)))
    found = run(short)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, run(jax.tree.map(lambda leaf: leaf.astype("float32"), short)), atol=0.05)
    rounded = found.astype("bfloat16").astype("float32")
    assert (found != rounded).any()  # logits are summed in single precision


def test_target_log_probs_take_any_places(key):
    model, hidden = language_model(), jax.random.normal(key, (5, 2, 12))
    targets = jnp.arange(10).reshape(5, 2)

    @jax.jit
    def both():
        log_probs = jax.nn.log_softmax(model.read_out(hidden))
        expected = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
        return target_log_probs(model, hidden, targets, rows=3), expected

    np.testing.assert_allclose(*both(), rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (TransformerConfig, {"num_layers": 0}, "num_layers must be at least 1, got 0"),
        (TransformerConfig, {"width": 18}, "width must be a multiple of 2 num_heads = 8 .*, got 18"),
        (TransformerConfig, {"mlp_width": 0}, "mlp_width must be at least 1, got 0"),
        (TransformerConfig, {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        (TransformerConfig, {"rope_base": 1.0}, "rope_base must be finite and above 1, got 1.0"),
        (TransformerConfig, {"max_length": 0}, "max_length must be at least 1, got 0"),
        (TransformerConfig, {"num_kv_heads": 3}, "num_kv_heads must be a divisor of num_heads = 4, got 3"),
        (TransformerConfig, {"head_width": 5}, r"head_width must be even and at least 2 .*, got 5"),
        (TransformerConfig, {"head_width": 6, "width": 0}, "width must be at least 1, got 0"),
        (TransformerConfig, {"norm_eps": 0.0}, "norm_eps must be positive and finite, got 0.0"),
        (RopeScaling, {"factor": 0.5}, "factor must be finite and at least 1, got 0.5"),
        (RopeScaling, {"low_freq_factor": 4.0}, "must be positive, finite and increasing, got 4.0 and 4.0"),
        (RopeScaling, {"original_length": 0}, "original_length must be at least 1, got 0"),
    ],
)
def test_sizes_are_checked(make, change, message):
    with pytest.raises(ValueError, match=message):
        make(**change)


def test_what_does_not_fit_is_refused():
    model, prompts, lengths = language_model(), jnp.asarray(PROMPTS), jnp.asarray(LENGTHS)
    prefix = init_cache(QWEN, (), 24)._replace(length=jnp.asarray(24))
    with pytest.raises(ValueError, match="got 5 and 4 after a prefix of 24"):
        generate(None, model, prompts, lengths, 4, prefix=prefix)
    with pytest.raises(ValueError, match=r"lengths must be in \[1, 5\], got \[2, 6, 3\]"):
        generate(None, model, prompts, jnp.array([2, 6, 3]), 4)
    with pytest.raises(ValueError, match="draws tokens: give a key"):
        generate(None, model, prompts, lengths, 4, temperature=0.5)
    with pytest.raises(ValueError, match="room must be at least the 5 places that are read, got 4"):
        jax.eval_shape(lambda: read(model, prompts, 4))
    with pytest.raises(ValueError, match=r"first must be in \[1, 5\), the places of a row, got 5"):
        token_log_probs(model, prompts, first=5)
    with pytest.raises(ValueError, match=r"layer must be in \[0, num_layers = 2\], got 3"):
        model.lower(prompts, 3)
