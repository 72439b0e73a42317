"""What networks are fine-tuned on: the labels of the strong network itself, after weak examples in its context."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sims.incontext.spec import InContextSpec
from sims.incontext.world import World
from w2s_jax.incontext import ConceptRegressor
from w2s_jax.incontext_measures import implied_weights
from w2s_jax.predictive import Bins, sample_label
from w2s_jax.rng import stream
from w2s_jax.types import Dataset, Key

EXAMPLES_AT_ONCE = 512
"""Fresh prompts that are read side by side, which bounds the memory of their caches."""


class Refined(NamedTuple):
    """Labels that the strong network gives, `[... N]`, one for every example."""

    shared: Float[Array, "W I N"]
    """Labels after one prompt for all examples."""
    fresh: Float[Array, "W I N"]
    """Labels after a fresh prompt for each example."""
    named: Float[Array, "K N"]
    """Labels after a clean prompt of each concept."""
    intent: Int[Array, "W I"]
    """The concept that the network names after the shared prompt, the likeliest of those that its answers to the
    examples imply: it then answers by `named`."""


def refine(spec: InContextSpec, key: Key, network: ConceptRegressor, bins: Bins, world: World) -> Refined:
    """Refined labels of every teacher and prompt length."""
    target = jax.tree.map(lambda leaf: leaf[0], world.teachers)

    def sampled(name: str, laws: Float[Array, "*l N B"]) -> Float[Array, "*l N"]:
        """Labels from the same random numbers for every teacher, concept and prompt length."""
        draw = partial(sample_label, stream(key, name), bins=bins)
        return jax.vmap(draw)(laws) if laws.ndim == 3 else draw(laws)

    def shared(prompt: Dataset) -> tuple[Float[Array, "I N"], Int[Array, "I"]]:
        laws = network.query_path(prompt, spec.num_icl, world.features)
        weights = jax.vmap(lambda law: implied_weights(law, bins, target, world.features))(laws)
        return sampled("shared", laws), jnp.argmax(weights, axis=-1)

    def fresh(prompts: Dataset) -> Float[Array, "I N"]:
        def answer(prompt: Dataset, features: Float[Array, "d"]) -> Float[Array, "I B"]:
            return network.query_path(prompt, spec.num_icl, features[None])[:, 0]

        laws = jax.lax.map(lambda both: answer(*both), (prompts, world.features), batch_size=EXAMPLES_AT_ONCE)
        return sampled("fresh", laws.swapaxes(0, 1))

    # One teacher at a time bounds the memory; fresh prompts are as many sequences as there are examples.
    (shared_labels, intent), fresh_labels = jax.lax.map(
        lambda prompts: (shared(prompts[0]), fresh(prompts[1])), (world.shared, world.fresh)
    )
    named = jax.lax.map(lambda prompt: sampled("named", network.query(prompt, world.features)), world.clean)
    return Refined(shared_labels, fresh_labels, named, intent)
