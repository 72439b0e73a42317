"""Selective weak-to-strong: the strong model's own answers where it knows, smoothed weak labels elsewhere.

    label_i = its own answer                                      where its doubt V_i is among the least `known_share` n
            = (1 - s) y'_i + s sum_j W_ij y'_j                     elsewhere

    sign labels     own: the likelier sign under P(phi) = sum_k alpha_k sigmoid(c_k.phi),  V = -|P - 1/2|
    linear labels   own: beta_P.phi,                                                     V = Var_{k ~ alpha}(beta_k.phi)

The latter is how far the strong model's concepts are apart on an example: where they agree its answer is right under
each, and it knows that. W is the graph of the examples that it does not know: gaussian weights
e^{-|phi_i - phi_j|^2 / (2 d)}, rows that sum to 1, none on itself. The published method trains a classifier of what the
model knows; here that is computed.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.kinds import LINEAR, SIGN, Kind, strong_logits
from w2s_jax.methods.method import PENALTY, SIGN_PENALTY, Cost, Knob, Method, SignForm, View, known, strong_answers
from w2s_jax.methods.signs import log_odds

HARD = (
    "selective has no derivative in what decides which examples the strong model knows, since that jumps; use "
    "differences of means over many keys."
)


def _fit(kind: Kind, answer: Callable[[View], tuple[Array, Array]], view: View, known_share, smoothing, penalty):
    weak = known(view.weak_labels)
    own, doubt = answer(view)
    doubt, share = no_gradient(HARD, (doubt, known_share))
    knows = (doubt[None] < doubt[:, None]).sum(axis=1) < share * len(doubt)
    graph = _neighbours(view.features, ~knows)
    # An example without neighbours keeps its label.
    smooth = (1 - smoothing) * weak + smoothing * (graph @ weak + (1 - graph.sum(axis=1)) * weak)
    return kind.learn(view, jnp.where(knows, own, smooth), kind.source(view), penalty)


def _mean_answer(view: View) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """The strong model's own answers, and how far its concepts are apart."""
    answers, prior = strong_answers(view), known(view.source).source_prior
    own = prior @ answers
    return own, prior @ jnp.square(answers - own[None])


def _likelier_sign(view: View) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """The strong model's own answers, and how unsure it is of them."""
    odds = log_odds(strong_logits(view), known(view.source).source_prior)
    return jnp.where(no_gradient(HARD, odds) > 0, 1.0, -1.0), -jnp.abs(odds)


def _neighbours(features: Float[Array, "n d"], used: Array) -> Float[Array, "n n"]:
    """Weights of the other examples that are used."""
    squares = jnp.square(features).sum(axis=1)
    distance = squares[:, None] + squares[None] - 2 * features @ features.T
    log_weights = jnp.where(
        used[None] & ~jnp.eye(len(features), dtype=bool), -distance / (2 * features.shape[1]), -jnp.inf
    )
    nearest = log_weights.max(axis=1, keepdims=True)
    weights = jnp.exp(log_weights - jnp.where(jnp.isfinite(nearest), nearest, 0.0))
    return weights / jnp.maximum(weights.sum(axis=1, keepdims=True), jnp.finfo(weights.dtype).tiny)


KNOBS = {
    "known_share": Knob(0.25, (0.1, 0.25, 0.5), 0.0, 1.0, "of the examples, answered by the strong model itself"),
    "smoothing": Knob(0.0, (0.0, 0.5), 0.0, 1.0, "weight of the neighbours in a weak label"),
}
SELECTIVE = Method(
    "selective",
    "Its own answers where the strong model knows, weak labels smoothed over a graph elsewhere.",
    partial(_fit, LINEAR, _mean_answer),
    ("source", "weak_labels"),
    Cost(1, False, 1),
    "Lang, Huang and Li, arXiv 2511.14166; linear version derived",
    {**KNOBS, "penalty": PENALTY},
    SignForm(
        partial(_fit, SIGN, _likelier_sign),
        "Lang, Huang and Li, arXiv 2511.14166; what it knows is computed",
        {**KNOBS, "penalty": SIGN_PENALTY},
        in_practice="yes, by how sure it is; the published classifier needs true labels",
    ),
    "no: it reads how far the listed concepts are apart",
)
