"""A few true labels: who has one, methods that use them, the axis of the arena and of the risk sweep, copied errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import AdaBoostClassifier

import w2s_jax as w2s
from sims.methods.replicate import copied_share, grid_of
from sims.methods.replicate import replicate as arena_replicate
from sims.risk_sweep.replicate import columns, simulate
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import make_grid
from tests.arena_views import DIM, make_task
from tests.helpers import assert_mean, load
from tests.test_methods_sign import minimum
from tests.tiny import ARENA
from w2s_jax import theory
from w2s_jax.methods import METHODS, draw_view
from w2s_jax.methods.boosting import ROUNDS, boosted_labels
from w2s_jax.methods.kinds import SIGN
from w2s_jax.names import TRUE_LABEL_METHODS
from w2s_jax.rng import replicate_key
from w2s_jax.sampling import evenly_spread

# --- Who has a true label -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.03, 0.1, 0.25, 0.3, 1 / 3, 0.7, 1.0])
def test_any_number_of_first_examples_has_its_share(share):
    given = np.asarray(evenly_spread(1000, share))
    assert set(given) <= {0.0, 1.0}
    exact = np.floor(np.round(np.arange(1, 1001) * share, 9))
    np.testing.assert_array_equal(np.cumsum(given), exact)
    # in single precision too, as users draw
    np.testing.assert_array_equal(np.cumsum(evenly_spread(1000, jnp.float32(share))), exact)


# --- The methods --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_weighted_fit_comes_to_the_limit_that_its_docs_name():
    share, weight = 0.1, 5.0
    task = make_task()
    view = draw_view(jax.random.key(0), task, 100_000, 1, "linear", share)
    found = METHODS["weighted_true"](view, weight=weight, penalty=0.0)
    left = (1 - share) / (1 - share + weight * share)
    limit = task.target_coef + left * (task.weak_coef - task.target_coef)
    np.testing.assert_allclose(found, limit, atol=0.01)
    assert np.abs(task.weak_coef - limit).max() > 0.1


class WeakModel(ClassifierMixin, BaseEstimator):
    """Logistic regression pulled to a prior, which AdaBoost may weigh examples for."""

    def __init__(self, prior=(), penalty=0.1):
        self.prior, self.penalty = prior, penalty

    def fit(self, X, y, sample_weight):
        self.classes_ = np.unique(y)
        shares = sample_weight / sample_weight.sum()
        self.coef_ = minimum(X, y, np.asarray(self.prior), self.penalty, shares)
        return self

    def predict(self, X):
        return np.where(X @ self.coef_ > 0, 1.0, -1.0)


@pytest.mark.slow
def test_boosting_is_that_of_scikit_learn():
    """Its algorithm for two classes has the same weights, but for a factor of 2 in the log odds of the errors."""
    task = make_task(noise_var=1.0)
    view = jax.tree.map(np.asarray, draw_view(jax.random.key(2), task, 60, 2, "sign", 0.5))
    has, odds = view.few_true_labels.given > 0, view.weak_concept_log_odds.T
    boosted = AdaBoostClassifier(WeakModel(tuple(view.source.source_prior), 0.03), n_estimators=ROUNDS)
    boosted.fit(odds[has], view.true_labels[has])
    alphas = boosted.estimator_weights_ / 2
    assert len(alphas) == ROUNDS and (alphas > 0.01).all() and np.ptp(alphas) > 0.01
    chances = [1 / (1 + np.exp(-odds @ model.coef_)) for model in boosted.estimators_]
    found = boosted_labels(jax.tree.map(jnp.asarray, view), 0.03)
    np.testing.assert_allclose(found, alphas @ chances / alphas.sum(), rtol=1e-4)


# --- Copied errors ------------------------------------------------------------------------------------------------


@jax.jit
def risks_and_copied(task, coef):
    target, teacher = SIGN.target(task), SIGN.teacher(task)
    risks = [SIGN.risk(*pair, task) for pair in ((coef, target), (teacher, target), (coef, teacher))]
    return target, teacher, copied_share(*(risk[None] for risk in risks))[0]


def test_copied_errors_are_counted_errors():
    task, rng = make_task(), np.random.default_rng(0)
    coef = rng.normal(size=DIM)
    rows = rng.standard_normal((400_000, DIM)) * np.sqrt(np.asarray(task.feature_var))
    target, teacher, found = risks_and_copied(task, jnp.asarray(coef))
    truth, taught, own = (np.sign(rows @ np.asarray(b)) for b in (target, teacher, coef))
    assert_mean((own != truth)[taught != truth].astype(float), float(found))
    assert np.isnan(risks_and_copied(make_task("noisy"), jnp.asarray(coef))[2])


# --- The axis of the arena ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A tiny arena of signs with two shares."""
    out, methods = tmp_path_factory.mktemp("arena"), ("naive_ft", "ceiling", *TRUE_LABEL_METHODS)
    assert ARENA.run(out, methods=methods, labels="sign", true_label_share=(0.2, 0.8)) == 0
    assert [path.name for path in out.glob("*.zarr")] == ["methods_sign_true_labels.zarr"]
    return load(out / "methods_sign_true_labels.zarr")


@pytest.mark.slow
def test_an_arena_has_shares_as_an_axis(results):
    assert results.risk_mean.dims[-1] == "method" and results.true_label_share.values.tolist() == [0.2, 0.8]
    low, high = (results.risk_mean.sel(true_label_share=share, tuning="oracle") for share in (0.2, 0.8))
    for name in ("naive_ft", "ceiling"):
        np.testing.assert_array_equal(*(part.sel({"method": name}) for part in (low, high)))
    for name in TRUE_LABEL_METHODS:
        assert float(high.sel({"method": name}).mean()) < float(low.sel({"method": name}).mean()), name
    copied = results.copied_errors_mean
    assert ((copied >= 0) & (copied <= 1) | (copied.weakness == "noisy")).all()


@pytest.mark.slow
def test_knobs_are_chosen_by_true_labels_where_a_method_sees_any():
    """A weight for true labels of 0 or 100: weak held-out labels want the one, true ones the other."""
    spec = dataclasses.replace(
        ARENA.spec, methods=("naive_ft", "weighted_true"), true_label_share=(0.5,), sample_size=400,
        weakness=("opposed",), weak_accuracy=(0.3,), concept_shift=(0.5,), relaxed=("label_noise",)
    )  # fmt: skip
    method = METHODS["weighted_true"]
    knob = dataclasses.replace(method.knobs["weight"], candidates=(0.0, 100.0))
    penalty = dataclasses.replace(method.knobs["penalty"], candidates=(0.0,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, method.name, dataclasses.replace(method, knobs={"weight": knob, "penalty": penalty}))
        found = arena_replicate(spec, jax.random.key(0), grid_of(spec))
    tuned, tried = found.tuned[0, 0, 1], found.tried[0, 0, -2:]
    assert tried[1] < 0.1 * tried[0] and tuned == tried[1]


# --- The risk sweep -----------------------------------------------------------------------------------------------

SWEEP = SweepSpec(
    weakness=("rotated", "opposed"), weak_accuracy=(0.5,), sample_size=(24, 60), concept_shift=(0.5,), num_icl=(0,),
    methods=("ceiling", "naive_ft", "mixed_ft"), penalties=(0.0,), true_label_share=(0.0, 0.2, 0.5, 1.0), dim=6,
    num_concepts=3, replicates=2,
)  # fmt: skip


def mixed_risks(spec: SweepSpec, count: int) -> dict[str, np.ndarray]:
    """Risks `[r W S N X]` of each method's columns."""
    grid = make_grid(spec)
    run = jax.jit(lambda keys: jax.lax.map(lambda key: simulate(spec, key, grid).fixed_risk, keys))
    found = np.asarray(run(jax.vmap(lambda i: replicate_key(jax.random.key(0), i))(jnp.arange(count))))
    names = [name for name, _ in columns(spec)[0]]
    return {name: found[..., [i for i, other in enumerate(names) if other == name]] for name in spec.methods}


@pytest.mark.slow
def test_least_squares_on_partly_true_labels_has_the_risk_of_theory():
    found = mixed_risks(SWEEP, 4000)
    mixed = found["mixed_ft"]
    np.testing.assert_allclose(mixed[..., :1], found["naive_ft"], rtol=1e-9)
    np.testing.assert_allclose(mixed[..., -1:], np.broadcast_to(found["ceiling"], mixed[..., -1:].shape), rtol=1e-9)
    sizes = {"num_concepts": SWEEP.num_concepts, "dim": SWEEP.dim, "noise_var": SWEEP.noise_var}
    for w, weakness in enumerate(SWEEP.weakness):
        task = w2s.make_task(**sizes, weak_accuracy=0.5, concept_shift=0.5, weakness=weakness)
        for place, n in enumerate(SWEEP.sample_size):
            for x, share in enumerate(SWEEP.true_label_share):
                exact = theory.mixed_labels_risk(task, n, float(np.floor(n * share + 1e-9)))
                assert_mean(mixed[:, w, 0, place, x], float(exact))


@pytest.mark.slow
def test_labels_of_several_concepts_are_mixed_row_by_row():
    """With hardly any contamination the slower path for mixed concepts gives the same."""
    plain, rows = (mixed_risks(dataclasses.replace(SWEEP, contamination=c, draws="data"), 8) for c in (0.0, 1e-12))
    np.testing.assert_allclose(rows["mixed_ft"], plain["mixed_ft"], rtol=1e-9)


def test_no_form_for_few_examples():
    task, risk = make_task(), jax.jit(theory.mixed_labels_risk)
    assert np.isnan(risk(task, DIM + 1.0, 1.0)) and np.isnan(risk(task, 20.0, 21.0))
    assert np.isfinite(risk(task, DIM + 2.0, 1.0))
    np.testing.assert_allclose(risk(task, 20.0, 0.0), theory.least_squares_risk(task, 20), rtol=1e-12)
