"""The program of a language sweep: the model, read and examined, the tables of all seeds, and what a seed does."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from sims.engine import runtime
from sims.engine.checked import InputError
from sims.engine.run import Job, Outline, bound, say
from sims.language.gate import check_known
from sims.language.models import read_model
from sims.language.neutral import TEXTS
from sims.language.prompts import rows_of
from sims.language.results import assemble
from sims.language.seeds import World, run_seed
from sims.language.spec import LanguageSpec
from sims.language.tables import Table, make_table, stacked
from sims.language.teaching import Teaching, in_voice, of_own
from sims.language.weaker import weaker_answers
from w2s_jax.checkpoints import Checkpoint
from w2s_jax.training import Params

OPERATIONS_PER_SECOND = 1.4e11
"""Two cores of an AMD EPYC in a block of `quick`, by the count of `_operations`."""


def prepare(spec: LanguageSpec, out: Path) -> Job:
    """The model, read and examined, and the program that runs a seed with it."""
    checkpoint = read_model(spec, spec.model)
    say(f"language model: {checkpoint.name}, {checkpoint.origin}")
    if not spec.questions:
        check_known(spec, checkpoint)
    taught = [of_own(spec)] if spec.questions else [in_voice(spec, name) for name in spec.voices]
    tables = tables_of(spec, checkpoint, taught)
    if spec.weak_model and not spec.questions:
        taught = [in_voice(spec, each.voice.name, weaker_answers(spec, checkpoint, each, out)) for each in taught]
        tables = tables_of(spec, checkpoint, taught)
    graph, params = nnx.split(checkpoint.model)
    neutral = rows_of([checkpoint.tokenizer.encode(text) for text in TEXTS])
    worlds = [
        World(params, jax.tree.map(lambda leaf, voice=voice: jnp.asarray(leaf[voice]), tables), tuple(neutral))
        for voice in range(len(taught))
    ]
    fits = _fits(spec)
    return Job(
        program=bound(partial(run_seed, graph, checkpoint.tokenizer.stop), spec),
        chunks=worlds,
        assemble=partial(assemble, spec, checkpoint, taught),
        plan=outline(spec).plan,
        seconds=_operations(spec, params, tables, fits) * spec.replicates * len(worlds) / OPERATIONS_PER_SECOND,
        tasks_per_replicate=fits * len(worlds),
        unit="fine-tunings",
        doing=f"compiling, then {fits} fine-tunings a seed and voice",
    )


def outline(spec: LanguageSpec) -> Outline:
    """What will run once the model is read."""
    fits, voices = _fits(spec), 1 if spec.questions else len(spec.voices)
    return Outline(
        plan=[
            f"{fits} fine-tunings of {spec.finetune_steps} steps x {spec.replicates} seeds x {voices} voices",
            f"{spec.replicates * voices} blocks, one per seed and voice, on {len(runtime.devices())} devices",
        ],
        seconds=None,
    )


def _fits(spec: LanguageSpec) -> int:
    """Fine-tunings of a seed and voice."""
    return sum(math.prod(spec.axes(method)) for method in spec.fitted)


def _operations(spec: LanguageSpec, params: Params, tables: Table, fits: int) -> float:
    """Roughly what a block computes: two operations a weight and token, and four more for a gradient."""
    blocks = params["decoder"]["blocks"]
    layers = jax.tree.leaves(blocks)[0].shape[0]
    weights, head = sum(leaf.size for leaf in jax.tree.leaves(blocks)), params["embedding"]["embedding"].size
    above = min(spec.trained_layers / layers, 1.0) if spec.trained == "last_layers" else 1.0
    (questions, asked), said = tables.asked.ids.shape[-2:], spec.answer_tokens
    taught = spec.finetune_steps * spec.finetune_batch * (3 * above * weights * (asked + said) + 3 * head * said)
    values = math.prod(tables.values.ids.shape[-2:])
    opened = sum(rows.ids.shape[-1] + values for rows in tables.openings)

    def judged(share: float) -> float:
        """By a model of which that share of the blocks reads what is given."""
        answered = questions * (weights * (share * asked + said) + head * said)
        return answered + spec.held_out_questions * (share * weights * opened + 2 * head * values)

    prompts = len(spec.teachers) * len(spec.num_icl)
    prompted = prompts * (spec.groups * weights * tables.contexts.ids.shape[-1] + judged(1.0))
    return 2.0 * (fits * taught + (fits + 1) * judged(above) + prompted)


def tables_of(spec: LanguageSpec, checkpoint: Checkpoint, taught: Sequence[Teaching]) -> Table:
    """Tables of all voices and seeds, in arrays of one shape.

    Raises:
        InputError: if an answer or a conversation does not fit.
    """
    seeds = range(spec.replicates)
    tables = stacked([stacked([make_table(spec, checkpoint, each, seed) for seed in seeds]) for each in taught])
    check_room(spec, checkpoint, tables)
    return tables


def check_room(spec: LanguageSpec, checkpoint: Checkpoint, table: Table) -> None:
    """Refuse answers and conversations that do not fit.

    Raises:
        InputError: if the longest answer is cut, or the longest conversation has more places than the model.
    """
    said = max(rows.ids.shape[-1] for rows in (*table.true, table.weak, *table.combined))
    if said > spec.answer_tokens:
        raise InputError(
            f"answer_tokens must hold the longest answer of a teacher, {said} tokens, got {spec.answer_tokens}; raise "
            "it."
        )
    asked = table.asked.ids.shape[-1]
    longest = max(
        table.contexts.ids.shape[-1] + asked,
        table.prefix.shape[-1] + max(table.again.ids.shape[-1], *(rows.ids.shape[-1] for rows in table.openings)),
        table.intent.ids.shape[-1] + asked,
    ) + max(spec.answer_tokens, table.values.ids.shape[-1])
    room = checkpoint.model.config.max_length
    if longest > room:
        raise InputError(
            f"max_length must hold the longest conversation, {longest} tokens with its answer, got {room}; raise it, "
            f"or use fewer examples."
        )
