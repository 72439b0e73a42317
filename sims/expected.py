"""Mean risks and misalignments over the prompts, given the sample of a replicate: they take the place of its own prompt's.

Given the sample, the risk of refinement with one shared prompt is quadratic in its concept weights w. Its coefficients
are b(w) = sum_k w_k b_k, plus what the draw of a concept for each row adds. With u = w - e_1, the risk of row i's label
weighed by its leverage a_i^2, and c_ik = (beta_k - beta_1) . phi_i,

    E[risk | sample, w] = |b(w) - beta_Q|^2 + sum_i a_i^2 (sum_k w_k c_ik^2 - (sum_k w_k c_ik)^2) / n^2
                        = G_11 + (2 G_1 + diag V) . u + u'(G - V) u,

with G_kl = (b_k - beta_Q) . (b_l - beta_Q) and V_kl = sum_i a_i^2 c_ik c_il / n^2. Prompts are independent of the sample,
so the moments of u over many prompts (`sims/prompt_moments.py`) give a replicate's mean risk, whose expected value is
that of the risk. Derived, docs/theory.md 2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.designs import Batch
from sims.fits import fit_concepts, solutions
from sims.prompt_moments import PromptMoments, prompt_moments
from sims.spec import SweepSpec
from sims.sweep_methods import Method
from sims.world import World
from w2s_jax.refinement import LabelDraw

PROMPTED: tuple[Method, ...] = ("icl_refine_shared", "icl_refine_fresh", "intent_refine")
"""Methods whose prompts are independent of the sample, so that their misalignment is one of prompts alone."""
SHARING: tuple[Method, ...] = ("icl_refine_shared", "intent_refine")
"""Those that label a whole sample with one prompt, so that its rare mistakes carry their risk."""


class Expected(NamedTuple):
    """What is averaged over prompts, by method; nothing where `prompt_rounds` is 0."""

    risk: dict[str, Float[Array, "W S N I"]]
    misalignment: dict[str, Float[Array, "W S N I"]]


def expected(spec: SweepSpec, world: World) -> Expected:
    """The mean risks and misalignments of a replicate."""
    if spec.prompt_rounds == 0 or not set(PROMPTED) & set(spec.methods):
        return Expected({}, {})
    posterior, likeliest = prompt_moments(spec, world)
    labels = likeliest if spec.refined_labels == "map" else posterior
    read = {"icl_refine_shared": posterior, "icl_refine_fresh": posterior, "intent_refine": likeliest}
    drawn: dict[str, tuple[PromptMoments, LabelDraw]] = {
        "icl_refine_shared": (labels, spec.refined_labels),
        "intent_refine": (likeliest, "map"),
    }
    return Expected(
        {m: _risk(spec, world, *drawn[m]) for m in SHARING if m in spec.methods},
        {m: _misalignment(spec, world, read[m], m == "icl_refine_fresh") for m in PROMPTED if m in spec.methods},
    )


def _risk(spec: SweepSpec, world: World, prompts: PromptMoments, draw: LabelDraw) -> Float[Array, "W S N I"]:
    away = fit_concepts(spec, world, draw) - world.target_coef[None, None, None]
    square = (away * world.second_moment[None, None, None]) @ away.mT  # G, [S N K K]
    linear, bent = 2 * square[:, :, 0], square
    if draw == "sample":
        spread = _spread(spec, world)
        linear = linear + jnp.diagonal(spread, axis1=1, axis2=2)[None]
        bent = square - spread[None]
    slope = jnp.einsum("snk,wsik->wsni", linear, prompts.first)
    return square[None, :, :, 0, 0, None] + slope + jnp.einsum("snkl,wsikl->wsni", bent, prompts.second)


def _spread(spec: SweepSpec, world: World) -> Float[Array, "N K K"]:
    """V of every sample size."""
    batches, order = world.designs.batches, sorted(spec.sample_size)
    per_size = []
    for n, solve in zip(spec.sample_size, solutions(world)):
        total = jnp.zeros((spec.num_concepts, spec.num_concepts))
        for batch in batches[: order.index(n) + 1]:
            steps = batch.means - batch.means[:1]
            total = total + (steps * _leverage(batch, solve, world.second_moment)[None]) @ steps.T
        per_size.append(total / n**2)
    return jnp.stack(per_size)


def _leverage(batch: Batch, solve: Float[Array, "d d"], second_moment: Float[Array, "d"]) -> Float[Array, "n"]:
    """a_i^2: the risk that a unit error of each row's label brings, times n^2."""
    if batch.frame is None:
        return jnp.square(batch.directions @ solve) @ second_moment
    # What a label has beyond the directions goes along one more row of the frame, whose sign is a coin's.
    reach = batch.frame @ solve
    seen = jnp.square(batch.directions @ reach[:-1]) @ second_moment
    outside = jnp.maximum(1 - jnp.square(batch.directions).sum(axis=1), 0.0)
    return seen + outside * (jnp.square(reach[-1]) @ second_moment)


def _misalignment(spec: SweepSpec, world: World, prompts: PromptMoments, fresh: bool) -> Float[Array, "W S N I"]:
    """E |w - q|^2; of the mean of n prompts where they are fresh, (|.|^2 of one + (n - 1) |mean|^2)/n."""
    base = jax.nn.one_hot(0, spec.num_concepts) - world.target_prior
    own = jnp.trace(prompts.second, axis1=-2, axis2=-1)[:, :, None]
    if fresh:
        share = 1 / jnp.array(spec.sample_size, own.dtype)[None, None, :, None]
        own = share * own + (1 - share) * prompts.pair[:, :, None]
    own = own + (2 * (prompts.first @ base) + base @ base)[:, :, None]
    return jnp.broadcast_to(own, (*own.shape[:2], len(spec.sample_size), own.shape[3]))
