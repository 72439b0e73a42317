"""Baselines that use a few true labels among the weak ones.

true_only        fine-tune on the examples that have a true label, and on nothing else
weighted_true    one fit to all examples, a true label in place of the weak one where there is one, with the weight w:
                     argmin sum_i v_i loss(y_i, b.phi_i) + penalty ||b - b_P||^2,   v_i ~ w where true, 1 elsewhere
weak_then_true   fine-tune on weak labels from the source, then on true ones from there:
                     b_1 = learn(weak, from b_P, penalty),    b_2 = learn(true, from b_1, pull)

With ever more examples and no penalty, true labels on a share f and squares as the loss, `weighted_true` comes to
beta_Q + (1 - f)/(1 - f + w f) (beta' - beta_Q): its risk is that factor squared times the teacher's (textbook: normal
equations of two samples with one covariance). For w = 1 and any number of examples `theory.mixed_labels_risk` has it.

The third is sequential fine-tuning of Mallen and Belrose (arXiv 2410.13215, w2s/reporter.py of
github.com/EleutherAI/scalable-elicitation), there with early stopping; here the pull to what was learned before stands
for it. Without a true label the first is the source, the others are naive fine-tuning.
"""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.methods.kinds import LINEAR, SIGN, Kind
from w2s_jax.methods.method import LEAST_PENALTY, Cost, FewLabels, Knob, Method, SignForm, View, known
from w2s_jax.types import Scalar


def true_shares(few: FewLabels, weight: Scalar = 1.0, other: Scalar = 0.0) -> Float[Array, "n"]:
    """Weights of the examples, of sum 1: `weight` for each with a true label against `other` for the rest.

    >>> true_shares(FewLabels(jnp.zeros(4), jnp.array([1.0, 0.0, 0.0, 1.0])), 3.0, 1.0).tolist()
    [0.375, 0.125, 0.125, 0.375]
    """
    shares = few.given * weight + (1 - few.given) * other
    total = shares.sum()
    return shares / jnp.where(total > 0, total, 1.0)


def _true_only(kind: Kind, view: View, penalty):
    few = known(view.few_true_labels)
    return kind.learn(view, few.labels, kind.source(view), penalty, true_shares(few))


def _weighted(kind: Kind, view: View, weight, penalty):
    few = known(view.few_true_labels)
    labels = jnp.where(few.given > 0, few.labels, known(view.weak_labels))
    return kind.learn(view, labels, kind.source(view), penalty, true_shares(few, weight, 1.0))


def _weak_then_true(kind: Kind, view: View, penalty, pull):
    few = known(view.few_true_labels)
    weak = kind.learn(view, known(view.weak_labels), kind.source(view), penalty)
    return kind.learn(view, few.labels, weak, pull, true_shares(few))


ABOUT_PENALTY = "pull to the source, in units of feature variance"
PULL = "pull of the second stage to what the first one learned, in units of feature variance"
COARSE = Knob(0.1, (0.0, 0.1, 1.0), 0.0, jnp.inf, ABOUT_PENALTY)
SIGN_COARSE = Knob(0.03, (LEAST_PENALTY, 0.03, 0.3), LEAST_PENALTY, jnp.inf, ABOUT_PENALTY)
FEW = Knob(1.0, (0.1, 0.3, 1.0, 3.0, 10.0), 0.0, jnp.inf, ABOUT_PENALTY)
SIGN_FEW = Knob(0.1, (0.01, 0.03, 0.1, 0.3, 1.0), LEAST_PENALTY, jnp.inf, ABOUT_PENALTY)
WEIGHT = Knob(10.0, (1.0, 3.0, 10.0, 30.0, 100.0), 0.0, 1e6, "of an example with a true label; others have 1")
SIGN_PULL = Knob(0.1, (0.01, 0.03, 0.1, 0.3, 1.0), LEAST_PENALTY, jnp.inf, PULL)
IN_PRACTICE = "yes, with a few true labels"


def _method(name: str, about: str, fit, sees, reference: str, knobs: dict[str, Knob], signs: dict[str, Knob]) -> Method:
    form = SignForm(partial(fit, SIGN), reference, signs)
    return Method(name, about, partial(fit, LINEAR), sees, Cost(0, False, 1), reference, knobs, form, IN_PRACTICE)


TRUE_ONLY = _method(
    "true_only",
    "Fine-tuning on the few examples that have a true label, and on nothing else.",
    _true_only,
    ("source", "few_true_labels"),
    "textbook",
    {"penalty": FEW},
    {"penalty": SIGN_FEW},
)
WEIGHTED_TRUE = _method(
    "weighted_true",
    "One fit to all examples, with true labels where there are any, which weigh more.",
    _weighted,
    ("source", "weak_labels", "few_true_labels"),
    "textbook (weighted least squares, weighted logistic regression)",
    {"weight": WEIGHT, "penalty": COARSE},
    {"weight": WEIGHT, "penalty": SIGN_COARSE},
)
WEAK_THEN_TRUE = _method(
    "weak_then_true",
    "Fine-tuning on the weak labels, then from there on the few true ones.",
    _weak_then_true,
    ("source", "weak_labels", "few_true_labels"),
    "Mallen and Belrose, arXiv 2410.13215; a pull in place of early stopping",
    {"penalty": COARSE, "pull": Knob(1.0, (0.1, 0.3, 1.0, 3.0, 10.0), 0.0, jnp.inf, PULL)},
    {"penalty": SIGN_COARSE, "pull": SIGN_PULL},
)
