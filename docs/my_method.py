"""A template of your own method: copy it anywhere, change `fit` and what METHOD says of it, and rank it.

    python -m sims.methods --plugin my_method.py --preset smoke --out results/mine

docs/methods.md says what a view holds; everything that a method does not declare in `sees` is None.
"""

import jax
import jax.numpy as jnp

from w2s_jax import concept_log_posterior, moments, ridge_to_source
from w2s_jax.methods import Cost, Knob, Method
from w2s_jax.types import Dataset


def fit(view, penalty):
    """Learn the expected answers after a prompt, where icl_refine draws one answer of each."""
    source = view.source
    weights = jnp.exp(jax.vmap(lambda prompt: concept_log_posterior(source, prompt))(view.prompts))  # [n K]
    answers = view.features @ source.concepts.T  # [n K]: what it would say under each concept
    labels = (weights * answers).sum(axis=1)
    return ridge_to_source(moments(Dataset(view.features, labels)), source.source_coef, penalty)


METHOD = Method(
    name="mean_refine",
    about="Labels are the expected answers of the strong model after a prompt of weak examples.",
    fit=fit,  # (view, **knobs) -> coefficients [d]; None where it learns from signs alone
    sees=("source", "prompts"),
    cost=Cost(calls=1, in_context=True, fits=1),  # for an example: answers of the strong model, and fits
    reference="derived from icl_refine, arXiv 2405.16236",
    knobs={"penalty": Knob(0.1, (0.0, 0.1, 1.0), 0.0, jnp.inf, "pull to the source")},  # tuned on held-out weak labels
    sign=None,  # a SignForm, where it also learns from signs
    in_practice="yes: the mean of several answers",
)
