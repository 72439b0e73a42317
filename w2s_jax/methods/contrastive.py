"""Contrastive weak-to-strong: the strong model learns what alignment made likelier in the weak one.

    log p(y) = log P_aligned(y) - (1 - alpha) log P_unaligned(y) + const  where P_aligned(y) >= top max P_aligned
    label ~ p, and the strong model is fine-tuned on the labels

as released: both distributions are the weak model's, alpha is 0.4 and top 0.1 (github.com/jianghoucheng/ConG:
`_contrastive_decoding` and `_relative_top_filter` in transformers-main/src/transformers/generation/utils.py, alpha in
LLaMA-Factory/experiments/launch_parallel_cd.sh, top in run_cd_gen.py). The strong model takes no part in the decoding.
Their second stage is missing here: preference optimisation (DPO) of the strong model, with these answers as the chosen
ones. So are the settings of their sampler (temperature 0.8, the likeliest 95%, a penalty of repetitions).

Of a sign the filter drops the unlikelier answer where |l'_aligned| > log 10. A number has a density instead of a
probability (derived): p is taken on a grid, cells of which are drawn from evenly.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.kinds import LINEAR, SIGN
from w2s_jax.methods.method import Cost, Knob, Method, SignForm, View, known
from w2s_jax.methods.signs import sign_of
from w2s_jax.types import Scalar

RELATIVE_TOP = 0.1


def contrast(
    aligned: Float[Array, "*b A"], unaligned: Float[Array, "*b A"], alpha: Scalar, relative_top: float = RELATIVE_TOP
) -> Float[Array, "*b A"]:
    """Log probabilities of A answers by contrastive decoding, as released.

    Args:
        aligned: log probabilities by the weak model after its alignment, up to a constant.
        unaligned: those before, finite.
        alpha: in [0, 1]; 1 leaves the aligned distribution, but for its filter, 0 takes the whole ratio.
        relative_top: in (0, 1]; answers less likely than this share of the likeliest one, by the aligned model, are
            left out.

    Returns:
        Log probabilities; -inf for the answers that are left out.

    Reference: Jiang et al., arXiv 2510.07884, by the files that are named above; the filter is Li et al.,
    arXiv 2210.15097.

    >>> aligned, unaligned = jnp.log(jnp.array([[0.6, 0.38, 0.02], [0.8, 0.1, 0.1]]))
    >>> found = jnp.exp(contrast(aligned, unaligned, 0.4))  # the third is too rare beside 0.6
    >>> [round(float(chance), 2) for chance in found]
    [0.31, 0.69, 0.0]
    """
    kept = aligned >= aligned.max(axis=-1, keepdims=True) + math.log(relative_top)
    return jax.nn.log_softmax(jnp.where(kept, aligned - (1 - alpha) * unaligned, -jnp.inf), axis=-1)


def _fit(view: View, alpha):
    answers, aligned, unaligned = known(view.weak_densities)
    chance = jnp.exp(contrast(aligned, unaligned, alpha))
    return LINEAR.learn(view, draw_answer(view.chance.uniform, answers, chance), LINEAR.source(view))


def draw_answer(
    uniform: Float[Array, "n"], answers: Float[Array, "n G"], chance: Float[Array, "n G"]
) -> Float[Array, "n"]:
    """One answer for each example, by inverting its distribution function: evenly within a cell of the grid."""
    answers, chance = no_gradient(ANSWERS_JUMP, (answers, chance))
    below = jnp.cumsum(chance, axis=1)
    uniform = uniform[:, None] * below[:, -1:]  # which is 1 up to rounding
    cell = jnp.minimum((below <= uniform).sum(axis=1, keepdims=True), chance.shape[1] - 1)
    middle, top, mass = (jnp.take_along_axis(x, cell, axis=1) for x in (answers, below, chance))
    along = 0.5 - (top - uniform) / jnp.maximum(mass, jnp.finfo(mass.dtype).tiny)
    return (middle + along * (answers[:, 1:2] - answers[:, :1]))[:, 0]


ANSWERS_JUMP = (
    "drawn answers have no derivative, since they jump between the cells of a grid; use anchored_contrastive, or "
    "differences of means over many keys."
)


def _fit_signs(view: View, alpha):
    aligned, unaligned = (
        jnp.stack([jax.nn.log_sigmoid(odds), jax.nn.log_sigmoid(-odds)], axis=-1)
        for odds in (known(view.weak_log_odds), known(view.unaligned_log_odds))
    )
    labels = sign_of(view.chance.uniform, jnp.exp(contrast(aligned, unaligned, alpha))[:, 0])
    return SIGN.learn(view, labels, SIGN.source(view))


ALPHA = Knob(0.4, (0.4,), 0.0, 1.0, "1 minus the weight of the unaligned weak model, as released")
CONTRASTIVE = Method(
    "contrastive",
    "Fine-tuning on answers of contrastive decoding: the weak model after its alignment, against itself before.",
    _fit,
    ("source", "weak_densities"),
    Cost(0, False, 1),
    "Jiang et al., arXiv 2510.07884, without its DPO stage; for numbers derived",
    {"alpha": ALPHA},
    SignForm(
        _fit_signs,
        "Jiang et al., arXiv 2510.07884, without its DPO stage",
        {"alpha": ALPHA},
        sees=("source", "weak_log_odds", "unaligned_log_odds"),
    ),
    "yes, with the weak model from before its alignment",
)
