"""Single numbers of a text, and the table of what a sweep claims."""

import xarray as xr

from sims.coverage.intervals import flagged
from sims.engine.checked import InputError
from sims.tables.sources import Sources, markdown, only


def claims(sources: Sources, name: str) -> str:
    """All claims of a sweep: value, standard error where it is one estimate, bound, and the cell that it comes from."""
    rows = []
    for claim in sources.claims(name):
        value = f"{claim['value']:.3g}" + (f" ± {claim['sem']:.1g}" if claim["sem"] is not None else "")
        words = [claim[part].replace("|", "\\|") for part in ("claim", "where")]
        rows.append([*words, value, f"{'≤' if claim['relation'] == '<=' else '≥'} {claim['bound']:.3g}"])
    return markdown(["claim", "worst at", "value", "bound"], rows, words=2)


def claim(sources: Sources, name: str, start: str, form: str) -> str:
    """The value of the claim that begins with `start`, in a format of Python (`.2f`, `.1%`)."""
    found = [claim for claim in sources.claims(name) if claim["claim"].startswith(start)]
    return f"{only(found, f'claim {name} {start!r}')['value']:{form}}"


def cell(sources: Sources, name: str, variable: str, *where: str) -> str:
    """A number of a sweep's results: `dim=label` for each dimension but seed, over which the mean is taken; a format.

    `last` means the last label of a dimension. Two cells with `/` between them are a ratio.
    """
    form, parts = where[-1], " ".join(where[:-1]).split(" / ")
    values = [_mean(sources.sweep(name)[variable], part.split()) for part in parts]
    value = values[0] if len(values) == 1 else values[0] / values[1]
    return f"{value:{form}}"


def coverage(sources: Sources, what: str, form: str) -> str:
    """Coverage of 95% intervals: the number of `sweeps`, or the `least` coverage of a mean that is not flagged."""
    held = sources.coverage()
    least = min(row["coverage"] for row in held["rows"] if not flagged(row))
    return format({"sweeps": held["sweeps"], "least": least}[what], form)


def coverage_grid(sources: Sources, what: str, form: str) -> str:
    """The same of every cell of the quick grid: `sweeps` and the `pool` that they are drawn from; how many means are
    `flagged` and how many are not (`means`), the `least` and `mean` coverage of these, and the least of
    the `bounds` of the others.
    """
    held = sources.coverage("coverage_grid")
    groups = held["summary"]
    kept = [group["cells"] - group["flagged"] for group in groups]
    found = {
        "sweeps": held["sweeps"],
        "pool": held["pool"],
        "means": sum(kept),
        "flagged": sum(group["flagged"] for group in groups),
        "least": min(group["least"] for group in groups if group["least"] is not None),
        "mean": sum(n * (group["mean"] or 0) for n, group in zip(kept, groups)) / sum(kept),
        "bounds": min((g["least_of_bounds"] for g in groups if g["least_of_bounds"] is not None), default=1.0),
    }
    return format(found[what], form)


def _mean(values: xr.DataArray, where: list[str]) -> float:
    at = {}
    for pair in where:
        dim, _, label = pair.partition("=")
        labels = [str(held) for held in values[dim].values]
        at[dim] = len(labels) - 1 if label == "last" else labels.index(label)
    found = values.isel(at)
    left = [str(dim) for dim in found.dims if dim != "seed"]
    if left:
        raise InputError(f"a mark must fit exactly one number, but {', '.join(left)} is open; name a label of it.")
    return float(found.mean())
