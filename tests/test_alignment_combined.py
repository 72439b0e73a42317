"""Models that answer together: rules against NumPy, caches against full forwards, and what they do to knowledge."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from tests.test_alignment_models import SMALL, Grammarian, compiled, counted, grammar_law, make_model, scored
from tests.test_parity import released_contrast
from w2s_jax.alignment.combined import Combined, anchored_contrast, contrast, mixture
from w2s_jax.alignment.model import decode
from w2s_jax.alignment.prompting import ask, read_prompt
from w2s_jax.alignment.world import ASK, TARGET, source_prior
from w2s_jax.alignment.worlds import make_world

LOG_LAWS = np.log(np.random.default_rng(0).dirichlet(np.ones(7), size=(3, 5)))


def combine(rule):
    """Probabilities by a rule, compiled once for all its settings."""
    program = jax.jit(lambda log_laws, *settings: jax.nn.softmax(rule(log_laws, *settings)))
    return lambda log_laws, *settings: np.asarray(program(jnp.asarray(log_laws), *settings))


def test_the_mixture_is_the_arithmetic_mean():
    expected = np.exp(LOG_LAWS).mean(axis=0)
    np.testing.assert_allclose(combine(mixture)(LOG_LAWS), expected, rtol=1e-10)
    geometric = softmax(LOG_LAWS.mean(axis=0), axis=-1)
    assert np.abs(geometric - expected).max() > 0.02  # the twin


def test_the_contrast_is_the_released_one():
    def released(*settings):
        return np.stack([released_contrast(*laws, *settings) for laws in zip(*LOG_LAWS[1:])])

    found_by = combine(contrast)
    for alpha, relative_top in ((0.4, 0.1), (0.0, 0.3), (0.7, 1e-6), (1.0, 1.0)):
        found = found_by(LOG_LAWS[1:], alpha, relative_top)
        np.testing.assert_allclose(found, released(alpha, relative_top), rtol=1e-10, atol=1e-300)
        if relative_top < 1:  # the twin: the weights of the pair
            assert np.abs(found - released(alpha + 0.2, relative_top)).max() > 1e-3


def test_the_anchored_contrast_is_a_ratio_over_the_tokens_that_pass():
    found_by, (strong, aligned, unaligned) = combine(anchored_contrast), np.exp(LOG_LAWS)
    for strength, relative_top in ((1.0, 0.1), (0.5, 0.4), (2.0, 0.0), (0.0, 1.0)):
        passed = strong >= relative_top * strong.max(axis=-1, keepdims=True)
        moved = strong * (aligned / unaligned) ** strength * passed
        expected = moved / moved.sum(axis=-1, keepdims=True)
        found = found_by(LOG_LAWS, strength, relative_top)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-300)
        assert (found == 0).any() == (relative_top > 0)
        if strength > 0:  # the twin
            assert np.abs(found_by(LOG_LAWS, 0.9 * strength, relative_top) - expected).max() > 1e-3


@pytest.fixture(scope="module")
def world():
    return make_world("persona", size=SMALL["persona"])


@pytest.mark.slow
def test_through_their_caches_models_combine_the_distributions_of_full_forwards(world):
    """Three models that were never trained, of two widths; and one alone, which answers for itself."""
    shape = len(world.words), world.example_length
    panel = [make_model(*shape, slots=2, scale=scale, width=width) for scale, width in ((1.5, 8), (2.0, 4), (1.2, 8))]
    prompt = jnp.asarray(np.r_[world.questions[1], ASK, world.answers[1, 0, 0]])[None]

    @compiled
    def run(temperature):
        found = []
        for models, rule in ((panel, anchored_contrast), (panel[:1], mixture)):
            combined = Combined(tuple(models), rule)
            asked = ask(combined, world, jnp.asarray(3), read_prompt(combined, prompt))
            said = decode(jax.random.key(1), combined, asked.logits, asked.cache, world.answer_length, temperature)
            logits = jnp.concatenate([asked.logits[None], combined(said[:-1], asked.cache)[0]])
            ids = jnp.concatenate([prompt.ravel(), jnp.asarray(world.questions)[3], jnp.array([ASK]), said[:-1]])
            log_probs = jnp.stack([jax.nn.log_softmax(model(ids)) for model in models])[:, -len(said) :]
            found.append((jax.nn.softmax(logits), jax.nn.softmax(rule(log_probs)), said))
        return found

    for temperature in (0.0, 1.0):
        for probs, expected, said in jax.tree.map(np.asarray, run(temperature)):
            np.testing.assert_allclose(probs, expected, rtol=1e-9, atol=1e-12)
            if temperature == 0:
                np.testing.assert_array_equal(said[: counted(said)], expected.argmax(axis=-1)[: counted(said)])


def believer(world, claims, weights, doubt=0.2) -> Grammarian:
    """Answers by these claims in ways mixed by `weights`; in a share of cases it holds any other claim, each alike."""
    law = grammar_law(world, claims, weights)
    others = world.content.shape[1] - 1
    for other in range(1, others + 1):
        wrong = grammar_law(world, (claims + other) % (others + 1), weights)
        law += doubt / others * (wrong - grammar_law(world, claims, weights))  # 0 for the skill
    return Grammarian(world, law)


@pytest.mark.slow
def test_what_contrast_of_exact_models_keeps_and_takes(world):
    """The strong model knows, the weak one believes wrong things before and after its alignment.

    The anchored rule keeps what is known and takes the target's style: in worlds where a claim and a way of answering
    are independent, token by token, its distribution is exactly the target's. The released one keeps the weak beliefs.
    """
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
    others = world.content.shape[1] - 1
    rare = (0.2 / others) ** 0.4  # one claim an answer, doubted by both alike: 0.8 and 0.2 to the power alpha
    np.testing.assert_allclose(released.content[:, 1], rare / (0.8**0.4 + others * rare), rtol=1e-8)
    assert (released.content[:, 1] < 0.6).all()


@pytest.mark.slow
def test_a_mixture_of_teachers_is_right_as_often_as_they_are(world):
    """Three who each know two questions of three, and no question is unknown to two: by hand, claim by claim."""
    numbers, target = np.array([0, 1, 2]), np.eye(world.num_concepts)[TARGET]
    teachers = []
    for own in range(3):
        claims = world.truth.copy()
        claims[numbers[own]] = (claims[numbers[own]] + 1) % world.content.shape[1]
        teachers.append(believer(world, claims, target))
    models = teachers[0], Combined(tuple(teachers), mixture)
    alone, found = compiled(lambda: [scored(world, model, jnp.asarray(numbers))[0] for model in models])()
    rare = 0.2 / (world.content.shape[1] - 1)
    np.testing.assert_allclose(alone.content[:, 1], [rare, 0.8, 0.8], rtol=1e-8)
    np.testing.assert_allclose(found.content[:, 1], np.mean([rare, 0.8, 0.8]), rtol=1e-8)
    np.testing.assert_allclose(found.style[:, 1], world.target_style(), rtol=1e-8)
