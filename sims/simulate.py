"""One replicate of a risk sweep: every method on every cell of the grid, from one set of draws.

Chance is paid for once per replicate. Draws, gram matrices and their factorisations do not depend on the cell, so
`vmap` over the grid leaves them outside. What varies from cell to cell is a teacher (axis W: weakness and accuracy), a
source prior (axis S), a sample size (axis N, nested prefixes of one dataset) and a prompt length (axis I, nested
prefixes of one prompt). A cell costs O(d^2), and O(n K) more with fresh prompts, O(n (K + d)) with leave-one-out
batches or self refinement.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sims.methods import REFINING, USES, Method
from sims.spec import SweepSpec
from w2s_jax.estimators import gradient_flow, least_squares, ridge_to_source
from w2s_jax.refinement import (
    choose_label,
    concept_evidence,
    concept_levels,
    leave_one_out_evidence,
    likelihood_ratio,
    posterior_path,
    posterior_weights,
    prompt_evidence,
)
from w2s_jax.risk import excess_risk, sign_accuracy
from w2s_jax.rng import stream
from w2s_jax.sampling import design_moments, design_of, linear_labels
from w2s_jax.sorted_labels import arrival_times, prefix_table, refined_moments, shared_boundaries
from w2s_jax.tasks import dirichlet_spread, embed, latent_dim, make_task, random_frame, shifted_prior
from w2s_jax.types import Dataset, Design, Key, Moments, Task


class Grid(NamedTuple):
    """The traced part of a grid."""

    teachers: Task
    """Tasks `[W]` in canonical coordinates, one per weakness and weak accuracy; their source prior is not read."""
    concept_shift: Float[Array, "S"]


class Outcome(NamedTuple):
    """What one replicate tells of every cell. Columns F do not read the prompt length and columns V do (`columns`)."""

    fixed_risk: Float[Array, "W S N F"]
    varying_risk: Float[Array, "W S N I V"]
    fixed_accuracy: Float[Array, "W S N F"]
    """Sign accuracy of the same columns."""
    varying_accuracy: Float[Array, "W S N I V"]
    misalignment: Float[Array, "W S N I M"]
    """Of the methods that `refining_methods` lists."""


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


class Estimate(NamedTuple):
    """A method's answers, each axis of length 1 where the method ignores it."""

    coef: Float[Array, "w s n i x d"]
    """Coefficients; X is a path of penalties or times."""
    posterior: Float[Array, "w s n i K"] | None = None
    """Concept weights, averaged over the prompts of the sample."""


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


Column = tuple[Method, float | None]
"""A method, with its penalty or time where it has a path of them."""


def columns(spec: SweepSpec) -> tuple[list[Column], list[Column]]:
    """The columns of an outcome: those that do not read the prompt length (F), and those that do (V)."""
    paths = {"naive_ft": spec.penalties, "gradient_flow": spec.times}
    every = [(method, value) for method in spec.methods for value in paths.get(method, (None,))]
    return [c for c in every if "num_icl" not in USES[c[0]]], [c for c in every if "num_icl" in USES[c[0]]]


def refining_methods(spec: SweepSpec) -> list[Method]:
    """The columns M of an outcome's misalignment."""
    return [method for method in spec.methods if method in REFINING]


def simulate(spec: SweepSpec, key: Key, grid: Grid) -> Outcome:
    """Every method on every cell, from one replicate's key. Pure: `jit` and `vmap` are the caller's."""
    world = draw_world(spec, key, grid)
    target = world.concepts[0]
    estimates = {method: ESTIMATES[method](spec, world) for method in spec.methods}
    varying = [e.coef for method, e in estimates.items() if "num_icl" in USES[method]]
    fixed = [e.coef[:, :, :, 0] for method, e in estimates.items() if "num_icl" not in USES[method]]
    goal = jax.nn.one_hot(0, spec.num_concepts)
    misalignments = [excess_risk(estimates[m].posterior, goal)[..., None] for m in refining_methods(spec)]
    cells = (*grid.teachers.noise_var.shape, *grid.concept_shift.shape, len(spec.sample_size))
    prompted = (*cells, len(spec.num_icl))
    return Outcome(
        _collect([excess_risk(coef, target) for coef in fixed], cells),
        _collect([excess_risk(coef, target) for coef in varying], prompted),
        _collect([sign_accuracy(coef, target) for coef in fixed], cells),
        _collect([sign_accuracy(coef, target) for coef in varying], prompted),
        _collect(misalignments, prompted),
    )


def _collect(parts: list[Array], shape: tuple[int, ...]) -> Array:
    full = [jnp.broadcast_to(part, (*shape, part.shape[-1])) for part in parts]
    return jnp.concatenate(full, axis=-1) if full else jnp.zeros((*shape, 0))


def draw_world(spec: SweepSpec, key: Key, grid: Grid) -> World:
    """Draw one replicate. Every draw has a stream of its own, so none depends on the grid or on the methods."""
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


# --- Methods without a concept posterior -------------------------------------------------------------------------


def _source(spec: SweepSpec, world: World) -> Estimate:
    return Estimate(world.source_coef[None, :, None, None, None, :])


def _weak(spec: SweepSpec, world: World) -> Estimate:
    return Estimate(world.teachers.weak_coef[:, None, None, None, None, :])


def _ceiling(spec: SweepSpec, world: World) -> Estimate:
    def fit(source_coef, design):
        return least_squares(design_moments(design, world.concepts[0], spec.noise_var), source_coef)

    fits = _outer_vmap(fit, (0, None), (None, 0))(world.source_coef, world.designs)
    return Estimate(fits[None, :, :, None, None, :])


def _naive_ft(spec: SweepSpec, world: World) -> Estimate:
    return _fine_tune_on_weak_labels(ridge_to_source, spec.penalties, world)


def _gradient_flow(spec: SweepSpec, world: World) -> Estimate:
    return _fine_tune_on_weak_labels(gradient_flow, spec.times, world)


def _fine_tune_on_weak_labels(estimator, path: tuple[float, ...], world: World) -> Estimate:
    def fit(teacher, source_coef, design, parameter):
        moments = design_moments(design, teacher.weak_coef, teacher.weak_noise_var)
        return estimator(moments, source_coef, parameter)

    axes = (0, None, None, None), (None, 0, None, None), (None, None, 0, None), (None, None, None, 0)
    fits = _outer_vmap(fit, *axes)(world.teachers, world.source_coef, world.designs, jnp.array(path))
    return Estimate(fits[:, :, :, None, :, :])


# --- Refinement with prompts of its own: the labels may be sorted (w2s_jax/sorted_labels.py) ---------------------


def _shared_log_posterior(spec: SweepSpec, world: World) -> Float[Array, "W S I K"]:
    features, noise = _prompts(spec, stream(world.key, "shared_prompt"), 1)

    def posterior(teacher, prior):
        labels = linear_labels(features, noise, teacher.weak_coef, teacher.weak_noise_var)
        return posterior_path(teacher._replace(source_prior=prior), Dataset(features, labels), lengths=spec.num_icl)

    return _outer_vmap(posterior, (0, None), (None, 0))(world.latent_teachers, world.source_prior)


def _prompts(spec: SweepSpec, key: Key, num_prompts: int) -> tuple[Float[Array, "m*n l"], Float[Array, "m*n"]]:
    """Features and unit noise of prompts, in canonical coordinates: by rotation, all that a gaussian prompt tells.

    Row j * num_prompts + i is example j of prompt i.
    """
    total, size = max(spec.num_icl) * num_prompts, latent_dim(spec.num_concepts, spec.dim)
    features = jax.random.normal(stream(key, "features"), (size, total)).T
    return features, jax.random.normal(stream(key, "noise"), (total,))


def _fit_refined(per_cell, source_coef: Array, designs: Design, moments_of) -> Float[Array, "W S N I X d"]:
    """Least squares on refined labels; `moments_of(design, x)` are their moments, x from `per_cell` `[W S N I ...]`."""

    def fit(x, source_coef, design):
        return least_squares(moments_of(design, x), source_coef)

    axes = (0, None, None), (0, 0, None), (0, None, 0), (0, None, None)
    return _outer_vmap(fit, *axes)(per_cell, source_coef, designs)[:, :, :, :, None, :]


def _fit_sorted(spec: SweepSpec, world: World, boundaries: Int[Array, "W S N I K-1"]) -> Float[Array, "W S N I X d"]:
    table = prefix_table(world.features, world.concepts)

    def moments_of(design, boundary):
        return refined_moments(design, table, boundary, world.concepts, spec.noise_var)

    return _fit_refined(boundaries, world.source_coef, world.refined_designs, moments_of)


def _icl_refine_shared(spec: SweepSpec, world: World) -> Estimate:
    log_posterior = _shared_log_posterior(spec, world)
    arrivals = arrival_times(stream(world.key, "shared_labels"), max(spec.sample_size))
    axes = (0, None), (0, None), (None, 0), (0, None)
    boundaries = _outer_vmap(lambda w, n: shared_boundaries(arrivals, w, n), *axes)(
        log_posterior, jnp.array(spec.sample_size)
    )
    return Estimate(_fit_sorted(spec, world, boundaries), jnp.exp(log_posterior)[:, :, None])


def _icl_refine_fresh(spec: SweepSpec, world: World) -> Estimate:
    rows, longest = max(spec.sample_size), max(spec.num_icl)
    features, noise = _prompts(spec, stream(world.key, "fresh_prompts"), rows)
    uniforms = 1 - jax.random.uniform(stream(world.key, "fresh_labels"), (rows,))
    sizes = jnp.array(spec.sample_size, features.dtype)[None, :]
    prefix = (jnp.arange(rows)[:, None] < sizes).astype(features.dtype)

    def per_teacher(teacher):
        labels = linear_labels(features, noise, teacher.weak_coef, teacher.weak_noise_var)
        evidence = concept_evidence(teacher, Dataset(features, labels)).reshape(spec.num_concepts, longest, rows)
        likelihood = likelihood_ratio(prompt_evidence(evidence, spec.num_icl))

        def per_source(prior):
            weights = posterior_weights(prior, likelihood)
            # Of the labels only how many took concepts up to k matters, at each sample size.
            taken = [uniforms[None, :] <= level for level in concept_levels(weights)]
            return jnp.stack(taken, axis=1).astype(prefix.dtype) @ prefix, weights @ (prefix / sizes)

        return jax.vmap(per_source)(world.source_prior)

    # One teacher at a time: its prompts' posteriors stay in cache, and memory does not grow with the grid.
    counts, weights = jax.lax.map(per_teacher, world.latent_teachers)  # [W S I K-1 N], [W S I K N]
    boundaries = jnp.moveaxis(counts, -1, 2).round().astype(int)
    return Estimate(_fit_sorted(spec, world, boundaries), jnp.moveaxis(weights, -1, 2))


def _intent_refine(spec: SweepSpec, world: World) -> Estimate:
    chosen = jnp.argmax(_shared_log_posterior(spec, world), axis=-1)

    per_size = jnp.broadcast_to(chosen[:, :, None], (*chosen.shape[:2], len(spec.sample_size), *chosen.shape[2:]))

    def moments_of(design, concept):
        return design_moments(design, world.concepts[concept], spec.noise_var)

    fits = _fit_refined(per_size, world.source_coef, world.refined_designs, moments_of)
    return Estimate(fits, jax.nn.one_hot(chosen, spec.num_concepts)[:, :, None])


# --- Refinement whose prompts are made of the sample itself ------------------------------------------------------


def _icl_refine_leave_one_out(spec: SweepSpec, world: World) -> Estimate:
    def prompts(evidence):
        return jnp.stack([leave_one_out_evidence(evidence, num_icl) for num_icl in spec.num_icl])

    return _refine_in_sample(spec, world, prompts, "leave_one_out_labels")


def _self_refine(spec: SweepSpec, world: World) -> Estimate:
    return _refine_in_sample(spec, world, lambda evidence: evidence[None], "self_labels")


def _refine_in_sample(spec: SweepSpec, world: World, prompts, name: str) -> Estimate:
    """Least squares on labels refined row by row; `prompts` turns the evidence of rows into that of their prompts."""
    uniforms = jax.random.uniform(stream(world.key, name), (max(spec.sample_size),))
    means = world.concepts @ world.features.T
    noise = jnp.sqrt(spec.noise_var) * world.refined_noise

    def per_teacher(teacher, n):
        features = world.features[:n]
        labels = linear_labels(features, world.weak_noise[:n], teacher.weak_coef, teacher.weak_noise_var)
        likelihood = likelihood_ratio(prompts(concept_evidence(teacher, Dataset(features, labels))))

        def per_source(prior):
            weights = posterior_weights(prior, likelihood)
            refined = choose_label(uniforms[:n], weights, means[:, :n]) + noise[None, :n]
            return refined @ features / n, weights.mean(axis=-1)

        return jax.vmap(per_source)(world.source_prior)

    per_size = [jax.lax.map(lambda teacher, n=n: per_teacher(teacher, n), world.teachers) for n in spec.sample_size]
    cross, posterior = (jnp.stack(parts, axis=2) for parts in zip(*per_size))

    def moments_of(design, cross):
        return Moments(design.gram, cross, design.num_samples)

    return Estimate(_fit_refined(cross, world.source_coef, world.refined_designs, moments_of), posterior)


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
}
"""How each method estimates; a new method is one function and one line here."""


def _outer_vmap(function, *levels):
    """`vmap` level by level, the outermost first."""
    for in_axes in reversed(levels):
        function = jax.vmap(function, in_axes)
    return function
