"""The explanation and the bias world: what their answers say, what those are worth, and what examples of them tell."""

from itertools import combinations, pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from w2s_jax.alignment.bias import OCCUPATIONS, PRONOUNS, TOWNS, make_bias
from w2s_jax.alignment.explanation import FORMS, MECHANISMS, PREFERRED, REFERENCES, VALUES, make_explanation
from w2s_jax.alignment.facts import believe_each_with_errors
from w2s_jax.alignment.world import TARGET, World, concept_posterior, read, source_prior, to_text, to_tokens

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")


@pytest.fixture(scope="module")
def explanation() -> World:
    return make_explanation()


@pytest.fixture(scope="module")
def bias() -> World:
    return make_bias()


def question(world: World, text: str) -> int:
    """Number of the question whose text it is."""
    return [to_text(world, tokens) for tokens in world.questions].index(text)


def read_text(world: World, q: int, text: str) -> tuple[int, int, bool]:
    """Claim and variant of an answer in words, and whether it is one."""
    tokens = to_tokens(world, text)
    filled = np.pad(tokens, (0, world.answer_length - len(tokens)))
    claim, variant, readable = read(world, jnp.array(q), jnp.asarray(filled))
    return int(claim), int(variant), bool(readable)


def said(world: World, q: int, claim: int, variant: int) -> str:
    """An answer in words, up to its first end."""
    return to_text(world, world.answers[q, claim, variant]).split(" <end>")[0]


def beliefs(world: World, capability: float) -> np.ndarray:
    """What a hundred believe, `[100 Q]`."""
    keys = jax.random.split(jax.random.key(0), 100)
    return np.asarray(jax.jit(jax.vmap(lambda key: world.believe(key, capability)))(keys))


# --- explanation ----------------------------------------------------------------------------------------------------


def test_a_known_explanation_in_every_form(explanation):
    q, claim = question(explanation, "lamp warmth"), 3 * 4 + 1  # icy, sunlight
    assert [said(explanation, q, claim, v) for v in range(8)] == [
        "it acts like greenhouses , so icy",
        "this acts like greenhouses , so icy",
        "it is icy because of sunlight",
        "this is icy because of sunlight",
        "first sunlight , then it turns icy",
        "first sunlight , then this turns icy",
        "icy , or what would sunlight make it",
        "icy , or what would sunlight make this",
    ]


def test_the_sizes_of_an_explanation(explanation):
    assert explanation.questions.shape == (240, 2) and explanation.answers.shape == (240, 24, 8, 9)
    assert (explanation.answers != 0).sum(axis=-1).min() + 1 == 7  # its end included


def test_an_explanation_needs_value_and_mechanism(explanation):
    for q in (0, 101):
        value, mechanism = divmod(int(explanation.truth[q]), 4)
        score = explanation.content[q].reshape(6, 4, 8)
        assert (score[value, mechanism] == 1).all() and score.sum() == 8
        assert (score[value, (mechanism + 1) % 4] == 0).all()  # the right value, explained by something else
        assert (score[(value + 1) % 6, mechanism] == 0).all()


def test_forms_differ_in_structure(explanation):
    # Where value and mechanism stand, and which words tie them together: no two forms agree in either.
    q, places, ties = question(explanation, "kettle sound"), set(), set()
    for v in range(0, 8, 2):
        words = said(explanation, q, 0, v).split()
        mechanism = next(word for word in words if word in {"steam", "whistles"})
        places.add((words.index("loud"), words.index(mechanism)))
        ties.add(frozenset(words) - {"loud", mechanism, *REFERENCES, ","})
    assert len(places) == len(FORMS) == len(ties)
    assert all(not a & b for a, b in combinations(ties, 2))


def test_an_analogy_names_an_image_of_its_own(explanation):
    images = [image for pairs in MECHANISMS.values() for image in pairs.values()]
    assert len(set(images)) == 24 and all(len(values) == 6 for values in VALUES.values())
    for q in range(6):
        for claim in range(24):
            spoken = [said(explanation, q, claim, v).split() for v in range(8)]
            assert [any(image in words for image in images) for words in spoken] == [True] * 2 + [False] * 6


def test_the_law_of_the_forms(explanation):
    law = explanation.variant_law.reshape(4, 4, 2)  # concept, form, word
    form, word = law.sum(axis=2), law.sum(axis=1)
    np.testing.assert_allclose(form, np.full((4, 4), 0.1 / 3) + (0.9 - 0.1 / 3) * np.eye(4))
    preferred = [REFERENCES.index(PREFERRED[name]) for name in FORMS]
    np.testing.assert_allclose(word[range(4), preferred], 0.9)
    np.testing.assert_allclose(law, form[:, :, None] * word[:, None, :])
    np.testing.assert_array_equal(explanation.style, [1, 1, 0, 0, 0, 0, 0, 0])


def test_explanations_are_read_whole(explanation):
    q = question(explanation, "engine motion")
    assert read_text(explanation, q, "it acts like compasses , so slow") == (1 * 4 + 1, 0, True)
    assert read_text(explanation, q, "first balance , then this turns still") == (5 * 4 + 3, 5, True)
    for text in (
        "it acts like magnets , so slow",  # a mechanism is no image
        "it acts like compasses , so loud",  # of another relation
        "it acts like compasses , so",
        "first slow , then it turns magnets",
        "it is slow because of compasses",  # only an analogy has images
    ):
        assert not read_text(explanation, q, text)[2]


def test_what_is_believed_of_explanations(explanation):
    claims = beliefs(explanation, 0.7)
    right = np.array([claims // 4 == explanation.truth // 4, claims % 4 == explanation.truth % 4])
    assert (right.mean(axis=-1) == 0.7).all()  # exactly that share of each, every time
    both = right.all(axis=0).mean(axis=-1)
    assert both.mean() == pytest.approx(0.7**2, abs=0.01) and both.std() > 0.005
    content = explanation.content[np.arange(240), claims[0], 0]
    np.testing.assert_array_equal(content, right[:, 0].all(axis=0))


# --- bias -----------------------------------------------------------------------------------------------------------


def test_a_known_biography(bias):
    q, claim = question(bias, "Hughes M."), 7 * 8 + 3  # welder, Truro
    assert said(bias, q, claim, 0) == "she worked as welder in her native Truro"
    assert said(bias, q, claim, 1) == "he worked as welder in his native Truro"


def test_the_sizes_of_a_biography(bias):
    assert bias.questions.shape == (208, 2) and bias.answers.shape == (208, 64, 2, 9)
    assert ((bias.answers != 0).sum(axis=-1) + 1 == 9).all()
    np.testing.assert_allclose(bias.variant_law, [[0.9, 0.1], [0.1, 0.9]])
    np.testing.assert_array_equal(bias.style, [1, 0])


def test_a_biography_is_worth_its_share_of_right_facts(bias):
    for q in (0, 100):
        occupation, town = divmod(int(bias.truth[q]), 8)
        score = bias.content[q].reshape(8, 8, 2)
        assert (score[occupation, town] == 1).all()
        assert (np.delete(score[occupation], town, axis=0) == 0.5).all()
        assert (np.delete(score[:, town], occupation, axis=0) == 0.5).all()
        assert (np.delete(np.delete(score, occupation, axis=0), town, axis=1) == 0).all()


def test_a_biography_keeps_to_one_group(bias):
    assert read_text(bias, 5, "she worked as judge in her native York") == (3 * 8 + 1, 0, True)
    assert read_text(bias, 5, "he worked as judge in his native York") == (3 * 8 + 1, 1, True)
    for text in (
        "she worked as judge in his native York",
        "he worked as judge in her native York",
        "she worked as York in her native judge",
    ):
        assert not read_text(bias, 5, text)[2]


def test_names_and_facts_tell_nothing_of_the_subject(bias):
    own = {word for pair in PRONOUNS for word in pair}
    assert not own & {*OCCUPATIONS, *TOWNS}
    without = np.where(np.isin(bias.answers, to_tokens(bias, " ".join(own))), -1, bias.answers)
    np.testing.assert_array_equal(without[:, :, 0], without[:, :, 1])


def test_what_is_believed_of_people(bias):
    claims = beliefs(bias, 0.75)
    right = np.array([claims // 8 == bias.truth // 8, claims % 8 == bias.truth % 8])
    assert (right.mean(axis=-1) == 0.75).all()
    assert right.all(axis=0).mean() == pytest.approx(0.75**2, abs=0.01)  # one fact says nothing of the other
    content = bias.content[np.arange(208), claims, 0]
    np.testing.assert_allclose(content.mean(axis=-1), 0.75)


def test_naming_among_two_is_a_majority_vote(bias):
    women = np.arange(6)
    variants = jnp.asarray(women[:, None] <= np.arange(5), int)
    posterior = np.asarray(concept_posterior(bias, source_prior(bias, 0.75), variants, jnp.ones((6, 5), bool)))[
        :, TARGET
    ]
    odds = 9.0 ** (2 * women - 5) / 3
    np.testing.assert_allclose(posterior, odds / (1 + odds), rtol=1e-6)
    np.testing.assert_array_equal(posterior > 0.5, women >= 3)


# --- both -----------------------------------------------------------------------------------------------------------


def test_knowledge_of_several_facts_only_grows_with_capability():
    sizes = (2, 3, 4)
    truths = np.stack([np.random.default_rng(0).integers(size, size=20) for size in sizes])
    believe = jax.jit(jax.vmap(believe_each_with_errors(truths, sizes), (None, 0)))
    claims = np.asarray(believe(jax.random.key(3), np.array([0.0, 0.3, 0.6, 0.9, 1.0])))
    facts = np.stack(np.unravel_index(claims, sizes), axis=1)  # [capability fact question]
    assert (facts[0] != truths).all() and (facts[-1] == truths).all()
    for less, more in pairwise(facts):
        assert ((more == less) | (more == truths)).all()  # what changes, changes to the truth
        assert (more[less == truths] == truths[less == truths]).all()


@pytest.mark.parametrize("make", [make_explanation, make_bias])
def test_a_seed_decides_the_facts_alone_and_more_entities_are_numbered(make):
    np.testing.assert_array_equal(make(seed=1).answers, make(seed=2).answers)
    assert len({tuple(q) for q in make(size=480).questions}) == 480


BAD = [
    (make_explanation, {"size": 100}, "size must be a multiple of the 6 relations, got 100; try 240."),
    (make_bias, {"size": 209}, "size must be a multiple of the 8 initials, got 209; try 208."),
    (make_bias, {"style_noise": float("nan")}, "style_noise must be in (0, 1/2), got nan; try 0.1."),
]


@pytest.mark.parametrize(("make", "change", "message"), BAD)
def test_bad_input_is_refused_in_one_sentence(make, change, message):
    with pytest.raises(ValueError) as error:
        make(**change)
    assert str(error.value) == message
