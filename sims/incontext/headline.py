"""The main numbers of an in-context sweep: risks of networks, and how far they are from exact Bayes."""

from collections.abc import Iterator

import xarray as xr

from sims.engine.headline import interval, line, nearest, where
from sims.incontext.spec import InContextSpec

CELL = {"concept_shift": 0.5, "weak_accuracy": 0.6, "sample_size": 10**9, "num_icl": 16}
"""The cell that is shown, or the one nearest to it: the most weak labels."""


def main_numbers(data: xr.Dataset, spec: InContextSpec) -> Iterator[str]:
    """Risks after all steps of fine-tuning."""
    cell = nearest(data, CELL)
    yield f"risk at {where(cell, CELL)}: mean over {spec.replicates} seeds, 95% interval"
    for method in data["method"].values:
        yield line(str(method), *interval(cell.risk_last.sel({"method": method})))
    distance = cell.kl_to_bayes.sel(law="in_distribution").mean("context_length")
    yield line("KL(Bayes || network), nats, in distribution", *interval(distance))
