"""Contrastive weak-to-strong: what alignment changed in the weak model is added to the strong one.

    sign labels     log odds of a label = log odds of P(phi) + strength (l'_aligned - l'_unaligned)
    linear labels   label = beta_P.phi + strength (y'_aligned - y'_unaligned)

The first is as published, l' the log odds that the weak model gives to +1: a label is drawn from them. The filter of
contrastive decoding, which keeps the answers that the strong model gives at least some share of its likeliest one's
probability, is left out: of two answers it would keep both, or the strong model's own, which is `selective`.

The second is derived from the same model. An error that the weak model made before its alignment too cancels. Where
its unaligned self weighs its own concepts as the strong model does, and errs in the target's alone, the student's bias
at strength 1 is b_w^2 (1 - alpha_*)^2.
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
CONTRASTIVE = Method(
    "contrastive",
    "The strong model's answers, moved by what alignment changed in the weak model.",
    _fit,
    ("source", "weak_labels", "unaligned_labels"),
    Cost(1, False, 1),
    "Jiang et al., arXiv 2510.07884; linear version derived",
    {"strength": STRENGTH},
    SignForm(
        _fit_signs,
        "Jiang et al., arXiv 2510.07884",
        {"strength": STRENGTH},
        sees=("source", "weak_log_odds", "unaligned_log_odds"),
    ),
)
