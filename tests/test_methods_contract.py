"""One contract for every method of the registry, with labels of either kind."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.arena_views import DEFAULTS, DIM, NUM_ICL, NUM_SAMPLES, draw, fit_alike, fit_all, make_task, methods_of
from w2s_jax.methods import LABELS, METHODS, SIGHTS, Cost, Knob, Method, View, confidence, teams
from w2s_jax.types import stack

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")


def other(knob: Knob) -> float:
    """A value that is not the default."""
    return knob.candidates[-1] if len(knob.candidates) > 1 else (knob.default + min(knob.high, knob.default + 1)) / 2


OTHERS = {
    labels: {n: {name: other(k) for name, k in m.knobs.items()} for n, m in methods_of(labels).items()}
    for labels in LABELS
}
CHANCE = {"self_label", "self_refine", "icl_refine", "intent_refine", "contrastive"}
"""Methods with draws of their own, and anchored_contrastive, which draws signs."""
CASES = [(labels, name) for labels in LABELS for name in methods_of(labels)]
KNOBS = [(labels, name, knob) for labels, name in CASES for knob in METHODS[name].on(labels).knobs]
UNSEEN = {
    "linear": {"weak_log_odds", "unaligned_log_odds", "colleague_log_odds"},
    "sign": {"unaligned_labels", "weak_densities"},
}
"""What there is not in a view."""


@pytest.fixture(scope="module")
def task():
    return make_task()


@pytest.fixture(scope="module")
def views(task) -> dict[str, list[View]]:
    return {
        labels: [draw(jax.random.key(i), task, NUM_SAMPLES, NUM_ICL, labels) for i in range(3)] for labels in LABELS
    }


@pytest.fixture(scope="module")
def fits(views) -> dict[str, list[dict]]:
    """The coefficients of every method on every view."""
    return {labels: [fit_alike(labels, view) for view in views[labels]] for labels in LABELS}


@pytest.fixture(scope="module")
def batched(views) -> dict[str, dict]:
    """Those of all views at once."""

    def together(labels):
        views_of_all = dict.fromkeys(methods_of(labels), stack(views[labels]))
        return jax.jit(jax.vmap(partial(fit_all, labels), in_axes=(0, None)))(views_of_all, DEFAULTS[labels])

    return {labels: together(labels) for labels in LABELS}


@pytest.fixture(scope="module")
def with_others(views) -> dict[str, dict]:
    """Those of the first view at other values of the knobs."""
    return {labels: fit_alike(labels, views[labels][0], OTHERS[labels]) for labels in LABELS}


@pytest.fixture(scope="module")
def permuted(views) -> dict[str, dict]:
    """Those of the same examples in another order."""
    order = np.random.default_rng(0).permutation(NUM_SAMPLES)

    def shuffled(view: View) -> View:
        each, whole = ("colleague_labels", "colleague_log_odds"), ("source", "middle_coef")
        fields = {name: jax.tree.map(lambda x: x[:, order], getattr(view, name)) for name in each}
        rest = set(View._fields) - set(whole) - set(each)
        return view._replace(**fields, **{name: jax.tree.map(lambda x: x[order], getattr(view, name)) for name in rest})

    return {labels: fit_alike(labels, shuffled(views[labels][0])) for labels in LABELS}


@pytest.fixture(scope="module")
def poisoned(views) -> dict[str, dict]:
    """Those of views in which all that a method did not ask for is no number."""

    def of(labels):
        others = {name: set(SIGHTS) - set(method.sees) for name, method in methods_of(labels).items()}
        return fit_all(labels, {n: poison(views[labels][0], names) for n, names in others.items()}, DEFAULTS[labels])

    return {labels: of(labels) for labels in LABELS}


def poison(view: View, names) -> View:
    fields = {name: jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), getattr(view, name)) for name in names}
    return view._replace(**fields)


def test_names_are_keys_and_everybody_says_who_they_are():
    assert len(METHODS) >= 22
    for name, method in METHODS.items():
        assert method.name == name and method.labels and set(method.labels) <= set(LABELS)
        assert "linear" not in method.labels or method.on("linear") is method
    for labels, name in CASES:
        method = METHODS[name].on(labels)
        assert method.name == name and method.about.endswith(".") and method.reference
        assert method.in_practice.startswith(("yes", "no: "))
        assert method.sees and set(method.sees) <= set(SIGHTS) and len(set(method.sees)) == len(method.sees)
        assert not set(method.sees) & UNSEEN[labels]
        assert method.reads_target == (name == "ceiling")
    assert len({method.about for method in METHODS.values()}) == len(METHODS)
    assert View._fields == ("features", "chance", *SIGHTS)


@pytest.mark.parametrize(("labels", "name"), CASES)
def test_coefficients_are_finite(fits, with_others, labels, name):
    for coef in (*(found[name] for found in fits[labels]), with_others[labels][name]):
        assert coef.shape == (DIM,) and coef.dtype == jnp.float64
        assert np.isfinite(coef).all()


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "name"), CASES)
def test_jit_equals_eager(views, fits, labels, name):
    found = METHODS[name].on(labels)(views[labels][0])
    np.testing.assert_allclose(found, fits[labels][0][name], rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "name"), [(labels, name) for labels, name in CASES if METHODS[name].knobs])
def test_traced_knobs_are_concrete_ones(views, fits, with_others, labels, name):
    found = METHODS[name].on(labels)(views[labels][0], **OTHERS[labels][name])
    np.testing.assert_allclose(found, with_others[labels][name], rtol=1e-8, atol=1e-10)
    assert np.abs(with_others[labels][name] - fits[labels][0][name]).max() > 1e-6  # they do something


@pytest.mark.parametrize(("labels", "name"), CASES)
def test_vmap_equals_a_loop(fits, batched, labels, name):
    expected = np.stack([found[name] for found in fits[labels]])
    np.testing.assert_allclose(batched[labels][name], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("labels", "name"), CASES)
def test_the_order_of_examples_does_not_matter(fits, permuted, labels, name):
    np.testing.assert_allclose(permuted[labels][name], fits[labels][0][name], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("labels", "name"), CASES)
def test_what_is_not_declared_is_not_seen(fits, poisoned, labels, name):
    np.testing.assert_array_equal(poisoned[labels][name], fits[labels][0][name])


@pytest.mark.parametrize("labels", LABELS)
def test_what_is_declared_is_seen(views, fits, labels):
    """A method that says that it sees a field reads it; an intent that is no number names some concept, though."""
    for place in range(3):
        asked = {name: method.sees[place % len(method.sees)] for name, method in methods_of(labels).items()}
        poisoned = {name: poison(views[labels][0], [sight]) for name, sight in asked.items()}
        found = fit_all(labels, poisoned, DEFAULTS[labels])
        for name, sight in asked.items():
            changed = not np.allclose(found[name], fits[labels][0][name], rtol=1e-6)
            assert changed or (name, sight) == ("intent_refine", "prompts"), (name, sight)


@pytest.mark.parametrize("labels", LABELS)
def test_the_same_key_gives_the_same_bits_and_another_does_not(task, fits, labels):
    again = fit_alike(labels, draw(jax.random.key(0), task, NUM_SAMPLES, NUM_ICL, labels))
    for name, coef in again.items():
        np.testing.assert_array_equal(coef, fits[labels][0][name])
        assert np.array_equal(fits[labels][1][name], fits[labels][0][name]) == (name == "source"), name


@pytest.mark.parametrize("labels", LABELS)
def test_some_methods_have_chance_of_their_own(views, fits, labels):
    changed = fit_alike(labels, views[labels][0]._replace(chance=views[labels][1].chance))
    found = {name for name, coef in changed.items() if not np.array_equal(coef, fits[labels][0][name])}
    assert found == CHANCE | ({"anchored_contrastive"} if labels == "sign" else set())


@pytest.mark.parametrize("labels", LABELS)
def test_nobody_but_the_ceiling_reads_the_target(task, views, fits, labels):
    turned = task._replace(target_prior=jnp.roll(task.target_prior, 1))
    other = draw(jax.random.key(0), turned, NUM_SAMPLES, NUM_ICL, labels)
    np.testing.assert_array_equal(other.weak_labels, views[labels][0].weak_labels)
    changed = fit_alike(labels, other)
    found = {name for name, coef in changed.items() if not np.array_equal(coef, fits[labels][0][name])}
    assert found == {"ceiling"}
    assert np.abs(changed["ceiling"] - fits[labels][0]["ceiling"]).max() > 0.1


# --- kinds of labels, knobs, bad input and cost ---------------------------------------------------------------------


def test_a_method_without_a_kind_of_labels_says_which_it_supports():
    plain = Method("plain", "Nothing.", lambda view: view.features[0], ("source",), Cost(0, False, 0), "nowhere")
    assert plain.labels == ("linear",) and plain.on("linear") is plain
    with pytest.raises(ValueError) as raised:
        plain.on("sign")
    expected = "labels of plain must be among linear, got 'sign'; choose from the list, or another method."
    assert_one_sentence(raised, f"^{re.escape(expected)}$")
    with pytest.raises(ValueError) as raised:
        METHODS["product_loss"].on("linear")
    assert_one_sentence(raised, "^labels of product_loss must be among sign, got 'linear'; choose from the list, or ")


def test_what_a_method_sees_says_whether_a_language_model_could_have_it():
    """None that weighs listed concepts, and none that reads true labels."""
    never = {"ceiling", "hull", "reverse_kl", "em_prior"}
    realistic = {labels: {n for n, m in methods_of(labels).items() if m.in_practice[:3] == "yes"} for labels in LABELS}
    assert set(methods_of("sign")) - realistic["sign"] == never
    assert set(methods_of("linear")) - realistic["linear"] == never | {"aux_confidence", "experts", "selective"}


@pytest.mark.parametrize(("labels", "name", "knob"), KNOBS)
def test_defaults_and_candidates_are_in_range(labels, name, knob):
    it = METHODS[name].on(labels).knobs[knob]
    assert it.low <= it.default <= it.high and it.about
    assert all(it.low <= value <= it.high for value in it.candidates)
    assert len(set(it.candidates)) == len(it.candidates) >= 1
    assert len(it.candidates) > 1 or it.candidates == (it.default,)
    assert OTHERS[labels][name][knob] != it.default


@pytest.mark.parametrize(("labels", "name"), CASES)
def test_candidates_are_all_combinations(labels, name):
    method = METHODS[name].on(labels)
    found = method.candidates()
    assert len(found) == np.prod([len(knob.candidates) for knob in method.knobs.values()], dtype=int)
    assert len({tuple(values.items()) for values in found}) == len(found)
    assert all(list(values) == list(method.knobs) for values in found)


def assert_one_sentence(raised, message: str) -> None:
    text = str(raised.value)
    assert re.search(message, text), text
    assert text.endswith(".") and "\n" not in text and not re.search(r"[.!?] [A-Z]", text), text


@pytest.mark.parametrize(("labels", "name", "knob"), KNOBS)
def test_knobs_out_of_range_are_refused(views, labels, name, knob):
    method = METHODS[name].on(labels)
    it = method.knobs[knob]
    for value in (it.low - 1, it.high + 1, float("nan")):
        if it.low <= value <= it.high:
            continue  # there is no value above infinity
        with pytest.raises(ValueError) as raised:
            method(views[labels][0], **{knob: value})
        message = f"{knob} of {name} must be in [{it.low:g}, {it.high:g}], got {value:g}."
        assert_one_sentence(raised, f"^{re.escape(message)}$")


@pytest.mark.parametrize(("labels", "name"), CASES)
def test_unknown_knobs_are_refused(views, labels, name):
    method = METHODS[name].on(labels)
    with pytest.raises(ValueError) as raised:
        method(views[labels][0], wrong=1.0)
    only = ", ".join(method.knobs) or "none"
    assert_one_sentence(raised, f"^{name} has no knob 'wrong', only {only}; leave it out.$")


@pytest.mark.parametrize(("labels", "name"), CASES)
def test_views_without_what_is_needed_are_refused(views, labels, name):
    method, view = METHODS[name].on(labels), views[labels][0]
    sees = method.sees
    for sight in sees:
        with pytest.raises(ValueError) as raised:
            method(view._replace(**{sight: None}))
        rest = f"which this setting does not offer; it supports settings with {', '.join(sees)}."
        assert_one_sentence(raised, f"^{name} must see {sight}, {rest}$")
    with pytest.raises(ValueError, match=f"^{name} must see {', '.join(sees)}, which"):
        method(view._replace(**dict.fromkeys(SIGHTS)))


def test_costs_by_hand():
    for labels in LABELS:
        reads = {name: method.cost.reads for name, method in methods_of(labels).items()}
        assert reads["source"](8) == 0
        assert reads["naive_ft"](8) == 3  # forward and back
        assert reads["icl_refine"](8) == (8 + 1) + 3  # a prompt and a question, then a fit
        assert reads["icl_refine"](0) == reads["self_refine"](8) == 1 + 3
        assert reads["bootstrapping"](8) == 2 + 3 * 3  # two models label, three are trained
        assert reads["experts"](8) == 1 + 2 * 3  # two students, the first of which chooses
        assert reads["experts_from_source"](8) == teams.ROUNDS * (1 + 3)
        assert reads["contrastive"](8) == 3  # it is the weak model that answers
    assert METHODS["aux_confidence"].cost.reads(8) == confidence.ROUNDS * (1 + 3)
    assert METHODS["aux_confidence"].on("sign").cost.reads(8) == 3  # one fit, whose labels move
