"""One seed of the whole pipeline under one concept shift: a pure program, which the engine runs on every device."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sims.incontext.distance import Distance, Trace, measure_distance, trace_weights
from sims.incontext.finetune import fine_tune, structure
from sims.incontext.labels import refine
from sims.incontext.spec import InContextSpec
from sims.incontext.world import World, bins_of, draw_world
from w2s_jax.refinement import posterior_path
from w2s_jax.risk import excess_risk
from w2s_jax.rng import replicate_key, stream
from w2s_jax.training import Params
from w2s_jax.types import Dataset, Key, Task


class Setting(NamedTuple):
    """Inputs that all seeds of a concept shift share."""

    teachers: Task
    """One per weak accuracy, `[W]`, not turned yet."""
    params: Params
    """Parameters of the pre-trained networks, stacked: `[networks ...]`."""
    concept_shift: Float[Array, ""]


class Outcome(NamedTuple):
    """Results of one seed. T: fine-tuning steps; the first is the untouched network."""

    weak_risk: Float[Array, "W"]
    """Risk of the teacher, in closed form."""
    ceiling_risk: Float[Array, "N T"]
    naive_risk: Float[Array, "W N T"]
    shared_risk: Float[Array, "W N I T"]
    fresh_risk: Float[Array, "W N I T"]
    intent_risk: Float[Array, "W N I T"]
    shared_bayes: Float[Array, "W I"]
    """Misalignment of exact Bayes after the same shared prompt: the risk of its mean answer."""
    fresh_bayes: Float[Array, "W I"]
    """Misalignment of exact Bayes with its mean weights over all fresh prompts."""
    bayes_intent: Int[Array, "W I"]
    """Likeliest concept of the exact posterior after the same shared prompt."""
    intent: Int[Array, "W I"]
    """Concept that the network named."""
    distance: Distance
    trace: Trace


def run_seed(spec: InContextSpec, key: Key, first_seed: Array, total: Array, setting: Setting) -> Outcome:
    """Everything of seed number `first_seed`; the signature is the engine's, and a block is one seed."""
    key = replicate_key(key, first_seed)
    bins, graph = bins_of(spec), structure(spec)
    params = jax.tree.map(lambda leaf: leaf[first_seed % spec.networks], setting.params)
    network = nnx.merge(graph, params)
    world = draw_world(spec, key, setting.teachers)
    source = jax.tree.map(lambda leaf: leaf[0], world.teachers)
    refined = refine(spec, stream(key, "refine"), network, bins, world)
    sizes = jnp.array(spec.sample_size)

    flat = [world.target_labels[None], world.weak_labels, refined.named]
    gridded = [labels.reshape(-1, labels.shape[-1]) for labels in (refined.shared, refined.fresh)]
    every = jnp.concatenate([*flat, *gridded])  # one call for all: one program, and lanes that are full
    risks = fine_tune(
        spec,
        stream(key, "finetune"),
        graph,
        params,
        bins,
        world.features,
        jnp.repeat(every, sizes.size, axis=0),
        jnp.tile(sizes, every.shape[0]),
        world.queries,
        source.target_coef,
    ).reshape(every.shape[0], sizes.size, -1)
    ends = list(itertools.accumulate(len(part) for part in flat))
    ceiling, naive, named, rest = jnp.split(risks, ends)
    cells = (len(spec.weak_accuracy), len(spec.num_icl), *rest.shape[1:])
    shared, fresh = (part.reshape(cells).swapaxes(1, 2) for part in jnp.split(rest, 2))
    return Outcome(
        excess_risk(world.teachers.weak_coef, source.target_coef),
        ceiling[0],
        naive,
        shared,
        fresh,
        named[refined.intent].swapaxes(1, 2),
        *_exact_bayes(spec, world),
        refined.intent,
        measure_distance(spec, stream(key, "distance"), network, bins, source, setting.concept_shift),
        trace_weights(spec, stream(key, "trace"), network, bins, world.teachers),
    )


def _exact_bayes(
    spec: InContextSpec, world: World
) -> tuple[Float[Array, "W I"], Float[Array, "W I"], Int[Array, "W I"]]:
    """||w - e_*||^2 of the exact posterior, after the shared prompt and for the mean over fresh ones; what it names."""

    def of_teacher(inputs) -> tuple[Array, Array, Array]:
        teacher, shared, fresh = inputs

        def log_weights(prompt: Dataset) -> Float[Array, "I K"]:
            return posterior_path(teacher, prompt, lengths=spec.num_icl)

        alone, mean = log_weights(shared), jnp.exp(jax.vmap(log_weights)(fresh)).mean(axis=0)
        risks = (excess_risk(weights, teacher.target_prior) for weights in (jnp.exp(alone), mean))
        return *risks, jnp.argmax(alone, axis=-1)

    return jax.lax.map(of_teacher, (world.teachers, world.shared, world.fresh))
