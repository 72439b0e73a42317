"""A weaker model as a teacher: taught a voice by right answers to facts that are not asked, it answers those that are.

It is another checkpoint, or the first blocks of the strong model. Without its last blocks a model has lost facts as
well as words, and its fine-tuning brings back the words. Its answers are kept beside the store, a file a voice.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sims.engine.checked import check_one
from sims.engine.disk import write_durably
from sims.engine.run import say
from sims.language.facts import Fact, draw
from sims.language.models import weaker_model
from sims.language.prompts import answer_tokens, conversation, rows_of, split_shared
from sims.language.scores import answers
from sims.language.spec import LanguageSpec
from sims.language.students import Asked, Lesson, fine_tune, make_student
from sims.language.teaching import Teaching, shipped_facts
from w2s_jax.checkpoints import Checkpoint


def weaker_answers(
    spec: LanguageSpec, checkpoint: Checkpoint, teaching: Teaching, out: Path
) -> dict[tuple[str, str], str]:
    """What the weaker model answers to each fact that may be asked, by address; made once, then read from `out`.

    Raises:
        InputError: if it cannot be read, or there are too few facts to fine-tune it on.
    """
    path = out / "teachers" / f"{teaching.voice.name}-{_identity(spec, checkpoint, teaching)}.json"
    if not path.exists():
        say(f"weaker model: fine-tuned on answers in the voice {teaching.voice.name}, kept in {path.parent}")
        texts = [_cut(spec, checkpoint, text) for text in _taught(spec, weaker_model(spec, checkpoint), teaching)]
        text = json.dumps([[*fact.address, text] for fact, text in zip(teaching.facts, texts)], indent=0)
        write_durably(path.with_suffix(f".{os.getpid()}"), path, text.encode())
    return {(relation, subject): text for relation, subject, text in json.loads(path.read_text())}


def _identity(spec: LanguageSpec, checkpoint: Checkpoint, teaching: Teaching) -> str:
    """A hash of everything that decides the answers."""
    names = ("model", "weak_model", "weak_steps", "finetune_rate", "finetune_batch", "answer_tokens", "facts", "seed")
    held = [{name: getattr(spec, name) for name in names}, checkpoint.origin, [f.address for f in teaching.facts]]
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:12]


def _taught(spec: LanguageSpec, weaker: Checkpoint, teaching: Teaching) -> list[str]:
    """Answers to all facts that may be asked, after fine-tuning on as many of the others as fill whole batches."""
    others = shipped_facts(spec, *spec.relations, asked=False)
    others = sorted(others, key=lambda fact: draw(spec.seed, "weaker", *fact.address))
    count = len(others) // spec.finetune_batch * spec.finetune_batch
    rule = f"at most the {len(others)} facts that the weaker model may be fine-tuned on"
    check_one("finetune_batch", spec.finetune_batch, count > 0, rule, "use a smaller batch")
    training, asked = _read(weaker, others[:count]), _read(weaker, teaching.facts)
    labels = rows_of([answer_tokens(weaker, teaching.true(fact)) for fact in others[:count]])
    longest = training.prefix.size + max(training.ids.shape[1], asked.ids.shape[1]) + labels.ids.shape[1]
    room = weaker.model.config.max_length
    rule = f"at least {longest}, the tokens of the weaker model's longest conversation"
    check_one("max_length", room, longest <= room, rule, "raise it, or choose a weaker model with more places")
    lesson = Lesson(*map(jnp.asarray, labels), jnp.array(spec.weak_steps), jnp.array(0.0))
    own = dataclasses.replace(spec, trained="full", finetune_steps=spec.weak_steps, train_questions=count)
    graph, params = nnx.split(weaker.model)

    @jax.jit
    def taught(params, training, lesson, asked):
        key = jax.random.key(spec.seed)
        student = make_student(own, key, nnx.merge(graph, params))
        tuned = student.whole(fine_tune(own, key, student, training, lesson))
        return answers(tuned, asked, spec.answer_tokens, weaker.tokenizer.stop)

    return [weaker.tokenizer.decode(row).strip() for row in np.asarray(taught(params, training, lesson, asked))]


def _cut(spec: LanguageSpec, checkpoint: Checkpoint, text: str) -> str:
    """As much of a text as fits into an answer of the strong model, whose tokens may be others, with its end."""
    while len(checkpoint.tokenizer.encode(text)) >= spec.answer_tokens:
        text = text[:-1]
    return text


def _read(weaker: Checkpoint, facts: list[Fact] | tuple[Fact, ...]) -> Asked:
    prefix, rows = split_shared([conversation(weaker, fact.question) for fact in facts])
    return Asked(jnp.asarray(np.array(prefix, np.int32)), *map(jnp.asarray, rows_of(rows)))
