"""Bootstrapping: each of several models between weak and strong learns from the one before.

    b_0 = the teacher,  b_j = pulled to beta_j on the expected labels of b_{j-1},  and last the strong model

beta_j is what a model of size j was pre-trained to. With linear labels every step moves along the segment from its
labels to its source. A model of signs hands on its probabilities, as 2 sigmoid(b.phi) - 1.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from w2s_jax.methods.kinds import LINEAR, SIGN, Kind
from w2s_jax.methods.method import PENALTY, SIGN_PENALTY, Cost, Method, SignForm, View, known

SIZES = 2
"""Models between weak and strong."""


def _fit(kind: Kind, view: View, penalty):
    sources = jnp.concatenate([known(view.middle_coef), kind.source(view)[None]])

    def step(labels: Array, source_coef: Array):
        coef = kind.learn(view, labels, source_coef, penalty)
        return kind.expect(view.features @ coef), coef

    return jax.lax.scan(step, known(view.weak_labels), sources)[1][-1]


BOOTSTRAPPING = Method(
    "bootstrapping",
    "Fine-tuning passes through models of growing size.",
    partial(_fit, LINEAR),
    ("source", "weak_labels", "middle_coef"),
    Cost(SIZES, False, SIZES + 1),
    "Burns et al., arXiv 2312.09390; linear version derived",
    {"penalty": PENALTY},
    SignForm(partial(_fit, SIGN), "Burns et al., arXiv 2312.09390", {"penalty": SIGN_PENALTY}),
    "yes, with pre-trained models of sizes between",
)
