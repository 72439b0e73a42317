"""What users have at hand is read, or refused in one sentence that says what to do."""

import re
from functools import partial
from inspect import unwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import w2s_jax as w2s
from tests.conftest import IN_DOUBLE
from w2s_jax import sampling, tasks
from w2s_jax.em import em_steps
from w2s_jax.hull import _eigenvalue_bound
from w2s_jax.statistics import pgr_interval

FLOAT = np.float64 if IN_DOUBLE else np.float32
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
FEATURES, LABELS = RNG.standard_normal((12, 5)), RNG.standard_normal(12)
DATA = w2s.Dataset(FEATURES, LABELS)
CELL = {"num_concepts": 3, "dim": 5, "weak_accuracy": 0.7, "concept_shift": 0.5}
make = partial(w2s.make_task, **CELL)
TASK = make()
MOMENTS = w2s.moments(DATA)
SOURCE = TASK.source_coef


def refused(message: str, function, *args, **kwargs) -> None:
    with pytest.raises(ValueError) as raised:
        function(*args, **kwargs)
    text = str(raised.value)
    assert re.search(message, text), text
    assert text.count("\n") == 0 and text.endswith(".") and "got" in text, text


@pytest.mark.parametrize("kernel", [w2s.moments, partial(w2s.concept_log_posterior, TASK)])
def test_labels_are_a_vector_one_for_each_example(kernel):
    for labels in (LABELS[:, None], LABELS[:1], LABELS[0], LABELS[:-1]):
        shape = re.escape(f"got [{' '.join(map(str, labels.shape))}]")
        message = rf"\w+\.labels must have shape \[n\] with n = 12 \(examples, as in \w+\.features\), {shape}"
        refused(message, kernel, w2s.Dataset(FEATURES, labels))
    refused("drop its last axis", kernel, w2s.Dataset(FEATURES, LABELS[:, None]))


SCALARS = {
    # name: (call, values out of its range)
    "weak_accuracy": (lambda x: make(weak_accuracy=x), (0.0, np.nan)),
    "concept_shift": (lambda x: make(concept_shift=x), (1.0,)),
    "noise_var": (lambda x: make(noise_var=x), (-0.25, np.inf)),
    "penalty": (lambda x: w2s.ridge_to_source(MOMENTS, SOURCE, x), (-0.5, np.nan)),
    "time": (lambda x: w2s.gradient_flow(MOMENTS, SOURCE, x), (-1.0,)),
    "temperature": (lambda x: w2s.concept_log_posterior(TASK, DATA, temperature=x), (0.0, -1.0)),
    "assumed_noise_var": (lambda x: w2s.em_prior(TASK, DATA, 2, assumed_noise_var=x), (0.0, -1.0)),
    "num_samples": (lambda x: w2s.sample_moments(KEY, TASK, x), (0.0, 2.5)),
}


@pytest.mark.parametrize("name", SCALARS)
def test_a_vector_is_no_scalar(name):
    for vector in (np.full(3, 0.5), [0.5] * 5, jnp.full(1, 0.5)):
        message = rf"^{name} must be a scalar, got \[{len(vector)}\]; for several at once use jax.vmap"
        refused(message, SCALARS[name][0], vector)


@pytest.mark.parametrize("name", SCALARS)
def test_every_known_value_is_checked(name):
    call, values = SCALARS[name]
    for kind in (float, np.float32, np.array, jnp.array):
        for value in values:
            refused(rf"^{name} must (be|not be) .* got {value:g}", call, kind(value))


def test_a_known_value_is_checked_inside_a_program_and_a_traced_one_is_not():
    far = jnp.array(1.5)
    refused("weak_accuracy", jax.jit(lambda: make(weak_accuracy=far)))
    assert np.isnan(jax.jit(lambda a: make(weak_accuracy=a))(far).weak_concepts).any()


BATCH_OF_ONE = jax.tree.map(lambda x: x[None], TASK)
PRIOR = np.log(TASK.source_prior)
REFUSED = [
    ("^num_samples must be an integer, got 4.0", lambda: w2s.sample_dataset(KEY, TASK, 4.0)),
    ("^num_concepts must be an integer, got 3.0", lambda: make(num_concepts=3.0)),
    ("^num_steps must be an integer, got 2.5", lambda: w2s.em_prior(TASK, DATA, 2.5)),
    ("^steps must be a tuple of integers, got 3", lambda: w2s.em_path(TASK, DATA, 3)),
    ("^num_samples is static .* static", lambda: jax.jit(lambda n: w2s.sample_design(KEY, n, 3))(4)),
    ("^key must be a typed key, got 0 .*jax.random.key", lambda: w2s.sample_dataset(0, TASK, 4)),
    ("^key must be a typed key", lambda: w2s.sample_dataset(jax.random.PRNGKey(0), TASK, 4)),
    ("^key must be one key, got .*vmap", lambda: w2s.stream(jax.random.split(KEY, 3), "noise")),
    ("^dataset must be a Dataset, got a tuple", lambda: w2s.moments((FEATURES, LABELS))),
    ("^source_coef must have shape .d. with d = 5", lambda: w2s.ridge_to_source(MOMENTS, SOURCE[:4], 1.0)),
    ("^target_coef must have shape .* with d = 5", lambda: w2s.excess_risk(SOURCE, SOURCE[:1])),
    ("^concepts must have shape .K d.", lambda: w2s.hull_least_squares(MOMENTS, SOURCE)),
    ("^task.concepts must have shape .*vmap", lambda: w2s.sample_dataset(KEY, BATCH_OF_ONE, 4)),
    ("^moments.cross must have .* with d = 5", lambda: w2s.least_squares(MOMENTS._replace(cross=SOURCE[:2]))),
    ("^dataset.features must be real", lambda: w2s.moments(w2s.Dataset(FEATURES * 1j, LABELS))),
    ("^x must be an array of numbers", lambda: w2s.project_to_simplex(["a", "b"])),
    ("^log_posterior must have a row for", lambda: w2s.refine_labels(KEY, TASK, FEATURES, np.zeros((7, 3)))),
    (r"^likelihood must have shape \[K n\] with K = 3", lambda: em_steps(TASK.source_prior, LABELS[:, None], 1)),
    # Static arguments out of their range.
    ("^num_samples must be at least 1, got 0", lambda: w2s.sample_features(KEY, 0, 3)),
    ("^dim must be at least 1, got 0", lambda: w2s.sample_features(KEY, 2, 0)),
    ("^the number of EM steps must not be negative, got -1", lambda: w2s.em_prior(TASK, DATA, -1)),
    ("^the number of EM steps must not be negative, got -2", lambda: w2s.em_path(TASK, DATA, (3, -2, 0))),
    (r"^lengths must lie in \[0, 12\], .* got \(0, 13\)", lambda: w2s.posterior_path(TASK, DATA, lengths=(0, 13))),
    (r"^lengths must lie in \[0, 12\]", lambda: w2s.posterior_path(TASK, DATA, lengths=(-1,))),
    ("^num_icl must not be negative, got -1", lambda: w2s.leave_one_out_log_posterior(TASK, DATA, -1)),
    ("^num_icl must not be negative, got -1", lambda: w2s.refine(KEY, TASK, 4, -1)),
    ("^concentration must be positive, got nan", lambda: w2s.random_task(KEY, **CELL, concentration=np.nan)),
    # Words. Unwrapped: in tests the type hook would refuse an unknown one first, but users do not run it.
    ("^features must be one of gaussian, uniform; got", lambda: unwrap(w2s.sample_features)(KEY, 2, 3, "cauchy")),
    ("^labeler must be one of source, target, weak; got", lambda: unwrap(sampling._label_law)(TASK, "teacher")),
    ("^draw must be one of .*; got 'mode'", lambda: unwrap(w2s.refine_labels)(KEY, TASK, FEATURES, PRIOR, draw="mode")),
    ("^prompts must be one of shared, fresh; got 'own'", lambda: unwrap(w2s.refine)(KEY, TASK, 4, 2, prompts="own")),
    ("^weakness must be one of rotated, shifted, .*; got", lambda: tasks._check(4, 6, 0.7, 0.4, 0.25, "lazy", 0)),
]


@pytest.mark.parametrize(("message", "function"), REFUSED)
def test_one_sentence_says_what_to_do(message, function):
    refused(message, function)


def test_what_python_says_best_is_left_to_python():
    with pytest.raises(TypeError, match=r"missing .*argument: 'penalty'"):
        w2s.ridge_to_source(MOMENTS, SOURCE)


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        (w2s.moments, (jax.tree.map(jnp.asarray, DATA),)),
        (w2s.ridge_to_source, (MOMENTS, SOURCE, jnp.asarray(0.5, FLOAT))),
        (w2s.hull_least_squares, (MOMENTS, TASK.concepts)),
        (w2s.excess_risk, (SOURCE, TASK.target_coef)),
    ],
)
def test_reading_leaves_no_trace_in_a_program(kernel, arguments):
    assert str(jax.make_jaxpr(kernel)(*arguments)) == str(jax.make_jaxpr(kernel.__wrapped__)(*arguments))


def test_integers_lists_and_foreign_arrays_are_read():
    counts = RNG.integers(-60_000, 60_000, (12, 5)).astype(np.int32)
    exact = counts.T.astype(np.float64) @ counts / 12
    for read_as in (np.asarray, np.ndarray.tolist, jnp.array):
        features, labels = read_as(counts), read_as(counts[:, 0])
        read = w2s.moments(w2s.Dataset(features, labels))
        np.testing.assert_allclose(read.gram, exact, rtol=1e-5)
        assert {x.dtype for x in read} == {np.dtype(FLOAT)}
    assert float(w2s.excess_risk([1, 2], [0, 0])) == 5.0
    assert w2s.project_to_simplex([2, 1]).tolist() == [1.0, 0.0]
    assert w2s.posterior_path(TASK, DATA, lengths=[0, np.int64(3)]).shape == (2, 3)


@pytest.mark.parametrize("double", [False, True])
def test_the_arrays_of_a_call_decide_its_type(double):
    """Scalars, whatever their type, follow; no warning is given (the suite makes errors of them)."""
    with jax.enable_x64(double):
        wide = np.float64 if double else np.float32
        task = jax.tree.map(lambda x: np.asarray(x, np.float32), TASK)
        for kind, expected in [(np.float32, np.float32), (np.float64, wide)]:
            data = w2s.Dataset(FEATURES.astype(kind), LABELS.astype(kind))

            def refined(data=data):
                log_posterior = w2s.concept_log_posterior(task, data, temperature=np.float64(2), assumed_noise_var=1)
                labels = w2s.refine_labels(KEY, task, data.features, log_posterior)
                flow = w2s.gradient_flow(w2s.moments(data), np.zeros(5, np.float32), np.array(0.3))
                return log_posterior, labels, flow

            assert {x.dtype for x in jax.eval_shape(refined)} == {np.dtype(expected)}

        def relabelled():
            drawn = w2s.sample_dataset(KEY, task, 4)

            def relabel(labels, key):
                return w2s.refine_labels(key, task, drawn.features, jnp.log(task.source_prior)), labels

            jax.lax.scan(relabel, drawn.labels, jax.random.split(KEY, 2))  # which refuses a carry that changes type
            return drawn

        assert {x.dtype for x in jax.eval_shape(relabelled)} == {np.dtype(np.float32)}


def test_the_steps_of_a_hull_of_many_concepts_are_bounded():
    for size in (2, 240):
        bound = _eigenvalue_bound(jnp.asarray(np.eye(size) + 0.1, jnp.float32))
        largest = 1 + 0.1 * size
        assert largest * 0.999 <= bound <= largest * size ** (1 / 16) * 1.001


def test_which_way_is_better():
    risks, cov = np.array([0.4, 0.25, 0.1]), 0.01 * np.diag([1.0, 2.0, 3.0])
    of_risks, of_accuracies = pgr_interval(risks, cov, 400), pgr_interval(1 - risks, cov, 400, higher_is_better=True)
    np.testing.assert_allclose(of_accuracies, of_risks, rtol=1e-12)
