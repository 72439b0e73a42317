"""Text to tokens and back, and the tokens at which an answer ends."""

import dataclasses
import functools
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A model's own tokenizer.

    >>> from tokenizers import Tokenizer as Engine, models
    >>> tokenizer = Tokenizer(Engine(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])), stop=(0,))
    >>> tokenizer.encode("aab")
    [0, 2]
    """

    engine: Any
    """A `tokenizers.Tokenizer`."""
    stop: tuple[int, ...] = ()
    """Tokens that end an answer; the first is the usual one."""
    special: dict[str, str] = dataclasses.field(default_factory=dict)
    """Texts of special tokens by their role: bos_token, eos_token, ... A chat template reads them."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text. Special tokens written in it are recognised; none is added (see `start`)."""
        return self.engine.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Any, *, special: bool = False) -> str:
        """The text of tokens, a list or an array of them; special tokens are left out, unless `special`."""
        return self.engine.decode(np.asarray(ids, np.int64).tolist(), skip_special_tokens=not special)

    @functools.cached_property
    def start(self) -> tuple[int, ...]:
        """Tokens that the model expects before a text that is no chat. A chat template writes them itself."""
        return tuple(self.engine.encode("", add_special_tokens=True).ids)

    @property
    def size(self) -> int:
        """One more than the largest token."""
        return max(self.engine.get_vocab(with_added_tokens=True).values(), default=-1) + 1
