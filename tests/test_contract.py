"""One contract for every public kernel: jit, vmap, one trace a grid, single precision, names of arguments.

To add a kernel, add it to `w2s_jax.__all__` and to `KERNELS` below; where its arguments are promised, to `PROMISED`
too. (The other closed forms of `theory` have a contract of their own.)
"""

import inspect
import sys
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import w2s_jax as w2s
from tests.conftest import IN_DOUBLE
from w2s_jax import em, relaxed, sampling, sorted_labels, theory
from w2s_jax.tasks import embed

NUM_CONCEPTS, DIM, NUM_SAMPLES, NUM_ICL = 3, 5, 12, 4
pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")


def instance(i: int) -> dict:
    """The i-th point of a grid: every value that a kernel may be given traced."""
    rng = np.random.default_rng(i)
    features, noise = rng.standard_normal((NUM_SAMPLES, DIM)), rng.standard_normal(NUM_SAMPLES)
    frame = np.linalg.qr(rng.standard_normal((DIM, NUM_CONCEPTS + 1)))[0].T
    knobs = {
        "weak_accuracy": jnp.array([0.6, 0.7, 0.85][i]),
        "concept_shift": jnp.array([0.3, 0.5, 0.2][i]),
        "noise_var": jnp.array([0.25, 0.4, 0.1][i]),
    }
    task = make_task(knobs, jnp.asarray(frame))
    concepts, weak = np.asarray(task.concepts), np.asarray(task.weak_coef)
    labels = features @ weak + 0.5 * noise
    gram, cross, noise_cross = (features.T @ x / NUM_SAMPLES for x in (features, labels, noise))
    steps = features[:, None, :] * (features @ (concepts[:-1] - concepts[1:]).T)[:, :, None]
    table = np.concatenate([np.zeros((1, NUM_CONCEPTS - 1, DIM)), np.cumsum(steps, axis=0)])
    arrays = {
        "dataset": w2s.Dataset(features, labels),
        "prompt": w2s.Dataset(features[:NUM_ICL], labels[:NUM_ICL]),
        "features": features,
        "noise": noise,
        "moments": w2s.Moments(gram, cross, float(NUM_SAMPLES)),
        "design": w2s.Design(gram, noise_cross, float(NUM_SAMPLES)),
        "source": np.asarray(task.source_coef),
        "coef": weak,
        "target": np.asarray(task.target_coef),
        "penalty": [0.1, 0.5, 2.0][i],
        "time": [0.2, 1.0, 3.0][i],
        "temperature": [1.0, 2.0, 0.5][i],
        "num_samples": [12.0, 30.0, 3.0][i],
        "log_posterior": np.log(task.source_prior),
        "likelihood": rng.uniform(0.1, 1.0, (NUM_CONCEPTS, NUM_SAMPLES)),
        "coherence": [0.2, 0.5, -0.1][i],
        "risks": np.array([1.0, 0.3 + 0.1 * i, 0.1]),
        "arrivals": np.cumsum(rng.exponential(size=NUM_SAMPLES + 1)),
        "table": table,
        "boundaries": np.array([3 + i, 8]),
        "length": NUM_SAMPLES - i,
        "index": i,
    }
    return knobs | {"key": jax.random.key(i), "task": task} | jax.tree.map(jnp.asarray, arrays)


@jax.jit
def make_task(knobs, frame) -> w2s.Task:
    """A task in which nothing is axis-aligned."""
    return embed(w2s.make_task(num_concepts=NUM_CONCEPTS, dim=NUM_CONCEPTS + 1, **knobs), frame)


SIZES = {"num_concepts": NUM_CONCEPTS, "dim": DIM}
KERNELS = {
    # name: (names of the traced arguments, call)
    "make_task": (
        "weak_accuracy concept_shift noise_var coherence",
        lambda a, t, s, c: w2s.make_task(
            **SIZES,
            **{"weak_accuracy": a, "concept_shift": t, "noise_var": s},
            weakness="confused",
            gram=w2s.coherent_gram(NUM_CONCEPTS, c),
        ),
    ),
    "random_task": (
        "key weak_accuracy concept_shift noise_var",
        lambda k, a, t, s: w2s.random_task(k, **SIZES, weak_accuracy=a, concept_shift=t, noise_var=s),
    ),
    "coherent_gram": ("coherence", lambda c: w2s.coherent_gram(NUM_CONCEPTS, c)),
    "relaxed.power_law_spectrum": ("penalty", lambda p: relaxed.power_law_spectrum(DIM, p)),
    "relaxed.contaminated_prior": ("task penalty", lambda t, p: relaxed.contaminated_prior(t.target_prior, p)),
    "stack": ("task", lambda t: w2s.stack([t, t])),
    "stream": ("key", lambda k: jax.random.key_data(w2s.stream(k, "features"))),
    "replicate_key": ("key index", lambda k, i: jax.random.key_data(w2s.replicate_key(k, i))),
    "sample_features": ("key", lambda k: w2s.sample_features(k, NUM_SAMPLES, DIM, "uniform")),
    "sample_dataset": ("key task", lambda k, t: w2s.sample_dataset(k, t, NUM_SAMPLES, "source", "uniform")),
    "moments": ("dataset", w2s.moments),
    "sample_moments": ("key task num_samples", lambda k, t, n: w2s.sample_moments(k, t, n, "source")),
    "sample_design": ("key", lambda k: w2s.sample_design(k, NUM_SAMPLES, DIM)),
    "design_moments": ("design coef noise_var", w2s.design_moments),
    "sampling.design_of": ("features noise", sampling.design_of),
    "sampling.linear_labels": ("features noise coef noise_var", sampling.linear_labels),
    "least_squares": ("moments source", w2s.least_squares),
    "ridge_to_source": ("moments source penalty", w2s.ridge_to_source),
    "gradient_flow": ("moments source time", w2s.gradient_flow),
    "hull_least_squares": ("moments task", lambda m, t: w2s.hull_least_squares(m, t.concepts)),
    "project_to_simplex": ("coef", w2s.project_to_simplex),
    "em_prior": ("task dataset noise_var", lambda t, x, s: w2s.em_prior(t, x, 3, assumed_noise_var=s)),
    "em_path": ("task dataset", lambda t, x: w2s.em_path(t, x, (4, 0, 1))),
    "em.em_steps": ("log_posterior likelihood", lambda p, x: em.em_steps(jnp.exp(p), x, 2)),
    "concept_log_posterior": (
        "task prompt noise_var temperature",
        lambda t, p, s, c: w2s.concept_log_posterior(t, p, assumed_noise_var=s, temperature=c),
    ),
    "posterior_path": ("task prompt", w2s.posterior_path),
    "leave_one_out_log_posterior": ("task dataset", lambda t, x: w2s.leave_one_out_log_posterior(t, x, NUM_ICL)),
    "refine_labels": ("key task features log_posterior", w2s.refine_labels),
    "refine": (
        "key task noise_var temperature",
        lambda k, t, s, c: [
            w2s.refine(k, t, NUM_SAMPLES, NUM_ICL, prompts=p, assumed_noise_var=s, temperature=c)
            for p in ("shared", "fresh")
        ],
    ),
    "sorted_labels.prefix_table": ("features task", lambda x, t: sorted_labels.prefix_table(x, t.concepts)),
    "sorted_labels.arrival_times": ("key", lambda k: sorted_labels.arrival_times(k, NUM_SAMPLES)),
    "sorted_labels.shared_boundaries": ("arrivals log_posterior length", sorted_labels.shared_boundaries),
    "sorted_labels.count_up_to": ("arrivals noise", sorted_labels.count_up_to),
    "sorted_labels.refined_moments": (
        "design table boundaries task",
        lambda d, x, b, t: sorted_labels.refined_moments(d, x, b, t.concepts, t.noise_var),
    ),
    "excess_risk": ("coef target", w2s.excess_risk),
    "misfit": ("source coef", w2s.misfit),
    "performance_gap_recovered": ("risks", lambda r: w2s.performance_gap_recovered(*r)),
    "sign_accuracy": ("coef target", w2s.sign_accuracy),
    "theory.source_bias": ("task", theory.source_bias),
    "theory.weak_bias": ("task", theory.weak_bias),
    "theory.bias_inner_product": ("task", theory.bias_inner_product),
    "theory.population_ridge_risk": ("task penalty", theory.population_ridge_risk),
    "theory.population_ridge_floor": ("task", theory.population_ridge_floor),
    "theory.population_flow_risk": ("task time", theory.population_flow_risk),
    "theory.ridge_risk": ("task num_samples penalty", theory.ridge_risk),
    "theory.least_squares_risk": ("task num_samples", theory.least_squares_risk),
    "theory.posterior_exponent": ("task noise_var", lambda t, s: theory.posterior_exponent(t, assumed_noise_var=s)),
    "theory.refinement_crossover": ("task", lambda t: theory.refinement_crossover(t, "shared")),
    "theory.refinement_crossover_asymptotic": ("task", lambda t: theory.refinement_crossover_asymptotic(t, "shared")),
}
SCALARS = {"key", "index", "weak_accuracy", "concept_shift", "noise_var", "coherence", "penalty"}
MAKERS = [name for name, (arguments, _) in KERNELS.items() if set(arguments.split()) <= SCALARS]
"""What makes its floats out of nothing has the precision that jax is set to; all others that of their arrays."""
RUN = [name for name in KERNELS if not name.startswith("theory.")]
"""Closed forms are run in `test_theory_contract.py`, and traced with the others in `test_contract_modes.py`."""
IN_SINGLE = [name for name in RUN if name not in MAKERS and "key" not in KERNELS[name][0].split()]
"""What has the same values in single precision; other numbers are drawn in it."""


@pytest.fixture(scope="module")
def grid() -> list[dict]:
    """A few points of a grid."""
    return [instance(i) for i in range(3)]


def call(name: str, point: dict):
    arguments, kernel = KERNELS[name]
    return kernel(*(point[argument] for argument in arguments.split()))


@pytest.fixture(scope="module")
def looped(grid) -> list[dict]:
    """Every kernel at every point: one program, which refuses a second trace."""
    chex.clear_trace_counter()
    compiled = jax.jit(chex.assert_max_traces(lambda point: {name: call(name, point) for name in RUN}, n=1))
    return [compiled(point) for point in grid]


def single(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, tree)


MODULES = {"em": em, "relaxed": relaxed, "sampling": sampling, "sorted_labels": sorted_labels}


def public_function(name: str):
    value = w2s
    for part in name.split("."):
        value = MODULES.get(part) or getattr(value, part)
    return value


def assert_same(one, other, rtol=1e-10, atol=1e-12, name=""):
    rtol, atol = (rtol, atol) if IN_DOUBLE else (1e-3, 1e-4)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=name), one, other)


def assert_single(result, in_double, name: str) -> None:
    """All floats are in single precision, and what is no float is what it was."""
    for x, y in zip(jax.tree.leaves(result), jax.tree.leaves(in_double), strict=True):
        assert x.dtype == (jnp.float32 if y.dtype == jnp.float64 else y.dtype), name


@pytest.mark.parametrize("name", RUN)
@pytest.mark.slow
def test_jit_equals_eager(grid, looped, name):
    with jax.debug_nans(True):  # eager, so that every step is looked at
        result = call(name, grid[0])
    assert_same(looped[0][name], result)


@pytest.mark.slow
@pytest.mark.skipif(not IN_DOUBLE, reason="single precision alone adds nothing")
def test_a_batch_equals_a_loop_in_single_precision_where_arrays_are(grid, looped):
    """What draws is compared in double precision, since other numbers are drawn in single."""

    @jax.jit
    @jax.vmap
    def batched(in_single, in_double):
        return {name: call(name, in_single if name in IN_SINGLE else in_double) for name in RUN}

    points, expected = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *each) for each in (grid, looped))
    for name, result in batched(single(points), points).items():
        if name in IN_SINGLE:
            assert_single(result, expected[name], name)
            assert_same(result, expected[name], rtol=1e-4, atol=1e-5, name=name)
        else:
            assert_same(result, expected[name], name=name)


def test_the_grid_is_one_trace_and_a_second_would_be_seen(looped):
    assert len(looped) > 1  # `looped` has asserted it
    counted = jax.jit(chex.assert_max_traces(lambda x: x, n=1))
    counted(jnp.ones(3))
    with pytest.raises(AssertionError, match="traced"):
        counted(jnp.ones(4))


@pytest.mark.parametrize("name", [name for name in RUN if name not in IN_SINGLE])
def test_what_draws_or_makes_floats_has_the_precision_of_arrays_or_of_jax(grid, looped, name):
    with jax.enable_x64(name not in MAKERS and IN_DOUBLE):
        result = jax.eval_shape(partial(call, name), single(grid[0]))
    assert_single(result, looped[0][name], name)
    assert [x.shape for x in jax.tree.leaves(result)] == [y.shape for y in jax.tree.leaves(looped[0][name])]


# --- names ----------------------------------------------------------------------------------------------------------


def test_every_public_kernel_is_under_contract():
    public = {name for name in w2s.__all__ if inspect.isfunction(getattr(w2s, name))}
    public -= {"plan", "accuracy_path"}  # they take a user's numbers, and are not traced
    assert public <= set(KERNELS)
    checked = public - {"stack"}  # it takes trees of any kind
    assert all(hasattr(getattr(w2s, name), "is_kernel") for name in checked), "give it @kernel: inputs.py"
    everywhere = [vars(module).values() for name, module in sys.modules.items() if name.startswith("w2s_jax.")]
    functions = {value for values in everywhere for value in values if inspect.isfunction(value)}
    kernels = {value for value in functions if getattr(value, "is_kernel", False) is True}
    assert kernels <= {public_function(name) for name in KERNELS}
    assert {name for name in PROMISED if not name.startswith("statistics.")} <= set(KERNELS)


PROMISED = {
    "make_task": "* num_concepts dim weak_accuracy=None concept_shift noise_var=0.25 weakness='rotated'"
    " target_concept=0 gram=None weak_coef=None target_prior=None",
    "random_task": "key * num_concepts dim weak_accuracy concept_shift noise_var=0.25 weakness='rotated'"
    " target_concept=0 concentration=1.0 gram=None",
    "coherent_gram": "num_concepts coherence",
    "stack": "trees",
    "sample_dataset": "key task num_samples labeler='weak' features='gaussian'",
    "moments": "dataset",
    "sample_moments": "key task num_samples labeler='weak'",
    "sample_design": "key num_samples dim",
    "design_moments": "design coef noise_var",
    "least_squares": "moments source_coef=None",
    "ridge_to_source": "moments source_coef penalty",
    "gradient_flow": "moments source_coef time",
    "hull_least_squares": "moments concepts",
    "em_prior": "task dataset num_steps * assumed_noise_var=None",
    "concept_log_posterior": "task prompt * assumed_noise_var=None temperature=1.0",
    "posterior_path": "task prompt * lengths=None assumed_noise_var=None temperature=1.0",
    "refine_labels": "key task features log_posterior * draw='sample'",
    "refine": "key task num_samples num_icl * prompts='shared' draw='sample' assumed_noise_var=None temperature=1.0",
    "excess_risk": "coef target_coef feature_var=1.0",
    "misfit": "student_coef weak_coef feature_var=1.0",
    "performance_gap_recovered": "weak student ceiling * higher_is_better=False",
    "sign_accuracy": "coef target_coef",
    "theory.source_bias": "task",
    "theory.weak_bias": "task",
    "theory.bias_inner_product": "task",
    "theory.population_ridge_risk": "task penalty",
    "theory.population_ridge_floor": "task",
    "theory.population_flow_risk": "task time",
    "theory.ridge_risk": "task num_samples penalty",
    "theory.least_squares_risk": "task num_samples",
    "theory.posterior_exponent": "task * assumed_noise_var=None prompts='fresh'",
    "theory.refinement_crossover": "task prompts * assumed_noise_var=None",
    "theory.refinement_crossover_asymptotic": "task prompts * assumed_noise_var=None",
    "statistics.pgr_interval": "mean cov count level=0.95 * higher_is_better=False",
}


CONTAINERS = {
    "Task": "concepts source_prior target_prior noise_var weak_concepts weak_prior weak_noise_var feature_var",
    "Dataset": "features labels",
    "Moments": "gram cross num_samples",
    "Design": "gram noise_cross num_samples",
    "Refined": "coef labels examples weights",
}


@pytest.mark.parametrize(("name", "promised"), (PROMISED | CONTAINERS).items())
def test_arguments_and_fields_have_their_promised_names(name, promised):
    parameters = inspect.signature(public_function(name)).parameters.values()
    words = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
    named = [i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY]
    if named:
        words.insert(named[0], "*")
    assert words == promised.split()
