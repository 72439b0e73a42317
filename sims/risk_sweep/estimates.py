"""How each method estimates, on every cell of a grid and from one replicate's world.

Gram matrices and their factorisations do not depend on the cell, so `vmap` over the grid leaves them outside: a cell
costs O(d^2), and O(n K) more with fresh prompts, O(n (K + d)) with leave-one-out batches or self refinement, O(n K)
more for each step of EM.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.risk_sweep.designs import batch_sizes, row_projection, running_sums, sorted_projection
from sims.risk_sweep.labels import (
    draw_prompts,
    examples,
    label_prompts,
    mixed_cross,
    target_cross,
    weak_cross,
    weak_sample,
)
from sims.risk_sweep.least_squares import fit_cross, fit_projections, fit_weighted
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import World
from w2s_jax.em import em_steps
from w2s_jax.estimators import gradient_flow, least_squares, ridge_to_source
from w2s_jax.hull import hull_least_squares
from w2s_jax.mixture_labels import choose_label, concept_levels
from w2s_jax.refinement import (
    concept_evidence,
    leave_one_out_evidence,
    likelihood_ratio,
    posterior_path,
    posterior_weights,
    prompt_evidence,
)
from w2s_jax.rng import stream
from w2s_jax.sorted_labels import arrival_times, shared_boundaries
from w2s_jax.types import Dataset, Design, Moments, Task


class Estimate(NamedTuple):
    """A method's answers, each axis of length 1 where the method ignores it."""

    coef: Float[Array, "w s n i x d"]
    """Coefficients; X is a path of penalties, times or shares of true labels."""
    posterior: Float[Array, "w s n i K"] | None = None
    """Concept weights, averaged over the prompts of the sample."""


# --- Methods without a concept posterior -------------------------------------------------------------------------


def _source(spec: SweepSpec, world: World) -> Estimate:
    return Estimate(world.source_coef[None, :, None, None, None, :])


def _weak(spec: SweepSpec, world: World) -> Estimate:
    return Estimate(world.teachers.weak_coef[:, None, None, None, None, :])


def _ceiling(spec: SweepSpec, world: World) -> Estimate:
    def fit(source_coef, cross, design):
        return least_squares(_moments(design, cross), source_coef)

    axes = (0, None, None), (None, 0, 0)
    fits = _outer_vmap(fit, *axes)(world.source_coef, target_cross(spec, world), world.designs.weak)
    return Estimate(fits[None, :, :, None, None, :])


def _naive_ft(spec: SweepSpec, world: World) -> Estimate:
    return _fine_tune_on_weak_labels(spec, world, ridge_to_source, spec.penalties)


def _gradient_flow(spec: SweepSpec, world: World) -> Estimate:
    return _fine_tune_on_weak_labels(spec, world, gradient_flow, spec.times)


def _fine_tune_on_weak_labels(spec: SweepSpec, world: World, estimator, path: tuple[float, ...]) -> Estimate:
    def fit(cross, source_coef, design, parameter):
        return estimator(_moments(design, cross), source_coef, parameter)

    axes = (0, None, None, None), (None, 0, None, None), (0, None, 0, None), (None, None, None, 0)
    fits = _outer_vmap(fit, *axes)(weak_cross(spec, world), world.source_coef, world.designs.weak, jnp.array(path))
    return Estimate(fits[:, :, :, None, :, :])


def _mixed_ft(spec: SweepSpec, world: World) -> Estimate:
    def fit(cross, source_coef, design):
        return least_squares(_moments(design, cross), source_coef)

    axes = (0, None, None), (None, 0, None), (0, None, 0), (0, None, None)
    fits = _outer_vmap(fit, *axes)(mixed_cross(spec, world), world.source_coef, world.designs.weak)
    return Estimate(fits[:, :, :, None, :, :])


def _hull(spec: SweepSpec, world: World) -> Estimate:
    def fit(cross, design):
        return hull_least_squares(_moments(design, cross), world.concepts)

    weights = _outer_vmap(fit, (0, None), (0, 0))(weak_cross(spec, world), world.designs.weak)[:, None, :, None]
    return Estimate((weights @ world.concepts)[..., None, :], weights)


def _em_prior(spec: SweepSpec, world: World) -> Estimate:
    def per_teacher(teacher, n):
        evidence = _evidence(world, teacher, weak_sample(spec, world, teacher, n))

        def per_source(prior):
            return em_steps(prior, likelihood_ratio(evidence, prior), spec.em_steps)

        return jax.vmap(per_source)(world.source_prior)

    per_size = [jax.lax.map(lambda teacher, n=n: per_teacher(teacher, n), world.teachers) for n in spec.sample_size]
    weights = jnp.stack(per_size, axis=2)[:, :, :, None]
    return Estimate((weights @ world.concepts)[..., None, :], weights)


def _moments(design: Design, cross: Float[Array, "d"]) -> Moments:
    return Moments(design.gram, cross, design.num_samples)


def _evidence(world: World, teacher: Task, dataset: Dataset) -> Float[Array, "K n"]:
    """Log evidence of each example for the concepts, as the strong model sees it."""
    reading = world.reading
    return concept_evidence(teacher, dataset, assumed_noise_var=reading.assumed_noise_var) / reading.temperature


# --- Refinement with independent prompts: the labels may be sorted (w2s_jax/sorted_labels.py) --------------------


def _shared_log_posterior(spec: SweepSpec, world: World) -> Float[Array, "W S I K"]:
    prompts = draw_prompts(spec, world, "shared_prompt", 1)

    def posterior(teacher, prior):
        return posterior_path(
            teacher._replace(source_prior=prior),
            label_prompts(teacher, prompts, world.reading),
            lengths=spec.num_icl,
            assumed_noise_var=world.reading.assumed_noise_var,
            temperature=world.reading.temperature,
        )

    return _outer_vmap(posterior, (0, None), (None, 0))(world.latent_teachers, world.source_prior)


def _icl_refine_shared(spec: SweepSpec, world: World) -> Estimate:
    log_posterior = _shared_log_posterior(spec, world)
    posterior = jnp.exp(log_posterior)
    if spec.refined_labels != "sample":
        map_of_prompt = jax.nn.one_hot(jnp.argmax(posterior, axis=-1), spec.num_concepts)
        weights = map_of_prompt if spec.refined_labels == "map" else posterior
        return Estimate(fit_weighted(spec, world, weights, spec.refined_labels), posterior[:, :, None])
    projections = []
    for index, batch in enumerate(world.designs.batches):
        size = batch.means.shape[1]
        arrivals = arrival_times(jax.random.fold_in(stream(world.key, "shared_labels"), index), size)
        projections.append(sorted_projection(batch, shared_boundaries(arrivals, log_posterior, size)))
    return Estimate(fit_projections(spec, world, projections), posterior[:, :, None])


def _icl_refine_fresh(spec: SweepSpec, world: World) -> Estimate:
    rows, longest = max(spec.sample_size), max(spec.num_icl)
    prompts = draw_prompts(spec, world, "fresh_prompts", rows)
    uniforms = 1 - jax.random.uniform(stream(world.key, "fresh_labels"), (rows,))
    # Row i belongs to batch b: sums over the rows of each batch, as one product.
    ends = jnp.cumsum(jnp.array(batch_sizes(spec)))
    batch_of_row = jnp.searchsorted(ends, jnp.arange(rows), side="right")
    in_batch = jax.nn.one_hot(batch_of_row, len(ends), dtype=uniforms.dtype)

    def per_teacher(teacher):
        examples = label_prompts(teacher, prompts, world.reading)
        evidence = _evidence(world, teacher, examples).reshape(spec.num_concepts, longest, rows)
        evidence = prompt_evidence(evidence, spec.num_icl)

        def per_source(prior):
            weights = posterior_weights(prior, evidence)
            if spec.refined_labels == "mean":
                return _mean_projections(world, weights), weights @ in_batch
            labelling = _likeliest(weights) if spec.refined_labels == "map" else weights
            # Of the labels only how many took concepts up to k matters, in each batch.
            taken = [uniforms[None, :] <= level for level in concept_levels(labelling)]
            counts = jnp.stack(taken, axis=1).astype(in_batch.dtype) @ in_batch
            return counts.round().astype(int), weights @ in_batch

        return jax.vmap(per_source)(world.source_prior)

    # One teacher at a time: its prompts' posteriors stay in cache, and memory does not grow with the grid.
    found, weights = jax.lax.map(per_teacher, world.latent_teachers)  # [W S I K-1 B] (mean: a list), [W S I K B]
    if spec.refined_labels == "mean":
        projections = found
    else:
        projections = [sorted_projection(batch, found[..., b]) for b, batch in enumerate(world.designs.batches)]
    sums = running_sums(spec, list(jnp.moveaxis(weights, -1, 0)))
    posterior = jnp.stack([total / n for total, n in zip(sums, spec.sample_size)], axis=2)
    return Estimate(fit_projections(spec, world, projections), posterior)


def _mean_projections(world: World, weights: Float[Array, "i K n"]) -> list[Float[Array, "i q"]]:
    """Mean labels of every batch, seen as sampled ones are."""
    ends = itertools.accumulate(batch.means.shape[1] for batch in world.designs.batches)
    parts = jnp.split(weights, list(ends)[:-1], axis=-1)
    return [
        row_projection(batch, (part * batch.means[None]).sum(axis=1))
        for batch, part in zip(world.designs.batches, parts)
    ]


def _likeliest(weights: Float[Array, "*l K n"]) -> Float[Array, "*l K n"]:
    """All weight on the largest."""
    return jax.nn.one_hot(jnp.argmax(weights, axis=-2), weights.shape[-2], axis=-2, dtype=weights.dtype)


def _intent_refine(spec: SweepSpec, world: World) -> Estimate:
    chosen = jax.nn.one_hot(jnp.argmax(_shared_log_posterior(spec, world), axis=-1), spec.num_concepts)
    return Estimate(fit_weighted(spec, world, chosen, "map"), chosen[:, :, None])


# --- Refinement whose prompts are made of the sample itself ------------------------------------------------------


def _icl_refine_leave_one_out(spec: SweepSpec, world: World) -> Estimate:
    def prompts(evidence):
        return jnp.stack([leave_one_out_evidence(evidence, num_icl) for num_icl in spec.num_icl])

    return _refine_in_sample(spec, world, prompts, "leave_one_out_labels")


def _self_refine(spec: SweepSpec, world: World) -> Estimate:
    return _refine_in_sample(spec, world, lambda evidence: evidence[None], "self_labels")


def _refine_in_sample(spec: SweepSpec, world: World, prompts, name: str) -> Estimate:
    """Least squares on labels refined row by row; `prompts` turns the evidence of rows into that of their prompts."""
    features = examples(world).features
    uniforms = jax.random.uniform(stream(world.key, name), features.shape[:1])
    means = world.concepts @ features.T
    noise = jnp.sqrt(spec.noise_var) * examples(world).refined_noise

    def label(weights, n):
        if spec.refined_labels == "mean":
            return (weights * means[None, :, :n]).sum(axis=1)
        labelling = _likeliest(weights) if spec.refined_labels == "map" else weights
        return choose_label(uniforms[:n], labelling, means[:, :n]) + noise[None, :n]

    def per_teacher(teacher, n):
        sample = weak_sample(spec, world, teacher, n)
        evidence = prompts(_evidence(world, teacher, sample))

        def per_source(prior):
            weights = posterior_weights(prior, evidence)
            return label(weights, n) @ sample.features / n, weights.mean(axis=-1)

        return jax.vmap(per_source)(world.source_prior)

    per_size = [jax.lax.map(lambda teacher, n=n: per_teacher(teacher, n), world.teachers) for n in spec.sample_size]
    cross, posterior = (jnp.stack(parts, axis=2) for parts in zip(*per_size))
    return Estimate(fit_cross(world, cross), posterior)


ESTIMATES = {
    "source": _source,
    "weak": _weak,
    "ceiling": _ceiling,
    "naive_ft": _naive_ft,
    "gradient_flow": _gradient_flow,
    "icl_refine_shared": _icl_refine_shared,
    "icl_refine_fresh": _icl_refine_fresh,
    "icl_refine_leave_one_out": _icl_refine_leave_one_out,
    "intent_refine": _intent_refine,
    "self_refine": _self_refine,
    "hull": _hull,
    "em_prior": _em_prior,
    "mixed_ft": _mixed_ft,
}
"""How each method estimates; a new method is one function and one line here."""


def _outer_vmap(function, *levels):
    """`vmap` level by level, the outermost first."""
    for in_axes in reversed(levels):
        function = jax.vmap(function, in_axes)
    return function
