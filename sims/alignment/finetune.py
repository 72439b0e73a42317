"""Fine-tuning on single labelled questions, token by token along the label.

    cross entropy    (1 - c) CE(model, label) + c CE(model, argmax model)
    reverse KL       KL(model || teacher), the teacher's probabilities read along its own label

c = 0 for every method but `aux_confidence`, where it rises linearly over the first tenth of the steps and then stays
(Burns et al., arXiv 2312.09390). Their code (github.com/openai/weak-to-strong, weak_to_strong/loss.py) has the same
tenth, but lets c rise to a tenth of its weight there and then jump to all of it. Their weak labels are soft, ours are
drawn unless `confidence_labels` is soft: CE is then to the teacher's probabilities along its own label.

The second loss is that of `reverse_kl`: arXiv 2502.11107 takes it between class probabilities, and a token is such a
class given those before it (derived).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from sims.alignment.spec import AlignmentSpec
from w2s_jax.alignment.documents import learned_places, to_examples
from w2s_jax.alignment.world import ASK
from w2s_jax.methods.confidence import warmed_up
from w2s_jax.training import Params, init_state, make_optimizer, train
from w2s_jax.types import Key


class Lesson(NamedTuple):
    """Labels of n questions and settings of a fit."""

    labels: Int[Array, "*b n a"]
    steps: Int[Array, "*b"]
    """Optimizer steps, at most `finetune_steps`, the length of the schedule; 0 leaves the model as it is."""
    confidence: Float[Array, "*b"]
    """c above."""
    reverse: Bool[Array, "*b"]
    """Whether the loss is the reverse KL."""
    soft: Bool[Array, "*b"]
    """Whether the label is the teacher's probabilities."""
    teacher: Int[Array, "*b"]
    """Whose probabilities those two take, of those given to `fine_tune`."""


def lesson(spec: AlignmentSpec, labels: Int[Array, "*b n a"], method: str = "naive_ft", steps: int | None = None):
    """The lessons of a method that learns these labels; a set for each teacher where it reads their probabilities."""
    axes = labels.shape[:-2]
    soft = method == "aux_confidence" and spec.confidence_labels == "soft"
    return Lesson(
        labels,
        jnp.full(axes, spec.finetune_steps if steps is None else steps),
        jnp.full(axes, spec.confidence if method == "aux_confidence" else 0.0),
        jnp.full(axes, method == "reverse_kl"),
        jnp.full(axes, soft),
        jnp.arange(axes[0]) if soft or method == "reverse_kl" else jnp.zeros(axes, int),
    )


def fine_tune(
    spec: AlignmentSpec,
    key: Key,
    graph: nnx.GraphDef,
    params: Params,
    questions: Int[Array, "n"],
    given: Lesson,
    log_laws: Float[Array, "C n p vocab"],
) -> Params:
    """The parameters after one lesson; all fits of a seed see the same questions in the same order.

    Args:
        spec: steps, batches and the learning rate.
        key: chooses the questions of a step.
        graph, params: the model.
        questions: their numbers.
        given: one lesson, `[]`.
        log_laws: of each teacher at the places of its own labels, from `label_laws`.
    """
    world, optimizer = spec.world, make_optimizer(spec.finetuning)
    examples = to_examples(world, questions, jnp.full(questions.shape, ASK), given.labels)
    counts = learned_places(world, examples)[:, 1:].at[:, : world.questions.shape[1]].set(0.0)  # answers, not marks
    teacher = log_laws[given.teacher]

    def step(i: Array, state):
        share = given.confidence * warmed_up(i, spec.finetune_steps)

        def loss(params: Params, step_key: Key) -> Array:
            rows = jax.random.randint(step_key, (spec.finetune_batch,), 0, questions.size)
            batch, weights = examples[rows], counts[rows]
            logits = nnx.merge(graph, params)(batch[:, :-1])
            own = jnp.argmax(logits, axis=-1)
            hard, sure = (optax.softmax_cross_entropy_with_integer_labels(logits, ids) for ids in (batch[:, 1:], own))
            law, told = jax.nn.log_softmax(logits), teacher[rows]
            weak = jnp.where(given.soft, -(jnp.exp(told) * law).sum(axis=-1), hard)
            forward = (1 - share) * weak + share * sure
            reverse = (jnp.exp(law) * (law - told)).sum(axis=-1)
            return (jnp.where(given.reverse, reverse, forward) * weights).sum() / weights.sum()

        return train(key, state, loss, optimizer, 1)[0]

    return jax.lax.fori_loop(0, given.steps, step, init_state(params, optimizer)).params
