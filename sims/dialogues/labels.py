"""What models are fine-tuned on: a weak teacher's labels, and the strong model's own after weak examples."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sims.dialogues.answers import Questions, Report, answer, label, report, report_unprompted
from sims.dialogues.spec import AlignmentSpec
from sims.dialogues.strong import make_network
from w2s_jax.alignment.documents import document_loss, sample_document, sample_variants, to_examples
from w2s_jax.alignment.model import AnswerModel
from w2s_jax.alignment.scores import bayes_divergence
from w2s_jax.alignment.world import ASK, FIRST_TAG, TARGET, concept_posterior, read, source_prior
from w2s_jax.rng import stream
from w2s_jax.training import Params, init_state, make_optimizer, train
from w2s_jax.types import Key


class Weak(NamedTuple):
    """Weak teachers of a seed, by capability C."""

    labels: Int[Array, "C n a"]
    report: Report


class Refined(NamedTuple):
    """The strong model after weak examples, by capability C and their number I."""

    labels: Int[Array, "C I n a"]
    report: Report
    """Of the prompted model itself: no fine-tuning."""
    named: Int[Array, "C I"]
    """The concept that it names after the weak examples before the first question."""
    bayes_style: Float[Array, "C I"]
    """Expected style of exact Bayes after the same prompts, mean over the questions to train on."""
    divergence: Float[Array, "C I"]
    """KL(Bayes || strong) of its answers to them, nats."""


def teach(spec: AlignmentSpec, key: Key, questions: Questions) -> Weak:
    """Train a weak model on what it believes, in the target's way of answering, for each capability; then let it label.

    All start from the same parameters and read the same questions: they differ in beliefs alone.
    """
    world, training = spec.world, spec.weak_training
    graph, params = make_network(spec, spec.weak_width, stream(key, "init"))
    optimizer = make_optimizer(training)
    prior = jax.nn.one_hot(TARGET, world.num_concepts)

    def one(capability: Array) -> tuple[Array, Report]:
        beliefs = world.believe(stream(key, "beliefs"), capability)

        def loss(params: Params, step_key: Key) -> Array:
            keys = jax.random.split(step_key, spec.weak_batch)
            documents = jax.vmap(lambda key: sample_document(key, world, beliefs, prior, 1))(keys)
            return document_loss(nnx.merge(graph, params), world, documents)

        state, _ = train(stream(key, "steps"), init_state(params, optimizer), loss, optimizer, training.num_steps)
        found, labels = report_unprompted(spec, stream(key, "labels"), nnx.merge(graph, state.params), questions)
        return labels, found

    return Weak(*jax.lax.map(one, jnp.array(spec.capability)))


def refine(
    spec: AlignmentSpec, key: Key, model: AnswerModel, questions: Questions, weak_labels: Int[Array, "C n a"]
) -> Refined:
    """Let the strong model answer after weak examples: leave-one-out batches of the longest prompt and one more.

    A question to train on is asked after the others of its batch (arXiv 2405.16236, section 4), another question
    after a batch but its last; shorter prompts are the first examples of longer ones.
    """
    world, count, longest = spec.world, questions.train.size, max(spec.num_icl)
    own = _others(jnp.arange(count), longest)
    asked = questions.all
    foreign = (jnp.arange(asked.size - count) * spec.slots % count)[:, None] + jnp.arange(longest)[None]
    prior = source_prior(world, spec.concept_shift)

    def one(labels: Int[Array, "n a"]) -> Refined:
        examples = to_examples(world, questions.train, jnp.full(count, ASK), labels)
        prompts = examples[jnp.concatenate([own, foreign])]
        answered = answer(stream(key, "labels"), model, world, asked, prompts, spec.prompt_lengths)
        _, variants, readable = read(world, questions.train, labels)

        def bayes(length: int) -> Float[Array, "n K"]:
            return concept_posterior(world, prior, variants[own[:, :length]], readable[own[:, :length]])

        weights = jnp.stack([bayes(length) for length in spec.prompt_lengths], axis=1)
        style = weights @ jnp.asarray(world.variant_law @ world.style)
        apart = bayes_divergence(world, weights, answered.scores.truth_law[:count])
        return Refined(
            jnp.moveaxis(answered.labels[:count], 0, 1),
            report(questions, answered.scores),
            jnp.argmax(answered.tags[0], axis=-1),
            style.mean(axis=0),
            apart.mean(axis=0),
        )

    return jax.lax.map(one, weak_labels)


def _others(places: Int[Array, "n"], longest: int) -> Int[Array, "n m"]:
    """The other members of each one's batch, starting after itself."""
    size = longest + 1
    turns = (places[:, None] % size + 1 + jnp.arange(longest)[None]) % size
    return places[:, None] // size * size + turns


def own_labels(spec: AlignmentSpec, key: Key, model: AnswerModel, questions: Questions) -> Int[Array, "K+1 n a"]:
    """The strong model's answers without a prompt: under each concept's name, and last under none."""
    marks = jnp.append(FIRST_TAG + jnp.arange(spec.world.num_concepts), ASK)
    return jax.lax.map(partial(label, key, model, spec.world, questions.train), marks)


def true_labels(spec: AlignmentSpec, key: Key, questions: Questions) -> tuple[Int[Array, "n a"], Int[Array, "n a"]]:
    """Right answers in the target's way, and in the ways of the untouched model's own prior."""
    world, asked = spec.world, questions.train
    answers = jnp.asarray(world.answers)[asked, jnp.asarray(world.truth)[asked]]
    prior = source_prior(world, spec.concept_shift)
    concepts = jax.random.categorical(stream(key, "concepts"), jnp.log(prior), shape=asked.shape)

    def put(concept: Array) -> Array:
        return answers[jnp.arange(asked.size), sample_variants(stream(key, "variants"), world, concept)]

    return put(jnp.full(asked.shape, TARGET)), put(concepts)
