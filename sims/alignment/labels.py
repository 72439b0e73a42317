"""The strong model's own labels: after weak examples, under a concept's name, or where it is surest; and true ones."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sims.alignment.spec import AlignmentSpec
from w2s_jax.alignment.answers import Questions, Report, answer, label, no_prompts, over_questions, report
from w2s_jax.alignment.documents import sample_variants, to_examples
from w2s_jax.alignment.model import AnswerModel, answer_log_probs
from w2s_jax.alignment.prompting import ask, read_prompt
from w2s_jax.alignment.scores import bayes_divergence
from w2s_jax.alignment.world import ASK, FIRST_TAG, TARGET, concept_posterior, read, source_prior
from w2s_jax.rng import stream
from w2s_jax.types import Key


class Refined(NamedTuple):
    """The strong model after weak examples, by capability C and their number I."""

    labels: Int[Array, "C I n a"]
    report: Report
    """Scores of the prompted model itself, without fine-tuning."""
    named: Int[Array, "C I"]
    """The concept that it names after the weak examples before the first question."""
    bayes_style: Float[Array, "C I"]
    """Expected style of exact Bayes after the same prompts, mean over the questions to train on."""
    divergence: Float[Array, "C I"]
    """KL(Bayes || strong) of its answers to them, nats."""


def refine(
    spec: AlignmentSpec,
    key: Key,
    model: AnswerModel,
    questions: Questions,
    weak_labels: Int[Array, "C n a"],
    believed: Int[Array, "C Q"],
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
        answered = answer(stream(key, "labels"), model, world, asked, prompts, spec.prompt_lengths, believed)
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


def self_refined(
    spec: AlignmentSpec, key: Key, model: AnswerModel, questions: Questions, weak_labels: Int[Array, "C n a"]
) -> Int[Array, "C n a"]:
    """The strong model's answer to each question after the weak answer to that very question, and nothing else.

    Ask-to-Improve, the third algorithm of arXiv 2405.16236: there the model is shown a question with its weak answer,
    and is instructed to improve it. Here nothing is instructed: it reads the pair as an example and is asked again.
    No document of its pre-training asks a question twice, so what a network makes of that is its own affair.
    """
    world, asked = spec.world, questions.train

    def one(labels: Int[Array, "n a"]) -> Int[Array, "n a"]:
        pairs = to_examples(world, asked, jnp.full(asked.shape, ASK), labels)
        return label(stream(key, "labels"), model, world, asked, prompts=pairs[:, None])

    return jax.lax.map(one, weak_labels)


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


def surest(spec: AlignmentSpec, model: AnswerModel, questions: Questions) -> Bool[Array, "n"]:
    """The `known_share` of the questions to train on for which the strong model is surest of one claim.

    How sure it is: max_z sum_v P(answer (z, v)), a claim in any variant. Lang, Huang and Li (arXiv 2511.14166) train a
    classifier of what a model knows; here that is computed.
    """
    world = spec.world
    cache = read_prompt(model, no_prompts(world, 1)[0])

    def one(number: Array) -> Float[Array, ""]:
        asked = ask(model, world, number, cache)
        answers, distinct = (jnp.asarray(held)[number] for held in (world.listing.answers, world.listing.distinct))
        law = jnp.where(distinct, jnp.exp(answer_log_probs(model, asked.logits, asked.cache, answers)), 0.0)
        return law.reshape(world.answers.shape[1:3]).sum(axis=1).max()

    sure = over_questions(one, questions.train)
    count = round(spec.known_share * questions.train.size)
    return jnp.zeros(sure.shape, bool).at[jnp.argsort(-sure)[:count]].set(True)
