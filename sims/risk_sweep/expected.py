"""Mean risks and misalignments over prompts and labels, given the sample of a replicate.

A sample of refined labels is seen through the weights w of the concepts that label it: coefficients are b(w) =
sum_k w_k b_k on average, and what label noise and the draw of a concept for each row add is uncorrelated. With u = w -
e_1, c_ik = (beta_k - beta_1) . phi_i and the leverage a_i^2 by which an error of row i's label enters the risk,

    E[risk | sample, w] = |b(w) - beta_Q|^2 + sum_i a_i^2 (sigma^2 + sum_k w_k c_ik^2 - (sum_k w_k c_ik)^2) / n^2
                        = G_11 + sigma^2 tr(S^+)/n + (2 G_1 + diag V) . u + u'(G - V) u,

with G_kl = (b_k - beta_Q) . (b_l - beta_Q) and V_kl = sum_i a_i^2 c_ik c_il / n^2. Prompts are independent of the
sample. One for all labels asks for E u and E u u'; with a prompt for each, labels are independent draws from E w, so
that E u E u' takes the place of the latter. Both come from many prompts (`prompt_moments.py`), and the expected
value of what a replicate says is the mean risk. Derived, docs/theory.md 2.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.risk_sweep.designs import Batch
from sims.risk_sweep.least_squares import fit_concepts, solutions
from sims.risk_sweep.methods import Method
from sims.risk_sweep.prompt_moments import PromptMoments, prompt_moments
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import World
from w2s_jax.refinement import LabelDraw

PROMPTED: tuple[Method, ...] = ("icl_refine_shared", "icl_refine_fresh", "intent_refine")
"""Methods whose prompts are independent of the sample."""


class Expected(NamedTuple):
    """Results of the methods in `PROMPTED`, by name; empty where `prompt_rounds` is 0."""

    risk: dict[str, Float[Array, "W S N I"]]
    misalignment: dict[str, Float[Array, "W S N I"]]


def expected(spec: SweepSpec, world: World) -> Expected:
    """The mean risks and misalignments of a replicate."""
    methods = [method for method in PROMPTED if method in spec.methods]
    if spec.prompt_rounds == 0 or not methods:
        return Expected({}, {})
    posterior, likeliest = prompt_moments(spec, world)
    risk, misalignment = {}, {}
    for method in methods:
        fresh, draw = method == "icl_refine_fresh", "map" if method == "intent_refine" else spec.refined_labels
        risk[method] = _risk(spec, world, likeliest if draw == "map" else posterior, draw, fresh)
        read = likeliest if method == "intent_refine" else posterior
        misalignment[method] = _misalignment(spec, world, read, fresh)
    return Expected(risk, misalignment)


def largest_misalignment(spec: SweepSpec, method: str) -> float:
    """The largest that a replicate can say: 2, as many times that as a prompt may count, or no limit."""
    if spec.prompt_rounds == 0 or method not in PROMPTED:
        return 2.0
    return math.inf if method == "icl_refine_fresh" else 2.0 * spec.num_concepts


def _risk(
    spec: SweepSpec, world: World, prompts: PromptMoments, draw: LabelDraw, fresh: bool
) -> Float[Array, "W S N I"]:
    away = fit_concepts(spec, world, "mean") - world.target_coef[None, None, None]
    square = (away * world.second_moment[None, None, None]) @ away.mT  # G, [S N K K]
    pairs = prompts.pair if fresh else prompts.second
    moved = jnp.einsum("snk,wsik->wsni", 2 * square[:, :, 0], prompts.first)
    risk = square[None, :, :, 0, 0, None] + moved + jnp.einsum("snkl,wsikl->wsni", square, pairs)
    if draw != "mean":
        traces = jnp.diagonal(solutions(world), axis1=1, axis2=2) @ world.second_moment
        noise = spec.noise_var * traces / jnp.array(spec.sample_size, traces.dtype)
        risk = risk + noise[None, None, :, None]
    if not fresh and draw != "sample":  # one mean for all labels
        return risk
    spread = _spread(spec, world)
    if draw == "mean":
        return risk + jnp.einsum("nkl,wsikl->wsni", spread, prompts.second - prompts.pair)
    own = jnp.einsum("nk,wsik->wsni", jnp.diagonal(spread, axis1=1, axis2=2), prompts.first)
    return risk + own - jnp.einsum("nkl,wsikl->wsni", spread, pairs)


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
    """E |w - q|^2; where w is the mean of n fresh prompts, (|.|^2 of one + (n - 1) |that of the mean|^2)/n."""
    base = jax.nn.one_hot(0, spec.num_concepts) - world.target_prior
    one, pair = (jnp.trace(x, axis1=-2, axis2=-1)[:, :, None] for x in (prompts.second, prompts.pair))
    share = 1 / jnp.array(spec.sample_size, one.dtype)[None, None, :, None]
    square = share * one + (1 - share) * pair if fresh else one
    far = square + (2 * (prompts.first @ base) + base @ base)[:, :, None]
    return jnp.broadcast_to(far, (*far.shape[:2], len(spec.sample_size), far.shape[3]))
