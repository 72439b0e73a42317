"""The user's table: a CSV file, a fine-tuned student a row."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from sims.engine.checked import InputError
from sims.engine.files import read_text
from sims.engine.names import nearest

COLUMNS = {
    "teacher": "accuracy of the weak teacher (required)",
    "student": "accuracy of the student after fine-tuning on the teacher's labels (required)",
    "n": "test inputs on which the rates of the row were measured; without it a row has no interval",
    "start": "accuracy of the student before fine-tuning",
    "agreement": "share of inputs on which start and teacher agree",
    "student_agreement": "share of inputs on which the fine-tuned student agrees with its teacher",
    "ceiling": "accuracy of the same student fine-tuned on true labels",
    "true_share": "share of the student's labels that were true, 0 if left out",
    "naive": "accuracy of the student fine-tuned on weak labels alone, for rows with true labels",
    "naive_agreement": "share of inputs on which that naive student agrees with its teacher",
}
"""What is read; any other column, such as seed or task, names the row."""
RATES = tuple(name for name in COLUMNS if name != "n")
REQUIRED = ("teacher", "student")


@dataclass(frozen=True)
class Row:
    """A fine-tuned student; None where the table says nothing."""

    label: str
    """Its other columns, or its line."""
    teacher: float
    student: float
    n: int | None = None
    start: float | None = None
    agreement: float | None = None
    student_agreement: float | None = None
    ceiling: float | None = None
    true_share: float | None = None
    naive: float | None = None
    naive_agreement: float | None = None


def read_table(path: str | Path) -> list[Row]:
    """The rows of a CSV file with a header; an empty cell says nothing.

    Raises:
        InputError: naming the line and the column, if the file cannot be read or holds no row, a required column is
            missing, a name is nearly that of a column, or a number is out of its range.
    """
    path = Path(path)
    lines = list(csv.reader(io.StringIO(read_text(path))))
    lines = [(number, line) for number, line in enumerate(lines, 1) if any(cell.strip() for cell in line)]
    if len(lines) < 2:
        raise InputError(f"{path} must hold a header and at least one row, got {len(lines)} lines; add some.")
    header = [name.strip() for name in lines[0][1]]
    _check_header(path, header)
    return [_row(f"{path}, line {number}", number, header, line) for number, line in lines[1:]]


def _check_header(path: Path, header: list[str]) -> None:
    for name in REQUIRED:
        if name not in header:
            near = nearest(name, header)
            hint = f"is it {near!r}?" if near else f"columns are {', '.join(COLUMNS)}."
            raise InputError(f"{path} must have the column {name}, got {', '.join(header)}; {hint}")
    for name in header:
        near = nearest(name, [column for column in COLUMNS if column not in header])
        if name not in COLUMNS and near:
            raise InputError(f"{path} must name its columns exactly, got {name!r}; did you mean {near!r}?")
        if header.count(name) > 1:
            raise InputError(f"{path} must name each column once, got {name!r} {header.count(name)} times; rename one.")


def _row(where: str, number: int, header: list[str], line: list[str]) -> Row:
    if len(line) != len(header):
        raise InputError(f"{where} must have {len(header)} cells, as the header has, got {len(line)}; correct it.")
    cells = {name: cell.strip() for name, cell in zip(header, line)}
    names = [f"{name}={cell}" for name, cell in cells.items() if (name not in COLUMNS or name == "true_share") and cell]
    rates = {name: _rate(where, name, cells[name]) for name in RATES if cells.get(name)}
    for name in REQUIRED:
        if name not in rates:
            raise InputError(f"{where} must have a value of {name}, got none; fill it in or leave the row out.")
    return Row(" ".join(names) or f"line {number}", n=_count(where, cells.get("n", "")), **rates)


def _rate(where: str, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError as error:
        raise InputError(f"{where}, {name}, must be a number, got {cell!r}; write a fraction such as 0.8.") from error
    exact = name in ("true_share", "agreement", "student_agreement", "naive_agreement")
    if not (0 <= value <= 1 if exact else 0 < value < 1):
        advice = "write percentages as fractions" if 1 < value <= 100 else "correct it"
        raise InputError(f"{where}, {name}, must be in {'[0, 1]' if exact else '(0, 1)'}, got {cell}; {advice}.")
    return value


def _count(where: str, cell: str) -> int | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = 0.0
    if value < 1 or value != int(value):
        raise InputError(f"{where}, n, must be a whole number of test inputs, at least 1, got {cell!r}; correct it.")
    return int(value)
