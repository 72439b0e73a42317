"""Every world: its strings are listed, scores mean what they say, concepts can be named, beliefs nest."""

from functools import cache, partial
from itertools import combinations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from w2s_jax.alignment import math, skill
from w2s_jax.alignment.math import operator_tables
from w2s_jax.alignment.world import (
    ASK,
    END,
    FIRST_TAG,
    TARGET,
    World,
    concept_posterior,
    read,
    source_prior,
    to_text,
    to_tokens,
)
from w2s_jax.alignment.worlds import WORLDS, dialogues, make_world
from w2s_jax.rng import stream

SMALL = {"persona": 16, "explanation": 12, "math": 45, "bias": 16}
CONCEPT_SHIFT = {"persona": 0.85, "explanation": 0.85, "math": 0.85, "bias": 0.75}
CAPABILITIES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
every_world = pytest.mark.parametrize("task", WORLDS)


def distinct(world: World) -> np.ndarray:
    """Whether an answer is the first of its string among those to its question, `[Q Z V]`."""
    return world.listing.distinct[: len(world.questions)].reshape(world.content.shape)


@cache
def world_of(task, small=True):
    return make_world(task, size=SMALL[task] if small else None)


@cache
def reader(task):
    """(questions, tokens) -> claims, variants, whether readable; compiled once for the listed answers."""
    return jax.jit(partial(read, world_of(task)))


def rows(world):
    """Question, claim and variant of every listed answer, and its tokens: [N], [N], [N], [N a]."""
    return *(index.ravel() for index in np.indices(world.content.shape)), world.answers.reshape(-1, world.answer_length)


def length_with_end(tokens):
    return np.argmax(tokens == END, axis=-1) + 1


# --- the grammar ----------------------------------------------------------------------------------------------------


@every_world
def test_every_string_is_marked_once(task):
    world = world_of(task)
    questions, _, _, tokens = rows(world)
    first = distinct(world).ravel()
    flagged = set(zip(questions[first], (row.tobytes() for row in tokens[first])))
    assert len(flagged) == first.sum()  # none twice
    assert flagged == set(zip(questions, (row.tobytes() for row in tokens)))  # and none left out


def test_only_bare_answers_to_math_are_one_string_for_several_claims():
    for task in WORLDS:
        assert distinct(world_of(task)).all() == (task != "math")
    world = world_of("math")
    bare = np.array(["in all this " in to_text(world, answer) for answer in world.answers[0, 0]])
    repeated = ~distinct(world)
    assert repeated[:, 3:, bare].all() and not repeated[:, :3].any() and not repeated[..., ~bare].any()


def test_no_world_is_another_with_its_tokens_renamed():
    assert len({world_of(task, small=False).answers.shape[1:] for task in WORLDS}) == len(WORLDS)


@every_world
def test_a_world_is_as_large_as_the_experiments_ask(task):
    world = world_of(task, small=False)
    assert world.task == task and len(world.questions) >= 200 and world.answer_length <= 10
    assert distinct(world).sum(axis=(1, 2)).max() <= 200 and world.content[0].size <= 200  # scores enumerate all pairs
    lengths = length_with_end(world.answers)
    assert lengths.min() >= 6
    filled = np.arange(world.answer_length) >= lengths[..., None] - 1
    assert ((world.answers == END) == filled).all()
    assert (world.questions != END).all() and (world.answers != ASK).all()
    assert len(np.unique(world.questions, axis=0)) == len(world.questions)


@every_world
def test_at_least_two_places_tell_the_concept(task):
    world = world_of(task, small=False)
    right = world.answers[np.arange(len(world.truth)), world.truth]  # [Q V a]
    places = (right != right[:, :1]).any(axis=1).sum(axis=1)
    assert places.min() >= 2
    # No two concepts are the same law, and no two ways of putting the truth are the same string.
    assert all(abs(p - q).sum() > 0.1 for p, q in combinations(world.variant_law, 2))
    assert all(len(np.unique(strings, axis=0)) == len(strings) for strings in right)


# --- scores ---------------------------------------------------------------------------------------------------------


@every_world
def test_a_string_has_one_score_and_style_tells_the_target_from_its_rivals(task):
    world, scores = world_of(task), {}
    for q, z, v, tokens in zip(*rows(world)):
        found = world.content[q, z, v], world.style[v]
        assert scores.setdefault((q, tokens.tobytes()), found) == found
    assert world.target_style() == pytest.approx(0.9**3 if task == "persona" else 0.9, rel=1e-12)  # its default noise
    assert (world.variant_law[1:] @ world.style < world.target_style() / 2).all()


@every_world
def test_content_is_one_for_the_truth_and_less_for_any_other_result(task):
    world = world_of(task, small=False)
    questions = np.arange(len(world.truth))
    assert (world.content[questions, world.truth] == 1).all()
    assert world.content.mean(axis=(0, 1)) @ world.variant_law[TARGET] < 0.3  # of one who guesses
    assert ((world.content >= 0) & (world.content <= 1)).all() and ((world.style >= 0) & (world.style <= 1)).all()
    if task == "math":  # a bare answer may be right by luck
        right = world.content == 1
        result = np.arange(9) % 3 == world.truth[:, None] % 3
        assert (right[..., 2:4] == result[..., None]).all() and not right[~result].any()
        assert (right[..., [0, 1, 4, 5]].sum(axis=1) == 1).all()
    else:
        assert ((world.content == 1).sum(axis=1) == 1).all()


# --- rendering and reading ------------------------------------------------------------------------------------------


@every_world
def test_rendering_round_trips(task):
    world = world_of(task)
    for tokens in (*world.questions, *world.answers[0].reshape(-1, world.answer_length), *world.skill_answers):
        np.testing.assert_array_equal(to_tokens(world, to_text(world, tokens)), tokens)
    for answers, first in zip(world.answers, distinct(world)):
        texts = [to_text(world, tokens[: length_with_end(tokens)]) for tokens in answers[first]]
        assert len(set(texts)) == len(texts)


@every_world
def test_every_listed_answer_is_read(task):
    world = world_of(task)
    questions, claims, variants, tokens = rows(world)
    claim, variant, readable = reader(task)(questions, tokens)
    assert readable.all()
    np.testing.assert_array_equal(variant, variants)
    np.testing.assert_array_equal(world.answers[questions, claim, variant], tokens)
    once = distinct(world).ravel()
    np.testing.assert_array_equal(claim[once], claims[once])
    # What comes after the end does not count.
    after = np.arange(world.answer_length) >= length_with_end(tokens)[:, None]
    noise = np.random.default_rng(0).integers(len(world.words), size=tokens.shape)
    for found, expected in zip(reader(task)(questions, np.where(after, noise, tokens)), (claim, variant, readable)):
        np.testing.assert_array_equal(found, expected)


@every_world
def test_garbage_is_refused(task):
    world, rng = world_of(task), np.random.default_rng(0)
    questions, _, _, tokens = rows(world)
    places = np.arange(world.answer_length)
    lengths = length_with_end(tokens)
    blank = to_tokens(world, skill.BLANK)[0]
    garbage = {
        "one word is another": np.where(places == rng.integers(lengths)[:, None], blank, tokens),
        "cut short": np.where(places >= lengths[:, None] - 2, END, tokens),
        "goes on": np.where(places == lengths[:, None] - 1, tokens[:, :1], tokens),
        "backwards": np.where(tokens == END, END, np.take_along_axis(tokens, abs(lengths[:, None] - 2 - places), 1)),
        "says nothing": np.full_like(tokens, END),
        "random": rng.integers(len(world.words), size=tokens.shape),
    }
    for name, wrong in garbage.items():
        assert not np.any(reader(task)(questions, wrong)[2]), name


def test_dialogues_are_right_answers_to_every_question(key):
    world = world_of("explanation")  # its answers are of unequal length
    concept, count, width = world.num_concepts - 1, len(world.questions), world.questions.shape[1]
    lines = dialogues(world, key, concept, count)
    asked = []
    for i, line in enumerate(lines):
        tokens = to_tokens(world, line)
        (question,) = np.flatnonzero((world.questions == tokens[:width]).all(axis=1))
        assert tokens[width] == (FIRST_TAG + concept if i % 2 else ASK)
        answer = np.full(world.answer_length, END)
        answer[: len(tokens) - width - 1] = tokens[width + 1 :]
        assert tokens[-1] == END and (world.answers[question, world.truth[question]] == answer).all(axis=1).any()
        asked.append(question)
    assert sorted(asked) == list(range(count))
    assert dialogues(world, key, concept, 0) == []


# --- concepts -------------------------------------------------------------------------------------------------------


def test_the_posterior_is_bayes_rule():
    world, rng, shape = world_of("persona"), np.random.default_rng(0), (50, 4)
    variants, readable = rng.integers(len(world.style), size=shape), rng.random(shape) < 0.7
    readable[0] = False  # then it is the prior

    @jax.jit
    def found(shift):
        prior = source_prior(world, shift)
        return prior, concept_posterior(world, prior, jnp.asarray(variants), jnp.asarray(readable))

    for shift in (0.0, 0.85, 1.0):  # what a prior rules out it rules out for ever
        prior, posterior = found(shift)
        np.testing.assert_allclose(prior, [1 - shift, *[shift / 3] * 3], rtol=1e-12)
        evidence = np.where(readable, world.variant_law[:, variants], 1.0).prod(axis=-1).T  # [50 K]
        weights = np.asarray(prior) * evidence
        np.testing.assert_allclose(posterior, weights / weights.sum(axis=1, keepdims=True), rtol=1e-10)


@every_world
def test_five_examples_name_the_concept_and_one_does_not(task):
    world = world_of(task)
    prior = source_prior(world, CONCEPT_SHIFT[task])
    naming = jax.jit(lambda *seen: concept_posterior(world, prior, *seen).argmax(axis=-1))

    def accuracy(num_examples):
        """P(the likeliest concept is the true one | concept), exactly: the sum over all sequences of variants."""
        sequences = np.array(list(product(range(len(world.style)), repeat=num_examples)))
        law = np.prod(world.variant_law[:, sequences], axis=-1)  # [K sequences]
        all_read = jnp.ones(sequences.shape, bool)
        named = naming(jnp.asarray(sequences), all_read)
        return (law * (np.arange(world.num_concepts)[:, None] == np.asarray(named))).sum(axis=1)

    five, one = accuracy(5), accuracy(1)
    assert five.min() >= 0.97
    assert one.mean() <= 0.92


# --- beliefs --------------------------------------------------------------------------------------------------------


@every_world
def test_beliefs_run_from_nothing_to_the_truth(task, key):
    world = world_of(task, small=False)
    believe = jax.jit(jax.vmap(world.believe, (None, 0)))
    claims, others = (np.asarray(believe(own, CAPABILITIES)) for own in (key, stream(key, "another")))
    assert claims.min() >= 0 and claims.max() < world.content.shape[1]
    right = claims == world.truth
    np.testing.assert_array_equal(claims[-1], world.truth)
    assert right[0].mean() <= 0.05
    content = world.content[np.arange(len(world.truth)), claims] @ world.variant_law[TARGET]
    assert content[0].mean() < 0.25
    assert (np.diff(right.mean(axis=1)) > 0.03).all() and (np.diff(content.mean(axis=1)) > 0.03).all()
    assert (right[1:] >= right[:-1]).all()  # what is known stays known
    assert (claims[2] != others[2]).mean() > 0.1


def test_wrong_reckoning_is_one_wrong_table(key, monkeypatch):
    """Every problem that uses an entry has the same result for it; a share 1 - capability of the entries is wrong."""
    monkeypatch.setattr(math, "MISREAD", 0.0)
    world, p = make_world("math", size=243), 3
    first, then, a, b, c = problems_of(world)
    capabilities = np.array([0.0, 0.3, 0.8])
    claims = jax.jit(jax.vmap(world.believe, (None, 0)))(key, capabilities)
    for capability, (step, result) in zip(capabilities, (np.divmod(own, p) for own in np.asarray(claims))):
        table = np.full((3, p, p), -1)
        table[first, a, b] = step
        assert (table[first, a, b] == step).all() and (table[then, step, c] == result).all()
        assert (table == operator_tables(p)).sum() == round(capability * 3 * p * p)
        right = world.content[np.arange(243), step * p + result] == 1
        assert (right[:, 0] == (step * p + result == world.truth)).all()


def test_an_operator_is_misread_as_another_in_a_quarter_of_the_rest(key, monkeypatch):
    """Many readers beside the same ones who misread nothing: what differs is right for another operator."""
    world, p, capability = make_world("math", size=243), 3, 0.2
    keys = jax.random.split(key, 200)

    def believed():
        return np.asarray(jax.jit(jax.vmap(world.believe, (0, None)))(keys, capability))

    claims = believed()
    with monkeypatch.context() as patch:
        patch.setattr(math, "MISREAD", 0.0)
        plain = believed()
    first, then, a, b, c = problems_of(world)
    tables = operator_tables(p)

    def claim(first, then):
        step = tables[first, a, b]
        return step * p + tables[then, step, c]

    others = np.stack([claim((first + t) % 3, then) for t in (1, 2)] + [claim(first, (then + t) % 3) for t in (1, 2)])
    wrong = (others != world.truth).any(axis=0)
    differs = claims != plain
    assert not differs[:, ~wrong].any()
    readers, places = np.nonzero(differs)
    assert (others[:, places] == claims[readers, places]).any(axis=0).all()
    assert (claims[readers, places] != world.truth[places]).all()
    # A misreading shows only where the tables do not happen to lead to the same claim.
    shown, most = differs[:, wrong].mean(), math.MISREAD * (1 - capability)
    assert 0.7 * most < shown < most


def problems_of(world) -> list[np.ndarray]:
    """Operators and digits of all problems: first, then, a, b, c."""
    plus, zero = to_tokens(world, "plus zero")
    return [world.questions[:, i] - start for i, start in ((1, plus), (3, plus), (0, zero), (2, zero), (4, zero))]


def test_math_is_arithmetic_modulo_a_prime():
    world = make_world("math", size=1125)
    plus, zero = to_tokens(world, "plus zero")
    apply = (lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y)
    for (a, first, b, then, c), claim in zip((world.questions - zero).tolist(), world.truth.tolist()):
        step = apply[first + zero - plus](a, b) % 5
        assert divmod(claim, 5) == (step, apply[then + zero - plus](step, c) % 5)
    assert [make_world("math", size=size).content.shape[1] for size in (1, 243, 244, 1125, 1126)] == [9, 9, 25, 25, 49]


# --- the skill, the seed, and what is refused -----------------------------------------------------------------------


@every_world
def test_the_skill_has_words_and_answers_of_its_own(task):
    world = world_of(task, small=False)
    assert len(np.unique(world.skill_questions, axis=0)) == len(np.unique(world.skill_answers, axis=0))
    assert len(world.skill_questions) == len(world.skill_answers) == 90
    np.testing.assert_array_equal(world.skill_answers[:, :2], world.skill_questions[:, 1::-1])
    assert (length_with_end(world.skill_answers) == 3).all()
    own = set(np.unique(world.questions)) | set(np.unique(world.answers)) | set(range(FIRST_TAG + world.num_concepts))
    skills = set(np.unique(world.skill_questions)) | set(np.unique(world.skill_answers)) - {END}
    assert not own & skills and {world.words[token] for token in skills} <= set(skill.WORDS)
    tags = world.words[FIRST_TAG : FIRST_TAG + world.num_concepts]
    assert world.words[:FIRST_TAG] == ("<end>", "?") and all(tag[0] + tag[-1] == "<>" for tag in tags)
    assert own | skills | set(to_tokens(world, skill.BLANK)) == set(range(len(world.words)))  # no word is idle


@every_world
def test_a_world_is_its_seed(task):
    one, same, other = (make_world(task, seed, SMALL[task]) for seed in (3, 3, 4))
    for name in ("questions", "answers", "truth"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert (one.truth != other.truth).any()


@every_world
def test_sizes_and_noises_outside_their_range_are_refused(task):
    for name, value in (("size", 0), ("style_noise", 0.0), ("style_noise", 0.5), ("style_noise", np.nan)):
        with pytest.raises(ValueError, match=rf"^{name} must be .*; try [\d.]+\.$"):
            make_world(task, **{name: value})


def test_unknown_worlds_concepts_and_counts_are_refused(key):
    message = "size must be a multiple of the 6 relations, got 100; try 240."
    with pytest.raises(ValueError, match=message):
        make_world("explanation", size=100)
    with pytest.raises(ValueError, match="task must be one of persona, explanation, math, bias, got 'poetry'"):
        make_world("poetry")
    world = world_of("persona")
    for concept in (-1, 4):
        with pytest.raises(ValueError, match="concept must be in"):
            dialogues(world, key, concept, 1)
    for count in (-1, 17):
        with pytest.raises(ValueError, match="count must be in"):
            dialogues(world, key, 0, count)


WRONG = {
    "content must fit": lambda world: {"content": world.content[:-1]},
    "skill_questions must fit": lambda world: {"skill_questions": world.skill_questions[:, :1]},
    "variant_law must be positive": lambda world: {"variant_law": np.eye(4, 8)},
    "rows must sum to 1": lambda world: {"variant_law": 2 * world.variant_law},
    "words must differ": lambda world: {"words": (*world.words[:-1], world.words[0])},
    "no blanks": lambda world: {"words": (*world.words[:-1], "two words")},
    "others in answers": lambda world: {"words": world.words[:-1]},
    "others in questions": lambda world: {"questions": world.questions - 100},
    "must end in <end>": lambda world: {"answers": np.where(world.answers == END, 5, world.answers)},
}


@pytest.mark.parametrize("message", WRONG)
def test_arrays_that_make_no_world_are_refused(message):
    world = world_of("persona")
    wrong = object.__new__(World)  # so that the check is the world's own, not that of its annotations
    vars(wrong).update(vars(world) | WRONG[message](world))
    with pytest.raises(ValueError, match=message):
        wrong.__post_init__()
