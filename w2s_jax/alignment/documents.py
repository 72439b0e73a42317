"""Documents: what the strong model is pre-trained on, and what a model is asked or taught with.

    <question> <mark> <answer>   <question> <mark> <answer>   ...

A document of the source has one concept, k ~ alpha, for all its examples, of which no two ask the same question. A
mark is the concept's tag with probability tag_share, else ?. So a tag is a name for the concept, which the model
learns to give where a mark stands, and a condition, under which it learns to answer.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from w2s_jax.alignment.model import AnswerModel
from w2s_jax.alignment.world import ASK, END, FIRST_TAG, World
from w2s_jax.types import Key, Scalar


def sample_questions(key: Key, numbers: Int[Array, "n"], count: int) -> Int[Array, "count"]:
    """`count` different questions, drawn from `numbers`."""
    _, places = jax.lax.top_k(jax.random.uniform(key, numbers.shape), count)
    return numbers[places]


def sample_variants(key: Key, world: World, concept: Int[Array, "*b"]) -> Int[Array, "*b"]:
    """A variant of an answer, drawn for each concept."""
    return jax.random.categorical(key, jnp.log(jnp.asarray(world.variant_law))[concept])


def to_examples(
    world: World, numbers: Int[Array, "*b"], marks: Int[Array, "*b"], answers: Int[Array, "*b a"]
) -> Int[Array, "*b L"]:
    """Tokens of examples: a question of `World.listing`, its mark and its answer."""
    return jnp.concatenate([jnp.asarray(world.listing.questions)[numbers], marks[..., None], answers], axis=-1)


def sample_document(
    key: Key,
    world: World,
    claims: Int[Array, "Q"],
    prior: Float[Array, "K"],
    num_examples: int,
    tag_share: Scalar = 0.0,
    skill_share: Scalar = 0.0,
) -> Int[Array, "num_examples L"]:
    """One document: its concept is drawn from `prior`, its answers claim `claims`.

    Args:
        key: a typed key.
        world: a `World`.
        claims: what the writer believes; `world.truth` for the source.
        prior: over concepts.
        num_examples: in [1, Q], static.
        tag_share: probability that a mark is the concept's tag, in [0, 1].
        skill_share: probability that the document is of the unrelated skill instead, in [0, 1].
    """
    keys = jax.random.split(key, 6)
    concept = jax.random.categorical(keys[0], jnp.log(prior))
    questions = sample_questions(keys[1], jnp.arange(len(world.questions)), num_examples)
    variants = sample_variants(keys[2], world, jnp.broadcast_to(concept, (num_examples,)))
    tagged = jax.random.bernoulli(keys[3], tag_share, (num_examples,))
    answers = jnp.asarray(world.answers)[questions, claims[questions], variants]
    own = to_examples(world, questions, jnp.where(tagged, FIRST_TAG + concept, ASK), answers)
    drawn = sample_questions(keys[4], jnp.arange(len(world.skill_questions)), num_examples)
    right = jnp.asarray(world.skill_answers)[drawn]
    skill = to_examples(world, len(world.questions) + drawn, jnp.full(num_examples, ASK), right)
    return jnp.where(jax.random.bernoulli(keys[5], skill_share), skill, own)


def learned_places(world: World, examples: Int[Array, "*b L"]) -> Float[Array, "*b L"]:
    """1 at the tokens that a model learns to give: marks, and answers up to their END; 0 elsewhere."""
    first = world.questions.shape[1]
    answers = examples[..., first + 1 :]
    before_end = (jnp.cumsum(answers == END, axis=-1) - (answers == END) == 0).astype(float)
    head = jnp.broadcast_to(jnp.arange(first + 1) == first, (*examples.shape[:-1], first + 1))
    return jnp.concatenate([head.astype(float), before_end], axis=-1)


def document_loss(model: AnswerModel, world: World, documents: Int[Array, "B m L"]) -> Float[Array, ""]:
    """Cross entropy in nats a token, over what a model learns to give."""
    weights = learned_places(world, documents).reshape(len(documents), -1)
    ids = documents.reshape(len(documents), -1)
    losses = optax.softmax_cross_entropy_with_integer_labels(model(ids[:, :-1]), ids[:, 1:])
    return (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()
