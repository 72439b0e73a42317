"""Refinement: the strong model reads weak examples in its context, infers the concept and labels anew.

The strong model takes a prompt for the work of ONE concept. Its posterior over concepts is what refinement is made of:
labels drawn from the posterior predictive law are refined labels, and fine-tuning on them is refined fine-tuning.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.rng import stream
from w2s_jax.sampling import choose_index, take_concept
from w2s_jax.types import Dataset, Key, Scalar, Task

LabelDraw = Literal["sample", "mean", "map"]
LABEL_DRAWS: tuple[LabelDraw, ...] = get_args(LabelDraw)


def concept_log_posterior(
    task: Task, prompt: Dataset, *, assumed_noise_var: Scalar | None = None, temperature: Scalar = 1.0
) -> Float[Array, "K"]:
    """The strong model's log posterior over concepts, given a prompt.

        w_k(D) prop. to alpha_k prod_j N(y_j; beta_k . phi_j, s_hat^2)^(1 / temperature)

    Args:
        task: a `Task`; its concepts `[K d]` and source prior alpha `[K]` are read.
        prompt: m >= 0 examples, features `[m d]` and labels `[m]`, all taken for one concept's.
        assumed_noise_var: s_hat^2 > 0, squared label units; None means the task's noise_var.
        temperature: > 0, unitless; it divides the log likelihood, not the log prior.

    Returns:
        Normalised log weights `[K]`; -inf where the source prior is 0.

    Reference: Somerstep et al. (arXiv 2405.16236); docs/theory.md 2.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.75)
    >>> prompt = Dataset(jnp.array([[2.0, 0.0, 0.0]]), jnp.array([2.0]))  # concept 0 answers 2, concept 1 answers 0
    >>> jnp.exp(concept_log_posterior(task, prompt)).round(3).tolist()
    [0.999..., 0.001...]
    """
    return posterior_path(task, prompt, assumed_noise_var=assumed_noise_var, temperature=temperature)[-1]


def posterior_path(
    task: Task, prompt: Dataset, *, assumed_noise_var: Scalar | None = None, temperature: Scalar = 1.0
) -> Float[Array, "m+1 K"]:
    """The log posterior after each of the first 0, 1, ..., m examples of a prompt, by one prefix sum.

    Args:
        task, prompt, assumed_noise_var, temperature: as in `concept_log_posterior`.

    Returns:
        Normalised log weights `[m+1 K]`; row 0 is the log source prior.

    Reference: docs/theory.md 2.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.75)
    >>> prompt = Dataset(jnp.ones((4, 3)), jnp.ones(4))
    >>> posterior_path(task, prompt).shape
    (5, 2)
    """
    evidence = example_log_likelihood(task, prompt, assumed_noise_var=assumed_noise_var)
    start = jnp.zeros_like(evidence[:1])
    path = jnp.concatenate([start, jnp.cumsum(evidence, axis=0)])
    return normalise(task, path / temperature)


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
    evidence = example_log_likelihood(task, dataset, assumed_noise_var=assumed_noise_var)
    num_samples, num_concepts = evidence.shape
    batch = min(num_icl + 1, num_samples)
    whole = num_samples - num_samples % batch
    sums = evidence[:whole].reshape(-1, batch, num_concepts).sum(axis=1)
    total = jnp.concatenate(
        [
            jnp.repeat(sums, batch, axis=0),
            jnp.broadcast_to(evidence[num_samples - batch :].sum(axis=0), (num_samples - whole, num_concepts)),
        ]
    )
    return normalise(task, total - evidence)


def refine_labels(
    key: Key,
    task: Task,
    features: Float[Array, "n d"],
    log_posterior: Float[Array, "*n K"],
    *,
    draw: LabelDraw = "sample",
) -> Float[Array, "n"]:
    """Labels by the strong model, given what it has inferred from a prompt.

        sample   k_i ~ w_i, y_i = beta_{k_i} . phi_i + sigma eps_i      the posterior predictive law
        mean     y_i = sum_k w_ik beta_k . phi_i                        its mean, without noise
        map      k_i = argmax_k w_ik, y_i = beta_{k_i} . phi_i + sigma eps_i      infer the intent, then answer

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

    Reference: Somerstep et al. (arXiv 2405.16236); docs/theory.md 2.

    >>> import jax
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.75)
    >>> refine_labels(jax.random.key(0), task, jnp.eye(3), jnp.log(task.source_prior), draw="mean").tolist()
    [0.25, 0.75, 0.0]
    """
    if draw not in LABEL_DRAWS:
        raise ValueError(f"draw must be one of {', '.join(LABEL_DRAWS)}; got {draw!r}.")
    num_samples = features.shape[0]
    means = features @ task.concepts.T
    weights = jnp.broadcast_to(jnp.exp(log_posterior), means.shape)
    if draw == "mean":
        return (weights * means).sum(axis=1)
    if draw == "map":
        chosen = jnp.argmax(weights, axis=1)
    else:
        chosen = choose_index(jax.random.uniform(stream(key, "concept"), (num_samples,)), weights)
    noise = jax.random.normal(stream(key, "noise"), (num_samples,))
    return take_concept(means, chosen) + jnp.sqrt(task.noise_var) * noise


def example_log_likelihood(
    task: Task, dataset: Dataset, *, assumed_noise_var: Scalar | None = None
) -> Float[Array, "n K"]:
    """log N(y_i; beta_k . phi_i, s_hat^2) for every example and concept, up to a term that all concepts share."""
    noise_var = task.noise_var if assumed_noise_var is None else assumed_noise_var
    means = dataset.features @ task.concepts.T
    return means * (dataset.labels[:, None] - means / 2) / noise_var


def normalise(task: Task, evidence: Float[Array, "n K"]) -> Float[Array, "n K"]:
    """The log posterior of each row of accumulated log likelihoods, under the source prior."""
    return jax.nn.log_softmax(jnp.log(task.source_prior)[None, :] + evidence, axis=1)
