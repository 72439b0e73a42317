"""A weaker model as a teacher: taught a voice by right answers to facts that are not asked, it answers those that are.

It is another checkpoint, or the first blocks of the strong model. Without its last blocks a model has lost facts as
well as words, and its fine-tuning brings back the words. Both rules of contrast set what it has become against what it
was (`w2s_jax.alignment.combined`), which depends on no seed. All answers are kept beside the store, a file a voice.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from sims.engine.checked import InputError, check_one
from sims.engine.disk import write_durably
from sims.engine.run import say
from sims.language.facts import Fact, draw
from sims.language.models import weaker_model
from sims.language.prompts import answer_tokens, conversation, rows_of, split_shared
from sims.language.scores import answers
from sims.language.spec import LanguageSpec
from sims.language.students import Asked, Lesson, fine_tune, make_student
from sims.language.teaching import TEACHER, Teaching, shipped_facts
from w2s_jax.alignment.combined import anchored_contrast, contrast
from w2s_jax.checkpoints import Checkpoint


def weaker_answers(
    spec: LanguageSpec, checkpoint: Checkpoint, teaching: Teaching, out: Path
) -> dict[str, dict[tuple[str, str], str]]:
    """What the weaker model answers to each fact that may be asked, by address; made once, then read from `out`.

    Returns:
        Its answers as a teacher, and those of each method in `spec.combined`, by name.

    Raises:
        InputError: if it cannot be read, if there are too few facts to fine-tune it on, or if it reads text as other
            tokens than the strong model where both are to write together.
    """
    path = out / "teachers" / f"{teaching.voice.name}-{_identity(spec, checkpoint, teaching)}.json"
    if not path.exists():
        say(f"weaker model: fine-tuned on answers in the voice {teaching.voice.name}, kept in {path.parent}")
        weaker = weaker_model(spec, checkpoint)
        rows = [
            [name, *fact.address, _cut(spec, checkpoint, weaker.tokenizer.decode(tokens).strip())]
            for name, written in _written(spec, checkpoint, weaker, teaching).items()
            for fact, tokens in zip(teaching.facts, np.asarray(written))
        ]
        write_durably(path.with_suffix(f".{os.getpid()}"), path, json.dumps(rows, indent=0).encode())
    found: dict[str, dict[tuple[str, str], str]] = {}
    for name, relation, subject, text in json.loads(path.read_text()):
        found.setdefault(name, {})[relation, subject] = text
    return found


def _identity(spec: LanguageSpec, checkpoint: Checkpoint, teaching: Teaching) -> str:
    """A hash of everything that decides the answers."""
    names = ["model", "weak_model", "weak_steps", "finetune_rate", "finetune_batch", "answer_tokens", "facts", "seed"]
    if spec.combined:
        names += ["combined", "contrast", "anchored_contrast", "relative_top"]
    held = [{name: getattr(spec, name) for name in names}, checkpoint.origin, [f.address for f in teaching.facts]]
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:12]


def _written(
    spec: LanguageSpec, checkpoint: Checkpoint, weaker: Checkpoint, teaching: Teaching
) -> Mapping[str, Int[Array, "n T"]]:
    """Answers to all facts that may be asked, after fine-tuning on as many of the others as fill whole batches."""
    others = shipped_facts(spec, *spec.relations, asked=False)
    others = sorted(others, key=lambda fact: draw(spec.seed, "weaker", *fact.address))
    count = len(others) // spec.finetune_batch * spec.finetune_batch
    rule = f"at most the {len(others)} facts that the weaker model may be fine-tuned on"
    check_one("finetune_batch", spec.finetune_batch, count > 0, rule, "use a smaller batch")
    training, asked = _read(weaker, others[:count]), _read(weaker, teaching.facts)
    if "anchored_contrastive" in spec.combined and not _same(asked, _read(checkpoint, teaching.facts)):
        raise InputError(
            f"anchored_contrastive needs a weak_model that reads text as the strong model's tokens, got {weaker.name} "
            f"for {checkpoint.name}; choose layers:N or a smaller model of the same family."
        )
    labels = rows_of([answer_tokens(weaker, teaching.true(fact)) for fact in others[:count]])
    longest = training.prefix.size + max(training.ids.shape[1], asked.ids.shape[1]) + labels.ids.shape[1]
    room = weaker.model.config.max_length
    rule = f"at least {longest}, the tokens of the weaker model's longest conversation"
    check_one("max_length", room, longest <= room, rule, "raise it, or choose a weaker model with more places")
    lesson = Lesson(*map(jnp.asarray, labels), jnp.array(spec.weak_steps), jnp.array(0.0))
    own = dataclasses.replace(spec, trained="full", finetune_steps=spec.weak_steps, train_questions=count)
    graph, params = nnx.split(weaker.model)

    strong_graph, strong_params = nnx.split(checkpoint.model)
    write = partial(answers, asked=asked, num_tokens=spec.answer_tokens, stop=weaker.tokenizer.stop)

    @jax.jit
    def written(params, strong_params, training, lesson):
        key = jax.random.key(spec.seed)
        before, strong = nnx.merge(graph, params), nnx.merge(strong_graph, strong_params)
        student = make_student(own, key, before)
        tuned = student.whole(fine_tune(own, key, student, training, lesson))
        found = {TEACHER: write(tuned)}
        if "contrastive" in spec.combined:
            rule = partial(contrast, alpha=spec.contrast, relative_top=spec.relative_top)
            found["contrastive"] = write((tuned, before), rule=rule)
        if "anchored_contrastive" in spec.combined:
            rule = partial(anchored_contrast, strength=spec.anchored_contrast, relative_top=spec.relative_top)
            found["anchored_contrastive"] = write((strong, tuned, before), rule=rule)
        return found

    return written(params, strong_params, training, lesson)


def _same(one: Asked, other: Asked) -> bool:
    """Whether two models read the same tokens."""
    return all(np.array_equal(a, b) for a, b in zip(one, other))


def _cut(spec: LanguageSpec, checkpoint: Checkpoint, text: str) -> str:
    """As much of a text as fits into an answer of the strong model, whose tokens may be others, with its end."""
    while len(checkpoint.tokenizer.encode(text)) >= spec.answer_tokens:
        text = text[:-1]
    return text


def _read(weaker: Checkpoint, facts: list[Fact] | tuple[Fact, ...]) -> Asked:
    prefix, rows = split_shared([conversation(weaker, fact.question) for fact in facts])
    return Asked(jnp.asarray(np.array(prefix, np.int32)), *map(jnp.asarray, rows_of(rows)))
