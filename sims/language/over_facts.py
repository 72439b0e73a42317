"""Means over facts: the questions of one fact, in several seeds, are one observation."""

import numpy as np
import xarray as xr

from w2s_jax.statistics import group_means


def fact_means(values: xr.DataArray, facts: xr.DataArray) -> np.ndarray:
    """Mean of each fact's questions, `[fact ...]`, of values by seed, question and what else there is.

    >>> asked = xr.DataArray([["Kyiv", "Oslo"], ["Kyiv", "Bern"]], dims=("seed", "question"))
    >>> fact_means(xr.DataArray([[1.0, 0.0], [0.0, 1.0]], dims=("seed", "question")), asked).tolist()
    [1.0, 0.5, 0.0]
    """
    rows, names = (part.stack(row=("seed", "question")).transpose("row", ...) for part in (values, facts))
    return group_means(rows.values, names.values)
