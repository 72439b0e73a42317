"""Early stopping: descent on the weak labels from the source, for a time.

linear labels   gradient flow, db/dt = -grad (1/n) sum (y' - b.phi)^2, which has a closed form
sign labels     b <- b - (t/N) grad (1/n) sum log(1 + e^{-y' b.phi}), N steps of gradient descent
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.estimators import gradient_flow
from w2s_jax.methods.kinds import SIGN
from w2s_jax.methods.method import Cost, Knob, Method, SignForm, View, known
from w2s_jax.sampling import moments
from w2s_jax.types import Dataset

DESCENT_STEPS = 64
"""A step of t/64 is stable up to t = 512 over the largest eigenvalue of the gram matrix."""


def _fit(view: View, time):
    data = moments(Dataset(view.features, known(view.weak_labels)))
    return gradient_flow(data, known(view.source).source_coef, time)


def descend(view: View, slope: Callable[[Array, Array], Array], time) -> Float[Array, "d"]:
    """Descent from the source by the slope of a loss of signs, given log odds `[n]` and the number of the step."""
    features = view.features

    def step(i: Array, coef: Array) -> Array:
        move = slope(features @ coef, i) @ features / len(features)
        return coef - jnp.asarray(time / DESCENT_STEPS, coef.dtype) * move

    return jax.lax.fori_loop(0, DESCENT_STEPS, step, SIGN.source(view))


def _fit_signs(view: View, time):
    positive = (1 + known(view.weak_labels)) / 2
    return descend(view, lambda logits, _: jax.nn.sigmoid(logits) - positive, time)


SIGN_TIME = Knob(4.0, (0.5, 1.5, 4.0, 12.0, 36.0), 0.0, 100.0, "stopping time, in units of 1 / feature variance")
EARLY_STOPPING = Method(
    "early_stopping",
    "Gradient flow on the weak labels, stopped at a time.",
    _fit,
    ("source", "weak_labels"),
    Cost(0, False, 1),
    "Burns et al., arXiv 2312.09390 (section on early stopping)",
    {"time": Knob(0.3, (0.03, 0.1, 0.3, 1.0, 3.0), 0.0, math.inf, "stopping time, in units of 1 / feature variance")},
    SignForm(
        _fit_signs,
        "Burns et al., arXiv 2312.09390 (section on early stopping)",
        {"time": SIGN_TIME},
        "Gradient descent on the logistic loss of the weak labels, stopped at a time.",
    ),
    "yes",
)
