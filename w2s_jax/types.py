"""The arrays that flow through the package, and the one legend of their dimensions.

Legend, used in every shape comment and jaxtyping annotation:

====  ==========================================================
`d`   feature dimension
`K`   number of latent concepts
`n`   number of labelled examples (the sample size)
`m`   number of examples in a prompt (`num_icl`)
`*b`  any leading batch dimensions (from `vmap` or stacked tasks)
====  ==========================================================

All containers are `typing.NamedTuple` pytrees: they pass through `jit`, `vmap` and `grad`, serve as
`in_axes` structs, and their fields are replaced with `_replace`.
"""

import numbers
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, Real

Scalar = Real[Array, ""] | float | int
"""A real number: a Python number or a traced array of shape `[]`; kernels take NumPy's numbers and arrays too."""

Key = PRNGKeyArray
"""A typed random key, as made by `jax.random.key`."""


Tree = TypeVar("Tree")


def is_concrete(value) -> bool:
    """Whether a value is a Python or NumPy number, whose range can be checked anywhere; see `known` for others."""
    return isinstance(value, numbers.Real) or (isinstance(value, np.ndarray) and value.ndim == 0)


def known(value) -> float | int | None:
    """A scalar of any kind as a Python number; None where it is traced, or on another host.

    >>> known(0.5), known(np.array(2)), known(jnp.array(0.25)), jax.jit(lambda x: known(x) is None)(1.0).item()
    (0.5, 2, 0.25, True)
    """
    if isinstance(value, Tracer) or not getattr(value, "is_fully_addressable", True):
        return None
    return np.asarray(value).item()


def stack(trees: Iterable[Tree]) -> Tree:
    """Pytrees of one structure and shape as one, with a new leading axis: tasks or grids, ready for `vmap`.

    >>> stack([(jnp.ones(2), 1.0), (jnp.zeros(2), 3.0)])[1].tolist()
    [1.0, 3.0]
    """
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _shown(values) -> str:
    """The number that an array holds, or its range; ? where no value is known."""
    has_value = isinstance(values, jax.Array | np.ndarray | numbers.Real) and not isinstance(values, Tracer)
    if not has_value or not getattr(values, "is_fully_addressable", True) or np.size(values) == 0:
        return "?"
    low, high = np.asarray(values).min(), np.asarray(values).max()
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


class Task(NamedTuple):
    """One weak-to-strong problem: the source, target and weak distributions of a label given its features.

    Each is a mixture of linear regressions over the latent concepts,

        y | phi  ~  sum_k prior_k  N(beta_k . phi, noise_var),

    with (concepts, source_prior, noise_var) for the source P, (concepts, target_prior, noise_var) for the target Q and
    (weak_concepts, weak_prior, weak_noise_var) for the weak teacher Q'. Reference: Somerstep et al. (arXiv 2405.16236).

    Fields may be replaced (`task._replace(...)`); replacing `target_prior` leaves `weak_prior` as it was.

    >>> from w2s_jax.tasks import make_task
    >>> make_task(num_concepts=4, dim=8, weak_accuracy=0.7, concept_shift=0.5)
    Task(K=4, d=8, batch=(), noise_var=0.25)
    """

    concepts: Float[Array, "*b K d"]
    """Regression vectors beta_k of the concepts that the strong model knows."""
    source_prior: Float[Array, "*b K"]
    """alpha: how the pre-trained strong model weighs the concepts. Sums to 1."""
    target_prior: Float[Array, "*b K"]
    """q: how the aligned model would. Sums to 1; one-hot in the paper."""
    noise_var: Float[Array, "*b"]
    """sigma^2: label noise variance of the source and the target."""
    weak_concepts: Float[Array, "*b K d"]
    """beta^w_k: the weak teacher's rendering of each concept."""
    weak_prior: Float[Array, "*b K"]
    """q': the concept that the weak teacher shows, drawn once per example. Sums to 1."""
    weak_noise_var: Float[Array, "*b"]
    """sigma_w^2: label noise variance of the weak teacher."""
    feature_var: Float[Array, "*b d"]
    """Variance s of each feature if gaussian (uniform features at the same scale have s / 3)."""

    def __repr__(self) -> str:
        """One line: sizes, leading dimensions, noise (its range in a batch, ? while traced); no arrays, all fields."""
        shape = getattr(self.concepts, "shape", ())
        if len(shape) < 2:
            return f"Task({', '.join(f'{name}={value!r}' for name, value in zip(self._fields, self))})"
        return f"Task(K={shape[-2]}, d={shape[-1]}, batch={tuple(shape[:-2])}, noise_var={_shown(self.noise_var)})"

    @property
    def source_coef(self) -> Float[Array, "*b d"]:
        """beta_P = sum_k alpha_k beta_k: the regression vector of the source."""
        return jnp.einsum("...k,...kd->...d", self.source_prior, self.concepts)

    @property
    def target_coef(self) -> Float[Array, "*b d"]:
        """beta_Q = sum_k q_k beta_k: the regression vector of the target."""
        return jnp.einsum("...k,...kd->...d", self.target_prior, self.concepts)

    @property
    def weak_coef(self) -> Float[Array, "*b d"]:
        """beta_w = sum_k q'_k beta^w_k: the regression vector of the weak teacher."""
        return jnp.einsum("...k,...kd->...d", self.weak_prior, self.weak_concepts)


class Dataset(NamedTuple):
    """Labelled examples; also a prompt, which is `m` of them."""

    features: Float[Array, "*b n d"]
    labels: Float[Array, "*b n"]


class Moments(NamedTuple):
    """All that a least-squares estimator reads of a dataset."""

    gram: Float[Array, "*b d d"]
    """S = Phi' Phi / n."""
    cross: Float[Array, "*b d"]
    """Phi' y / n."""
    num_samples: Float[Array, "*b"]
    """n, as a float (it may be traced)."""


class Design(NamedTuple):
    """The chance in a dataset, before any task is chosen: features and unit noise, reduced to O(d^2) numbers.

    One design serves every linear task of a grid (`design_moments`), so that a sweep draws once per replicate.
    """

    gram: Float[Array, "*b d d"]
    """S = Phi' Phi / n."""
    noise_cross: Float[Array, "*b d"]
    """Phi' eps / n for standard normal eps."""
    num_samples: Float[Array, "*b"]
    """n, as a float (it may be traced)."""
