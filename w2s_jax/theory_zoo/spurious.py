r"""Spurious correlations: a teacher and a student that read a feature of the group, on groups out of balance.

MODEL (Liu, Dong and Lei, arXiv 2509.24005, for the setting and the question). Core features z ~ N(0, I_d) carry the
truth, y = beta* . z + sigma eps. Independent of them, group features make up vectors w of p entries, which the teacher
sees, and psi of r entries, which the student sees; both begin with the constant 1. The teacher is least squares on the
products z (x) w of n labelled points, the student on z (x) psi of N fresh points with the teacher's predictions. The
groups of labelled points, of pseudo-labels and of the test may differ in balance: E_l, E_u, E_t are the means over
them. Both models can express the truth, so all that either has to lose is variance: a coefficient on a group feature
learned from noise costs more where that feature is large.

EQUATIONS (derived; d, n and N large together, p and r fixed). Rotations of z leave the distribution as it is, so the
teacher's error has covariance (sigma^2/n) I_d (x) G, and the student's sigma^2/n I_d (x) (A G A' + V). With
gamma = d/n, nu = d/N

    teacher   G^-1 = E_l[w w' / (1 + gamma w' G w)],                   R_t = sigma^2 gamma tr(G E_t[w w'])
    student   H^-1 = E_u[q psi psi'],  q = 1/(1 + nu psi' H psi)       the same for its own features
              A = H E_u[q psi w'],  e = w - A' psi                     what it takes over, and what it cannot express
              V = nu H E_u[q^2 psi psi' (e' G e + psi' V psi)] H       linear in V
              R_s = sigma^2 gamma tr((A G A' + V) E_t[psi psi'])

q is the share of a point's residual that its own fit leaves. For a given teacher, e' (error) z is gaussian in z and
independent of the other directions of z: noise of variance e' G e for the student, as in `misfit`. G^-1 is Maronna's
M-estimator of scatter, of weight 1/(1 + gamma w' G w): it exists for gamma p < 1 unless a subspace holds too many
points, and its iteration converges.

Finite size: forms are computed with (d + 1)/n and (d + 1)/N under G, H and q. That makes them exact for one group
feature p = 1, sigma^2 d/(n - d - 1), and leaves an error of O(1/d) elsewhere: draws of groups vary.

To first order in gamma and nu, R_t = sigma^2 gamma tr(E_l[w w']^-1 E_t[w w']): that of the sample alone.

Liu, Dong and Lei state that the student always gains, with enough pseudo-labels, where its groups are balanced as its
teacher's are, and less the more they differ.
"""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from w2s_jax.types import Scalar, is_concrete

MAX_SWEEPS = 10_000
"""Sweeps of the iteration for G; where it has not settled by then, least squares is not determined."""


class GroupFeatures(NamedTuple):
    """The distribution of the group features of a set of points: a list of q values with their probabilities."""

    weak: Float[Array, "q p"]
    """Values of w, which the teacher sees; the first column is 1."""
    strong: Float[Array, "q r"]
    """Values of psi, which the student sees at the same points; the first column is 1."""
    weights: Float[Array, "q"]
    """Their probabilities, of sum 1."""


def gaussian_groups(
    minority: Scalar,
    shift: Float[Array, "D"],
    weak_view: Float[Array, "D a"],
    strong_view: Float[Array, "D b"],
    num_nodes: int = 16,
) -> GroupFeatures:
    """Two gaussian groups: w = (1, T' xi) and psi = (1, S' xi), with xi ~ N(0, I_D), shifted in the minority.

    Args:
        minority: its share in [0, 1], shape `[]`.
        shift: what is added to xi in the minority, `[D]`, in standard deviations.
        weak_view: T, what the teacher sees of xi, `[D a]`, a >= 0.
        strong_view: S, what the student sees of it, `[D b]`, b >= 0: none for a student of core features alone.
        num_nodes: nodes of the Gauss-Hermite quadrature in each of the D directions; D should be 1 to 3.

    Returns:
        `GroupFeatures` of 2 num_nodes^D values.

    Raises:
        ValueError: if a Python minority is not in [0, 1], or num_nodes is below 1.

    Reference: textbook quadrature; Liu, Dong and Lei (arXiv 2509.24005) for the model.

    >>> groups = gaussian_groups(0.25, jnp.array([2.0]), jnp.eye(1), jnp.zeros((1, 0)))
    >>> groups.weak.shape, groups.strong.shape, round(float(groups.weights @ groups.weak[:, 1]), 4)
    ((32, 2), (32, 1), 0.5)
    """
    if is_concrete(minority) and not 0 <= minority <= 1:
        raise ValueError(f"minority must be a share in [0, 1], got {minority}; a percentage is 100 times too large.")
    if operator.index(num_nodes) < 1:
        raise ValueError(f"num_nodes must be at least 1, got {num_nodes}; 16 will do.")
    nodes, masses = np.polynomial.hermite_e.hermegauss(num_nodes)
    size = len(shift)
    grid = np.stack(np.meshgrid(*[nodes] * size, indexing="ij"), -1).reshape(-1, size)
    mass = np.stack(np.meshgrid(*[masses / masses.sum()] * size, indexing="ij"), -1).reshape(-1, size).prod(1)
    xi = jnp.concatenate([jnp.asarray(grid), jnp.asarray(grid) + jnp.asarray(shift)[None]])
    one = jnp.ones((len(xi), 1), xi.dtype)
    weights = jnp.concatenate([(1 - minority) * jnp.asarray(mass), minority * jnp.asarray(mass)])
    return GroupFeatures(jnp.hstack([one, xi @ weak_view]), jnp.hstack([one, xi @ strong_view]), weights)


def spurious_teacher_risk(
    labelled: GroupFeatures, tested: GroupFeatures, dim: Scalar, num_labels: Scalar, noise_var: Scalar
) -> Float[Array, ""]:
    """Mean excess risk of the teacher on a test whose groups may be balanced otherwise than its labels.

        R_t = sigma^2 (d/n) tr(G E_t[w w']),    G^-1 = E_l[w w' / (1 + (d + 1)/n w' G w)]

    Args:
        labelled: groups of the labelled points, a `GroupFeatures`; `strong` plays no part.
        tested: those of the test, one group alone for the risk on it.
        dim: d >= 1 core features; traced, shape `[]`.
        num_labels: n > (d + 1) p labels; traced, shape `[]`.
        noise_var: sigma^2 >= 0 of the labels, squared label units, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` where the labels do not determine the fit.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: gaussian core features, independent of the group; a truth without group features. d and n large together,
    off by O(1/d); exact for p = 1.

    Reference: derived, asymptotic; Liu, Dong and Lei (arXiv 2509.24005) for the model.

    >>> view = jnp.eye(1), jnp.zeros((1, 0))
    >>> labelled, balanced = (gaussian_groups(share, jnp.array([2.0]), *view) for share in (0.1, 0.5))
    >>> [round(float(spurious_teacher_risk(labelled, test, 20, 200, 1.0)), 3) for test in (labelled, balanced)]
    [0.286, 0.441]
    """
    _check(dim=dim, num_labels=num_labels, noise_var=noise_var)
    gram = _gram(labelled.weak, labelled.weights, (dim + 1) / num_labels)
    return _risk(gram, _second(tested.weak, tested.weights), noise_var * (dim / num_labels))


def spurious_student_risk(
    labelled: GroupFeatures,
    unlabelled: GroupFeatures,
    tested: GroupFeatures,
    dim: Scalar,
    num_labels: Scalar,
    num_pseudo: Scalar,
    noise_var: Scalar,
) -> Float[Array, ""]:
    """Mean excess risk of the student on the predictions of the teacher.

        R_s = sigma^2 (d/n) tr((A G A' + V) E_t[psi psi'])

    with G of the teacher, A what the student takes over of w and V the noise that it makes of the rest (module
    docstring). With the same features, psi = w, it is its teacher. With endless pseudo-labels from the groups of the
    test it is never worse than its teacher.

    Args:
        labelled: groups of the labelled points, a `GroupFeatures`.
        unlabelled: groups of the points with pseudo-labels.
        tested: those of the test.
        dim: d >= 1 core features; traced, shape `[]`.
        num_labels: n > (d + 1) p labels of the teacher; traced, shape `[]`.
        num_pseudo: N > (d + 1) r pseudo-labels, `inf` for endless ones; traced, shape `[]`.
        noise_var: sigma^2 >= 0 of the labels, squared label units, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` where labels or pseudo-labels do not determine the fit.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `spurious_teacher_risk`; N large with d too.

    Reference: derived, asymptotic; Liu, Dong and Lei (arXiv 2509.24005) for the model.

    >>> view = jnp.eye(1), jnp.zeros((1, 0))
    >>> labelled, balanced = (gaussian_groups(share, jnp.array([2.0]), *view) for share in (0.1, 0.5))
    >>> sizes = 20, 200, 1000, 1.0
    >>> [round(float(spurious_student_risk(labelled, pool, balanced, *sizes)), 3) for pool in (labelled, balanced)]
    [0.13, 0.213]
    """
    _check(dim=dim, num_labels=num_labels, num_pseudo=num_pseudo, noise_var=noise_var)
    teacher = _gram(labelled.weak, labelled.weights, (dim + 1) / num_labels)
    weak, strong, weights = unlabelled
    ratio = (dim + 1) / num_pseudo
    own = _gram(strong, weights, ratio)
    left = 1 / (1 + ratio * _square(strong, own))
    taken = own @ jnp.einsum("q,qi,qj->ij", weights * left, strong, weak)
    missed = weak - strong @ taken
    noise = _second(strong, weights * left**2 * _square(missed, teacher))
    added = _settled(own, strong, weights * left**2, ratio, dim / num_pseudo * own @ noise @ own)
    spread = taken @ teacher @ taken.T + added
    return _risk(spread, _second(tested.strong, tested.weights), noise_var * (dim / num_labels))


def _gram(rows: Float[Array, "q p"], weights: Float[Array, "q"], ratio: Scalar) -> Float[Array, "p p"]:
    """G, with G^-1 = E[w w'/(1 + ratio w' G w)]: swept until it settles; a Newton step then carries the derivative."""
    fixed_rows, fixed_weights, fixed_ratio = jax.lax.stop_gradient((rows, weights, jnp.asarray(ratio, rows.dtype)))
    tolerance = jnp.sqrt(jnp.finfo(rows.dtype).eps)

    def mapped(gram, rows, weights, ratio):
        return jnp.linalg.inv(_second(rows, weights / (1 + ratio * _square(rows, gram))))

    def moves(state):
        return (state[1] > tolerance) & jnp.isfinite(state[1]) & (state[2] < MAX_SWEEPS)

    def sweep(state):
        gram, _, count = state
        found = mapped(gram, fixed_rows, fixed_weights, fixed_ratio)
        return found, jnp.max(jnp.abs(found - gram)) / jnp.max(jnp.abs(found)), count + 1

    start = mapped(jnp.zeros((rows.shape[1],) * 2, rows.dtype), fixed_rows, fixed_weights, fixed_ratio)
    gram, change, _ = jax.lax.while_loop(moves, sweep, (start, jnp.ones((), rows.dtype), 0))
    determined = (change <= tolerance) & (fixed_ratio * rows.shape[1] < 1)
    gram = jnp.where(determined, gram, start)
    shares = fixed_weights / (1 + fixed_ratio * _square(fixed_rows, gram)) ** 2
    step = _settled(gram, fixed_rows, shares, fixed_ratio, mapped(gram, rows, weights, ratio) - gram)
    return jnp.where(determined, gram + step, jnp.inf)


def _settled(gram, rows, shares, ratio, change) -> Float[Array, "p p"]:
    """The root X of X = change + ratio G E[q^2 w w' (w' X w)] G, with `shares` the probabilities times q^2."""
    seen = rows @ gram
    share = ratio * jnp.einsum("q,qi,qj,qk,ql->ijkl", shares, seen, seen, rows, rows)
    size = change.size
    return jnp.linalg.solve(jnp.eye(size) - share.reshape(size, size), change.reshape(-1)).reshape(change.shape)


def _risk(spread: Float[Array, "p p"], second: Float[Array, "p p"], scale: Scalar) -> Float[Array, ""]:
    """scale tr(spread second); `inf` where the spread is not finite, also in a product with zeros."""
    known = jnp.all(jnp.isfinite(spread))
    return jnp.where(known, scale * jnp.sum(jnp.where(known, spread, 0.0) * second), jnp.inf)


def _second(rows: Float[Array, "q p"], weights: Float[Array, "q"]) -> Float[Array, "p p"]:
    """E w w'."""
    return jnp.einsum("q,qi,qj->ij", weights, rows, rows)


def _square(rows: Float[Array, "q p"], gram: Float[Array, "p p"]) -> Float[Array, "q"]:
    """w' G w of every row."""
    return jnp.einsum("qi,ij,qj->q", rows, gram, rows)


def _check(**values) -> None:
    least = {"dim": 1, "num_labels": 1, "num_pseudo": 1, "noise_var": 0}
    for name, value in values.items():
        if is_concrete(value) and not value >= least[name]:
            raise ValueError(f"{name} must be at least {least[name]}, got {value}; see its range.")
