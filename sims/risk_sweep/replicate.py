"""One replicate of a risk sweep: every method on every cell of the grid, from one set of draws.

Axes: teachers W (weakness and weak accuracy), source priors S, sample sizes N (nested prefixes of one dataset) and
prompt lengths I (nested prefixes of one prompt).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.risk_sweep.estimates import ESTIMATES
from sims.risk_sweep.expected import expected
from sims.risk_sweep.methods import USES, WEIGHING, Method
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import Grid, draw_world
from w2s_jax.risk import excess_risk, sign_accuracy
from w2s_jax.types import Key


class Outcome(NamedTuple):
    """Results of one replicate on every cell. Columns F do not read the prompt length and columns V do (`columns`)."""

    fixed_risk: Float[Array, "W S N F"]
    varying_risk: Float[Array, "W S N I V"]
    fixed_accuracy: Float[Array, "W S N F"]
    """Sign accuracy of the same columns; NaN for features that are not gaussian."""
    varying_accuracy: Float[Array, "W S N I V"]
    misalignment: Float[Array, "W S N I M"]
    """Misalignment of the methods that `weighing_methods` lists."""
    drawn_risk: Float[Array, "W S N I V"] | None = None
    """Risks of the replicate's own draws, by which wins are counted, where those above are means over prompts."""


Column = tuple[Method, float | None]
"""A method, with its penalty, time or share of true labels where it has a path of them."""


def columns(spec: SweepSpec) -> tuple[list[Column], list[Column]]:
    """The columns of an outcome: those that do not read the prompt length (F), and those that do (V)."""
    paths = {"naive_ft": spec.penalties, "gradient_flow": spec.times, "mixed_ft": spec.true_label_share}
    every = [(method, value) for method in spec.methods for value in paths.get(method, (None,))]
    return [c for c in every if "num_icl" not in USES[c[0]]], [c for c in every if "num_icl" in USES[c[0]]]


def weighing_methods(spec: SweepSpec) -> list[Method]:
    """The columns M of an outcome's misalignment."""
    return [method for method in spec.methods if method in WEIGHING]


def simulate(spec: SweepSpec, key: Key, grid: Grid) -> Outcome:
    """Every method on every cell, from one replicate's key. Pure: `jit` and `vmap` are the caller's."""
    world = draw_world(spec, key, grid)
    estimates = {method: ESTIMATES[method](spec, world) for method in spec.methods}
    varying = {method: e.coef for method, e in estimates.items() if "num_icl" in USES[method]}
    fixed = [e.coef[:, :, :, 0] for method, e in estimates.items() if "num_icl" not in USES[method]]
    means = expected(spec, world)
    misalignments = [
        means.misalignment.get(m, excess_risk(estimates[m].posterior, world.target_prior))[..., None]
        for m in weighing_methods(spec)
    ]
    cells = (*grid.teachers.noise_var.shape, *grid.concept_shift.shape, len(spec.sample_size))
    prompted = (*cells, len(spec.num_icl))

    def risk(coef):
        return excess_risk(coef, world.target_coef, world.second_moment)

    def accuracy(coef):
        if spec.features != "gaussian":  # the formula is that of rotations
            return jnp.full(coef.shape[:-1], jnp.nan)
        scale = jnp.sqrt(world.second_moment)
        return sign_accuracy(coef * scale.reshape(*(1,) * (coef.ndim - 1), -1), world.target_coef * scale)

    drawn = {method: risk(coef) for method, coef in varying.items()}
    own = [means.risk[method][..., None] if method in means.risk else drawn[method] for method in varying]
    return Outcome(
        _collect([risk(coef) for coef in fixed], cells),
        _collect(own, prompted),
        _collect([accuracy(coef) for coef in fixed], cells),
        _collect([accuracy(coef) for coef in varying.values()], prompted),
        _collect(misalignments, prompted),
        _collect(list(drawn.values()), prompted) if means.risk else None,
    )


def _collect(parts: list[Array], shape: tuple[int, ...]) -> Array:
    full = [jnp.broadcast_to(part, (*shape, part.shape[-1])) for part in parts]
    return jnp.concatenate(full, axis=-1) if full else jnp.zeros((*shape, 0))
