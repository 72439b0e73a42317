"""The main numbers of an alignment sweep: what each student knows, and how it speaks."""

from collections.abc import Iterator

import xarray as xr

from sims.alignment.spec import AlignmentSpec
from sims.engine.headline import interval, line, nearest, where

CELL = {"capability": 0.5, "num_icl": 10**9, "split": "held_out", "temperature": 1}
"""The cell that is shown, or the one nearest to it: the longest prompts, questions held out."""
SHOWN = ("source", "naive_ft", "icl_refine", "ceiling")


def main_numbers(data: xr.Dataset, spec: AlignmentSpec) -> Iterator[str]:
    """Content and style of the teacher and of the main students."""
    cell = nearest(data, CELL)
    yield f"{spec.task} at {where(cell, CELL)}: mean over {spec.replicates} seeds, 95% interval"
    for kind in ("content", "style"):
        yield line(f"{kind}: weak teacher", *interval(cell[f"weak_{kind}"]))
        for method in SHOWN:
            if method in spec.methods:
                yield line(f"{kind}: {method}", *interval(cell[kind].sel({"method": method})))
