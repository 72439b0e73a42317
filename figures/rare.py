"""Means that few replicates carry: hollow markers with a bound above, in place of an interval that is too short."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from w2s_jax.statistics import ENOUGH


class Carried(NamedTuple):
    """Whether enough replicates carry each mean of a store, and an upper bound where few do."""

    few: np.ndarray
    """Whether fewer than `ENOUGH` do; False throughout for an older store, which does not record it."""
    high: np.ndarray
    """A bound of the mean from above, at 95%; infinite where there is none. Read only where they are few."""


def carried(data: xr.Dataset, name: str) -> Carried:
    """How many replicates carry the means `name`_mean, in their shape."""
    mean = data[f"{name}_mean"]
    if f"{name}_effective" not in data:
        return Carried(np.zeros(mean.shape, bool), np.full(mean.shape, np.inf))
    few = data[f"{name}_effective"].transpose(*mean.dims).values < ENOUGH
    return Carried(few, data[f"{name}_high"].transpose(*mean.dims).values)


def note(axes: np.ndarray, replicates: str) -> str:
    """What the hollow marks of these panels mean, as lines of a heading; nothing where no frame shows one."""
    for panel in axes.ravel():
        hollow_ones = [line.get_ydata() for line in panel.lines if line.get_markerfacecolor() == "white"]
        if any((np.asarray(y, float) > panel.get_ylim()[0]).any() for y in hollow_ones):
            return (
                f"\nopen: carried by fewer than {ENOUGH} {replicates}, bar to a bound of 95%;"
                "\na mean of 0 stands at its bound"
            )
    return ""


def hollow(axes: Axes, x: np.ndarray, mean: np.ndarray, held: Carried, color: str, marker: str) -> None:
    """Marks the means that are carried by few, with a bar up to their bound, or an arrow where there is none.

    A mean of 0 has no place on a logarithmic axis: its bound is marked instead.
    """
    drawn = held.few & (np.isfinite(held.high) | (mean > 0))
    if not drawn.any():
        return
    x, mean, high = x[drawn], mean[drawn], held.high[drawn]
    open_ended = ~np.isfinite(high)
    y = np.where((mean > 0) | (axes.get_yscale() != "log"), mean, high)
    reach = np.where(open_ended, 0.6 * y, np.maximum(high - y, 0.0))
    look = {"color": color, "marker": marker, "markerfacecolor": "white", "markersize": 4.0, "zorder": 3}
    for ends in (False, True):
        here = open_ended == ends
        if here.any():
            bars = np.stack([np.zeros(here.sum()), reach[here]])
            axes.errorbar(x[here], y[here], bars, linestyle="none", elinewidth=0.7, capsize=0, lolims=ends, **look)
