"""Everything that models are judged on, read up to the first block that a fit moves: once for all fits of a seed."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int

from sims.language.students import Asked
from w2s_jax.transformer import Cache, LanguageModel, init_cache


class Opened(NamedTuple):
    """Questions, each with the opening of an answer, and the values that could follow."""

    stream: Float[Array, "n L width"]
    """The residual stream of questions and openings before a block; before the first, their embeddings."""
    lengths: Int[Array, "n"]
    later: Float[Array, "n V Lv-1 width"]
    """The stream of the tokens of each value but its last."""
    values: Int[Array, "n V Lv"]
    """Tokens of each value, padded on the right."""
    counts: Int[Array, "n V"]
    """How many they are; 0 for a value that is not there."""


class Reading(NamedTuple):
    """Residual streams before a block."""

    prefix: tuple[Float[Array, "P width"], Cache | None]
    """What all questions begin with, and the cache of the blocks below, of which the first has none."""
    asked: tuple[Float[Array, "Q L width"], Cache | None]
    """The questions, likewise."""
    openings: list[Opened]
    neutral: Float[Array, "n L width"]


def read_below(
    model: LanguageModel,
    layer: int,
    asked: Asked,
    openings: Sequence[tuple[Array, Array]],
    values: tuple[Array, Array],
    neutral: Int[Array, "n L"],
) -> Reading:
    """Rows that models are judged on, before block `layer`.

    Args:
        model: whose blocks below `layer` read them.
        layer: in [0, num_layers), static.
        asked: questions, after what stands before each of them and of the openings.
        openings: questions with the opening of an answer, in each voice: tokens and lengths.
        values: that could follow: tokens and lengths.
        neutral: texts.
    """
    prefix = _through(model, layer, asked.prefix)
    opened = [open_with(model, layer, *rows, *values, prefix[1]) for rows in openings]
    neutral_stream = jax.lax.map(lambda ids: _through(model, layer, ids)[0], neutral)
    return Reading(prefix, _through(model, layer, asked.ids, prefix[1]), opened, neutral_stream)


def open_with(
    model: LanguageModel,
    layer: int,
    ids: Int[Array, "n L"],
    lengths: Int[Array, "n"],
    values: Int[Array, "n V Lv"],
    counts: Int[Array, "n V"],
    prefix: Cache | None = None,
) -> Opened:
    """Questions with their openings and values before block `layer`; `prefix` holds the blocks below it alone."""

    def one(row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        ids, length, values = row
        stream, own = _through(model, layer, ids, prefix)
        if own is not None:
            own = own._replace(length=length)
        later = values[:, :-1]
        if own is None or later.size == 0:
            return stream, model.embedding(later)
        return stream, jax.vmap(lambda value: model.lower(value, layer, own, prefix=prefix)[0])(later)

    stream, later = jax.lax.map(one, (ids, lengths, values), batch_size=4)
    return Opened(stream, lengths, later, values, counts)


def _through(
    model: LanguageModel, layer: int, ids: Int[Array, "*b L"], prefix: Cache | None = None
) -> tuple[Float[Array, "*b L width"], Cache | None]:
    """The stream of rows before block `layer`, and the cache of the blocks below, of which the first has none."""
    if layer == 0:
        return model.embedding(ids), None
    below = dataclasses.replace(model.config, num_layers=layer)
    return model.lower(ids, layer, init_cache(below, ids.shape[:-1], ids.shape[-1]), prefix=prefix)
