"""Models that answer together: rules against NumPy, caches against full forwards, and what they do to knowledge."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_alignment_models import SMALL, Grammarian, compiled, grammar_law, make_model, scored
from w2s_jax.alignment.combined import Combined, anchored_contrast, contrast, mixture
from w2s_jax.alignment.model import decode
from w2s_jax.alignment.prompting import ask, read_prompt
from w2s_jax.alignment.world import TARGET, source_prior
from w2s_jax.alignment.worlds import WORLDS, make_world

every_world = pytest.mark.parametrize("task", WORLDS)


def softmax(logits) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def log_laws():
    laws = np.random.default_rng(0).dirichlet(np.ones(7), size=(3, 5))
    return np.log(laws)


def test_the_mixture_is_the_arithmetic_mean(log_laws):
    expected = np.exp(log_laws).mean(axis=0)
    np.testing.assert_allclose(softmax(np.asarray(mixture(jnp.asarray(log_laws)))), expected, rtol=1e-10)
    geometric = softmax(log_laws.mean(axis=0))
    assert np.abs(geometric - expected).max() > 0.02  # the twin


def released_contrast(aligned, unaligned, alpha, relative_top):
    """The released rule, step by step: both filtered by the aligned model, the other one normalised once more.

    `_contrastive_decoding` and `_relative_top_filter` of github.com/jianghoucheng/ConG in NumPy
    (transformers-main/src/transformers/generation/utils.py).
    """
    low = np.minimum(aligned.max(axis=-1), aligned.max(axis=-1) + np.log(relative_top))[..., None]
    kept = np.where(aligned < low, -np.inf, aligned)
    base = np.where(aligned < low, -1e-3, unaligned)
    base = base - np.log(np.exp(base).sum(axis=-1, keepdims=True))
    return softmax(kept - (1 - alpha) * base)


@pytest.mark.parametrize(("alpha", "relative_top"), [(0.4, 0.1), (0.0, 0.3), (0.7, 1e-6), (1.0, 1.0)])
def test_the_contrast_is_the_released_one(log_laws, alpha, relative_top):
    found = softmax(np.asarray(contrast(jnp.asarray(log_laws[1:]), alpha, relative_top)))
    np.testing.assert_allclose(found, released_contrast(*log_laws[1:], alpha, relative_top), rtol=1e-10, atol=1e-300)
    if relative_top < 1:  # the twin: the weights of the pair
        assert np.abs(found - released_contrast(*log_laws[1:], alpha + 0.2, relative_top)).max() > 1e-3


def test_the_released_contrast_follows_the_weak_pair_and_the_anchored_one_the_strong_model():
    """A strong model that is nearly sure of the first answer, a weak one that is as sure of the second all along."""
    strong, weak = jnp.log(jnp.array([0.98, 0.01, 0.01])), jnp.log(jnp.array([0.02, 0.97, 0.01]))
    np.testing.assert_allclose(softmax(contrast(jnp.stack([weak, weak]))), [0, 1, 0])
    np.testing.assert_allclose(softmax(anchored_contrast(jnp.stack([strong, weak, weak]))), [1, 0, 0])


@pytest.mark.parametrize(("strength", "relative_top"), [(1.0, 0.1), (0.5, 0.4), (2.0, 0.0), (0.0, 1.0)])
def test_the_anchored_contrast_is_a_ratio_over_the_tokens_that_pass(log_laws, strength, relative_top):
    strong, aligned, unaligned = np.exp(log_laws)
    moved = strong * (aligned / unaligned) ** strength * (strong >= relative_top * strong.max(axis=-1, keepdims=True))
    expected = moved / moved.sum(axis=-1, keepdims=True)
    found = softmax(np.asarray(anchored_contrast(jnp.asarray(log_laws), strength, relative_top)))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-300)
    assert (found == 0).any() == (relative_top > 0)
    if relative_top == 1.0:
        assert (found.max(axis=-1) == 1.0).all()  # the likeliest alone
    if strength > 0:
        other = softmax(np.asarray(anchored_contrast(jnp.asarray(log_laws), 0.9 * strength, relative_top)))
        assert np.abs(other - expected).max() > 1e-3  # the twin


@pytest.fixture(scope="module")
def world():
    return make_world("persona", size=SMALL["persona"])


@pytest.fixture(scope="module")
def panel(world):
    """Three models that were never trained, of two widths."""
    shape = len(world.words), world.example_length
    return tuple(
        make_model(*shape, slots=2, scale=scale, width=width) for scale, width in ((1.5, 8), (2.0, 4), (1.2, 8))
    )


@pytest.mark.parametrize("rule", [mixture, anchored_contrast])
def test_through_their_caches_models_combine_the_laws_of_full_forwards(world, panel, rule):
    combined, number = Combined(panel, rule), 3
    prompt = jnp.asarray(np.r_[world.questions[1], 1, world.answers[1, 0, 0]])[None]

    @compiled
    def answer(temperature):
        asked = ask(combined, world, jnp.asarray(number), read_prompt(combined, prompt))
        said = decode(jax.random.key(1), combined, asked.logits, asked.cache, world.answer_length, temperature)
        return asked.logits, said, combined(said[:-1], asked.cache)[0]

    ids = np.r_[np.ravel(prompt), world.questions[number], 1]
    for temperature in (0.0, 1.0):
        logits, said, later = map(np.asarray, answer(temperature))
        whole = jnp.asarray(np.r_[ids, said[:-1]])
        laws = jnp.stack([jax.nn.log_softmax(compiled(model.__call__)(whole))[ids.size - 1 :] for model in panel])
        expected = softmax(np.asarray(rule(laws)))
        np.testing.assert_allclose(softmax(np.stack([logits, *later])), expected, rtol=1e-9, atol=1e-12)
        if temperature == 0:
            first_end = np.argmax(said == 0) + 1 if (said == 0).any() else said.size
            np.testing.assert_array_equal(said[:first_end], expected.argmax(axis=-1)[:first_end])


def test_one_model_alone_answers_for_itself(world, panel):
    def answer(model):
        asked = ask(model, world, jnp.asarray(2), model.new_cache(1))
        return decode(jax.random.key(4), model, asked.logits, asked.cache, world.answer_length)

    alone, same = (np.asarray(compiled(partial(answer, one))()) for one in (panel[0], Combined(panel[:1], mixture)))
    np.testing.assert_array_equal(alone, same)


def believer(world, claims, weights, doubt=0.2) -> Grammarian:
    """Answers by these claims in ways mixed by `weights`; in a share of cases it holds any other claim, each alike."""
    law = grammar_law(world, claims, weights)
    others = world.content.shape[1] - 1
    for other in range(1, others + 1):
        wrong = grammar_law(world, (claims + other) % (others + 1), weights)
        law[: len(claims)] = (
            law[: len(claims)] + doubt / others * (wrong - grammar_law(world, claims, weights))[: len(claims)]
        )
    return Grammarian(world, law)


@pytest.mark.parametrize("task", ["persona", "bias"])
def test_what_contrast_of_exact_models_keeps_and_takes(task):
    """The strong model knows, the weak one believes wrong things before and after its alignment.

    The anchored rule keeps what is known and takes the target's style: in worlds where a claim and a way of answering
    are independent, token by token, its distribution is exactly the target's. The released one keeps the weak beliefs.
    """
    world = make_world(task, size=SMALL[task])
    prior, target = np.asarray(source_prior(world, 0.85)), np.eye(world.num_concepts)[TARGET]
    wrong = (world.truth + 1) % world.content.shape[1]
    strong = Grammarian(world, grammar_law(world, world.truth, prior))
    aligned, unaligned = (believer(world, wrong, weights) for weights in (target, prior))
    numbers = jnp.array([0, 5, 11])

    @compiled
    def anchored(strength):
        rule = partial(anchored_contrast, strength=strength, relative_top=1e-3)
        return scored(world, Combined((strong, aligned, unaligned), rule), numbers)[0]

    @compiled
    def pair(alpha):
        rule = partial(contrast, alpha=alpha, relative_top=1e-3)
        return scored(world, Combined((aligned, unaligned), rule), numbers)[0]

    found = anchored(1.0)
    np.testing.assert_allclose(found.content[:, 1], 1, rtol=1e-8)
    np.testing.assert_allclose(found.style[:, 1], world.target_style(), rtol=1e-8)
    none = anchored(0.0)  # the twin: nothing is added
    np.testing.assert_allclose(none.style[:, 1], prior @ world.variant_law @ world.style, rtol=1e-8)
    np.testing.assert_allclose(none.content[:, 1], 1, rtol=1e-8)

    released = pair(0.4)
    if task == "persona":  # one claim an answer, doubted by both alike: 0.8 and 0.2 to the power alpha
        others = world.content.shape[1] - 1
        rare = (0.2 / others) ** 0.4
        np.testing.assert_allclose(released.content[:, 1], rare / (0.8**0.4 + others * rare), rtol=1e-8)
    assert (released.content[:, 1] < 0.6).all()


def test_a_mixture_of_teachers_is_right_as_often_as_they_are(world):
    """Three who each know two questions of three, and no question is unknown to two: by hand, claim by claim."""
    numbers, target = np.array([0, 1, 2]), np.eye(world.num_concepts)[TARGET]
    teachers = []
    for own in range(3):
        claims = world.truth.copy()
        claims[numbers[own]] = (claims[numbers[own]] + 1) % world.content.shape[1]
        teachers.append(believer(world, claims, target))
    alone = compiled(lambda: scored(world, teachers[0], jnp.asarray(numbers)))()[0].content[:, 1]
    found = compiled(lambda: scored(world, Combined(tuple(teachers), mixture), jnp.asarray(numbers)))()[0]
    rare = 0.2 / (world.content.shape[1] - 1)
    np.testing.assert_allclose(alone, [rare, 0.8, 0.8], rtol=1e-8)
    np.testing.assert_allclose(found.content[:, 1], np.mean([rare, 0.8, 0.8]), rtol=1e-8)
    np.testing.assert_allclose(found.style[:, 1], world.target_style(), rtol=1e-8)
