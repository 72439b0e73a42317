"""What one weak example does to the concept posterior: its mean, its spread, and the labels refined by it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.theory.closed_form import closed_form
from w2s_jax.theory.population import Real, feature_scale
from w2s_jax.types import Task

NUM_LOG_NODES, NUM_LABEL_NODES, NUM_FEATURE_NODES = 96, 32, 192
"""Nodes in log u, y and x of `example_moments`."""
TAIL = 6.5
"""Standard deviations that the nodes in x and y reach."""


class ExampleMoments(NamedTuple):
    """Means over one weak example, given the concept j that the teacher shows: w is the posterior after it, and
    x_k = beta_k . phi."""

    weight: Float[Array, "K K"]
    """E_j w_k."""
    square: Float[Array, "K K"]
    """E_j w_k^2."""
    answer: Float[Array, "K K"]
    """E_j [x_k sum_l w_l x_l], in units of the feature variance."""
    agreement: Float[Array, "K"]
    """E_j [y sum_l w_l x_l]."""


@closed_form
def one_example_transition(task: Task, *, assumed_noise_var: Real | None = None) -> Float[Array, "*b K K"]:
    """Mean posterior weight of every concept after one weak example of every concept.

        C_jk = E[w_k(phi, y) | y = beta^w_j . phi + sigma_w eps],    w_k prop. to alpha_k N(y; beta_k . phi, s_hat^2)

    with alpha = `task.source_prior`, beta = `task.concepts`, s_hat^2 = `assumed_noise_var`. If the teacher's concepts
    and noise are the model's own, alpha C = alpha and alpha_j C_jk is symmetric.

    Given y the x_k = beta_k . phi are independent, and 1/S = int_0^inf e^(-uS) du turns the posterior into products
    of one-dimensional means, integrated over u and y. Absolute error, measured against the integral of
    `expected_rival_weights`: under 1e-8 where the effective noise E(y - beta_j . phi)^2 is at most 2 s_hat^2, 1e-5 up
    to 15 s_hat^2, 5e-3 up to 60 s_hat^2. In single precision 1e-5 at best.

    Args:
        task: a `Task` with isotropic `feature_var [d]`, orthonormal concepts, and noise variances > 0. A teacher's
            concept may have any length along its own concept and any part orthogonal to all of them.
        assumed_noise_var: s_hat^2 > 0 of the posterior, squared label units; `task.noise_var` by default.

    Returns:
        `[K K]`, rows of sum 1. Row j is NaN where beta^w_j leans on another concept (confused and opposed teachers):
        the x_k are then dependent.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.7.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=3, dim=4, weak_accuracy=1.0, concept_shift=0.5, noise_var=0.25)
    >>> [round(float(x), 3) for x in one_example_transition(task)[0]]
    [0.718, 0.141, 0.141]
    """
    return example_moments(task, task.source_prior, assumed_noise_var).weight


@closed_form
def one_example_refinement_prior(task: Task, *, assumed_noise_var: Real | None = None) -> Float[Array, "*b K"]:
    """The prior that refinement with one fresh weak example per label gives the concepts; the first step of EM.

        q' C,    C = `one_example_transition`,    q' = `task.weak_prior`

    Its squared distance from q = `task.target_prior`, times s = `task.feature_var`, is the risk that no number of
    labels refined in this way removes.

    Args:
        task, assumed_noise_var: as in `one_example_transition`.

    Returns:
        `[K]`, of sum 1; NaN where a concept that the teacher shows leans on another.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.7.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5, noise_var=0.25)
    >>> [round(float(x), 3) for x in one_example_refinement_prior(task)]
    [0.755, 0.245]
    """
    return shown(task, one_example_transition(task, assumed_noise_var=assumed_noise_var))


@closed_form
def one_example_spread(task: Task, *, assumed_noise_var: Real | None = None) -> Float[Array, "*b"]:
    """Variance of the posterior after one weak example.

        tr Cov w = E||w||^2 - ||E w||^2,    E w = `one_example_refinement_prior`

    It is tau of `refined_risk` for posterior-mean labels with a fresh example each, and n times the variance of the
    first EM step on n examples.

    Args:
        task, assumed_noise_var: as in `one_example_transition`.

    Returns:
        Unitless, in [0, 1], shape `[]`; NaN where a concept that the teacher shows leans on another.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.7.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5, noise_var=0.25)
    >>> round(float(one_example_spread(task)), 3)
    0.125
    """
    moments = example_moments(task, task.source_prior, assumed_noise_var)
    return jnp.sum(shown(task, moments.square)) - jnp.sum(shown(task, moments.weight) ** 2)


@closed_form
def self_refinement_coef(task: Task, *, assumed_noise_var: Real | None = None) -> Float[Array, "*b d"]:
    """Coefficients that self-refinement learns from infinitely many labels, each refined by its own weak pair.

        b = (1/s) E[phi sum_k w_k(phi, y) beta_k . phi]
          = sum_k E[x_k A]/s beta_k + sum_j q'_j o_j E_j[(y - a_j x_j) A] / (s ||o_j||^2 + sigma_w^2)

    with w the posterior of `one_example_transition`, x_k = beta_k . phi, A = sum_k w_k x_k, q' = `task.weak_prior`,
    s = `task.feature_var`, sigma_w^2 = `task.weak_noise_var`, and beta^w_j = a_j beta_j + o_j, o_j orthogonal to the
    concepts. It is not `one_example_refinement_prior` @ concepts: there the example and the label are independent.

    Args:
        task, assumed_noise_var: as in `one_example_transition`.

    Returns:
        `[d]`; NaN where a concept that the teacher shows leans on another.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.7.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5, noise_var=0.25)
    >>> [round(float(x), 3) for x in self_refinement_coef(task)]
    [0.935, 0.065, 0.0]
    """
    moments = example_moments(task, task.source_prior, assumed_noise_var)
    scale, (lean, rest) = feature_scale(task), _parts(task)
    pull = moments.agreement - scale * lean * jnp.diagonal(moments.answer)
    pull = pull / (scale * jnp.sum(rest**2, -1) + task.weak_noise_var)
    return shown(task, moments.answer @ task.concepts + pull[:, None] * rest)


@closed_form
def self_refinement_bias(task: Task, *, assumed_noise_var: Real | None = None) -> Float[Array, "*b"]:
    """Excess risk of self-refinement on infinitely many labels.

        s ||b - beta_Q||^2,    b = `self_refinement_coef`

    with beta_Q = `task.target_coef`, s = `task.feature_var`.

    Args:
        task, assumed_noise_var: as in `one_example_transition`.

    Returns:
        Squared label units, shape `[]`; NaN where a concept that the teacher shows leans on another.

    Assumes: gaussian features.

    Reference: derived, docs/theory.md 3.7.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5, noise_var=0.25)
    >>> prior = one_example_refinement_prior(task)
    >>> float(self_refinement_bias(task)) < 0.1 * float(jnp.sum((prior - task.target_prior) ** 2))
    True
    """
    coef = self_refinement_coef(task, assumed_noise_var=assumed_noise_var)
    return feature_scale(task) * jnp.sum((coef - task.target_coef) ** 2)


def example_moments(task: Task, prior: Float[Array, "K"], assumed_noise_var: Real | None) -> ExampleMoments:
    """The means of `ExampleMoments` under a given prior of the strong model, by quadrature."""
    lean, rest = _parts(task)
    scale = feature_scale(task)
    assumed = jnp.asarray(task.noise_var if assumed_noise_var is None else assumed_noise_var, prior.dtype)
    noise = scale * jnp.sum(rest**2, -1) + task.weak_noise_var
    # In units of the feature's standard deviation, with which labels scale too.
    moments = _quadrature(prior, lean, noise / scale, assumed / scale)
    moments = moments._replace(agreement=scale * moments.agreement)
    others = jnp.where(jnp.eye(lean.shape[0], dtype=bool), 0.0, task.weak_concepts @ task.concepts.T)
    separate = jnp.max(jnp.abs(others), -1) <= float(jnp.finfo(lean.dtype).eps) ** 0.5
    return jax.tree.map(lambda x: jnp.where(separate if x.ndim == 1 else separate[:, None], x, jnp.nan), moments)


def shown(task: Task, rows: Float[Array, "K c"]) -> Float[Array, "c"]:
    """Mean of the rows over the concepts that the teacher shows; what it never shows may be NaN."""
    alive = (task.weak_prior > 0)[:, None]
    return jnp.sum(jnp.where(alive, task.weak_prior[:, None] * jnp.where(alive, rows, 0.0), 0.0), 0)


def _parts(task: Task) -> tuple[Float[Array, "K"], Float[Array, "K d"]]:
    """a_j and o_j of beta^w_j = a_j beta_j + o_j."""
    lean = jnp.sum(task.concepts * task.weak_concepts, -1)
    return lean, task.weak_concepts - lean[:, None] * task.concepts


@jax.jit  # a leaf: without it, a call outside a jit would hold every node of three dimensions at once
def _quadrature(
    prior: Float[Array, "K"], lean: Float[Array, "K"], noise: Float[Array, "K"], assumed: Float[Array, ""]
) -> ExampleMoments:
    """`ExampleMoments` of y = lean_j x_j + N(0, noise_j) and standard normal x_1 ... x_K.

    With r_k = prior_k exp(-(y - x_k)^2 / (2 assumed)), S = sum_k r_k and independent x_k,

        E w_k = int dv E[u r_k e^(-u r_k)] prod_{l != k} E[e^(-u r_l)],    u = e^v

    and alike for the others; E w_k^2 has (u r_k)^2 in place of u r_k. Only x_j knows y.
    """
    log_prior = jnp.where(prior > 0, jnp.log(jnp.where(prior > 0, prior, 1.0)), -jnp.inf)
    own = jnp.eye(prior.shape[0], dtype=bool)
    label_var = lean**2 + noise
    y, label_weights = _label_nodes(label_var)
    # S is over e^-top at TAIL standard deviations: some concept is that near to y
    distance = jnp.where(own, (lean - 1)[:, None] ** 2 + noise[:, None], label_var[:, None] + 1)
    top = jax.lax.stop_gradient(jnp.max(jnp.min(TAIL**2 / 2 * distance / assumed - log_prior[None], -1))) + 3
    v, steps = _log_nodes(top)

    def means(law):
        """E e^-t, and under weights e^-t/E e^-t the means of t, t^2, x, t x and t x^2, at every (v, y); t = u r."""
        log_weight, slope, deviation = law
        x, weights = _feature_nodes(y, slope * y, deviation, jnp.sqrt(assumed))
        log_t = v[:, None, None] + (log_weight - (y[:, None] - x) ** 2 / (2 * assumed))[None]
        t = jnp.exp(jnp.minimum(log_t, 6.0))  # e^-t is 0 beyond
        e, x = jnp.exp(-t), x[None]

        def mean(f):
            return jnp.sum(f * weights[None], -1)

        total = jnp.maximum(mean(e), 1e-30)
        return total, *(mean(f) / total for f in (t * e, t * t * e, e * x, t * e * x, t * e * x * x))

    # One map over both distributions of every x_k: the one without y, and the one given y.
    slopes = jnp.concatenate([jnp.zeros_like(lean), lean / label_var])
    deviations = jnp.concatenate([jnp.ones_like(lean), jnp.sqrt(noise / label_var)])
    both = jax.lax.map(means, (jnp.tile(log_prior, 2), slopes, deviations))
    free, told = zip(*(jnp.split(x, 2) for x in both))
    log_free, log_told = jnp.log(free[0]), jnp.log(told[0])
    base = jnp.exp(jnp.sum(log_free, 0)[None] - log_free + log_told) * (
        steps[None, :, None] * label_weights[:, None, :]
    )
    (t0, tt0, x0, tx0, txx0), (t1, tt1, x1, tx1, txx1) = free[1:], told[1:]

    def integrate(base, free, told):
        """Over (v, y), concept j shown: concept k = j by its distribution given y, the others by that without y."""
        rows = jnp.einsum("jvy,kvy->jk", base, free, precision="highest")
        return jnp.where(own, jnp.sum(base * told, (1, 2))[:, None], rows)

    answer = base * (jnp.sum(tx0, 0)[None] - tx0 + tx1)  # sum_l w_l x_l
    return ExampleMoments(
        weight=integrate(base, t0, t1),
        square=integrate(base, tt0, tt1),
        answer=integrate(base, txx0 - x0 * tx0, txx1 - x1 * tx1) + integrate(answer, x0, x1),
        agreement=jnp.sum(answer * y[None, None], (1, 2)),
    )


def _label_nodes(label_var: Float[Array, "K"]) -> tuple[Float[Array, "y"], Float[Array, "K y"]]:
    """Midpoints in y > 0 and their weights under each N(0, label_var); the lower half mirrors."""
    widest = jax.lax.stop_gradient(jnp.sqrt(jnp.max(label_var)))
    step = TAIL * widest / NUM_LABEL_NODES
    y = (jnp.arange(NUM_LABEL_NODES, dtype=label_var.dtype) + 0.5) * step
    density = jnp.exp(-(y[None] ** 2) / (2 * label_var[:, None])) / jnp.sqrt(2 * math.pi * label_var)[:, None]
    return y, 2 * step * density


def _feature_nodes(y: Float[Array, "y"], mean: Float[Array, "y"], deviation, width):
    """Nodes x = y + w sinh(.) `[y x]` and their weights under N(mean, deviation^2): dense next to the label, on the
    scale of the likelihood or of that normal, whichever is narrower."""
    w = 2 * jnp.minimum(width, deviation)
    start, end = (jnp.arcsinh((mean + side * TAIL * deviation - y) / w) for side in (-1, 1))
    share = jnp.linspace(0, 1, NUM_FEATURE_NODES, dtype=y.dtype)[None]
    nodes = start[:, None] + (end - start)[:, None] * share
    x = y[:, None] + w * jnp.sinh(nodes)
    weights = jnp.exp(-(((x - mean[:, None]) / deviation) ** 2) / 2) * jnp.cosh(nodes)
    return x, weights / jnp.sum(weights, -1, keepdims=True)


def _log_nodes(top: Float[Array, ""]) -> tuple[Float[Array, "v"], Float[Array, "v"]]:
    """Nodes v = log u = 8 sinh(.) up to `top`, dense about 0 where most of the mass is, and their weights."""
    low = 0.85 * math.log(float(jnp.finfo(top.dtype).eps))
    start, end = math.asinh(low / 8), jnp.arcsinh(top / 8)
    step = (end - start) / NUM_LOG_NODES
    nodes = start + (jnp.arange(NUM_LOG_NODES, dtype=top.dtype) + 0.5) * step
    return 8 * jnp.sinh(nodes), 8 * jnp.cosh(nodes) * step
