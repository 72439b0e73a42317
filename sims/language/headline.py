"""The main numbers of a language sweep: what each student knows, and how it speaks."""

from collections.abc import Iterator

import xarray as xr

from sims.engine.headline import interval, line, nearest, where
from sims.language.over_facts import fact_means
from sims.language.spec import LanguageSpec

CELL = {"voice": "", "teacher": "", "num_icl": 10**9}
"""The cell that is shown: the first voice and teacher, the longest context."""


def main_numbers(data: xr.Dataset, spec: LanguageSpec) -> Iterator[str]:
    """Content and style of all methods on questions held out."""
    cell = nearest(data, CELL)
    cell = cell.isel(question=(cell.split == "held_out").values)
    yield f"questions held out at {where(cell, CELL)}: mean over facts, {spec.replicates} seeds, 95% interval"
    for kind in ("content", "style"):
        for method in cell["method"].values:
            means = fact_means(cell[kind].sel({"method": method}), cell.fact)
            yield line(f"{kind}: {method}", *interval(means))
