"""Scores of a student, by the kind of labels: its true risk, and its loss on held-out weak labels.

    linear labels   excess risk E (b.phi - beta_Q.phi)^2                      mean (y' - b.phi)^2
    sign labels     share of inputs with sign(b.phi) != sign(b_Q.phi)         mean log(1 + e^{-y' b.phi})

b_Q is the linear logit nearest to the target's distribution, the limit of the ceiling as labels grow, but for its
slight pull; for a target with one concept it is that concept. Both risks are exact.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.methods import Labels, nearest_logit
from w2s_jax.methods.signs import log_loss, logit_concepts
from w2s_jax.risk import excess_risk, sign_accuracy
from w2s_jax.types import Dataset, Task

RISKS: dict[Labels, str] = {"linear": "excess risk", "sign": "share of inputs with another sign than the target's"}
"""What a risk is, in words."""


def target_of(labels: Labels, task: Task) -> Float[Array, "d"]:
    """Coefficients that students are measured against."""
    if labels == "linear":
        return task.target_coef
    return nearest_logit(logit_concepts(task.concepts, task.noise_var), task.target_prior, task.feature_var)


def teacher_of(labels: Labels, task: Task) -> Float[Array, "d"]:
    """The teacher's coefficients."""
    if labels == "linear":
        return task.weak_coef
    return nearest_logit(logit_concepts(task.weak_concepts, task.weak_noise_var), task.weak_prior, task.feature_var)


def risk_of(labels: Labels, coef: Float[Array, "d"], target: Float[Array, "d"], task: Task) -> Float[Array, ""]:
    """Risk of a student. One that answers 0 to everything guesses: its sign is wrong for half of the inputs."""
    if labels == "linear":
        return excess_risk(coef, target, task.feature_var)
    spread = jnp.sqrt(task.feature_var)
    guesses = (spread * coef == 0).all()
    return jnp.where(guesses, 0.5, 1 - sign_accuracy(spread * jnp.where(guesses, 1.0, coef), spread * target))


def held_out_loss(labels: Labels, coefs: Float[Array, "t d"], held: Dataset) -> Float[Array, "t"]:
    """Mean loss of students on examples that they have not fitted, with their weak labels."""
    answers = coefs @ held.features.T
    if labels == "linear":
        return jnp.square(answers - held.labels[None]).mean(axis=1)
    return log_loss(held.labels[None], answers).mean(axis=1)
