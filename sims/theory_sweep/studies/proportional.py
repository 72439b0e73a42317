"""Finite samples against the proportional limit: risk of ridge to source through the peak at d = n.

Theory: docs/theory.md 3.3, 3.4.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.designs import direct_design
from sims.theory_sweep.studies.study import Study
from w2s_jax.estimators import ridge_to_source
from w2s_jax.risk import excess_risk
from w2s_jax.rng import stream
from w2s_jax.sampling import design_moments
from w2s_jax.tasks import make_task
from w2s_jax.types import Key, Task

DIM, NUM_CONCEPTS = 48, 4
PENALTIES = (0.0, 0.1, 1.0)
GAP = 6
"""Without a penalty the risk has no finite variance near n = d: such cells are left out (NaN)."""


def task(spec: TheorySpec) -> Task:
    """The task of every cell."""
    return make_task(num_concepts=NUM_CONCEPTS, dim=DIM, weak_accuracy=0.7, concept_shift=0.5, noise_var=spec.noise_var)


def sample_size(aspect_ratio: float) -> int:
    """n = d / ratio, rounded."""
    return max(1, round(DIM / aspect_ratio))


def simulate(spec: TheorySpec, key: Key, inputs) -> Float[Array, "g eta 1"]:
    """Risk by aspect ratio and penalty."""
    law, sizes = task(spec), np.array([sample_size(ratio) for ratio in spec.aspect_ratio])

    def fit(key, num_samples):
        moments = design_moments(direct_design(key, num_samples, DIM), law.weak_coef, law.weak_noise_var)
        coefs = jax.vmap(lambda penalty: ridge_to_source(moments, law.source_coef, penalty))(jnp.array(PENALTIES))
        return excess_risk(coefs, law.target_coef)

    risks = jax.vmap(fit)(jax.random.split(stream(key, "designs"), len(sizes)), jnp.array(sizes, float))
    return jnp.where(holes(spec), jnp.nan, risks[..., None])


def holes(spec: TheorySpec) -> np.ndarray:
    """The cells that are left out, `[g eta 1]`."""
    sizes = np.array([sample_size(ratio) for ratio in spec.aspect_ratio])
    return ((np.array(PENALTIES) == 0)[None, :] & (np.abs(sizes - DIM) < GAP)[:, None])[..., None]


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """Aspect ratio d/n, penalty."""
    return {"aspect_ratio": spec.aspect_ratio, "penalty": PENALTIES}


STUDY = Study(axes, lambda spec: ("risk",), simulate, seconds=0.03, holes=holes)
