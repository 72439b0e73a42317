"""What tables are made of: evidence of finished sweeps, and measured times; and how a table is written."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sims import evidence
from sims.engine.checked import InputError
from sims.engine.runtime import check_commit
from sims.methods.submission import read


class Missing(Exception):
    """A file that a table is made of is not there."""


class Sources:
    """A folder of committed results.

    >>> Sources(Path("docs/results")).rows("benchmarks")[0]["contender"]
    'numpy_loop'
    """

    def __init__(self, folder: Path, fresh: dict[str, xr.Dataset] | None = None, preset: str = "quick") -> None:
        """`fresh` are finished sweeps that are not in the folder yet: where there are any, no other is read."""
        self.folder, self.fresh, self.preset = folder, fresh, preset

    def sweep(self, name: str) -> xr.Dataset:
        """The results of a sweep, as far as they are committed."""
        if self.fresh is None:
            return self._evidence(name).data
        if name not in self.fresh:
            raise Missing(name)
        return self.fresh[name]

    def claims(self, name: str) -> list[dict[str, Any]]:
        """What a sweep claims, with its numbers; where it is noted what tables read, none are there yet. Another preset
        is named behind the sweep, as in `risk_sweep-paper`."""
        if self.fresh is not None:
            raise Missing(f"claims of {name}")
        stem = name if "-" in name else f"{name}-{self.preset}"
        return json.loads(self._path(f"{stem}.json").read_text())["claims"]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Measured times; refused where the code that was measured had changes that no commit holds."""
        found = json.loads(self._path(f"{name}.json").read_text())
        for commit in {row["commit"] for row in found if "commit" in row}:
            check_commit(name, commit)
        return found

    def coverage(self, name: str = "coverage") -> dict[str, Any]:
        """What `python -m sims.coverage` measured, in few cells or, as `coverage_grid`, in all."""
        found = json.loads(self._path(f"{name}.json").read_text())
        check_commit(name, found["commit"])
        return found

    def known(self) -> dict[str, Any]:
        """What the language model knows, by `python -m sims.language.gate`."""
        found = json.loads(self._path("language_known.json").read_text())
        check_commit("language_known", found["commit"])
        return found

    def submissions(self, labels: str | None = None) -> list[dict[str, Any]]:
        """What docs/leaderboard holds, with labels of a kind or all, checked; by file."""
        if self.fresh is not None:
            return []
        every = [read(path) for path in sorted((self.folder.parent / "leaderboard").glob("*.json"))]
        for found in every:
            check_commit(found["name"], found["commit"])
        return [found for found in every if labels in (None, found["labels"])]

    def formulas(self) -> None:
        """Closed forms are worked out where documents are written, not where it is noted what a sweep's tables read."""
        if self.fresh is not None:
            raise Missing("closed forms")

    @cached_property
    def _held(self) -> dict[str, evidence.Evidence]:
        return {}

    def _evidence(self, name: str) -> evidence.Evidence:
        if name not in self._held:
            path = self._path(f"{name}-{self.preset}.csv")
            self._held[name] = evidence.load(self.folder, path.stem)
        return self._held[name]

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise Missing(str(path))
        return path


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table whose first columns are words, the others numbers.

    >>> print(markdown(["a", "b"], [["x", "1"]]))
    | a | b |
    |---|---:|
    | x | 1 |
    """
    rule = "|" + "|".join(["---"] * words + ["---:"] * (len(header) - words)) + "|"
    first, *rest = ("|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in (header, *rows))
    return "\n".join([first, rule, *rest])


def mean_and_sem(values: xr.DataArray, digits: int = 3) -> str:
    """The mean over seeds with its standard error; nothing where there is none.

    >>> mean_and_sem(xr.DataArray([0.1, 0.3], dims="seed"))
    '0.200 ± 0.100'
    """
    seeds = values.values
    if not np.isfinite(seeds).any():
        return ""
    sem = seeds.std(ddof=1) / np.sqrt(seeds.size)
    return f"{seeds.mean():.{digits}f} ± {sem:.{digits}f}"


def only(found: Sequence[Any], what: str) -> Any:
    """The single one; a mark that fits none or several is an error.

    >>> only(["a"], "a claim")
    'a'
    """
    if len(found) != 1:
        raise InputError(f"a mark must fit exactly one number, but {what} fits {len(found)}; make it more precise.")
    return found[0]
