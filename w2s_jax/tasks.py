"""Tasks: concepts, priors and the five ways in which a teacher is weak.

Everything is built in canonical coordinates, where concept k is the k-th unit vector and the direction `u` that no
concept spans is the (K + 1)-th, and is then turned into `d` dimensions by an orthonormal frame (`embed`).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from w2s_jax.inputs import kernel
from w2s_jax.names import NEEDS_EXTRA_DIM, WEAKNESSES, Weakness
from w2s_jax.rng import stream
from w2s_jax.types import Key, Scalar, Task, is_concrete


@kernel
def make_task(
    *,
    num_concepts: int,
    dim: int,
    weak_accuracy: Scalar | None = None,
    concept_shift: Scalar,
    noise_var: Scalar = 0.25,
    weakness: Weakness = "rotated",
    target_concept: int = 0,
    gram: Float[Array, "K K"] | None = None,
    weak_coef: Float[Array, "d"] | None = None,
    target_prior: Float[Array, "K"] | None = None,
) -> Task:
    """A deterministic, axis-aligned task: concept k is the k-th unit vector, unless a Gram matrix says otherwise.

    The target is one concept, q = e_* with * = `target_concept`. The source gives it 1 - `concept_shift` and spreads
    the rest evenly, so that TV(alpha, q) = `concept_shift`. With a = `weak_accuracy`, u a unit vector orthogonal to
    every concept and v the unit vector along the sum of the other concepts, less its part along beta_* (for
    orthonormal concepts the sum over sqrt(K - 1)), the weak teacher shows

        rotated    beta^w = a beta_* + sqrt(1 - a^2) u                     a = correlation with the target
        shifted    beta^w = beta_* + sqrt(1/a^2 - 1) u                     a = correlation with the target
        noisy      beta^w = beta_*, weak_noise_var = noise_var / a^2       a = ratio of noise levels
        confused   beta^w = a beta_* + sqrt(1 - a^2) v                     a = correlation with the target
        opposed    beta^w = a beta_* - sqrt(1 - a^2) v                     a = correlation with the target

    Only row * of `weak_concepts` differs from `concepts`; a = 1 is a perfect teacher.

    **One's own teacher or target.** `weak_coef` is then the teacher: it shows that one vector, at the target's noise.
    `target_prior` is then the target q, which the teacher shows too; the source still lies `concept_shift` away from
    it, by mass that moves from concept * evenly to the others.

    Args:
        num_concepts: K >= 2.
        dim: d >= K; `rotated` and `shifted` need d >= K + 1.
        weak_accuracy: a in (0, 1], unitless; may be traced; None with a weak_coef alone. Gradients with respect to it
            need a < 1: the sine of the angle between teacher and target has none at a perfect teacher.
        concept_shift: total variation between source and target prior, in [0, 1), unitless; may be traced. Gradients
            at 0 are one-sided.
        noise_var: sigma^2 >= 0, in squared label units; may be traced.
        weakness: one of `WEAKNESSES`; not read where there is a weak_coef.
        target_concept: index of the target concept, in [0, K).
        gram: inner products of the concepts `[K K]`, positive definite with unit diagonal (`coherent_gram`); may be
            traced. None makes them orthonormal. The concepts are the rows of its Cholesky factor.
        weak_coef: beta^w `[d]`, a teacher of one's own; may be traced.
        target_prior: q `[K]`, >= 0 and of sum 1, a target of one's own, with q_* >= `concept_shift`; may be traced.

    Returns:
        A `Task` with `concepts [K d]`, priors `[K]` and `feature_var` equal to 1.

    Raises:
        ValueError: if a Python value is out of its range, gram is an array of numbers (not traced) that is not positive
            definite with unit diagonal, or target_prior one that is no prior; and if both weak_accuracy and weak_coef
            are given, or neither. Traced values are not checked.

    Reference: Somerstep et al. (arXiv 2405.16236) for the model; docs/theory.md 1 for the weaknesses.

    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
    >>> [round(float(x), 2) for x in task.weak_coef]
    [0.6, 0.0, 0.8]
    >>> [float(x) for x in task.source_coef]
    [0.75, 0.25, 0.0]
    >>> own = make_task(num_concepts=2, dim=3, weak_coef=[0.5, 0.5, 1.0], target_prior=[0.75, 0.25], concept_shift=0.5)
    >>> own.weak_coef.tolist(), own.target_coef.tolist(), own.source_coef.tolist()
    ([0.5, 0.5, 1.0], [0.75, 0.25, 0.0], [0.25, 0.75, 0.0])
    """
    _check_teacher(weak_accuracy, weak_coef, dim)
    if weak_accuracy is None:
        weakness, weak_accuracy = "noisy", 1.0  # the target's own noise; the coefficient is replaced below
    _check(num_concepts, dim, weak_accuracy, concept_shift, noise_var, weakness, target_concept)
    _check_gram(gram, num_concepts)
    _check_target(target_prior, num_concepts, target_concept, concept_shift)
    target = jax.nn.one_hot(target_concept, num_concepts)
    task = _canonical_task(dim, weak_accuracy, concept_shift, noise_var, weakness, target, None, gram)
    if target_prior is not None:
        prior = jnp.asarray(target_prior, target.dtype)
        moved = prior + jnp.asarray(concept_shift, target.dtype) * ((1 - target) / (num_concepts - 1) - target)
        task = task._replace(source_prior=moved, target_prior=prior, weak_prior=prior)
    if weak_coef is not None:
        coef = jnp.asarray(weak_coef, target.dtype)
        task = task._replace(weak_concepts=jnp.where(target[:, None] > 0, coef, task.concepts), weak_prior=target)
    return task


@kernel
def random_task(
    key: Key,
    *,
    num_concepts: int,
    dim: int,
    weak_accuracy: Scalar,
    concept_shift: Scalar,
    noise_var: Scalar = 0.25,
    weakness: Weakness = "rotated",
    target_concept: int = 0,
    concentration: float = 1.0,
    gram: Float[Array, "K K"] | None = None,
) -> Task:
    """`make_task` in a random orthonormal frame, its shifted mass spread by a Dirichlet draw.

    Args:
        key: a typed key; the frame and the prior have streams of their own ("frame", "prior").
        num_concepts, dim, weak_accuracy, concept_shift, noise_var, weakness, target_concept, gram: as in `make_task`.
        concentration: parameter of the symmetric Dirichlet distribution, > 0; large values approach the even spread.

    Returns:
        A `Task`, with the same biases as `make_task` up to the uneven prior.

    Raises:
        ValueError: as `make_task`.

    >>> import jax
    >>> task = random_task(jax.random.key(0), num_concepts=3, dim=8, weak_accuracy=0.7, concept_shift=0.4)
    >>> bool(jnp.allclose(task.concepts @ task.concepts.T, jnp.eye(3), atol=1e-5))
    True
    """
    if not concentration > 0:
        raise ValueError(f"concentration must be positive, got {concentration}; use a value such as 1.0.")
    _check(num_concepts, dim, weak_accuracy, concept_shift, noise_var, weakness, target_concept)
    _check_gram(gram, num_concepts)
    target = jax.nn.one_hot(target_concept, num_concepts)
    spread = dirichlet_spread(stream(key, "prior"), target, concentration)
    size = latent_dim(num_concepts, dim)
    task = _canonical_task(size, weak_accuracy, concept_shift, noise_var, weakness, target, spread, gram)
    return embed(task, random_frame(stream(key, "frame"), size, dim))


def latent_dim(num_concepts: int, dim: int) -> int:
    """Dimensions that the concepts and the teacher can span together: K + 1, or K where d = K."""
    return min(num_concepts + 1, dim)


def random_frame(key: Key, num_rows: int, dim: int) -> Float[Array, "r d"]:
    """`num_rows` orthonormal vectors in R^dim, uniform over all such frames."""
    q, r = jnp.linalg.qr(jax.random.normal(key, (dim, num_rows)))
    return (q * jnp.sign(jnp.diagonal(r))[None, :]).T


def embed(task: Task, frame: Float[Array, "r d"]) -> Task:
    """The same task in the coordinates of `frame`: its r dimensions become the span of the frame's rows in R^d.

    Features are taken isotropic: `feature_var` becomes the mean of the task's.
    """
    return task._replace(
        concepts=task.concepts @ frame,
        weak_concepts=task.weak_concepts @ frame,
        feature_var=jnp.broadcast_to(
            task.feature_var.mean(-1, keepdims=True), (*task.feature_var.shape[:-1], frame.shape[-1])
        ),
    )


def shifted_prior(
    target_prior: Float[Array, "K"], concept_shift: Scalar, spread: Float[Array, "K"] | None = None
) -> Float[Array, "K"]:
    """The source prior that lies `concept_shift` away from a one-hot target, its shifted mass laid out as `spread`.

    `spread` sums to 1 and is 0 at the target; None spreads the mass evenly over the rivals.
    """
    if spread is None:
        spread = (1 - target_prior) / (target_prior.shape[0] - 1)
    return (1 - concept_shift) * target_prior + concept_shift * spread


def dirichlet_spread(key: Key, target_prior: Float[Array, "K"], concentration: float = 1.0) -> Float[Array, "K"]:
    """A `spread` for `shifted_prior`: Dirichlet over the rivals of a one-hot target, and 0 at the target."""
    gammas = jax.random.gamma(key, concentration, target_prior.shape) * (1 - target_prior)
    return gammas / gammas.sum()


def _canonical_task(
    dim: int,
    weak_accuracy: Scalar,
    concept_shift: Scalar,
    noise_var: Scalar,
    weakness: Weakness,
    target: Float[Array, "K"],
    spread: Float[Array, "K"] | None,
    gram: Float[Array, "K K"] | None,
) -> Task:
    num_concepts = target.shape[0]
    concepts = jnp.eye(num_concepts, dim)
    if gram is not None:
        concepts = jnp.linalg.cholesky(jnp.asarray(gram, concepts.dtype)) @ concepts
    accuracy, concept_shift, noise_var = (
        jnp.asarray(value, concepts.dtype) for value in (weak_accuracy, concept_shift, noise_var)
    )
    own = target @ concepts
    beside = jnp.sqrt((1 - accuracy) * (1 + accuracy))  # sine of the angle between teacher and target
    rivals = (1 - target) @ concepts
    rivals = rivals - (rivals @ own) * own
    rivals = rivals / jnp.linalg.norm(rivals)
    outside = jnp.eye(dim)[num_concepts] if dim > num_concepts else jnp.zeros(dim)
    weak_coef = {
        "rotated": accuracy * own + beside * outside,
        "shifted": own + beside / accuracy * outside,
        "noisy": own,
        "confused": accuracy * own + beside * rivals,
        "opposed": accuracy * own - beside * rivals,
    }[weakness]
    return Task(
        concepts=concepts,
        source_prior=shifted_prior(target, concept_shift, spread),
        target_prior=target,
        noise_var=noise_var,
        weak_concepts=jnp.where(target[:, None] > 0, weak_coef, concepts),
        weak_prior=target,
        weak_noise_var=noise_var / accuracy**2 if weakness == "noisy" else noise_var,
        feature_var=jnp.ones(dim),
    )


def _check(num_concepts, dim, weak_accuracy, concept_shift, noise_var, weakness, target_concept) -> None:
    if weakness not in WEAKNESSES:
        raise ValueError(f"weakness must be one of {', '.join(WEAKNESSES)}; got {weakness!r}.")
    if num_concepts < 2:
        raise ValueError(f"num_concepts must be at least 2, got {num_concepts}; a single concept has no shift.")
    needed = num_concepts + 1 if weakness in NEEDS_EXTRA_DIM else num_concepts
    if dim < needed:
        raise ValueError(
            f"dim must be at least {needed} for {num_concepts} concepts and a {weakness} teacher, got {dim}; "
            f"raise dim or lower num_concepts."
        )
    if not 0 <= target_concept < num_concepts:
        raise ValueError(f"target_concept must be in [0, {num_concepts}), got {target_concept}.")
    if is_concrete(weak_accuracy) and not 0 < weak_accuracy <= 1:
        raise ValueError(f"weak_accuracy must be in (0, 1], got {weak_accuracy}; 1 is a perfect teacher.")
    if is_concrete(concept_shift) and not 0 <= concept_shift < 1:
        raise ValueError(f"concept_shift must be in [0, 1), got {concept_shift}; 0 is an aligned source.")
    if is_concrete(noise_var) and not (noise_var >= 0 and math.isfinite(noise_var)):
        raise ValueError(f"noise_var must be finite and not negative, got {noise_var}; it is a variance.")


def _check_teacher(weak_accuracy, weak_coef, dim) -> None:
    if (weak_accuracy is None) == (weak_coef is None):
        given = "neither" if weak_coef is None else "both"
        raise ValueError(f"weak_accuracy or weak_coef must say what the teacher is, got {given}; give one of them.")
    if weak_coef is not None and weak_coef.shape != (dim,):
        raise ValueError(f"weak_coef must have shape [{dim}], as dim says, got {list(weak_coef.shape)}; change either.")


def _check_target(target_prior, num_concepts, target_concept, concept_shift) -> None:
    if target_prior is None:
        return
    if target_prior.shape != (num_concepts,):
        raise ValueError(
            f"target_prior must have shape [{num_concepts}], one weight a concept, got {list(target_prior.shape)}; "
            f"make it agree with num_concepts."
        )
    if isinstance(target_prior, Tracer):
        return
    prior = np.asarray(target_prior, np.float64)
    if not (prior.min() >= 0 and abs(prior.sum() - 1) < 1e-5):
        raise ValueError(
            f"target_prior must be weights >= 0 that sum to 1, got the sum {prior.sum():.6g} and the least weight "
            f"{prior.min():.6g}; rescale them."
        )
    if is_concrete(concept_shift) and not prior[target_concept] >= concept_shift:
        raise ValueError(
            f"concept_shift must be at most the target_prior of the target concept, {prior[target_concept]:.6g}, "
            f"got {concept_shift}; that is where its mass comes from."
        )


def _check_gram(gram, num_concepts) -> None:
    if gram is None or isinstance(gram, Tracer):
        return
    gram = np.asarray(gram, np.float64)
    if gram.shape != (num_concepts, num_concepts):
        raise ValueError(
            f"gram must be a {num_concepts} x {num_concepts} matrix, one row a concept; got shape {gram.shape}."
        )
    proper = np.allclose(gram, gram.T, atol=1e-6) and np.allclose(np.diagonal(gram), 1, atol=1e-6)
    smallest = np.linalg.eigvalsh(gram)[0] if np.isfinite(gram).all() else np.nan
    if not (proper and smallest > 1e-6):
        raise ValueError(
            f"gram must be symmetric and positive definite with unit diagonal, but its smallest eigenvalue is "
            f"{smallest:.3g} and its diagonal {np.diagonal(gram).tolist()}; see coherent_gram."
        )
