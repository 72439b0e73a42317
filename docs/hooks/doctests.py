"""Examples in docstrings become blocks of code on the pages of reference."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^(?:>>>|\.\.\.).*\n(?:.*\S.*\n?)*", re.MULTILINE)
"""Lines from a prompt to the next empty line."""


class Doctests(griffe.Extension):
    """Fences every example, which Markdown would take for a quotation."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object once it is loaded."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """The text with its examples in blocks of code."""
    return EXAMPLE.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text)
