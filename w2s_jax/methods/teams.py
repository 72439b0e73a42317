"""Several weak teachers at once: their mean (ensemble), or for each example the one that fits the student (experts).

experts: b_0 = the source; repeat: teacher_i = argmin_t loss(y'_ti, b.phi_i), leave out the `dropped` share of examples
         with the largest such loss, and fine-tune on the rest

The loss is |y' - b.phi| of a number and log(1 + e^{-y' b.phi}) of a sign. The mean of signs is fitted as what it is:
the share of teachers who vote for +1.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.kinds import LINEAR, SIGN, Kind
from w2s_jax.methods.method import PENALTY, SIGN_PENALTY, Cost, Knob, Method, SignForm, View, known

HARD = (
    "experts has no derivative, since the teacher of an example jumps; use ensemble, or differences of means over many "
    "keys."
)
ROUNDS = 4
"""Of assignment and fine-tuning."""


def _all_labels(view: View) -> Float[Array, "t n"]:
    return jnp.concatenate([known(view.weak_labels)[None], known(view.colleague_labels)])


def _ensemble(kind: Kind, view: View, penalty):
    return kind.learn(view, _all_labels(view).mean(axis=0), kind.source(view), penalty)


def _experts(kind: Kind, view: View, dropped, penalty):
    labels, source_coef, features = _all_labels(view), kind.source(view), view.features

    def step(_, coef: Array) -> Array:
        away, share = no_gradient(HARD, (kind.loss(labels, (features @ coef)[None]), dropped))
        chosen = jnp.take_along_axis(labels, jnp.argmin(away, axis=0)[None], axis=0)[0]
        least = away.min(axis=0)
        kept = (least <= jnp.quantile(least, 1 - share)).astype(features.dtype)
        return kind.learn(view, chosen, source_coef, penalty, kept / kept.sum())

    return jax.lax.fori_loop(0, ROUNDS, step, source_coef)


DROPPED = Knob(0.2, (0.0, 0.2, 0.4), 0.0, 0.9, "share of the examples that is left out")
ENSEMBLE = Method(
    "ensemble",
    "Fine-tuning on the mean label of several weak teachers.",
    partial(_ensemble, LINEAR),
    ("source", "weak_labels", "colleague_labels"),
    Cost(0, False, 1),
    "arXiv 2410.04571; linear version derived",
    {"penalty": PENALTY},
    SignForm(partial(_ensemble, SIGN), "arXiv 2410.04571; as a mean vote derived", {"penalty": SIGN_PENALTY}),
)
EXPERTS = Method(
    "experts",
    "Each example learned from the teacher whose label fits the student best, the worst fits left out.",
    partial(_experts, LINEAR),
    ("source", "weak_labels", "colleague_labels"),
    Cost(ROUNDS, False, ROUNDS),
    "co-supervised learning, arXiv 2402.15505; linear version derived",
    {"dropped": DROPPED, "penalty": PENALTY},
    SignForm(
        partial(_experts, SIGN),
        "co-supervised learning, arXiv 2402.15505; version for signs derived",
        {"dropped": DROPPED, "penalty": SIGN_PENALTY},
    ),
)
