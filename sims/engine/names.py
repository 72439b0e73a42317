"""The known names that are nearest to a misspelt one."""

import difflib
from collections.abc import Iterable


def suggest(word: str, known: list[str]) -> str:
    """A sentence with the names nearest to a word, or with all of them where none is near.

    >>> suggest("naive", ["source", "naive_ft", "hull"])
    'did you mean naive_ft?'
    >>> suggest("x", ["source", "hull"])
    'choose from source, hull.'
    """
    near = nearest(word, known)
    return f"did you mean {near}?" if near else f"choose from {', '.join(known)}."


def nearest(word: str, known: Iterable[str]) -> str:
    """Up to three names like a word, joined by "or"; empty where none is near."""
    plain = {name.strip("-").replace("_", "").replace("-", ""): name for name in sorted(known)}
    own = word.strip("-").replace("_", "").replace("-", "")
    near = difflib.get_close_matches(own, plain, n=3, cutoff=0.7)
    near += [name for name in plain if len(own) > 2 and name.startswith(own) and name not in near]
    return " or ".join(plain[name] for name in near[:3])
