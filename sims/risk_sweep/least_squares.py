"""Least squares on refined labels, for a whole grid at once.

Least squares is affine in the labels' cross moments m, with source beta_P: b = S^+ m + (I - S^+ S) beta_P. Its linear
part is found once per sample size, by the public kernel, so that a cell costs one product.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import World
from w2s_jax.estimators import least_squares
from w2s_jax.refinement import LabelDraw
from w2s_jax.types import Design, Moments


def fit_cross(world: World, cross: Float[Array, "W S N I d"]) -> Float[Array, "W S N I 1 d"]:
    """Coefficients for the cross moments of every cell."""
    alone = jax.vmap(jax.vmap(_fit, (None, 0, None)), (0, None, None))
    home = alone(world.source_coef, world.designs.refined, jnp.zeros_like(world.target_coef))
    fits = jnp.einsum("wsnid,nde->wsnie", cross, solutions(world)) + home[None, :, :, None]
    return fits[..., None, :]


def fit_projections(
    spec: SweepSpec, world: World, projections: list[Float[Array, "W S I q"]]
) -> Float[Array, "W S N I 1 d"]:
    """Coefficients for sampled labels, relative to the last concept and batch by batch (sims/risk_sweep/designs.py)."""
    frames = [batch.frame for batch in world.designs.batches]
    order, per_size = sorted(spec.sample_size), []
    for n, solve in zip(spec.sample_size, solutions(world)):
        used = order.index(n) + 1
        if frames[0] is None:
            moved = sum(projections[1:used], projections[0]) @ solve
        else:
            moved = jnp.concatenate(projections[:used], axis=-1) @ (jnp.concatenate(frames[:used]) @ solve)
        per_size.append(moved / n)
    last = fit_concepts(spec, world, spec.refined_labels)[:, :, -1]
    return (jnp.stack(per_size, axis=2) + last[None, :, :, None])[..., None, :]


def fit_weighted(
    spec: SweepSpec, world: World, weights: Float[Array, "W S I K"], draw: LabelDraw
) -> Float[Array, "W S N I 1 d"]:
    """Coefficients for labels whose mean is that of one mixture of concepts, the same for every row."""
    fits = jnp.einsum("wsik,snkd->wsnid", weights, fit_concepts(spec, world, draw))
    return fits[..., None, :]


def fit_concepts(spec: SweepSpec, world: World, draw: LabelDraw) -> Float[Array, "S N K d"]:
    """Coefficients where every label is of one concept; mean labels carry no noise."""
    noise_std = 0.0 if draw == "mean" else spec.noise_var**0.5

    def fit(source_coef: Array, design: Design, concept: Array) -> Array:
        return _fit(source_coef, design, design.gram @ concept + noise_std * design.noise_cross)

    per_source = jax.vmap(jax.vmap(fit, (None, None, 0)), (None, 0, None))
    return jax.vmap(per_source, (0, None, None))(world.source_coef, world.designs.refined, world.concepts)


def solutions(world: World) -> Float[Array, "N d d"]:
    """S^+ of every sample size."""
    units = jnp.eye(world.target_coef.shape[0])
    of_design = jax.vmap(_fit, (None, None, 0))
    return jax.vmap(of_design, (None, 0, None))(jnp.zeros_like(world.target_coef), world.designs.refined, units)


def _fit(source_coef: Float[Array, "d"], design: Design, cross: Float[Array, "d"]) -> Float[Array, "d"]:
    return least_squares(Moments(design.gram, cross, design.num_samples), source_coef)
