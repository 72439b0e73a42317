"""Results as a committed table: what claims and documents read of a sweep, refused where a figure reads more.

The tables of docs/results (sims/evidence.py) stand in for a store that is not there: `--results docs/results`.
"""

from pathlib import Path

from figures.data import Results
from figures.stores import MissingResultError, command_for, table_of
from sims import evidence
from sims.engine.checked import InputError


def open_table(store: str, folder: Path) -> Results:
    """The table of a store, whose arrays are read when they are asked for."""
    found = evidence.load(folder, table_of(store, folder).stem)
    return Results(store, found.data, found.about["config"], table=True)


def lacks(error: Exception, held: list[Results]) -> MissingResultError | None:
    """What a figure reads and the committed tables lack, as a sentence; None if the error is another one."""
    tables = [results.name for results in held if results.table]
    if isinstance(error, MissingResultError) or not tables or not isinstance(error, InputError | KeyError):
        return None
    names = ", ".join(tables)
    return MissingResultError(
        f"this figure reads more than the committed table of {names} holds; draw it from the store, made with: "
        f"{command_for(tables[0], Path('results'))}"
    )
