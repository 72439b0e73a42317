"""Projections of the teacher onto what the strong model knows: mixtures of its concepts.

    hull          argmin_w (1/n) sum (y' - (B'w).phi)^2                               over the simplex (squared loss)
    reverse_kl    argmin_w sum_k w_k [log(w_k/alpha_k) + D_k/(2 sigma^2 temperature)]   D_k = mean (y' - beta_k.phi)^2

The second is the divergence KL(student || teacher) of the pair (concept, label), where the student mixes its concepts
and the teacher answers around its own regression function under each; its minimum is at
w_k prop. to alpha_k e^{-D_k/(2 sigma^2 temperature)}. It bounds that of the label alone from above, and seeks one
concept where the hull averages.
"""

import jax
import jax.numpy as jnp

from w2s_jax.hull import hull_least_squares
from w2s_jax.methods.method import TEMPERATURE, Cost, Method, View, known, strong_answers
from w2s_jax.sampling import moments
from w2s_jax.types import Dataset


def _hull(view: View):
    concepts = known(view.source).concepts
    return hull_least_squares(moments(Dataset(view.features, known(view.weak_labels))), concepts) @ concepts


def _reverse_kl(view: View, temperature):
    source = known(view.source)
    distance = jnp.square(known(view.weak_labels)[None] - strong_answers(view)).mean(axis=1)
    log_weights = jnp.log(source.source_prior) - distance / (2 * source.noise_var * temperature)
    return jax.nn.softmax(log_weights) @ source.concepts


HULL = Method(
    "hull",
    "Least squares on the weak labels over the convex hull of the concepts: the student that misfits its teacher.",
    _hull,
    ("source", "weak_labels"),
    Cost(0, False, 1),
    "Charikar et al., arXiv 2405.15116",
)
REVERSE_KL = Method(
    "reverse_kl",
    "The mixture of concepts that is nearest to the teacher in reverse KL.",
    _reverse_kl,
    ("source", "weak_labels"),
    Cost(1, False, 0),
    "arXiv 2502.11107; linear version derived",
    {"temperature": TEMPERATURE},
)
