"""Means that few replicates carry are hollow, with a bound; stores that do not say how many are drawn as before."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba

from figures import phase, rare, style


def dataset(**arrays) -> xr.Dataset:
    return xr.Dataset({name: ("x", np.asarray(values, float)) for name, values in arrays.items()})


def test_few_are_those_below_thirty_and_an_older_store_has_none():
    data = dataset(risk_mean=[1, 1, 1], risk_effective=[29.9, 30, np.nan], risk_high=[3, 4, 5])
    held = rare.carried(data, "risk")
    assert held.few.tolist() == [True, False, False] and held.high[0] == 3
    older = rare.carried(data.drop_vars("risk_effective"), "risk")
    assert not older.few.any()


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_hollow_marks_have_a_bar_to_their_bound_or_an_arrow(scale):
    _, axes = style.new_figure(3, 3)
    panel = axes[0, 0]
    panel.set_yscale(scale)
    held = rare.Carried(np.array([True, True, False, True]), np.array([4.0, np.inf, 9.0, 2.0]))
    rare.hollow(panel, np.arange(4.0), np.array([1.0, 1.0, 1.0, 0.0]), held, "red", "o")
    bounded, open_ended = panel.containers
    assert bounded[0].get_xdata().tolist() == [0, 3] and open_ended[0].get_xdata().tolist() == [1]
    assert to_rgba(bounded[0].get_markerfacecolor()) == to_rgba("white")
    (first, last) = bounded[2][0].get_segments()
    assert (first[0][1], first[1][1]) == (1, 4)
    assert last[1][1] == 2 and last[0][1] == (2 if scale == "log" else 0)  # 0 has no place on a logarithmic axis
    assert open_ended[1], "no arrow"


def test_hollow_marks_are_explained_where_a_frame_shows_one():
    _, axes = style.new_figure(3, 3)
    assert rare.note(axes, "prompts") == ""
    rare.hollow(axes[0, 0], np.ones(1), np.ones(1), rare.Carried(np.array([True]), np.array([4.0])), "red", "o")
    assert "fewer than 30 prompts" in rare.note(axes, "prompts")
    axes[0, 0].set_ylim(5, 6)
    assert rare.note(axes, "prompts") == ""


def test_nothing_is_certain_of_means_that_few_carry():
    names, axes = ["naive_ft", "icl_refine_fresh"], ("weak_accuracy", "concept_shift")
    lead = ("method", *axes)
    cov = 1e-6 * np.eye(2)[:, :, None, None] * np.ones((1, 1, 1, 2))
    arrays = {
        "risk_mean": (lead, np.array([1.0, 0.1])[:, None, None] * np.ones((1, 1, 2))),
        "risk_cov": (("method", "method_2", *axes), cov),
        "num_replicates": (lead, np.full((2, 1, 2), 100)),
        "risk_effective": (lead, np.array([[[90.0, 90.0]], [[90.0, 20.0]]])),
        "risk_high": (lead, np.full((2, 1, 2), np.inf)),
    }
    data = xr.Dataset(arrays, {"method": names, "method_2": names, "weak_accuracy": [0.5], "concept_shift": [0.1, 0.9]})
    assert phase.judge(data).certain.tolist() == [[True, False]]
