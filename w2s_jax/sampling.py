"""Features, labels and their moments: everything random about a dataset.

Three ways to draw have the same distribution. `sample_dataset` + `moments` draws n rows and serves every labeler,
feature distribution and refiner; `sample_design` + `design_moments` splits chance from task, so that one draw serves a
whole grid of linear tasks at O(d^2) each; and `sample_moments` draws the moments directly, at a cost that does not
depend on n.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.inputs import kernel
from w2s_jax.names import FEATURE_LAWS, FeatureLaw
from w2s_jax.rng import normals, stream
from w2s_jax.types import Dataset, Design, Key, Moments, Scalar, Task, is_concrete

Labeler = Literal["source", "target", "weak"]


@kernel
def sample_features(key: Key, num_samples: int, dim: int, features: FeatureLaw = "gaussian") -> Float[Array, "n d"]:
    """Features of unit scale: N(0, I), variance 1, or uniform on [-1, 1]^d, variance 1/3.

    >>> import jax
    >>> sample_features(jax.random.key(0), 5, 3).shape
    (5, 3)
    """
    return _unit_features(key, (num_samples, dim), features, float)


def _unit_features(key: Key, shape: tuple[int, int], features: str, dtype) -> Float[Array, "n d"]:
    if features not in FEATURE_LAWS:
        raise ValueError(f"features must be one of {', '.join(FEATURE_LAWS)}; got {features!r}.")
    for name, size in zip(("num_samples", "dim"), shape):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}.")
    if features == "gaussian":
        return normals(key, shape, dtype)
    return jax.random.uniform(key, shape, dtype, minval=-1.0, maxval=1.0)


@kernel
def linear_labels(
    features: Float[Array, "n d"], noise: Float[Array, "n"], coef: Float[Array, "d"], noise_var: Scalar
) -> Float[Array, "n"]:
    """Labels features @ coef + sqrt(noise_var) noise, from unit noise that many tasks may share."""
    return features @ coef + jnp.sqrt(noise_var) * noise


@kernel
def sample_dataset(
    key: Key, task: Task, num_samples: int, labeler: Labeler = "weak", features: FeatureLaw = "gaussian"
) -> Dataset:
    """Labelled examples from one of the three distributions of a task.

    Each example draws its own concept k from the labeler's prior, then y = beta_k . phi + sqrt(noise_var) eps.

    Args:
        key: a typed key, shape `[]`; concept, feature and noise draws have streams of their own.
        task: a `Task` with concepts `[K d]`.
        num_samples: n >= 1, static.
        labeler: `source` (P), `target` (Q) or `weak` (Q').
        features: `gaussian`, N(0, feature_var), or `uniform`, on [-1, 1]^d times sqrt(feature_var).

    Returns:
        `Dataset(features [n d], labels [n])`.

    Raises:
        ValueError: for an unknown labeler or feature distribution, or n < 1.
        TypeError: if it is differentiated in the labeler's prior.

    Reference: Somerstep et al. (arXiv 2405.16236); docs/theory.md 1.

    >>> import jax
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
    >>> data = sample_dataset(jax.random.key(0), task, 100)
    >>> data.features.shape, data.labels.shape
    ((100, 3), (100,))
    """
    concepts, prior, noise_var = _label_law(task, labeler)
    unit = _unit_features(stream(key, "features"), (num_samples, concepts.shape[-1]), features, concepts.dtype)
    rows = unit * jnp.sqrt(task.feature_var)[None, :]
    chosen = jax.random.categorical(stream(key, "concept"), jnp.log(prior), shape=(num_samples,))
    means = jnp.take_along_axis(rows @ concepts.T, chosen[:, None], axis=1)[:, 0]
    noise = jax.random.normal(stream(key, "noise"), (num_samples,), rows.dtype)
    return Dataset(rows, means + jnp.sqrt(noise_var) * noise)


@kernel
def moments(dataset: Dataset) -> Moments:
    """The sufficient statistics of least squares: S = Phi'Phi/n and Phi'y/n.

    Args:
        dataset: features `[n d]`, labels `[n]`.

    Returns:
        `Moments(gram [d d], cross [d], num_samples [])`.

    >>> moments(Dataset(jnp.eye(2), jnp.array([1.0, 3.0]))).cross.tolist()
    [0.5, 1.5]
    """
    num_samples = dataset.labels.shape[0]
    return Moments(
        dataset.features.T @ dataset.features / num_samples,
        dataset.features.T @ dataset.labels / num_samples,
        jnp.asarray(num_samples, dataset.labels.dtype),
    )


@kernel
def design_of(features: Float[Array, "n d"], noise: Float[Array, "n"]) -> Design:
    """The design of given features and unit noise: their gram matrix and cross product, both divided by n."""
    return Design(*moments(Dataset(features, noise)))


@kernel
def sample_design(key: Key, num_samples: int, dim: int) -> Design:
    """The chance in n gaussian examples of unit variance, apart from any task.

        gram = Phi'Phi/n,  noise_cross = Phi'eps/n,  Phi ~ N(0, I), eps ~ N(0, I)

    Args:
        key: a typed key.
        num_samples: n >= 1, static.
        dim: d >= 1, static.

    Returns:
        `Design(gram [d d], noise_cross [d], num_samples [])`.

    Raises:
        ValueError: if n < 1.

    >>> import jax
    >>> sample_design(jax.random.key(0), 10, 4).gram.shape
    (4, 4)
    """
    features = sample_features(stream(key, "features"), num_samples, dim)
    return design_of(features, jax.random.normal(stream(key, "noise"), (num_samples,)))


@kernel
def design_moments(design: Design, coef: Float[Array, "d"], noise_var: Scalar) -> Moments:
    """Moments of a linear task on a given design, at O(d^2).

        cross = gram coef + sqrt(noise_var) noise_cross

    Args:
        design: features and unit noise, reduced (`sample_design`).
        coef: regression vector `[d]` of labels of one concept (a mixture has label noise that depends on phi).
        noise_var: label noise variance >= 0, squared label units.

    Returns:
        `Moments(gram [d d], cross [d], num_samples [])`.

    >>> import jax
    >>> design = sample_design(jax.random.key(0), 10, 2)
    >>> bool(jnp.allclose(design_moments(design, jnp.zeros(2), 4.0).cross, 2 * design.noise_cross))
    True
    """
    cross = design.gram @ coef + jnp.sqrt(noise_var) * design.noise_cross
    return Moments(design.gram, cross, design.num_samples)


@kernel
def sample_moments(key: Key, task: Task, num_samples: Scalar, labeler: Labeler = "weak") -> Moments:
    """Moments of n gaussian examples, drawn directly: the cost does not depend on n, and n may be traced.

    The n examples fall to the concepts by a multinomial draw n_k. Bartlett's decomposition gives each group's
    Phi_k = Q_k R_k, where R_k `[d d]` is upper triangular with R_ii ~ chi(n_k - i), R_ij ~ N(0, 1), and rows i >= n_k
    are zero; Q_k' eps is standard normal and independent of R_k. Hence, exactly in distribution, at n < d too,

        gram = sum_k R_k'R_k / n,    cross = sum_k R_k'(R_k beta_k + sqrt(noise_var) z_k) / n.

    Args:
        key: a typed key.
        task: a `Task` with concepts `[K d]`; features are N(0, diag(feature_var)).
        num_samples: n >= 1, a whole number, static or traced.
        labeler: `source`, `target` or `weak`.

    Returns:
        `Moments(gram [d d], cross [d], num_samples [])`.

    Raises:
        ValueError: for an unknown labeler, or a Python num_samples that is not a whole number >= 1.
        TypeError: if it is differentiated in the labeler's prior or in num_samples.

    Reference: Bartlett, Proc. R. Soc. Edinburgh 53 (1933); derived for the mixture, docs/theory.md 2.

    >>> import jax
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
    >>> drawn = sample_moments(jax.random.key(0), task, 10**6)
    >>> bool(jnp.allclose(drawn.cross, jnp.array([0.6, 0.0, 0.8]), atol=0.01))
    True
    """
    if is_concrete(num_samples) and not (num_samples >= 1 and num_samples % 1 == 0):
        raise ValueError(f"num_samples must be a whole number of at least 1, got {num_samples}.")
    concepts, prior, noise_var = _label_law(task, labeler)
    num_concepts, dim = concepts.shape
    dtype = concepts.dtype
    total = no_gradient(COUNT_JUMPS, jnp.full_like(concepts, num_samples, shape=()))
    counts = _multinomial(stream(key, "concept"), total, prior)
    keys = jax.random.split(stream(key, "root"), num_concepts)
    root = jax.vmap(wishart_root, (0, 0, None))(keys, counts, dim) * jnp.sqrt(task.feature_var)[None, None, :]
    noise = jnp.sqrt(noise_var) * jax.random.normal(stream(key, "noise"), (num_concepts, dim), dtype)
    gram = jnp.einsum("kij,kil->jl", root, root) / total
    cross = jnp.einsum("kij,ki->j", root, jnp.einsum("kij,kj->ki", root, concepts) + noise) / total
    return Moments(gram, cross, total)


COUNT_JUMPS = "num_samples is a whole number without a derivative; use differences."


def wishart_root(key: Key, degrees: Scalar, dim: int) -> Float[Array, "d d"]:
    """Bartlett's triangle: R with R'R distributed as Phi'Phi, for Phi of `degrees` rows from N(0, I).

        R_ii ~ chi(degrees - i), R_ij ~ N(0, 1) for j > i, and rows i >= degrees are zero

    Args:
        key: a typed key.
        degrees: whole number >= 0 of rows, static or traced; below dim the product is singular, as it should be. An
            array of floats sets the type of the draws.
        dim: d >= 1, static.

    Returns:
        Upper triangular `[d d]`.

    Reference: Bartlett, Proc. R. Soc. Edinburgh 53 (1933).

    >>> import jax
    >>> root = wishart_root(jax.random.key(0), 2, 3)
    >>> bool((root[2] == 0).all()), int(jnp.linalg.matrix_rank(root.T @ root))
    (True, 2)
    """
    whole = not jnp.issubdtype(jnp.result_type(degrees), jnp.floating)
    degrees = jnp.asarray(degrees, float if whole else None)
    left = degrees - jnp.arange(dim, dtype=degrees.dtype)
    half_square = jax.random.gamma(stream(key, "diagonal"), jnp.maximum(left, 1.0) / 2, dtype=left.dtype)
    normal = jax.random.normal(stream(key, "triangle"), (dim, dim), left.dtype)
    root = jnp.triu(normal, 1) + jnp.diag(jnp.sqrt(2 * half_square))
    return jnp.where((left > 0)[:, None], root, 0)


def _multinomial(key: Key, total: Float[Array, ""], prior: Float[Array, "K"]) -> Float[Array, "K"]:
    """Counts of `total` draws from `prior`, one binomial of what is left at a time."""
    left, counts = total, []
    tail = jnp.cumsum(prior[::-1])[::-1]
    for k in range(prior.shape[0] - 1):
        share = jnp.where(tail[k] > 0, prior[k] / jnp.where(tail[k] > 0, tail[k], 1.0), 0.0)
        drawn = jax.random.binomial(jax.random.fold_in(key, k), left, jnp.clip(share, 0.0, 1.0), dtype=total.dtype)
        counts.append(jnp.clip(drawn, 0.0, left))
        left = left - counts[-1]
    return jnp.stack([*counts, left])


CONCEPTS_JUMP = (
    "the concept of an example is drawn from its prior, and has no derivative in that; draw labels by refine_labels "
    "with the logarithm of the prior, whose labels have one, or take differences of means over many keys."
)


def _label_law(task: Task, labeler: Labeler):
    laws = {
        "source": (task.concepts, task.source_prior, task.noise_var),
        "target": (task.concepts, task.target_prior, task.noise_var),
        "weak": (task.weak_concepts, task.weak_prior, task.weak_noise_var),
    }
    if labeler not in laws:
        raise ValueError(f"labeler must be one of {', '.join(laws)}; got {labeler!r}.")
    concepts, prior, noise_var = laws[labeler]
    return concepts, no_gradient(CONCEPTS_JUMP, prior), noise_var


SHARE_JUMPS = "a share of the examples says which they are, and has no derivative; use differences."


def evenly_spread(num_samples: int, share: Scalar) -> Float[Array, "n"]:
    """1 for a share of the examples, spread evenly, and 0 for the others.

    Example i, from 1 on, is one where i * share passes an integer: the first n have floor(n * share), for every n.

    Args:
        num_samples: n >= 1, static.
        share: in [0, 1].

    >>> evenly_spread(8, 0.25).tolist()
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    """
    each = no_gradient(SHARE_JUMPS, jnp.asarray(share, jnp.result_type(share, float)))
    # A millionth more, so that rounding takes none away where the product is an integer.
    return jnp.diff(jnp.floor(jnp.arange(num_samples + 1) * each * (1 + 1e-6))).astype(each.dtype)
