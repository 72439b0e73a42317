"""Early stopping: gradient flow on the weak labels from the source, db/dt = -grad (1/n) sum (y' - b.phi)^2."""

import math

from w2s_jax.estimators import gradient_flow
from w2s_jax.methods.method import Cost, Knob, Method, View, known
from w2s_jax.sampling import moments
from w2s_jax.types import Dataset


def _fit(view: View, time):
    data = moments(Dataset(view.features, known(view.weak_labels)))
    return gradient_flow(data, known(view.source).source_coef, time)


EARLY_STOPPING = Method(
    "early_stopping",
    "Gradient flow on the weak labels, stopped at a time.",
    _fit,
    ("source", "weak_labels"),
    Cost(0, False, 1),
    "Burns et al., arXiv 2312.09390 (section on early stopping)",
    {"time": Knob(0.3, (0.03, 0.1, 0.3, 1.0, 3.0), 0.0, math.inf, "stopping time, in units of 1 / feature variance")},
)
