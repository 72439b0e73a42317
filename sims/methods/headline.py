"""The main numbers of an arena: who ranks first, where naive fine-tuning does, and where a plugin's method does."""

from collections.abc import Iterator

import xarray as xr

from sims.methods.spec import BUDGETS, ArenaSpec

SHOWN = 3
"""Methods that are named from the first on."""


def main_numbers(data: xr.Dataset, spec: ArenaSpec) -> Iterator[str]:
    """Mean ranks at each budget, 1 for the lowest risk."""
    for budget in BUDGETS:
        found = data.sel(budget=budget)
        rank = found.rank_mean.to_series().dropna().sort_values(kind="stable")
        names = dict.fromkeys(
            [*rank.index[:SHOWN], *(name for name in rank.index if name == "naive_ft" or spec.is_own(name))]
        )
        yield f"mean rank of {len(rank)} methods over {spec.num_cells} tasks, same {budget} (1 is the lowest risk)"
        for name in names:
            sem = float(found.rank_sem.sel({"method": name}))
            yield f"  {rank.index.get_loc(name) + 1:>2}. {name:<24} {rank[name]:.2f} ± {sem:.2f}"
