"""Scaling laws: teacher and student of random-feature ridge on power laws, as samples and widths grow together.

One teacher has a penalty that falls too fast: samples are its limit, and its risk does not fall. The other has the best
one. Both students have the penalty that is best for the first. Theory: docs/theory_zoo.md, scaling laws.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.study import Study
from w2s_jax.rng import stream
from w2s_jax.theory_zoo import FeatureRidge, power_law_spectrum
from w2s_jax.types import Key, Scalar

CAPACITY, SOURCE, DIM = 1.5, 0.75, 768
TEACHERS = ("small penalty", "best penalty")
FEATURES_PER_SAMPLE = 2
BEST_PENALTY = 1 / (2 * SOURCE + 1 / CAPACITY)
"""Exponent of the penalty that balances shrinkage and noise of samples."""
FINITE_SIZE = 2
"""The deterministic equivalents may miss a risk by this over n, relatively."""
QUANTITIES = ("teacher_risk", "student_risk")


def learners(num_samples: Scalar) -> dict[str, FeatureRidge]:
    """The teachers by name, and the `student` of either."""
    width = FEATURES_PER_SAMPLE * num_samples
    best = FeatureRidge(num_samples, 0.3 * num_samples**-BEST_PENALTY, width)
    small = FeatureRidge(num_samples, num_samples**-CAPACITY, width)
    return {"small penalty": small, "best penalty": best, "student": best}


def simulate(spec: TheorySpec, key: Key, inputs) -> Float[Array, "2 n 2"]:
    """Risks of teacher and student by teacher and sample size; both teachers see the same draw, and both students."""
    eigenvalues, target = power_law_spectrum(CAPACITY, SOURCE, DIM)
    found = []
    for size in spec.scaling_sample_size:
        own = stream(key, f"{size} samples")
        grown = learners(float(size))
        shape = {"num_samples": size, "width": FEATURES_PER_SAMPLE * size}

        def fit(name, labelled, noise_var, penalty, own=own, shape=shape):
            return fit_feature_ridge(stream(own, name), eigenvalues, labelled, noise_var, penalty, **shape)

        penalties = jnp.array([grown[name].penalty for name in TEACHERS])
        teachers = jax.vmap(lambda penalty, fit=fit: fit("teacher", target, spec.noise_var, penalty))(penalties)
        student = grown["student"].penalty
        students = jax.vmap(lambda teacher, fit=fit, eta=student: fit("student", teacher, 0.0, eta))(teachers)
        found.append(jnp.sum((jnp.stack([teachers, students], 1) - target[None, None]) ** 2, -1))
    return jnp.stack(found, 1)


def fit_feature_ridge(
    key: Key,
    eigenvalues: Float[Array, "d"],
    labelled: Float[Array, "d"],
    noise_var: Scalar,
    penalty: Scalar,
    *,
    num_samples: int,
    width: int | None,
) -> Float[Array, "d"]:
    """Random-feature ridge on drawn labels of a function: its coefficients over the eigenfeatures.

    Without a width it is ridge on the eigenfeatures themselves.
    """
    dim = eigenvalues.shape[0]
    inputs = jax.random.normal(stream(key, "inputs"), (num_samples, dim))
    labels = inputs @ labelled + jnp.sqrt(noise_var) * jax.random.normal(stream(key, "noise"), (num_samples,))
    if width is None:
        x = inputs * jnp.sqrt(eigenvalues)[None]
    else:
        features = jax.random.normal(stream(key, "features"), (width, dim)) * jnp.sqrt(eigenvalues / width)[None]
        x = inputs @ features.T
    # The smaller of the two gram matrices: the other is singular but for the penalty.
    if x.shape[1] < num_samples:
        a = _solve(x.T @ x, num_samples * penalty, x.T @ labels)
    else:
        a = x.T @ _solve(x @ x.T, num_samples * penalty, labels)
    return jnp.sqrt(eigenvalues) * a if width is None else a @ features


def _solve(gram: Float[Array, "k k"], ridge: Scalar, right: Float[Array, "k"]) -> Float[Array, "k"]:
    return jax.scipy.linalg.solve(gram + ridge * jnp.eye(gram.shape[0]), right, assume_a="pos")


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """Teacher, sample size."""
    return {"teacher": TEACHERS, "sample_size": spec.scaling_sample_size}


STUDY = Study(axes, lambda spec: QUANTITIES, simulate, seconds=0.08)
