"""Baselines that the other methods are compared with."""

from functools import partial

import jax.numpy as jnp

from w2s_jax.methods.kinds import LINEAR, SIGN, Kind
from w2s_jax.methods.method import PENALTY, SIGN_PENALTY, Cost, Method, SignForm, View, known


def _source(kind: Kind, view: View):
    return kind.source(view)


SOURCE = Method(
    "source",
    "The source (strong model, not aligned).",
    partial(_source, LINEAR),
    ("source",),
    Cost(0, False, 0),
    "arXiv 2405.16236",
    sign=SignForm(
        partial(_source, SIGN),
        "derived",
        about="The source (strong model, not aligned): the linear logit nearest to its distribution.",
    ),
    in_practice="yes",
)


def _self_label(view: View):
    source = known(view.source)
    labels = view.features @ source.source_coef + source.noise_var**0.5 * view.chance.normal
    return LINEAR.learn(view, labels, source.source_coef)


def _self_label_signs(view: View):
    prior = known(view.source).source_prior
    weights = jnp.broadcast_to(prior[:, None], (len(prior), len(view.features)))
    return SIGN.learn(view, SIGN.answer(view, weights), SIGN.source(view))


SELF_LABEL = Method(
    "self_label",
    "Fine-tuning on the strong model's own answers, without any teacher: b = LS(phi, beta_P.phi + sigma eps).",
    _self_label,
    ("source",),
    Cost(1, False, 1),
    "control, as in arXiv 2405.16236",
    sign=SignForm(
        _self_label_signs,
        "control, as in arXiv 2405.16236",
        about="Fine-tuning on signs drawn from the source's distribution, without any teacher.",
    ),
    in_practice="yes",
)


def _naive(kind: Kind, view: View, penalty):
    return kind.learn(view, known(view.weak_labels), kind.source(view), penalty)


NAIVE_FT = Method(
    "naive_ft",
    "Fine-tuning on the weak labels: argmin (1/n) sum (y' - b.phi)^2 + penalty ||b - beta_P||^2.",
    partial(_naive, LINEAR),
    ("source", "weak_labels"),
    Cost(0, False, 1),
    "Burns et al., arXiv 2312.09390; arXiv 2405.16236",
    {"penalty": PENALTY},
    SignForm(
        partial(_naive, SIGN),
        "Burns et al., arXiv 2312.09390",
        {"penalty": SIGN_PENALTY},
        "Fine-tuning on the weak labels: argmin (1/n) sum log(1 + e^{-y' b.phi}) + (penalty/2) ||b - b_P||^2.",
    ),
    "yes",
)


def _ceiling(kind: Kind, view: View):
    return kind.learn(view, known(view.true_labels), kind.source(view))


CEILING = Method(
    "ceiling",
    "Fine-tuning on the target's own labels, which are not available in practice.",
    partial(_ceiling, LINEAR),
    ("source", "true_labels"),
    Cost(0, False, 1),
    "Burns et al., arXiv 2312.09390",
    sign=SignForm(partial(_ceiling, SIGN), "Burns et al., arXiv 2312.09390"),
    in_practice="no: it learns true labels",
)
