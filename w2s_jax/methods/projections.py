"""Projections of the teacher onto what the strong model knows: mixtures of its concepts.

    hull          argmin_w (1/n) sum (y' - (B'w).phi)^2                               over the simplex (squared loss)
                  argmin_w (1/n) sum log(1 + e^{-y' (C'w).phi})                       for signs, C = B / sigma
    reverse_kl    argmin_w sum_k w_k [log(w_k/alpha_k) + D_k/temperature]             D_k: what concept k is away by
                  D_k = mean (y' - beta_k.phi)^2 / 2 sigma^2
                  D_k = mean KL(sigmoid(c_k.phi) || sigmoid(l'))                  for signs, l' the teacher's log odds

The second is the divergence KL(student || teacher) of the pair (concept, label), where the student mixes its concepts
and the teacher answers around its own regression function, or by its own log odds, under each; its minimum is at
w_k prop. to alpha_k e^{-D_k/temperature}. It bounds that of the label alone from above, and seeks one concept where the
hull averages. Over all linear logits the divergence would, in either direction, be least at the teacher itself.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.hull import hull_least_squares
from w2s_jax.methods.kinds import SIGN, strong_logits
from w2s_jax.methods.logistic import softplus, step_size
from w2s_jax.methods.method import TEMPERATURE, Cost, Knob, Method, SignForm, View, known, strong_answers
from w2s_jax.methods.signs import log_loss, logit_concepts
from w2s_jax.sampling import moments
from w2s_jax.types import Dataset, Moments

PROGRAMS = 10
"""Quadratic programs, each of the loss expanded at the solution of the one before: Newton's method on the simplex."""


def _hull(view: View):
    concepts = known(view.source).concepts
    return hull_least_squares(moments(Dataset(view.features, known(view.weak_labels))), concepts) @ concepts


def _hull_signs(view: View):
    source, labels, logits = known(view.source), known(view.weak_labels), strong_logits(view)

    def losses(weights: Float[Array, "s K"]) -> Float[Array, "s"]:
        return log_loss(labels[None], weights @ logits).mean(axis=1)

    def step(_, weights: Float[Array, "K"]) -> Float[Array, "K"]:
        chance = jax.nn.sigmoid(weights @ logits)
        curvature = (logits * (chance * (1 - chance))[None]) @ logits.T / len(labels)
        slope = logits @ (chance - (1 + labels) / 2) / len(labels)
        expanded = Moments(curvature, curvature @ weights - slope, jnp.asarray(len(labels), logits.dtype))
        move = hull_least_squares(expanded, jnp.eye(len(weights), dtype=logits.dtype)) - weights
        return (
            weights + step_size(lambda sizes: losses(weights[None] + sizes[:, None] * move[None]), logits.dtype) * move
        )

    start = jnp.full(len(logits), 1 / len(logits), logits.dtype)
    weights = jax.lax.fori_loop(0, PROGRAMS, step, start)
    return weights @ logit_concepts(source.concepts, source.noise_var)


def _reverse_kl(view: View, temperature):
    source = known(view.source)
    distance = jnp.square(known(view.weak_labels)[None] - strong_answers(view)).mean(axis=1)
    return _nearest(view, distance / (2 * source.noise_var * temperature)) @ source.concepts


def _reverse_kl_signs(view: View, temperature):
    logits, weak = strong_logits(view), known(view.weak_log_odds)[None]
    divergence = jax.nn.sigmoid(logits) * (logits - weak) - softplus(logits) + softplus(weak)
    return SIGN.mixture(view, _nearest(view, divergence.mean(axis=1) / temperature))


def _nearest(view: View, away: Float[Array, "K"]) -> Float[Array, "K"]:
    """Weights of the concepts, alpha_k e^{-away_k} over their sum."""
    return jax.nn.softmax(jnp.log(known(view.source).source_prior) - away)


LISTS = "no: it is given the list of the concepts and weighs them"
HULL = Method(
    "hull",
    "Least squares on the weak labels over the convex hull of the concepts: the student that misfits its teacher.",
    _hull,
    ("source", "weak_labels"),
    Cost(0, False, 1),
    "Charikar et al., arXiv 2405.15116; Somerstep et al., arXiv 2405.16236",
    sign=SignForm(
        _hull_signs,
        "Charikar et al., arXiv 2405.15116; version for signs derived",
        about="Logistic regression on the weak labels over the convex hull of the concepts' log odds.",
    ),
    in_practice=LISTS,
)
REVERSE_KL = Method(
    "reverse_kl",
    "The mixture of concepts that is nearest to the teacher in reverse KL.",
    _reverse_kl,
    ("source", "weak_labels"),
    Cost(1, False, 0),
    "arXiv 2502.11107; linear version derived",
    {"temperature": TEMPERATURE},
    SignForm(
        _reverse_kl_signs,
        "arXiv 2502.11107; over mixtures of concepts derived",
        {"temperature": Knob(0.1, (0.03, 0.1, 0.3, 1.0), 1e-3, 1e3, "divides the mean divergence of each concept")},
        sees=("source", "weak_log_odds"),
    ),
    LISTS,
)
