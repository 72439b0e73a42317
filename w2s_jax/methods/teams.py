"""Several weak teachers at once: their mean (ensemble), or for each example the one that fits the student (experts).

experts: b_0 = beta_P; repeat: teacher_i = argmin_t |y'_ti - b.phi_i|, leave out the `dropped` share of examples with
         the largest such difference, and fine-tune on the rest
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.estimators import ridge_to_source
from w2s_jax.methods.method import PENALTY, Cost, Knob, Method, View, fine_tune, known
from w2s_jax.types import Moments

ROUNDS = 4
"""Of assignment and fine-tuning."""


def _all_labels(view: View) -> Float[Array, "t n"]:
    return jnp.concatenate([known(view.weak_labels)[None], known(view.colleague_labels)])


def _ensemble(view: View, penalty):
    return fine_tune(view, _all_labels(view).mean(axis=0), known(view.source).source_coef, penalty)


def _experts(view: View, dropped, penalty):
    labels, source_coef, features = _all_labels(view), known(view.source).source_coef, view.features

    def step(_, coef: Array) -> Array:
        away = jnp.abs(labels - (features @ coef)[None])
        chosen = jnp.take_along_axis(labels, jnp.argmin(away, axis=0)[None], axis=0)[0]
        least = away.min(axis=0)
        kept = (least <= jnp.quantile(least, 1 - dropped)).astype(features.dtype)
        share = kept / kept.sum()
        data = Moments(features.T @ (share[:, None] * features), (share * chosen) @ features, kept.sum())
        return ridge_to_source(data, source_coef, penalty)

    return jax.lax.fori_loop(0, ROUNDS, step, source_coef)


ENSEMBLE = Method(
    "ensemble",
    "Fine-tuning on the mean label of several weak teachers.",
    _ensemble,
    ("source", "weak_labels", "colleague_labels"),
    Cost(0, False, 1),
    "arXiv 2410.04571; linear version derived",
    {"penalty": PENALTY},
)
EXPERTS = Method(
    "experts",
    "Each example learned from the teacher whose label fits the student best, the worst fits left out.",
    _experts,
    ("source", "weak_labels", "colleague_labels"),
    Cost(ROUNDS, False, ROUNDS),
    "co-supervised learning, arXiv 2402.15505; linear version derived",
    {
        "dropped": Knob(0.2, (0.0, 0.2, 0.4), 0.0, 0.9, "share of the examples that is left out"),
        "penalty": PENALTY,
    },
)
