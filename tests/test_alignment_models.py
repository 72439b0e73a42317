"""Models of the alignment experiments: places, caches, decoding, exact scores, and the documents they learn from."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects
from w2s_jax.alignment.documents import document_loss, sample_document
from w2s_jax.alignment.model import AnswerModel, answer_log_probs, decode
from w2s_jax.alignment.prompting import ask, read_prompt, shorten
from w2s_jax.alignment.scores import bayes_divergence, score
from w2s_jax.alignment.world import ASK, END, FIRST_TAG, TARGET, concept_posterior, read, source_prior
from w2s_jax.alignment.worlds import make_world
from w2s_jax.transformer import Cache, TransformerConfig, init_cache

SMALL = {"persona": 16, "explanation": 12, "math": 45, "bias": 16}
SLOTS = 4
compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""Programs here compute next to nothing, and compile in half the time."""


def config_of(example_length, slots=SLOTS, **sizes) -> TransformerConfig:
    sizes = {"num_layers": 1, "width": 8, "num_heads": 2} | sizes
    return TransformerConfig(**sizes, max_length=slots * example_length, dtype="float64")


def make_model(vocab_size, example_length, slots=SLOTS, scale=1.0, **sizes) -> AnswerModel:
    """A model that was never trained, filled by NumPy; the larger the scale, the less even are its probabilities."""
    config, chance = config_of(example_length, slots, **sizes), np.random.default_rng(0)
    model = nnx.eval_shape(lambda: AnswerModel(config, vocab_size, example_length, rngs=nnx.Rngs(0)))

    def fill(leaf):
        numbers = np.ones(leaf.shape) if leaf.ndim == 1 else chance.normal(size=leaf.shape) / np.sqrt(config.width)
        return jnp.asarray(scale * numbers, leaf.dtype)

    nnx.update(model, jax.tree.map(fill, nnx.state(model)))
    return model


@pytest.fixture(scope="module")
def world():
    return make_world("explanation", size=SMALL["explanation"])  # its answers are of unequal length


@pytest.fixture(scope="module")
def model(world):
    """Two layers, so that attention attends to what attention has made."""
    return make_model(len(world.words), world.example_length, scale=1.5, num_layers=2)


@pytest.fixture(scope="module")
def full(model):
    """Log probabilities of the next token after each place of up to four rows, by forwards without a cache."""
    forward = compiled(lambda ids: jax.nn.log_softmax(model(ids)))

    def laws(ids):
        padded = np.zeros((4, 48), int)  # later tokens change nothing: one program for all
        padded[: len(ids), : ids.shape[1]] = ids
        return np.asarray(forward(padded))[: len(ids), : ids.shape[1]]

    return laws


@pytest.fixture(scope="module")
def documents(world):
    draw = partial(sample_document, world=world, claims=jnp.asarray(world.truth), prior=source_prior(world, 0.85))
    keys = jax.random.split(jax.random.key(1), 3)
    draw = partial(draw, num_examples=SLOTS, tag_share=0.3, skill_share=0.3)
    return np.asarray(compiled(jax.vmap(lambda key: draw(key)))(keys))


def counted(answer) -> int:
    """Tokens of an answer that count: up to its end."""
    return int(np.argmax(answer == END)) + 1 if (answer == END).any() else len(answer)


# --- places and caches ----------------------------------------------------------------------------------------------


def test_a_place_is_marked_by_its_number_in_the_example_and_the_examples_own(model, documents, full):
    ids = jnp.asarray(documents.reshape(3, -1))
    places, length = np.arange(ids.shape[1]), model.example_length
    in_example, of_example = (np.asarray(table.embedding[...]) for table in (model.place, model.example))
    given = in_example[places % length], of_example[places // length]
    shape = (*ids.shape, model.config.width)
    language = compiled(lambda extra: jax.nn.log_softmax(model.language(ids, extra=jnp.broadcast_to(extra, shape))))
    found = full(ids)
    assert found.dtype == np.float64
    np.testing.assert_allclose(language(sum(given)), found, rtol=1e-10)
    for twin in given:  # both are needed
        assert np.abs(language(twin) - found).max() > 1e-2


def test_a_cache_has_room_for_a_place_and_examples_fill_a_model(model):
    assert init_cache(model.config).keys.shape[1] == 48
    for length in (0, 49):
        with pytest.raises(
            ValueError, match=rf"length must be in \[1, max_length = 48\], got {length}; None takes all"
        ):
            init_cache(model.config, (), length)
    for length in (0, 5):
        with pytest.raises(ValueError, match=rf"max_length must be a multiple of .*, got 12 and {length}; give"):
            AnswerModel(config_of(6, 2), 11, length, rngs=nnx.Rngs(0))


# --- asking ---------------------------------------------------------------------------------------------------------


def test_the_first_examples_of_a_longer_prompt_are_a_shorter_prompt(world, model, documents, full):
    number, examples = 5, documents[0, : SLOTS - 1]
    answers = world.answers[number].reshape(-1, world.answer_length)[:4]

    @compiled
    def after(length):
        """The first token's probabilities, the names, places read, and the log probabilities of some answers."""
        prompt = shorten(world, read_prompt(model, jnp.asarray(examples)), length)
        asked = ask(model, world, jnp.asarray(number), prompt, ASK)
        log_probs = answer_log_probs(model, asked.logits, asked.cache, jnp.asarray(answers))
        return jax.nn.log_softmax(asked.logits), asked.tags, asked.cache.length, log_probs

    firsts = []
    for length in range(SLOTS):
        first, tags, places, log_probs = map(np.asarray, after(jnp.asarray(length)))
        ids = np.concatenate([examples[:length].ravel(), world.questions[number], [ASK]])
        laws = full(np.concatenate([np.tile(ids, (4, 1)), answers[:, :-1]], axis=1))
        assert places == ids.size == length * world.example_length + world.questions.shape[1] + 1
        np.testing.assert_allclose(first, laws[0, places - 1], rtol=1e-10)
        names = laws[0, places - 2, FIRST_TAG : FIRST_TAG + world.num_concepts]
        np.testing.assert_allclose(tags - tags[0], names - names[0], rtol=1e-9, atol=1e-12)
        by_token = np.take_along_axis(laws[:, places - 1 :], answers[..., None], axis=-1)[..., 0]
        expected = [row[: counted(answer)].sum() for row, answer in zip(by_token, answers)]
        np.testing.assert_allclose(log_probs, expected, rtol=1e-9)
        firsts.append(first)
    assert np.abs(firsts[2] - firsts[3]).max() > 1e-3  # prompts do matter


# --- decoding: a vocabulary so small that all strings can be listed -------------------------------------------------

VOCAB, ANSWER, BEFORE = 3, 3, (1, 2, 1, 2, 0, 1, 2, 1, 1)
"""One example of six tokens, then a question of two and its mark."""
STRINGS = np.array(list(product(range(VOCAB), repeat=ANSWER)))
ENDED = np.cumsum(STRINGS == END, axis=1) - (STRINGS == END) > 0
OUTCOMES = STRINGS[(~ENDED | (STRINGS == END)).all(axis=1)]
"""Every answer, filled up by END; the last are those that do not end."""
NUM_DRAWS = 8192


@pytest.fixture(scope="module")
def tiny():
    """A model, what it answers first, its cache, and its logits along each outcome by full forwards, `[N a vocab]`."""
    model = AnswerModel(config_of(6, 2), VOCAB, 6, rngs=nnx.Rngs(0))
    ids = jnp.asarray(np.concatenate([np.tile(BEFORE, (len(OUTCOMES), 1)), OUTCOMES], axis=1))
    program = compiled(lambda: (*model(jnp.array(BEFORE), init_cache(model.config)), model(ids)))
    logits, cache, along = program()
    return model, logits[-1], cache, np.asarray(along)[:, len(BEFORE) - 1 : -1]


def law_of(along, temperature=1.0) -> np.ndarray:
    """P(outcome), END the last token that counts."""
    logits = along / temperature
    laws = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    by_token = np.take_along_axis(laws, OUTCOMES[..., None], axis=-1)[..., 0]
    return np.exp([row[: counted(outcome)].sum() for row, outcome in zip(by_token, OUTCOMES)])


@pytest.fixture(scope="module")
def say(tiny):
    """Answers at a temperature, one for each of many keys."""
    model, logits, cache, _ = tiny
    keys = jax.random.split(jax.random.key(7), NUM_DRAWS)
    answers = compiled(
        jax.vmap(lambda temperature, key: decode(key, model, logits, cache, ANSWER, temperature), (None, 0))
    )
    return lambda temperature: np.asarray(answers(temperature, keys))


@pytest.mark.slow
def test_the_log_probability_of_an_answer_is_that_of_its_tokens_up_to_the_end(tiny):
    model, logits, cache, along = tiny
    log_probs = compiled(lambda answers: answer_log_probs(model, logits, cache, answers))
    found = np.asarray(log_probs(OUTCOMES))
    np.testing.assert_allclose(found, np.log(law_of(along)), rtol=1e-10)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-12) and len(OUTCOMES) == 1 + 2 + 4 + 8
    # What comes after END does not count, and what has no END counts in full.
    filled = np.where(np.cumsum(OUTCOMES == END, axis=1) - (OUTCOMES == END) > 0, 2, OUTCOMES)
    assert (filled != OUTCOMES).any()
    np.testing.assert_allclose(log_probs(filled), found, rtol=1e-12)


@pytest.mark.parametrize(("temperature", "twin"), [(1.0, 0.8), (0.5, 0.6), (2.0, 1.5)])
def test_answers_are_drawn_from_the_models_distribution_and_end_once(tiny, say, temperature, twin):
    places = {row.tobytes(): i for i, row in enumerate(OUTCOMES)}
    drawn = [places[row.tobytes()] for row in say(temperature).astype(OUTCOMES.dtype)]  # nothing follows END but END
    counts, expected = np.bincount(drawn, minlength=len(OUTCOMES)), NUM_DRAWS * law_of(tiny[3], temperature)
    assert expected.min() >= 5  # so that the statistic has its distribution
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    assert stats.chisquare(counts, NUM_DRAWS * law_of(tiny[3], twin)).pvalue < 1e-6


def test_at_temperature_0_every_key_says_the_likeliest_token_by_token(tiny, say):
    expected = []
    for i in range(ANSWER):
        fits = (OUTCOMES[:, :i] == np.array(expected, int)).all(axis=1)
        expected.append(END if END in expected else int(np.argmax(tiny[3][fits][0, i])))
    np.testing.assert_array_equal(say(0.0), np.tile(expected, (NUM_DRAWS, 1)))


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


def mistaken(world) -> np.ndarray:
    """Beliefs of a teacher that is wrong about everything, and of one that is right: `[2 Q]`."""
    return np.stack([(world.truth + 1) % world.content.shape[1], world.truth])


def scored(world, model, numbers):
    """Scores of answers without a prompt, beside two teachers, and the likeliest ones."""

    def one(number):
        asked = ask(model, world, number, read_prompt(model, jnp.zeros((0, world.example_length), int)))
        greedy = decode(jax.random.key(0), model, asked.logits, asked.cache, world.answer_length, 0.0)
        believed = jnp.asarray(mistaken(world))
        return score(model, world, number, asked.logits, asked.cache, greedy, believed), greedy

    return jax.lax.map(one, numbers)


def test_an_answerer_of_the_grammar_scores_what_its_claims_and_its_ways_are_worth():
    """One that knows all in the target's way, then one that is always wrong; in math, where strings repeat."""
    world = make_world("math", size=SMALL["math"])
    numbers = np.array([0, 5, 11, len(world.questions), len(world.listing.questions) - 1])
    own, (target, *_, last) = numbers < len(world.questions), np.eye(world.num_concepts)
    scores_of = compiled(lambda law: scored(world, Grammarian(world, law), jnp.asarray(numbers)))
    for claims, weights in ((world.truth, target), (mistaken(world)[0], last)):
        found, greedy = jax.tree.map(np.asarray, scores_of(grammar_law(world, claims, weights)))
        law, content = weights @ world.variant_law, world.content[numbers[own], claims[numbers[own]]]
        np.testing.assert_allclose(found.content[own, 1], content @ law, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.style[own, 1], law @ world.style, rtol=1e-9)
        np.testing.assert_allclose(found.mass, 1, rtol=1e-9)
        np.testing.assert_allclose(found.content[~own], 1, rtol=1e-9)
        np.testing.assert_array_equal(greedy[~own], world.skill_answers[[0, -1]])
        # Of a claim whose string is right, as half of a bare answer's may be in math, nothing is copied.
        np.testing.assert_allclose(found.copied[own, 0, 1], (content < 1) @ law, rtol=1e-9, atol=1e-99)
        np.testing.assert_array_equal(found.copied[own, 0, 0], found.content[own, 0] < 1)
        assert np.isnan(found.copied[own, 1]).all() and np.isnan(found.copied[~own]).all()
        if claims is world.truth:
            assert (found.content[:, 0] == 1).all() and (found.style[own, 0] == 1).all()
            exact = np.broadcast_to(np.log(law), found.truth_law[own].shape)
            np.testing.assert_allclose(found.truth_law[own], exact, rtol=1e-9, atol=1e-9)
        else:
            assert found.content[own].max() < 0.9 and found.style[own, 1].max() < 0.6 * world.target_style()


def test_divergence_from_bayes_is_zero_for_bayes_and_no_one_else(world):
    """Of the prior's law, and of one that gives half of its own to a wrong claim."""

    @compiled
    def program():
        prior = source_prior(world, 0.85)
        exact = concept_posterior(world, prior, jnp.array([0, 0, 1]), jnp.ones(3, bool))
        law, other = exact @ jnp.asarray(world.variant_law), prior @ jnp.asarray(world.variant_law)
        return law, other, bayes_divergence(world, jnp.tile(exact, (3, 1)), jnp.log(jnp.stack([law, other, law / 2])))

    law, other, found = map(np.asarray, program())
    expected = np.array([0, (law * np.log(law / other)).sum(), np.log(2)])
    assert expected[1] > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_scores_are_sums_over_every_string():
    """In math, where several answers are one string."""
    world = make_world("math", size=SMALL["math"])
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
            stated = world.answers[number, mistaken(world)[0, number]].reshape(-1, world.answer_length)
            errors = {row.tobytes() for row in stated} & {key for key, (right, _) in seen.items() if right < 1}
            np.testing.assert_allclose(found.copied[i, 0, 1], sum(probs[string] for string in errors), rtol=1e-9)
            assert found.copied[i, 0, 0] == (likeliest in errors)


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


def test_a_document_asks_different_questions_of_the_world_or_of_the_skill(world, drawn):
    claims, numbers, marks, places = drawn
    assert all(len(set(asked)) == SLOTS for asked in numbers.tolist())
    assert len(np.unique(numbers)) == len(world.listing.questions)  # every question is asked somewhere
    skill = numbers >= len(world.questions)
    assert (skill == skill[:, :1]).all()
    assert (marks[skill] == ASK).all() and (places[skill] == 0).all()
    assert_mean(skill[:, 0], SKILL_SHARE)
    assert_mean_rejects(skill[:, 0], 1.15 * SKILL_SHARE)
    # Its answers claim what their writer believes.
    np.testing.assert_array_equal(places[~skill] // world.answers.shape[2], claims[numbers[~skill]])


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
    names = np.eye(world.num_concepts)[concepts]
    assert_mean(names, prior, scale=1.0)
    assert_mean_rejects(names[:, TARGET], 0.85 * prior[TARGET])
    each = np.eye(world.answers.shape[2])
    for concept in range(world.num_concepts):
        for named in (True, False):  # an answer that is not tagged is of the same concept
            said = each[variants[(concepts == concept)[:, None] & (tagged == named)]]
            own, other = world.variant_law[concept], world.variant_law[concept - 1]
            seen = own > 0.005  # of rarer ones there are too few for a normal error
            assert_mean(said[:, seen], own[seen], scale=1.0)
            assert_mean_rejects(said[:, seen], other[seen], scale=1.0)


def test_the_loss_is_the_cross_entropy_of_what_is_learned(world, model, documents, full):
    ids = documents.reshape(3, -1)
    laws, first = full(ids), world.questions.shape[1]
    losses = []
    for document, law in zip(ids, laws):
        for start in range(0, ids.shape[1], world.example_length):
            for place in range(start + first, start + world.example_length):
                losses.append(-law[place - 1, document[place]])
                if place > start + first and document[place] == END:
                    break
    found = compiled(lambda documents: document_loss(model, world, documents))(documents)
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-10)
