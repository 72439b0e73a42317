"""Refined fine-tuning as one call: weak examples in, the refined student out."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from w2s_jax.estimators import least_squares
from w2s_jax.inputs import kernel
from w2s_jax.names import PROMPTS, LabelDraw, Prompts
from w2s_jax.refinement import concept_log_posterior, concept_weights, refine_labels
from w2s_jax.rng import stream
from w2s_jax.sampling import moments, sample_dataset
from w2s_jax.types import Dataset, Key, Scalar, Task


class Refined(NamedTuple):
    """A refined student, and what it was made of."""

    coef: Float[Array, "*b d"]
    """Coefficients of the student that learned the refined labels."""
    labels: Float[Array, "*b n"]
    """The refined labels."""
    examples: Dataset
    """The examples that they belong to, with the teacher's labels: what naive fine-tuning would learn."""
    weights: Float[Array, "*b K"]
    """The strong model's posterior weights of the concepts: of the shared prompt `[K]`, or each example's `[n K]`."""


@kernel
def refine(
    key: Key,
    task: Task,
    num_samples: int,
    num_icl: int,
    *,
    prompts: Prompts = "shared",
    draw: LabelDraw = "sample",
    assumed_noise_var: Scalar | None = None,
    temperature: Scalar = 1.0,
) -> Refined:
    """Refined fine-tuning: draw weak examples, let the strong model label them anew from a prompt, fit its labels.

        examples  n of them, features N(0, feature_var), labels of the weak teacher
        prompts   m weak examples apart from these: one prompt (`shared`), or one for each example (`fresh`)
        labels    of the strong model, w_k(prompt) its concept weights: `refine_labels`
        coef      least squares on the refined labels; where n < d, the solution nearest to the source

    Its mean excess risk is `theory.refined_risk` at `theory.misalignment` and `theory.refined_label_spread`.

    Derivatives: as those of `refine_labels`. `mean` labels have exact ones; those of `sample` are unbiased for the
    excess risk, with noise of their own; `map` raises, and so does every draw in the weak prior.

    Args:
        key: a typed key; "examples", "prompts" and "labels" are its streams.
        task: a `Task`. Where its weak prior mixes concepts, each weak example shows one of its own, in prompts too.
        num_samples: n >= 1, examples to fine-tune on, static.
        num_icl: m >= 0, examples in a prompt, static; 0 labels from the source prior.
        prompts: `shared` or `fresh`.
        draw: `sample`, `mean` or `map`, as in `refine_labels`.
        assumed_noise_var: s_hat^2 > 0 of the posterior, squared label units; None means the task's noise_var.
        temperature: of the posterior, > 0, unitless.

    Returns:
        `Refined(coef [d], labels [n], examples, weights)`, weights `[K]` (shared) or `[n K]` (fresh).

    Raises:
        ValueError: for an unknown word for prompts or draw, or a known value out of its range.
        TypeError: if it is differentiated in the weak prior, or with `map` labels in the posterior.

    Reference: Somerstep et al. (arXiv 2405.16236); docs/theory.md 3.4 for its risk.

    >>> from w2s_jax.risk import excess_risk
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=4, dim=8, weak_accuracy=0.7, concept_shift=0.5)
    >>> refined = refine(jax.random.key(0), task, 400, 32)
    >>> naive = least_squares(moments(refined.examples), task.source_coef)
    >>> [round(float(excess_risk(coef, task.target_coef)), 1) for coef in (naive, refined.coef)]
    [0.6, 0.0]
    """
    if prompts not in PROMPTS:
        raise ValueError(f"prompts must be one of {', '.join(PROMPTS)}; got {prompts!r}.")
    if num_icl < 0:
        raise ValueError(f"num_icl must not be negative, got {num_icl}; 0 labels from the source prior.")
    examples = sample_dataset(stream(key, "examples"), task, num_samples)

    def infer(prompt: Dataset) -> Float[Array, "K"]:
        return concept_log_posterior(task, prompt, assumed_noise_var=assumed_noise_var, temperature=temperature)

    count = 1 if prompts == "shared" else num_samples
    shown = sample_dataset(stream(key, "prompts"), task, max(count * num_icl, 1))
    cut = jax.tree.map(lambda rows: rows[: count * num_icl].reshape(count, num_icl, *rows.shape[1:]), shown)
    log_posterior = jax.vmap(infer)(cut)
    if prompts == "shared":
        log_posterior = log_posterior[0]
    labels = refine_labels(stream(key, "labels"), task, examples.features, log_posterior, draw=draw)
    coef = least_squares(moments(Dataset(examples.features, labels)), task.source_coef)
    return Refined(coef, labels, examples, concept_weights(log_posterior))
