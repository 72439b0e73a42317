"""Means, covariances and intervals that can be merged: block by block, in any partition, without the samples.

The last axis of a sample holds the quantities to compare (methods, or weak, student and ceiling), observed together on
one replicate, so that a `Summary` carries every paired difference and ratio. NumPy arrays are computed in float64, JAX
arrays in their own precision (and may be traced); a replicate count that sets an interval is concrete.
"""

from collections.abc import Iterable
from functools import reduce
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real
from scipy import special

if TYPE_CHECKING:
    Values = Any  # a static checker cannot infer the kind of array returned: that of the input
else:
    Values = Real[Array, "..."] | Real[np.ndarray, "..."] | float | int


ENOUGH = 30
"""Effective replicates from which a mean is taken for normal."""


class Summary(NamedTuple):
    """The first two moments of samples of `c` quantities, in the form that merges without losing digits."""

    count: Values
    """Number of samples, `[]` or `[*b]`."""
    mean: Values
    """Mean, `[*b c]`."""
    comoment: Values
    """sum_r (x_r - mean)(x_r - mean)', `[*b c c]`: count - 1 times the covariance."""


def summarize(
    samples: Float[Array, "r *b c"] | Real[np.ndarray, "r *b c"],
    weights: Float[Array, "r"] | Real[np.ndarray, "r"] | None = None,
) -> Summary:
    """Count, mean and centred co-moment matrix of samples.

        mean = (1/r) sum_i x_i,    comoment = sum_i (x_i - mean)(x_i - mean)'

    Args:
        samples: x, `[r *b c]`: axis 0 holds r >= 1 replicates, the last axis the c quantities observed together.
        weights: 1 for a replicate that counts and 0 for one that does not, `[r]`; None: all count.

    Returns:
        A `Summary`, `mean [*b c]` and `comoment [*b c c]`.

    >>> import numpy as np
    >>> summary = summarize(np.array([[1.0, 2.0], [3.0, 6.0]]))
    >>> summary.mean.tolist(), summary.comoment.tolist()
    ([2.0, 4.0], [[2.0, 4.0], [4.0, 8.0]])
    >>> summarize(np.array([[1.0], [2.0], [9.0]]), weights=np.array([1.0, 1.0, 0.0])).mean.tolist()
    [1.5]
    """
    if weights is not None:
        samples, counted, xp = _arrays(samples, weights)
        count = counted.sum()
        mean = xp.tensordot(counted / xp.maximum(count, 1), samples, 1)
        centred = (samples - mean[None]) * counted.reshape(-1, *(1,) * mean.ndim)
        # A sum of products, not a matrix product: thousands of tiny ones would cost a call each.
        return Summary(count, mean, (centred[..., :, None] * centred[..., None, :]).sum(axis=0))
    samples, xp = _arrays(samples)
    mean = samples.mean(axis=0)
    centred = xp.moveaxis(samples - mean[None], 0, -2)
    return Summary(
        count=xp.asarray(samples.shape[0], mean.dtype),
        mean=mean,
        comoment=xp.matmul(xp.swapaxes(centred, -1, -2), centred),
    )


def group_means(values: Real[np.ndarray, "n *b"], groups: Any) -> np.ndarray:
    """Mean of each group of samples: for an interval over groups, where samples of one group are not independent.

    Args:
        values: `[n *b]`.
        groups: a label of any kind for each sample, `[n]`.

    Returns:
        Means `[number of groups, *b]`, float64, by the order of the labels.

    >>> group_means(np.array([1.0, 3.0, 5.0]), ["a", "a", "b"]).tolist()
    [2.0, 5.0]
    """
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((places.max() + 1, *values.shape[1:]))
    np.add.at(sums, places, values)
    return sums / np.bincount(places).reshape(-1, *(1,) * (values.ndim - 1))


def merge(a: Summary, b: Summary) -> Summary:
    """The summary of two disjoint sets of samples together.

        n = n_a + n_b,  mean = mean_a + delta n_b / n,  comoment = C_a + C_b + delta delta' n_a n_b / n

    with delta = mean_b - mean_a. An empty summary (count 0, mean and comoment 0) changes nothing.

    Args:
        a, b: summaries of the same shape.

    Returns:
        A `Summary` of that shape.

    Reference: Chan, Golub and LeVeque (1979), updating formulae for variances.

    >>> import numpy as np
    >>> x = np.arange(12.0).reshape(6, 2) ** 2
    >>> merged = merge(summarize(x[:2]), summarize(x[2:]))
    >>> bool(np.allclose(merged.comoment, summarize(x).comoment, rtol=1e-14))
    True
    """
    count_a, mean_a, comoment_a, count_b, mean_b, comoment_b, xp = _arrays(*a, *b)
    count = count_a + count_b
    share = count_b / xp.where(count > 0, count, 1.0)
    delta = mean_b - mean_a
    return Summary(
        count=count,
        mean=mean_a + delta * _lifted(share, 1),
        comoment=comoment_a + comoment_b + delta[..., :, None] * delta[..., None, :] * _lifted(count_a * share, 2),
    )


def merge_all(summaries: Iterable[Summary]) -> Summary:
    """All summaries merged, in the order given (another order moves the last digits only).

    Args:
        summaries: at least one `Summary`, all of one shape.

    Returns:
        A `Summary` of that shape.

    Raises:
        ValueError: if there is none.

    >>> import numpy as np
    >>> x = np.arange(12.0).reshape(6, 2)
    >>> merge_all(summarize(block) for block in np.split(x, 3)).mean.tolist()
    [5.0, 6.0]
    """
    summaries = iter(summaries)
    first = next(summaries, None)
    if first is None:
        raise ValueError("merge_all needs at least one summary, got none; give it the summary of each block.")
    return reduce(merge, summaries, first)


def covariance(summary: Summary) -> Values:
    """Unbiased covariance of one sample's quantities, `[*b c c]`: comoment / (count - 1), NaN where count < 2."""
    count, comoment, xp = _arrays(summary.count, summary.comoment)
    enough = count > 1
    factor = xp.where(enough, 1.0, xp.nan) / xp.where(enough, count - 1, 1.0)
    return comoment * _lifted(factor, 2)


def sem(summary: Summary) -> Values:
    """Standard error of each mean, `[*b c]`: sqrt(variance / count), NaN where count < 2."""
    cov, count, xp = _arrays(covariance(summary), summary.count)
    return xp.sqrt(xp.diagonal(cov, axis1=-2, axis2=-1) / _lifted(xp.maximum(count, 1.0), 1))


def confidence_interval(mean: Values, sem: Values, count: Values, level: float = 0.95) -> tuple[Values, Values]:
    """Student's interval for a mean, close to the normal one at the counts of a simulation.

        mean +- t sem,    P(|T_{count - 1}| <= t) = level

    Args:
        mean: estimated means, any shape.
        sem: their standard errors, of that shape.
        count: number of independent samples behind each, concrete, `[]` or the shape of `mean`; below 2, NaN.
        level: coverage, in (0, 1), static.

    Returns:
        (low, high), each of the shape of `mean`.

    Assumes: samples near normal, or many.

    >>> low, high = confidence_interval(1.0, 0.1, 10)
    >>> round(float(low), 4), round(float(high), 4)
    (0.7738, 1.2262)
    """
    mean, sem, quantile, _ = _arrays(mean, sem, _student_quantile(count, level))
    return mean - quantile * sem, mean + quantile * sem


def effective_count(mean: Values, variance: Values, count: Values) -> Values:
    """How many replicates carry a mean: as many equal ones would have the same (sum x)^2 / sum x^2.

        (sum x)^2 / sum x^2 = count mean^2 / (mean^2 + variance (count - 1)/count)

    All of them where every x is the same, one where one x is all there is, and 0 where every x is 0: something rare
    that has not happened yet looks like that. Where fewer than `ENOUGH` carry a mean of x >= 0 its distribution is
    skewed, the standard error is too small more often than not, and the interval of `confidence_interval` too short.

    Args:
        mean: means of x, any shape.
        variance: unbiased variances of one x, of that shape.
        count: number of independent samples behind each, >= 1, `[]` or the shape of `mean`.

    Returns:
        Effective counts in [0, count], of the shape of `mean`.

    Reference: Kish (1965), design effect; docs/theory.md 2.

    >>> x = np.array([0.0, 0.0, 0.0, 8.0])
    >>> float(effective_count(x.mean(), x.var(ddof=1), 4))
    1.0
    """
    mean, variance, count, xp = _arrays(mean, variance, count)
    square = mean**2 + variance * (count - 1) / count
    return count * mean**2 / xp.where(square > 0, square, 1.0)


def rare_interval(
    mean: Values, sem: Values, count: Values, effective: Values, largest: float = np.inf, level: float = 0.95
) -> tuple[Values, Values]:
    """The interval of a mean of x >= 0: Student's, or a one-sided bound where too few replicates carry the mean.

    Where `effective` is at least `ENOUGH`, that of `confidence_interval`. Else (0, p), with p the largest value that

        count kl(mean / largest, p / largest) <= log(1 / (1 - level)),   kl(q, p) = q log(q/p) + (1-q) log((1-q)/(1-p))

    allows: P(mean so low) <= exp(-count kl) for any distribution on [0, largest], since none of its mean has a larger
    moment generating function than that on the two ends (Hoeffding 1963, theorem 1). At mean 0 it is the rule of
    three, largest (1 - (1 - level)^(1/count)). Without a largest value nothing bounds what was not seen: p is infinite.

    Args:
        mean, sem, count: as in `confidence_interval`; NumPy arrays or numbers.
        effective: `effective_count` of each, of the shape of `mean`; NaN (a store that does not say) counts as enough.
        largest: upper end of the range of x, > 0, static; 2 for a misalignment.
        level: coverage, in (0, 1), static.

    Returns:
        (low, high), each of the shape of `mean`.

    Raises:
        ValueError: if `largest` is not positive.

    Reference: Hoeffding (1963); Hanley and Lippman-Hand (1983) for the rule of three.

    >>> low, high = rare_interval(0.0, 0.0, 2000, effective=0.0, largest=2.0)
    >>> float(low), round(float(high), 5)
    (0.0, 0.00299)
    """
    if not largest > 0:
        raise ValueError(f"largest must be positive, got {largest}; 2 is that of a misalignment.")
    low, high = confidence_interval(mean, sem, count, level)
    few = np.asarray(effective) < ENOUGH
    bound = np.full(np.shape(low), np.inf)
    if few.any() and np.isfinite(largest):
        room = -np.log1p(-level) / np.broadcast_to(np.asarray(count, np.float64), bound.shape)
        bound = largest * _highest_mean(np.clip(np.asarray(mean, np.float64) / largest, 0.0, 1.0), room)
    return np.where(few, 0.0, low), np.where(few, bound, high)


def _highest_mean(share: Any, room: Any) -> np.ndarray:
    """The largest p in [share, 1] with kl(share, p) <= room, by bisection."""
    low, high = share + 0.0 * room, np.ones(np.broadcast_shapes(np.shape(share), np.shape(room)))
    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            far = special.rel_entr(share, middle) + special.rel_entr(1 - share, 1 - middle)
        within = far <= room
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return high


def paired_difference(summary: Summary, i: int, j: int) -> tuple[Values, Values]:
    """Mean and standard error of x_i - x_j, observed on the same replicates.

        sem^2 = (C_ii - 2 C_ij + C_jj) / count

    with C = `covariance(summary)`: what the two share (features, noise, prompts) cancels.

    Args:
        summary: a `Summary` of c quantities.
        i, j: which two, in [-c, c).

    Returns:
        (difference, sem), each `[*b]`.

    >>> import numpy as np
    >>> summary = summarize(np.array([[1.0, 0.0], [5.0, 4.0], [9.0, 8.0]]))
    >>> [float(x) for x in paired_difference(summary, 0, 1)]
    [1.0, 0.0]
    """
    mean, cov, count, xp = _arrays(summary.mean, covariance(summary), summary.count)
    variance = cov[..., i, i] - 2 * cov[..., i, j] + cov[..., j, j]
    return mean[..., i] - mean[..., j], xp.sqrt(xp.maximum(variance, 0.0) / xp.maximum(count, 1.0))


def pgr_interval(
    mean: Float[Array, "*b 3"] | Real[np.ndarray, "*b 3"],
    cov: Float[Array, "*b 3 3"] | Real[np.ndarray, "*b 3 3"],
    count: Values,
    level: float = 0.95,
    *,
    higher_is_better: bool = False,
) -> tuple[Values, Values, Values]:
    """Performance gap recovered, as a ratio of means, with Fieller's interval from paired replicates.

        PGR = N / D,    N = R_weak - R_student,    D = R_weak - R_ceiling

    The interval is the set of ratios r that a Student test does not refuse, (N - r D)^2 <= t^2 Var(N - r D), where the
    variance counts everything that the three risks share. It needs no linearisation, and is exact for normal means.

    Args:
        mean: mean risks (or accuracies) of weak teacher, student and ceiling, in that order, `[*b 3]`.
        cov: their covariance over replicates (of one replicate, not of the mean), `[*b 3 3]`. Rows may be 0: the
            population risks of the weak teacher and of the ceiling do not vary.
        count: number of independent replicates, concrete, `[]` or `[*b]`.
        level: coverage, in (0, 1), static.
        higher_is_better: False for risks and losses, True for accuracies and scores; static.

    Returns:
        (estimate, low, high), each `[*b]`. All NaN where the ceiling is no better than the teacher: there is no gap
        to recover. The ends are -inf and inf where D is not significantly above 0 at this level, since then no finite
        interval has the stated coverage.

    Assumes: independent replicates, means near normal.

    Reference: Fieller (1954); docs/theory.md 3.9.

    >>> import numpy as np
    >>> estimate, low, high = pgr_interval(np.array([0.5, 0.2, 0.1]), 0.01 * np.eye(3), 400)
    >>> round(float(estimate), 3), round(float(low), 3), round(float(high), 3)
    (0.75, 0.719, 0.782)
    """
    mean, cov, count, quantile, xp = _arrays(mean, cov, count, _student_quantile(count, level))
    mean = -mean if higher_is_better else mean
    contrasts, _ = _arrays(np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]]), like=mean)
    gain, gap = (mean[..., 0] - mean[..., k] for k in (1, 2))
    spread = xp.einsum("ai,...ij,bj->...ab", contrasts, cov, contrasts)
    scale = quantile**2 / count  # squares below are in units of the quantile
    var_gain, var_gap, var_both = (spread[..., a, b] * scale for a, b in ((0, 0), (1, 1), (0, 1)))

    # (N - r D)^2 <= var_gain - 2 r var_both + r^2 var_gap, that is a r^2 - 2 b r + c <= 0. The discriminant b^2 - a c
    # is expanded by hand: the large terms cancel, and it is exactly 0 where nothing varies.
    a = gap**2 - var_gap
    b = gain * gap - var_both
    root = xp.sqrt(
        xp.maximum(
            gap**2 * var_gain - 2 * gain * gap * var_both + gain**2 * var_gap - (var_gain * var_gap - var_both**2), 0.0
        )
    )
    significant = a > 0
    safe = xp.where(significant, a, 1.0)
    low = xp.where(significant, (b - root) / safe, -xp.inf)
    high = xp.where(significant, (b + root) / safe, xp.inf)

    exists = gap > 0
    estimate = gain / xp.where(exists, gap, 1.0)
    known = exists & ~xp.isnan(a)  # a count below 2 gives a NaN quantile
    return (
        xp.where(exists, estimate, xp.nan),
        xp.where(known, low, xp.nan),
        xp.where(known, high, xp.nan),
    )


def _student_quantile(count: Values, level: float) -> np.ndarray | float:
    """t with P(|T| <= t) = level at count - 1 degrees of freedom, NaN below 1; `count` is concrete."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}; 0.95 gives a 95% interval.")
    freedom = np.asarray(count, np.float64) - 1
    return np.where(freedom >= 1, special.stdtrit(np.maximum(freedom, 1.0), (1 + level) / 2), np.nan)


def _arrays(*values: Any, like: Any = None) -> tuple[Any, ...]:
    """The values as arrays of one kind, and their namespace: JAX in its own precision if any is, else NumPy float64."""
    sample = next((value for value in (*values, like) if isinstance(value, jax.Array)), None)
    xp: ModuleType = np if sample is None else jnp
    dtype = np.float64 if sample is None else jnp.result_type(*(v for v in (*values, like) if isinstance(v, jax.Array)))
    return *(xp.asarray(value, dtype) for value in values), xp


def _lifted(x: Any, num_axes: int) -> Any:
    """`x` with axes of length 1 at the end, unless it is a scalar, which broadcasts as it is."""
    return x.reshape(x.shape + (1,) * num_axes) if x.ndim else x
