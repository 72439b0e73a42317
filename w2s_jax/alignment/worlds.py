"""The worlds by name, and examples from them to be read."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from w2s_jax.alignment.bias import make_bias
from w2s_jax.alignment.documents import sample_questions, sample_variants, to_examples
from w2s_jax.alignment.explanation import make_explanation
from w2s_jax.alignment.math import make_math
from w2s_jax.alignment.persona import make_persona
from w2s_jax.alignment.world import ASK, END, FIRST_TAG, World, to_text
from w2s_jax.rng import stream
from w2s_jax.types import Key

WORLDS: dict[str, Callable[..., World]] = {
    "persona": make_persona,
    "explanation": make_explanation,
    "math": make_math,
    "bias": make_bias,
}
"""What makes each world; all take (seed, size, style_noise)."""


def make_world(task: str, seed: int = 0, size: int | None = None, style_noise: float | None = None) -> World:
    """The world called `task`.

    Args:
        task: one of `WORLDS`.
        seed: of what is drawn in it.
        size: number of its questions; None: the world's own default.
        style_noise: how often its concepts leave their own way, in (0, 1/2); None: the world's own default.

    Returns:
        A `World`.

    Raises:
        ValueError: for an unknown task, and for what the world refuses.

    >>> make_world("persona", size=16).task
    'persona'
    """
    if task not in WORLDS:
        raise ValueError(f"task must be one of {', '.join(WORLDS)}, got {task!r}; choose one of these.")
    given = {"size": size, "style_noise": style_noise}
    return WORLDS[task](seed, **{name: value for name, value in given.items() if value is not None})


def dialogues(world: World, key: Key, concept: int, count: int) -> list[str]:
    """Right answers in the way of a concept, as lines of words: question, mark, answer.

    The mark is ? and the concept's tag by turns, ? first.

    Args:
        world: a `World`.
        key: a typed key.
        concept: in [0, K).
        count: number of lines, in [0, Q]; no two ask the same question.

    Returns:
        The lines; each stops at the first <end>.

    Raises:
        ValueError: for a concept or count outside its range.

    >>> import jax
    >>> lines = dialogues(make_world("persona"), jax.random.key(0), 0, 2)
    >>> [line.split()[2] for line in lines]
    ['?', '<pirate>']
    """
    if not 0 <= concept < world.num_concepts:
        raise ValueError(f"concept must be in [0, {world.num_concepts}), got {concept}; choose one of these.")
    if not 0 <= count <= len(world.questions):
        raise ValueError(f"count must be in [0, {len(world.questions)}], the number of questions, got {count}.")
    questions = sample_questions(stream(key, "questions"), jnp.arange(len(world.questions)), count)
    variants = sample_variants(stream(key, "variants"), world, jnp.full(count, concept))
    answers = jnp.asarray(world.answers)[questions, jnp.asarray(world.truth)[questions], variants]
    marks = jnp.where(jnp.arange(count) % 2, FIRST_TAG + concept, ASK)
    lines = np.asarray(to_examples(world, questions, marks, answers))
    return [to_text(world, line[: np.argmax(line == END) + 1]) for line in lines]
