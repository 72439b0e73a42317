"""One contract for every method of the registry, with labels of either kind.

Coefficients come from one program that runs all methods on two views side by side.
"""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import arena_views
from tests.arena_views import DIM, LANES, NUM_ICL, NUM_SAMPLES, draw, fit_alike, fit_each, make_task, methods_of
from w2s_jax.methods import LABELS, METHODS, SIGHTS, Cost, Knob, Labels, Method, View, confidence, teams
from w2s_jax.types import Task, stack

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
UNSEEN = {
    "linear": {"weak_log_odds", "unaligned_log_odds", "colleague_log_odds", "weak_concept_log_odds"},
    "sign": {"unaligned_labels", "weak_densities"},
}
"""What there is not in a view."""


class Fitted(NamedTuple):
    """Two views with labels of a kind, and every method's coefficients on them: by default, and at other knobs."""

    labels: Labels
    task: Task
    views: list[View]
    coefs: dict
    at_others: dict

    def changed(self, view: View) -> set[str]:
        """Methods to which a change of the first view makes a difference."""
        found = fit_alike(self.labels, [view] * LANES)
        return {name for name, coef in found.items() if not np.array_equal(coef[0], self.coefs[name][0])}


@pytest.fixture(scope="module", params=LABELS)
def fitted(request) -> Fitted:
    labels, task = request.param, make_task()
    views = [draw(jax.random.key(i), task, NUM_SAMPLES, NUM_ICL, labels) for i in range(LANES)]
    return Fitted(labels, task, views, fit_alike(labels, views), fit_alike(labels, views, OTHERS[labels]))


def poison(view: View, names) -> View:
    """The view with these fields no numbers."""
    nans = {name: jax.tree.map(lambda x: np.full(x.shape, np.nan, x.dtype), getattr(view, name)) for name in names}
    return view._replace(**nans)


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


def test_coefficients_are_finite_and_move_with_the_examples_and_the_knobs(fitted):
    for name, method in methods_of(fitted.labels).items():
        for coef in (fitted.coefs[name], fitted.at_others[name]):
            assert coef.shape == (LANES, DIM) and coef.dtype == jnp.float64 and np.isfinite(coef).all(), name
        assert np.array_equal(*fitted.coefs[name]) == (name == "source"), name
        if method.knobs:
            assert np.abs(fitted.at_others[name] - fitted.coefs[name])[0].max() > 1e-6, name


def test_neighbours_in_a_batch_do_not_matter(fitted):
    twice = [fit_alike(fitted.labels, [view] * LANES) for view in fitted.views]
    for name, coefs in fitted.coefs.items():
        same = np.stack([found[name][0] for found in twice])
        np.testing.assert_allclose(coefs, same, rtol=1e-8, atol=1e-10, err_msg=name)


def test_the_order_of_examples_does_not_matter(fitted):
    shuffled = arena_views.of_examples(fitted.views[0], np.random.default_rng(0).permutation(NUM_SAMPLES))
    found = fit_alike(fitted.labels, [shuffled] * LANES)
    for name, coef in found.items():
        np.testing.assert_allclose(coef[0], fitted.coefs[name][0], rtol=1e-8, atol=1e-10, err_msg=name)


def test_what_is_not_declared_is_not_seen(fitted):
    """In views in which all that a method did not ask for is no number."""
    views = {
        name: stack([poison(view, set(SIGHTS) - set(method.sees)) for view in fitted.views])
        for name, method in methods_of(fitted.labels).items()
    }
    for name, coef in fit_each(fitted.labels, views).items():
        np.testing.assert_array_equal(coef, fitted.coefs[name], err_msg=name)


def test_what_is_declared_is_seen(fitted):
    """A method that says that it sees a field reads it; an intent that is no number names some concept, though."""
    methods, view = methods_of(fitted.labels), fitted.views[0]
    for place in range(3):
        asked = {name: method.sees[place % len(method.sees)] for name, method in methods.items()}
        poisoned = {name: stack([poison(view, [sight])] * LANES) for name, sight in asked.items()}
        found = fit_each(fitted.labels, poisoned)
        for name, sight in asked.items():
            changed = not np.allclose(found[name][0], fitted.coefs[name][0], rtol=1e-6)
            assert changed or (name, sight) == ("intent_refine", "prompts"), (name, sight)


def test_some_methods_have_chance_of_their_own(fitted):
    first, second = fitted.views
    expected = CHANCE | ({"anchored_contrastive"} if fitted.labels == "sign" else set())
    assert fitted.changed(first._replace(chance=second.chance)) == expected


def test_the_target_moves_those_alone_who_say_that_they_read_it(fitted):
    turned = fitted.task._replace(target_prior=jnp.roll(fitted.task.target_prior, 1))
    view = draw(jax.random.key(0), turned, NUM_SAMPLES, NUM_ICL, fitted.labels)
    np.testing.assert_array_equal(view.weak_labels, fitted.views[0].weak_labels)
    reads = {"true_labels", "few_true_labels"}
    assert fitted.changed(view) == {n for n, m in methods_of(fitted.labels).items() if reads & set(m.sees)}


# --- kinds of labels, knobs, bad input and cost ---------------------------------------------------------------------


def test_a_method_without_a_kind_of_labels_says_which_it_supports():
    plain = Method("plain", "Nothing.", lambda view: view.features[0], ("source",), Cost(0, False, 0), "nowhere")
    assert plain.labels == ("linear",) and plain.on("linear") is plain
    for method, asked, known in ((plain, "sign", "linear"), (METHODS["product_loss"], "linear", "sign")):
        message = f"labels of {method.name} must be among {known}, got '{asked}'; choose from the list, or another"
        with pytest.raises(ValueError, match=rf"^{message} method\.$"):
            method.on(asked)


def test_what_a_method_sees_says_whether_a_language_model_could_have_it():
    """None that weighs listed concepts, and none that reads true labels."""
    never = {"ceiling", "hull", "reverse_kl", "em_prior"}
    realistic = {labels: {n for n, m in methods_of(labels).items() if m.in_practice[:3] == "yes"} for labels in LABELS}
    assert set(methods_of("sign")) - realistic["sign"] == never
    assert set(methods_of("linear")) - realistic["linear"] == never | {"aux_confidence", "experts", "selective"}


@pytest.mark.parametrize("labels", LABELS)
def test_defaults_and_candidates_are_in_range(labels):
    for name, method in methods_of(labels).items():
        for it in method.knobs.values():
            assert it.low <= it.default <= it.high and it.about, name
            assert all(it.low <= value <= it.high for value in it.candidates), name
            assert len(set(it.candidates)) == len(it.candidates) >= 1, name
            assert len(it.candidates) > 1 or it.candidates == (it.default,), name
        found = method.candidates()
        assert len(found) == np.prod([len(knob.candidates) for knob in method.knobs.values()], dtype=int)
        assert len({tuple(values.items()) for values in found}) == len(found), name
        assert all(list(values) == list(method.knobs) for values in found), name


def test_bad_knobs_and_views_without_what_is_needed_are_refused(fitted):
    view = fitted.views[0]

    def refused(method: Method, message: str, view=view, **knobs: float) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            method(view, **knobs)

    for name, method in methods_of(fitted.labels).items():
        for knob, it in method.knobs.items():
            for value in (it.low - 1, it.high + 1, float("nan")):
                if not it.low <= value <= it.high:  # there is no value above infinity
                    message = f"{knob} of {name} must be in [{it.low:g}, {it.high:g}], got {value:g}."
                    refused(method, message, **{knob: value})
        only = ", ".join(method.knobs) or "none"
        refused(method, f"{name} has no knob 'wrong', only {only}; leave it out.", wrong=1.0)
        sees = ", ".join(method.sees)
        for missing in (*([sight] for sight in method.sees), method.sees):
            message = f"{name} must see {', '.join(missing)}, which this setting does not offer; it supports settings"
            refused(method, f"{message} with {sees}.", view._replace(**dict.fromkeys(missing)))


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
    assert Cost(2, True, 1).reads(8) == 2 * (8 + 1) + 3
    assert METHODS["aux_confidence"].cost.reads(8) == confidence.ROUNDS * (1 + 3)
    assert METHODS["aux_confidence"].on("sign").cost.reads(8) == 3  # one fit, whose labels move
