"""One seed and voice of the sweep: a pure program on tokens, which the engine runs on every device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sims.language.reading import Reading, open_with, read_below
from sims.language.scores import answers, claims, counts_of, drift, log_laws
from sims.language.spec import UNFITTED, LanguageSpec
from sims.language.students import Asked, Lesson, fine_tune, make_student
from sims.language.tables import Table
from sims.training.lanes import one_by_one
from w2s_jax.rng import replicate_key, stream
from w2s_jax.training import Params
from w2s_jax.transformer import Cache, LanguageModel, read, with_scan
from w2s_jax.types import Key


class World(NamedTuple):
    """What a chunk holds: the model, and a voice's tables of all seeds."""

    params: Params
    table: Table
    """With a leading axis of seeds."""
    neutral: tuple[Int[Array, "n L"], Int[Array, "n"]]
    """Texts on which it is measured how far a model has moved, and their lengths."""


class Report(NamedTuple):
    """What a model answers, claims, and how far it has moved."""

    tokens: Int[Array, "*b Q T"]
    """Its answers to all questions."""
    claims: Float[Array, "*b H V"]
    """Log probability of each value after the opening of this voice, for questions that are held out."""
    plain_claims: Float[Array, "*b H V"]
    """The same after that of a plain answer."""
    drift: Float[Array, "*b"]
    """KL from the untouched model on neutral texts, nats a token."""


def run_seed(
    graph: nnx.GraphDef, stop: tuple[int, ...], spec: LanguageSpec, key: Key, first: Array, total: Array, world: World
) -> dict[str, Report]:
    """Every method in seed number `first` and a voice, with axes of teachers and number of examples where it reads
    them; the signature is the engine's, and a block is one seed.
    """
    key = replicate_key(key, first)
    table = jax.tree.map(lambda leaf: leaf[first], world.table)
    model = nnx.merge(graph, world.params)
    asked = Asked(table.prefix, *table.asked)
    train = Asked(table.prefix, *(leaf[: spec.train_questions] for leaf in table.asked))
    labels: dict[str, tuple[Array, Array]] = {
        "ceiling": _given(spec, table.true[0]),
        "control": _given(spec, table.true[1]),
        "naive_ft": _given(spec, table.weak),
        "aux_confidence": _given(spec, table.weak),
    } | {method: _given(spec, rows) for method, rows in zip(spec.combined, table.combined)}
    own: dict[str, Array] = {}
    reports: dict[str, Report] = {}
    if "icl_refine" in spec.methods or "prompt_only" in spec.methods:
        own["icl_refine"], prompted = _after_examples(spec, model, stop, table, train)
        if "prompt_only" in spec.methods:
            reports["prompt_only"] = prompted
    if "intent_refine" in spec.methods:
        ids, lengths = table.intent
        own["intent_refine"] = answers(model, train, spec.answer_tokens, stop, _prefix(model, ids[0], lengths[0]))
    if "self_label" in spec.methods:
        own["self_label"] = answers(model, train, spec.answer_tokens, stop)
    if "self_refine" in spec.methods:
        own["self_refine"] = jax.lax.map(
            lambda rows: answers(model, Asked(table.prefix, *rows), spec.answer_tokens, stop), tuple(table.again)
        )
    labels |= {name: (tokens, counts_of(tokens, stop)) for name, tokens in own.items()}

    student = make_student(spec, stream(key, "adapters"), model)
    lessons: dict[str, Lesson] = {}
    if "source" in spec.methods:
        # Fine-tuned by no step: a program of its own would take longer to compile than a fit takes.
        lessons["source"] = _lesson(spec, "source", *labels["ceiling"])
    lessons |= {method: _lesson(spec, method, *labels[method]) for method in spec.fitted}

    def read_by(model: LanguageModel) -> Reading:
        return read_below(model, student.layer, asked, table.openings, table.values, world.neutral[0])

    unmoved = read_by(model)
    before = log_laws(with_scan(student.top(student.start), True), unmoved.neutral)

    def fit(given: Lesson) -> Report:
        moved = fine_tune(spec, stream(key, "finetune"), student, train, given)
        whole, top = student.whole(moved), with_scan(student.top(moved), True)
        reading = unmoved if student.layer else read_by(whole)
        begun, below = reading.prefix
        _, prefix = whole.decoder.begin(begun, table.prefix.size, below=below)
        own, plain = (claims(top, opened, prefix.above(student.layer)) for opened in reading.openings)
        apart = drift(top, before, reading.neutral, world.neutral[1])
        read_already = reading.asked if student.layer else None
        said = answers(whole, asked, spec.answer_tokens, stop, prefix, below=read_already)
        return Report(said, own, plain, apart)

    return reports | one_by_one(fit, lessons, {name: given.steps.shape for name, given in lessons.items()})


def _after_examples(
    spec: LanguageSpec, model: LanguageModel, stop: tuple[int, ...], table: Table, train: Asked
) -> tuple[Int[Array, "C I n T"], Report]:
    """The model's answers after weak examples: to each group after those of the others.

    Questions that are held out, and the skill's, are asked after the examples of one group after another.
    """
    count, groups, held_out = len(table.asked.lengths), spec.groups, spec.held_out_questions
    # A group's own questions, then its share of the others; the last of the skill's may be there twice.
    own_places = jnp.arange(spec.train_questions).reshape(groups, -1)
    held_places = jnp.arange(held_out).reshape(groups, -1)
    skill_places = jnp.arange(spec.skill_questions + -spec.skill_questions % groups).reshape(groups, -1)
    skill_places = jnp.minimum(skill_places + spec.train_questions + held_out, count - 1)
    places = jnp.concatenate([own_places, held_places + spec.train_questions, skill_places], axis=1)

    def of_group(given: tuple[Array, ...]):
        ids, length, places, held_places = given
        prefix = _prefix(model, ids, length)

        def chosen(rows, places: Array) -> tuple[Array, ...]:
            return tuple(leaf[places] for leaf in rows)

        values = chosen(table.values, held_places)
        own, plain = (
            claims(model, open_with(model, 0, *chosen(opening, held_places), *values), prefix)
            for opening in table.openings
        )
        asked = Asked(train.prefix, *chosen(table.asked, places))
        return answers(model, asked, spec.answer_tokens, stop, prefix), own, plain

    def of_context(rows: tuple[Array, Array]) -> Report:
        found = jax.lax.map(of_group, (*rows, places, held_places))
        tokens, own, plain = (leaf.reshape(-1, *leaf.shape[2:]) for leaf in found)
        return Report(tokens[_first_places(places, count)], own, plain, jnp.zeros(()))

    shape = (len(spec.teachers), len(spec.num_icl))
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tuple(table.contexts))
    found = jax.lax.map(of_context, flat)
    found = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), found)
    return found.tokens[..., : spec.train_questions, :], found


def _first_places(places: Int[Array, "G n"], count: int) -> Int[Array, "Q"]:
    """Where each question first stands among those of all groups."""
    return jnp.argmax(places.reshape(-1)[None, :] == jnp.arange(count)[:, None], axis=1)


def _prefix(model: LanguageModel, ids: Int[Array, "L"], length: Int[Array, ""]) -> Cache:
    return read(model, ids)[1]._replace(length=length)


def _given(spec: LanguageSpec, rows) -> tuple[Array, Array]:
    """Labels that are made beforehand, padded to the length of an answer."""
    ids, lengths = rows
    return jnp.pad(ids, [(0, 0)] * (ids.ndim - 1) + [(0, spec.answer_tokens - ids.shape[-1])]), lengths


def _lesson(spec: LanguageSpec, method: str, labels: Array, counts: Array) -> Lesson:
    axes = counts.shape[:-1]
    steps = 0 if method in UNFITTED else spec.finetune_steps
    share = spec.confidence if method == "aux_confidence" else 0.0
    return Lesson(labels, counts, jnp.full(axes, steps), jnp.full(axes, share))
