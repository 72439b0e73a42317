"""Models of the alignment experiments: places, caches, decoding, exact scores, and the documents they learn from."""

import functools
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects
from w2s_jax.alignment.documents import document_loss, learned_places, sample_document, to_examples
from w2s_jax.alignment.model import AnswerModel, answer_log_probs, decode
from w2s_jax.alignment.prompting import ask, read_prompt, shorten
from w2s_jax.alignment.scores import bayes_divergence, score
from w2s_jax.alignment.world import ASK, END, FIRST_TAG, TARGET, concept_posterior, read, source_prior
from w2s_jax.alignment.worlds import WORLDS, make_world
from w2s_jax.transformer import Cache, TransformerConfig, init_cache

SMALL = {"persona": 16, "explanation": 12, "math": 45, "bias": 16}
SLOTS = 4
compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""Programs here compute next to nothing, and compile in half the time."""

every_world = pytest.mark.parametrize("task", WORLDS)


def config_of(example_length, slots=SLOTS, **sizes) -> TransformerConfig:
    sizes = {"num_layers": 1, "width": 8, "num_heads": 2} | sizes
    return TransformerConfig(**sizes, max_length=slots * example_length, dtype="float64")


def make_model(vocab_size, example_length, slots=SLOTS, scale=1.0, **sizes) -> AnswerModel:
    """A model that was never trained; the larger the scale, the farther are its laws from even ones."""
    config = config_of(example_length, slots, **sizes)
    graph, params = nnx.split(AnswerModel(config, vocab_size, example_length, rngs=nnx.Rngs(0)), nnx.Param)
    return nnx.merge(graph, jax.tree.map(lambda leaf: scale * leaf, params))


@pytest.fixture(scope="module")
def world():
    return make_world("persona", size=SMALL["persona"])


@pytest.fixture(scope="module")
def model(world):
    """Two layers, so that attention attends to what attention has made."""
    return make_model(len(world.words), world.example_length, scale=1.5, num_layers=2)


@pytest.fixture(scope="module")
def full(model):
    """The law of every next token by one forward without a cache; later tokens change nothing."""
    return compiled(lambda ids: jax.nn.log_softmax(model(ids)))


def documents_of(world, seed, count, num_examples=SLOTS, **shares):
    prior = source_prior(world, 0.85)
    draw = partial(sample_document, world=world, claims=jnp.asarray(world.truth), prior=prior, **shares)
    keys = jax.random.split(jax.random.key(seed), count)
    return compiled(jax.vmap(lambda key: draw(key, num_examples=num_examples)))(keys)


@pytest.fixture(scope="module")
def documents(world):
    return documents_of(world, 1, 3, tag_share=0.3, skill_share=0.3)


# --- places and caches ----------------------------------------------------------------------------------------------


def test_a_place_is_told_by_its_number_in_the_example_and_the_examples_own(model, documents, full):
    ids = documents.reshape(3, -1)
    length = model.example_length
    places = np.arange(ids.shape[1])
    in_example, of_example = (np.asarray(table.embedding[...]) for table in (model.place, model.example))
    given = in_example[places % length], of_example[places // length]
    language = compiled(lambda extra: jax.nn.log_softmax(model.language(ids, extra=jnp.broadcast_to(extra, shape))))
    shape = (*ids.shape, model.config.width)
    found = full(ids)
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(language(sum(given)), found, rtol=1e-10)
    for twin in given:  # both are needed
        assert np.abs(language(twin) - found).max() > 1e-2


@pytest.mark.parametrize("cut", [10, 23])
def test_two_pieces_through_the_cache_are_one_forward(model, documents, full, cut):
    ids = documents.reshape(3, -1)
    assert cut % model.example_length or cut == model.example_length  # within an example, and between two

    @compiled
    def in_pieces(ids):
        first, cache = model(ids[:, :cut], init_cache(model.config, (3,)))
        second, cache = model(ids[:, cut:], cache)
        return jax.nn.log_softmax(jnp.concatenate([first, second], axis=1)), cache.length

    found, length = in_pieces(ids)
    assert length == ids.shape[1]
    np.testing.assert_allclose(found, full(ids), rtol=1e-10)


def test_no_place_reads_a_later_one(model, documents):
    ids = documents[0].reshape(-1)
    direction = jnp.asarray(np.random.default_rng(0).standard_normal(model.language.embedding.num_embeddings))
    graph, params = nnx.split(model, nnx.Param)

    def logit(params, extra, place):
        net = nnx.merge(graph, params)
        return net(ids)[place] @ direction, net.language(ids, extra=extra)[place] @ direction

    places = jnp.arange(ids.size)
    nothing = jnp.zeros((ids.size, model.config.width))

    @compiled
    @partial(jax.vmap, in_axes=(None, None, 0))
    def gradients(*given):
        return jax.grad(lambda *given: logit(*given)[0])(*given), jax.grad(lambda *given: logit(*given)[1], 1)(*given)

    own, by_input = gradients(params, nothing, places)
    reads = np.abs(by_input).max(axis=-1) > 0
    np.testing.assert_array_equal(reads, np.tri(ids.size, dtype=bool))
    length, at = model.example_length, np.arange(ids.size)[:, None]
    np.testing.assert_array_equal(
        np.abs(own["example"]["embedding"][...]).max(axis=-1) > 0, np.arange(SLOTS) <= at // length
    )
    np.testing.assert_array_equal(np.abs(own["place"]["embedding"][...]).max(axis=-1) > 0, np.arange(length) <= at)


@pytest.mark.parametrize("example_length", [0, 5])
def test_examples_must_fill_the_model(example_length):
    config = config_of(6, 2)
    with pytest.raises(ValueError, match=rf"max_length must be a multiple of .*, got 12 and {example_length}; give"):
        AnswerModel(config, 11, example_length, rngs=nnx.Rngs(0))


def test_a_cache_has_the_room_that_it_is_given(model, documents):
    config, ids = model.config, documents[0, 0]
    shape = (config.num_layers, 5, 12, config.num_heads, config.head_dim)
    assert init_cache(config, (5,), 12).keys.shape == init_cache(config, (5,), length=12).values.shape == shape
    assert init_cache(config).keys.shape[1] == init_cache(config, length=config.max_length).keys.shape[1] == 40
    exact, roomy = (
        compiled(lambda ids, room=room: model(ids, init_cache(config, (), room)))(ids) for room in (10, None)
    )
    np.testing.assert_allclose(exact[0], roomy[0], rtol=1e-12)
    assert exact[1].length == roomy[1].length == 10


@pytest.mark.parametrize("length", [0, -1, 41])
def test_a_cache_of_no_room_or_too_much_is_refused(model, length):
    with pytest.raises(ValueError, match=rf"length must be in \[1, max_length = 40\], got {length}; None takes all"):
        init_cache(model.config, (), length)


# --- asking ---------------------------------------------------------------------------------------------------------


def told_after(world, model, number, cache):
    """The law of the first token, the names, places read, and the log probability of some answers."""
    answers = jnp.asarray(world.answers)[number].reshape(-1, world.answer_length)[:6]
    asked = ask(model, world, jnp.asarray(number), cache, ASK)
    log_probs = answer_log_probs(model, asked.logits, asked.cache, answers)
    return jax.nn.log_softmax(asked.logits), asked.tags, asked.cache.length, log_probs


def test_the_first_examples_of_a_longer_prompt_are_a_shorter_prompt(world, model, documents, full):
    number, examples = 5, documents[0, : SLOTS - 1]
    cut = compiled(
        lambda length: told_after(world, model, number, shorten(world, read_prompt(model, examples), length))
    )
    found = [cut(jnp.asarray(length)) for length in range(SLOTS)]
    for length, (first, tags, places, _) in enumerate(found):
        ids = np.concatenate([np.ravel(examples[:length]), world.questions[number], [ASK]]).astype(int)
        laws = np.asarray(full(np.pad(ids, (0, 40 - ids.size))))  # later tokens change nothing
        assert places == ids.size == length * world.example_length + world.questions.shape[1] + 1
        np.testing.assert_allclose(first, laws[places - 1], rtol=1e-10)
        names = laws[places - 2, FIRST_TAG : FIRST_TAG + world.num_concepts]
        np.testing.assert_allclose(tags - tags[0], names - names[0], rtol=1e-9, atol=1e-12)
    assert np.abs(found[2][0] - found[3][0]).max() > 1e-3  # prompts do matter
    exact = compiled(lambda examples: told_after(world, model, number, read_prompt(model, examples)))
    for one, other in zip(found[2], exact(examples[:2])):
        np.testing.assert_allclose(one, other, rtol=1e-10)


# --- decoding: a vocabulary so small that all strings can be listed -------------------------------------------------

VOCAB, ANSWER, BEFORE = 3, 3, (1, 2, 1, 2, 0, 1, 2, 1, 1)
"""One example of six tokens, then a question of two and its mark."""
STRINGS = np.array(list(product(range(VOCAB), repeat=ANSWER)))
ENDED = np.cumsum(STRINGS == END, axis=1) - (STRINGS == END) > 0
OUTCOMES = STRINGS[(~ENDED | (STRINGS == END)).all(axis=1)]
"""Every answer, filled up by END; the last are those that do not end."""


@pytest.fixture(scope="module")
def tiny():
    """A model, what it answers first, its cache, and its logits along each outcome by full forwards, `[N a vocab]`."""
    model = make_model(VOCAB, 6, slots=2)
    ids = jnp.asarray(np.concatenate([np.tile(BEFORE, (len(OUTCOMES), 1)), OUTCOMES], axis=1))
    program = compiled(lambda: model(jnp.array(BEFORE), init_cache(model.config)))
    logits, cache = program()
    along = compiled(lambda ids: model(ids))(ids)[:, len(BEFORE) - 1 : -1]
    return model, logits[-1], cache, np.asarray(along)


def law_of(along, temperature=1.0) -> np.ndarray:
    """P(outcome), END the last token that counts."""
    logits = along / temperature
    laws = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    counts = np.cumsum(OUTCOMES == END, axis=1) - (OUTCOMES == END) == 0
    told = np.take_along_axis(laws, OUTCOMES[..., None], axis=-1)[..., 0]
    return np.exp(np.where(counts, told, 0.0).sum(axis=1))


@pytest.fixture(scope="module")
def say(tiny):
    """(temperature, keys) -> answers."""
    model, logits, cache, _ = tiny

    def answer(temperature, key):
        return decode(key, model, logits, cache, ANSWER, temperature)

    return compiled(jax.vmap(answer, (None, 0)))


def test_the_outcomes_are_all_there_are(tiny):
    assert len(OUTCOMES) == 1 + 2 + 4 + 8
    for temperature in (0.5, 1.0, 2.0):
        assert law_of(tiny[3], temperature).sum() == pytest.approx(1, abs=1e-12)


def test_the_log_probability_of_an_answer_is_that_of_its_tokens_up_to_the_end(tiny):
    model, logits, cache, along = tiny
    log_probs = compiled(lambda answers: answer_log_probs(model, logits, cache, answers))
    found = np.asarray(log_probs(OUTCOMES))
    np.testing.assert_allclose(found, np.log(law_of(along)), rtol=1e-10)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-12)
    # What comes after END does not count, and what has no END counts in full.
    filled = np.where(np.cumsum(OUTCOMES == END, axis=1) - (OUTCOMES == END) > 0, 2, OUTCOMES)
    assert (filled != OUTCOMES).any()
    np.testing.assert_allclose(log_probs(filled), found, rtol=1e-12)


NUM_DRAWS = 8192


@pytest.mark.parametrize(("temperature", "twin"), [(1.0, 0.8), (0.5, 0.6), (2.0, 1.5)])
def test_answers_are_drawn_from_the_models_law(tiny, say, temperature, twin):
    drawn = np.asarray(say(temperature, jax.random.split(jax.random.key(7), NUM_DRAWS)))
    places = {row.tobytes(): i for i, row in enumerate(OUTCOMES)}
    counts = np.bincount([places[row.tobytes()] for row in drawn.astype(OUTCOMES.dtype)], minlength=len(OUTCOMES))
    expected = NUM_DRAWS * law_of(tiny[3], temperature)
    assert expected.min() >= 5  # so that the statistic has its law
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    assert stats.chisquare(counts, NUM_DRAWS * law_of(tiny[3], twin)).pvalue < 1e-6


def test_tokens_after_the_end_are_the_end(say):
    drawn = np.asarray(say(1.0, jax.random.split(jax.random.key(3), 500)))
    ended = np.cumsum(drawn == END, axis=1) - (drawn == END) > 0
    assert (drawn[ended] == END).all() and 100 < ended.any(axis=1).sum() < 500


def test_at_temperature_0_every_key_says_the_likeliest_token_by_token(tiny, say):
    _, _, _, along = tiny
    expected = []
    for i in range(ANSWER):
        fits = (OUTCOMES[:, :i] == np.array(expected, int).reshape(-1)).all(axis=1)
        ended = END in expected
        expected.append(END if ended else int(np.argmax(along[fits][0, i])))
    found = say(0.0, jax.random.split(jax.random.key(3), 16))
    np.testing.assert_array_equal(found, np.tile(expected, (16, 1)))


def test_the_likeliest_answer_is_that_of_full_forwards(world, model, documents, full):
    """In a world, after prompts, for several questions."""

    @compiled
    def greedy(number, examples):
        asked = ask(model, world, number, read_prompt(model, examples))
        return decode(jax.random.key(0), model, asked.logits, asked.cache, world.answer_length, 0.0)

    said = []
    for number, prompt in zip((0, 7, len(world.questions) + 2), documents):
        ids = [*np.ravel(prompt[:2]), *world.listing.questions[number], ASK]
        start = len(ids)
        for _ in range(world.answer_length):
            law = np.asarray(full(np.pad(ids, (0, 40 - len(ids)))))[len(ids) - 1]
            ids.append(END if END in ids[start:] else int(np.argmax(law)))
        np.testing.assert_array_equal(greedy(jnp.asarray(number), prompt[:2]), ids[start:])
        said.append(tuple(ids[start:]))
    assert len(set(said)) > 1


# --- scores ---------------------------------------------------------------------------------------------------------


class Grammarian(AnswerModel):
    """Stands in for a model: answers to every question of a world by a given law on its listed answers, `[R N]`.

    It keeps the tokens that it has read where a model keeps its keys.
    """

    def __init__(self, world, law, slots=SLOTS):
        self.config = config_of(world.example_length, slots, num_heads=1, width=2)
        self.world, self.example_length, self.law = world, world.example_length, jnp.asarray(law)

    def __call__(self, ids, cache=None):
        assert cache is not None
        written = jnp.broadcast_to(ids.astype(float)[None, :, None, None], (1, ids.size, 1, 2))
        keys = jax.lax.dynamic_update_slice_in_dim(cache.keys, written, cache.length, axis=1)
        examples = keys[0, :, 0, 0].astype(int).reshape(-1, self.example_length)
        laws = jax.vmap(lambda i: self.following(examples, cache.length + i))(jnp.arange(ids.size))
        return jnp.log(laws + 1e-300), Cache(keys, cache.values, cache.length + ids.size)

    def following(self, examples, place):
        """Law of the token after a place: of the listed answers those that go on from there."""
        listing, first = self.world.listing, self.world.questions.shape[1]
        slot, count = place // self.example_length, place % self.example_length - first  # tokens of the answer
        number, told = self.number_of(examples[slot]), examples[slot, first + 1 :]
        strings = jnp.asarray(listing.answers)[number]
        fits = ((strings == told[None]) | (jnp.arange(told.size) >= count)[None]).all(axis=-1)
        token = jnp.take(strings, count, axis=1, mode="clip")
        return jnp.zeros(len(self.world.words)).at[token].add(fits * self.law_of(examples, slot)[number])

    def number_of(self, example):
        question = example[: self.world.questions.shape[1]]
        return jnp.argmax((jnp.asarray(self.world.listing.questions) == question[None]).all(axis=-1))

    def law_of(self, examples, slot):
        """`[R N]`; here whatever it has read."""
        return self.law


class Bayesian(Grammarian):
    """Knows the truth, and weighs the concepts by exact Bayes: what pre-training on documents aims at.

    The mark that ends the question, if it is a tag, is the concept; in the mark's place it gives the posterior.
    """

    def __init__(self, world, prior, slots=SLOTS):
        laws = np.stack([grammar_law(world, world.truth, weights) for weights in np.eye(world.num_concepts)])
        super().__init__(world, laws, slots)
        self.prior = jnp.asarray(prior)

    def posterior(self, examples, slot):
        first = self.world.questions.shape[1]
        numbers = jnp.minimum(jax.vmap(self.number_of)(examples), len(self.world.questions) - 1)
        _, variants, readable = read(self.world, numbers, examples[:, first + 1 :])
        return concept_posterior(self.world, self.prior, variants, readable & (jnp.arange(len(examples)) < slot))

    def law_of(self, examples, slot):
        tag = examples[slot, self.world.questions.shape[1]] - FIRST_TAG
        named = jax.nn.one_hot(tag, self.world.num_concepts)
        return jnp.tensordot(jnp.where(tag >= 0, named, self.posterior(examples, slot)), self.law, 1)

    def following(self, examples, place):
        slot, count = place // self.example_length, place % self.example_length - self.world.questions.shape[1]
        tags = FIRST_TAG + jnp.arange(self.world.num_concepts)
        mark = jnp.zeros(len(self.world.words)).at[ASK].set(0.5).at[tags].set(0.5 * self.posterior(examples, slot))
        return jnp.where(count < 0, mark, super().following(examples, place))


def grammar_law(world, claims, weights) -> np.ndarray:
    """`[R N]`: these claims, in ways of answering mixed by `weights`; and the skill as it should be."""
    num_claims = world.content.shape[1]
    own = np.eye(num_claims)[claims][:, :, None] * (weights @ world.variant_law)
    skill = np.zeros((len(world.skill_questions), own[0].size))
    skill[:, 0] = 1
    return np.concatenate([own.reshape(len(own), -1), skill])


def scored(world, model, numbers):
    """Scores of answers without a prompt, and the likeliest ones."""

    def one(number):
        asked = ask(model, world, number, read_prompt(model, jnp.zeros((0, world.example_length), int)))
        greedy = decode(jax.random.key(0), model, asked.logits, asked.cache, world.answer_length, 0.0)
        return score(model, world, number, asked.logits, asked.cache, greedy), greedy

    return jax.lax.map(one, numbers)


@functools.cache
def school_of(task):
    """A world, questions of it and of the skill, and their scores by a law of the grammar: compiled once for all."""
    world = make_world(task, size=SMALL[task])
    numbers = np.array([0, 5, 11, len(world.questions), len(world.listing.questions) - 1])
    program = compiled(lambda law: scored(world, Grammarian(world, law), jnp.asarray(numbers)))
    return world, numbers, lambda law: jax.tree.map(np.asarray, program(law))


@every_world
def test_the_perfect_answerer_scores_one_and_a_wrong_one_what_it_says(task):
    world, numbers, scores_of = school_of(task)
    own, target = numbers < len(world.questions), np.eye(world.num_concepts)[TARGET]
    found, greedy = scores_of(grammar_law(world, world.truth, target))
    np.testing.assert_allclose(found.content, 1, rtol=1e-9)
    np.testing.assert_allclose(found.style[own, 0], 1)
    np.testing.assert_allclose(found.style[own, 1], world.target_style(), rtol=1e-9)
    np.testing.assert_allclose(found.mass, 1, rtol=1e-9)
    np.testing.assert_array_equal(greedy[~own], world.skill_answers[[0, -1]])
    exact = np.broadcast_to(np.log(world.variant_law[TARGET]), found.truth_law[own].shape)
    np.testing.assert_allclose(found.truth_law[own], exact, rtol=1e-9, atol=1e-9)

    claims, last = (world.truth + 1) % world.content.shape[1], np.eye(world.num_concepts)[-1]
    wrong, _ = scores_of(grammar_law(world, claims, last))
    law = world.variant_law[-1]
    content = world.content[numbers[own], claims[numbers[own]]] @ law
    np.testing.assert_allclose(wrong.content[own, 1], content, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(wrong.style[own, 1], law @ world.style, rtol=1e-9)
    np.testing.assert_allclose(wrong.mass, 1, rtol=1e-9)
    assert wrong.content[own].max() < 0.9 and wrong.style[own, 1].max() < 0.6 * world.target_style()


@every_world
def test_divergence_from_bayes_is_zero_for_bayes_and_no_one_else(task):
    world, numbers, scores_of = school_of(task)
    own, prior = numbers < len(world.questions), source_prior(world, 0.85)
    exact = np.asarray(concept_posterior(world, prior, jnp.array([0, 0, 1]), jnp.ones(3, bool)))
    prior = np.asarray(prior)
    law = exact @ world.variant_law

    def divergence(grammar):
        truth_law = jnp.asarray(scores_of(grammar)[0].truth_law[own])
        return bayes_divergence(world, jnp.asarray(np.tile(exact, (own.sum(), 1))), truth_law)

    np.testing.assert_allclose(divergence(grammar_law(world, world.truth, exact)), 0, atol=1e-12)
    expected = (law * np.log(law / (prior @ world.variant_law))).sum()
    assert expected > 0.01
    np.testing.assert_allclose(divergence(grammar_law(world, world.truth, prior)), expected, rtol=1e-9)
    # What a model gives to a wrong claim is taken from the right one: half of its law costs log 2.
    wrong = grammar_law(world, (world.truth + 1) % world.content.shape[1], exact)
    halved = divergence((grammar_law(world, world.truth, exact) + wrong) / 2)
    if task == "math":  # a bare answer may claim both
        assert (halved < np.log(2) + 1e-9).all() and (halved > 0.1).all()
    else:
        np.testing.assert_allclose(halved, np.log(2), rtol=1e-9)


@pytest.mark.parametrize("task", ["persona", "math"])  # one string an answer, and several answers of one string
def test_scores_are_sums_over_every_answer(task):
    world = make_world(task, size=SMALL[task])
    model = make_model(len(world.words), world.example_length, slots=1, scale=1.5)
    numbers = np.array([1, 9, len(world.questions) + 4])
    found, greedy = jax.tree.map(np.asarray, compiled(lambda: scored(world, model, jnp.asarray(numbers)))())
    law = compiled(lambda ids: jax.nn.log_softmax(model(ids)))
    first = world.questions.shape[1]
    for i, number in enumerate(numbers):
        strings, is_own = world.listing.answers[number], number < len(world.questions)
        strings = strings if is_own else strings[:1]
        shape = world.content.shape[1:]
        content = world.content[number].ravel() if is_own else np.ones(1)
        style = np.broadcast_to(world.style, shape).ravel()
        given = np.tile([*world.listing.questions[number], ASK], (len(strings), 1))
        laws = np.asarray(law(np.concatenate([given, strings], axis=1)))[:, first:-1]
        ends = np.argmax(strings == END, axis=1)
        told = [sum(laws[n, j, token] for j, token in enumerate(row[: ends[n] + 1])) for n, row in enumerate(strings)]
        probs, seen = {}, {}
        for n, row in enumerate(strings):
            probs[row.tobytes()] = np.exp(told[n])
            seen.setdefault(row.tobytes(), (content[n], style[n]))
        expected = [sum(p * seen[string][kind] for string, p in probs.items()) for kind in range(2)]
        np.testing.assert_allclose(found.content[i, 1], expected[0], rtol=1e-9)
        np.testing.assert_allclose(found.mass[i], sum(probs.values()), rtol=1e-9)
        likeliest = greedy[i].astype(strings.dtype).tobytes()
        assert found.content[i, 0] == seen.get(likeliest, (0.0, 0.0))[0]
        if is_own:
            np.testing.assert_allclose(found.style[i, 1], expected[1], rtol=1e-9)
            assert found.style[i, 0] == seen.get(likeliest, (0.0, 0.0))[1]
            exact = np.reshape(told, shape)[world.truth[number]]
            np.testing.assert_allclose(found.truth_law[i], exact, rtol=1e-9)


# --- documents ------------------------------------------------------------------------------------------------------

TAG_SHARE, SKILL_SHARE, SHIFT = 0.4, 0.3, 0.6


@pytest.fixture(scope="module")
def drawn(world):
    """Many documents of one who believes something else, taken apart in numpy: `[B m]` each."""
    claims = (world.truth + 1 + np.arange(len(world.truth)) % 3) % world.content.shape[1]
    prior = source_prior(world, SHIFT)

    def draw(key):
        return sample_document(key, world, jnp.asarray(claims), prior, SLOTS, TAG_SHARE, SKILL_SHARE)

    documents = np.asarray(compiled(jax.vmap(draw))(jax.random.split(jax.random.key(5), 12_000)))
    first = world.questions.shape[1]
    number = {row.tobytes(): i for i, row in enumerate(world.listing.questions)}
    place = [{row.tobytes(): n for n, row in reversed([*enumerate(rows)])} for rows in world.listing.answers]
    numbers = np.array([[number[row[:first].astype(int).tobytes()] for row in document] for document in documents])
    places = np.array(
        [
            [place[q][row[first + 1 :].astype(int).tobytes()] for q, row in zip(asked, document)]
            for asked, document in zip(numbers, documents)
        ]
    )
    return claims, numbers, documents[..., first], places


def test_no_document_asks_a_question_twice(world, drawn):
    _, numbers, _, _ = drawn
    assert all(len(set(asked)) == SLOTS for asked in numbers.tolist())
    asked = np.bincount(numbers.ravel(), minlength=len(world.listing.questions))
    assert asked.min() > 0  # every question is asked somewhere


def test_a_document_is_of_the_world_or_of_the_skill(world, drawn):
    _, numbers, marks, places = drawn
    skill = numbers >= len(world.questions)
    assert (skill == skill[:, :1]).all()
    assert (marks[skill] == ASK).all() and (places[skill] == 0).all()
    assert_mean(skill[:, 0], SKILL_SHARE)
    assert_mean_rejects(skill[:, 0], 1.15 * SKILL_SHARE)


def test_answers_claim_what_their_writer_believes(world, drawn):
    claims, numbers, _, places = drawn
    own = numbers < len(world.questions)
    num_variants = world.answers.shape[2]
    np.testing.assert_array_equal(places[own] // num_variants, claims[numbers[own]])


def test_a_document_has_one_concept_and_its_tags_name_it(world, drawn):
    _, numbers, marks, places = drawn
    own = numbers[:, 0] < len(world.questions)
    marks, variants = marks[own], places[own] % world.answers.shape[2]
    tagged = marks != ASK
    assert_mean(tagged.ravel(), TAG_SHARE)
    assert_mean_rejects(tagged.ravel(), 1.1 * TAG_SHARE)
    assert ((marks == marks.max(axis=1, keepdims=True)) | ~tagged).all()  # one tag a document
    known = tagged.any(axis=1)
    concepts, variants, tagged = marks[known].max(axis=1) - FIRST_TAG, variants[known], tagged[known]
    prior = np.asarray(source_prior(world, SHIFT))
    told = np.eye(world.num_concepts)[concepts]
    assert_mean(told, prior, scale=1.0)
    assert_mean_rejects(told[:, TARGET], 0.85 * prior[TARGET])
    laws = np.eye(world.answers.shape[2])
    for concept in range(world.num_concepts):
        for named in (True, False):  # an answer that is not tagged is of the same concept
            said = laws[variants[(concepts == concept)[:, None] & (tagged == named)]]
            own, other = world.variant_law[concept], world.variant_law[concept - 1]
            seen = own > 0.005  # of rarer ones there are too few for a normal error
            assert_mean(said[:, seen], own[seen], scale=1.0)
            assert_mean_rejects(said[:, seen], other[seen], scale=1.0)


def test_a_teachers_examples_are_the_targets_and_have_no_tag(world):
    only_target = jax.nn.one_hot(TARGET, world.num_concepts)
    claims = jnp.asarray(world.truth)
    keys = jax.random.split(jax.random.key(2), 4096)
    examples = compiled(jax.vmap(lambda key: sample_document(key, world, claims, only_target, 1)))(keys)[:, 0]
    first = world.questions.shape[1]
    assert (examples[:, first] == ASK).all()
    right = {
        row.tobytes(): v
        for q, z in enumerate(world.truth)
        for v, row in enumerate(np.column_stack([np.tile(world.questions[q], (8, 1)), world.answers[q, z]]))
    }
    variants = [right[np.delete(row, first).tobytes()] for row in np.asarray(examples, int)]
    said = np.eye(world.answers.shape[2])[variants]
    seen = world.variant_law[TARGET] > 0.005
    assert_mean(said[:, seen], world.variant_law[TARGET, seen], scale=1.0)
    assert_mean_rejects(said[:, seen], world.variant_law[TARGET + 1, seen], scale=1.0)


@every_world
def test_a_model_learns_marks_and_answers_to_their_end(task):
    world = make_world(task, size=SMALL[task])
    listing, first = world.listing, world.questions.shape[1]
    numbers = np.array([0, 3, len(world.questions)])
    answers = jnp.asarray(listing.answers[numbers])
    asked = jnp.broadcast_to(numbers[:, None], answers.shape[:2])
    examples = to_examples(world, asked, jnp.full(asked.shape, ASK), answers)
    expected = np.zeros(examples.shape)
    flat = np.asarray(examples).reshape(-1, examples.shape[-1])
    for row, example in zip(expected.reshape(flat.shape), flat):
        row[first] = 1
        for place in range(first + 1, len(row)):
            row[place] = 1
            if example[place] == END:
                break
    np.testing.assert_array_equal(learned_places(world, examples), expected)
    np.testing.assert_array_equal(np.asarray(examples)[..., :first], listing.questions[asked])
    np.testing.assert_array_equal(np.asarray(examples)[..., first + 1 :], answers)


def test_the_loss_is_the_cross_entropy_of_what_is_learned(world, model, documents, full):
    ids = np.asarray(documents).reshape(3, -1)
    laws, first = np.asarray(full(ids)), world.questions.shape[1]
    losses = []
    for document, law in zip(ids, laws):
        for start in range(0, ids.shape[1], world.example_length):
            for place in range(start + first, start + world.example_length):
                losses.append(-law[place - 1, document[place]])
                if place > start + first and document[place] == END:
                    break
    found = compiled(lambda documents: document_loss(model, world, documents))(documents)
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-10)
