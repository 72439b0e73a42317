"""What the tests of methods share: a small task, views of it, and one program that runs every method."""

from functools import partial

import jax
import numpy as np

import w2s_jax as w2s
from w2s_jax.methods import LABELS, METHODS, Labels, Method, View, draw_view
from w2s_jax.tasks import Weakness
from w2s_jax.types import Task, stack

NUM_CONCEPTS, DIM, NUM_SAMPLES, NUM_ICL, TRUE_SHARE = 3, 6, 40, 4, 0.4
LANES = 2

draw = jax.jit(partial(draw_view, true_label_share=TRUE_SHARE), static_argnums=(2, 3, 4))


def methods_of(labels: Labels) -> dict[str, Method]:
    """Every method that supports labels of a kind."""
    return {name: method.on(labels) for name, method in METHODS.items() if labels in method.labels}


DEFAULTS = {labels: {n: m.defaults() for n, m in methods_of(labels).items()} for labels in LABELS}


@partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
def fit_all(labels: Labels, views: dict[str, View], knobs: dict[str, dict]) -> dict:
    """The one program of all tests, with traced knobs: it computes next to nothing, and compiles in half the time."""

    def one(views):
        return {name: method(views[name], **knobs[name]) for name, method in methods_of(labels).items()}

    return jax.vmap(one)(views)


def fit_each(labels: Labels, views: dict[str, View], knobs=None) -> dict:
    """Every method on views of its own, a batch of `LANES`: its coefficients `[LANES d]`."""
    return fit_all(labels, views, DEFAULTS[labels] if knobs is None else knobs)


def fit_alike(labels: Labels, views: list[View], knobs=None) -> dict:
    """Every method on the same views."""
    return fit_each(labels, dict.fromkeys(methods_of(labels), stack(views)), knobs)


def run(labels: Labels, name: str, view: View, **knobs: float):
    """One method's coefficients, by the program of all of them."""
    own = {**DEFAULTS[labels], name: {**DEFAULTS[labels][name], **knobs}}
    return fit_alike(labels, [view] * LANES, own)[name][0]


def of_examples(view: View, places) -> View:
    """The view of some of its examples, by NumPy: of every array the axis that is as long as there are examples."""
    count = len(view.features)

    def taken(values):
        values = np.asarray(values)
        return values.take(places, axis=values.shape.index(count)) if count in values.shape else values

    return jax.tree.map(taken, view)


def make_task(weakness: Weakness = "rotated", noise_var=0.25) -> Task:
    """A task in which nothing is axis-aligned."""
    return w2s.random_task(
        jax.random.key(7),
        num_concepts=NUM_CONCEPTS,
        dim=DIM,
        weak_accuracy=0.6,
        concept_shift=0.5,
        noise_var=noise_var,
        weakness=weakness,
    )
