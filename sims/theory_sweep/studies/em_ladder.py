"""EM on the prior, step by step: one knob from refinement (one step) to the likeliest prior (many).

The teacher is perfect: its examples are those of the target, a mixture or a single concept. Features have K dimensions,
all that the concepts see. Theory: docs/theory.md 3.7.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.study import Study
from w2s_jax.em import em_path
from w2s_jax.hull import hull_least_squares
from w2s_jax.risk import excess_risk
from w2s_jax.rng import stream
from w2s_jax.sampling import moments, sample_dataset
from w2s_jax.tasks import make_task
from w2s_jax.types import Dataset, Key, Task

TARGETS = ("mixture", "one concept")


def task(spec: TheorySpec, target: str) -> Task:
    """The task of a target: an even source, a perfect teacher."""
    num_concepts = len(spec.target_prior)
    plain = make_task(
        num_concepts=num_concepts, dim=num_concepts + 1, weak_accuracy=1.0, concept_shift=0.0, noise_var=spec.noise_var
    )
    plain = plain._replace(
        concepts=plain.concepts[:, :-1],
        weak_concepts=plain.weak_concepts[:, :-1],
        feature_var=plain.feature_var[:-1],
        source_prior=jnp.full(num_concepts, 1 / num_concepts),
    )
    if target == "one concept":
        return plain
    prior = jnp.array(spec.target_prior)
    return plain._replace(target_prior=prior, weak_prior=prior)


def simulate(spec: TheorySpec, key: Key, inputs) -> Float[Array, "Q n T 2"]:
    """Risk of the prior after T steps, and of the hull on the same sample."""

    def cell(target: str, num_samples: int):
        law = task(spec, target)
        whole = sample_dataset(stream(key, target), law, max(spec.em_sample_size))
        sample = Dataset(whole.features[:num_samples], whole.labels[:num_samples])
        hull = hull_least_squares(moments(sample), law.concepts)
        em = excess_risk(em_path(law, sample, spec.em_steps), law.target_prior)
        return jnp.stack([em, jnp.broadcast_to(excess_risk(hull, law.target_prior), em.shape)], axis=-1)

    return jnp.stack([jnp.stack([cell(target, n) for n in spec.em_sample_size]) for target in TARGETS])


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """Target, sample size, number of EM steps."""
    return {"target": TARGETS, "sample_size": spec.em_sample_size, "num_steps": spec.em_steps}


STUDY = Study(axes, lambda spec: ("em_risk", "hull_risk"), simulate, seconds=0.02)
