"""The auxiliary confidence loss: the student trusts its own hardened answers in part.

    sign labels     (1 - c) CE(b.phi, y') + c CE(b.phi, hard_b(phi)),   hard_b(phi) = sign(b.phi - t)
    linear labels   (1 - c) (y' - b.phi)^2 + c (hard_b(phi) - b.phi)^2

The first is as published: CE is log(1 + e^{-y b.phi}), and the threshold t is where as many answers are hardened to +1
as there are weak labels +1. The released programs (github.com/openai/weak-to-strong, weak_to_strong/loss.py,
`logconf_loss_fn`; github.com/EleutherAI/w2s, w2s/loss.py, `log_confidence_loss`) learn the teacher's probabilities:
`soft` mixes these into the drawn labels. Hard answers are recomputed before each of its Newton steps, which are ours.

c rises linearly over the first tenth of the steps and stays. The tenth is openai's, whose c goes up to a tenth of its
weight there and then jumps to all of it; their pull request 33 mends that as it is here, with the paper's words.
EleutherAI's c rises over 100 steps.

A regression has no classes to harden to. What a student of this theory can be sure of is which concept it follows, so
hard_b(phi) is the answer of the concept that is nearest to its own answer at phi: beta_k.phi with
k = argmin |beta_k.phi - b.phi|. Derived: the linear counterpart of Burns et al., whose students classify. Without
hardening the second term would vanish and only slow the fit down.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.kinds import LINEAR, SIGN
from w2s_jax.methods.logistic import NEWTON_STEPS, newton_step
from w2s_jax.methods.method import PENALTY, SIGN_PENALTY, Cost, Knob, Method, SignForm, View, known, strong_answers
from w2s_jax.methods.signs import soft_sign
from w2s_jax.types import Dataset, Scalar

HARD = (
    "aux_confidence has no derivative, since its hardened answers jump; use naive_ft, or differences of means over "
    "many keys."
)
ROUNDS = 8
"""Fits of numbers, each with the answers of the one before."""
WARM_UP = 0.1
"""Share of the steps over which the weight of the student's own answers rises."""


def warmed_up(step: Scalar, num_steps: int) -> Scalar:
    """The share of its weight that c has at a step, from 0 on.

    >>> [float(warmed_up(step, 40)) for step in (0, 1, 4, 39)]
    [0.0, 0.25, 1.0, 1.0]
    """
    return jnp.minimum(1.0, step / (WARM_UP * num_steps))


def weak_labels(view: View, soft: Scalar) -> Float[Array, "n"]:
    """Weak signs: drawn, where `soft` is 0; expected, 2P - 1 by the teacher, where it is 1."""
    return (1 - soft) * known(view.weak_labels) + soft * soft_sign(known(view.weak_log_odds))


def with_own(own: Float[Array, "n"], weak: Float[Array, "n"], share: Scalar) -> Float[Array, "n"]:
    """Labels whose cross entropy is the loss: cross entropy is linear in the label, that of a mean label is the mean.

    Args:
        own: log odds of +1 by the student.
        weak: expected weak signs, in [-1, 1].
        share: c, in [0, 1].

    Returns:
        (1 - c) weak + c hard, in [-1, 1].

    >>> with_own(jnp.array([2.0, 1.0, -1.0, 0.5]), jnp.array([1.0, -1.0, -1.0, 1.0]), 0.5).tolist()
    [1.0, 0.0, -1.0, 0.0]
    """
    sure, positive = no_gradient(HARD, (own, (1 + weak).mean() / 2))
    hard = jnp.where(sure > jnp.quantile(sure, 1 - positive), 1.0, -1.0)
    return (1 - share) * weak + share * hard


def _fit(view: View, weight, penalty):
    source_coef, answers, weak = known(view.source).source_coef, strong_answers(view), known(view.weak_labels)

    def step(coef: Array, i: Array):
        own = view.features @ coef
        nearest = jnp.argmin(jnp.abs(no_gradient(HARD, answers - own[None])), axis=0)
        hard = jnp.take_along_axis(answers, nearest[None], axis=0)[0]
        share = weight * warmed_up(i, ROUNDS)
        return LINEAR.learn(view, (1 - share) * weak + share * hard, source_coef, penalty), None

    return jax.lax.scan(step, source_coef, jnp.arange(ROUNDS))[0]


def _fit_signs(view: View, weight, soft, penalty):
    features, weak, source_coef = view.features, weak_labels(view, soft), SIGN.source(view)
    shares = jnp.full_like(weak, 1 / len(weak))

    def step(coef: Array, i: Array):
        labels = with_own(features @ coef, weak, weight * warmed_up(i, NEWTON_STEPS))
        return newton_step(coef, Dataset(features, labels), source_coef, penalty, shares), None

    return jax.lax.scan(step, source_coef, jnp.arange(NEWTON_STEPS))[0]


SHARE = Knob(0.5, (0.25, 0.5, 0.75), 0.0, 1.0, "of its own answers")
SOFT = Knob(0.0, (0.0,), 0.0, 1.0, "of the teacher's probabilities in a weak label; 0: drawn signs, 1: as released")
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
        {"weight": SHARE, "soft": SOFT, "penalty": SIGN_PENALTY},
        "Weak labels mixed with the student's own answers, hardened to signs as balanced as the weak labels.",
        ("source", "weak_labels", "weak_log_odds"),
        Cost(0, False, 1),
        "yes",
    ),
    "no: it hardens to the nearest of the listed concepts",
)
