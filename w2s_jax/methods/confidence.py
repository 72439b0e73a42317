"""The auxiliary confidence loss: the student trusts its own hardened answers in part.

    sign labels     (1 - c) CE(b.phi, y') + c CE(b.phi, hard_b(phi)),   hard_b(phi) = sign(b.phi - t)
    linear labels   (1 - c) (y' - b.phi)^2 + c (hard_b(phi) - b.phi)^2

The first is as published: CE is log(1 + e^{-y b.phi}), the threshold t is where as many answers are hardened to +1 as
there are weak labels +1, and c rises from 0 while the student trains. Hard answers are taken anew before each of its
Newton steps.

A regression has no classes to harden to. What a student of this theory can be sure of is which concept it follows, so
hard_b(phi) is the answer of the concept that is nearest to its own answer at phi: beta_k.phi with
k = argmin |beta_k.phi - b.phi|. Derived: the linear counterpart of Burns et al., whose students classify. Without
hardening the second term would vanish and only slow the fit down.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.kinds import LINEAR, SIGN
from w2s_jax.methods.logistic import NEWTON_STEPS, newton_step
from w2s_jax.methods.method import PENALTY, SIGN_PENALTY, Cost, Knob, Method, SignForm, View, known, strong_answers
from w2s_jax.types import Dataset

HARD = (
    "aux_confidence has no derivative, since its hardened answers jump; use naive_ft, or differences of means over "
    "many keys."
)
ROUNDS = 8
"""Fits, each with the answers of the one before; the weight c rises over the first half, as published."""


def _fit(view: View, weight, penalty):
    source_coef, answers, weak = known(view.source).source_coef, strong_answers(view), known(view.weak_labels)

    def step(coef: Array, i: Array):
        own = view.features @ coef
        nearest = jnp.argmin(jnp.abs(no_gradient(HARD, answers - own[None])), axis=0)
        hard = jnp.take_along_axis(answers, nearest[None], axis=0)[0]
        share = weight * jnp.minimum(1.0, i / (ROUNDS // 2))
        return LINEAR.learn(view, (1 - share) * weak + share * hard, source_coef, penalty), None

    return jax.lax.scan(step, source_coef, jnp.arange(ROUNDS))[0]


def _fit_signs(view: View, weight, penalty):
    features, weak, source_coef = view.features, known(view.weak_labels), SIGN.source(view)
    positive, shares = (1 + weak).mean() / 2, jnp.full_like(weak, 1 / len(weak))

    def step(coef: Array, i: Array):
        own = features @ coef
        sure, share_positive = no_gradient(HARD, (own, positive))
        hard = jnp.where(sure > jnp.quantile(sure, 1 - share_positive), 1.0, -1.0)
        share = weight * jnp.minimum(1.0, i / (NEWTON_STEPS // 2))
        # Cross entropy is linear in the label: that of a mean label is the mean of both.
        labels = (1 - share) * weak + share * hard
        return newton_step(coef, Dataset(features, labels), source_coef, penalty, shares), None

    return jax.lax.scan(step, source_coef, jnp.arange(NEWTON_STEPS))[0]


SHARE = Knob(0.5, (0.25, 0.5, 0.75), 0.0, 1.0, "of its own answers")
AUX_CONFIDENCE = Method(
    "aux_confidence",
    "Weak labels mixed with the student's own answers, hardened to the nearest concept.",
    _fit,
    ("source", "weak_labels"),
    Cost(ROUNDS, False, ROUNDS),
    "Burns et al., arXiv 2312.09390; linear version derived",
    {"weight": SHARE, "penalty": PENALTY},
    SignForm(
        _fit_signs,
        "Burns et al., arXiv 2312.09390",
        {"weight": SHARE, "penalty": SIGN_PENALTY},
        "Weak labels mixed with the student's own answers, hardened to signs as balanced as the weak labels.",
        cost=Cost(0, False, 1),
    ),
)
