"""Answers of a model to many questions, each after a prompt of its own: scores, drawn labels, and names."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from jaxtyping import Key as Keys

from w2s_jax.alignment.model import Answering, AnswerModel, decode
from w2s_jax.alignment.prompting import ask, read_prompt, shorten
from w2s_jax.alignment.scores import Scores, score
from w2s_jax.alignment.world import ASK, World
from w2s_jax.types import Key

AT_ONCE = 16
"""Questions asked side by side at most, so that their data fit in a core's cache."""


class Questions(NamedTuple):
    """Numbers of the questions of a seed in `World.listing`."""

    train: Int[Array, "n"]
    """Labelled by the teacher and fine-tuned on."""
    held_out: Int[Array, "h"]
    """Questions of the same world that no model is fine-tuned on."""
    skill: Int[Array, "s"]
    """Questions of the unrelated skill."""

    @property
    def all(self) -> Int[Array, "A"]:
        """All of them in this order."""
        return jnp.concatenate(self)


class Report(NamedTuple):
    """Scores of a model, mean over questions. T: temperature 0 and 1."""

    content: Float[Array, "*b 3 T"]
    """On train questions, held-out questions and the unrelated skill."""
    style: Float[Array, "*b 2 T"]
    """On train and held-out questions."""
    mass: Float[Array, "*b 3"]
    """Share of its distribution on answers of the grammar."""
    copied: Float[Array, "*b C 2 T"]
    """Share of the wrong claims of each teacher that it states, on train and held-out questions; NaN without any."""


class Answered(NamedTuple):
    """Answers of a model to questions A, after prompts of several lengths I."""

    scores: Scores
    """`[A I ...]`."""
    labels: Int[Array, "A I a"]
    """Answers drawn from its distribution."""
    tags: Float[Array, "A I K"]
    """Logits of the concepts' names."""


def no_prompts(world: World, count: int) -> Int[Array, "A 0 L"]:
    """Prompts without an example."""
    return jnp.zeros((count, 0, world.example_length), jnp.int32)


def answer(
    key: Key,
    model: AnswerModel,
    world: World,
    numbers: Int[Array, "A"],
    prompts: Int[Array, "A m L"],
    lengths: tuple[int, ...],
    beliefs: Int[Array, "C Q"] | None = None,
) -> Answered:
    """Ask questions, each after the first examples of its prompt, for each number of them.

    `beliefs` are those of teachers whose errors may be copied (`score`); None is one that makes none.
    """
    believed = jnp.asarray(world.truth)[None] if beliefs is None else beliefs

    def one(inputs: tuple[Key, Array, Array]) -> Answered:
        key, number, prompt = inputs
        cache = read_prompt(model, prompt)

        def after(length: Array) -> Answered:
            asked = ask(model, world, number, shorten(world, cache, length))

            def say(temperature: Array) -> Int[Array, "a"]:
                return decode(key, model, asked.logits, asked.cache, world.answer_length, temperature)

            greedy, label = jax.vmap(say)(jnp.array([0.0, 1.0]))
            found = score(model, world, number, asked.logits, asked.cache, greedy, believed)
            return Answered(found, label, asked.tags)

        return jax.lax.map(after, jnp.array(lengths))

    return over_questions(one, (question_keys(key, numbers), numbers, prompts))


def label(
    key: Key,
    model: Answering,
    world: World,
    numbers: Int[Array, "n"],
    mark: Int[Array, ""] | int = ASK,
    prompts: Int[Array, "n m L"] | None = None,
) -> Int[Array, "n a"]:
    """Answers drawn from a model's own distribution under a mark, each after its prompt; none reads nothing."""

    def one(inputs: tuple[Key, Array, Array]) -> Array:
        key, number, prompt = inputs
        asked = ask(model, world, number, read_prompt(model, prompt), mark)
        return decode(key, model, asked.logits, asked.cache, world.answer_length)

    prompts = no_prompts(world, numbers.size) if prompts is None else prompts
    return over_questions(one, (question_keys(key, numbers), numbers, prompts))


def report(questions: Questions, scores: Scores) -> Report:
    """Means over the questions of each split of scores `[A ...]`."""
    ends = [questions.train.size, questions.train.size + questions.held_out.size]

    def by_split(values: Array, mean=jnp.mean) -> list[Array]:
        return [mean(part, axis=0) for part in jnp.split(values, ends)]

    content, style, mass = (by_split(values) for values in (scores.content, scores.style, scores.mass))
    copied = by_split(scores.copied, jnp.nanmean)[:2]
    return Report(
        jnp.stack(content, axis=-2),
        jnp.stack(style[:2], axis=-2),
        jnp.stack(mass, axis=-1),
        jnp.stack(copied, axis=-2),
    )


def report_unprompted(
    key: Key, model: AnswerModel, world: World, questions: Questions, beliefs: Int[Array, "C Q"] | None = None
) -> tuple[Report, Array]:
    """The report of a model without a prompt, and its labels of the questions to train on."""
    asked = questions.all
    answered = answer(key, model, world, asked, no_prompts(world, asked.size), (0,), beliefs)
    scores, labels = jax.tree.map(lambda leaf: leaf[:, 0], (answered.scores, answered.labels))
    return report(questions, scores), labels[: questions.train.size]


def over_questions(one, inputs):
    """`lax.map` in groups of equal size: a last one that is smaller would be compiled once more."""
    count = len(jax.tree.leaves(inputs)[0])
    return jax.lax.map(one, inputs, batch_size=max(n for n in range(1, AT_ONCE + 1) if count % n == 0))


def question_keys(key: Key, numbers: Int[Array, "A"]) -> Keys[Array, "A"]:
    """A key for each question, the same wherever it is asked: labels are paired."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
