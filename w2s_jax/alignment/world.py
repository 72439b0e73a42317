"""A world: questions, all answers to them, and concepts, which are ways of answering.

An answer to question q is a claim z (its content) in a variant v (its wording):

    P(answer (z, v) | q, concept k, beliefs c) = 1[z = c_q] variant_law[k, v]

A concept is a distribution of variants, independent of the claims; knowledge is a claim for each question. So the
posterior of the concept given examples is that of their variants alone, whatever they claim: a wrong answer is
as informative about the way of answering as a right one.

    w_k  ~  alpha_k prod_i variant_law[k, v_i]                (the mixture over concepts of arXiv 2405.16236, section 3)

Two pairs (z, v) may be the same string, where a way of answering leaves out what they differ in.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from w2s_jax.types import Key, Scalar

END, ASK, FIRST_TAG = 0, 1, 2
"""Tokens of every world: the end of an answer, which also fills it up; the mark that ends a question; and the first of
the concepts' tags, which may stand in the mark's place and then name the way of answering."""
TARGET = 0
"""The concept to be aligned with."""


class Listing(NamedTuple):
    """Every string that is an answer to a question; N = Z V of them, in the order of `World.answers`."""

    questions: Int[np.ndarray, "R q"]
    answers: Int[np.ndarray, "R N a"]
    distinct: Bool[np.ndarray, "R N"]
    """Whether an answer is the first of its string among those to its question: sums over strings take these."""
    first: Int[np.ndarray, "R N"]
    """Place of that first answer."""
    content: Float[np.ndarray, "R N"]
    style: Float[np.ndarray, "N"]
    """Style of the world's own answers; the skill has none."""


@dataclasses.dataclass(frozen=True, eq=False)
class World:
    """A knowledge base, its questions, all answers to them, and the concepts.

    Raises:
        ValueError: for arrays of unequal sizes, a `variant_law` that is no distribution, or tokens without a word.
    """

    task: str
    """Name of the world."""
    words: tuple[str, ...]
    """The word of each token, no two alike and without blanks: <end>, ?, a tag per concept, then the world's own."""
    questions: Int[np.ndarray, "Q q"]
    """Tokens of each question, without the mark that ends it."""
    answers: Int[np.ndarray, "Q Z V a"]
    """Tokens of the answer with claim z in variant v, ended and then filled up by END."""
    variant_law: Float[np.ndarray, "K V"]
    """P(variant | concept), positive, rows sum to 1; concept 0 is the target."""
    content: Float[np.ndarray, "Q Z V"]
    """Content score of each answer, in [0, 1]; 1 for the truth."""
    style: Float[np.ndarray, "V"]
    """Style score of each variant, in [0, 1]."""
    truth: Int[np.ndarray, "Q"]
    """The right claim of each question."""
    believe: Callable[[Key, Scalar], Int[Array, "Q"]]
    """(key, capability in [0, 1]) -> the claims of a model that knows that share of the world and is wrong about the
    rest. More capability under the same key adds knowledge and changes none."""
    skill_questions: Int[np.ndarray, "S q"]
    """Questions of a skill that has nothing to do with the world."""
    skill_answers: Int[np.ndarray, "S a"]
    """The one right answer to each."""

    def __post_init__(self) -> None:
        num_questions, num_claims, num_variants, length = self.answers.shape
        shapes = {
            "questions": (self.questions.shape[:1], (num_questions,)),
            "content": (self.content.shape, (num_questions, num_claims, num_variants)),
            "style": (self.style.shape, (num_variants,)),
            "truth": (self.truth.shape, (num_questions,)),
            "variant_law": (self.variant_law.shape[1:], (num_variants,)),
            "skill_questions": (self.skill_questions.shape[1:], self.questions.shape[1:]),
            "skill_answers": (self.skill_answers.shape, (len(self.skill_questions), length)),
        }
        for name, (got, expected) in shapes.items():
            if got != expected:
                raise ValueError(f"{name} must fit the answers, expected shape {expected} there, got {got}.")
        if (self.variant_law <= 0).any() or not np.allclose(self.variant_law.sum(axis=1), 1):
            raise ValueError("variant_law must be positive and its rows must sum to 1; give every variant some mass.")
        if len(set(self.words)) < len(self.words) or any(word.split() != [word] for word in self.words):
            raise ValueError("words must differ and contain no blanks; rename those that do not.")
        for name in ("questions", "answers", "skill_questions", "skill_answers"):
            tokens = getattr(self, name)
            if tokens.min() < 0 or tokens.max() >= len(self.words):
                raise ValueError(f"tokens must be in [0, {len(self.words)}), got others in {name}; extend words.")
        if (self.answers[..., -1] != END).any() or (self.skill_answers[..., -1] != END).any():
            raise ValueError("answers must end in <end>; make room for it.")

    @property
    def num_concepts(self) -> int:
        """Number K of concepts."""
        return len(self.variant_law)

    @property
    def answer_length(self) -> int:
        """Places of an answer, its end and filling included."""
        return self.answers.shape[-1]

    @property
    def example_length(self) -> int:
        """Places of a question, its mark and its answer."""
        return self.questions.shape[1] + 1 + self.answer_length

    @functools.cached_property
    def listing(self) -> "Listing":
        """All questions, the skill's after the world's own, with all answers to each."""
        strings = self.answers.reshape(len(self.answers), -1, self.answer_length)
        first = np.zeros(strings.shape[:2], int)
        for question, own in enumerate(strings):
            _, places, which = np.unique(own, axis=0, return_index=True, return_inverse=True)
            first[question] = places[which.reshape(-1)]
        distinct = first == np.arange(first.shape[1])
        # A question of the skill has one answer, and is filled up with strings that count for nothing.
        skill = np.full((len(self.skill_questions), *strings.shape[1:]), END)
        skill[:, 0] = self.skill_answers
        only_first = np.broadcast_to(np.arange(strings.shape[1]) == 0, skill.shape[:2])
        return Listing(
            np.concatenate([self.questions, self.skill_questions]),
            np.concatenate([strings, skill]),
            np.concatenate([distinct, only_first]),
            np.concatenate([first, np.where(only_first, 0, 1)]),
            np.concatenate([self.content.reshape(distinct.shape), only_first]),
            np.tile(self.style, self.answers.shape[1]),
        )

    def target_style(self) -> float:
        """Expected style score of the target concept itself."""
        return float(self.variant_law[TARGET] @ self.style)


def source_prior(world: World, concept_shift: Scalar) -> Float[Array, "K"]:
    """The strong model's prior over concepts: 1 - concept_shift on the target, the rest evenly on its rivals.

    Args:
        world: a `World`.
        concept_shift: total variation distance from the target, in [0, 1].
    """
    rivals = world.num_concepts - 1
    return jnp.full(world.num_concepts, concept_shift / rivals).at[TARGET].set(1 - concept_shift)


def concept_posterior(
    world: World, prior: Float[Array, "K"], variants: Int[Array, "*b m"], readable: Bool[Array, "*b m"]
) -> Float[Array, "*b K"]:
    """The exact posterior of the concept given the variants of m examples; unreadable ones are ignored.

    Equation: w_k ~ alpha_k prod_i variant_law[k, v_i].
    """
    evidence = jnp.log(jnp.asarray(world.variant_law)).T[variants]  # [*b m K]
    total = jnp.where(readable[..., None], evidence, 0.0).sum(axis=-2)  # [*b K]
    return jax.nn.softmax(jnp.broadcast_to(jnp.log(prior), total.shape) + total, axis=-1)


def read(
    world: World, questions: Int[Array, "*b"], answers: Int[Array, "*b a"]
) -> tuple[Int[Array, "*b"], Int[Array, "*b"], Bool[Array, "*b"]]:
    """Claim and variant of an answer's tokens, and whether it is an answer to its question at all.

    An answer is its tokens up to the first END; what comes after does not count.
    """
    place, readable = find(world, questions, answers)
    num_variants = world.answers.shape[2]
    return place // num_variants, place % num_variants, readable


def find(
    world: World, numbers: Int[Array, "*b"], answers: Int[Array, "*b a"]
) -> tuple[Int[Array, "*b"], Bool[Array, "*b"]]:
    """Place of an answer's tokens in the listing of its question, and whether they are there; as for `read`."""
    ended = jnp.cumsum(answers == END, axis=-1) - (answers == END) > 0
    trimmed = jnp.where(ended, END, answers)
    same = (jnp.asarray(world.listing.answers)[numbers] == trimmed[..., None, :]).all(axis=-1)
    return jnp.argmax(same, axis=-1), same.any(axis=-1)


def believe_with_errors(truth: Int[np.ndarray, "Q"], num_claims: int) -> Callable[[Key, Scalar], Int[Array, "Q"]]:
    """Beliefs of a model that knows round(capability Q) of the facts, and of each other one a fixed wrong claim."""

    def believe(key: Key, capability: Scalar) -> Int[Array, "Q"]:
        order_key, wrong_key = (jax.random.fold_in(key, i) for i in range(2))
        place = jax.random.permutation(order_key, len(truth))
        wrong = (truth + jax.random.randint(wrong_key, (len(truth),), 1, num_claims)) % num_claims
        return jnp.where(place < jnp.round(capability * len(truth)), truth, wrong)

    return believe


def to_text(world: World, tokens: Int[np.ndarray, "L"]) -> str:
    """Tokens as words."""
    return " ".join(world.words[token] for token in np.asarray(tokens))


def to_tokens(world: World, text: str) -> Int[np.ndarray, "L"]:
    """The inverse of `to_text`."""
    number = {word: token for token, word in enumerate(world.words)}
    return np.array([number[word] for word in text.split()])
