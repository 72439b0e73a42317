"""Tasks: the biases of docs/theory.md 3.1, the frames, and one clear sentence for every bad argument."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import assert_mean, assert_mean_sharply
from tests.test_theory_population import assert_slopes
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


GRID = np.array(
    [(0.7, 0.4, 0.25), (1.0, 0.0, 0.25), (0.05, 0.95, 0.5), (0.3, 0.7, 0.0), (0.6, 0.3, 0.25), (0.9, 0.99, 1.0)]
)
"""Points of weak_accuracy, concept_shift and noise_var."""
TARGETS = dict(zip(WEAKNESSES, (0, 3, 1, 2, 0)))
# A random task is turned and spread in the same way whatever the weakness: two of them are enough.
KINDS = [("make", weakness) for weakness in WEAKNESSES] + [("random", "rotated"), ("random", "opposed")]


def build(kind: str, weakness: str, a, shift, noise_var, dim: int = 6) -> Task:
    make = make_task if kind == "make" else partial(random_task, jax.random.key(3))
    options = {"num_concepts": 4, "dim": dim, "weakness": weakness, "target_concept": TARGETS[weakness]}
    return make(weak_accuracy=a, concept_shift=shift, noise_var=noise_var, **options)


@pytest.fixture(scope="module")
def every() -> dict[tuple[str, str], list[Task]]:
    """Tasks of every kind at every point: one program, in which all three numbers are traced."""
    found = jax.jit(jax.vmap(lambda *point: {kind: build(*kind, *point) for kind in KINDS}))(*GRID.T)
    return {kind: [jax.tree.map(lambda x, i=i: x[i], found[kind]) for i in range(len(GRID))] for kind in KINDS}


@pytest.mark.parametrize(("kind", "weakness"), KINDS)
def test_a_task_is_what_its_arguments_say(every, kind, weakness):
    target = TARGETS[weakness]
    rivals = np.delete(np.arange(4), target)
    for task, (a, shift, noise_var) in zip(every[kind, weakness], GRID):
        np.testing.assert_allclose(biases(task), expected_biases(weakness, a, task), rtol=RTOL, atol=1e-12)
        # The concept shift is a distance in total variation.
        total_variation = jnp.abs(task.source_prior - task.target_prior).sum() / 2
        np.testing.assert_allclose(total_variation, shift, rtol=RTOL, atol=1e-15)
        np.testing.assert_allclose(task.source_prior.sum(), 1.0, rtol=RTOL)
        np.testing.assert_array_equal(task.target_prior, np.eye(4)[target])
        assert float(task.source_prior.min()) >= 0
        # Only the target's row is weak, and as accurate as it says.
        np.testing.assert_allclose(task.weak_concepts[rivals], task.concepts[rivals], atol=1e-14)
        np.testing.assert_allclose(task.weak_coef, task.weak_concepts[target], atol=1e-14)
        np.testing.assert_array_equal(task.weak_prior, task.target_prior)
        np.testing.assert_allclose(task.noise_var, noise_var)
        if weakness == "noisy":
            np.testing.assert_allclose(task.noise_var, a**2 * task.weak_noise_var, rtol=RTOL)
            np.testing.assert_allclose(task.weak_coef, task.target_coef, atol=1e-12)
        else:
            correlation = task.weak_coef @ task.target_coef / jnp.linalg.norm(task.weak_coef)
            np.testing.assert_allclose(correlation, a, rtol=RTOL)
            np.testing.assert_allclose(task.weak_noise_var, noise_var)
    if kind == "make":  # evenly spread, and the same where the numbers are known
        point, task = GRID[0].tolist(), every[kind, weakness][0]
        np.testing.assert_allclose(task.source_prior[rivals], 0.4 / 3, rtol=RTOL)
        np.testing.assert_array_equal(task.feature_var, np.ones(6))
        known = build(kind, weakness, *point)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=RTOL, atol=1e-14), known, task)


def test_the_smallest_spaces():
    for weakness in WEAKNESSES:
        task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.3, weakness=weakness)
        np.testing.assert_allclose(biases(task), expected_biases(weakness, 0.6, task), rtol=RTOL, atol=1e-12)
    for kind in KINDS:
        if kind[1] not in NEEDS_EXTRA_DIM:  # concepts may fill the space
            task = build(*kind, 0.7, 0.4, 0.25, dim=4)
            np.testing.assert_allclose(biases(task), expected_biases(kind[1], 0.7, task), rtol=RTOL, atol=1e-12)
    assert [latent_dim(4, dim) for dim in (4, 5, 9)] == [4, 5, 5]


def test_frames_are_orthonormal_and_uniform(key):
    # Uniform: mean 0 (signs included), second moment 1/d, and E f_11 f_22 f_12 f_21 = -1/((d - 1) d (d + 2)) exactly.
    frames = np.asarray(jax.jit(jax.vmap(lambda k: random_frame(k, 2, 3)))(jax.random.split(key, 40_000)))
    identity = np.broadcast_to(np.eye(2), (40_000, 2, 2))
    np.testing.assert_allclose(frames @ frames.swapaxes(1, 2), identity, atol=1e-12)
    assert_mean(frames, 0.0, scale=1.0)
    assert_mean(frames**2, 1 / 3)
    cross = frames[:, 0, 0] * frames[:, 1, 1] * frames[:, 0, 1] * frames[:, 1, 0]
    assert_mean_sharply(cross, -1 / 30)
    np.testing.assert_allclose(np.abs(random_frame(key, 1, 1)), [[1.0]], rtol=1e-12)


def test_embedding_takes_features_as_isotropic(key):
    task = make_task(**GOOD)._replace(feature_var=jnp.arange(6.0))
    np.testing.assert_allclose(embed(task, random_frame(key, 6, 11)).feature_var, np.full(11, 2.5), rtol=RTOL)


@pytest.mark.slow
def test_random_tasks_move_with_the_key_and_spread_by_a_dirichlet_draw(key):
    """Shares of m rivals with parameter t have the mean 1/m and the variance (m - 1)/(m^2 (m t + 1))."""

    @jax.jit
    def draw(a, shift):
        numbers = {**GOOD, "weak_accuracy": a, "concept_shift": shift}
        return jax.vmap(lambda k: random_task(k, **numbers, concentration=2.0))(jax.random.split(key, 20_000))

    drawn, moved = draw(0.7, 0.4), draw(0.2, 0.8)
    shares = np.asarray(drawn.source_prior[:, 1:]) / 0.4
    assert_mean(shares, 1 / 3)
    assert_mean_sharply((shares - 1 / 3) ** 2, 2 / (9 * 7))
    assert float(jnp.abs(drawn.concepts[0] - drawn.concepts[1]).max()) > 0.1
    # Common random numbers: along weak accuracy and concept shift the frame and the rivals' shares stay put.
    np.testing.assert_allclose(drawn.concepts, moved.concepts, rtol=RTOL)
    np.testing.assert_allclose(drawn.source_prior[:, 1:] * 2, moved.source_prior[:, 1:], rtol=RTOL)


# --- a teacher and a target of one's own ----------------------------------------------------------------------------

OWN = {"num_concepts": 4, "dim": 6, "concept_shift": 0.4}
COEF, MIXTURE = np.array([0.5, -0.3, 0.2, 0.0, 0.7, 0.1]), np.array([0.6, 0.1, 0.3, 0.0])
TAUGHT = OWN | {"weak_coef": COEF}


def test_a_teacher_of_ones_own():
    task = make_task(**OWN, weak_coef=COEF, target_concept=2, noise_var=0.3)
    usual = make_task(**OWN, weak_accuracy=0.7, target_concept=2, noise_var=0.3)
    np.testing.assert_array_equal(task.weak_coef, COEF)
    np.testing.assert_array_equal(task.weak_concepts[2], COEF)
    for field in ("concepts", "source_prior", "target_prior", "noise_var", "weak_prior", "weak_noise_var"):
        np.testing.assert_array_equal(getattr(task, field), getattr(usual, field))
    again = make_task(**OWN, weak_coef=usual.weak_coef, target_concept=2, noise_var=0.3)
    jax.tree.map(np.testing.assert_array_equal, again, usual)
    both = make_task(**{**OWN, "dim": 4}, weak_coef=COEF[:4], target_prior=MIXTURE)
    np.testing.assert_array_equal(both.weak_coef, COEF[:4])
    np.testing.assert_allclose(both.target_coef, MIXTURE, rtol=RTOL)


def test_a_target_of_ones_own():
    task = make_task(**OWN, weak_accuracy=0.7, target_prior=MIXTURE)
    usual = make_task(**OWN, weak_accuracy=0.7)
    np.testing.assert_allclose(task.target_coef[:4], MIXTURE, rtol=RTOL)
    np.testing.assert_array_equal(task.weak_prior, MIXTURE)
    np.testing.assert_array_equal(task.weak_concepts, usual.weak_concepts)
    np.testing.assert_allclose(task.source_prior, MIXTURE + 0.4 * np.array([-1, 1 / 3, 1 / 3, 1 / 3]), rtol=RTOL)
    one_hot = make_task(**OWN, weak_accuracy=0.7, target_prior=[1, 0, 0, 0])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=RTOL), one_hot, usual)
    every = make_task(**{**OWN, "concept_shift": 0.6}, weak_accuracy=0.7, target_prior=MIXTURE)
    assert float(every.source_prior.min()) == 0.0  # all that can be moved, and no rounding below it


def test_ones_own_may_be_traced():
    def build(coef, prior, shift):
        task = make_task(**{**OWN, "concept_shift": shift}, weak_coef=coef, target_prior=prior)
        return jnp.sin(task.weak_coef).sum() + jnp.cos(task.source_prior @ jnp.arange(4.0)) + task.target_coef[0]

    def form(*x):
        return build(jnp.stack(x[:6]), jnp.stack(x[6:10]), x[10])

    assert_slopes(form, [*COEF, *MIXTURE, 0.0], rtol=1e-6, atol=1e-9)
    with jax.numpy_dtype_promotion("strict"):
        single = (jnp.asarray(x, jnp.float32) for x in (COEF, MIXTURE, 0.0))
        assert jax.eval_shape(build, *single).dtype == float


BAD = [
    (GOOD | {"num_concepts": 1}, "num_concepts must be at least 2, got 1"),
    (GOOD | {"dim": 4}, "dim must be at least 5 for 4 concepts and a rotated teacher, got 4"),
    (GOOD | {"dim": 3, "weakness": "noisy"}, "dim must be at least 4"),
    (GOOD | {"target_concept": 4}, r"target_concept must be in \[0, 4\), got 4"),
    # A teacher and a target of one's own.
    (OWN, "weak_accuracy or weak_coef must say what the teacher is, got neither; give one"),
    (TAUGHT | {"weak_accuracy": 0.7}, "weak_accuracy or weak_coef must say .*, got both; give one"),
    (OWN | {"weak_coef": COEF[:5]}, r"weak_coef must have shape \[6\], as dim says, got \[5\]"),
    (OWN | {"weak_coef": COEF[None]}, r"weak_coef must have shape \[d\], got \[1 6\]; for several at once use"),
    (OWN | {"weak_coef": COEF[:3], "dim": 3}, "dim must be at least 4 for 4 concepts"),
    (TAUGHT | {"target_prior": MIXTURE[:3]}, r"target_prior must have shape \[4\], .*, got \[3\]"),
    (TAUGHT | {"target_prior": 0.9 * MIXTURE}, "target_prior must be weights .* sum to 1, got the sum 0.9"),
    (TAUGHT | {"target_prior": [1.2, -0.2, 0, 0]}, "got the sum 1 and the least weight -0.2; rescale them"),
    (TAUGHT | {"target_prior": [0.3, 0.7, 0, 0]}, "concept_shift must be at most .* concept, 0.3, got 0.4"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bad_arguments_are_named(given, message, key):
    with pytest.raises(ValueError, match=message):
        make_task(**given)
    if "weak_coef" not in given and given is not OWN:
        with pytest.raises(ValueError, match=message):
            random_task(key, **given)


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
