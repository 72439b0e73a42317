"""The gate before any fine-tuning: what a strong network has mastered of its world, and how near to exact Bayes it is.

Comparisons with a strong model that does not know its world mean nothing. Each network is asked after prompts of
0, 1, ... true examples in one way of answering, of every concept in turn.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from sims.alignment.spec import AlignmentSpec
from sims.alignment.strong import structure
from sims.engine.checked import InputError
from sims.training.lanes import lanes, spread
from w2s_jax.alignment.answers import AT_ONCE
from w2s_jax.alignment.documents import sample_questions, sample_variants, to_examples
from w2s_jax.alignment.model import answer_log_probs
from w2s_jax.alignment.prompting import ask, read_prompt, shorten
from w2s_jax.alignment.scores import bayes_divergence
from w2s_jax.alignment.world import ASK, FIRST_TAG, World, concept_posterior, source_prior
from w2s_jax.rng import replicate_key, seed_key, stream
from w2s_jax.training import Params
from w2s_jax.types import Key

DOCUMENTS = 64
"""Prompts of each concept that a network is examined with."""


class Mastery(NamedTuple):
    """What one network has mastered, by length M = 0, 1, ... of the prompt and concept K of its examples."""

    content: Float[Array, "M K"]
    """Probability of a right answer, in any variant, to ?; its content where content is all or nothing."""
    tagged_content: Float[Array, "M K"]
    """The same under the concept's tag."""
    naming: Float[Array, "M K"]
    """How often it names the concept."""
    bayes_naming: Float[Array, "M K"]
    """How often exact Bayes does."""
    divergence: Float[Array, "M K"]
    """KL(Bayes || network) of its answer, nats."""


def examine(spec: AlignmentSpec, params: Params) -> Mastery:
    """Mastery of the networks of all seeds, `[seeds ...]`."""
    keys = jax.vmap(lambda seed: stream(replicate_key(seed_key(spec.seed), seed), "gate"))(jnp.arange(spec.replicates))
    over = lanes(spec.replicates)
    program = jax.jit(spread(lambda one: _examine_one(spec, *one), over))
    found = program(jax.device_put((keys, params), over))
    return jax.tree.map(np.asarray, found)


def check_mastery(spec: AlignmentSpec, mastery: Mastery) -> None:
    """Refuse networks that do not know their world.

    Raises:
        InputError: naming the first network, format and slot that fail.
    """
    for field, mark in (("content", "?"), ("tagged_content", "the tag")):
        values = getattr(mastery, field)
        if not values.min() >= spec.min_content:  # nor may it be NaN
            seed, slot, concept = np.unravel_index(values.argmin(), values.shape)
            raise InputError(
                f"a strong network must have mastered its world, content >= {spec.min_content:g} in every format and "
                f"slot, but that of seed {seed} has {values.min():.3f} as {spec.world.words[FIRST_TAG + concept]} "
                f"under {mark} in slot {slot}; raise single_steps or document_steps, or width."
            )
    naming = mastery.naming[:, -1].mean(axis=-1)
    if naming.min() < spec.min_naming:
        raise InputError(
            f"a strong network must name the concept of {max(spec.num_icl)} examples with accuracy >= "
            f"{spec.min_naming:g}, but that of seed {naming.argmin()} has {naming.min():.3f}; raise document_steps or "
            f"width, or give longer prompts (num_icl)."
        )


def _examine_one(spec: AlignmentSpec, key: Key, params: Params) -> Mastery:
    world, longest = spec.world, max(spec.num_icl)
    model = nnx.merge(structure(spec, spec.width), params)
    prior = source_prior(world, spec.concept_shift)

    def of_document(key: Key, concept: Array) -> Mastery:
        questions = sample_questions(stream(key, "questions"), jnp.arange(len(world.questions)), longest + 1)
        variants = sample_variants(stream(key, "variants"), world, jnp.broadcast_to(concept, (longest,)))
        cache = read_prompt(model, true_examples(world, questions[:-1], variants))
        right = jnp.asarray(world.answers)[questions[-1], jnp.asarray(world.truth)[questions[-1]]]

        def after(length: Array) -> Mastery:
            short = shorten(world, cache, length)

            def under(mark: Array) -> tuple[Array, Array]:
                asked = ask(model, world, questions[-1], short, mark)
                return answer_log_probs(model, asked.logits, asked.cache, right), asked.tags

            laws, tags = jax.lax.map(under, jnp.stack([jnp.asarray(ASK), FIRST_TAG + concept]))
            posterior = concept_posterior(world, prior, variants, jnp.arange(longest) < length)
            return Mastery(
                *jnp.exp(laws).sum(axis=-1),
                (jnp.argmax(tags[0]) == concept).astype(float),
                (jnp.argmax(posterior) == concept).astype(float),
                bayes_divergence(world, posterior, laws[0]),
            )

        return jax.lax.map(after, jnp.arange(longest + 1))

    def of_concept(concept: Array) -> Mastery:
        keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(DOCUMENTS))
        found = jax.lax.map(lambda key: of_document(key, concept), keys, batch_size=AT_ONCE)
        return jax.tree.map(lambda leaf: leaf.mean(axis=0), found)

    by_concept = jax.lax.map(of_concept, jnp.arange(world.num_concepts))
    return jax.tree.map(jnp.transpose, by_concept)


def true_examples(world: World, questions: Array, variants: Array) -> Array:
    """Right answers to questions, in these variants."""
    answers = jnp.asarray(world.answers)[questions, jnp.asarray(world.truth)[questions], variants]
    return to_examples(world, questions, jnp.full(questions.shape, ASK), answers)
