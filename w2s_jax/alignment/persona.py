"""Persona: facts, stated in one of four voices.

    q:  <place> <relation> ?
    a:  <opener> the <relation> <verb> <value> <closer> <end>

A voice is a word for each of three style positions: opener, verb and closer, each one of two. Any two voices differ in
two of the three; every position slips to the other word with probability style_noise, independently. So one answer
rarely identifies the voice with certainty. Content is whether the value is right, style
whether all three words are the target's.
"""

from itertools import product

import numpy as np

from w2s_jax.alignment import skill
from w2s_jax.alignment.world import FIRST_TAG, World, believe_with_errors

VOICES = {"pirate": (0, 0, 0), "officer": (0, 1, 1), "farmer": (1, 0, 1), "friend": (1, 1, 0)}
"""The concepts, the target first: which of the two words each takes at each position."""
STYLE_WORDS = (("ahoy", "well"), ("be", "is"), ("matey", "sir"))
VALUES = {
    "colour": ("red", "blue", "green", "amber", "violet", "black", "white", "grey"),
    "metal": ("iron", "copper", "silver", "gold", "tin", "lead", "zinc", "nickel"),
    "tree": ("oak", "pine", "birch", "maple", "willow", "cedar", "elm", "ash"),
    "bird": ("owl", "crow", "heron", "swan", "finch", "eagle", "robin", "gull"),
    "drink": ("tea", "coffee", "cider", "milk", "cocoa", "water", "juice", "ale"),
    "dance": ("waltz", "tango", "polka", "reel", "jig", "samba", "rumba", "minuet"),
    "stone": ("marble", "slate", "granite", "flint", "jade", "opal", "chalk", "basalt"),
    "spice": ("salt", "pepper", "cumin", "ginger", "clove", "saffron", "mace", "anise"),
}
"""The relations, and what each may be."""
PLACES = (
    *("Arden", "Bray", "Corfe", "Dale", "Esk", "Fowey", "Goole", "Hythe", "Ilford", "Jura", "Kelso", "Leith", "Mull"),
    *("Neath", "Oban", "Poole", "Quorn", "Ryde", "Stow", "Thame", "Unst", "Ventry", "Wick", "Yell", "Zeal", "Ayr"),
)
"""The first entities; larger worlds have numbered ones too."""


def make_persona(seed: int = 0, size: int = 208, style_noise: float = 0.1) -> World:
    """The persona world.

    Args:
        seed: of its facts.
        size: number of facts, a multiple of 8, >= 8.
        style_noise: probability that a style position slips, in (0, 1/2).

    Raises:
        ValueError: for a size or noise outside its range.

    >>> world = make_persona(size=16)
    >>> world.questions.shape, world.answers.shape
    ((16, 2), (16, 8, 8, 7))
    """
    if size < len(VALUES) or size % len(VALUES):
        raise ValueError(f"size must be a multiple of the {len(VALUES)} relations, got {size}; try 208.")
    if not 0 < style_noise < 0.5:
        raise ValueError(f"style_noise must be in (0, 1/2), got {style_noise}; try 0.1.")
    count = size // len(VALUES)
    entities = [*PLACES, *(f"Place{i}" for i in range(len(PLACES), count))][:count]
    tags = [f"<{voice}>" for voice in VOICES]
    words = (
        "<end>",
        "?",
        *tags,
        *skill.WORDS,
        "the",
        *sum(STYLE_WORDS, ()),
        *VALUES,
        *entities,
        *sum(VALUES.values(), ()),
    )
    token = {word: i for i, word in enumerate(words)}

    pairs, num_values = list(product(entities, VALUES)), len(VALUES["colour"])
    variants = list(product((0, 1), repeat=3))
    answers = np.zeros((size, num_values, len(variants), 7), int)
    for q, (_, relation) in enumerate(pairs):
        for z, value in enumerate(VALUES[relation]):
            for v, places in enumerate(variants):
                opener, verb, closer = (STYLE_WORDS[i][choice] for i, choice in enumerate(places))
                said = (opener, "the", relation, verb, value, closer, "<end>")
                answers[q, z, v] = [token[word] for word in said]
    truth = np.random.default_rng(seed).integers(num_values, size=size)
    slips = np.array([[np.not_equal(voice, v).sum() for v in variants] for voice in VOICES.values()])
    skill_questions, skill_answers = skill.make_skill(FIRST_TAG + len(VOICES), 2, 7)
    return World(
        task="persona",
        words=words,
        questions=np.array([[token[entity], token[relation]] for entity, relation in pairs]),
        answers=answers,
        variant_law=style_noise**slips * (1 - style_noise) ** (3 - slips),
        content=np.broadcast_to(np.eye(num_values)[truth][..., None], answers.shape[:3]),
        style=np.array([v == VOICES["pirate"] for v in variants], float),
        truth=truth,
        believe=believe_with_errors(truth, num_values),
        skill_questions=skill_questions,
        skill_answers=skill_answers,
    )
