"""Fine-tuning of a language model on answers, and which of its parameters that moves.

    full          all of them
    last_layers   the last blocks and the norm after them; what lies below is read once, and not at every step
    lora          a product of two thin matrices added to every matrix of the blocks (Hu et al., arXiv 2106.09685)

The loss is the cross-entropy of the answer's tokens alone, those of the question given,

    (1 - c) CE(weak label) + c CE(student's own likeliest token)

with c = 0 but for `aux_confidence`, whose c rises linearly over the first tenth of the steps (arXiv 2312.09390). What
all rows begin with is read once a step for the whole batch, which leaves every gradient what it is.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sims.language.spec import LanguageSpec
from w2s_jax.methods.confidence import warmed_up
from w2s_jax.training import Params, init_state, make_optimizer, train
from w2s_jax.transformer import LanguageModel, blank_model, init_cache
from w2s_jax.types import Key, stack

ROWS = 4
"""Rows whose logits exist at a time."""


class Asked(NamedTuple):
    """Questions as the model reads them."""

    prefix: Int[Array, "P"]
    """What all rows begin with."""
    ids: Int[Array, "n L"]
    """What follows in each, padded on the right."""
    lengths: Int[Array, "n"]


class Lesson(NamedTuple):
    """Answers to n questions, and settings of a fit."""

    labels: Int[Array, "*b n A"]
    counts: Int[Array, "*b n"]
    """Tokens of each answer that count, the one that ends it included."""
    steps: Int[Array, "*b"]
    """Optimizer steps, at most those of the schedule; 0 leaves the model as it is."""
    confidence: Float[Array, "*b"]
    """c above, after its rise."""


class Student(NamedTuple):
    """A model of which some parameters move."""

    layer: int
    """First block that is read anew at every step; 0 where the embedding moves too."""
    start: Params
    """What moves, as it is before any step."""
    top: Callable[[Params], LanguageModel]
    """The blocks from `layer` on, as a model of their own."""
    whole: Callable[[Params], LanguageModel]
    """All of it."""


def make_student(spec: LanguageSpec, key: Key, model: LanguageModel) -> Student:
    """The model as something to train, by `spec.trained`."""
    return {"full": _full, "last_layers": _last_layers, "lora": _lora}[spec.trained](spec, key, model)


def _full(spec: LanguageSpec, key: Key, model: LanguageModel) -> Student:
    graph, params = nnx.split(model)

    def whole(params: Params) -> LanguageModel:
        return nnx.merge(graph, params)

    return Student(0, params, whole, whole)


def _last_layers(spec: LanguageSpec, key: Key, model: LanguageModel) -> Student:
    graph, params = nnx.split(model)
    layer = max(model.config.num_layers - spec.trained_layers, 0)
    # Blocks apart: a scan copies what each leaves for its gradient.
    shorter = dataclasses.replace(model.config, num_layers=model.config.num_layers - layer, scan_layers=False)
    blank = blank_model(shorter, model.embedding.num_embeddings, tied_head=model.head is None)
    short_graph = nnx.graphdef(blank)
    blocks = params["decoder"]["blocks"]
    places = range(layer, model.config.num_layers)
    start = {
        "blocks": {i: jax.tree.map(lambda leaf, at=at: leaf[at], blocks) for i, at in enumerate(places)},
        "norm": params["decoder"]["norm"],
    }

    def put(blocks: Params, norm: Params) -> Params:
        filled = nnx.State(dict(params))
        filled["decoder"] = nnx.State({"blocks": blocks, "norm": norm})
        return filled

    def top(moved: Params) -> LanguageModel:
        return nnx.merge(short_graph, put(moved["blocks"], moved["norm"]))

    def whole(moved: Params) -> LanguageModel:
        below = jax.tree.map(lambda leaf: leaf[:layer], blocks)
        joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), below, stack(moved["blocks"].values()))
        return nnx.merge(graph, put(joined, moved["norm"]))

    return Student(layer, start, top, whole)


def _lora(spec: LanguageSpec, key: Key, model: LanguageModel) -> Student:
    graph, params = nnx.split(model)
    leaves, tree = jax.tree.flatten(params["decoder"]["blocks"])
    is_matrix = [leaf.ndim == 3 for leaf in leaves]  # stacked over layers
    rank = spec.lora_rank

    def factors(place: int, leaf: Array) -> tuple[Array, Array]:
        layers, inputs, outputs = leaf.shape
        draws = jax.random.normal(jax.random.fold_in(key, place), (layers, inputs, rank), leaf.dtype)
        return draws / math.sqrt(inputs), jnp.zeros((layers, rank, outputs), leaf.dtype)

    start = [factors(place, leaf) if moves else None for place, (leaf, moves) in enumerate(zip(leaves, is_matrix))]

    def whole(moved: Params) -> LanguageModel:
        added = [leaf if pair is None else leaf + pair[0] @ pair[1] for leaf, pair in zip(leaves, moved)]
        filled = nnx.State(dict(params))
        filled["decoder"] = nnx.State({**params["decoder"], "blocks": jax.tree.unflatten(tree, added)})
        return nnx.merge(graph, filled)

    return Student(0, start, whole, whole)


def fine_tune(spec: LanguageSpec, key: Key, student: Student, asked: Asked, given: Lesson) -> Params:
    """What moved, after one lesson `[]`; all fits of a seed see the same questions in the same order."""
    optimizer = make_optimizer(spec.finetuning)
    rows = join(asked, given.labels)
    below = _read_below(student, asked.prefix, rows)
    span = jnp.arange(given.labels.shape[-1])
    places = asked.lengths[:, None] - 1 + span[None]  # where each token of the answer is predicted
    weights = (span[None] < given.counts[:, None]).astype(jnp.float32)

    def step(i: Array, state):
        share = given.confidence * warmed_up(i, spec.finetune_steps)

        def loss(params: Params, step_key: Key) -> Array:
            model = student.top(params)
            chosen = _order(spec, key, i, asked.lengths.size)
            if below is None:
                prefix, stream = model.embedding(asked.prefix), model.embedding(rows[chosen])
            else:
                prefix, stream = below[0], below[1][chosen]
            _, shared = model.decoder.begin(prefix, asked.prefix.size)
            hidden = model.decoder.upper(stream, 0, prefix=shared)
            hidden = jnp.take_along_axis(hidden, places[chosen][..., None], axis=1)
            errors = _errors(model, hidden, given.labels[chosen], share, head_moves=below is None)
            return (errors * weights[chosen]).sum() / weights[chosen].sum()

        return train(key, state, loss, optimizer, 1)[0]

    return jax.lax.fori_loop(0, given.steps, step, init_state(student.start, optimizer)).params


def join(asked: Asked, labels: Int[Array, "n A"]) -> Int[Array, "n L+A"]:
    """Questions with their answers directly after them."""
    length, extra = asked.ids.shape[1], labels.shape[1]
    after = jnp.arange(length + extra)[None] - asked.lengths[:, None]
    padded = jnp.pad(asked.ids, ((0, 0), (0, extra)))
    return jnp.where(after < 0, padded, jnp.take_along_axis(labels, jnp.clip(after, 0, extra - 1), axis=1))


def _read_below(student: Student, prefix: Int[Array, "P"], rows: Int[Array, "n L"]):
    """The residual streams of prefix and rows before the first block that moves; nothing where the embedding moves."""
    if student.layer == 0:
        return None
    model = student.whole(student.start)
    empty = init_cache(dataclasses.replace(model.config, num_layers=student.layer), (), prefix.size)
    stream, shared = model.lower(prefix, student.layer, empty)
    return stream, model.lower(rows, student.layer, prefix=shared)


def _order(spec: LanguageSpec, key: Key, step: Array, count: int) -> Int[Array, "batch"]:
    """The questions of a step: each is seen once an epoch, in an order of that epoch's own."""
    steps = count // spec.finetune_batch
    order = jax.random.permutation(jax.random.fold_in(key, step // steps), count)
    return jax.lax.dynamic_slice_in_dim(order, step % steps * spec.finetune_batch, spec.finetune_batch)


def _errors(
    model: LanguageModel,
    hidden: Float[Array, "b A width"],
    labels: Int[Array, "b A"],
    share: Float[Array, ""],
    *,
    head_moves: bool,
) -> Float[Array, "b A"]:
    """The loss of each token; the logits of a few rows exist at a time."""

    def losses(logits: Array, labels: Array) -> tuple[Array, Array]:
        total = jax.nn.logsumexp(logits, axis=-1)
        weak = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
        return total - (1 - share) * weak - share * logits.max(axis=-1), total

    def row(hidden: Array, labels: Array) -> Array:
        return losses(model.read_out(hidden), labels)[0]

    def with_slopes(hidden: Array, labels: Array) -> Array:
        # A token's loss depends on its own hidden state alone, so while its logits are there its gradient is found
        # too; what is returned has that gradient, and no logits are computed anew.
        fixed, places = jax.lax.stop_gradient(hidden), jnp.arange(labels.size)
        logits, pull = jax.vjp(model.read_out, fixed)
        found, total = losses(logits, labels)
        slopes = jnp.exp(logits - total[:, None])
        slopes = slopes.at[places, labels].add(share - 1).at[places, logits.argmax(axis=-1)].add(-share)
        return found + ((hidden - fixed) * pull(slopes)[0]).sum(axis=-1)

    of_row = jax.checkpoint(row) if head_moves else with_slopes
    return jax.lax.map(lambda pair: of_row(*pair), (hidden, labels), batch_size=ROWS)
