"""The designs of one replicate at every sample size: reduced from rows, or drawn as moments without them.

Sample sizes are nested: each adds a batch of examples to the one below it, so that gram matrices, noise and labels are
running sums over batches. Either way, everything that a method reads has the same distribution.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sims.risk_sweep.spec import SweepSpec
from w2s_jax.increments import concept_span, increment_beside, label_coordinates
from w2s_jax.rng import normals, stream
from w2s_jax.sampling import sample_features, wishart_root
from w2s_jax.sorted_labels import look_up, prefix_sums
from w2s_jax.types import Design, Key, stack


class Rows(NamedTuple):
    """The examples themselves, for methods that look at them one by one."""

    features: Float[Array, "n d"]
    weak_noise: Float[Array, "n"]
    refined_noise: Float[Array, "n"]


class Batch(NamedTuple):
    """The examples that a sample size adds, as labels drawn from several concepts see them."""

    means: Float[Array, "K n"]
    """beta_k . phi_i - beta_K . phi_i."""
    directions: Float[Array, "n q"]
    """The features, or an orthonormal basis of their coordinates among the concepts (w2s_jax/increments.py)."""
    frame: Float[Array, "r d"] | None
    """Phi'y = label coordinates @ frame; None where directions are the features, so that Phi'y is read off."""


class Designs(NamedTuple):
    """What estimators read of the examples."""

    weak: Design
    """One per sample size, `[N]`, in the order of the specification, with the teacher's noise."""
    refined: Design
    """The same gram matrices with the strong model's own noise."""
    batches: tuple[Batch, ...]
    """One per sample size, the smallest first; none where no label is drawn from several concepts."""
    rows: Rows | None
    """None where moments are drawn without them."""


def batch_sizes(spec: SweepSpec) -> list[int]:
    """How many examples each sample size adds to the one below it, the smallest first."""
    return [b - a for a, b in itertools.pairwise((0, *sorted(spec.sample_size)))]


def running_sums(spec: SweepSpec, parts: list[Any]) -> list[Any]:
    """Sums over batches up to each sample size, in the order of the specification; parts are pytrees."""
    totals = list(itertools.accumulate(parts, lambda a, b: jax.tree.map(jnp.add, a, b)))
    return [totals[sorted(spec.sample_size).index(n)] for n in spec.sample_size]


def designs_of_rows(
    spec: SweepSpec, key: Key, concepts: Float[Array, "K d"], feature_var: Float[Array, "d"]
) -> Designs:
    """Draw the rows of the largest sample and reduce them."""
    total = max(spec.sample_size)
    features = sample_features(stream(key, "features"), total, concepts.shape[1], spec.features)
    features = features * jnp.sqrt(feature_var)[None, :]
    weak_noise = normals(stream(key, "weak_noise"), (total,))
    refined_noise = normals(stream(key, "refined_noise"), (total,))
    # Drawn once: without a barrier the compiler draws the features again for each of their many uses.
    rows = jax.lax.optimization_barrier(Rows(features, weak_noise, refined_noise))
    means = (concepts[:-1] - concepts[-1:]) @ rows.features.T
    means = jnp.concatenate([means, jnp.zeros_like(means[:1])])
    ends = sorted(spec.sample_size)
    slices = [slice(start, stop) for start, stop in itertools.pairwise((0, *ends))]
    batches = tuple(Batch(means[:, s], rows.features[s], None) for s in slices)
    roots = [(rows.features[s], rows.weak_noise[s], rows.refined_noise[s]) for s in slices]
    return _reduce(spec, roots, batches, rows)


def designs_of_moments(
    spec: SweepSpec, key: Key, concepts: Float[Array, "K d"], feature_var: Float[Array, "d"]
) -> Designs:
    """Draw what each batch adds to the moments; of its rows only what sampled labels see, if any are sampled."""
    dim, scale = concepts.shape[1], jnp.sqrt(feature_var)[None, :]
    basis, coordinates = concept_span(concepts, feature_var)
    batches, roots, sizes = [], [], batch_sizes(spec)
    # All batches in one call: programs that draw chi-squares take seconds each to compile.
    keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(key, "unseen"), jnp.arange(len(sizes)))
    hidden = basis.shape[0] + 1 if spec.samples_concepts else 0
    degrees = jnp.array([max(size - hidden, 0) for size in sizes])
    rests = jax.lax.optimization_barrier(jax.vmap(wishart_root, (0, 0, None))(keys, degrees, dim))
    for index, size in enumerate(sizes):
        batch_key = jax.random.fold_in(stream(key, "batch"), index)
        root = rests[index] * scale
        if spec.samples_concepts:
            seen = normals(stream(batch_key, "seen"), (basis.shape[0], size))
            increment = increment_beside(stream(batch_key, "beside"), seen, basis, rests[index])
            increment = jax.lax.optimization_barrier(increment)
            root = increment.root * scale
            batches.append(Batch(coordinates @ seen, increment.directions.T, root[:hidden]))
        noises = (normals(stream(batch_key, name), root.shape[:1]) for name in ("weak", "refined"))
        roots.append((root, *noises))
    return _reduce(spec, roots, tuple(batches), None)


def _reduce(spec: SweepSpec, roots: list, batches: tuple[Batch, ...], rows: Rows | None) -> Designs:
    """Designs from factors of the moments: features or an equivalent root of their gram matrix, and two unit noises."""
    sums = running_sums(spec, [(root.T @ root, weak @ root, refined @ root) for root, weak, refined in roots])
    sizes = [jnp.asarray(n, roots[0][0].dtype) for n in spec.sample_size]
    weak = stack([Design(gram / n, noise / n, n) for (gram, noise, _), n in zip(sums, sizes)])
    refined = stack([Design(gram / n, noise / n, n) for (gram, _, noise), n in zip(sums, sizes)])
    return Designs(weak, refined, batches, rows)


# --- Labels drawn from several concepts, relative to the last concept's mean -------------------------------------


def sorted_projection(batch: Batch, boundaries: Int[Array, "*b K-1"]) -> Float[Array, "*b q"]:
    """Label coordinates of a batch sorted by concept: `directions`'y, or with a frame all that it asks for."""
    steps = (batch.means[:-1] - batch.means[1:]).T
    if batch.frame is None:
        return look_up(prefix_sums(steps, batch.directions), boundaries)
    # A label's square goes from one concept's to the next by the step times the sum of the two.
    sums = (batch.means[:-1] + batch.means[1:]).T[:, :, None]
    directions = jnp.broadcast_to(batch.directions[:, None], (*steps.shape, batch.directions.shape[1]))
    found = look_up(prefix_sums(steps, jnp.concatenate([directions, sums], axis=-1)), boundaries)
    return label_coordinates(found[..., :-1], found[..., -1])


def row_projection(batch: Batch, labels: Float[Array, "*b n"]) -> Float[Array, "*b q"]:
    """The same for labels given row by row."""
    projected = labels @ batch.directions
    return projected if batch.frame is None else label_coordinates(projected, (labels**2).sum(axis=-1))
