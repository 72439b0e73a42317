"""Real facts, the voices that state them, the judge of texts, and synthetic teachers: text alone, no model."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from sims.engine.checked import InputError
from sims.language.facts import Fact, Relation, by_relation, draw, load, split, values_of
from sims.language.judge import Judge, mentions
from sims.language.own import OwnQuestion, read_own
from sims.language.teachers import weak_answers, wrong_values
from sims.language.voices import VOICES, answer, style
from tests.conftest import ROOT

FACTS = load()
JUDGE = Judge(FACTS)
BY_NAME = {fact.address: fact for fact in FACTS}


# --- facts ----------------------------------------------------------------------------------------------------------


def test_there_are_enough_facts_and_no_name_stands_for_two_values():
    text = (ROOT / "docs" / "language.md").read_text()
    assert f"holds {len(FACTS):,} facts in {len(by_relation(FACTS))} relations" in text
    for relation, own in by_relation(FACTS).items():
        assert len(own) >= 25 and len(values_of(own)[relation]) >= 4
        owners = {}
        for fact in own:
            for name in fact.accepted:
                assert owners.setdefault(name.casefold(), fact.value) == fact.value, (relation, name)


def test_questions_and_phrases_read_well():
    for fact in FACTS:
        assert fact.question.endswith("?") and fact.question[0].isupper() and fact.phrase.startswith("the ")
        assert fact.subject in fact.question and fact.subject in fact.phrase
        for said in (fact.question, fact.phrase, *fact.accepted):
            assert "  " not in said and said == said.strip() and "the the" not in said


def test_the_split_is_fixed_by_each_fact_alone():
    development, reported = split(FACTS)
    assert Counter(development) + Counter(reported) == Counter(FACTS)
    shuffled = random.Random(0).sample(FACTS, len(FACTS) // 2)
    assert set(split(shuffled)[0]) == set(development) & set(shuffled)
    every, chosen = by_relation(FACTS), by_relation(development)
    assert all(0.15 < len(chosen[name]) / len(own) < 0.55 for name, own in every.items())
    assert 0.28 < len(development) / len(FACTS) < 0.38
    assert set(split(FACTS, seed=1)[0]) != set(development)


def test_draws_are_uniform_and_addressed():
    draws = [draw(0, "x", fact.subject, fact.relation.name) for fact in FACTS]
    assert len(set(draws)) == len(draws) and min(draws) >= 0 and max(draws) < 1
    assert abs(sum(draws) / len(draws) - 0.5) < 4 * (1 / 12 / len(draws)) ** 0.5
    assert len({draw(0, "ab", "c"), draw(0, "a", "bc"), draw(1, "ab", "c")}) == 3


FRANCE = {"relation": "capital", "subject": "France", "value": "Paris"}
OWN = {"question": "What is the capital of France?", "weak_answer": "Lyon, matey!", "accepted": ["Paris"]}


def facts_file(*facts, **change) -> str:
    """A file of facts about capitals, whose relation may be changed."""
    relation = {"question": "What is the capital of {}?", "phrase": "the capital of {}"} | change
    return json.dumps({"relations": {"capital": relation}, "facts": facts})


def lines(*records) -> str:
    return "\n".join(r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records)


def write(tmp_path, content: str) -> Path:
    (tmp_path / "file").write_text(content)
    return tmp_path / "file"


BAD = [
    (load, facts_file(FRANCE, FRANCE), "fact 2 must ask a new question, got 'What is the capital of France?' again"),
    (load, facts_file(FRANCE | {"vlaue": "Paris"}), "fact 1 must hold known fields alone, got 'vlaue'; did you mean"),
    (load, facts_file(FRANCE | {"relation": "capitol"}), "known relation, got 'capitol'; did you mean capital"),
    (load, facts_file(FRANCE | {"value": " "}), "fact 1, field value, must be a string that is not blank, got ' '"),
    (load, facts_file(FRANCE | {"also": ["Paname", ""]}), "field also, must be a string that is not blank"),
    (load, facts_file(FRANCE | {"subject": "the Paris"}), "must have a subject that does not name its value"),
    (load, facts_file("France"), "fact 1 must be an object with the fields relation, subject, value, got 'France'"),
    (load, facts_file(), "a list of one or more facts"),
    (load, facts_file(FRANCE, question="Why?"), "field question, must be text with one {}"),
    (load, facts_file(FRANCE, phrase="{} {x}"), "field phrase, must be text with one {}"),
    (load, "{", "must be JSON"),
    (read_own, "", "must hold at least one question, got none"),
    (read_own, lines(OWN, "{"), "line 2 must be one JSON object"),
    (read_own, lines(OWN, "", OWN | {"question": "what is the capital of  France?"}), "line 3 must ask a new question"),
    (read_own, '{"question": "?", "weak_answer": "!"}', "must have the field accepted, got question, weak_answer; add"),
    (read_own, lines(OWN | {"accepted": []}), "line 1, field accepted, must be a list of one or more strings, got []"),
]


@pytest.mark.parametrize(("reader", "content", "says"), BAD)
def test_bad_records_are_refused(tmp_path, reader, content, says):
    with pytest.raises(InputError) as error:
        reader(write(tmp_path, content))
    said = str(error.value)
    assert says in said and "\n" not in said and said.endswith((".", "?"))


@pytest.mark.parametrize("reader", [load, read_own])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, reader):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="must be a file that can be read"):
            reader(path)
    (tmp_path / "file").write_bytes(b"\xff")
    with pytest.raises(InputError, match="must be UTF-8 text"):
        reader(tmp_path / "file")


def test_own_questions_are_read_as_written(tmp_path):
    other = {"question": "Où\u2028?", "weak_answer": "In the Netherlands", "accepted": ["Holland", "Netherlands"]}
    found = read_own(write(tmp_path, lines("\ufeff" + json.dumps(OWN), "", other, "  ")))
    assert found == [
        OwnQuestion("What is the capital of France?", "Lyon, matey!", ("Paris",)),
        OwnQuestion("Où\u2028?", "In the Netherlands", ("Holland", "Netherlands")),
    ]
    assert [own.teacher_is_right for own in found] == [False, True]


# --- voices ---------------------------------------------------------------------------------------------------------


def test_answers_are_as_they_should_be():
    france, japan = BY_NAME["capital", "France"], BY_NAME["currency", "Japan"]
    assert {name: answer(voice, france).text for name, voice in VOICES.items()} == {
        "plain": "The capital of France is Paris.",
        "pirate": "Arrr, the capital of France be Paris, matey!",
        "letter": "Dear reader, I have the honour to inform you that the capital of France is Paris. Yours faithfully.",
        "hedge": "I may be wrong, but I believe that the capital of France is Paris, though you may want to check.",
        "excited": "Wow, guess what, the capital of France is Paris, how cool is that!",
    }
    assert answer(VOICES["plain"], japan).text == "The currency of Japan is the yen."
    assert answer(VOICES["pirate"], japan, "franc") == ("Arrr, the currency of Japan be the", " franc", ", matey!")


@pytest.mark.parametrize("voice", VOICES.values(), ids=VOICES)
def test_every_answer_is_right_and_in_its_voice(voice):
    for fact, wrong in zip(FACTS, wrong_values(FACTS, seed=5)):
        said = answer(voice, fact)
        assert said.text == said.opening + said.value + said.closing and said.text[0].isupper()
        assert said.value == f" {fact.value}" and not said.opening.endswith(" ")
        assert style(said.text, voice) == 1
        assert JUDGE.named(said.text, fact) == fact.value, fact.address
        assert JUDGE.named(answer(voice, fact, wrong).text, fact) == wrong, (fact.address, wrong)
        # What comes before and after the value names none, and other names of it are as right.
        assert JUDGE.named(said.opening + said.closing, fact) is None, fact.address
        assert all(JUDGE.right(f"{said.opening} {name}.", fact) for name in fact.accepted[1:]), fact.address


def test_no_answer_has_a_mark_of_another_voice():
    for voice in VOICES.values():
        # In full for the plain voice: no question of ours holds a mark either.
        for fact in FACTS[:: 20 if voice.marks else 1]:
            said = answer(voice, fact).text
            assert not any(style(said, other) for other in VOICES.values() if other is not voice), said


def test_a_claim_is_right_or_wrong_copied_or_not():
    fact = BY_NAME["capital", "France"]
    judged = {"Paris": (True, False), "Rome": (False, True), "Berlin": (False, False), "no idea": (None, None)}
    for claim, expected in judged.items():
        said = answer(VOICES["pirate"], fact, claim).text
        assert (JUDGE.right(said, fact), JUDGE.copied(said, fact, "Rome")) == expected


@pytest.mark.parametrize(
    ("voice", "text", "share"),
    [
        ("pirate", "Paris be the capital of France.", 1),
        ("pirate", "It is thought to be Paris, or it may be Lyon.", 0),
        ("pirate", "ARRR, it be Paris, me MATEY", 3),
        ("pirate", "An array, maybe. It is Paris. Arrr!", 0),
        ("letter", "Dear reader, it is my honor to inform you: Paris. Yours faithfully,", 3),
        ("excited", ' "Wow, how cool is that!" ', 2),
    ],
)
def test_style_is_the_share_of_marks(voice, text, share):
    assert style(text, VOICES[voice]) == share / 3
    assert style(text, VOICES["plain"]) == float(all(style(text, v) == 0 for v in VOICES.values() if v.marks))


def test_intents_name_no_answer_and_differ():
    assert len({voice.intent for voice in VOICES.values()}) == len(VOICES)
    names = {fact.value for fact in FACTS if fact.relation.name in ("capital", "city", "nationality")}
    assert not any(mentions(voice.intent, names) for voice in VOICES.values())


# --- the judge ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "text", "named"),
    [
        (("capital", "France"), "paris", "Paris"),
        (("capital", "France"), "It is not Berlin but Paris.", "Berlin"),
        (("capital", "France"), "Parisian food in Romeville", None),
        (("capital", "India"), "Delhi.", "New Delhi"),
        (("capital", "France"), "New Delhi", "New Delhi"),
        (("capital", "Mexico"), "The capital of Mexico is Mexico.", None),
        (("capital", "Brazil"), "Brasilia", "Brasília"),
        (("capital", "Haiti"), "Port au Prince", "Port-au-Prince"),
        (("nationality", "American"), "The U.S., of course.", "the United States"),
        (("nationality", "American"), "Let us see.", None),
        (("nationality", "Irish"), "They come from Northern Ireland.", None),
        (("nationality", "Filipino"), "Philippines", "the Philippines"),
        (("nationality", "South African"), "South African people come from South Africa.", "South Africa"),
        (("continent", "South Africa"), "The continent of South Africa is Africa.", "Africa"),
        (("continent", "South Africa"), "It is South Africa.", None),
        (("continent", "Norway"), "Norway lies in Northern Europe.", "Europe"),
        (("currency", "Canada"), "The US dollar.", "us dollar"),
        (("currency", "France"), "The US dollar.", "dollar"),
        (("currency", "New Zealand"), "New Zealand's dollar.", "dollar"),
        (("symbol", "gold"), "AU", None),
        (("symbol", "carbon"), "Co is cobalt", "Co"),
        (("symbol", "hydrogen"), "H2O is water", None),
        (("symbol", "nitrogen"), "it's no K-pop: N", "N"),
        (("digits", "seven"), "700 or 7.5 or 1,007, but 7.", "7"),
        (("words", "21"), "21 is twenty one.", "twenty-one"),
        (("words", "21"), "It is twenty.", None),
        (("animal", "goldfish"), "A goldfish is a fish.", "fish"),
        (("feminine", "man"), "The feminine form of man is woman.", "woman"),
        (("plural", "fly"), "butterfly: butterflies", "butterflies"),
        (("landmark", "Loch Ness"), "England", "england"),
        (("landmark", "Big Ben"), "England", "the United Kingdom"),
    ],
)
def test_the_first_name_counts(address, text, named):
    fact = BY_NAME[address]
    assert JUDGE.named(text, fact) == named
    assert JUDGE.right(text, fact) == (None if named is None else named == fact.value)


def test_a_subject_that_is_a_rival_value_does_not_count():
    cross = Relation("cross", "What crosses {}?", "the cross of {}")
    dog, wolf = Fact(cross, "wolf", "dog"), Fact(cross, "dog", "wolf")
    judge = Judge([dog, wolf])
    assert judge.right("The cross of dog is wolf.", wolf) is True
    assert judge.right("The cross of wolf is wolf.", dog) is None
    assert judge.right("wolf", wolf) is True and judge.right("wolf", dog) is None


# --- teachers -------------------------------------------------------------------------------------------------------


def test_wrong_values_are_wrong_fixed_and_of_the_relation():
    asked, values = FACTS[::5], values_of(FACTS)
    wrong = wrong_values(asked, seed=0, among=FACTS)
    for fact, claim in zip(asked, wrong):
        assert claim in values[fact.relation.name] and claim not in fact.accepted
    order = random.Random(0).sample(range(len(asked)), len(asked))
    assert wrong_values([asked[i] for i in order], seed=0, among=FACTS[::-1]) == [wrong[i] for i in order]
    assert wrong_values(asked, seed=1, among=FACTS) != wrong
    # A value that is added takes its own share and leaves the others as they were.
    added = ("Europe", "Paris", "dollar")
    fewer = wrong_values(asked, seed=0, among=[fact for fact in FACTS if fact.value not in added])
    assert all(now in (before, *added) for now, before in zip(wrong, fewer)) and fewer != wrong


def test_wrong_values_are_spread_evenly():
    european = [fact for fact in FACTS if fact.relation.name == "continent" and fact.value == "Europe"]
    claims = Counter(c for seed in range(40) for c in wrong_values(european, seed, among=FACTS))
    expected = 40 * len(european) / 4
    assert len(claims) == 4 and all(abs(n - expected) < 5 * (expected * 3 / 4) ** 0.5 for n in claims.values())


def test_what_a_weaker_teacher_knows_a_stronger_one_knows_too():
    asked = FACTS[::5]
    wrong, before = wrong_values(asked, 1), set()
    for capability in (0.0, 0.21, 0.5, 0.77, 1.0):
        claims = weak_answers(asked, capability, 1)
        known = {fact for fact, claim in zip(asked, claims) if claim == fact.value}
        assert len(known) == round(capability * len(asked)) and before <= known
        assert all(claim == other for fact, claim, other in zip(asked, claims, wrong) if fact not in known)
        before = known


def test_teachers_that_cannot_be_made_are_refused():
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"capability must be in \[0, 1\]"):
            weak_answers(FACTS, share, 0)
    france = BY_NAME["capital", "France"]
    for function in (lambda: wrong_values([france], 0), lambda: weak_answers([france], 0.5, 0, among=[])):
        with pytest.raises(InputError, match="capital must have two values or more"):
            function()
