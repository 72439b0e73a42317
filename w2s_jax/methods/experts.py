"""Co-supervised learning: a generalist teaches first, then each example's own teacher, which the student selects.

    b_0 = the student of the generalist's labels
    label_i = that of teacher argmin_t CE(b_0.phi_i, label of t)         among the others, the generalist left out
    b_1 = the student of these labels, on the share of the examples that is kept:
          as many as those on which b_0 and the label name the same class, and of these the ones that fit b_0 best

after the order of the released program of arXiv 2402.15505 (github.com/YuejiangLIU/csl, its program for ImageNet):
there too the share is measured and every level starts from the same untrained student. Its specialists know some
classes each and are assigned by the class that the student names; teachers here are no specialists, they only err
elsewhere, and are assigned by agreement. A level of several teachers is all that there is; theirs may be more.

    sign labels     a label is a probability sigmoid(l'_t), as released; its class is its sign
    linear labels   |y'_t - b_0.phi| in place of the cross entropy; a class is the concept whose answer is nearest
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.kinds import LINEAR, SIGN
from w2s_jax.methods.logistic import softplus
from w2s_jax.methods.method import PENALTY, SIGN_PENALTY, Cost, Method, SignForm, View, known, strong_answers
from w2s_jax.methods.signs import log_loss, soft_sign

HARD = (
    "experts has no derivative, since the teacher of an example jumps; use ensemble, or differences of means over many "
    "keys."
)


def _fit(view: View, penalty):
    source_coef, answers = known(view.source).source_coef, strong_answers(view)
    own = view.features @ LINEAR.learn(view, known(view.weak_labels), source_coef, penalty)
    labels = known(view.colleague_labels)
    chosen = _of_the_nearest(labels, jnp.abs(labels - own[None]))
    concepts = [jnp.argmin(jnp.abs(answers - said[None]), axis=0) for said in (own, chosen)]
    shares = kept(jnp.abs(chosen - own), concepts[0] == concepts[1])
    return LINEAR.learn(view, chosen, source_coef, penalty, shares)


def _fit_signs(view: View, penalty):
    source_coef, odds = SIGN.source(view), known(view.colleague_log_odds)
    own = view.features @ SIGN.learn(view, soft_sign(known(view.weak_log_odds)), source_coef, penalty)
    cross_entropy = softplus(own)[None] - (1 + soft_sign(odds)) / 2 * own[None]
    chosen = _of_the_nearest(odds, cross_entropy)
    named = jnp.sign(chosen)
    shares = kept(log_loss(named, own), named == jnp.sign(own))
    return SIGN.learn(view, soft_sign(chosen), source_coef, penalty, shares)


def _of_the_nearest(labels: Float[Array, "T n"], away: Float[Array, "T n"]) -> Float[Array, "n"]:
    return jnp.take_along_axis(labels, jnp.argmin(no_gradient(HARD, away), axis=0)[None], axis=0)[0]


def kept(away: Float[Array, "n"], agree: Bool[Array, "n"]) -> Float[Array, "n"]:
    """Equal shares of the examples that are kept: the least away, as many as there are that agree.

    >>> kept(jnp.array([0.3, 0.1, 0.2, 0.4]), jnp.array([True, False, True, False])).tolist()
    [0.0, 0.5, 0.5, 0.0]
    """
    away = no_gradient(HARD, away)
    rank = (away[None] < away[:, None]).sum(axis=1)
    chosen = (rank < agree.sum()).astype(away.dtype)
    return chosen / jnp.maximum(chosen.sum(), 1)


EXPERTS = Method(
    "experts",
    "A generalist's labels first, then each example from the other teacher that fits the student best.",
    _fit,
    ("source", "weak_labels", "colleague_labels"),
    Cost(1, False, 2),
    "co-supervised learning, arXiv 2402.15505; linear version derived",
    {"penalty": PENALTY},
    SignForm(
        _fit_signs,
        "co-supervised learning, arXiv 2402.15505; assignment by agreement derived",
        {"penalty": SIGN_PENALTY},
        sees=("source", "weak_log_odds", "colleague_log_odds"),
        in_practice="yes, with several teachers",
    ),
    "no: what is kept depends on the listed concepts",
)
