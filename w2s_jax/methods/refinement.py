"""Refinement: the strong model infers the concept from weak examples, answers under it, and learns its own answers.

    w_k(D) prop. to alpha_k prod_j N(y'_j; beta_k.phi_j, sigma^2)^(1/temperature)
    label ~ sum_k w_k N(beta_k.phi, sigma^2)

D is a prompt of other weak examples (icl_refine), the example's own weak pair (self_refine), or one prompt for all,
from which the likeliest concept is named (intent_refine).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.em import em_steps
from w2s_jax.methods.method import TEMPERATURE, Cost, Knob, Method, View, fine_tune, known, strong_answers
from w2s_jax.refinement import choose_label, concept_evidence, likelihood_ratio, posterior_weights
from w2s_jax.types import Dataset

REFERENCE = "Somerstep et al., arXiv 2405.16236"


def _evidence_of_prompts(view: View) -> Float[Array, "K n"]:
    """What each example's prompt tells about the concepts."""
    source, prompts = known(view.source), known(view.prompts)
    per_prompt = jax.vmap(lambda prompt: concept_evidence(source, prompt).sum(axis=1))
    return per_prompt(prompts).T


def _evidence_of_rows(view: View) -> Float[Array, "K n"]:
    return concept_evidence(known(view.source), Dataset(view.features, known(view.weak_labels)))


def _learn(view: View, weights: Float[Array, "K n"]) -> Float[Array, "d"]:
    """Fine-tune on labels drawn under concept weights of each example."""
    source = known(view.source)
    labels = choose_label(view.chance.uniform, weights, strong_answers(view))
    return fine_tune(view, labels + source.noise_var**0.5 * view.chance.normal, source.source_coef)


def _weights(view: View, evidence: Float[Array, "K n"], temperature) -> Float[Array, "K n"]:
    return posterior_weights(known(view.source).source_prior, likelihood_ratio(evidence / temperature))


def _icl_refine(view: View, temperature):
    return _learn(view, _weights(view, _evidence_of_prompts(view), temperature))


def _self_refine(view: View, temperature):
    return _learn(view, _weights(view, _evidence_of_rows(view), temperature))


def _intent_refine(view: View):
    source = known(view.source)
    # Any one prompt would do, but it must not depend on the order of the examples: that of the least uniform.
    first = jnp.argmin(view.chance.uniform)
    log_weights = jnp.log(source.source_prior) + _evidence_of_prompts(view)[:, first]
    named = jax.nn.one_hot(jnp.argmax(log_weights), log_weights.shape[0])
    return _learn(view, jnp.broadcast_to(named[:, None], (named.shape[0], view.features.shape[0])))


def _em_prior(view: View, steps):
    source = known(view.source)
    weights = em_steps(source.source_prior, likelihood_ratio(_evidence_of_rows(view)), jnp.asarray(steps, int))
    return weights @ source.concepts


ICL_REFINE = Method(
    "icl_refine",
    "Labels of the strong model after a prompt of weak examples, a fresh one for each example.",
    _icl_refine,
    ("source", "prompts"),
    Cost(1, True, 1),
    REFERENCE,
    {"temperature": TEMPERATURE},
)
INTENT_REFINE = Method(
    "intent_refine",
    "Labels of the strong model under the concept that it names after one prompt of weak examples.",
    _intent_refine,
    ("source", "prompts"),
    Cost(1, False, 1),
    REFERENCE,
)
SELF_REFINE = Method(
    "self_refine",
    "Each label refined from its own weak pair alone.",
    _self_refine,
    ("source", "weak_labels"),
    Cost(1, False, 1),
    f"{REFERENCE}; arXiv 2508.17018",
    {"temperature": TEMPERATURE},
)
EM_PRIOR = Method(
    "em_prior",
    "EM on the mixture weights from the source prior: one-example refinement, step by step to maximum likelihood.",
    _em_prior,
    ("source", "weak_labels"),
    Cost(1, False, 0),
    "derived, docs/theory.md 3.7",
    {"steps": Knob(10.0, (1.0, 3.0, 10.0, 30.0), 0.0, 10_000.0, "of EM, cut to a whole number")},
)
