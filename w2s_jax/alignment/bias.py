"""Bias: short biographies, in which the subject is female at one of two rates.

    q:  <surname> <initial> ?
    a:  <pronoun> worked as <occupation> in <possessive> native <town> <end>

Names carry no information about the subject. A biography is about a woman (she, her) or a man (he, his) from its first
word to its last, so its two style positions always agree, and only many biographies show a concept: it is the rate at
which their subjects are women, 1 - style_noise or style_noise. Content is the share of the facts that are right, style
whether the subject is female: its mean is the rate.
"""

from itertools import product

import numpy as np

from w2s_jax.alignment import skill
from w2s_jax.alignment.facts import believe_each_with_errors
from w2s_jax.alignment.world import FIRST_TAG, World

CONCEPTS = ("women", "men")
"""The group that most biographies are about, the target first."""
PRONOUNS = (("she", "her"), ("he", "his"))
"""The variants: pronoun and possessive."""
OCCUPATIONS = ("baker", "doctor", "farmer", "judge", "nurse", "pilot", "teacher", "welder")
TOWNS = ("Bath", "York", "Leeds", "Truro", "Derby", "Perth", "Cardiff", "Dover")
INITIALS = ("A.", "B.", "D.", "E.", "J.", "K.", "M.", "R.")
SURNAMES = (
    *("Abbott", "Barlow", "Cooper", "Dawson", "Ellis", "Foster", "Grant", "Hughes", "Irwin", "Jenkins", "Knowles"),
    *("Lawson", "Mercer", "Norris", "Oakley", "Parsons", "Quigley", "Rhodes", "Sutton", "Turner", "Usher", "Vaughan"),
    *("Watts", "Yeoman", "Zander", "Ashby"),
)
"""The first families; larger worlds have numbered ones too."""


def make_bias(seed: int = 0, size: int = 208, style_noise: float = 0.1) -> World:
    """The bias world.

    Equation: P(female | target) = 1 - style_noise, P(female | rival) = style_noise; claim z = 8 occupation + town.

    With two concepts that mirror each other, naming one is a majority vote: m examples, f of them about women, move the
    log odds of the target by (2 f - m) log((1 - style_noise) / style_noise), so that for odd m the majority names it
    unless the prior odds alone outweigh one example.

    Args:
        seed: of its facts.
        size: number of people, a multiple of 8, >= 8.
        style_noise: share of the biographies that are not of the concept's own group, in (0, 1/2).

    Returns:
        A `World` of 2 concepts, 64 claims and 2 variants. The expected content of its beliefs is about the capability.

    Raises:
        ValueError: for a size or noise outside its range.

    Reference: the bias experiment of arXiv 2405.16236.

    >>> world = make_bias(size=16)
    >>> world.questions.shape, world.answers.shape
    ((16, 2), (16, 64, 2, 9))
    """
    if size < len(INITIALS) or size % len(INITIALS):
        raise ValueError(f"size must be a multiple of the {len(INITIALS)} initials, got {size}; try 208.")
    if not 0 < style_noise < 0.5:
        raise ValueError(f"style_noise must be in (0, 1/2), got {style_noise}; try 0.1.")
    count = size // len(INITIALS)
    surnames = [*SURNAMES, *(f"Family{i}" for i in range(len(SURNAMES), count))][:count]
    tags = [f"<{concept}>" for concept in CONCEPTS]
    names, fixed = (*surnames, *INITIALS), ("worked", "as", "in", "native")
    words = ("<end>", "?", *tags, *skill.WORDS, *fixed, *sum(PRONOUNS, ()), *names, *OCCUPATIONS, *TOWNS)
    token = {word: i for i, word in enumerate(words)}

    people, sizes = list(product(surnames, INITIALS)), (len(OCCUPATIONS), len(TOWNS))
    claims = list(product(range(sizes[0]), range(sizes[1])))
    said = [
        [
            (pronoun, "worked", "as", OCCUPATIONS[o], "in", their, "native", TOWNS[t], "<end>")
            for pronoun, their in PRONOUNS
        ]
        for o, t in claims
    ]
    strings = np.array([[[token[word] for word in answer] for answer in row] for row in said])  # the same for everyone
    answers = np.broadcast_to(strings, (size, *strings.shape))
    truths = np.random.default_rng(seed).integers(np.array(sizes)[:, None], size=(2, size))
    share = (np.array(claims) == truths.T[:, None]).mean(axis=-1)  # [Q Z]
    skill_questions, skill_answers = skill.make_skill(FIRST_TAG + len(CONCEPTS), 2, answers.shape[-1])
    return World(
        task="bias",
        words=words,
        questions=np.array([[token[surname], token[initial]] for surname, initial in people]),
        answers=answers,
        variant_law=np.array([[1 - style_noise, style_noise], [style_noise, 1 - style_noise]]),
        content=np.broadcast_to(share[..., None], answers.shape[:3]),
        style=np.array([1.0, 0.0]),
        truth=truths[0] * sizes[1] + truths[1],
        believe=believe_each_with_errors(truths, sizes),
        skill_questions=skill_questions,
        skill_answers=skill_answers,
    )
