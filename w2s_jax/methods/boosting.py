"""Boosted teachers: weak models trained one after another on a few true labels, for signs.

AdaBoost with weights D over the examples that have a true label y, at first equal. In each of the rounds

    the weak model is fine-tuned on (D, y):  f_t = z.v_t,  z_k its log odds under its concept k
    e_t = sum D_i [sign f_t(i) != y_i],   alpha_t = 1/2 log((1 - e_t)/e_t)
    D_i <- D_i e^{-alpha_t} where it is right, D_i e^{alpha_t} where it is wrong;   D <- D / sum D

and the student learns, on all examples, the soft labels sum_t alpha_t sigmoid(f_t) / sum_t alpha_t. That is the rule of
github.com/Aakriti05/weak-to-strong (ada_generate_weight.py, ada_predict.py; arXiv 2410.04571). A weak model that is
fine-tuned weighs its own concepts anew, from the weights that it has before its alignment: it learns v and cannot leave
the span of its concepts. Two things are ours, since a few labels may be fitted without error: e_t is kept half a label
away from 0 and 1, and a round that is no better than chance has next to no weight.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.kinds import SIGN
from w2s_jax.methods.logistic import logistic_to_source
from w2s_jax.methods.method import SIGN_PENALTY, Cost, Knob, Method, SignForm, View, known
from w2s_jax.methods.true_labels import IN_PRACTICE, true_shares
from w2s_jax.types import Dataset, Scalar

ROUNDS = 3
"""Weak models, as many as teachers in `ensemble`."""
LEAST_WEIGHT = 1e-6
HARD = (
    "boosted_ensemble has no derivative, since the errors that it counts jump; use weighted_true, or differences of "
    "means over many keys."
)


def boosted_labels(view: View, weak_penalty: Scalar) -> Float[Array, "n"]:
    """Probabilities of +1 by the boosted weak models, for every example."""
    few, weak = known(view.few_true_labels), known(view.weak_concept_log_odds)
    prior = known(view.source).source_prior
    half = 0.5 / jnp.maximum(few.given.sum(), 1.0)

    def step(weights: Array, _) -> tuple[Array, tuple[Array, Array]]:
        coef = logistic_to_source(Dataset(weak.T, few.labels), prior, weak_penalty, shares=weights)
        odds = coef @ weak
        wrong = few.given * (no_gradient(HARD, odds) * few.labels <= 0)
        error = jnp.clip(weights @ wrong, half, 1 - half)
        alpha = jnp.log((1 - error) / error) / 2
        moved = weights * jnp.exp(alpha * (2 * wrong - 1))
        total = moved.sum()
        return moved / jnp.where(total > 0, total, 1.0), (jnp.maximum(alpha, LEAST_WEIGHT), jax.nn.sigmoid(odds))

    _, (alphas, chances) = jax.lax.scan(step, true_shares(few), length=ROUNDS)
    return alphas @ chances / alphas.sum()


def _fit(view: View, weak_penalty, penalty):
    return SIGN.learn(view, 2 * boosted_labels(view, weak_penalty) - 1, SIGN.source(view), penalty)


KNOBS = {
    "weak_penalty": Knob(0.03, (0.003, 0.03, 0.3), 1e-3, jnp.inf, "pull of a weak model to what it was before"),
    "penalty": SIGN_PENALTY,
}
REFERENCE = "arXiv 2410.04571, as in github.com/Aakriti05/weak-to-strong; weak models weigh their concepts anew"
BOOSTED_ENSEMBLE = Method(
    "boosted_ensemble",
    "Fine-tuning on soft labels of weak models boosted on the few true labels (AdaBoost).",
    None,
    ("source", "few_true_labels", "weak_concept_log_odds"),
    Cost(0, False, 1),
    REFERENCE,
    KNOBS,
    SignForm(_fit, REFERENCE, KNOBS),
    f"{IN_PRACTICE}, on which the weak model is trained",
)
