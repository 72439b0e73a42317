"""Plain files that a command reads and writes, checked before it computes anything."""

import os
from pathlib import Path

from sims.engine.checked import InputError

FIGURES = (".png", ".pdf", ".svg")
"""Suffixes of the formats that a figure may have."""


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: if there is no such file, or it is no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text, got other bytes; save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{path} must be a file that can be read, got {error.strerror}; check the path.") from error


def check_writable(path: Path, option: str = "--json") -> None:
    """Refuse a file that could not be written at the end, before anything is computed."""
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{option} must be a file that can be written, got {path}; name one in a folder of yours.")


def check_figure(path: Path, option: str = "--figure") -> None:
    """The same for a figure, whose suffix is its format."""
    if path.suffix not in FIGURES:
        raise InputError(f"{option} must end in {', '.join(FIGURES)}, got {path}; name its format.")
    check_writable(path, option)
