"""Results as a committed table: what claims and documents read of a sweep, refused where a figure reads more.

The tables of docs/results (sims/evidence.py) stand in for a store that is not there: `--results docs/results`.
"""

from pathlib import Path
from typing import Any

import xarray as xr

from figures.stores import MissingResultError, command_for, table_of
from sims import evidence
from sims.engine.checked import InputError


def read(store: str, folder: Path) -> tuple[xr.Dataset, dict[str, Any]]:
    """The table of a store, whose arrays are read when they are asked for, and the sweep's configuration."""
    found = evidence.load(folder, table_of(store, folder).stem)
    return found.data, found.about["config"]


def lacks(error: Exception, tables: list[str]) -> MissingResultError | None:
    """What a figure reads and these committed tables lack, as a sentence; None if the error is another one."""
    if isinstance(error, MissingResultError) or not tables or not isinstance(error, InputError | KeyError):
        return None
    names = ", ".join(tables)
    return MissingResultError(
        f"this figure reads more than the committed table of {names} holds; draw it from the store, made with: "
        f"{command_for(tables[0], Path('results'))}"
    )
