"""The world of one replicate: the grid's tasks and every draw that the methods share.

Chance is paid for once per replicate. Every draw has a stream of its own, so that none depends on the grid or on the
methods.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.risk_sweep.designs import Designs, designs_of_moments, designs_of_rows
from sims.risk_sweep.spec import SweepSpec
from w2s_jax.relaxed import coherent_gram, contaminated_prior, power_law_spectrum
from w2s_jax.rng import stream
from w2s_jax.tasks import dirichlet_spread, embed, latent_dim, make_task, random_frame, shifted_prior
from w2s_jax.types import Key, Task, stack


class Reading(NamedTuple):
    """How weak examples come about and how the strong model reads them; scalars, traced."""

    weak_prior_error: Float[Array, ""]
    contamination: Float[Array, ""]
    assumed_noise_var: Float[Array, ""]
    temperature: Float[Array, ""]


class Grid(NamedTuple):
    """The traced part of a grid."""

    teachers: Task
    """Tasks `[W]` in canonical coordinates, one per weakness and weak accuracy; their source prior is not read."""
    concept_shift: Float[Array, "S"]
    feature_var: Float[Array, "d"]
    reading: Reading


class World(NamedTuple):
    """One replicate: its tasks and draws. Prompts are in canonical coordinates, all that a posterior reads."""

    key: Key
    teachers: Task
    """Tasks `[W]` in R^d; their weak prior is that of an example in the sample."""
    latent_teachers: Task
    """The same tasks in canonical coordinates; their weak prior is that of a prompt without error or contamination."""
    concepts: Float[Array, "K d"]
    target_coef: Float[Array, "d"]
    target_prior: Float[Array, "K"]
    source_prior: Float[Array, "S K"]
    source_coef: Float[Array, "S d"]
    second_moment: Float[Array, "d"]
    """E phi_j^2 of each feature, by which a squared distance of coefficients becomes a risk."""
    reading: Reading
    designs: Designs


def make_grid(spec: SweepSpec) -> Grid:
    """The whole grid of a sweep."""
    size = latent_dim(spec.num_concepts, spec.dim)
    feature_var = power_law_spectrum(spec.dim, spec.spectrum)
    teachers = [
        make_task(
            num_concepts=spec.num_concepts,
            dim=size,
            weak_accuracy=accuracy,
            concept_shift=0.0,
            noise_var=spec.noise_var,
            weakness=weakness,
            gram=coherent_gram(spec.num_concepts, spec.coherence) if spec.coherence else None,
        )._replace(feature_var=feature_var[:size])
        for weakness in spec.weakness
        for accuracy in spec.weak_accuracy
    ]
    stacked = stack(teachers)
    if spec.target_prior:
        target = jnp.broadcast_to(jnp.array(spec.target_prior), stacked.target_prior.shape)
        stacked = stacked._replace(target_prior=target, weak_prior=target)
    reading = (
        spec.weak_prior_error,
        spec.contamination,
        spec.assumed_noise_factor * spec.noise_var,
        spec.temperature,
    )
    return Grid(stacked, jnp.array(spec.concept_shift), feature_var, Reading(*map(jnp.asarray, reading)))


def draw_world(spec: SweepSpec, key: Key, grid: Grid) -> World:
    """Draw one replicate."""
    size = latent_dim(spec.num_concepts, spec.dim)
    first = jax.nn.one_hot(0, spec.num_concepts)
    if spec.task_law == "random":
        frame = random_frame(stream(key, "frame"), size, spec.dim)
        spread = dirichlet_spread(stream(key, "prior"), first)
    else:
        frame, spread = jnp.eye(size, spec.dim), None
    example_prior = jax.vmap(sample_prior, (0, None))(grid.teachers.weak_prior, grid.reading)
    feature_var = jnp.broadcast_to(grid.feature_var, (*grid.teachers.noise_var.shape, spec.dim))
    teachers = jax.vmap(embed, (0, None))(grid.teachers, frame)
    teachers = teachers._replace(weak_prior=example_prior, feature_var=feature_var)
    concepts, target_prior = teachers.concepts[0], grid.teachers.target_prior[0]
    # The shift moves mass from the first concept to the others; where the target is that concept alone, it is all of
    # the source prior that differs.
    moved = jax.vmap(lambda shift: shifted_prior(first, shift, spread) - first)(grid.concept_shift)
    source_prior = jnp.maximum(target_prior[None] + moved, 0.0)
    draw = designs_of_moments if spec.direct else designs_of_rows
    return World(
        key=key,
        teachers=teachers,
        latent_teachers=grid.teachers,
        concepts=concepts,
        target_coef=target_prior @ concepts,
        target_prior=target_prior,
        source_prior=source_prior,
        source_coef=source_prior @ concepts,
        second_moment=grid.feature_var / (3 if spec.features == "uniform" else 1),
        reading=grid.reading,
        designs=draw(spec, key, concepts, grid.feature_var),
    )


def sample_prior(shown: Float[Array, "K"], reading: Reading) -> Float[Array, "K"]:
    """Distribution of the concept behind one weak example, over all errors of teacher and prompt."""
    wrong = wrong_concepts(shown.shape[0])
    prior = (1 - reading.weak_prior_error) * shown + reading.weak_prior_error * wrong
    return contaminated_prior(prior, reading.contamination)


def wrong_concepts(num_concepts: int) -> Float[Array, "K"]:
    """Distribution of the concept that a mistaken teacher shows: any but the first."""
    return (1 - jax.nn.one_hot(0, num_concepts)) / (num_concepts - 1)
