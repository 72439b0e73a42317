"""The program of a posterior sweep: the contests of its grid, what a block of prompts adds, and the results."""

import math
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from sims.engine import runtime
from sims.engine.checked import check_definitions
from sims.engine.precision import Errors, name_cell, relative
from sims.engine.run import Job, bound
from sims.engine.store import Store, save_results
from sims.engine.sums import merged, over_groups
from sims.posterior_sweep.spec import AXES, DEFINITIONS, PROMPTS_AT_ONCE, PosteriorSpec
from w2s_jax import statistics, theory
from w2s_jax.refinement import concept_evidence, posterior_weights, prompt_evidence
from w2s_jax.rng import normals, stream
from w2s_jax.sampling import linear_labels
from w2s_jax.tasks import make_task
from w2s_jax.types import Dataset, Key, Task, stack


class Contests(NamedTuple):
    """The traced grid, padded to the largest number of concepts with concepts that no prior gives weight."""

    teachers: Task
    """Tasks `[W]` over num_concepts, weakness and weak accuracy, in canonical coordinates."""
    source_prior: Float[Array, "W S K"]
    assumed_noise_var: Float[Array, "W A"]


def block_sums(spec: PosteriorSpec, key: Key, first: Array, total: Array, contests: Contests) -> statistics.Summary:
    """Summary, over prompts, of (K concept weights, misalignment, MAP error) in each cell: `[W S A I K+2]`."""

    def summarize(start: Array) -> statistics.Summary:
        valid = (start + jnp.arange(PROMPTS_AT_ONCE) < total).astype(float)
        group = jax.random.fold_in(stream(key, "prompts"), start // PROMPTS_AT_ONCE)
        return _summarise_prompts(spec, group, valid, contests)

    starts = first + PROMPTS_AT_ONCE * jnp.arange(spec.block_size // PROMPTS_AT_ONCE)
    return over_groups(summarize, statistics.merge, starts)


def _summarise_prompts(spec: PosteriorSpec, key: Key, valid: Float[Array, "r"], contests: Contests):
    longest, (_, _, size) = max(1, *spec.num_icl), contests.teachers.concepts.shape
    rows = longest * PROMPTS_AT_ONCE
    # A coordinate has a stream of its own: more concepts in the grid change no draw.
    coordinates = jax.vmap(lambda c: jax.random.fold_in(stream(key, "features"), c))(jnp.arange(size))
    features = jax.vmap(lambda coordinate: normals(coordinate, (rows,)))(coordinates).T
    noise = normals(stream(key, "noise"), (rows,))
    count = valid.sum()
    share = valid / jnp.maximum(count, 1)

    def per_teacher(inputs):
        teacher, priors, assumed = inputs
        labels = linear_labels(features, noise, teacher.weak_coef, teacher.weak_noise_var)
        by_example = concept_evidence(teacher, Dataset(features, labels)).reshape(-1, longest, PROMPTS_AT_ONCE)
        evidence = prompt_evidence(by_example, spec.num_icl)
        target = jnp.zeros(evidence.shape[1]).at[0].set(1.0)[None, :, None]

        def per_cell(prior, noise_var):
            weights = posterior_weights(prior, evidence * (teacher.noise_var / noise_var))
            misalignment = jnp.square(weights - target).sum(axis=1, keepdims=True)
            wrong = (jnp.argmax(weights, axis=1, keepdims=True) > 0).astype(weights.dtype)
            quantities = jnp.concatenate([weights, misalignment, wrong], axis=1)  # [I K+2 r]
            mean = quantities @ share
            centred = (quantities - mean[:, :, None]) * jnp.sqrt(valid)[None, None, :]
            return mean, centred @ centred.mT

        return jax.vmap(jax.vmap(per_cell, (None, 0)), (0, None))(priors, assumed)

    mean, comoment = jax.lax.map(per_teacher, tuple(contests))
    return statistics.Summary(count, mean, comoment)


def make_contests(spec: PosteriorSpec) -> Contests:
    """The whole grid."""
    most = max(spec.num_concepts)

    def padded(task: Task) -> Task:
        missing = most - task.concepts.shape[0]
        grown = {name: jnp.pad(getattr(task, name), ((0, missing), (0, 0))) for name in ("concepts", "weak_concepts")}
        priors = ("source_prior", "target_prior", "weak_prior")
        return task._replace(**grown, **{name: jnp.pad(getattr(task, name), (0, missing)) for name in priors})

    teachers, source_priors, assumed = [], [], []
    for num_concepts in spec.num_concepts:
        for weakness in spec.weakness:
            for accuracy in spec.weak_accuracy:
                tasks = [
                    make_task(
                        num_concepts=num_concepts,
                        dim=most + 1,
                        weak_accuracy=accuracy,
                        concept_shift=shift,
                        noise_var=spec.noise_var,
                        weakness=weakness,
                    )
                    for shift in spec.concept_shift
                ]
                balanced = theory.balanced_noise_var(tasks[0])
                # Where a rival is nearer to the teacher than the target, no noise variance balances the contest.
                balanced = jnp.where(jnp.isfinite(balanced) & (balanced > 0), balanced, spec.noise_var)
                noise = {"task": jnp.asarray(spec.noise_var), "balanced": jnp.asarray(balanced)}
                teachers.append(padded(tasks[0]))
                source_priors.append(jnp.stack([padded(task).source_prior for task in tasks]))
                assumed.append(jnp.stack([noise[name] for name in spec.assumed_noise]))
    stacked = stack(teachers)
    return Contests(stacked, jnp.stack(source_priors), jnp.stack(assumed))


def assemble(spec: PosteriorSpec, store: Store, counts: np.ndarray, staging: Path) -> None:
    """Merge the blocks in float64 and write the results."""
    summary = merged(store.read(block, 0) for block in range(len(counts)))
    shape = tuple(len(getattr(spec, axis)) for axis in AXES)
    sem, count = statistics.sem(summary), float(summary.count)
    weights, covariance = summary.mean[..., :-2], statistics.covariance(summary)[..., :-2, :-2]
    gap = weights - np.eye(weights.shape[-1])[0]
    # The squared norm of a mean overshoots by the variance of that mean; its error follows by the delta method.
    fresh = np.square(gap).sum(-1) - np.trace(covariance, axis1=-2, axis2=-1) / count
    fresh_sem = 2 * np.sqrt(np.maximum(np.einsum("...k,...kl,...l->...", gap, covariance, gap), 0) / count)
    variance = np.diagonal(statistics.covariance(summary), axis1=-2, axis2=-1)
    shared, wrong = summary.mean[..., -2], summary.mean[..., -1]
    carried = statistics.effective_count(summary.mean[..., -2:], variance[..., -2:], count)
    # A mean of weights errs by what the rivals hold, 1 - w_1, and by no more than sqrt(2) times that.
    rivals = statistics.effective_count(1 - weights[..., 0], variance[..., 0], count)
    held = statistics.rare_interval(1 - weights[..., 0], sem[..., 0], count, rivals, 1.0)[1]
    few = rivals < statistics.ENOUGH
    low, high = statistics.confidence_interval(fresh, fresh_sem, count)
    fresh_ends = np.where(few, 0.0, low), np.where(few, 2 * np.square(held), high)
    texts = {
        "mean": "",
        "sem": ", standard error",
        "effective": ", prompts that carry it: (sum x)^2 / sum x^2",
        "low": ", lower end of the 95% interval",
        "high": f", upper end; where fewer than {statistics.ENOUGH} prompts carry it, a bound alone",
    }
    quantities = {
        "shared_misalignment": (
            "mean of ||w - e_*||^2 over prompts",
            shared,
            sem[..., -2],
            carried[..., 0],
            *statistics.rare_interval(shared, sem[..., -2], count, carried[..., 0], 2.0),
        ),
        "fresh_misalignment": ("||E w - e_*||^2, free of bias", fresh, fresh_sem, rivals, *fresh_ends),
        "map_error": (
            "probability that the MAP concept is not the target",
            wrong,
            sem[..., -1],
            carried[..., 1],
            *statistics.rare_interval(wrong, sem[..., -1], count, carried[..., 1], 1.0),
        ),
    }
    arrays = {
        f"{name}_{part}": (values, text + texts[part])
        for name, (text, *parts) in quantities.items()
        for part, values in zip(texts, parts)
    }
    units = {"num_icl": "examples", "weak_accuracy": "1", "concept_shift": "1"}
    coords = {axis: (axis, np.array(getattr(spec, axis)), {"units": units.get(axis, "")}) for axis in AXES}
    variables = {
        name: (AXES, values.reshape(shape), {"long_name": text, "units": "1"})
        for name, (values, text) in arrays.items()
    }
    variables["num_prompts"] = (AXES, np.full(shape, int(count)), {"long_name": "independent prompts", "units": "1"})
    save_results(xr.Dataset(variables, coords), staging)


def relative_sem(spec: PosteriorSpec, store: Store, blocks: np.ndarray, chunk: int) -> Errors:
    """Relative standard errors of the shared misalignment, over `AXES`: a risk, where those of rare events are none."""
    summary = merged(store.read(int(block), 0) for block in blocks)
    values = relative(statistics.sem(summary), summary.mean)[..., -2]
    axes = {axis: getattr(spec, axis) for axis in AXES}
    return Errors(values.reshape([len(held) for held in axes.values()]), partial(name_cell, axes))


def prepare(spec: PosteriorSpec) -> Job:
    """The grid, and the program that fills a block of it."""
    check_definitions(spec.definitions, DEFINITIONS)
    tasks = spec.num_cells * spec.replicates
    blocks = math.ceil(spec.replicates / spec.block_size)
    return Job(
        program=bound(block_sums, spec),
        chunks=[make_contests(spec)],
        assemble=partial(assemble, spec),
        plan=[
            f"{spec.num_cells:,} cells x {spec.replicates:,} independent prompts (shared by the cells) "
            f"= {tasks:,} tasks",
            f"{blocks} blocks of {spec.block_size:,} prompts on {len(runtime.devices())} devices",
        ],
        seconds=20 + 6e-9 * tasks,
        tasks_per_replicate=spec.num_cells,
        relative_sem=partial(relative_sem, spec),
    )
