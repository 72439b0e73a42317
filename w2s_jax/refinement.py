"""Refinement: the strong model reads weak examples in its context, infers the concept and relabels.

The strong model assumes that a prompt shows ONE concept. Refinement uses its posterior over concepts: labels
drawn from the posterior predictive distribution are refined labels, and fine-tuning on them is refined fine-tuning.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.inputs import kernel
from w2s_jax.mixture_labels import mixture_labels
from w2s_jax.names import LABEL_DRAWS, LabelDraw
from w2s_jax.rng import stream
from w2s_jax.types import Dataset, Key, Scalar, Task, is_concrete


@kernel
def concept_log_posterior(
    task: Task, prompt: Dataset, *, assumed_noise_var: Scalar | None = None, temperature: Scalar = 1.0
) -> Float[Array, "K"]:
    """The strong model's log posterior over concepts, given a prompt.

        w_k(D) prop. to alpha_k prod_j N(y_j; beta_k . phi_j, s_hat^2)^(1 / temperature)

    Args:
        task: a `Task`; its concepts `[K d]` and source prior alpha `[K]` are read.
        prompt: m >= 0 examples, features `[m d]` and labels `[m]`, all taken for one concept's.
        assumed_noise_var: s_hat^2 > 0, squared label units; None means the task's noise_var. At a noise_var of 0
            the posterior is the limit: all weight on the concept nearest to the labels.
        temperature: > 0, unitless; it divides the log likelihood, not the log prior.

    Returns:
        Normalised log weights `[K]`; -inf where the source prior is 0. A logarithm has no slope there: what is carried
        as the derivative of such an entry is that of its weight. `refine_labels` reads it so, and is right at a
        concept_shift of 0; a plain `exp` of the entry would lose it. Those of all other entries are their own.

    Raises:
        ValueError: if a Python assumed_noise_var or temperature is not positive.

    Reference: Somerstep et al. (arXiv 2405.16236); docs/theory.md 2.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.75)
    >>> prompt = Dataset(jnp.array([[2.0, 0.0, 0.0]]), jnp.array([2.0]))  # concept 0 answers 2, concept 1 answers 0
    >>> bool(jnp.exp(concept_log_posterior(task, prompt))[0] > 0.99)
    True
    """
    whole = (prompt.labels.shape[0],)
    return posterior_path(task, prompt, lengths=whole, assumed_noise_var=assumed_noise_var, temperature=temperature)[0]


@kernel
def posterior_path(
    task: Task,
    prompt: Dataset,
    *,
    lengths: tuple[int, ...] | None = None,
    assumed_noise_var: Scalar | None = None,
    temperature: Scalar = 1.0,
) -> Float[Array, "l K"]:
    """The log posterior after the first 0, 1, ..., m examples of a prompt, by one prefix sum.

    Args:
        task, prompt, assumed_noise_var, temperature: as in `concept_log_posterior`.
        lengths: prompt lengths to report, each in [0, m], static; None means all of 0, 1, ..., m.

    Returns:
        Normalised log weights, `[m+1 K]` or `[len(lengths) K]`; at length 0 they are the log source prior.

    Raises:
        ValueError: as `concept_log_posterior`, and for a length outside [0, m].

    Reference: docs/theory.md 2.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.75)
    >>> prompt = Dataset(jnp.ones((4, 3)), jnp.ones(4))
    >>> posterior_path(task, prompt).shape
    (5, 2)
    """
    if is_concrete(temperature) and not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}; 1 is Bayes' rule.")
    evidence = concept_evidence(task, prompt, assumed_noise_var=assumed_noise_var)
    num_icl = prompt.labels.shape[0]
    if lengths is not None and not all(0 <= length <= num_icl for length in lengths):
        raise ValueError(f"lengths must lie in [0, {num_icl}], the size of the prompt; got {lengths}.")
    if lengths is None:
        path = jnp.pad(jnp.cumsum(evidence, axis=1), ((0, 0), (1, 0)))
    else:
        path = prompt_evidence(evidence[:, :, None], lengths)[:, :, 0].T
    return _log_posterior(task.source_prior, path / temperature)


@kernel
def leave_one_out_log_posterior(
    task: Task, dataset: Dataset, num_icl: int, *, assumed_noise_var: Scalar | None = None
) -> Float[Array, "n K"]:
    """A log posterior per example, from the other examples of its batch.

    The examples are cut into batches of num_icl + 1, and each example's prompt is the rest of its batch. Examples past
    the last whole batch are labelled in the batch of the last num_icl + 1 examples, so that every prompt has num_icl
    of them; where n <= num_icl, the prompt is all other examples. No prompt holds the example that it labels, but
    prompts of one batch overlap.

    Args:
        task: a `Task`.
        dataset: weak-labelled examples, features `[n d]` and labels `[n]`.
        num_icl: examples in a prompt, >= 0, static.
        assumed_noise_var: as in `concept_log_posterior`.

    Returns:
        Normalised log weights `[n K]`.

    Raises:
        ValueError: if num_icl < 0.

    Reference: the batches of the experiments of Somerstep et al. (arXiv 2405.16236); docs/theory.md 2.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.75)
    >>> leave_one_out_log_posterior(task, Dataset(jnp.ones((7, 3)), jnp.ones(7)), 2).shape
    (7, 2)
    """
    if num_icl < 0:
        raise ValueError(f"num_icl must not be negative, got {num_icl}; 0 labels from the source prior.")
    evidence = concept_evidence(task, dataset, assumed_noise_var=assumed_noise_var)
    return _log_posterior(task.source_prior, leave_one_out_evidence(evidence, num_icl))


@kernel
def refine_labels(
    key: Key,
    task: Task,
    features: Float[Array, "n d"],
    log_posterior: Float[Array, "*n K"],
    *,
    draw: LabelDraw = "sample",
) -> Float[Array, "n"]:
    """Labels by the strong model, given what it has inferred from a prompt.

        sample   k_i ~ w_i, y_i = beta_{k_i} . phi_i + sigma eps_i      the posterior predictive
        mean     y_i = sum_k w_ik beta_k . phi_i                        its mean, without noise
        map      k_i = argmax_k w_ik, y_i = beta_{k_i} . phi_i + sigma eps_i      infer the intent, then answer

    Derivatives: those of `mean` are exact. Those of `sample` are unbiased for functions at most quadratic in each
    label, as the excess risk of any student is whose coefficients are linear in the labels; like draws they have noise
    of their own (`w2s_jax/mixture_labels.py`). `map` jumps from concept to concept as the weights move, and raises.

    Args:
        key: a typed key; "concept" and "noise" are its streams (unused by `mean`).
        task: a `Task`; concepts `[K d]` and noise_var are read.
        features: `[n d]`, the examples to be labelled.
        log_posterior: `[K]`, one prompt shared by all labels, or `[n K]`, a prompt for each.
        draw: `sample`, `mean` or `map`.

    Returns:
        Labels `[n]`.

    Raises:
        ValueError: for an unknown draw.
        TypeError: if `map` is differentiated in the posterior.

    Reference: Somerstep et al. (arXiv 2405.16236); docs/theory.md 2.

    >>> import jax
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.75)
    >>> refine_labels(jax.random.key(0), task, jnp.eye(3), jnp.log(task.source_prior), draw="mean").tolist()
    [0.25, 0.75, 0.0]
    """
    if draw not in LABEL_DRAWS:
        raise ValueError(f"draw must be one of {', '.join(LABEL_DRAWS)}; got {draw!r}.")
    if log_posterior.ndim > 2 or log_posterior.shape[:-1] not in ((), features.shape[:1]):
        raise ValueError(
            f"log_posterior must have a row for each of {features.shape[0]} examples or one for all, got "
            f"{log_posterior.shape[:-1]} rows; label the examples that it was inferred for."
        )
    means = task.concepts @ features.T
    weights = concept_weights(log_posterior)
    weights = jnp.broadcast_to(weights[:, None] if weights.ndim == 1 else weights.T, means.shape)
    if draw == "mean":
        return (weights * means).sum(axis=0)
    normals = jax.random.normal(stream(key, "noise"), features.shape[:1], features.dtype)
    if draw == "map":
        likeliest = jnp.argmax(no_gradient(MAP_JUMPS, weights), axis=0)
        return jnp.take_along_axis(means, likeliest[None, :], axis=0)[0] + jnp.sqrt(task.noise_var) * normals
    uniforms = jax.random.uniform(stream(key, "concept"), features.shape[:1], features.dtype)
    return mixture_labels(uniforms, normals, weights, means, jnp.sqrt(task.noise_var))


MAP_JUMPS = (
    "the likeliest concept has no derivative, since it jumps as the posterior moves; draw labels with draw='sample' "
    "or 'mean', or take differences of means over many keys."
)


# --- The steps of refinement for many rows at once. Concepts lie along the first axis and rows along the last: a loop
# over rows is then one of long, contiguous vectors, which is what a sweep spends its time on. ----------------------


LEAST_NOISE = 16
"""Noise variance used in place of 0, in units of rounding error."""


def concept_evidence(task: Task, dataset: Dataset, *, assumed_noise_var: Scalar | None = None) -> Float[Array, "K n"]:
    """log N(y_i; beta_k . phi_i, s_hat^2) for every concept and row, up to a term that all concepts share."""
    if assumed_noise_var is not None and is_concrete(assumed_noise_var) and not assumed_noise_var > 0:
        raise ValueError(f"assumed_noise_var must be positive, got {assumed_noise_var}; None assumes the task's own.")
    noise_var = task.noise_var if assumed_noise_var is None else assumed_noise_var
    means = task.concepts @ dataset.features.T
    # Without noise the nearest concept explains all: so little noise that rounding alone could still decide.
    noise_var = jnp.where(noise_var == 0, LEAST_NOISE * float(jnp.finfo(means.dtype).eps), noise_var)
    return means * (dataset.labels[None, :] - means / 2) / noise_var


def prompt_evidence(evidence: Float[Array, "K m n"], lengths: tuple[int, ...]) -> Float[Array, "l K n"]:
    """Evidence of the first `lengths` examples of each of n prompts."""
    sums, total, read = {}, 0.0, 0
    for length in sorted(set(lengths)):
        sums[length] = total = total + evidence[:, read:length].sum(axis=1)
        read = length
    return jnp.stack([sums[length] for length in lengths])


def leave_one_out_evidence(evidence: Float[Array, "K n"], num_icl: int) -> Float[Array, "K n"]:
    """Evidence of the rest of each row's batch; see `leave_one_out_log_posterior`."""
    num_concepts, num_samples = evidence.shape
    batch = min(num_icl + 1, num_samples)
    whole = num_samples - num_samples % batch
    sums = evidence[:, :whole].reshape(num_concepts, -1, batch).sum(axis=2)
    last = evidence[:, num_samples - batch :].sum(axis=1, keepdims=True)
    rest = jnp.broadcast_to(last, (num_concepts, num_samples - whole))
    return jnp.concatenate([jnp.repeat(sums, batch, axis=1), rest], axis=1) - evidence


def likelihood_ratio(evidence: Float[Array, "*l K n"], prior: Float[Array, "K"]) -> Float[Array, "*l K n"]:
    """Likelihoods relative to that of the best concept that the prior allows: in (0, 1] for all that it allows.

    A concept of prior 0 does not set the scale, or the others might fall to the floor. Its own ratio may exceed 1; its
    weight is 0 whatever that is, but the slope of the weight, as its prior rises from 0, is the ratio.
    """
    allowed = (prior > 0).reshape(*(1,) * (evidence.ndim - 2), -1, 1)
    behind = evidence - jnp.where(allowed, evidence, -jnp.inf).max(axis=-2, keepdims=True)
    # A compiler may round the two differently, which of enormous evidence leaves more than 0.
    most = jnp.where(allowed, 0.0, FARTHEST).astype(behind.dtype)
    behind = jnp.where(behind > most, most, behind)
    return jnp.exp(jnp.maximum(behind, -FARTHEST))


FARTHEST = 80.0
"""Log likelihood ratios end here, far below what any prior could make up for: a posterior is never 0 / 0."""


def posterior_weights(prior: Float[Array, "K"], evidence: Float[Array, "*l K n"]) -> Float[Array, "*l K n"]:
    """Bayes' rule: concept weights prior times likelihood, normalised."""
    joint = prior.reshape(*(1,) * (evidence.ndim - 2), -1, 1) * likelihood_ratio(evidence, prior)
    return joint / joint.sum(axis=-2, keepdims=True)


@jax.custom_jvp
def _log_posterior(prior: Float[Array, "K"], evidence: Float[Array, "K n"]) -> Float[Array, "n K"]:
    return jax.nn.log_softmax(jnp.log(prior)[:, None] + evidence, axis=0).T


@_log_posterior.defjvp
def _log_posterior_jvp(primals, tangents):
    (prior, evidence), (prior_dot, evidence_dot) = primals, tangents
    prior, prior_dot = prior[:, None], prior_dot[:, None]
    likelihood = likelihood_ratio(evidence, primals[0])
    per_prior = likelihood / (prior * likelihood).sum(axis=0, keepdims=True)  # weights over priors, at a prior of 0 too
    mean_dot = (per_prior * (prior_dot + prior * evidence_dot)).sum(axis=0, keepdims=True)
    own = prior_dot / jnp.where(prior > 0, prior, 1.0) + evidence_dot - mean_dot
    return _log_posterior(*primals), jnp.where(prior > 0, own, per_prior * prior_dot).T


@jax.custom_jvp
def concept_weights(log_posterior: Float[Array, "*n K"]) -> Float[Array, "*n K"]:
    """The weights of a log posterior, right in their derivative too where they are 0."""
    return jnp.exp(log_posterior)


@concept_weights.defjvp
def _concept_weights_jvp(primals, tangents):
    # As `concept_log_posterior` says, the derivative of an entry at -inf is that of the weight itself.
    weights = concept_weights(*primals)
    return weights, jnp.where(jnp.isneginf(primals[0]), 1.0, weights) * tangents[0]
