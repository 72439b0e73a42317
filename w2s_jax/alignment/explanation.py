"""Explanation: what a thing is like and what makes it so, explained in one of four forms.

    q:         <thing> <relation> ?
    analogy:   it acts like <image> , so <value> <end>
    plain:     it is <value> because of <mechanism> <end>
    steps:     first <mechanism> , then it turns <value> <end>
    question:  <value> , or what would <mechanism> make it <end>

The forms differ in where value and mechanism stand and in what ties them together; the analogy never names the
mechanism but something familiar that works alike, one image for each. A concept takes its own form, and slips to each
other form with probability style_noise / 3. It also says either "it" or "this", in any form, and slips to the
other word with probability style_noise. So one answer is strong evidence of the concept, but not proof. Content is
whether value and mechanism are both right, style whether the form is the target's; the word does not count.
"""

from itertools import product

import numpy as np

from w2s_jax.alignment import skill
from w2s_jax.alignment.facts import believe_each_with_errors
from w2s_jax.alignment.world import FIRST_TAG, World

FORMS = {
    "analogy": "{word} acts like {image} , so {value} <end>",
    "plain": "{word} is {value} because of {mechanism} <end>",
    "steps": "first {mechanism} , then {word} turns {value} <end>",
    "question": "{value} , or what would {mechanism} make {word} <end>",
}
"""The concepts, the target first: the form that each takes."""
PREFERRED = {"analogy": "it", "plain": "this", "steps": "it", "question": "this"}
"""The word that each concept has for the thing."""
CONNECTIVES = tuple(dict.fromkeys(word for form in FORMS.values() for word in form.split() if word[0] not in "{<"))
REFERENCES = ("it", "this")
VALUES = {
    "sound": ("loud", "hushed", "shrill", "hollow", "husky", "tinny"),
    "warmth": ("hot", "cold", "tepid", "icy", "balmy", "scorching"),
    "motion": ("fast", "slow", "jerky", "smooth", "wobbly", "still"),
    "shine": ("bright", "dim", "glossy", "matt", "sparkling", "milky"),
    "smell": ("sweet", "sour", "musty", "smoky", "fresh", "rancid"),
    "strength": ("tough", "brittle", "bendy", "firm", "flimsy", "rigid"),
}
"""The relations, and what a thing may be like in each."""
MECHANISMS = {
    "sound": {"steam": "whistles", "membranes": "drums", "strings": "harps", "pistons": "hammers"},
    "warmth": {"friction": "matches", "sunlight": "greenhouses", "insulation": "blankets", "evaporation": "sweat"},
    "motion": {"gears": "bicycles", "magnets": "compasses", "currents": "rivers", "balance": "seesaws"},
    "shine": {"reflection": "lakes", "refraction": "prisms", "varnish": "icing", "dust": "fog"},
    "smell": {"yeast": "bakeries", "mould": "cellars", "resin": "pines", "embers": "campfires"},
    "strength": {"fibres": "ropes", "lattices": "scaffolds", "bubbles": "sponges", "layers": "onions"},
}
"""What may make it so, and the image that an analogy has for that."""
THINGS = (
    *("kettle", "lamp", "engine", "clock", "wheel", "bridge", "oven", "chair", "boat", "candle", "mirror", "jacket"),
    *("bottle", "barrel", "carpet", "door", "fan", "gate", "helmet", "iron", "jar", "kite", "ladder", "mug", "needle"),
    *("organ", "pump", "quilt", "radio", "saddle", "table", "umbrella", "vase", "window", "yacht", "zipper", "anvil"),
    *("basket", "cart", "drill"),
)
"""The first entities; larger worlds have numbered ones too."""


def make_explanation(seed: int = 0, size: int = 240, style_noise: float = 0.1) -> World:
    """The explanation world.

    Equation: P(form f, word r | concept k) = P(f | k) P(r | k), where f is k's with probability 1 - style_noise and
        each other one with style_noise / 3, and r is k's with probability 1 - style_noise.
        Claim z = 4 value + mechanism; variant v = 2 form + word.

    Args:
        seed: of its facts.
        size: number of facts, a multiple of 6, >= 6.
        style_noise: probability that the form slips, and that the word does, in (0, 1/2).

    Returns:
        A `World` of 4 concepts, 24 claims and 8 variants. The content of its beliefs is about capability^2.

    Raises:
        ValueError: for a size or noise outside its range.

    Reference: the explanation experiment of arXiv 2405.16236, where the target is to explain by analogy.

    >>> world = make_explanation(size=12)
    >>> world.questions.shape, world.answers.shape
    ((12, 2), (12, 24, 8, 9))
    """
    if size < len(VALUES) or size % len(VALUES):
        raise ValueError(f"size must be a multiple of the {len(VALUES)} relations, got {size}; try 240.")
    if not 0 < style_noise < 0.5:
        raise ValueError(f"style_noise must be in (0, 1/2), got {style_noise}; try 0.1.")
    count = size // len(VALUES)
    things = [*THINGS, *(f"thing{i}" for i in range(len(THINGS), count))][:count]
    told = [word for pairs in MECHANISMS.values() for pair in pairs.items() for word in pair]
    tags = [f"<{form}>" for form in FORMS]
    facts = [*VALUES, *things, *sum(VALUES.values(), ()), *told]
    words = ("<end>", "?", *tags, *skill.WORDS, *CONNECTIVES, *REFERENCES, *facts)
    token = {word: i for i, word in enumerate(words)}

    pairs, sizes = list(product(things, VALUES)), (len(VALUES["sound"]), len(MECHANISMS["sound"]))
    variants = list(product(FORMS, REFERENCES))
    length = max(len(form.split()) for form in FORMS.values())
    answers = np.full((size, sizes[0] * sizes[1], len(variants), length), token["<end>"])
    for q, (_, relation) in enumerate(pairs):
        claims = product(VALUES[relation], MECHANISMS[relation].items())
        for (z, (value, (mechanism, image))), (v, (form, word)) in product(enumerate(claims), enumerate(variants)):
            said = FORMS[form].format(value=value, mechanism=mechanism, image=image, word=word).split()
            answers[q, z, v, : len(said)] = [token[part] for part in said]
    truths = np.random.default_rng(seed).integers(np.array(sizes)[:, None], size=(2, size))
    truth = truths[0] * sizes[1] + truths[1]
    own_form = [[form == concept for form, _ in variants] for concept in FORMS]
    own_word = [[word == PREFERRED[concept] for _, word in variants] for concept in FORMS]
    form_law = np.where(own_form, 1 - style_noise, style_noise / (len(FORMS) - 1))
    skill_questions, skill_answers = skill.make_skill(FIRST_TAG + len(FORMS), 2, length)
    return World(
        task="explanation",
        words=words,
        questions=np.array([[token[thing], token[relation]] for thing, relation in pairs]),
        answers=answers,
        variant_law=form_law * np.where(own_word, 1 - style_noise, style_noise),
        content=np.broadcast_to(np.eye(sizes[0] * sizes[1])[truth][..., None], answers.shape[:3]),
        style=np.array([form == "analogy" for form, _ in variants], float),
        truth=truth,
        believe=believe_each_with_errors(truths, sizes),
        skill_questions=skill_questions,
        skill_answers=skill_answers,
    )
