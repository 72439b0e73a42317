"""Other losses of released code, for signs: gradient descent on them from the source, for a time.

    b <- b - (t/N) (1/n) sum v_i (sigmoid(f_i) - target_i) phi_i,   f = b.phi,  N steps

with p = (1 + y')/2 and l' the teacher's log odds:

product_loss         target = sigmoid(strong f + weak l'),  v = 1
confidence_window    target = p,  v = 1 where max(sigmoid(f), sigmoid(-f)) < 1/2 + radius, else 0
entropy_loss         target = (1 - c) p + c sigmoid(f),  v = 1

No gradient goes through a target. The first is `product_loss_fn` of github.com/openai/weak-to-strong (weak_to_strong/
loss.py), softmax^strong label^weak over its sum; the others are `confidence_window_loss` and, with harden=False,
`log_confidence_loss` of github.com/EleutherAI/w2s (w2s/loss.py). Time for a learning rate and epochs is ours.

The last does nothing but slow the descent down: its slope is 1 - c times that of the cross entropy, so that it is
`early_stopping` with another clock. The first reads l' because of a drawn sign nothing is left but that sign. Both
others learn drawn signs or, at soft = 1 and as released, probabilities.

Balancing (`balance_batch` of EleutherAI/w2s) takes the mean from the teacher's log odds. Features here have the mean 0
and a student has no intercept, so that signs are balanced as they are: there is no such method.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.confidence import SHARE, SOFT, warmed_up, weak_labels
from w2s_jax.methods.early_stopping import DESCENT_STEPS, SIGN_TIME, descend
from w2s_jax.methods.method import Cost, Knob, Method, SignForm, View, known
from w2s_jax.types import Scalar


def product_target(logits: Float[Array, "n"], weak_log_odds: Float[Array, "n"], weak: Scalar, strong: Scalar):
    """Probabilities of +1 that the product loss learns.

    >>> float(product_target(jnp.array([1.0]), jnp.array([-1.0]), 1.0, 1.0)[0])
    0.5
    """
    return jax.nn.sigmoid(strong * logits + weak * weak_log_odds)


def unsure(logits: Float[Array, "n"], radius: Scalar) -> Float[Array, "n"]:
    """1 where the likelier sign has a probability under 1/2 + radius, else 0.

    >>> unsure(jnp.array([0.5, -0.7]), 0.15).tolist()
    [1.0, 0.0]
    """
    sure, limit = no_gradient(WINDOW_JUMPS, (jax.nn.sigmoid(jnp.abs(logits)), 0.5 + radius))
    return (sure < limit).astype(logits.dtype)


WINDOW_JUMPS = (
    "confidence_window has no derivative, since examples jump out of the window; use early_stopping, or differences of "
    "means over many keys."
)


def _product(view: View, weak, strong, time):
    odds = known(view.weak_log_odds)
    return descend(view, lambda logits, _: jax.nn.sigmoid(logits) - product_target(logits, odds, weak, strong), time)


def _window(view: View, radius, soft, time):
    positive = (1 + weak_labels(view, soft)) / 2
    return descend(view, lambda logits, _: unsure(logits, radius) * (jax.nn.sigmoid(logits) - positive), time)


def _entropy(view: View, weight, soft, time):
    positive = (1 + weak_labels(view, soft)) / 2

    def slope(logits: Array, step: Array) -> Array:
        own, share = jax.nn.sigmoid(logits), weight * warmed_up(step, DESCENT_STEPS)
        return own - ((1 - share) * positive + share * own)

    return descend(view, slope, time)


def _of_signs(name: str, about: str, fit, sees, reference: str, knobs: dict[str, Knob]) -> Method:
    """A method that has no form for numbers."""
    knobs = {**knobs, "time": SIGN_TIME}
    return Method(name, about, None, sees, Cost(0, False, 1), reference, knobs, SignForm(fit, reference, knobs), "yes")


BOTH = ("source", "weak_labels", "weak_log_odds")
PRODUCT_LOSS = _of_signs(
    "product_loss",
    "Descent towards the product of the student's own probabilities and the teacher's.",
    _product,
    ("source", "weak_log_odds"),
    "github.com/openai/weak-to-strong, weak_to_strong/loss.py, product_loss_fn",
    {
        "weak": Knob(1.0, (1.0,), 0.0, 100.0, "exponent of the teacher's probabilities, as released"),
        "strong": Knob(1.0, (1.0,), 0.0, 100.0, "exponent of the student's own, as released"),
    },
)
CONFIDENCE_WINDOW = _of_signs(
    "confidence_window",
    "Descent on the weak labels of the examples of which the student is not yet sure.",
    _window,
    BOTH,
    "github.com/EleutherAI/w2s, w2s/loss.py, confidence_window_loss",
    {
        "radius": Knob(0.15, (0.15, 0.3), 0.0, 0.5, "how far from 1/2 a probability may be to count as unsure"),
        "soft": SOFT,
    },
)
ENTROPY_LOSS = _of_signs(
    "entropy_loss",
    "Descent on weak labels mixed with the student's own probabilities, which only slows it down.",
    _entropy,
    BOTH,
    "github.com/EleutherAI/w2s, w2s/loss.py, log_confidence_loss without hardening",
    {"weight": SHARE, "soft": SOFT},
)
