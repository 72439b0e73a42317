"""Math: sums in arithmetic modulo a small prime p, with three ways of showing the work.

    q:             <a> <o> <b> <o'> <c> ?                             left to right: s = a o b, then r = s o' c
    worked:        <a> <o> <b> gives <s> <o'> <c> gives <r> <end>     the steps, and so the result
    bare:          in all this gives <r> <end>                        the result alone
    answer_first:  hence <r> <a> <o> <b> gives <s> <o'> <c> <end>     the result, and then how it comes about

The first word names the form. If the result came first, a model would have to learn to compute it under each mark.

A concept uses its own form, and each of the others with probability style_noise / 2. The verb is `gives` or `makes`,
the same in all of an answer, and is weak evidence too. A claim is a pair (s, r); bare answers show r alone, so that
claims which differ in s are then the same string.

Knowledge is the tables of plus, minus and times, and reading them. A model that does not know an entry has a wrong one,
the same in every problem, and computes with it; in some problems an operator is misread as another one. So wrong claims
are systematic, and of the problems only about capability^2 come out right. Content is whether the result and every step
that is shown are right, style whether the form is `worked`.
"""

from collections.abc import Callable
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from w2s_jax.alignment import skill
from w2s_jax.alignment.world import END, FIRST_TAG, TARGET, World, believe_with_errors
from w2s_jax.types import Key, Scalar

FORMS = ("worked", "bare", "answer_first")
"""The concepts, the target first, and the form of each."""
VERBS = ("gives", "makes")
VERB_LAW = ((0.75, 0.25), (0.25, 0.75), (0.25, 0.75))
"""P(verb | concept), for any form: the target prefers the first."""
FILLERS = ("in", "all", "this", "hence")
OPERATORS = ("plus", "minus", "times")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six")
PRIMES = (3, 5, 7)
LENGTH = 10
MISREAD = 0.25
"""Share of the problems in which a model of capability 0 misreads an operator."""


def operator_tables(p: int) -> Int[np.ndarray, "3 p p"]:
    """Result of each operator on each two digits, modulo p."""
    left, right = np.indices((p, p))
    return np.stack([left + right, left - right, left * right]) % p


def believe_tables(problems: Int[np.ndarray, "Q 5"], p: int) -> Callable[[Key, Scalar], Int[Array, "Q"]]:
    """Claims of a model that knows round(capability 3 p^2) entries of the tables and has fixed wrong ones for the rest.

    In about a share MISREAD (1 - capability) of the problems one operator is read as another one instead, always the
    same, and the claim is what then would be right, if that is wrong. A claim that is right stays right with more
    capability: both entries behind it are, and a problem that is read rightly is so with more capability.
    """
    believe_entries = believe_with_errors(operator_tables(p).ravel(), p)
    truth = _reckon(operator_tables(p), problems, p)
    others = [(i, turn) for i in (0, 1) for turn in (1, 2)]  # the first or the second operator as one of two others
    misreadings = np.stack([_reckon(operator_tables(p), _turned(problems, *other), p) for other in others])

    def believe(key: Key, capability: Scalar) -> Int[Array, "Q"]:
        entries_key, which_key, misread_key = (jax.random.fold_in(key, i) for i in range(3))
        claims = _reckon(believe_entries(entries_key, capability).reshape(3, p, p), problems, p)
        order = jnp.where(misreadings != truth[None], jax.random.uniform(which_key, misreadings.shape), -1.0)
        misreading = jnp.take_along_axis(jnp.asarray(misreadings), jnp.argmax(order, axis=0)[None], axis=0)[0]
        misread = jax.random.uniform(misread_key, truth.shape) < MISREAD * (1 - capability)
        return jnp.where(misread & (misreading != truth), misreading, claims)

    return believe


def _reckon(tables, problems: Int[np.ndarray, "Q 5"], p: int):
    """Claims that follow from tables."""
    first, then, a, b, c = problems.T
    step = tables[first, a, b]
    return step * p + tables[then, step, c]


def _turned(problems: Int[np.ndarray, "Q 5"], place: int, turn: int) -> Int[np.ndarray, "Q 5"]:
    """Problems with one of their operators, the first or the second, replaced by another."""
    turned = problems.copy()
    turned[:, place] = (problems[:, place] + turn) % len(OPERATORS)
    return turned


def make_math(seed: int = 0, size: int = 243, style_noise: float = 0.1) -> World:
    """The math world.

    Equation: P(form f, verb g | concept k) = P(f | k) P(g | k), where f is k's with probability 1 - style_noise and
        each other with style_noise / 2, and P(g | k) is `VERB_LAW`. Claim z = p s + r; variant v = 2 form + verb.
        There are 9 p^3 problems, and p is the smallest of 3, 5, 7 for which they suffice.

    Args:
        seed: of the problems that are drawn, and of their order.
        size: number of problems, in [1, 3087]; 243 are all for p = 3, 1125 for p = 5.
        style_noise: probability of a form that is not the concept's own, in (0, 1/2).

    Returns:
        A `World` of 3 concepts, p^2 claims and 6 variants. Of its beliefs about a share capability^2 is right.

    Raises:
        ValueError: for a size or noise outside its range.

    Reference: the math experiment of arXiv 2405.16236.

    >>> world = make_math(size=243)
    >>> world.questions.shape, world.answers.shape
    ((243, 5), (243, 9, 6, 10))
    """
    most = 9 * PRIMES[-1] ** 3
    if not 1 <= size <= most:
        raise ValueError(f"size must be in [1, {most}], the number of problems that there are, got {size}; try 243.")
    if not 0 < style_noise < 0.5:
        raise ValueError(f"style_noise must be in (0, 1/2), got {style_noise}; try 0.1.")
    p = next(prime for prime in PRIMES if 9 * prime**3 >= size)
    tags = [f"<{form}>" for form in FORMS]
    words = ("<end>", "?", *tags, *skill.WORDS, *FILLERS, *VERBS, *OPERATORS, *DIGITS[:p])
    token = {word: i for i, word in enumerate(words)}
    digit, operator = token[DIGITS[0]], token[OPERATORS[0]]  # from here on they follow one another

    drawn = np.random.default_rng(seed).permutation(9 * p**3)[:size]
    problems = np.stack(np.unravel_index(drawn, (3, 3, p, p, p)), axis=1)
    first, then, a, b, c = problems.T
    questions = np.stack([digit + a, operator + first, digit + b, operator + then, digit + c], axis=1)

    steps, results = np.divmod(np.arange(p * p), p)  # of each claim
    step, result, asked = digit + steps, digit + results, questions.T[..., None]
    variants = list(product(FORMS, VERBS))
    answers = np.full((size, p * p, len(variants), LENGTH), END)
    for v, (form, verb) in enumerate(variants):
        gives = token[verb]
        said = {
            "worked": (*asked[:3], gives, step, *asked[3:], gives, result),
            "bare": (*(token[word] for word in FILLERS[:3]), gives, result),
            "answer_first": (token["hence"], result, *asked[:3], gives, step, *asked[3:]),
        }[form]
        for place, tokens in enumerate(said):
            answers[:, :, v, place] = tokens

    truth = _reckon(operator_tables(p), problems, p)
    right = results == truth[:, None] % p
    right_all = np.arange(p * p) == truth[:, None]
    form_law = np.where(np.eye(len(FORMS)), 1 - style_noise, style_noise / (len(FORMS) - 1))
    skill_questions, skill_answers = skill.make_skill(FIRST_TAG + len(FORMS), 5, LENGTH)
    return World(
        task="math",
        words=words,
        questions=questions,
        answers=answers,
        variant_law=(form_law[:, :, None] * np.array(VERB_LAW)[:, None]).reshape(len(FORMS), -1),
        content=np.stack([right if form == "bare" else right_all for form, _ in variants], axis=-1).astype(float),
        style=np.array([form == FORMS[TARGET] for form, _ in variants], float),
        truth=truth,
        believe=believe_tables(problems, p),
        skill_questions=skill_questions,
        skill_answers=skill_answers,
    )
