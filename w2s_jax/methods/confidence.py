"""The auxiliary confidence loss: the student trusts its own hardened answers in part.

    loss = (1 - c) (y' - b.phi)^2 + c (hard_b(phi) - b.phi)^2

A regression has no classes to harden to. What a student of this theory can be sure of is which concept it follows, so
hard_b(phi) is the answer of the concept that is nearest to its own answer at phi: beta_k.phi with
k = argmin |beta_k.phi - b.phi|. Derived: the linear counterpart of Burns et al., whose students classify. Without
hardening the second term would vanish and only slow the fit down.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from w2s_jax.methods.method import PENALTY, Cost, Knob, Method, View, fine_tune, known, strong_answers

ROUNDS = 8
"""Fits, each with the answers of the one before; the weight c rises over the first half, as published."""


def _fit(view: View, weight, penalty):
    source_coef, answers, weak = known(view.source).source_coef, strong_answers(view), known(view.weak_labels)

    def step(coef: Array, i: Array):
        own = view.features @ coef
        nearest = jnp.argmin(jnp.abs(answers - own[None]), axis=0)
        hard = jnp.take_along_axis(answers, nearest[None], axis=0)[0]
        share = weight * jnp.minimum(1.0, i / (ROUNDS // 2))
        return fine_tune(view, (1 - share) * weak + share * hard, source_coef, penalty), None

    return jax.lax.scan(step, source_coef, jnp.arange(ROUNDS))[0]


AUX_CONFIDENCE = Method(
    "aux_confidence",
    "Weak labels mixed with the student's own answers, hardened to the nearest concept.",
    _fit,
    ("source", "weak_labels"),
    Cost(ROUNDS, False, ROUNDS),
    "Burns et al., arXiv 2312.09390; linear version derived",
    {
        "weight": Knob(0.5, (0.25, 0.5, 0.75), 0.0, 1.0, "of its own answers"),
        "penalty": PENALTY,
    },
)
