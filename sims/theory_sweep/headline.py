"""The main numbers of a theory sweep: how precisely each of its studies is known, and its quantities in one cell."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from sims.theory_sweep.spec import TheorySpec


def main_numbers(data: xr.Dataset, spec: TheorySpec) -> Iterator[str]:
    """The last cell of each study, with the 95% interval of a normal mean."""
    for study in spec.studies:
        mean, sem = data[f"{study}_mean"], data[f"{study}_sem"]
        axes = [dim for dim in mean.dims if dim != f"{study}_quantity"]
        last = dict.fromkeys(axes, -1)
        at = ", ".join(f"{str(dim).removeprefix(f'{study}_')} {mean[dim].values[-1]}" for dim in axes)
        yield f"{study} ({mean.size:,} means over {spec.replicates:,} replicates), at {at}"
        for name in mean[f"{study}_quantity"].values:
            own = {f"{study}_quantity": name}
            value, error = (float(part.isel(last).sel(own)) for part in (mean, sem))
            if np.isfinite(value):  # some quantities have no value in some cells
                yield f"  {name!s:<44} {value:.4g} ± {1.96 * error:.2g}"
