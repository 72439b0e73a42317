"""Contrastive weak-to-strong: what alignment changed in the weak model is added to the strong one.

    label = beta_P.phi + strength (y'_aligned - y'_unaligned)

An error that the weak model made before its alignment too cancels. Where its unaligned self weighs its own concepts as
the strong model does, and errs in the target's alone, the student's bias at strength 1 is b_w^2 (1 - alpha_*)^2.
Derived from the stated model: Jiang et al. take log probabilities for labels, as in contrastive decoding.
"""

import jax.numpy as jnp

from w2s_jax.methods.method import Cost, Knob, Method, View, fine_tune, known


def _fit(view: View, strength):
    source_coef = known(view.source).source_coef
    change = known(view.weak_labels) - known(view.unaligned_labels)
    return fine_tune(view, view.features @ source_coef + strength * change, source_coef)


CONTRASTIVE = Method(
    "contrastive",
    "The strong model's answers, moved by what alignment changed in the weak model.",
    _fit,
    ("source", "weak_labels", "unaligned_labels"),
    Cost(1, False, 1),
    "Jiang et al., arXiv 2510.07884; linear version derived",
    {"strength": Knob(1.0, (0.5, 0.75, 1.0, 1.25), 0.0, jnp.inf, "of the change")},
)
