"""Selective weak-to-strong: the strong model's own answers where it knows, smoothed weak labels elsewhere.

    label_i = beta_P.phi_i                                        where V_i is among the least `known_share` n
            = (1 - s) y'_i + s sum_j W_ij y'_j                     elsewhere

V_i = Var_{k ~ alpha}(beta_k.phi_i) is how far the strong model's concepts are apart on an example: where they agree its
answer is right under each, and it knows that. W is the graph of the examples that it does not know: gaussian weights
e^{-|phi_i - phi_j|^2 / (2 d)}, rows that sum to 1, none on itself. The published method trains a classifier of what the
model knows; here that is computed.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.methods.method import PENALTY, Cost, Knob, Method, View, fine_tune, known, strong_answers


def _fit(view: View, known_share, smoothing, penalty):
    source, weak = known(view.source), known(view.weak_labels)
    answers, prior = strong_answers(view), source.source_prior
    own = prior @ answers
    apart = prior @ jnp.square(answers - own[None])
    knows = (apart[None] < apart[:, None]).sum(axis=1) < known_share * len(apart)
    graph = _neighbours(view.features, ~knows)
    # An example without neighbours keeps its label.
    smooth = (1 - smoothing) * weak + smoothing * (graph @ weak + (1 - graph.sum(axis=1)) * weak)
    return fine_tune(view, jnp.where(knows, own, smooth), source.source_coef, penalty)


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


SELECTIVE = Method(
    "selective",
    "Its own answers where the strong model knows, weak labels smoothed over a graph elsewhere.",
    _fit,
    ("source", "weak_labels"),
    Cost(1, False, 1),
    "Lang, Huang and Li, arXiv 2511.14166; linear version derived",
    {
        "known_share": Knob(0.25, (0.1, 0.25, 0.5), 0.0, 1.0, "of the examples, answered by the strong model itself"),
        "smoothing": Knob(0.0, (0.0, 0.5), 0.0, 1.0, "weight of the neighbours in a weak label"),
        "penalty": PENALTY,
    },
)
