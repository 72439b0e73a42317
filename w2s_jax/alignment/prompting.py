"""Asking a model: its cache holds what it has read; a question and its mark follow, and then the model answers."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.alignment.model import Answering
from w2s_jax.alignment.world import ASK, FIRST_TAG, World
from w2s_jax.transformer import Cache


class Asked(NamedTuple):
    """A model that is about to answer."""

    logits: Float[Array, "vocab"]
    """Logits of the answer's first token."""
    cache: Any
    """Cache of everything it has read; a tuple of caches for several models."""
    tags: Float[Array, "K"]
    """Logits of the concepts' tags in the place of the mark: how the model would name the way of answering."""


def read_prompt(model: Answering, examples: Int[Array, "m L"]) -> Any:
    """What a model keeps of m >= 0 examples, with room for one more.

    Of fewer examples it would keep the same: `shorten` the cache instead of reading again.
    """
    cache = model.new_cache(examples.shape[0] + 1)
    return model(examples.reshape(-1), cache)[1] if examples.shape[0] else cache


def shorten(world: World, cache: Cache, num_examples: Int[Array, ""]) -> Cache:
    """The cache of the first examples alone, as if no more had been read."""
    return cache._replace(length=jnp.asarray(num_examples * world.example_length, cache.length.dtype))


def ask(model: Answering, world: World, number: Int[Array, ""], cache: Any, mark: Int[Array, ""] | int = ASK) -> Asked:
    """Put a question of `World.listing` and a mark after what has been read."""
    tokens = jnp.append(jnp.asarray(world.listing.questions)[number], mark)
    logits, cache = model(tokens, cache)
    return Asked(logits[-1], cache, logits[-2, FIRST_TAG : FIRST_TAG + world.num_concepts])
