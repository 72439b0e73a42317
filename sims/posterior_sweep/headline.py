"""The main numbers of a posterior sweep: how misalignment falls with the prompt, beside theory."""

from collections.abc import Iterator

import xarray as xr

from sims.engine.headline import line, nearest, where
from sims.posterior_sweep.spec import PosteriorSpec

CELL = {"num_concepts": 4, "weakness": "rotated", "weak_accuracy": 0.7, "concept_shift": 0.5, "assumed_noise": "task"}
"""The cell that is shown, or the one nearest to it."""


def main_numbers(data: xr.Dataset, spec: PosteriorSpec) -> Iterator[str]:
    """Misalignment at the shortest, a middle and the longest prompt."""
    cell = nearest(data, CELL)
    yield f"misalignment with one shared prompt at {where(cell, CELL)}: mean, 95% interval"
    lengths = cell.num_icl.values
    for at in dict.fromkeys((0, len(lengths) // 2, len(lengths) - 1)):
        own = cell.isel(num_icl=at)
        parts = (float(own[f"shared_misalignment_{part}"]) for part in ("mean", "low", "high"))
        yield line(f"{lengths[at]} weak examples in the prompt", *parts)
