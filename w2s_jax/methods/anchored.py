"""Anchored contrast: the strong model's answers, moved by what alignment changed in the weak model.

    sign labels     log odds of a label = log odds of P(phi) + strength (l'_aligned - l'_unaligned)
    linear labels   label = beta_P.phi + strength (y'_aligned - y'_unaligned)

Derived from `contrastive`, which reads the weak pair alone; strong logits moved by the difference of a weak pair are
also proxy tuning (Liu et al., arXiv 2401.08565), there at every answer and without a fit. The filter of contrastive
decoding is left out: by the strong model, of two answers it would keep both, or its own, which is `selective`.

An error that the weak model made before its alignment too cancels. Where its unaligned self weighs its own concepts as
the strong model does, and errs in the target's alone, the student's bias at strength 1 is b_w^2 (1 - alpha_*)^2.
"""

import jax
import jax.numpy as jnp

from w2s_jax.methods.kinds import LINEAR, SIGN, strong_logits
from w2s_jax.methods.method import Cost, Knob, Method, SignForm, View, known
from w2s_jax.methods.signs import log_odds, sign_of


def _fit(view: View, strength):
    source_coef = known(view.source).source_coef
    change = known(view.weak_labels) - known(view.unaligned_labels)
    return LINEAR.learn(view, view.features @ source_coef + strength * change, source_coef)


def _fit_signs(view: View, strength):
    own = log_odds(strong_logits(view), known(view.source).source_prior)
    change = known(view.weak_log_odds) - known(view.unaligned_log_odds)
    labels = sign_of(view.chance.uniform, jax.nn.sigmoid(own + strength * change))
    return SIGN.learn(view, labels, SIGN.source(view))


STRENGTH = Knob(1.0, (0.5, 0.75, 1.0, 1.25), 0.0, jnp.inf, "of the change")
REFERENCE = "derived from Jiang et al., arXiv 2510.07884; proxy tuning is Liu et al., arXiv 2401.08565"
ANCHORED_CONTRASTIVE = Method(
    "anchored_contrastive",
    "The strong model's answers, moved by what alignment changed in the weak model.",
    _fit,
    ("source", "weak_labels", "unaligned_labels"),
    Cost(1, False, 1),
    REFERENCE,
    {"strength": STRENGTH},
    SignForm(
        _fit_signs,
        REFERENCE,
        {"strength": STRENGTH},
        sees=("source", "weak_log_odds", "unaligned_log_odds"),
    ),
    "yes, with the weak model from before its alignment",
)
