"""Training: it learns, no bit depends on how a run is cut, and several seeds at once give those seeds."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.helpers import assert_same_trees
from w2s_jax.training import MUON_RMS, TrainingConfig, init_state, make_optimizer, make_schedule, train
from w2s_jax.transformer import LanguageModel, TransformerConfig
from w2s_jax.types import stack

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")

TINY = TransformerConfig(num_layers=1, width=16, num_heads=2, max_length=8)
TRAINING = TrainingConfig(num_steps=60, learning_rate=0.02)
VOCAB = 5


@functools.cache
def initial(seed):
    """Parameters of the model, the same for every type of its blocks."""
    return jax.jit(lambda: nnx.state(LanguageModel(TINY, VOCAB, rngs=nnx.Rngs(seed))))()


def setup(seed=0, batch=None, optimizer="adamw", **change):
    """A language model that learns a fixed batch, or random ones drawn from the key of each step."""
    config = dataclasses.replace(TINY, **change)
    graph = nnx.graphdef(nnx.eval_shape(lambda: LanguageModel(config, VOCAB, rngs=nnx.Rngs(0))))

    def loss(params, key):
        ids = jax.random.randint(key, (4, 8), 0, VOCAB) if batch is None else batch
        logits = nnx.merge(graph, params)(ids[:, :-1], dropout_key=key if config.dropout else None)
        return optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:]).mean()

    made = make_optimizer(dataclasses.replace(TRAINING, optimizer=optimizer))
    run = jax.jit(lambda key, state, steps: train(key, state, loss, made, steps), static_argnums=2)
    return run, init_state(initial(seed), made)


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, {"dtype": "bfloat16"}, {"optimizer": "muon"}], ids=str)
def test_a_network_overfits_one_batch(key, change):
    batch = jax.random.randint(key, (4, 8), 0, VOCAB)
    # The first token does not determine the second, so that two rows that begin alike cannot both be predicted.
    batch = batch.at[:, 0].set(jnp.arange(4))
    run, state = setup(batch=batch, **change)
    state, metrics = run(key, state, 60)
    assert metrics.loss[0] > 1.2
    assert metrics.loss[-1] < 0.1
    assert metrics.loss.shape == metrics.grad_norm.shape == (60,) and metrics.extra == {}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.params)} == {"float32"}


@pytest.mark.slow
def test_chunks_are_one_piece_to_the_bit(key):
    run, state = setup(dropout=0.1)
    whole, metrics = run(key, state, 12)
    losses = []
    for _ in range(3):
        state, part = run(key, state, 4)
        losses.extend(part.loss)
    assert_same_trees(state, whole)
    np.testing.assert_array_equal(losses, metrics.loss)
    assert int(state.step) == 12


@pytest.mark.slow
def test_seeds_at_once_are_the_seeds(key):
    run, _ = setup()
    states = [setup(seed=seed)[1] for seed in range(2)]
    keys = jax.random.split(key, 2)
    found, metrics = jax.jit(jax.vmap(lambda key, state: run(key, state, 10)))(keys, stack(states))
    for i, state in enumerate(states):
        expected, alone = run(keys[i], state, 10)
        np.testing.assert_allclose(metrics.loss[i], alone.loss, rtol=1e-4)
        for leaf, single in zip(jax.tree.leaves(found.params), jax.tree.leaves(expected.params)):
            np.testing.assert_allclose(leaf[i], single, atol=1e-3)
    assert abs(metrics.loss[0, 0] - metrics.loss[1, 0]) > 1e-3


def test_a_step_is_adamw_on_the_clipped_gradient(key):
    """The first two steps against the update rule, written out in NumPy; what the loss reports comes along."""
    config = TrainingConfig(num_steps=10, learning_rate=0.1, warmup_steps=0, weight_decay=0.5, clip_norm=0.3)
    start = {"matrix": np.array([[1.0, -2.0], [3.0, 0.5]]), "scale": np.array([1.0, 2.0])}

    def loss(params, key):
        noise = jax.random.normal(key)
        return (params["matrix"] @ params["scale"]).sum() + noise * params["scale"][0], {"noise": noise} | params

    optimizer = make_optimizer(config)
    state, metrics = jax.jit(lambda state: train(key, state, loss, optimizer, 2))(
        init_state(jax.tree.map(jnp.asarray, start), optimizer)
    )
    params = {name: value.copy() for name, value in start.items()}
    mean, square = (dict.fromkeys(params, 0.0) for _ in range(2))
    for step in range(2):
        noise = float(jax.random.normal(jax.random.fold_in(key, step)))
        np.testing.assert_allclose(metrics.extra["noise"][step], noise)
        np.testing.assert_allclose(metrics.extra["matrix"][step], params["matrix"], rtol=1e-6)
        gradient = {"matrix": np.tile(params["scale"], (2, 1)), "scale": params["matrix"].sum(axis=0)}
        gradient["scale"][0] += noise
        norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
        np.testing.assert_allclose(metrics.grad_norm[step], norm, rtol=1e-10)
        rate = 0.1 * (0.1 + 0.9 * (1 + np.cos(np.pi * step / 10)) / 2)
        for name in params:
            clipped = gradient[name] * min(1, 0.3 / norm)
            mean[name] = 0.9 * mean[name] + 0.1 * clipped
            square[name] = 0.95 * square[name] + 0.05 * clipped**2
            unit = mean[name] / (1 - 0.9 ** (step + 1)) / (np.sqrt(square[name] / (1 - 0.95 ** (step + 1))) + 1e-8)
            params[name] = params[name] - rate * (unit + (0.5 * params[name] if name == "matrix" else 0))
    # optax takes the bias correction in single precision.
    for name in params:
        np.testing.assert_allclose(state.params[name], params[name], rtol=1e-6)


def test_a_step_of_muon_moves_all_directions_of_a_matrix_alike_and_all_else_as_adam(key):
    """The first step, against the polar factor of the gradient by LAPACK; the others against Adam's sign."""
    config = TrainingConfig(
        num_steps=10, learning_rate=0.1, warmup_steps=0, clip_norm=1e9, weight_decay=0.0, optimizer="muon"
    )
    rng = np.random.default_rng(0)
    names = {"block": (6, 9), "embedding": (6, 9), "embed_query": (5, 6), "head": (6, 5), "scale": (6,)}
    start = {name: {"kernel": rng.standard_normal(shape)} for name, shape in names.items()}
    slopes = {name: rng.standard_normal(shape) for name, shape in names.items()}

    def loss(params, key):
        return sum((jnp.asarray(slopes[name]) * params[name]["kernel"]).sum() for name in names)

    optimizer = make_optimizer(config)
    state, _ = jax.jit(lambda state: train(key, state, loss, optimizer, 1))(
        init_state(jax.tree.map(jnp.asarray, start), optimizer)
    )
    moved = {name: (start[name]["kernel"] - np.asarray(state.params[name]["kernel"])) / 0.1 for name in names}
    left, _, right = np.linalg.svd(slopes["block"], full_matrices=False)
    # Newton-Schulz with Muon's coefficients is exact in the directions, and in their sizes within a third.
    turned = left.T @ moved["block"] @ right.T / (MUON_RMS * np.sqrt(9))
    assert np.abs(turned - np.diag(np.diag(turned))).max() < 1e-6
    assert np.all(np.abs(np.diag(turned) - 1) < 0.35)
    raw = slopes["block"] / np.linalg.norm(slopes["block"])  # the twin: a gradient step is far from it
    assert np.ptp(np.diag(left.T @ raw @ right.T)) > 0.3
    for name in names:
        if name != "block":
            first = 1 + 0.9 * 0.1 / (1 - 0.9**2)  # Nesterov's momentum, corrected for its start
            np.testing.assert_allclose(moved[name], first * np.sign(slopes[name]), atol=1e-5)


def test_the_rate_warms_up_and_falls_to_its_end():
    rate = make_schedule(TrainingConfig(num_steps=200, learning_rate=2.0, final_fraction=0.25))
    np.testing.assert_allclose([rate(s) for s in (0, 5, 10, 105, 200, 300)], [0, 1, 2, 1.25, 0.5, 0.5], rtol=1e-6)
    assert float(make_schedule(TrainingConfig(num_steps=1))(0)) == pytest.approx(1e-3)


BAD_CONFIGS = [
    ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
    ({"warmup_steps": 11}, r"warmup_steps must be in \[0, num_steps = 10\], got 11"),
    ({"learning_rate": 0.0}, "learning_rate must be positive and finite, got 0.0"),
    ({"clip_norm": -1.0}, "clip_norm must be positive and finite, got -1.0"),
    ({"final_fraction": 1.5}, r"final_fraction must be in \[0, 1\], got 1.5"),
    ({"weight_decay": -0.1}, "weight_decay must be finite and >= 0, got -0.1"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CONFIGS)
def test_fields_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**{"num_steps": 10} | change)


def test_what_no_type_allows_is_refused_too(key):
    optimizer, config = make_optimizer(TRAINING), TrainingConfig(num_steps=10)
    object.__setattr__(config, "optimizer", "sgd")  # past the types that tests check
    with pytest.raises(ValueError, match="optimizer must be adamw or muon, got 'sgd'; choose one of these"):
        config.__post_init__()
    with pytest.raises(ValueError, match="num_steps must not be negative, got -1"):
        train(key, init_state({}, optimizer), lambda params, key: 0.0, optimizer, -1)
