"""Prompts whose examples come from several concepts, read as the work of one; shared by two studies."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.mixture_labels import choose_label
from w2s_jax.refinement import concept_evidence, posterior_weights, prompt_evidence
from w2s_jax.rng import normals, stream
from w2s_jax.types import Dataset, Key, Task

PROMPTS_AT_ONCE = 100
"""Prompts that a replicate averages."""


def concept_weights(key: Key, tasks: Task, lengths: tuple[int, ...]) -> Float[Array, "J I K+1"]:
    """Posterior weights of the concepts and their misalignment, averaged over the prompts of a replicate.

    `tasks` `[J]` share their dimensions and all draws; each example draws its concept from the task's weak prior.
    """
    size, longest = tasks.concepts.shape[-1], max(*lengths, 1)
    rows = longest * PROMPTS_AT_ONCE
    features = normals(stream(key, "features"), (size, rows)).T
    noise = normals(stream(key, "noise"), (rows,))
    uniforms = jax.random.uniform(stream(key, "concept"), (rows,))

    def per_task(task: Task):
        law = jnp.broadcast_to(task.weak_prior[:, None], (task.weak_prior.shape[0], rows))
        means = choose_label(uniforms, law, task.weak_concepts @ features.T)
        examples = Dataset(features, means + jnp.sqrt(task.weak_noise_var) * noise)
        evidence = concept_evidence(task, examples).reshape(-1, longest, PROMPTS_AT_ONCE)
        weights = posterior_weights(task.source_prior, prompt_evidence(evidence, lengths))
        distance = jnp.square(weights - task.target_prior[None, :, None]).sum(axis=1)
        return jnp.concatenate([weights.mean(axis=-1), distance.mean(axis=-1, keepdims=True)], axis=-1)

    return jax.lax.map(per_task, tasks)


def quantity_names(num_concepts: int) -> tuple[str, ...]:
    """Names of the last axis of `concept_weights`."""
    return (*(f"weight_{k}" for k in range(num_concepts)), "shared_misalignment")
