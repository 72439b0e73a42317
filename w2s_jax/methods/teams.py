"""Several weak teachers at once: their mean (ensemble), or for each example the one that fits the student.

ensemble               the mean label of equals. The published ensemble (arXiv 2410.04571, as released in
                       github.com/Aakriti05/weak-to-strong) is another: it is boosted (AdaBoost), its teachers trained
                       one after another on true labels of easy examples. There are no true labels here.
experts_from_source    b_0 = the source; repeat: teacher_i = argmin_t loss(y'_ti, b.phi_i), leave out the `dropped`
                       share of examples with the largest such loss, and fine-tune on the rest

The second is derived from co-supervised learning (`experts`), which starts from a teacher: here the source
assigns the teachers first, which gives most of the gain. The loss is |y' - b.phi| of a number and
log(1 + e^{-y' b.phi}) of a sign. The mean of signs is fitted as what it is: the share of teachers who vote for +1.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.kinds import LINEAR, SIGN, Kind
from w2s_jax.methods.method import PENALTY, SIGN_PENALTY, Cost, Knob, Method, SignForm, View, known

HARD = (
    "experts_from_source has no derivative, since the teacher of an example jumps; use ensemble, or differences of "
    "means over many keys."
)
ROUNDS = 4
"""Rounds of assignment and fine-tuning."""


def _all_labels(view: View) -> Float[Array, "t n"]:
    return jnp.concatenate([known(view.weak_labels)[None], known(view.colleague_labels)])


def _ensemble(kind: Kind, view: View, penalty):
    return kind.learn(view, _all_labels(view).mean(axis=0), kind.source(view), penalty)


def _from_source(kind: Kind, view: View, dropped, penalty):
    labels, source_coef, features = _all_labels(view), kind.source(view), view.features

    def step(_, coef: Array) -> Array:
        away, share = no_gradient(HARD, (kind.loss(labels, (features @ coef)[None]), dropped))
        chosen = jnp.take_along_axis(labels, jnp.argmin(away, axis=0)[None], axis=0)[0]
        least = away.min(axis=0)
        kept = (least <= jnp.quantile(least, 1 - share)).astype(features.dtype)
        return kind.learn(view, chosen, source_coef, penalty, kept / kept.sum())

    return jax.lax.fori_loop(0, ROUNDS, step, source_coef)


DROPPED = Knob(0.2, (0.0, 0.2, 0.4), 0.0, 0.9, "share of the examples that is left out")
SEVERAL = "yes, with several teachers"
ENSEMBLE = Method(
    "ensemble",
    "Fine-tuning on the mean label of several weak teachers, all of equal weight: nothing is boosted.",
    partial(_ensemble, LINEAR),
    ("source", "weak_labels", "colleague_labels"),
    Cost(0, False, 1),
    "derived: arXiv 2410.04571 boosts",
    {"penalty": PENALTY},
    SignForm(partial(_ensemble, SIGN), "derived: arXiv 2410.04571 boosts", {"penalty": SIGN_PENALTY}),
    SEVERAL,
)
EXPERTS_FROM_SOURCE = Method(
    "experts_from_source",
    "Each example from the teacher that fits the student best, beginning with the source.",
    partial(_from_source, LINEAR),
    ("source", "weak_labels", "colleague_labels"),
    Cost(ROUNDS, False, ROUNDS),
    "derived from co-supervised learning, arXiv 2402.15505",
    {"dropped": DROPPED, "penalty": PENALTY},
    SignForm(
        partial(_from_source, SIGN),
        "derived from co-supervised learning, arXiv 2402.15505",
        {"dropped": DROPPED, "penalty": SIGN_PENALTY},
    ),
    SEVERAL,
)
