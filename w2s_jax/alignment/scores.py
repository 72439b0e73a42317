"""Exact scores: content and style under a model's own distribution, and how far it is from exact Bayes.

Every string that is an answer to a question is listed in its world, so an expectation is a sum over the list:

    content = sum_a P(a | prompt, question) content(a),        style likewise.

Strings outside the grammar score 0; the share that a model gives to the list is reported as its mass. Where a teacher
is wrong, how often a model repeats it is a sum too:

    copied = sum_a P(a | prompt, question) 1[a states the teacher's claim, and is not right]
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.alignment.model import Answering, answer_log_probs
from w2s_jax.alignment.world import World, find


class Scores(NamedTuple):
    """Scores of a model's answer to a question."""

    content: Float[Array, "*b 2"]
    """Content of the likeliest answer, token by token (temperature 0); and in expectation (temperature 1)."""
    style: Float[Array, "*b 2"]
    """Style of the same."""
    mass: Float[Array, "*b"]
    """Share of the model's distribution on answers of the grammar."""
    truth_law: Float[Array, "*b V"]
    """Log probability of the right claim in each variant; means nothing for a question of the skill."""
    copied: Float[Array, "*b C 2"]
    """Whether the likeliest answer states what each teacher believes, and how probable that is; NaN where the teacher
    is right, and for a question of the skill."""


def score(
    model: Answering,
    world: World,
    number: Int[Array, ""],
    logits: Float[Array, "vocab"],
    cache: Any,
    greedy: Array,
    beliefs: Int[Array, "C Q"],
) -> Scores:
    """Scores of the answer that comes next.

    Args:
        model: an `AnswerModel`, or several together.
        world: of the question.
        number: of the question in `World.listing`.
        logits: of the answer's first token.
        cache: what came before, the question and its mark included; with room for an answer but its last token.
        greedy: the likeliest answer, token by token, `[a]`: what `decode` gives at temperature 0.
        beliefs: claims of each teacher whose errors may be copied.
    """
    listing, style = world.listing, jnp.asarray(world.listing.style)
    answers, content, distinct, first = (
        jnp.asarray(array)[number] for array in (listing.answers, listing.content, listing.distinct, listing.first)
    )
    log_probs = answer_log_probs(model, logits, cache, answers)
    probs = jnp.where(distinct, jnp.exp(log_probs), 0.0)
    place, readable = find(world, number, greedy)
    # Temperature 0, then 1.
    content_scores = jnp.stack([jnp.where(readable, content[place], 0.0), (probs * content).sum()])
    style_scores = jnp.stack([jnp.where(readable, style[place], 0.0), (probs * style).sum()])
    own, variants = jnp.minimum(number, len(world.truth) - 1), jnp.arange(world.answers.shape[2])
    truth, claims = jnp.asarray(world.truth)[own], beliefs[:, own]
    stated = first.reshape(-1, variants.size)[claims]  # [C V]
    wrong = jnp.where(content < 1, 1.0, 0.0)
    same = jax.vmap(lambda places: jnp.zeros(content.size).at[places].set(wrong[places]))(stated)
    copied = jnp.stack([jnp.where(readable, same[:, place], 0.0), same @ probs], axis=-1)
    mistaken = (claims != truth) & (number < len(world.truth))
    return Scores(
        content_scores,
        style_scores,
        probs.sum(),
        log_probs[truth * variants.size + variants],
        jnp.where(mistaken[:, None], copied, jnp.nan),
    )


def bayes_divergence(
    world: World, weights: Float[Array, "*b K"], truth_law: Float[Array, "*b V"]
) -> Float[Array, "*b"]:
    """KL(Bayes || model) in nats over answers: exact Bayes puts all mass on the right claim.

    Equation: sum_v B_v log(B_v / M_v), B = weights @ variant_law.

    Args:
        weights: posterior of the concept given the prompt.
        truth_law: log M, from `Scores`.
    """
    exact = weights @ jnp.asarray(world.variant_law)
    return (exact * (jnp.log(exact) - truth_law)).sum(axis=-1)
