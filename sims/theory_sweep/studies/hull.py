"""The hull of the concepts: its risk falls as the statistical dimension over n at a vertex, as (K - 1)/n inside.

Only the coordinates along the concepts and the teacher matter, so that features have K + 1 dimensions. Moments are
drawn directly, at a cost that does not depend on n. Theory: docs/theory.md 3.5.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.designs import direct_design
from sims.theory_sweep.studies.study import Study
from w2s_jax import theory
from w2s_jax.hull import hull_least_squares
from w2s_jax.risk import excess_risk
from w2s_jax.rng import stream
from w2s_jax.sampling import design_moments
from w2s_jax.tasks import make_task
from w2s_jax.types import Design, Key, Task, stack

LAWS = {"vertex": 1.0, "interior": 0.5}
"""Weak accuracies of the rotated teacher: a perfect one shows a vertex of the hull, a poor one a point inside."""


def task(spec: TheorySpec, law: str, num_concepts: int) -> Task:
    """The task of a cell."""
    return make_task(
        num_concepts=num_concepts,
        dim=num_concepts + 1,
        weak_accuracy=LAWS[law],
        concept_shift=0.5,
        noise_var=spec.noise_var,
    )


def draws(num_concepts: int) -> int:
    """Draws that a replicate averages: the fewer the concepts, the noisier and the cheaper is one."""
    return max(1, 32 // num_concepts)


def simulate(spec: TheorySpec, key: Key, inputs) -> Float[Array, "L K n 2"]:
    """Risk, and squared distance from the solution of infinitely many labels, averaged over a replicate's draws."""
    most = max(spec.hull_num_concepts) + 1
    keys = jax.random.split(stream(key, "designs"), draws(min(spec.hull_num_concepts)))
    sizes = jnp.array(spec.hull_sample_size, float)
    designs = jax.vmap(jax.vmap(direct_design, (0, None, None)), (None, 0, None))(keys, sizes, most)  # [n r]

    def measure(problem: Task, design: Design) -> Float[Array, "2"]:
        # The first coordinates of gaussian features are gaussian features.
        size = problem.concepts.shape[1]
        few = Design(design.gram[:size, :size], design.noise_cross[:size], design.num_samples)
        moments = design_moments(few, problem.weak_coef, problem.weak_noise_var)
        coef = hull_least_squares(moments, problem.concepts) @ problem.concepts
        limit = theory.hull_weights(problem) @ problem.concepts
        return jnp.stack([excess_risk(coef, problem.target_coef), excess_risk(coef, limit)])

    def cells(num_concepts: int) -> Float[Array, "L n 2"]:
        laws = stack([task(spec, law, num_concepts) for law in LAWS])
        used = jax.tree.map(lambda leaf: leaf[:, : draws(num_concepts)], designs)
        by_draw = jax.vmap(jax.vmap(measure, (None, 0)), (None, 0))
        return jax.vmap(by_draw, (0, None))(laws, used).mean(axis=2)

    return jnp.stack([cells(num_concepts) for num_concepts in spec.hull_num_concepts], axis=1)


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """Where the teacher lies in the hull, number of concepts, sample size."""
    return {"law": tuple(LAWS), "num_concepts": spec.hull_num_concepts, "sample_size": spec.hull_sample_size}


STUDY = Study(axes, lambda spec: ("risk", "distance"), simulate, seconds=0.02)
