"""The world of one replicate: the grid's tasks and every draw that the methods share.

Chance is paid for once per replicate. Every draw has a stream of its own, so that none depends on the grid or on the
methods.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.spec import SweepSpec
from w2s_jax.rng import stream
from w2s_jax.sampling import design_of
from w2s_jax.tasks import dirichlet_spread, embed, latent_dim, make_task, random_frame, shifted_prior
from w2s_jax.types import Design, Key, Task


class Grid(NamedTuple):
    """The traced part of a grid."""

    teachers: Task
    """Tasks `[W]` in canonical coordinates, one per weakness and weak accuracy; their source prior is not read."""
    concept_shift: Float[Array, "S"]


class World(NamedTuple):
    """One replicate: its tasks and draws. Prompts live in canonical coordinates, all that a posterior can see."""

    key: Key
    teachers: Task
    """Tasks `[W]` in R^d."""
    latent_teachers: Task
    """The same tasks in canonical coordinates."""
    concepts: Float[Array, "K d"]
    source_prior: Float[Array, "S K"]
    source_coef: Float[Array, "S d"]
    features: Float[Array, "n d"]
    weak_noise: Float[Array, "n"]
    refined_noise: Float[Array, "n"]
    designs: Design
    """One per sample size, `[N]`: its first rows with the teacher's noise."""
    refined_designs: Design
    """The same rows with the strong model's own noise."""


def make_grid(spec: SweepSpec) -> Grid:
    """The whole grid of a sweep."""
    teachers = [
        make_task(
            num_concepts=spec.num_concepts,
            dim=latent_dim(spec.num_concepts, spec.dim),
            weak_accuracy=accuracy,
            concept_shift=0.0,
            noise_var=spec.noise_var,
            weakness=weakness,
        )
        for weakness in spec.weakness
        for accuracy in spec.weak_accuracy
    ]
    return Grid(jax.tree.map(lambda *leaves: jnp.stack(leaves), *teachers), jnp.array(spec.concept_shift))


def draw_world(spec: SweepSpec, key: Key, grid: Grid) -> World:
    """Draw one replicate."""
    rows, size = max(spec.sample_size), latent_dim(spec.num_concepts, spec.dim)
    target = jax.nn.one_hot(0, spec.num_concepts)
    if spec.task_law == "random":
        frame = random_frame(stream(key, "frame"), size, spec.dim)
        spread = dirichlet_spread(stream(key, "prior"), target)
    else:
        frame, spread = jnp.eye(size, spec.dim), None
    teachers = jax.vmap(embed, (0, None))(grid.teachers, frame)
    concepts = teachers.concepts[0]
    source_prior = jax.vmap(lambda shift: shifted_prior(target, shift, spread))(grid.concept_shift)
    features = jax.random.normal(stream(key, "features"), (rows, spec.dim))
    weak_noise = jax.random.normal(stream(key, "weak_noise"), (rows,))
    refined_noise = jax.random.normal(stream(key, "refined_noise"), (rows,))
    # Drawn once: without a barrier the compiler draws the features anew for each of their many uses.
    features, weak_noise, refined_noise = jax.lax.optimization_barrier((features, weak_noise, refined_noise))

    def nested_designs(noise):
        designs = [design_of(features[:n], noise[:n]) for n in spec.sample_size]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *designs)

    return World(
        key=key,
        teachers=teachers,
        latent_teachers=grid.teachers,
        concepts=concepts,
        source_prior=source_prior,
        source_coef=source_prior @ concepts,
        features=features,
        weak_noise=weak_noise,
        refined_noise=refined_noise,
        designs=nested_designs(weak_noise),
        refined_designs=nested_designs(refined_noise),
    )


def draw_prompts(spec: SweepSpec, key: Key, num_prompts: int) -> tuple[Float[Array, "m*n l"], Float[Array, "m*n"]]:
    """Features and unit noise of prompts, in canonical coordinates: by rotation, all that a gaussian prompt tells.

    Row j * num_prompts + i is example j of prompt i.
    """
    total, size = max(spec.num_icl) * num_prompts, latent_dim(spec.num_concepts, spec.dim)
    features = jax.random.normal(stream(key, "features"), (size, total)).T
    return features, jax.random.normal(stream(key, "noise"), (total,))
