"""Fine-tuning on single labelled questions, by cross entropy with the labels or partly with the model's own answers.

    loss = (1 - c) CE(model, label) + c CE(model, argmax model)

token by token along the label; c = 0 for every method but `aux_confidence` (Burns et al., arXiv 2312.09390). There c
rises over the first fifth of the steps: here it is half its final value for that long, the mean of that ramp.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from sims.dialogues.spec import AlignmentSpec
from w2s_jax.alignment.documents import learned_places, to_examples
from w2s_jax.alignment.world import ASK
from w2s_jax.training import Params, init_state, make_optimizer, train
from w2s_jax.types import Key


def fine_tune(
    spec: AlignmentSpec,
    key: Key,
    graph: nnx.GraphDef,
    params: Params,
    questions: Int[Array, "n"],
    labels: Int[Array, "n a"],
    confidence: Float[Array, ""] | float = 0.0,
) -> Params:
    """The parameters after fine-tuning; all fits of a seed see the same questions in the same order."""
    world, optimizer = spec.world, make_optimizer(spec.finetuning)
    examples = to_examples(world, questions, jnp.full(questions.shape, ASK), labels)
    counts = learned_places(world, examples)[:, 1:].at[:, : world.questions.shape[1]].set(0.0)  # answers, not marks

    def take(state, num_steps: int, confidence):
        def loss(params: Params, step_key: Key) -> Array:
            rows = jax.random.randint(step_key, (spec.finetune_batch,), 0, questions.size)
            batch, weights = examples[rows], counts[rows]
            logits = nnx.merge(graph, params)(batch[:, :-1])
            own = jnp.argmax(logits, axis=-1)
            losses = [optax.softmax_cross_entropy_with_integer_labels(logits, ids) for ids in (batch[:, 1:], own)]
            return (((1 - confidence) * losses[0] + confidence * losses[1]) * weights).sum() / weights.sum()

        return train(key, state, loss, optimizer, num_steps)[0]

    # One program for both parts: fifths of the steps.
    ramp = jnp.array([0.5, 1.0, 1.0, 1.0, 1.0])
    fifth = spec.finetune_steps // 5
    state, _ = jax.lax.scan(
        lambda state, share: (take(state, fifth, share * confidence), None), init_state(params, optimizer), ramp
    )
    return state.params
