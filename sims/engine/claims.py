"""A statement about a finished sweep that a number makes true or false, with the cell it comes from."""

from typing import NamedTuple

import xarray as xr


class Claim(NamedTuple):
    """A statement that holds iff `value` `relation` `bound`."""

    claim: str
    value: float
    relation: str
    """One of <=, >=."""
    bound: float
    sem: float | None = None
    """Standard error of the value, where it is one estimate."""
    where: str = ""
    """The cell that the value comes from, where it is the worst of many."""

    def holds(self) -> bool:
        """Evaluate the claim."""
        return self.value <= self.bound if self.relation == "<=" else self.value >= self.bound


def worst(text: str, values: xr.DataArray, relation: str, bound: float, extreme: str | None = None) -> Claim:
    """A claim on the most adverse cell (or on the best, for a claim that some cell exists)."""
    pick = extreme or ("min" if relation == ">=" else "max")
    flat = values.stack(cell=values.dims)
    index = int(flat.values.argmin() if pick == "min" else flat.values.argmax())
    cell = flat.isel(cell=index)
    where = ", ".join(f"{dim} {cell[dim].item()}" for dim in values.dims)
    return Claim(text, float(cell), relation, bound, None, where)
