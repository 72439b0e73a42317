"""The models of a sweep: the one that is aligned, and a weaker one, another checkpoint or its own first blocks."""

import dataclasses
import re

import jax
from flax import nnx

from sims.engine.checked import InputError, check_one
from sims.language.spec import LanguageSpec
from w2s_jax import checkpoints
from w2s_jax.checkpoints import Checkpoint
from w2s_jax.transformer import blank_model

LAYERS = re.compile(r"layers:(\d+)")
"""How a specification names the first blocks of the strong model."""


def read_model(spec: LanguageSpec, source: str) -> Checkpoint:
    """A model that a specification names.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return checkpoints.load(source, dtype=spec.dtype, max_length=spec.max_length)
    except (ValueError, ImportError) as error:
        raise InputError(str(error)) from error


def weaker_model(spec: LanguageSpec, checkpoint: Checkpoint) -> Checkpoint:
    """The weaker model of a specification, before any fine-tuning.

    Raises:
        InputError: if it cannot be read, or has no fewer blocks than the strong one.
    """
    found = LAYERS.fullmatch(spec.weak_model)
    if found is None:
        return read_model(spec, spec.weak_model)
    number, whole = int(found[1]), checkpoint.model
    layers = whole.config.num_layers
    rule = f"layers:N with N in [1, {layers - 1}], as the model has {layers} blocks"
    check_one("weak_model", spec.weak_model, 1 <= number < layers, rule, "keep fewer")
    config = dataclasses.replace(whole.config, num_layers=number)
    shorter = blank_model(config, whole.embedding.num_embeddings, tied_head=whole.head is None)
    state = nnx.to_pure_dict(nnx.state(whole))
    state["decoder"]["blocks"] = jax.tree.map(lambda leaf: leaf[:number], state["decoder"]["blocks"])
    nnx.update(shorter, nnx.State(state))
    return dataclasses.replace(checkpoint, model=shorter)
