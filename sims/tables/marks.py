"""Marks in the documents, between which tables and numbers are written from committed results.

    <!-- table: alignment persona -->
    ...
    <!-- end -->
    ... saves <!-- value: claim methods "bootstrapping: share" .1% -->2.4%<!-- end --> at most ...

A mark of a number does not begin a line: Markdown would take the whole line for HTML.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from sims.engine.checked import InputError
from sims.tables import TABLES, VALUES
from sims.tables.sources import Missing, Sources

MARK = re.compile(r"<!-- (table|value): (.*?) -->(.*?)<!-- end -->", re.DOTALL)
CELL = re.compile(r"\**[-+≤≥<>~]?\s?[\d.,]*\d[\d.,]*( (±|of) [\d.]+)?( ?(%|[a-zA-Z/]+))?\**")
"""A cell that holds a number and nothing else, but for a unit."""


def documents(root: Path) -> list[Path]:
    """Every document that marks are looked for in."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def written(text: str, sources: Sources) -> tuple[str, list[tuple[str, str]]]:
    """The text with every mark filled, and the marks that could not be, with the file that each of them needs."""
    left: list[tuple[str, str]] = []

    def fill(match: re.Match) -> str:
        kind, call, _ = match.groups()
        try:
            found = _call(kind, call, sources)
        except Missing as missing:
            left.append((call, str(missing)))
            return match.group(0)
        held = f"\n{found}\n\n" if kind == "table" else found
        return f"<!-- {kind}: {call} -->{held}<!-- end -->"

    return MARK.sub(fill, text), left


def touch(root: Path, sources: Sources) -> None:
    """Read what every mark of the documents reads of these sources; marks that need others are passed over."""
    for path in documents(root):
        written(path.read_text(), sources)


def refresh(root: Path, sources: Sources) -> Iterator[tuple[Path, bool, list[tuple[str, str]]]]:
    """Rewrite every mark of every document: (document, whether it changed, marks that were left as they are)."""
    found = [(path, path.read_text()) for path in documents(root)]
    for path, old, (new, left) in [(path, old, written(old, sources)) for path, old in found]:
        if new != old:
            path.write_text(new)
        yield path, new != old, left


def unmarked(text: str) -> list[str]:
    """First lines of the tables with a cell that is a number, outside of all marks."""
    lines = MARK.sub(lambda match: "\n" if match.group(1) == "table" else match.group(3), text).splitlines()
    tables: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    return [rows[0] for rows in tables if any(map(_is_number, _cells(rows[2:])))]


def _cells(rows: list[str]) -> list[str]:
    return [cell.strip() for row in rows for cell in row.strip().strip("|").split("|")]


def _is_number(cell: str) -> bool:
    return CELL.fullmatch(cell) is not None


def _call(kind: str, call: str, sources: Sources) -> str:
    known = TABLES if kind == "table" else VALUES
    name, *arguments = shlex.split(call)
    if name not in known:
        raise InputError(f"a mark must name a {kind} among {', '.join(known)}, got {name}; choose from the list.")
    return known[name](sources, *arguments)
