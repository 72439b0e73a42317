"""The explanation and the bias world: what their answers say, what those are worth, and what examples of them tell."""

from itertools import pairwise

import jax
import numpy as np
import pytest

from w2s_jax.alignment.bias import OCCUPATIONS, PRONOUNS, TOWNS, make_bias
from w2s_jax.alignment.explanation import FORMS, MECHANISMS, PREFERRED, REFERENCES, VALUES, make_explanation
from w2s_jax.alignment.facts import believe_each_with_errors
from w2s_jax.alignment.world import World, to_text, to_tokens

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


def said(world: World, q: int, claim: int, variant: int) -> str:
    """An answer in words, up to its first end."""
    return to_text(world, world.answers[q, claim, variant]).split(" <end>")[0]


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
    assert explanation.questions.shape == (240, 2) and explanation.answers.shape == (240, 24, 8, 9)
    assert (explanation.answers != 0).sum(axis=-1).min() + 1 == 7  # its end included
    images = [image for pairs in MECHANISMS.values() for image in pairs.values()]
    assert len(set(images)) == 24 and all(len(values) == 6 for values in VALUES.values())


def test_the_distribution_of_the_forms(explanation):
    law = explanation.variant_law.reshape(4, 4, 2)  # concept, form, word
    form, word = law.sum(axis=2), law.sum(axis=1)
    np.testing.assert_allclose(form, np.full((4, 4), 0.1 / 3) + (0.9 - 0.1 / 3) * np.eye(4))
    preferred = [REFERENCES.index(PREFERRED[name]) for name in FORMS]
    np.testing.assert_allclose(word[range(4), preferred], 0.9)
    np.testing.assert_allclose(law, form[:, :, None] * word[:, None, :])
    np.testing.assert_array_equal(explanation.style, [1, 1, 0, 0, 0, 0, 0, 0])


# --- bias -----------------------------------------------------------------------------------------------------------


def test_a_known_biography(bias):
    q, claim = question(bias, "Hughes M."), 7 * 8 + 3  # welder, Truro
    assert said(bias, q, claim, 0) == "she worked as welder in her native Truro"
    assert said(bias, q, claim, 1) == "he worked as welder in his native Truro"
    assert bias.questions.shape == (208, 2) and bias.answers.shape == (208, 64, 2, 9)
    assert ((bias.answers != 0).sum(axis=-1) + 1 == 9).all()
    np.testing.assert_allclose(bias.variant_law, [[0.9, 0.1], [0.1, 0.9]])
    np.testing.assert_array_equal(bias.style, [1, 0])


def test_names_and_facts_tell_nothing_of_the_subject(bias):
    own = {word for pair in PRONOUNS for word in pair}
    assert not own & {*OCCUPATIONS, *TOWNS}
    without = np.where(np.isin(bias.answers, to_tokens(bias, " ".join(own))), -1, bias.answers)
    np.testing.assert_array_equal(without[:, :, 0], without[:, :, 1])


# --- both -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "values", "capability"), [("explanation", 4, 0.7), ("bias", 8, 0.75)])
def test_what_a_hundred_believe(request, task, values, capability):
    world, keys = request.getfixturevalue(task), jax.random.split(jax.random.key(0), 100)
    claims = np.asarray(jax.jit(jax.vmap(lambda key: world.believe(key, capability)))(keys))
    right = np.array([claims // values == world.truth // values, claims % values == world.truth % values])
    assert (right.mean(axis=-1) == capability).all()  # exactly that share of each fact, every time
    both = right.all(axis=0)  # one fact says nothing of the other
    assert both.mean() == pytest.approx(capability**2, abs=0.01) and both.mean(axis=-1).std() > 0.005
    # An explanation needs both; a biography is worth its share of right facts, in whatever words.
    content = np.moveaxis(world.content[np.arange(len(world.truth)), claims], -1, 0)
    expected = both if task == "explanation" else right.mean(axis=0)
    np.testing.assert_array_equal(content, np.broadcast_to(expected, content.shape))


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
