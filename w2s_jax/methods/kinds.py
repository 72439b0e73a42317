"""What a student of each kind of labels does: all that methods ask of it, so that one method serves both kinds.

                 linear labels                          sign labels, c_k = beta_k / sigma
source           beta_P = sum_k alpha_k beta_k          the linear logit nearest to sum_k alpha_k sigmoid(c_k . phi)
learn            ridge to the source                    logistic regression pulled to the source
evidence         log N(y; beta_k . phi, sigma^2)        log sigmoid(y c_k . phi)
answer           beta_k . phi + sigma eps, k ~ w        +1 with probability sum_k w_k sigmoid(c_k . phi)
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.estimators import ridge_to_source
from w2s_jax.methods.logistic import logistic_to_source
from w2s_jax.methods.method import LEAST_PENALTY, View, known, strong_answers
from w2s_jax.methods.signs import log_loss, logit_concepts, nearest_logit, sign_of, soft_sign
from w2s_jax.mixture_labels import mixture_labels
from w2s_jax.refinement import concept_evidence
from w2s_jax.sampling import moments
from w2s_jax.types import Dataset, Moments


class Kind(NamedTuple):
    """A kind of labels, as methods need to know it."""

    mixture: Callable[[View, Array], Array]
    """(view, weights `[K]`) -> coefficients of the strong model where it weighs its concepts so."""
    learn: Callable[..., Array]
    """(view, labels `[n]`, source_coef `[d]`, penalty, shares `[n]` of the examples) -> coefficients; by default next
    to no penalty and equal shares."""
    evidence: Callable[[View, Dataset], Array]
    """(view, examples) -> log evidence of each label for each concept `[K n]`, up to what all concepts share."""
    answer: Callable[[View, Array], Array]
    """(view, weights `[K n]`) -> labels of the strong model `[n]`, concepts weighed so for each example."""
    expect: Callable[[Array], Array]
    """Answers b . phi -> expected labels."""
    loss: Callable[[Array, Array], Array]
    """(labels, answers) -> how badly each fits."""

    def source(self, view: View) -> Float[Array, "d"]:
        """Coefficients of the source (strong model, not aligned)."""
        return self.mixture(view, known(view.source).source_prior)


def _linear_learn(view: View, labels, source_coef, penalty=0.0, shares=None):
    if shares is None:
        return ridge_to_source(moments(Dataset(view.features, labels)), source_coef, penalty)
    features = view.features
    data = Moments(features.T @ (shares[:, None] * features), (shares * labels) @ features, jnp.ones(()))
    return ridge_to_source(data, source_coef, penalty)


def _linear_answer(view: View, weights):
    noise = known(view.source).noise_var ** 0.5
    return mixture_labels(view.chance.uniform, view.chance.normal, weights, strong_answers(view), noise)


LINEAR = Kind(
    mixture=lambda view, weights: weights @ known(view.source).concepts,
    learn=_linear_learn,
    evidence=lambda view, examples: concept_evidence(known(view.source), examples),
    answer=_linear_answer,
    expect=lambda answers: answers,
    loss=lambda labels, answers: jnp.abs(labels - answers),
)


def strong_logits(view: View) -> Float[Array, "K n"]:
    """The strong model's log odds of +1 under each concept."""
    return strong_answers(view) / jnp.sqrt(known(view.source).noise_var)


def _sign_mixture(view: View, weights):
    source = known(view.source)
    return nearest_logit(logit_concepts(source.concepts, source.noise_var), weights, source.feature_var)


def _sign_learn(view: View, labels, source_coef, penalty=LEAST_PENALTY, shares=None):
    return logistic_to_source(Dataset(view.features, labels), source_coef, penalty, shares=shares)


def _sign_evidence(view: View, examples: Dataset):
    source = known(view.source)
    logits = logit_concepts(source.concepts, source.noise_var) @ examples.features.T
    return -log_loss(examples.labels[None], logits)


def _sign_answer(view: View, weights):
    chance = (weights * jax.nn.sigmoid(strong_logits(view))).sum(axis=0)
    return sign_of(view.chance.uniform, chance)


SIGN = Kind(
    mixture=_sign_mixture,
    learn=_sign_learn,
    evidence=_sign_evidence,
    answer=_sign_answer,
    expect=soft_sign,
    loss=log_loss,
)
