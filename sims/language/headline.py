"""The main numbers of a language sweep: what each student knows, and how it speaks."""

from collections.abc import Iterator

import xarray as xr

from sims.engine.headline import interval, line, nearest, where
from sims.language.spec import LanguageSpec
from w2s_jax.statistics import group_means

CELL = {"voice": "", "teacher": "", "num_icl": 10**9}
"""The cell that is shown: the first voice and teacher, the longest context."""


def main_numbers(data: xr.Dataset, spec: LanguageSpec) -> Iterator[str]:
    """Content and style of all methods on questions held out."""
    cell = nearest(data, CELL)
    cell = cell.isel(question=(cell.split == "held_out").values)
    rows = cell.stack(row=("seed", "question"))
    yield f"questions held out at {where(cell, CELL)}: mean over facts, {spec.replicates} seeds, 95% interval"
    for kind in ("content", "style"):
        for method in cell["method"].values:
            means = group_means(rows[kind].sel({"method": method}).values, rows.fact.values)
            yield line(f"{kind}: {method}", *interval(means))
