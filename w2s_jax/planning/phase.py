"""The task of a question, and the predicted phase diagram around it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from w2s_jax.planning import forms
from w2s_jax.planning.question import OWN, Question
from w2s_jax.tasks import make_task
from w2s_jax.types import Task

PENALTIES = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Penalties of naive fine-tuning: the path of the risk sweep."""


def task_of(question: Question, build: Callable[..., Task] = forms.build) -> Task:
    """The task of a question; a measured teacher is its own. `build` is `make_task`, compiled unless this is traced."""
    q = question
    sizes = {"num_concepts": q.num_concepts, "dim": q.dim}
    law = {"concept_shift": q.concept_shift, "noise_var": q.noise_var}
    if q.weakness != OWN:
        return build(**sizes, **law, weak_accuracy=q.weak_accuracy, weakness=q.weakness)
    own = np.eye(1, q.dim)[0]
    rivals = q.lean / math.sqrt(q.num_concepts - 1) * (np.arange(q.dim) < q.num_concepts) * (1 - own)
    outside = math.sqrt(1 - q.lean**2) * (np.arange(q.dim) == q.num_concepts)
    beside = jnp.sqrt(1 - jnp.asarray(q.weak_accuracy, float) ** 2)
    return build(**sizes, **law, weak_coef=q.weak_accuracy * own + beside * (rivals + outside))


class Phase(NamedTuple):
    """Naive fine-tuning against refinement with fresh prompts over accuracies and shifts, all else as in a question."""

    naive: np.ndarray
    """Predicted risk, `[accuracies shifts]`."""
    refined: np.ndarray
    """The same; NaN where no closed form is."""


def phase(question: Question, weak_accuracy: np.ndarray, concept_shift: np.ndarray) -> Phase:
    """The predicted phase diagram around a question.

    Args:
        question: what a plan answered (`Plan.question`).
        weak_accuracy: accuracies in (0, 1], `[x]`.
        concept_shift: shifts in [0, 1), `[y]`.

    Returns:
        A `Phase`, each field `[x y]`.
    """

    def cell(accuracy, shift):
        task = task_of(question._replace(weak_accuracy=accuracy, concept_shift=shift), make_task)
        naive = forms.naive(task, question.num_samples, jnp.asarray(PENALTIES)).risk
        return naive, forms.refined(task, question.num_samples, question.num_icl).risk[1]

    cells = jax.jit(jax.vmap(jax.vmap(cell, (None, 0)), (0, None)))
    return Phase(*(np.asarray(risk, float) for risk in cells(jnp.asarray(weak_accuracy), jnp.asarray(concept_shift))))
