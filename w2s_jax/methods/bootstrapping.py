"""Bootstrapping: each of several models between weak and strong learns from the one before.

    b_0 = the teacher,  b_j = ridge to beta_j on the labels of b_{j-1},  and last the strong model

beta_j is what a model of size j was pre-trained to. Every step moves along the segment from its labels to its source.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from w2s_jax.methods.method import PENALTY, Cost, Method, View, fine_tune, known

SIZES = 2
"""Models between weak and strong."""


def _fit(view: View, penalty):
    sources = jnp.concatenate([known(view.middle_coef), known(view.source).source_coef[None]])

    def step(labels: Array, source_coef: Array):
        coef = fine_tune(view, labels, source_coef, penalty)
        return view.features @ coef, coef

    return jax.lax.scan(step, known(view.weak_labels), sources)[1][-1]


BOOTSTRAPPING = Method(
    "bootstrapping",
    "Fine-tuning passes through models of growing size.",
    _fit,
    ("source", "weak_labels", "middle_coef"),
    Cost(SIZES, False, SIZES + 1),
    "Burns et al., arXiv 2312.09390; linear version derived",
    {"penalty": PENALTY},
)
