"""The sweep of a language model: texts as tokens, students, scores, and a whole sweep of a tiny random model."""

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import xarray as xr
from flax import nnx

from sims import evidence
from sims.engine.checked import InputError
from sims.language import __main__ as command
from sims.language import gate, job, weaker
from sims.language.claims import language_claims, mcnemar
from sims.language.contexts import context_of, groups_of
from sims.language.facts import by_relation, load
from sims.language.prompts import conversation
from sims.language.reading import read_below
from sims.language.results import assemble
from sims.language.scores import answers, claims, counts_of, drift, log_laws
from sims.language.spec import NEEDS_WEAK_MODEL, QUICK, SMOKE, USES_TEACHER
from sims.language.students import Asked, Lesson, fine_tune, make_student
from sims.language.tables import divide, make_table, stacked
from sims.language.teaching import in_voice, of_own, shipped_facts
from sims.language.weaker import weaker_answers
from sims.tables import Sources, language
from tests.helpers import assert_same_trees
from tests.tiny import cheaply
from tests.tiny_checkpoints import tiny, write_folder
from w2s_jax import checkpoints
from w2s_jax.statistics import group_means
from w2s_jax.training import init_state, make_optimizer
from w2s_jax.transformer import LanguageModel, TransformerConfig
from w2s_jax.transformer.model import blank_model

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")

SIZES = TransformerConfig(
    num_layers=2, width=16, num_heads=4, num_kv_heads=2, mlp_width=24, max_length=32, scan_layers=True
)
FORCED = ("forced", "forced_wrong", "plain_forced")


@pytest.fixture(scope="module")
def model():
    made = jax.jit(lambda: nnx.state(LanguageModel(SIZES, 19, tied_head=True, rngs=nnx.Rngs(0))))()
    return nnx.merge(nnx.graphdef(blank_model(SIZES, 19, tied_head=True)), made)


@pytest.fixture(scope="module")
def asked():
    ids = jax.random.randint(jax.random.key(1), (8, 5), 3, 19)
    return Asked(jnp.array([1, 2, 7]), ids, jnp.array([5, 3, 4, 5, 2, 5, 4, 3]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny"
    return write_folder(path, tiny(), config={"max_position_embeddings": 1024})


@pytest.fixture(scope="module")
def checkpoint(folder):
    return checkpoints.load(folder)


@pytest.fixture(scope="module")
def spec(folder):
    changes = {"weak_model": "layers:1", "weak_steps": 8, "finetune_rate": 1e-2, "finetune_steps": 40}
    methods = (*SMOKE.methods, *NEEDS_WEAK_MODEL)
    return dataclasses.replace(SMOKE, model=str(folder), methods=methods, trained="full", **changes)


@pytest.fixture(scope="module")
def finished(spec, tmp_path_factory):
    """Results of a whole sweep, and its store."""
    with cheaply():
        path = command.start(spec, tmp_path_factory.mktemp("sweep"))
    return xr.open_zarr(path, consolidated=False).load(), path


def whole_rows(asked: Asked) -> list[np.ndarray]:
    """Each question with what stands before it, without padding."""
    return [np.concatenate([asked.prefix, ids[:n]]) for ids, n in zip(np.asarray(asked.ids), np.asarray(asked.lengths))]


# --- contexts and tables --------------------------------------------------------------------------------------------


def test_contexts_are_balanced_and_leave_their_group_out():
    facts = [fact for fact in load() if fact.relation.name in ("capital", "symbol", "plural")][::4]
    groups = groups_of(facts, 4, seed=1)
    assert sorted(place for group in groups for place in group) == list(range(len(facts)))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    for group in groups:
        allowed = [place for place in range(len(facts)) if place not in group]
        chosen = context_of(facts, allowed, 6, 0, "group")
        relations = [facts[place].relation.name for place in chosen]
        assert not set(chosen) & set(group) and len(set(chosen)) == 6
        assert {relations.count(name) for name in set(relations)} == {2} and len(set(relations[:3])) == 3
        assert context_of(facts, allowed, 4, 0, "group") == chosen[:4]


@pytest.mark.parametrize("size", [16, 96])
def test_a_division_holds_the_same_share_of_every_relation(size):
    spec = dataclasses.replace(QUICK, train_questions=size, held_out_questions=40)
    known = shipped_facts(spec, *spec.relations)
    division = divide(spec, known, 3)
    assert (len(division.train), len(division.held_out)) == (size, 40)
    asked = [fact.address for fact in division.asked]
    assert len(set(asked)) == len(asked) and set(division.train + division.held_out) <= set(known)
    for part, count in ((division.train, size), ([*division.train, *division.held_out], size + 40)):
        for name, own in by_relation(known).items():
            found = sum(fact.relation.name == name for fact in part)
            assert abs(found - count * len(own) / len(known)) <= 1
    assert divide(spec, known, 3) == division and set(divide(spec, known, 4).train) != set(division.train)


def test_a_table_holds_the_texts_that_it_should(spec, checkpoint):
    teaching = in_voice(spec, "pirate")
    table, division = make_table(spec, checkpoint, teaching, 1), divide(spec, teaching.facts, 1)
    decode = checkpoint.tokenizer.decode
    size = spec.train_questions // spec.groups
    for place, fact in enumerate(division.asked):
        own = table.asked.ids[place][: table.asked.lengths[place]]
        assert [*table.prefix, *own] == conversation(checkpoint, fact.question)
    for place, fact in enumerate(division.train):
        truth, plain = (decode(rows.ids[place][: rows.lengths[place]]) for rows in table.true)
        assert truth.startswith("Arrr, ") and f" {fact.value}, matey!" in truth and "Arrr" not in plain
        weak = decode(table.weak.ids[0, place][: table.weak.lengths[0, place]])
        assert weak.startswith("Arrr, ") and weak.endswith("matey!")
        context = decode(table.contexts.ids[0, 0, place // size][: table.contexts.lengths[0, 0, place // size]])
        assert fact.question not in context and context.count("matey!") == spec.num_icl[0]
        again = decode(table.again.ids[0, place][: table.again.lengths[0, place]])
        assert again.count(fact.question) == 2 and weak in again
    for ids, lengths, fact in zip(table.values.ids, table.values.lengths, division.held_out):
        assert decode(ids[0][: lengths[0]]) == f" {fact.value}"
    both = stacked([table, make_table(spec, checkpoint, in_voice(spec, "letter"), 0)])
    assert both.asked.ids.shape[0] == 2 and both.prefix.shape == (2, table.prefix.size)


# --- teachers -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_answers_of_a_weaker_model_are_made_once(spec, checkpoint, tmp_path, monkeypatch):
    """Where nothing is divided out the aligned model answers; where nothing is added, the strong one."""
    spec = dataclasses.replace(spec, answer_tokens=12, contrast=1.0, anchored_contrast=0.0)
    teaching = in_voice(spec, "pirate")._replace(facts=in_voice(spec, "pirate").facts[:3])
    first = weaker_answers(spec, checkpoint, teaching, tmp_path)
    addresses = [fact.address for fact in teaching.facts]
    assert all(list(texts) == addresses for texts in first.values())
    assert first["contrastive"] == first["teacher"] != first["anchored_contrastive"]
    asked = weaker._read(checkpoint, teaching.facts)
    tokens = jax.jit(lambda: answers(checkpoint.model, asked, 12, checkpoint.tokenizer.stop))()
    alone = [weaker._cut(spec, checkpoint, checkpoint.tokenizer.decode(row).strip()) for row in np.asarray(tokens)]
    assert list(first["anchored_contrastive"].values()) == alone

    monkeypatch.setattr(weaker, "_written", lambda *_: pytest.fail("made again"))
    assert weaker_answers(spec, checkpoint, teaching, tmp_path) == first
    with pytest.raises(pytest.fail.Exception):  # other settings have answers of their own
        weaker_answers(dataclasses.replace(spec, contrast=0.0), checkpoint, teaching, tmp_path)
    held = in_voice(spec, "pirate", first)
    said, wrong = held.said(teaching.facts, 0), held.wrong(teaching.facts, 0)
    assert len(said) == len(wrong) == len(spec.teachers) == 2 and said[1] == list(first["teacher"].values())
    assert held.combined(teaching.facts) == [list(first[name].values()) for name in spec.combined]
    assert all(value not in fact.accepted for row in wrong for value, fact in zip(row, teaching.facts))


OWN = (
    ("Which metal is liquid?", "Methinks it is Mercury, sire.", ["mercury"]),
    ("Which metal is red?", "Methinks it is Iron, sire.", ["copper"]),
    ("Which metal rusts?", "I know not, sire.", ["iron"]),
    ("Which metal is dearest?", "Methinks it is Gold, sire.", ["rhodium", "gold"]),
)


@pytest.fixture(scope="module")
def own(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "questions.jsonl"
    lines = [json.dumps(dict(zip(("question", "weak_answer", "accepted"), line))) for line in OWN]
    path.write_text("\n".join(lines))
    sizes = {"train_questions": 2, "held_out_questions": 2, "finetune_batch": 2, "num_icl": (1,)}
    methods = tuple(method for method in SMOKE.methods if method != "intent_refine")
    return dataclasses.replace(SMOKE, model=str(folder), questions=str(path), methods=methods, **sizes)


def test_own_questions_keep_their_answers_and_correct_them(own):
    teaching = of_own(own)
    assert teaching.said(teaching.facts, 0) == [[text for _, text, _ in OWN]]
    assert [teaching.true(fact) for fact in teaching.facts] == [
        "Methinks it is Mercury, sire.", "Methinks it is copper, sire.", "iron.", "Methinks it is Gold, sire."
    ]  # fmt: skip
    assert teaching.wrong(teaching.facts, 0)[0][1] == "iron"
    with pytest.raises(InputError, match="intent must be a system prompt"):
        dataclasses.replace(own, methods=("intent_refine",))


def test_results_judge_what_a_store_holds(own, checkpoint, tmp_path):
    """A store of answers that are written here: everyone answers the first question rightly and copies the second."""
    teaching = of_own(own)
    say = {"Which metal is liquid?": "mercury", "Which metal is red?": "It is iron, not copper"}

    def read(seed: int, voice: int) -> dict[str, np.ndarray]:
        asked = divide(own, teaching.facts, seed).asked
        rows = [checkpoint.tokenizer.encode(say.get(fact.question, "?")) for fact in asked]
        tokens = np.array([row + [checkpoint.tokenizer.stop[0]] * (40 - len(row)) for row in rows])
        values = {"tokens": tokens, "claims": np.zeros((2, 4)), "plain_claims": np.zeros((2, 4)), "drift": 0.0}
        return {
            f"{method}.{name}": np.broadcast_to(x, own.axes(method) + np.shape(x))
            for method in own.methods
            for name, x in values.items()
        }

    store: Any = SimpleNamespace(read=read)
    assemble(own, checkpoint, [teaching], store, np.ones(2), tmp_path / "store")
    data = xr.open_zarr(tmp_path / "store", consolidated=False).load()
    assert data.teacher.values.tolist() == data.voice.values.tolist() == ["own"] and data.style.isnull().all()
    for seed in (0, 1):
        for place, fact in enumerate(divide(own, teaching.facts, seed).asked[:4]):
            cut = data.isel(seed=seed, question=place)
            assert (cut.content == (fact.question == "Which metal is liquid?")).all()
            assert (cut.copied == (fact.question == "Which metal is red?")).all()
            if place < 2:
                assert cut.teacher_is_right.item() == (fact.value in ("mercury", "rhodium"))
    np.testing.assert_allclose(data.forced.isel(question=slice(2, 4)), 0.25)


# --- students -------------------------------------------------------------------------------------------------------


def on_whole_rows(spec, model, moved, asked, labels, counts, confidence):
    """The same training on whole rows: no shared beginning, and nothing that is read beforehand."""
    optimizer, graph = make_optimizer(spec.finetuning), nnx.graphdef(model)
    rows = [np.concatenate([row, label[:n]]) for row, label, n in zip(whole_rows(asked), labels, counts)]
    ids = jnp.array([np.pad(row, (0, 14 - row.size)) for row in rows])
    ends, places = np.array([row.size for row in rows]), np.arange(1, 14)[None]
    learnt = jnp.asarray((places >= (ends - counts)[:, None]) & (places < ends[:, None]))

    @jax.jit
    def step(state, chosen, share):
        def error(params):
            log_probs = jax.nn.log_softmax(nnx.merge(graph, params)(ids[chosen, :-1]))
            found = -jnp.take_along_axis(log_probs, ids[chosen, 1:, None], axis=2)[..., 0]
            found = (1 - share) * found - share * log_probs.max(axis=2)
            return (found * learnt[chosen]).sum() / learnt[chosen].sum()

        gradient = jax.tree.map(jnp.multiply, jax.grad(error)(state.params), moved)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(lambda p, u, keep: p + u * keep, state.params, updates, moved)
        return state._replace(params=params, opt_state=opt_state)

    state, batch = init_state(nnx.state(model), optimizer), spec.finetune_batch
    for i in range(spec.finetune_steps):
        epoch, first = divmod(i * batch, len(rows))
        order = jax.random.permutation(jax.random.fold_in(jax.random.key(3), epoch), len(rows))
        state = step(state, order[first : first + batch], confidence * (i > 0))  # the first step of three warms up
    return state.params


@pytest.mark.slow
@pytest.mark.parametrize("confidence", [0.0, 0.5])
@pytest.mark.parametrize("trained", ["full", "last_layers", "lora"])
def test_fine_tuning_is_that_of_whole_rows(model, asked, trained, confidence):
    """No step leaves the model as it is. Of adapters it is checked that they move matrices of blocks, by their rank."""
    sizes = {"trained_layers": 1, "lora_rank": 2, "finetune_steps": 3, "finetune_batch": 4, "finetune_rate": 1e-2}
    spec = dataclasses.replace(SMOKE, trained=trained, **sizes)
    labels, counts = np.random.default_rng(2).integers(3, 19, (8, 4)), np.array([4, 1, 2, 3, 4, 4, 2, 1])

    @jax.jit
    def tuned(steps):
        student = make_student(spec, jax.random.key(0), model)
        lesson = Lesson(jnp.asarray(labels), jnp.asarray(counts), steps, jnp.array(confidence))
        return nnx.state(student.whole(fine_tune(spec, jax.random.key(3), student, asked, lesson)))

    state, found = nnx.state(model), tuned(3)
    assert_same_trees(tuned(0), state)
    if trained == "lora":
        added = found["decoder"]["blocks"]["qkv"]["kernel"][...] - state["decoder"]["blocks"]["qkv"]["kernel"][...]
        assert [np.linalg.matrix_rank(np.asarray(layer), tol=1e-5) for layer in added] == [2, 2]
        np.testing.assert_array_equal(found["embedding"]["embedding"][...], state["embedding"]["embedding"][...])
        return
    moved = jax.tree.map(lambda leaf: np.full(leaf.shape, trained == "full"), state)
    if trained == "last_layers":
        moved["decoder"]["norm"] = jax.tree.map(lambda leaf: np.full(leaf.shape, True), state["decoder"]["norm"])
        moved["decoder"]["blocks"] = jax.tree.map(lambda x: np.indices(x.shape)[0] == 1, state["decoder"]["blocks"])
    wanted = on_whole_rows(spec, model, moved, asked, labels, counts, confidence)
    for ours, theirs in zip(*map(jax.tree.leaves, (found, wanted))):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(*map(jax.tree.leaves, (found, state))))


# --- scores ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["full", "last_layers"])
def test_answers_and_claims_are_those_of_whole_rows(model, asked, trained):
    values = np.random.default_rng(4).integers(3, 19, (8, 3, 3))
    counts = np.array([[3, 1, 2]] * 7 + [[2, 0, 1]])

    @jax.jit
    def judged(asked, values, counts):
        student = make_student(dataclasses.replace(SMOKE, trained=trained), jax.random.key(0), model)
        rows = asked.ids, asked.lengths
        reading = read_below(model, student.layer, asked, [rows], (values, counts), asked.ids)
        stream, below = reading.prefix
        prefix = model.decoder.begin(stream, asked.prefix.size, below=below)[1]
        said = answers(model, asked, 4, (5,), prefix, below=reading.asked if student.layer else None)
        return claims(student.top(student.start), reading.openings[0], prefix.above(student.layer)), said

    found, tokens = map(np.asarray, judged(asked, values, counts))
    np.testing.assert_array_equal(tokens, jax.jit(lambda asked: answers(model, asked, 4, stop=(5,)))(asked))
    whole = jax.jit(lambda ids: jax.nn.log_softmax(model(ids)))

    def after(row: np.ndarray) -> np.ndarray:
        """Log probabilities after each place of a whole row."""
        return np.asarray(whole(np.pad(row, (0, 14 - row.size))))[: row.size]

    for row, own, sizes, ours, said in zip(whole_rows(asked), values, counts, found, tokens):
        for value, n, scored in zip(own, sizes, ours):
            log_probs = after(np.concatenate([row, value]))[len(row) - 1 :]
            assert scored == pytest.approx(log_probs[np.arange(n), value[:n]].sum() if n else -np.inf, abs=1e-4)
        for token in said:
            assert after(row)[-1].argmax() == token
            row = np.append(row, token)
            if token == 5:
                break
    assert counts_of(jnp.array([[3, 5, 5], [3, 4, 6]]), (5,)).tolist() == [2, 3]


@pytest.mark.slow
def test_drift_is_a_divergence(model):
    texts, lengths = jax.random.randint(jax.random.key(5), (3, 6), 3, 19), jnp.array([6, 4, 2])
    graph, params = nnx.split(model)

    @jax.jit
    def moved_by(factor):
        other = nnx.merge(graph, jax.tree.map(lambda leaf: factor * leaf, params))
        before = log_laws(model, model.embedding(texts))
        return before, jax.nn.log_softmax(other(texts)), drift(other, before, other.embedding(texts), lengths)

    assert moved_by(1.0)[2] == pytest.approx(0, abs=1e-6)
    old, new, found = map(np.asarray, moved_by(1.5))
    apart = (np.exp(old) * (old - new)).sum(axis=2)
    assert found == pytest.approx((apart[0, :5].sum() + apart[1, :3].sum() + apart[2, 0]) / 9, rel=1e-4)


# --- a whole sweep --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_keeps_every_question(spec, finished):
    data, path = finished
    questions = spec.train_questions + spec.held_out_questions + spec.skill_questions
    assert dict(data.sizes) == {
        "method": len(spec.methods), "voice": 1, "teacher": 2, "num_icl": 1, "seed": 2, "question": questions
    }  # fmt: skip
    known = data.teacher_is_right.sel(teacher="0.5").isel(question=slice(spec.train_questions)).sum("question")
    assert (known == round(0.5 * spec.train_questions)).all()
    world = data.isel(question=slice(spec.train_questions + spec.held_out_questions))
    held_out = data.isel(question=np.flatnonzero(data.split.values == "held_out"))
    for name, cut in (("content", data), ("style", world), ("copied", world), *((f, held_out) for f in FORCED)):
        assert ((cut[name] >= 0) & (cut[name] <= 1)).all() and data[name].notnull().sum() == cut[name].size, name
    drifts = data.drift.isel(voice=0, teacher=0, num_icl=0)
    assert (drifts.sel({"method": "source"}) == 0).all() and (drifts.sel({"method": "ceiling"}) > 0).all()
    assert not (data.answer.sel({"method": "source"}) == data.answer.sel({"method": "prompt_only"})).all()
    (written,) = (path.parent / "teachers").glob("*.json")
    rows = json.loads(written.read_text())
    said = {tuple(row[3] for row in rows if row[0] == name) for name in ("teacher", *NEEDS_WEAK_MODEL)}
    assert len(said) == 3
    style = data.style.mean(["seed", "question", "voice", "teacher", "num_icl"])  # training brings the voice
    assert style.sel({"method": "ceiling"}) > style.sel({"method": "source"}) + 0.2


@pytest.mark.slow
def test_claims_and_tables_follow_from_what_is_committed(spec, finished, tmp_path):
    """From the table of what they read, in place of the store."""
    data, _ = finished
    watched = evidence.watch(data)
    claims = [claim.value for claim in language_claims(watched.data, spec)]
    assert len(claims) == 7 and np.isfinite(claims).all()
    table = language.language(Sources(tmp_path, {"language": watched.data}), "pirate")
    rows = [line.split("|") for line in table.splitlines()[2:]]
    assert len(rows) == sum(2 if method in USES_TEACHER else 1 for method in spec.methods)
    held_out = data.content.isel(voice=0, teacher=0, num_icl=0).sel({"method": "source"})[:, data.split == "held_out"]
    (source,) = (row for row in rows if "source" in row[1])
    means = group_means(held_out.values.reshape(-1), data.fact[:, data.split == "held_out"].values.reshape(-1))
    assert source[3].split()[0] == f"{means.mean():.2f}"

    about, numbers = evidence.table(watched)
    again = evidence.build(about, numbers).data
    found = [claim.value for claim in language_claims(again, spec)]
    assert found == pytest.approx(claims, rel=1e-4, abs=1e-6)
    assert language.language(Sources(tmp_path, {"language": again}), "pirate") == table


def test_mcnemar_is_the_exact_test():
    rng = np.random.default_rng(0)
    first, second = (xr.DataArray(rng.integers(0, 2, (3, 40)), dims=("seed", "question")) for _ in range(2))
    one, other = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    assert float(mcnemar(first, second)) == pytest.approx(scipy.stats.binomtest(one, one + other).pvalue, rel=1e-9)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_length": 150}, "max_length must hold the longest conversation"),
        ({"answer_tokens": 20}, "answer_tokens must hold the longest answer of a teacher"),
        ({"weak_model": "layers:9"}, r"weak_model must be layers:N with N in \[1, 1\], as the model has 2 blocks"),
        ({"model": "nowhere.gguf"}, "there is no file or folder nowhere.gguf"),
        (
            {"min_known": 0.9},
            "min_known must be at most the share of development facts that the model knows, "
            "which is 0.50 for symbol, got 0.9; leave that relation out",
        ),
        ({"train_questions": 800, "relations": ("symbol", "capital")}, "train_questions must be such that"),
        ({"train_questions": 9}, "train_questions must be a multiple of groups = 2, got 9"),
        ({"skill": "capital"}, "skill must be none of relations, got capital"),
        ({"num_icl": (5,)}, "num_icl must be at most 4, the questions of the other groups, got 5"),
        ({"weak_model": ""}, "methods must be left out where there is no weak_model"),
        ({"voices": ("plain",)}, "voices must be other than the model's own"),
    ],
)
def test_what_cannot_be_run_is_refused(spec, tmp_path, monkeypatch, changes, words):
    monkeypatch.setattr(gate, "known", lambda *_: {"capital": [True, True, True, False], "symbol": [True, False]})
    with pytest.raises(InputError, match=words):
        job.prepare(dataclasses.replace(spec, **changes), tmp_path)


def test_a_model_without_a_chat_template_is_refused(checkpoint):
    with pytest.raises(InputError, match="tiny must have a chat template, got none"):
        conversation(dataclasses.replace(checkpoint, chat=None), "What?")


def test_the_gate_counts_right_answers(spec, checkpoint, monkeypatch):
    """A judge that accepts every second answer sees half of them."""
    turns = iter([True, False] * 100)
    silence = jnp.zeros((10, spec.answer_tokens), int)
    monkeypatch.setattr(gate, "answers", lambda *_: silence)
    monkeypatch.setattr(gate.Judge, "right", lambda self, text, fact: next(turns))
    facts = [fact for fact in load() if fact.relation.name == "symbol"][:6] + list(load(gate.TASKS))[:4]
    found = gate.known(spec, checkpoint, facts, gate.Judge(load()))
    assert found == {"symbol": [True, False] * 3, "math": [True, False] * 2}


@pytest.mark.slow
def test_the_gate_is_a_command(folder, tmp_path, capsys):
    file = tmp_path / "known.json"
    assert gate.main(["--model", str(folder), "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert {"capital", "math", "explanation", "bias"} < {row["relation"] for row in rows}
    assert all(0 <= row["known"] <= row["questions"] for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == len(rows)
    assert gate.main(["--model", str(tmp_path / "none.gguf")]) == 2
    assert "there is no file or folder" in capsys.readouterr().err
