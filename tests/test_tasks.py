"""Tasks: the biases of docs/theory.md 3.1, the frames, and one clear sentence for every bad argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import assert_mean
from w2s_jax.tasks import NEEDS_EXTRA_DIM, WEAKNESSES, embed, latent_dim, make_task, random_frame, random_task
from w2s_jax.types import Task, stack

RTOL = 1e-10
GOOD = {"num_concepts": 4, "dim": 6, "weak_accuracy": 0.7, "concept_shift": 0.4}


def biases(task: Task):
    """(b_w^2, b_P^2, c), from coefficients alone."""
    weak, source = task.weak_coef - task.target_coef, task.source_coef - task.target_coef
    return (weak**2).sum(-1), (source**2).sum(-1), (weak * source).sum(-1)


def expected_biases(weakness, a, task: Task):
    """(b_w^2, b_P^2, c) by the formulas of docs/theory.md 3.1."""
    own = float(task.source_prior @ task.target_prior)
    num_concepts = task.source_prior.shape[-1]
    g = np.sqrt((1 - a**2) / (num_concepts - 1))
    weak = {"shifted": 1 / a**2 - 1, "noisy": 0.0}.get(weakness, 2 - 2 * a)
    source = float(((task.source_prior - task.target_prior) ** 2).sum())
    inner = {
        "rotated": (1 - own) * (1 - a),
        "shifted": 0.0,
        "noisy": 0.0,
        "confused": (1 - own) * (1 - a + g),
        "opposed": (1 - own) * (1 - a - g),
    }[weakness]
    return weak, source, inner


@pytest.mark.parametrize("weakness", WEAKNESSES)
@given(a=st.floats(0.05, 1.0), shift=st.floats(0.0, 0.99), target=st.integers(0, 3))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_biases(weakness, a, shift, target):
    laws = {"weak_accuracy": a, "concept_shift": shift, "weakness": weakness, "target_concept": target}
    for task in (make_task(**{**GOOD, **laws}), random_task(jax.random.key(3), **{**GOOD, **laws})):
        np.testing.assert_allclose(biases(task), expected_biases(weakness, a, task), rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_biases_of_the_smallest_task(weakness):
    task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.3, weakness=weakness)
    np.testing.assert_allclose(biases(task), expected_biases(weakness, 0.6, task), rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize("weakness", WEAKNESSES)
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.95])
def test_concept_shift_is_total_variation(weakness, shift, key):
    arguments = {**GOOD, "weakness": weakness, "concept_shift": shift, "target_concept": 2}
    for task in (make_task(**arguments), random_task(key, **arguments)):
        total_variation = jnp.abs(task.source_prior - task.target_prior).sum() / 2
        np.testing.assert_allclose(total_variation, shift, rtol=RTOL, atol=1e-15)
        np.testing.assert_allclose(task.source_prior.sum(), 1.0, rtol=RTOL)
        np.testing.assert_array_equal(task.target_prior, [0, 0, 1, 0])
        assert float(task.source_prior.min()) >= 0


def test_make_task_spreads_evenly():
    task = make_task(**GOOD)
    np.testing.assert_allclose(task.source_prior, [0.6, 0.4 / 3, 0.4 / 3, 0.4 / 3], rtol=RTOL)
    np.testing.assert_array_equal(task.feature_var, np.ones(6))


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_only_the_target_row_is_weak(weakness, key):
    arguments = {**GOOD, "weakness": weakness, "target_concept": 1}
    for task in (make_task(**arguments), random_task(key, **arguments)):
        rows = np.array([0, 2, 3])
        np.testing.assert_allclose(task.weak_concepts[rows], task.concepts[rows], atol=1e-14)
        np.testing.assert_allclose(task.weak_coef, task.weak_concepts[1], atol=1e-14)
        np.testing.assert_array_equal(task.weak_prior, task.target_prior)
        if weakness != "noisy":
            assert float(jnp.abs(task.weak_concepts[1] - task.concepts[1]).max()) > 0.1


@pytest.mark.parametrize("weakness", WEAKNESSES)
@pytest.mark.parametrize("a", [0.2, 0.7, 1.0])
def test_weak_accuracy_is_what_it_says(weakness, a, key):
    task = random_task(key, **{**GOOD, "weakness": weakness, "weak_accuracy": a, "noise_var": 0.5})
    if weakness == "noisy":
        np.testing.assert_allclose(jnp.sqrt(task.noise_var / task.weak_noise_var), a, rtol=RTOL)
        np.testing.assert_allclose(task.weak_coef, task.target_coef, rtol=RTOL)
    else:
        correlation = task.weak_coef @ task.target_coef / jnp.linalg.norm(task.weak_coef)
        np.testing.assert_allclose(correlation, a, rtol=RTOL)
        np.testing.assert_allclose(task.weak_noise_var, 0.5, rtol=RTOL)
    if a == 1.0:
        np.testing.assert_allclose(task.weak_coef, task.target_coef, atol=1e-12)


def test_directions_of_weakness():
    tasks = {w: make_task(**GOOD, weakness=w) for w in WEAKNESSES}
    rivals = {w: np.asarray(task.concepts[1:] @ task.weak_coef) for w, task in tasks.items()}
    for weakness in ("rotated", "shifted", "noisy"):
        np.testing.assert_array_equal(rivals[weakness], 0)
    assert rivals["confused"].min() > 0 > rivals["opposed"].max()
    np.testing.assert_allclose(rivals["confused"], -rivals["opposed"], rtol=RTOL)


# --- frames ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_rows", "dim"), [(1, 1), (3, 3), (3, 20), (20, 20)])
def test_frames_are_orthonormal(num_rows, dim, key):
    frame = random_frame(key, num_rows, dim)
    assert frame.shape == (num_rows, dim)
    np.testing.assert_allclose(frame @ frame.T, np.eye(num_rows), atol=1e-12)


def test_frames_are_uniform(key):
    # Uniform: mean 0 (signs included), second moment 1/d, and E f_11 f_22 f_12 f_21 = -1/((d - 1) d (d + 2)) exactly.
    frames = np.asarray(jax.jit(jax.vmap(lambda k: random_frame(k, 2, 3)))(jax.random.split(key, 40_000)))
    assert_mean(frames, 0.0, scale=1.0)
    assert_mean(frames**2, 1 / 3)
    cross = frames[:, 0, 0] * frames[:, 1, 1] * frames[:, 0, 1] * frames[:, 1, 0]
    assert_mean(cross, -1 / 30)


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_embedding_preserves_every_inner_product(weakness, key):
    task = make_task(**{**GOOD, "dim": 5, "weakness": weakness})
    turned = embed(task, random_frame(key, 5, 11))
    assert turned.concepts.shape == turned.weak_concepts.shape == (4, 11)
    assert turned.feature_var.shape == (11,)

    def inner_products(t):
        vectors = jnp.concatenate([t.concepts, t.weak_concepts, t.source_coef[None], t.weak_coef[None]])
        return vectors @ vectors.T

    np.testing.assert_allclose(inner_products(turned), inner_products(task), atol=1e-12)
    for field in ("source_prior", "target_prior", "weak_prior", "noise_var", "weak_noise_var"):
        np.testing.assert_array_equal(getattr(turned, field), getattr(task, field))


def test_embedding_carries_the_feature_variance(key):
    task = make_task(**{**GOOD, "dim": 5})._replace(feature_var=jnp.full(5, 0.3))
    np.testing.assert_allclose(embed(task, random_frame(key, 5, 9)).feature_var, np.full(9, 0.3), rtol=RTOL)


def test_random_tasks_differ_by_key_and_only_by_key(key):
    one, again = random_task(key, **GOOD), random_task(key, **GOOD)
    other = random_task(jax.random.key(1), **GOOD)
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert float(jnp.abs(one.concepts - other.concepts).max()) > 0.1
    assert float(jnp.abs(one.source_prior - other.source_prior).max()) > 0.01


def test_frame_does_not_move_with_the_laws(key):
    # Common random numbers: along weak accuracy and concept shift the frame and the rivals' shares stay put.
    one = random_task(key, **GOOD)
    other = random_task(key, **{**GOOD, "weak_accuracy": 0.2, "concept_shift": 0.8})
    np.testing.assert_allclose(one.concepts, other.concepts, rtol=RTOL)
    np.testing.assert_allclose(one.source_prior[1:] * 2, other.source_prior[1:], rtol=RTOL)


def test_dirichlet_spread(key):
    # Shares of a symmetric Dirichlet law with parameter t over m rivals: mean 1/m, variance (m - 1)/(m^2 (m t + 1)).
    def shares(k):
        task = random_task(k, **{**GOOD, "concept_shift": 0.5}, concentration=2.0)
        return task.source_prior[1:] / 0.5

    draws = np.asarray(jax.jit(jax.vmap(shares))(jax.random.split(key, 20_000)))
    assert_mean(draws, 1 / 3)
    assert_mean((draws - 1 / 3) ** 2, 2 / (9 * 7))


def test_large_concentration_approaches_the_even_spread(key):
    task = random_task(key, **GOOD, concentration=1e8)
    np.testing.assert_allclose(task.source_prior, make_task(**GOOD).source_prior, rtol=1e-3)


@pytest.mark.parametrize(("num_concepts", "dim", "expected"), [(4, 4, 4), (4, 5, 5), (4, 9, 5)])
def test_latent_dim(num_concepts, dim, expected):
    assert latent_dim(num_concepts, dim) == expected


@pytest.mark.parametrize("weakness", [w for w in WEAKNESSES if w not in NEEDS_EXTRA_DIM])
def test_concepts_may_fill_the_space(weakness, key):
    for task in (
        make_task(**{**GOOD, "dim": 4, "weakness": weakness}),
        random_task(key, **{**GOOD, "dim": 4, "weakness": weakness}),
    ):
        np.testing.assert_allclose(biases(task), expected_biases(weakness, 0.7, task), rtol=RTOL, atol=1e-12)


# --- bad input ------------------------------------------------------------------------------------------------------

BAD = [
    ({"num_concepts": 1}, r"num_concepts must be at least 2, got 1"),
    ({"dim": 4}, r"dim must be at least 5 for 4 concepts and a rotated teacher, got 4"),
    ({"dim": 4, "weakness": "shifted"}, r"dim must be at least 5"),
    ({"dim": 3, "weakness": "noisy"}, r"dim must be at least 4"),
    ({"weak_accuracy": 0.0}, r"weak_accuracy must be in \(0, 1\], got 0\.0"),
    ({"weak_accuracy": 1.01}, r"weak_accuracy must be in \(0, 1\], got 1\.01"),
    ({"weak_accuracy": -0.5}, r"weak_accuracy must be in \(0, 1\]"),
    ({"weak_accuracy": float("nan")}, r"weak_accuracy must be in \(0, 1\], got nan"),
    ({"concept_shift": 1.0}, r"concept_shift must be in \[0, 1\), got 1\.0"),
    ({"concept_shift": -0.1}, r"concept_shift must be in \[0, 1\)"),
    ({"concept_shift": float("nan")}, r"concept_shift must be in \[0, 1\), got nan"),
    ({"noise_var": -1e-9}, r"noise_var must be finite and not negative"),
    ({"noise_var": float("inf")}, r"noise_var must be finite and not negative, got inf"),
    ({"noise_var": float("nan")}, r"noise_var must be finite and not negative, got nan"),
    ({"target_concept": 4}, r"target_concept must be in \[0, 4\), got 4"),
    ({"target_concept": -1}, r"target_concept must be in \[0, 4\), got -1"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_arguments_are_named(change, message, key):
    with pytest.raises(ValueError, match=message):
        make_task(**{**GOOD, **change})
    with pytest.raises(ValueError, match=message):
        random_task(key, **{**GOOD, **change})


def test_unknown_weakness_lists_the_known_ones():
    # The import hook checks the Literal first in tests; without it the kernel's own sentence is what a user reads.
    from w2s_jax.tasks import _check

    with pytest.raises(ValueError, match=r"weakness must be one of rotated, shifted, .*; got 'lazy'"):
        _check(4, 6, 0.7, 0.4, 0.25, "lazy", 0)


@pytest.mark.parametrize("concentration", [0.0, -1.0, float("nan")])
def test_concentration_must_be_positive(concentration, key):
    with pytest.raises(ValueError, match="concentration must be positive"):
        random_task(key, **GOOD, concentration=concentration)


# --- a teacher and a target of one's own ----------------------------------------------------------------------------

OWN = {"num_concepts": 4, "dim": 6, "concept_shift": 0.4}
COEF, MIXTURE = np.array([0.5, -0.3, 0.2, 0.0, 0.7, 0.1]), np.array([0.6, 0.1, 0.3, 0.0])


@pytest.mark.parametrize("target", [0, 2])
def test_a_teacher_of_ones_own(target):
    task = make_task(**OWN, weak_coef=COEF, target_concept=target, noise_var=0.3)
    usual = make_task(**OWN, weak_accuracy=0.7, target_concept=target, noise_var=0.3)
    np.testing.assert_array_equal(task.weak_coef, COEF)
    np.testing.assert_array_equal(task.weak_concepts[target], COEF)
    for field in ("concepts", "source_prior", "target_prior", "noise_var", "weak_prior", "weak_noise_var"):
        np.testing.assert_array_equal(getattr(task, field), getattr(usual, field))
    again = make_task(**OWN, weak_coef=usual.weak_coef, target_concept=target, noise_var=0.3)
    jax.tree.map(np.testing.assert_array_equal, again, usual)


def test_a_target_of_ones_own():
    task = make_task(**OWN, weak_accuracy=0.7, target_prior=MIXTURE)
    usual = make_task(**OWN, weak_accuracy=0.7)
    np.testing.assert_allclose(task.target_coef[:4], MIXTURE, rtol=RTOL)
    np.testing.assert_array_equal(task.weak_prior, MIXTURE)
    np.testing.assert_array_equal(task.weak_concepts, usual.weak_concepts)
    np.testing.assert_allclose(np.abs(task.source_prior - MIXTURE).sum() / 2, 0.4, rtol=RTOL)
    np.testing.assert_allclose(task.source_prior, MIXTURE + 0.4 * np.array([-1, 1 / 3, 1 / 3, 1 / 3]), rtol=RTOL)
    one_hot = make_task(**OWN, weak_accuracy=0.7, target_prior=[1, 0, 0, 0])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=RTOL), one_hot, usual)
    every = make_task(**{**OWN, "concept_shift": 0.6}, weak_accuracy=0.7, target_prior=MIXTURE)
    assert float(every.source_prior.min()) == 0.0  # all that can be moved, and no rounding below it


def test_both_of_ones_own():
    task = make_task(**{**OWN, "dim": 4}, weak_coef=COEF[:4], target_prior=MIXTURE, target_concept=0)
    np.testing.assert_array_equal(task.weak_coef, COEF[:4])
    np.testing.assert_allclose(task.target_coef, MIXTURE, rtol=RTOL)


def test_ones_own_may_be_traced():
    def build(coef, prior, shift):
        task = make_task(**{**OWN, "concept_shift": shift}, weak_coef=coef, target_prior=prior)
        return jnp.sin(task.weak_coef).sum() + jnp.cos(task.source_prior @ jnp.arange(4.0)) + task.target_coef[0]

    at = (jnp.asarray(COEF), jnp.asarray(MIXTURE), 0.0)
    slopes = jax.jit(jax.grad(build, (0, 1, 2)))(*at)
    for i, slope in enumerate(slopes):
        for unit in np.eye(np.size(slope)).reshape(-1, *np.shape(slope)):
            ends = [[x + step * unit if j == i else x for j, x in enumerate(at)] for step in (1e-6, -1e-6)]
            numeric = (jax.jit(build)(*ends[0]) - jax.jit(build)(*ends[1])) / 2e-6
            np.testing.assert_allclose(np.sum(slope * unit), numeric, rtol=1e-6, atol=1e-9)
    with jax.numpy_dtype_promotion("strict"):
        single = (jnp.asarray(x, jnp.float32) for x in at)
        assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(build, *single))} == {jnp.dtype(float)}


BAD_OWN = [
    ({}, "weak_accuracy or weak_coef must say what the teacher is, got neither; give one"),
    ({"weak_coef": COEF, "weak_accuracy": 0.7}, "weak_accuracy or weak_coef must say .*, got both; give one"),
    ({"weak_coef": COEF[:5]}, r"weak_coef must have shape \[6\], as dim says, got \[5\]"),
    ({"weak_coef": COEF[None]}, r"weak_coef must have shape \[d\], got \[1 6\]; for several at once use jax.vmap"),
    ({"weak_coef": COEF, "target_prior": MIXTURE[:3]}, r"target_prior must have shape \[4\], .*, got \[3\]"),
    ({"weak_coef": COEF, "target_prior": 0.9 * MIXTURE}, "target_prior must be weights .* sum to 1, got the sum 0.9"),
    ({"weak_coef": COEF, "target_prior": [1.2, -0.2, 0, 0]}, "got the sum 1 and the least weight -0.2; rescale them"),
    ({"weak_coef": COEF, "target_prior": [0.3, 0.7, 0, 0]}, "concept_shift must be at most .* concept, 0.3, got 0.4"),
    ({"weak_coef": COEF[:3], "dim": 3}, "dim must be at least 4 for 4 concepts"),
]


@pytest.mark.parametrize(("change", "message"), BAD_OWN)
def test_bad_arguments_of_ones_own_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make_task(**{**OWN, **change})


# --- transformations ------------------------------------------------------------------------------------------------


# The frame and the Dirichlet draw do not look at the weakness: one random task is enough, and much less to compile.
TRACED = [(make_task, weakness) for weakness in WEAKNESSES] + [
    (lambda **arguments: random_task(jax.random.key(0), **arguments), "rotated")
]


def builder(kind, weakness):
    """(weak_accuracy, concept_shift, noise_var) -> Task."""

    def build(a, shift, noise_var):
        laws = {"weak_accuracy": a, "concept_shift": shift, "noise_var": noise_var, "weakness": weakness}
        return kind(**{**GOOD, **laws})

    return build


@pytest.mark.parametrize(("kind", "weakness"), TRACED)
def test_traced_laws(kind, weakness):
    build = builder(kind, weakness)
    grid = np.array([(0.3, 0.7, 0.25), (1.0, 0.0, 0.25), (0.6, 0.3, 0.0)])
    batched = jax.jit(jax.vmap(build))(*grid.T)
    for i, point in enumerate(grid):
        # Not to the bit: a fused program rounds differently.
        jax.tree.map(
            lambda one, many, i=i: np.testing.assert_allclose(one, many[i], rtol=RTOL, atol=1e-14),
            build(*point.tolist()),
            batched,
        )


@pytest.mark.parametrize(("kind", "weakness"), TRACED)
def test_gradients_equal_central_differences(kind, weakness):
    build = builder(kind, weakness)

    @jax.jit
    def loss(laws):
        return sum((jnp.sin(field + 0.1 * i) ** 2).sum() for i, field in enumerate(build(*laws)))

    laws, step = jnp.array([0.6, 0.3, 0.25]), 1e-6
    numeric = [(loss(laws + step * e) - loss(laws - step * e)) / (2 * step) for e in jnp.eye(3)]
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(laws), numeric, rtol=1e-6, atol=1e-8)


def test_batched_tasks_have_batched_coefficients(key):
    keys = jax.random.split(key, 6).reshape(2, 3)
    tasks = jax.jit(jax.vmap(jax.vmap(lambda k: random_task(k, **GOOD))))(keys)
    assert tasks.source_coef.shape == tasks.target_coef.shape == tasks.weak_coef.shape == (2, 3, 6)
    one = random_task(keys[1, 2], **GOOD)
    for name in ("source_coef", "target_coef", "weak_coef"):
        np.testing.assert_allclose(getattr(tasks, name)[1, 2], getattr(one, name), rtol=RTOL, atol=1e-14)


def test_replacing_the_target_leaves_the_teacher():
    task = make_task(**GOOD)
    mixed = task._replace(target_prior=jnp.array([0.5, 0.5, 0.0, 0.0]))
    np.testing.assert_array_equal(mixed.weak_coef, task.weak_coef)
    np.testing.assert_allclose(mixed.target_coef, (task.concepts[0] + task.concepts[1]) / 2, rtol=RTOL)


def test_a_task_is_shown_in_one_line():
    task = make_task(**GOOD)
    assert repr(task) == str(task) == "Task(K=4, d=6, batch=(), noise_var=0.25)"
    other = stack([stack([task, task._replace(noise_var=jnp.asarray(0.5))])])
    assert repr(other) == "Task(K=4, d=6, batch=(1, 2), noise_var=0.25 to 0.5)"
    shown = []
    jax.jit(jax.vmap(lambda t: shown.append(repr(t)) or t.noise_var))(jax.tree.map(lambda leaf: leaf[0], other))
    assert shown == ["Task(K=4, d=6, batch=(), noise_var=?)"]
    assert repr(jax.eval_shape(lambda t: t, other)) == "Task(K=4, d=6, batch=(1, 2), noise_var=?)"
    assert repr(jax.tree.map(lambda leaf: leaf[:0], other)) == "Task(K=4, d=6, batch=(0, 2), noise_var=?)"
    axes = Task(*[None] * 3, 0, *[None] * 4)
    assert repr(axes).startswith("Task(concepts=None, source_prior=None, target_prior=None, noise_var=0, weak")


def test_single_precision_agrees():
    single = jax.tree.map(lambda x: x.astype(jnp.float32), make_task(**GOOD))
    np.testing.assert_allclose(biases(single), biases(make_task(**GOOD)), rtol=1e-4, atol=1e-6)
