"""The alignment sweep: what it refuses, its gate, what each model sees, fine-tuning, and its store."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sims.alignment import gate, labels, seeds, strong, teachers
from sims.alignment.claims import alignment_claims
from sims.alignment.finetune import fine_tune, lesson
from sims.alignment.gate import Mastery, check_mastery, examine
from sims.alignment.labels import own_labels, refine, self_refined, surest, true_labels
from sims.alignment.seeds import split_questions
from sims.alignment.spec import METHODS, AlignmentSpec
from sims.alignment.strong import NETWORKS, decided_by, folder_of, pretrained, structure
from sims.alignment.teachers import label_laws, teach
from sims.engine.checked import InputError, from_json, identity
from sims.engine.claims import Claim
from sims.engine.store import Store
from tests.conftest import ROOT
from tests.helpers import assert_field_refused, files, of
from tests.test_alignment_models import Bayesian, Grammarian, grammar_law, make_model
from tests.test_bad_input import assert_refused
from tests.tiny import ALIGNMENT, UNOPTIMISED
from w2s_jax.alignment.answers import Questions, Report, answer, label, report_unprompted
from w2s_jax.alignment.documents import to_examples
from w2s_jax.alignment.world import ASK, END, TARGET, source_prior
from w2s_jax.rng import replicate_key, stream
from w2s_jax.training import TrainingConfig, make_optimizer
from w2s_jax.types import stack

TINY = ALIGNMENT.spec
WORLD = TINY.world
pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
compiled = partial(jax.jit, compiler_options=UNOPTIMISED)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"methods": ("source", "oracle")}, "methods must be among source, ceiling, .*; got 'oracle'; choose from the"),
        (
            {"methods": ("source", "hull")},
            r"methods must support this setting, as source, .* do; 'hull' supports python -m sims.methods "
            r"\(linear, sign labels\) alone: leave it out here",
        ),
        ({"num_icl": (90,), "size": 104, "train_questions": 91}, "num_icl must be at most 89, got 90; give shorter"),
        ({"train_questions": 7}, "train_questions must be a multiple of 3 examples, got 7; change it"),
        ({"train_questions": 18}, "train_questions must be at most 14 in this world, got 18; ask fewer, or raise size"),
        ({"skill_questions": 91}, "skill_questions must be at most 90 in this world, got 91; ask fewer"),
        ({"size": 15}, "size must be a multiple of the 8 relations, got 15; try 208"),
        ({"width": 10}, "width must be a multiple of 2 heads = 4, got 10; change either"),
        (
            {"finetune_steps": 1, "methods": ("icl_refine",)},
            "finetune_steps must be at least 1 at equal compute, where "
            "icl_refine pays for its answers too, got -1; raise it, or leave the method out",
        ),
    ],
)
def test_a_field_out_of_range(fields, message):
    assert_field_refused(TINY, fields, message)


def test_a_store_of_earlier_definitions_is_read_and_not_gone_on_with(capsys, tmp_path):
    """A store of version 0.1 has none of the later fields, and none of them decides the networks."""
    later = ("definitions", "anchored_contrast", "confidence_labels")
    own = {name: value for name, value in dataclasses.asdict(TINY).items() if name not in later}
    before = from_json(AlignmentSpec, json.dumps(own | {"contrast": 1.0}))
    assert before.definitions == 1 and identity(before) != identity(dataclasses.replace(TINY, contrast=1.0))
    assert decided_by(before, TINY.width) == decided_by(TINY, TINY.width)
    Store.open(ALIGNMENT.path(tmp_path), before, (2, 1), {"content": np.zeros(3)}, {})
    message = "a store holds one configuration, but .* differs in .*definitions .1 in the store, 2 asked for"
    assert_refused(capsys, ALIGNMENT.run(tmp_path), message)


def test_networks_are_shared_by_sweeps_that_agree_on_them_alone():
    own = decided_by(TINY, TINY.width)
    same = {"capability": (0.5,), "finetune_rate": 0.1, "weak_steps": 9, "middle_width": 4, "methods": ("source",)}
    assert decided_by(dataclasses.replace(TINY, **same), TINY.width) == own
    others = [{"size": 24}, {"concept_shift": 0.5}, {"document_steps": 9}, {"num_icl": (1,)}, {"seed": 1}]
    folders = {folder_of(decided_by(dataclasses.replace(TINY, **other), TINY.width)) for other in others}
    assert len(folders | {folder_of(own), folder_of(decided_by(TINY, 12))}) == len(others) + 2


def test_networks_are_trained_in_groups_of_seeds(monkeypatch, tmp_path):
    folder = tmp_path / NETWORKS / folder_of(decided_by(TINY, TINY.width))
    trained = []

    def train(spec, own, seeds, folder):
        trained.append(folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        return {"weight": jnp.array(seeds)}

    monkeypatch.setattr(strong, "_train", train)
    names = ["seeds-0-2", "seeds-3-4", "seeds-5-5"]
    for count, groups in ((3, 1), (2, 1), (5, 2), (4, 2), (6, 3)):  # a group is there whole, whatever is asked of it
        found = pretrained(dataclasses.replace(TINY, replicates=count), TINY.width, tmp_path)
        assert found["weight"].tolist() == list(range(count)) and trained == names[:groups]
        trained.clear()
    assert sorted(path.name for path in folder.iterdir()) == names


# --- showing dialogues ----------------------------------------------------------------------------------------------


def test_show_prints_dialogues_and_runs_nothing(capsys, tmp_path):
    out = tmp_path / "results"
    assert ALIGNMENT.run(out, "--show", "3") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if not line.startswith(" ")] == [
        "<pirate> (the target)", "<officer> (a rival)", "<farmer> (a rival)", "<friend> (a rival)",
    ]  # fmt: skip
    assert len(said) == 4 * (1 + 3) and all(line.endswith("<end>") for line in said if line.startswith(" "))
    for count in ("0", "17"):
        message = rf"show must be in \[1, 16\], the questions of this world, got {count};"
        assert_refused(capsys, ALIGNMENT.run(out, "--show", count), message, out)
    assert_refused(capsys, ALIGNMENT.run(out, "--show", "some"), "--show", out)
    assert not out.exists()


# --- the gate -------------------------------------------------------------------------------------------------------

STRICT = dataclasses.replace(TINY, min_content=0.98, min_naming=0.95)


def mastery(**changes) -> Mastery:
    """Mastery of two networks, perfect but for `field=((seed, slot, concept), value)`."""
    shape = (2, STRICT.slots, WORLD.num_concepts)
    found = Mastery(*(np.ones(shape) for _ in range(4)), divergence=np.zeros(shape))
    for name, (where, value) in changes.items():
        getattr(found, name)[where] = value
    return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": ((1, 2, 3), 0.9)}, "that of seed 1 has 0.900 as <friend> under [?] in slot 2; raise single_steps"),
        ({"tagged_content": ((0, 1, 0), 0.5)}, "that of seed 0 has 0.500 as <pirate> under the tag in slot 1; raise"),
        ({"content": ((0, 0, 2), np.nan)}, "that of seed 0 has nan as <farmer> under [?] in slot 0; raise"),
        ({"naming": ((1, 2), 0.9)}, "must name the concept of 2 examples .* that of seed 1 has 0.900; raise document_"),
    ],
)
def test_the_gate_names_the_seed_the_format_and_the_slot_that_fail(changes, message):
    check_mastery(STRICT, mastery(content=((1, 2, 3), 0.98), naming=((0, 1), 0.0)))  # of few examples no name is asked
    with pytest.raises(InputError, match=message) as error:
        check_mastery(STRICT, mastery(**changes))
    assert str(error.value).count("\n") == 0 and str(error.value).endswith(".")


@pytest.mark.slow
def test_the_gate_measures_what_exact_bayes_would_reach(monkeypatch):
    """In the place of both networks: in every slot all is known, named as Bayes names it, and no nat is lost."""
    model = Bayesian(WORLD, source_prior(WORLD, TINY.concept_shift), slots=TINY.slots)
    graph, state = nnx.split(model)
    monkeypatch.setattr(gate, "structure", lambda spec, width: graph)
    monkeypatch.setattr(gate, "DOCUMENTS", 8)
    found = examine(TINY, stack([state, state]))
    assert {leaf.shape for leaf in found} == {(2, TINY.slots, WORLD.num_concepts)}
    np.testing.assert_allclose(found.content, 1, rtol=1e-9)
    np.testing.assert_allclose(found.tagged_content, 1, rtol=1e-9)
    np.testing.assert_array_equal(found.naming, found.bayes_naming)
    np.testing.assert_allclose(found.divergence, 0, atol=1e-9)
    # Without an example the likeliest concept is that of the prior, with more it is the right one more often.
    likeliest = np.argmax(source_prior(WORLD, TINY.concept_shift))
    np.testing.assert_array_equal(found.naming[:, 0], np.tile(np.arange(4) == likeliest, (2, 1)))
    assert 0.25 < found.naming[:, 1:].mean() < 1 and np.any(found.naming[0] != found.naming[1])


# --- what each model sees -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def questions():
    return split_questions(TINY, jax.random.key(3))


def test_questions_are_in_one_split_alone():
    drawn = [[np.asarray(part) for part in split_questions(TINY, jax.random.key(seed))] for seed in range(20)]
    for split in drawn:
        assert [part.size for part in split] == [TINY.train_questions, TINY.held_out_questions, TINY.skill_questions]
        assert np.unique(np.concatenate(split)).size == sum(part.size for part in split)
        assert max(split[0].max(), split[1].max()) < len(WORLD.questions) <= split[2].min()
        assert split[2].max() < len(WORLD.listing.questions)
        asked = [{row.tobytes() for row in WORLD.listing.questions[part]} for part in split]
        assert not (asked[0] & asked[1]) and not (asked[0] & asked[2])  # by what is asked, not by its number alone
    assert len({tuple(train) for train, *_ in drawn}) > 15


class Seen(Exception):
    """What a function is called with; enough has been seen."""


def some_labels(questions, seed=0) -> np.ndarray:
    """Labels of the train questions: any claims in any way of answering, the last one unreadable."""
    rng, asked = np.random.default_rng(seed), np.asarray(questions.train)
    claims, variants = (rng.integers(size, size=asked.size) for size in WORLD.answers.shape[1:3])
    found = WORLD.answers[asked, claims, variants].copy()
    found[-1] = ASK
    return found


def given_to(monkeypatch, name, run):
    """What is given, after key, model and world, to the function of that name in `labels`."""

    def spy(key, model, world, *given, **named):
        raise Seen(*given, *named.values())

    monkeypatch.setattr(labels, name, spy)
    with jax.disable_jit(), pytest.raises(Seen) as seen:
        run()
    return [given if isinstance(given, tuple) else np.asarray(given) for given in seen.value.args]


@pytest.mark.parametrize("num_icl", [(1, 2), (5,)])
def test_prompts_hold_the_others_of_a_batch_and_train_questions_alone(monkeypatch, questions, num_icl):
    spec = dataclasses.replace(TINY, num_icl=num_icl)
    given = jnp.asarray(some_labels(questions))[None]
    refined = partial(refine, spec, jax.random.key(0), None, questions, given, jnp.asarray(WORLD.truth)[None])
    numbers, prompts, lengths, believed = given_to(monkeypatch, "answer", refined)
    np.testing.assert_array_equal(believed, WORLD.truth[None])
    assert lengths == tuple(sorted(num_icl)) and prompts.shape[:2] == (12, max(num_icl))
    np.testing.assert_array_equal(numbers, np.concatenate(questions))
    train = np.asarray(questions.train)
    first = WORLD.questions.shape[1]
    place_of = {row.tobytes(): place for place, row in enumerate(WORLD.questions)}
    members = np.array([[place_of[row[:first].astype(int).tobytes()] for row in prompt] for prompt in prompts])
    # Every example is a train question with its own weak label, under ?.
    np.testing.assert_array_equal(prompts[..., first], ASK)
    label_of = dict(zip(train.tolist(), some_labels(questions).tolist()))
    for row, number in zip(prompts.reshape(-1, prompts.shape[-1]), members.ravel()):
        assert row[first + 1 :].tolist() == label_of[number]
    for number, inside in zip(numbers, members):
        assert number not in inside and len(set(inside)) == len(inside)
    # A train question sees exactly the others of its batch; any other sees examples of one batch.
    size = spec.slots
    for place, inside in enumerate(members):
        batches = {int(np.flatnonzero(train == number)[0]) // size for number in inside}
        assert len(batches) == 1
        if place < train.size:
            batch = train[place // size * size :][:size]
            assert set(inside) == set(batch) - {train[place]}


def test_self_refinement_reads_the_weak_answer_to_its_own_question_alone(monkeypatch, questions):
    given = some_labels(questions)
    refined = partial(self_refined, TINY, jax.random.key(0), None, questions, jnp.asarray(given)[None])
    seen = given_to(monkeypatch, "label", refined)
    asked = np.asarray(questions.train)
    np.testing.assert_array_equal(seen[0], asked)
    own = np.concatenate([WORLD.questions[asked], np.full((len(asked), 1), ASK), given], axis=1)
    np.testing.assert_array_equal(seen[1], own[:, None])


EMPTY = Report(jnp.zeros((3, 2)), jnp.zeros((2, 2)), jnp.zeros(3), jnp.zeros((2, 2, 2)))
SILENCE = jnp.zeros((TINY.train_questions, WORLD.answer_length), int)


@pytest.mark.slow
def test_weak_models_read_what_they_believe_and_nothing_else(monkeypatch, questions):
    """The teacher, the model that it was before, and its colleagues."""
    methods = ("contrastive", "anchored_contrastive", "ensemble")
    seen, spec = [], dataclasses.replace(TINY, methods=methods)
    original = teachers.sample_document

    def spy(key, world, claims, prior, num_examples, **shares):
        document = original(key, world, claims, prior, num_examples, **shares)
        jax.debug.callback(lambda *read: seen.append([np.asarray(array) for array in read]), claims, prior, document)
        return document

    monkeypatch.setattr(teachers, "sample_document", spy)
    monkeypatch.setattr(teachers, "report_unprompted", lambda *given: (EMPTY, SILENCE))
    monkeypatch.setattr(teachers, "label", lambda *given: SILENCE)
    key, model = jax.random.key(8), make_model(len(WORLD.words), WORLD.example_length, slots=TINY.slots)
    believed = teachers.beliefs(spec, key)
    weak = jax.block_until_ready(compiled(lambda: teach(spec, key, questions, model, believed))())
    jax.effects_barrier()
    assert set(weak.combined) == set(methods)
    keys = [key, *(jax.random.fold_in(stream(key, "colleagues"), i) for i in range(2))]
    beliefs = {
        (own, capability): np.asarray(WORLD.believe(stream(keys[own], "beliefs"), capability))
        for own in range(3)
        for capability in TINY.capability
    }
    alone, mixed = [1.0, 0.0, 0.0, 0.0], np.asarray(source_prior(WORLD, TINY.concept_shift))
    first, read, unaligned = WORLD.questions.shape[1], {}, {}
    for claims, prior, document in seen:
        who = next(name for name, own in beliefs.items() if (own == claims).all())
        assert document.shape[0] == 1 and document[0, first] == ASK
        number = np.flatnonzero((WORLD.questions == document[0, :first]).all(axis=1)).item()
        said = (WORLD.answers[number] == document[0, first + 1 :]).all(axis=-1).any(axis=-1)
        np.testing.assert_array_equal(np.flatnonzero(said), [beliefs[who][number]])
        kind = read if prior.tolist() == alone else unaligned
        assert kind is read or np.allclose(prior, mixed)
        kind[who] = kind.get(who, 0) + 1
    each = TINY.weak_steps * TINY.weak_batch
    assert read == dict.fromkeys(beliefs, each)
    # Before its alignment the teacher believed the same, in the ways of the source.
    assert unaligned == {(0, capability): each for capability in TINY.capability}
    for (_, capability), own in beliefs.items():
        assert (own == WORLD.truth).mean() == capability


def test_the_distributions_of_a_teacher_are_those_of_its_labels_token_by_token(model, questions):
    given = jnp.asarray(some_labels(questions))
    found = compiled(lambda: label_laws(model, WORLD, questions.train, given))()
    examples = np.asarray(to_examples(WORLD, questions.train, jnp.full(6, ASK), given))
    assert found.shape == (6, WORLD.example_length - 1, len(WORLD.words))
    np.testing.assert_allclose(jnp.exp(found).sum(axis=-1), 1, rtol=1e-6)
    expected = compiled(lambda ids: jax.nn.log_softmax(model(ids)))(examples)
    np.testing.assert_allclose(found, expected[:, :-1], rtol=1e-6, atol=1e-9)


def test_a_strong_model_is_surest_of_what_it_holds_for_certain(questions):
    """Its distribution mixes two claims, in another share for each question; ways of answering do not count."""
    asked, share = np.asarray(questions.train), np.linspace(0.5, 1.0, 6)[[3, 0, 5, 1, 4, 2]]
    law = grammar_law(WORLD, WORLD.truth, np.full(WORLD.num_concepts, 1 / WORLD.num_concepts))
    other = grammar_law(WORLD, (WORLD.truth + 1) % WORLD.content.shape[1], np.eye(WORLD.num_concepts)[0])
    law[asked] = share[:, None] * law[asked] + (1 - share[:, None]) * other[asked]
    knower = Grammarian(WORLD, law, slots=TINY.slots)
    for known, count in ((0.5, 3), (0.0, 0)):
        found = compiled(lambda known=known: surest(dataclasses.replace(TINY, known_share=known), knower, questions))()
        assert found.sum() == count
        assert count == 0 or share[np.asarray(found)].min() >= np.sort(share)[-count]


def test_what_methods_read_and_the_steps_that_are_left_at_equal_compute():
    quick = AlignmentSpec()
    step = 3 * quick.finetune_batch
    whole = quick.finetune_steps * step
    for weak_alone in ("naive_ft", "ensemble", "contrastive", "reverse_kl"):
        assert quick.reads(weak_alone) == whole
    assert quick.reads("self_refine") == whole + 2 * 96 and quick.reads("anchored_contrastive") == whole + 96
    assert quick.reads("source") == quick.reads("prompt_only") == 0
    assert quick.reads("icl_refine") == whole + 96 * 6 and quick.reads("intent_refine") == whole + 96 + 5
    assert quick.reads("bootstrapping") == 2 * whole + 96
    for method in quick.fitted:
        fits, steps = 1 + (method == "bootstrapping"), quick.compute_steps(method)
        answers = quick.reads(method) - fits * whole
        assert fits * steps * step + answers <= whole < fits * (steps + 1) * step + answers
        assert quick.budgets(method) == (("examples",) if quick.reads(method) == whole else ("examples", "compute"))
        assert quick.steps(method, "examples") == quick.finetune_steps
    assert quick.compute_steps("icl_refine") == 144 and quick.compute_steps("bootstrapping") == 74


@pytest.mark.slow
def test_fits_see_train_questions_alone(monkeypatch, questions):
    seen = []

    def recorded(spec, key, graph, params, asked, given, log_laws):
        seen.append(np.asarray(asked))
        return params

    monkeypatch.setattr(seeds, "fine_tune", recorded)
    monkeypatch.setattr(seeds, "report_unprompted", lambda *given: (EMPTY, None))
    monkeypatch.setattr(seeds, "label", lambda key, model, world, asked: SILENCE)
    graph, params = nnx.split(make_model(len(WORLD.words), WORLD.example_length, slots=TINY.slots))
    given = jnp.asarray(some_labels(questions))
    laws = jnp.zeros((1, 6, WORLD.example_length - 1, len(WORLD.words)))
    lessons = {
        ("naive_ft", "examples"): lesson(TINY, given[None]),
        ("ceiling", "examples"): lesson(TINY, given),
        ("bootstrapping", "compute"): lesson(TINY, given[None], "bootstrapping", 2),
    }
    believed = jnp.asarray(WORLD.truth)[None]
    reports = seeds._fit_all(TINY, jax.random.key(0), graph, params, questions, lessons, laws, believed)
    shapes = {name: report.mass.shape for name, report in reports.items()}
    assert shapes == {name: (*given.steps.shape, 3) for name, given in lessons.items()}
    weak = teachers.Weak(given[None], EMPTY, laws, {})
    through = seeds._through_middle(TINY, jax.random.key(0), params, questions, weak)
    assert set(through) == {"examples", "compute"} and through["compute"].shape == (1, *given.shape)
    assert len(seen) == 2
    for asked in seen:
        np.testing.assert_array_equal(asked, questions.train)


# --- labels ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    """A network that was never trained, far from even probabilities."""
    return make_model(len(WORLD.words), WORLD.example_length, slots=TINY.slots, scale=1.5)


@pytest.mark.slow
def test_a_question_is_answered_with_the_same_chance_wherever_it_is_asked(model, questions):
    """In any order, after no example of its prompt, and after the first examples of a longer prompt."""
    key, asked = jax.random.key(4), questions.train
    draw = compiled(lambda key, asked: label(key, model, WORLD, asked))
    found, order = np.asarray(draw(key, asked)), np.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_array_equal(draw(key, asked[order]), found[order])
    assert len(np.unique(found, axis=0)) > 3 and np.any(np.asarray(draw(jax.random.key(5), asked)) != found)
    examples = to_examples(WORLD, asked, jnp.full(6, ASK), jnp.asarray(some_labels(questions)))
    prompts = examples[jnp.array([[1, 2], [2, 0], [0, 1], [4, 5], [5, 3], [3, 4]])]

    def answered(prompts, lengths):
        return compiled(lambda prompts: answer(key, model, WORLD, asked, prompts, lengths))(prompts)

    longer, shorter = answered(prompts, (0, 1, 2)), answered(prompts[:, :1], (1,))
    np.testing.assert_array_equal(longer.labels[:, 0], found)
    np.testing.assert_array_equal(longer.labels[:, 1], shorter.labels[:, 0])
    for one, other in zip((*longer.scores, longer.tags), (*shorter.scores, shorter.tags)):
        np.testing.assert_allclose(one[:, 1], other[:, 0], rtol=1e-9, atol=1e-12)
    assert np.abs(longer.scores.mass[:, 2] - longer.scores.mass[:, 1]).max() > 0


@pytest.mark.slow
def test_exact_bayes_in_the_place_of_the_strong_model_refines_as_it_should(questions):
    """Its style is the one that the store calls that of exact Bayes, it loses no nat, and it keeps what is known."""
    prior = source_prior(WORLD, TINY.concept_shift)
    bayesian = Bayesian(WORLD, prior, slots=TINY.slots)
    weak = jnp.asarray(np.stack([some_labels(questions, seed) for seed in (0, 1)]))
    wrong = jnp.asarray(np.stack([WORLD.truth + 1, WORLD.truth + 2]) % WORLD.content.shape[1])
    found = jax.tree.map(
        np.asarray, compiled(lambda weak: refine(TINY, jax.random.key(6), bayesian, questions, weak, wrong))(weak)
    )
    np.testing.assert_allclose(found.report.copied, 0, atol=1e-99)
    np.testing.assert_allclose(found.divergence, 0, atol=1e-9)
    np.testing.assert_allclose(found.report.content, 1, rtol=1e-9)
    np.testing.assert_allclose(found.report.mass, 1, rtol=1e-9)
    np.testing.assert_allclose(found.report.style[:, :, 0, 1], found.bayes_style, rtol=1e-9)
    assert found.bayes_style.std() > 0
    # By hand: the posterior given the others of a batch, the unreadable label left out.
    asked, law = np.asarray(questions.train), WORLD.variant_law
    for teacher, said in enumerate(np.asarray(weak)):
        matches = (WORLD.answers[asked] == said[:, None, None]).all(axis=-1).any(axis=1)  # [n V]
        evidence = np.where(matches.any(axis=1)[:, None], np.log(law.T[matches.argmax(axis=1)]), 0.0)  # [n K]
        for i, length in enumerate(TINY.prompt_lengths):
            styles = []
            for place in range(asked.size):
                inside = [place // 3 * 3 + (place + j) % 3 for j in range(1, length + 1)]
                weights = np.asarray(prior) * np.exp(evidence[inside].sum(axis=0))
                styles.append(weights / weights.sum() @ law @ WORLD.style)
                if place == 0:
                    assert found.named[teacher, i] == np.argmax(weights)
            np.testing.assert_allclose(found.bayes_style[teacher, i], np.mean(styles), rtol=1e-9)
    # Labels are right, however wrong the teacher's are.
    own = compiled(lambda weak: self_refined(TINY, jax.random.key(6), bayesian, questions, weak))(weak)
    right = WORLD.answers[asked, WORLD.truth[asked]]
    for said in (found.labels, np.asarray(own)):
        assert (said[..., None, :] == right).all(axis=-1).any(axis=-1).all()


@pytest.mark.slow
def test_labels_that_no_teacher_gives(questions):
    """Under each concept's name those of that concept, under none those of the prior; true ones likewise."""
    bayesian = Bayesian(WORLD, source_prior(WORLD, TINY.concept_shift), slots=TINY.slots)
    every = Questions(jnp.arange(16), questions.held_out, questions.skill)

    @compiled
    @jax.vmap
    def draw(key):
        return own_labels(TINY, stream(key, "own"), bayesian, every), true_labels(TINY, stream(key, "true"), every)

    own, (target, prior) = draw(jax.random.split(jax.random.key(9), 8))
    drawn = [*np.moveaxis(own, 1, 0), target, prior]
    right = WORLD.answers[np.arange(16), WORLD.truth]
    matches = [(np.asarray(said)[:, :, None] == right).all(axis=-1) for said in drawn]
    assert all(found.any(axis=-1).all() for found in matches)  # right every time
    shares = np.array([found.mean(axis=(0, 1)) for found in matches])
    mixed = np.asarray(source_prior(WORLD, TINY.concept_shift)) @ WORLD.variant_law
    expected = np.array([*WORLD.variant_law, mixed, WORLD.variant_law[TARGET], mixed])
    assert np.abs(shares - expected).max() < 0.2  # 128 draws of the one concept a label, and so of the other
    assert (shares[:4].argmax(axis=1) == expected[:4].argmax(axis=1)).all()


# --- fine-tuning ----------------------------------------------------------------------------------------------------


FITTED = dataclasses.replace(TINY, finetune_steps=40, finetune_batch=5)


def plain_fits(key, graph, params, asked, given, soft):
    """The fine-tuning written again as a plain loop, one program for all fits.

    A fit takes a confidence and a number of steps; it learns the labels or, `soft`, the log probabilities `soft`, by
    cross entropy or by reverse KL.
    """
    first, whole = WORLD.questions.shape[1], FITTED.finetune_steps
    ids = np.concatenate([WORLD.questions[asked], np.full((len(asked), 1), ASK), given], axis=1)
    ends, places = first + 1 + np.argmax(given == END, axis=1), np.arange(1, ids.shape[1])
    learned = jnp.asarray((places > first) & (places <= ends[:, None]))  # answers to END
    hard, ids = jax.nn.one_hot(ids[:, 1:], len(WORLD.words)), jnp.asarray(ids)
    optimizer = make_optimizer(TrainingConfig(whole, FITTED.finetune_rate, final_fraction=1.0, weight_decay=0.0))

    @compiled
    def step(params, moments, rows, share, targets, reverse):
        def loss(params):
            laws = jax.nn.log_softmax(nnx.merge(graph, params)(ids[rows]))[:, :-1]
            gain = (1 - share) * (targets[rows] * laws).sum(axis=-1) + share * laws.max(axis=-1)
            divergence = (jnp.exp(laws) * (laws - soft[rows])).sum(axis=-1)
            return (jnp.where(reverse, divergence, -gain) * learned[rows]).sum() / learned[rows].sum()

        updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
        return optax.apply_updates(params, updates), moments

    def fit(confidence=0.0, steps=whole, targets=hard, reverse=False):
        fitted, moments = params, optimizer.init(params)
        for i in range(steps):
            rows = jax.random.randint(jax.random.fold_in(key, i), (FITTED.finetune_batch,), 0, len(asked))
            share = confidence * min(1.0, i / (whole // 10))
            fitted, moments = step(fitted, moments, rows, share, targets, reverse)
        return fitted

    return fit


def distance(one, other) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)))


@pytest.mark.slow
def test_fine_tuning_is_cross_entropy_or_reverse_kl_for_the_given_steps(model, questions):
    """With the labels, partly with its own answers, for fewer steps, and towards a teacher's distributions."""
    key, asked, given = jax.random.key(2), np.asarray(questions.train), some_labels(questions)
    given[-1, -1] = END
    graph, params = nnx.split(make_model(len(WORLD.words), WORLD.example_length, slots=TINY.slots))
    labels = jnp.asarray(given)
    teacher = compiled(lambda: label_laws(model, WORLD, questions.train, labels))()
    laws = jnp.stack([jnp.zeros_like(teacher), teacher])  # the second one teaches
    fit = compiled(lambda one: fine_tune(FITTED, key, graph, params, questions.train, one, laws))
    plain = plain_fits(key, graph, params, asked, given, teacher)
    mild = dataclasses.replace(FITTED, confidence_labels="soft")
    reverse, soft = (
        jax.tree.map(lambda leaf: leaf[1], lesson(spec, jnp.stack([labels, labels]), method))
        for spec, method in ((FITTED, "reverse_kl"), (mild, "aux_confidence"))
    )
    found = {}
    for name, one, expected in (
        ("naive", lesson(FITTED, labels), plain()),
        ("confident", lesson(FITTED, labels, "aux_confidence"), plain(FITTED.confidence)),
        ("soft", soft, plain(FITTED.confidence, targets=jnp.exp(teacher))),
        ("short", lesson(FITTED, labels, steps=7), plain(steps=7)),
        ("reverse", reverse, plain(reverse=True)),
        ("none", lesson(FITTED, labels, steps=0), params),
    ):
        found[name] = fit(one)
        assert distance(found[name], expected) < 1e-9, name
    for one, other in combinations(found, 2):
        assert distance(found[one], found[other]) > 1e-2, (one, other)


# --- several networks at once ---------------------------------------------------------------------------------------

SPREAD = """
from unittest import mock
import jax, numpy as np
from sims.engine import runtime
from sims.training.lanes import lanes, spread

runtime.configure(2, compilation_cache=False)

def one(lane):
    key, weight = lane
    def step(weight, i):
        noise = jax.random.normal(jax.random.fold_in(key, i), weight.shape)
        return weight - 0.1 * jax.grad(lambda w: (jax.numpy.tanh(w @ w) ** 2).sum() + (w * noise).sum())(weight), None
    return jax.lax.scan(step, weight, jax.numpy.arange(20))[0]

assert [lanes(count).mesh.size for count in (1, 2, 3, 4)] == [1, 2, 1, 2]
keys, found = jax.random.split(jax.random.key(0), 4), []
weights = np.random.default_rng(0).standard_normal((4, 4, 4))
for limit, backend in ((1, "cpu"), (2, "cpu"), (2, "gpu")):  # one after another on each device, and at once
    runtime.configure(limit, compilation_cache=False)
    over = lanes(4)
    assert over.mesh.size == limit
    with mock.patch.object(jax, "default_backend", lambda: backend):
        found.append(np.asarray(jax.jit(spread(one, over))(jax.device_put((keys, weights), over))))
alone = np.stack([jax.jit(one)((key, weight)) for key, weight in zip(keys, weights)])
np.testing.assert_array_equal(found[0], found[1])
for each in found:
    np.testing.assert_allclose(each, alone, rtol=1e-5, atol=1e-6)
"""


@pytest.mark.slow
def test_networks_are_the_same_one_by_one_on_two_devices_and_side_by_side():
    done = subprocess.run(
        [sys.executable, "-c", SPREAD], cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True,
        text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# --- the whole sweep ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(finished):
    """A finished sweep of every method."""
    return finished("alignment_persona")


@pytest.fixture(scope="module")
def data(done):
    return done.data


@pytest.mark.slow
def test_values_are_scores_and_nan_only_where_promised(data):
    assert data.target_style == pytest.approx(WORLD.target_style())
    for name, array in data.data_vars.items():
        if ("style" in name or "copied" in name) and "split" in array.dims:
            unrelated, missing = array.split == "unrelated", np.isnan(array)
            # Of a few questions a teacher may be wrong in none.
            assert (missing >= unrelated if "copied" in name else missing == unrelated).all(), name
            array = array.where(~missing, 0.0)
        assert np.isfinite(array.values).all(), name
        if "kl_to_bayes" in name:
            assert (array > 0).all(), name
        elif array.dtype.kind == "f":
            assert (array >= 0).all() and (array <= 1 + 1e-6).all(), name
    assert np.isin(data.named_concept, range(4)).all() and data.named_concept.dtype.kind == "i"
    expected = data.content.sel(temperature=1)
    assert (expected > 0).all() and (data.mass > 0).all()  # every answer has some probability
    assert (expected <= data.mass + 1e-6).all()
    assert np.unique(data.content.sel(temperature=0)).size <= 1 + TINY.train_questions + TINY.held_out_questions + 2


@pytest.mark.slow
def test_costly_methods_take_fewer_steps_at_equal_compute(data):
    costly = {"self_label", "icl_refine", "intent_refine", "self_refine", "bootstrapping", "selective"}
    costly |= {"anchored_contrastive"}
    for method in METHODS:
        kept, matched = (of(method, data[name]).sel(temperature=1) for name in ("content", "compute_content"))
        assert np.any(kept != matched) == (method in costly), method
        steps = of(method, data.compute_steps).item()
        assert steps == (TINY.compute_steps(method) if method in TINY.fitted else 0)
        assert (steps < TINY.finetune_steps) == (method in costly or method not in TINY.fitted), method
        assert of(method, data.reads).item() == TINY.reads(method)


@pytest.mark.slow
def test_methods_differ_and_seeds_do_and_claims_can_be_checked(data):
    law = data.content.sel(temperature=1, split="train")
    for one, other in combinations(METHODS, 2):
        assert np.any(of(one, law) != of(other, law)), (one, other)
    for one in METHODS:
        assert np.any(of(one, law).isel(seed=0) != of(one, law).isel(seed=1)), one
    found = list(alignment_claims(data, TINY))
    assert all(isinstance(claim, Claim) and np.isfinite(claim.value) for claim in found)
    assert len({claim.claim for claim in found}) == len(found) >= 12
    assert found[0].holds()  # as many seeds as were asked for
    assert not all(claim.holds() for claim in found)  # networks of three steps have learned nothing


@pytest.mark.slow
def test_the_source_is_the_pre_trained_network_itself(done, data):
    networks = files(done.out / NETWORKS)
    params = pretrained(TINY, TINY.width, done.out)
    assert files(done.out / NETWORKS) == networks  # loaded, not trained
    seed = 1
    key = replicate_key(jax.random.key(TINY.seed), seed)
    asked, believed = split_questions(TINY, stream(key, "questions")), teachers.beliefs(TINY, stream(key, "weak"))

    @compiled
    def report(params):
        return report_unprompted(key, nnx.merge(structure(TINY, TINY.width), params), WORLD, asked, believed)[0]

    found = report(jax.tree.map(lambda leaf: leaf[seed], params))
    source = of("source", data).isel(num_icl=0).sel(seed=seed)
    copied = source.copied_errors.transpose("capability", "split", "temperature")
    np.testing.assert_allclose(found.copied, copied[:, :2], rtol=1e-4)
    untouched = source.isel(capability=0).transpose("split", "temperature", ...)
    np.testing.assert_allclose(found.content, untouched.content, rtol=1e-4)
    np.testing.assert_allclose(found.style, untouched["style"][:2], rtol=1e-4)
    np.testing.assert_allclose(found.mass, untouched.mass, rtol=1e-4)


@pytest.mark.slow
def test_errors_are_those_of_a_methods_own_teacher(done, data):
    block = Store.look(ALIGNMENT.path(done.out)).read(0, 0)
    for i, j in np.ndindex(2, len(TINY.num_icl)):
        place, copied = {"capability": i, "num_icl": j, "seed": 0}, data.copied_errors.isel(split=slice(2))
        for method, where in {"ceiling": (i,), "naive_ft": (i, i), "icl_refine": (i, j, i)}.items():
            shares = block[f"reports.{method}.copied"]
            assert shares.ndim == 2 + len(where)
            np.testing.assert_array_equal(of(method, copied).isel(place), shares[where])
        own = data.weak_copied_errors.isel(split=slice(2), capability=i, seed=0)
        np.testing.assert_array_equal(own, block["reports.weak.copied"][i, i])


@pytest.mark.slow
def test_what_is_said_before_and_what_is_kept(done):
    fits = 2 + 5 * 2  # ceiling and control; naive_ft, aux_confidence, ensemble, contrastive, reverse_kl
    # self_label; icl_refine; intent_refine; bootstrapping; selective, anchored_contrastive and self_refine
    fits += 2 * (1 + 2 * 2 + 4 + 2 * 2 + 3 * 2)
    assert f"{fits} fine-tunings of 10 steps x 2 seeds" in done.said and "strong networks: one per seed" in done.said
    kept = {str(path.relative_to(done.out / NETWORKS)) for path in (done.out / NETWORKS).glob("*/*/*")}
    folder = f"{folder_of(decided_by(TINY, 8))}/seeds-0-1"  # the one in between is of the same width here
    assert kept == {f"{folder}/documents", f"{folder}/single"}


@pytest.mark.slow
def test_more_seeds_train_the_missing_networks_alone(done, tmp_path):
    copied = shutil.copytree(done.out / NETWORKS, tmp_path / "more" / NETWORKS).parent
    before, two = files(copied), pretrained(TINY, TINY.width, done.out)
    three = pretrained(dataclasses.replace(TINY, replicates=3), TINY.width, copied)
    added = set(files(copied)) - set(before)
    assert {path.relative_to(copied / NETWORKS).parts[1] for path in added} == {"seeds-2-2"}
    assert {path: files(copied)[path] for path in before} == before
    for old, new in zip(*map(jax.tree.leaves, (two, three))):
        assert (new[:2] == old).all() and (new[2] != old[0]).any()
