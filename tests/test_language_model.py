"""What a real language model adds to the decoder: grouped heads, biases, norms of queries and keys, scaled positions, a
scan over layers, rows of unequal length. The reference is a forward pass in NumPy, one row, head and place at a time;
tests/test_checkpoints.py compares with transformers.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from w2s_jax.alignment.combined import contrast
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
from w2s_jax.types import stack

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
    chance = np.random.default_rng(2)
    plain = nnx.eval_shape(lambda: LanguageModel(config, VOCAB, tied_head=tied_head, rngs=nnx.Rngs(0)))
    shapes = nnx.state(plain)
    nnx.update(plain, jax.tree.map(lambda leaf: jnp.asarray(0.5 * chance.normal(size=leaf.shape), leaf.dtype), shapes))
    if not scan_layers:
        return plain
    config = dataclasses.replace(config, scan_layers=True)
    scanned = nnx.eval_shape(lambda: LanguageModel(config, VOCAB, tied_head=tied_head, rngs=nnx.Rngs(0)))
    nnx.update(scanned, stacked_blocks(plain))
    return scanned


def stacked_blocks(model):
    state = nnx.to_pure_dict(nnx.state(model))
    blocks = state["decoder"]["blocks"]
    state["decoder"]["blocks"] = stack(blocks[i] for i in range(len(blocks)))
    return nnx.State(state)


def logits_by_hand(model, ids):
    """Logits `[L vocab]` of one row."""
    config, state = model.config, jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))
    heads, kv_heads, size = config.num_heads, config.kv_heads, config.head_dim

    def norm(x, scale):
        return x / np.sqrt((x**2).mean() + config.norm_eps) * scale

    def turned(x, position):
        half = size // 2
        out = np.empty(size)
        for pair in range(half):
            angle = position * wave_number(config, pair)
            a, b = x[pair], x[half + pair]
            out[pair], out[half + pair] = a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)
        return out

    stream = state["embedding"]["embedding"][np.asarray(ids)]
    for layer in range(config.num_layers):
        block = state["decoder"]["blocks"][layer]
        queries, keys, values = {}, {}, {}
        outputs = np.zeros((len(ids), heads * size))
        for place, x in enumerate(stream):
            row = norm(x, block["attention_norm"]["scale"]) @ block["qkv"]["kernel"]
            row = row + block["qkv"].get("bias", 0.0)
            parts = row.reshape(heads + 2 * kv_heads, size)
            for head in range(heads + kv_heads):
                vector = parts[head]
                if config.qk_norm:
                    vector = norm(vector, block["query_norm" if head < heads else "key_norm"]["scale"])
                target = queries if head < heads else keys
                target[place, head if head < heads else head - heads] = turned(vector, place)
            for head in range(kv_heads):
                values[place, head] = parts[heads + kv_heads + head]
            for head in range(heads):
                shared = head * kv_heads // heads
                scores = [queries[place, head] @ keys[other, shared] / np.sqrt(size) for other in range(place + 1)]
                weights = np.exp(scores) / np.exp(scores).sum()
                mixed = sum(weight * values[other, shared] for other, weight in enumerate(weights))
                outputs[place, head * size : (head + 1) * size] = mixed
        stream = stream + outputs @ block["attention_out"]["kernel"]
        normed = np.array([norm(x, block["mlp_norm"]["scale"]) for x in stream])
        gate, up = np.split(normed @ block["mlp_in"]["kernel"], 2, axis=1)
        stream = stream + (gate / (1 + np.exp(-gate)) * up) @ block["mlp_out"]["kernel"]
    stream = np.array([norm(x, state["decoder"]["norm"]["scale"]) for x in stream])
    return stream @ (state["head"]["kernel"] if "head" in state else state["embedding"]["embedding"].T)


def wave_number(config, pair):
    """Llama 3's rule, case by case."""
    number = config.rope_base ** (-2 * pair / config.head_dim)
    scaling = config.rope_scaling
    if scaling is None:
        return number
    wavelength = 2 * math.pi / number
    if wavelength < scaling.original_length / scaling.high_freq_factor:
        return number
    if wavelength > scaling.original_length / scaling.low_freq_factor:
        return number / scaling.factor
    smooth = scaling.original_length / wavelength - scaling.low_freq_factor
    smooth /= scaling.high_freq_factor - scaling.low_freq_factor
    return (1 - smooth) * number / scaling.factor + smooth * number


@pytest.mark.parametrize(("config", "tied_head", "scan_layers"), [(QWEN, False, False), (LLAMA, True, True)])
def test_logits_are_those_of_a_forward_pass_in_numpy(config, tied_head, scan_layers):
    found = jax.jit(language_model(config, tied_head=tied_head, scan_layers=scan_layers).__call__)(PROMPTS)
    for row, logits in zip(PROMPTS, found):
        expected = logits_by_hand(language_model(config, tied_head=tied_head), row)
        np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-10)


def test_a_group_of_heads_reads_the_same_keys(key):
    queries = jax.random.normal(key, (2, 5, 6, 8))
    keys, values = np.random.default_rng(0).normal(size=(2, 2, 5, 3, 8))
    repeated = (np.repeat(array, 2, axis=-2) for array in (keys, values))
    expected = jax.nn.dot_product_attention(queries, *map(jnp.asarray, repeated), is_causal=True)
    found = attend(queries, [(jnp.asarray(keys), jnp.asarray(values), jnp.tri(5, dtype=bool))])
    np.testing.assert_allclose(found, expected, atol=1e-6)  # jax's softmax is in single precision


SCALINGS = [None, RopeScaling(original_length=4096), RopeScaling(32.0, 0.5, 3.0, 512)]


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_rotary_positions_are_scaled_by_the_rule_of_llama_3(scaling):
    config = TransformerConfig(width=128, num_heads=2, rope_base=5e5, rope_scaling=scaling, dtype="float64")
    positions = np.array([0, 1, 77, 8191])
    expected = [[position * wave_number(config, pair) for pair in range(32)] for position in positions]
    np.testing.assert_allclose(rotary_angles(config, jnp.asarray(positions)), expected, rtol=1e-12)
    kinds = {wave_number(config, pair) * config.rope_base ** (2 * pair / 64) for pair in range(32)}
    assert scaling is None or len({round(kind, 9) for kind in kinds}) > 3  # kept, slowed, and some between
    low = rotary_angles(dataclasses.replace(config, dtype="bfloat16"), jnp.asarray(positions))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, expected, rtol=1e-5)


@functools.cache
def read_anew():
    """A program: log probabilities of two models after each place of rows of 18, by forwards without a cache."""
    models = language_model(), language_model(LLAMA)
    return jax.jit(lambda ids: jnp.stack([jax.nn.log_softmax(model(ids)) for model in models]))


def padded(rows):
    """A causal model does not see what comes after."""
    return np.array([[*row, *[0] * (18 - len(row))] for row in rows])


@functools.cache
def continued(prefix: bool):
    """Nine tokens after each prompt by full forwards, one row at a time, likeliest first."""
    before = PREFIX.tolist() if prefix else []
    tokens = np.zeros((3, 9), int)
    rows = [before + row[:length].tolist() for row, length in zip(PROMPTS, LENGTHS)]
    for i in range(9):
        likeliest = np.asarray(read_anew()(padded(rows))[0]).argmax(-1)
        for b, own in enumerate(rows):
            tokens[b, i] = likeliest[b, len(own) - 1]
            own.append(int(tokens[b, i]))
    return tokens


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
    """The reference reads every row anew at each step, with both models; one model alone writes something else."""
    models = (language_model(), language_model(LLAMA))
    rule = functools.partial(contrast, alpha=0.3, relative_top=0.1)
    run = functools.partial(generate, num_tokens=5)
    prompts, lengths = jnp.asarray(PROMPTS), jnp.asarray(LENGTHS)
    found, likeliest = jax.jit(lambda: run(None, models, prompts, lengths, rule=rule))(), jax.jit(rule)
    rows = [row[:length].tolist() for row, length in zip(PROMPTS, LENGTHS)]
    for tokens in np.asarray(found).T:
        log_probs = np.asarray(read_anew()(padded(rows)))
        ends = np.array([len(row) - 1 for row in rows])
        np.testing.assert_array_equal(likeliest(log_probs[:, np.arange(3), ends]).argmax(-1), tokens)
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
        whole = logits_by_hand(language_model(), [*PREFIX, *row])
        np.testing.assert_allclose(after[b], whole[4:], rtol=1e-9, atol=1e-10)
        alone = logits_by_hand(language_model(), row)
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
    expected = stacked_blocks(nnx.merge(nnx.graphdef(language_model()), expected))
    assert jax.tree.structure(nnx.to_pure_dict(found)) == jax.tree.structure(nnx.to_pure_dict(expected))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)
        assert np.abs(other).max() > 1e-3


def test_a_scan_over_layers_draws_the_same_parameters():
    configs = (QWEN, dataclasses.replace(QWEN, scan_layers=True))
    plain, scanned = (LanguageModel(config, VOCAB, rngs=nnx.Rngs(3)) for config in configs)
    expected, found = nnx.to_pure_dict(stacked_blocks(plain)), nnx.to_pure_dict(nnx.state(scanned))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert found["decoder"]["blocks"]["qkv"]["kernel"].shape == (2, 12, (4 + 2 + 2) * 6)


def test_blocks_are_stacked_and_taken_apart():
    plain, scanned = language_model(), language_model(scan_layers=True)
    for scan_layers, model in ((True, scanned), (False, plain)):
        expected = nnx.to_pure_dict(nnx.state(model))
        for given in (plain, scanned):
            found = with_scan(given, scan_layers)
            assert found.config == found.decoder.config == model.config
            jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(found)), expected)


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
    with pytest.raises(ValueError, match="at most max_length = 32 places together, got 5 and 28"):
        generate(None, model, prompts, lengths, 28)
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
