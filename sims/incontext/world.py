"""The arrays of one seed: teachers, examples and prompts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.incontext.spec import InContextSpec
from w2s_jax.incontext import sample_sequence
from w2s_jax.predictive import Bins, make_bins
from w2s_jax.rng import stream
from w2s_jax.sampling import linear_labels, sample_features
from w2s_jax.tasks import Weakness, make_task, random_frame
from w2s_jax.types import Dataset, Key, Task, stack


class World(NamedTuple):
    """What one seed draws under one concept shift, before any network reads it. N is the largest sample size."""

    teachers: Task
    """One per weak accuracy, `[W]`, each turned at random outside the concepts' span."""
    features: Float[Array, "N d"]
    """To be labelled; sample size n takes the first n."""
    weak_labels: Float[Array, "W N"]
    target_labels: Float[Array, "N"]
    shared: Dataset
    """One weak prompt per teacher: features `[W m d]`, labels `[W m]`; prompt length i takes the first i."""
    fresh: Dataset
    """One weak prompt per teacher and example, `[W N m d]`."""
    clean: Dataset
    """One prompt per concept with the concept's own labels, `[K m d]`: its name."""
    queries: Float[Array, "q d"]
    """Where risks are measured."""


def bins_of(spec) -> Bins:
    """The bins of a network's predictive head."""
    return make_bins(spec.bin_limit, spec.num_bins)


def task_of(spec, concept_shift: float, weak_accuracy: float = 1.0, weakness: Weakness = "rotated") -> Task:
    """A task with axis-aligned concepts and an even spread of the shifted mass."""
    return make_task(
        num_concepts=spec.num_concepts,
        dim=spec.dim,
        weak_accuracy=weak_accuracy,
        concept_shift=concept_shift,
        noise_var=spec.noise_var,
        weakness=weakness,
    )


def turned(key: Key, task: Task) -> Task:
    """The task with its weak concepts turned at random in the directions that no concept has."""
    num_concepts, dim = task.concepts.shape
    frame = random_frame(key, dim - num_concepts, dim - num_concepts)
    outside = task.weak_concepts[:, num_concepts:] @ frame
    return task._replace(weak_concepts=task.weak_concepts.at[:, num_concepts:].set(outside))


def draw_world(spec: InContextSpec, key: Key, teachers: Task) -> World:
    """All draws of a seed; teachers see the same features and noise."""
    total, longest = max(spec.sample_size), spec.max_icl
    teachers = jax.vmap(turned, (None, 0))(stream(key, "teacher"), teachers)
    target = jax.tree.map(lambda leaf: leaf[0], teachers)
    features = sample_features(stream(key, "features"), total, spec.dim)

    def weak(features: Array, noise: Array) -> Float[Array, "W r"]:
        return jax.vmap(lambda task: linear_labels(features, noise, task.weak_coef, task.weak_noise_var))(teachers)

    def prompts(name: str, *shape: int) -> Dataset:
        found = sample_features(stream(key, f"{name}_features"), shape[0] * longest, spec.dim)
        labels = weak(found, jax.random.normal(stream(key, f"{name}_noise"), found.shape[:1]))
        teachers_and = (len(spec.weak_accuracy), *shape, longest)
        found = jnp.broadcast_to(found.reshape(*shape, longest, -1)[None], (*teachers_and, spec.dim))
        return Dataset(found, labels.reshape(teachers_and))

    shared = prompts("shared", 1)
    return World(
        teachers,
        features,
        weak(features, jax.random.normal(stream(key, "weak_noise"), (total,))),
        linear_labels(
            features, jax.random.normal(stream(key, "target_noise"), (total,)), target.target_coef, spec.noise_var
        ),
        Dataset(shared.features[:, 0], shared.labels[:, 0]),
        prompts("fresh", total),
        clean_prompts(stream(key, "clean"), target, longest),
        sample_features(stream(key, "queries"), spec.queries, spec.dim),
    )


def clean_prompts(key: Key, task: Task, length: int) -> Dataset:
    """A prompt for each concept, with labels of that concept alone: `[K m d]`."""
    num_concepts = task.concepts.shape[0]
    alone = [
        sample_sequence(jax.random.fold_in(key, k), task._replace(source_prior=jax.nn.one_hot(k, num_concepts)), length)
        for k in range(num_concepts)
    ]
    return stack(alone)
