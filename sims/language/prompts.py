"""Questions as tokens: what all rows of a conversation begin with, read once, and what is each row's own.

A row is the chat template's text of a conversation up to the place where the assistant answers. Rows of one system
prompt, or with the same examples before the question, share their beginning; the model reads it once for all of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sims.engine.checked import InputError
from w2s_jax.checkpoints import Checkpoint

Turns = Sequence[tuple[str, str]]
"""Questions with their answers, which stand in the conversation before the next question."""


class Rows(NamedTuple):
    """Rows of unequal length, padded on the right."""

    ids: np.ndarray
    """Tokens `[n, L]`; 0 beyond a row's own length."""
    lengths: np.ndarray
    """Tokens of each row `[n]`."""


def rows_of(lists: Sequence[Sequence[int]], length: int | None = None) -> Rows:
    """Lists of tokens as rows of one length, that of the longest or the one given.

    >>> rows_of([[5, 6], [7]]).ids.tolist()
    [[5, 6], [7, 0]]
    """
    lengths = np.array([len(tokens) for tokens in lists], np.int32)
    ids = np.zeros((len(lists), length or int(lengths.max())), np.int32)
    for row, tokens in zip(ids, lists):
        row[: len(tokens)] = tokens
    return Rows(ids, lengths)


def conversation(checkpoint: Checkpoint, question: str, turns: Turns = (), system: str | None = None) -> list[int]:
    """Tokens of a conversation, up to where the assistant answers the question.

    Raises:
        InputError: if the model has no chat template, or its template refuses the conversation.
    """
    if checkpoint.chat is None:
        raise InputError(f"{checkpoint.name} must have a chat template, got none; choose a model tuned for chat.")
    messages = [] if system is None else [{"role": "system", "content": system}]
    for asked, answered in turns:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    messages.append({"role": "user", "content": question})
    try:
        text = checkpoint.chat.render(messages, add_generation_prompt=True)
    except ValueError as error:
        raise InputError(str(error)) from error
    return checkpoint.tokenizer.encode(text)


def split_shared(lists: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """What all lists begin with, and what is left of each, never nothing.

    >>> split_shared([[1, 2, 3], [1, 2, 4, 5]])
    ([1, 2], [[3], [4, 5]])
    """
    most = min(map(len, lists)) - 1
    same = 0
    while same < most and len({tokens[same] for tokens in lists}) == 1:
        same += 1
    return list(lists[0][:same]), [list(tokens[same:]) for tokens in lists]


def answer_tokens(checkpoint: Checkpoint, text: str) -> list[int]:
    """Tokens of an answer, and the one that ends it."""
    return [*checkpoint.tokenizer.encode(text), checkpoint.tokenizer.stop[0]]
