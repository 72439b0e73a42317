"""Every derivative is that of the mean, or raises: all public kernels, and all methods with both kinds of labels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import w2s_jax as w2s
from tests.arena_views import methods_of
from tests.helpers import assert_mean, assert_mean_rejects
from tests.test_contract import KERNELS, instance
from w2s_jax.methods import LABELS, draw_view
from w2s_jax.mixture_labels import mixture_labels

SENTENCE = r"^[a-z][^.\n]*; [^.\n]*\.(\n|$)"
"""One, of two halves: what has no derivative, and what to do. jax writes below it."""

# --- kernels: along a random direction of each argument, at the same draws ------------------------------------------

WHOLE = {"key", "index", "length", "boundaries"}
"""Arguments that are no real numbers."""
JUMPS = {
    "sample_dataset": {"task.source_prior"},
    "sample_moments": {"task.source_prior", "num_samples"},
    "refine": {"task.weak_prior"},
    "sorted_labels.shared_boundaries": {"log_posterior", "arrivals"},
}
DRAWN = {"refine_labels": {"log_posterior"}}
"""Slopes that have noise, and a test of their own."""
ALIKE = {"theory.refinement_crossover": {"task.concepts", "task.weak_concepts", "task.weak_prior"}}
"""Defined where all rivals are alike, which they are no longer when one of these moves; along the knobs of `make_task`
the derivative has a test of its own (`test_theory_contract.py`). Its integrals are on grids that move: to 2e-3."""
CALLS = {name: call for name, (_, call) in KERNELS.items()}
CALLS["refine"] = lambda k, t, s, c: [
    w2s.refine(k, t, 12, 4, prompts=prompts, draw="mean", assumed_noise_var=s, temperature=c)
    for prompts in ("shared", "fresh")
]
"""What is differentiated: of a refined student its mean labels, since drawn ones have slopes with noise."""
POINT = instance(0)
KINKS = {"theory.posterior_exponent", "theory.refinement_crossover_asymptotic"}
"""Least values over the rivals: where two rivals are equal they have a kink, and are looked at beside it."""
UNEQUAL = POINT["task"]._replace(
    weak_concepts=POINT["task"].weak_concepts + 0.05 * np.random.default_rng(5).standard_normal((3, 5))
)


def arguments_of(name: str) -> list[str]:
    """The arguments that are real numbers, a task by its fields."""
    fields = {"task": [f"task.{field}" for field in w2s.Task._fields]} | {each: [] for each in WHOLE}
    return [each for argument in KERNELS[name][0].split() for each in fields.get(argument, [argument])]


def moved(argument: str, value, steps: dict, rng):
    """A value of POINT, moved along random directions."""

    def leaf(name: str, x):
        direction = rng.standard_normal(x.shape)
        square = x.ndim == 2 and x.shape[0] == x.shape[1]
        return x + steps.get(name, 0.0) * 0.1 * (direction + direction.T if square else direction)

    if argument == "task":
        return w2s.Task(*(leaf(f"task.{field}", x) for field, x in zip(value._fields, value)))
    return value if argument in WHOLE else jax.tree.map(lambda x: leaf(argument, x), value)


def along(name: str, steps: dict):
    """One number of all that a kernel returns, as its arguments move."""
    rng = np.random.default_rng(0)
    point = {**POINT, "task": UNEQUAL} if name in KINKS else POINT
    given = [moved(argument, point[argument], steps, rng) for argument in KERNELS[name][0].split()]
    leaves = jax.tree.leaves(CALLS[name](*given))
    return sum((rng.standard_normal(leaf.shape) * leaf).sum() for leaf in leaves)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in KERNELS if arguments_of(name)])
def test_derivatives_of_kernels_are_differences_or_raise(name):
    jumps = JUMPS.get(name, set())
    left_out = jumps | DRAWN.get(name, set()) | ALIKE.get(name, set())
    smooth = [each for each in arguments_of(name) if each not in left_out]

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def values_and_slopes(points):
        return jax.vmap(jax.value_and_grad(lambda steps: along(name, dict(zip(smooth, steps)))))(points)

    if smooth:
        count, step = len(smooth), 1e-5
        moves = jnp.concatenate([jnp.eye(count), -jnp.eye(count), jnp.zeros((1, count))])
        values, slopes = values_and_slopes(step * moves)
        differences = (values[:count] - values[count:-1]) / (2 * step)
        np.testing.assert_allclose(slopes[-1], differences, rtol=2e-3 if name in ALIKE else 1e-5, atol=1e-6)
    for argument in jumps:
        with pytest.raises(TypeError, match=SENTENCE):
            jax.eval_shape(jax.grad(lambda step: along(name, {argument: step})), 0.0)  # noqa: B023


# --- labels drawn from a posterior ----------------------------------------------------------------------------------

MEANS = jnp.array([[1.0, -0.5], [-0.4, 0.3], [0.2, 2.0]])  # [K n]
PRIORS = [  # where the weights are, and where they move to: common ones, rare ones, and new ones
    ([0.5, 0.2, 0.3], [0.4, -0.1, -0.3]),
    ([0.94, 0.05, 0.01], [-0.3, 0.2, 0.1]),
    ([0.7, 0.3, 0.0], [-0.5, 0.1, 0.4]),
]
MIXING = jnp.array([0.8, -0.6])


def moving(prior, step):
    """Weights, answers and noise of two labels."""
    at, by = prior
    return (at + step * by)[:, None] * jnp.ones((1, 2)), MEANS * (1 + 0.2 * step), 0.5 + 0.1 * step


def quadratic(step, prior, key):
    uniforms, normals = jax.random.uniform(key, (2,)), jax.random.normal(w2s.stream(key, "noise"), (2,))
    return (MIXING @ mixture_labels(uniforms, normals, *moving(prior, step)) + 1) ** 2


def mean_quadratic(step, prior):
    shares, answers, noise = moving(prior, step)
    mean = (shares * answers).sum(axis=0)
    variance = (shares * answers**2).sum(axis=0) - mean**2 + noise**2
    return (MIXING @ mean + 1) ** 2 + MIXING**2 @ variance


def test_derivatives_of_drawn_labels_are_those_of_quadratic_means():
    keys = jax.random.split(jax.random.key(3), 100_000)
    slopes_of = jax.jit(jax.vmap(jax.grad(quadratic), (None, None, 0)))
    exact_of = jax.jit(jax.grad(mean_quadratic))
    for prior in ([jnp.array(x) for x in each] for each in PRIORS):
        slopes, exact = slopes_of(0.0, prior, keys), exact_of(0.0, prior)
        assert_mean(slopes, exact)
        assert_mean_rejects(slopes, 1.1 * exact)
    with pytest.raises(TypeError, match="first derivatives alone"):
        jax.eval_shape(jax.grad(jax.grad(quadratic)), 0.0, prior, keys[0])


def test_map_labels_raise_in_the_posterior_and_not_in_the_answers():
    def label(by_weights, by_noise):
        task = POINT["task"]._replace(noise_var=0.25 + by_noise)
        posterior = POINT["log_posterior"] + by_weights
        return w2s.refine_labels(POINT["key"], task, POINT["features"], posterior, draw="map").sum()

    with pytest.raises(TypeError, match=SENTENCE):
        jax.eval_shape(jax.grad(label), 0.0, 0.0)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(label, 1), (None, 0)))(0.0, jnp.array([-1e-5, 0.0, 1e-5]))
    np.testing.assert_allclose(slopes[1], (values[2] - values[0]) / 2e-5, rtol=1e-6)


# --- methods --------------------------------------------------------------------------------------------------------

AT = {"weak_accuracy": 0.7, "concept_shift": 0.5}
HARD = {
    "aux_confidence": {"weak_accuracy", "concept_shift", "weight", "penalty"},
    "experts": {"weak_accuracy", "concept_shift", "penalty"},
    "experts_from_source": {"weak_accuracy", "concept_shift", "dropped", "penalty"},
    "contrastive": {"weak_accuracy", "concept_shift", "alpha"},
    "confidence_window": {"concept_shift", "radius", "soft", "time"},
    "selective": {"concept_shift", "known_share"},
    "intent_refine": {"weak_accuracy", "concept_shift"},
    "em_prior": {"steps"},
}
"""What each method has no derivative in, and says so."""
HARD_SIGNS = {
    "aux_confidence": {"soft"},
    "self_label": {"concept_shift"},
    "anchored_contrastive": {"concept_shift", "strength"},
    "boosted_ensemble": {"concept_shift", "weak_penalty"},
    "self_refine": {"concept_shift", "temperature"},
    "icl_refine": {"concept_shift", "temperature"},
}
"""Signs are drawn by their probabilities: a teacher's by its accuracy, the strong model's own by these."""


def risk(labels, name, values: dict, key):
    """Excess risk of one fit, in squared units of linear labels."""
    task = w2s.make_task(num_concepts=3, dim=5, **{each: values.get(each, AT[each]) for each in AT})
    method, view = methods_of(labels)[name], draw_view(key, task, 32, 4, labels, 0.25)
    coef = method(view, **{knob: values[knob] for knob in method.knobs if knob in values})
    return w2s.excess_risk(coef if labels == "linear" else coef * jnp.sqrt(task.noise_var), task.target_coef)


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "name"), [(labels, name) for labels in LABELS for name in methods_of(labels)])
def test_derivatives_of_methods_are_differences_or_raise(labels, name):
    values = AT | methods_of(labels)[name].defaults()
    hard = HARD.get(name, set())
    if labels == "sign":
        hard = hard | {"weak_accuracy"} | HARD_SIGNS.get(name, set())
    for each in hard:
        with pytest.raises(TypeError, match=SENTENCE):
            jax.eval_shape(jax.grad(lambda x: risk(labels, name, {each: x}, jax.random.key(0))), values[each])  # noqa: B023
    soft = {each: value for each, value in values.items() if each not in hard}
    if not soft:
        return
    drawn = labels == "linear" and name in ("self_refine", "icl_refine")
    keys = jax.random.split(jax.random.key(1), 6000 if drawn else 50)
    at, count = jnp.array([*soft.values()]), len(soft)
    steps = jnp.array([(0.03 if drawn else 1e-4) * max(value, 0.1) for value in soft.values()])

    @jax.jit
    def values_and_slopes(points):
        of = jax.value_and_grad(lambda theta, key: risk(labels, name, dict(zip(soft, theta)), key))
        return jax.lax.map(lambda theta: jax.vmap(of, (None, 0))(theta, keys), points)

    moves = jnp.diag(steps)
    values, slopes = values_and_slopes(at[None] + jnp.concatenate([moves, -moves, jnp.zeros((1, count))]))
    differences = (values[:count] - values[count:-1]) / (2 * steps[:, None])
    for each, slope, difference in zip(soft, slopes[-1].T, differences):
        off = slope - difference
        print(f"{labels} {name} d risk / d {each}: {slope.mean():.4f}, differences {difference.mean():.4f}")
        if drawn and off.std() > 0.01:
            assert_mean(off, 0.0, scale=max(2.5 * abs(float(difference.mean())), 1.0))
        else:  # no draw jumps, and the step may be small
            np.testing.assert_allclose(slope.mean(), difference.mean(), rtol=1e-3, atol=1e-4)
