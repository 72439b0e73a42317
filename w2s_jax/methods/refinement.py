"""Refinement: the strong model infers the concept from weak examples, answers under it, and learns its own answers.

    w_k(D) prop. to alpha_k prod_j p_k(y'_j | phi_j)^(1/temperature)
    label ~ sum_k w_k p_k(. | phi)

p_k is N(beta_k.phi, sigma^2), or +1 with probability sigmoid(beta_k.phi / sigma).

D is a prompt of other weak examples (icl_refine), the example's own weak pair (self_refine: the paper's
Ask-to-Improve), or one prompt for all, from which the likeliest concept is named (intent_refine: Infer-and-Respond).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.em import em_steps
from w2s_jax.gradients import no_gradient
from w2s_jax.methods.kinds import LINEAR, SIGN, Kind
from w2s_jax.methods.method import TEMPERATURE, Cost, Knob, Method, SignForm, View, known
from w2s_jax.refinement import likelihood_ratio, posterior_weights
from w2s_jax.types import Dataset, is_concrete

INTENT_JUMPS = (
    "intent_refine has no derivative in what its prompt says, since the concept that it names jumps; use icl_refine, "
    "or differences of means over many keys."
)
STEPS_JUMP = "steps of em_prior is a whole number without a derivative; use differences."
REFERENCE = "Somerstep et al., arXiv 2405.16236"
SAMPLES = "yes: its own answers after weak examples, which is temperature 1"


def _evidence_of_prompts(kind: Kind, view: View) -> Float[Array, "K n"]:
    """Log evidence of each example's prompt for the concepts."""
    per_prompt = jax.vmap(lambda prompt: kind.evidence(view, prompt).sum(axis=1))
    return per_prompt(known(view.prompts)).T


def _evidence_of_rows(kind: Kind, view: View) -> Float[Array, "K n"]:
    return kind.evidence(view, Dataset(view.features, known(view.weak_labels)))


def _learn(kind: Kind, view: View, weights: Float[Array, "K n"]) -> Float[Array, "d"]:
    """Fine-tune on labels drawn under concept weights of each example."""
    return kind.learn(view, kind.answer(view, weights), kind.source(view))


def _weights(view: View, evidence: Float[Array, "K n"], temperature) -> Float[Array, "K n"]:
    return posterior_weights(known(view.source).source_prior, evidence / temperature)


def _icl_refine(kind: Kind, view: View, temperature):
    return _learn(kind, view, _weights(view, _evidence_of_prompts(kind, view), temperature))


def _self_refine(kind: Kind, view: View, temperature):
    return _learn(kind, view, _weights(view, _evidence_of_rows(kind, view), temperature))


def _intent_refine(kind: Kind, view: View):
    # Any one prompt would do, but it must not depend on the order of the examples: that of the least uniform.
    first = jnp.argmin(view.chance.uniform)
    log_weights = jnp.log(known(view.source).source_prior) + _evidence_of_prompts(kind, view)[:, first]
    named = jax.nn.one_hot(jnp.argmax(no_gradient(INTENT_JUMPS, log_weights)), log_weights.shape[0])
    return _learn(kind, view, jnp.broadcast_to(named[:, None], (named.shape[0], view.features.shape[0])))


def _em_prior(kind: Kind, view: View, steps):
    prior = known(view.source).source_prior
    # A traced number of steps makes a loop without reverse derivatives.
    whole = int(steps) if is_concrete(steps) else jnp.asarray(no_gradient(STEPS_JUMP, steps), int)
    return kind.mixture(view, em_steps(prior, likelihood_ratio(_evidence_of_rows(kind, view), prior), whole))


ICL_REFINE = Method(
    "icl_refine",
    "Labels of the strong model after a prompt of weak examples, a fresh one for each example.",
    partial(_icl_refine, LINEAR),
    ("source", "prompts"),
    Cost(1, True, 1),
    REFERENCE,
    {"temperature": TEMPERATURE},
    SignForm(partial(_icl_refine, SIGN), REFERENCE, {"temperature": TEMPERATURE}),
    SAMPLES,
)
INTENT_REFINE = Method(
    "intent_refine",
    "Labels of the strong model under the concept that it names after one prompt of weak examples.",
    partial(_intent_refine, LINEAR),
    ("source", "prompts"),
    Cost(1, False, 1),
    REFERENCE,
    sign=SignForm(partial(_intent_refine, SIGN), REFERENCE),
    in_practice="yes: it names a concept and answers under it",
)
SELF_REFINE = Method(
    "self_refine",
    "Each label refined from its own weak pair alone.",
    partial(_self_refine, LINEAR),
    ("source", "weak_labels"),
    Cost(1, False, 1),
    f"{REFERENCE}; arXiv 2508.17018",
    {"temperature": TEMPERATURE},
    SignForm(partial(_self_refine, SIGN), f"{REFERENCE}; arXiv 2508.17018", {"temperature": TEMPERATURE}),
    SAMPLES,
)
STEPS = Knob(10.0, (1.0, 3.0, 10.0, 30.0), 0.0, 10_000.0, "of EM, cut to a whole number")
EM_PRIOR = Method(
    "em_prior",
    "EM on the mixture weights from the source prior: one-example refinement, step by step to maximum likelihood.",
    partial(_em_prior, LINEAR),
    ("source", "weak_labels"),
    Cost(1, False, 0),
    "derived, docs/theory.md 3.7",
    {"steps": STEPS},
    SignForm(partial(_em_prior, SIGN), "derived, docs/theory.md 3.7", {"steps": STEPS}),
    "no: it is given the list of the concepts and weighs them",
)
