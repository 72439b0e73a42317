"""Colours: methods that meet in a figure can be told apart, by the colour-blind as well."""

import itertools

import pytest
from coloraide import Color
from matplotlib.colors import to_hex

from figures import (
    alignment,
    alignment_overview,
    assumptions,
    calibration,
    language,
    misfit,
    network_risk,
    networks,
    phase,
    risk_lines,
    scaling_laws,
    style,
    trap_and_escape,
    true_labels,
)

LEAST = 12.0
"""CIEDE2000 between any two colours that meet."""
METHODS = {
    "risk lines": risk_lines.SHOWN,
    "front": risk_lines.FRONT,
    "trap and escape": trap_and_escape.NAMES,
    "relaxed assumptions": assumptions.METHODS,
    "misfit": misfit.LEARNERS,
    "networks": network_risk.LABELS,
    "worlds of tokens": ("weak", *alignment.ORDER, *alignment_overview.MORE),
    "phase diagram": phase.RIVALS,
    "true labels": true_labels.SHOWN,
    "scaling laws": scaling_laws.LEARNERS.values(),
}
COLOURS = {name: {m: style.look(m).color for m in methods} for name, methods in METHODS.items()}
COLOURS["distributions of a prompt"] = {name: how.color for name, how in networks.LAWS.items()}
COLOURS["calibration"] = {name: color for name, (color, _, _) in calibration.RULES.items()}
COLOURS["fates of an answer"] = {name: to_hex(color) for name, color in language.FATES.items()}


def difference(one: str, other: str, sight: str) -> float:
    first, second = (Color(color) if sight == "normal" else Color(color).filter(sight) for color in (one, other))
    return first.delta_e(second, method="2000")


@pytest.mark.parametrize("sight", ["normal", "deutan", "protan"])
@pytest.mark.parametrize("figure", COLOURS)
def test_colours_that_meet_differ_in_every_sight(figure, sight):
    """Deuteranopia and protanopia are simulated in full strength."""
    pairs = itertools.combinations(COLOURS[figure].items(), 2)
    near = {(a, b): round(difference(x, y, sight), 1) for (a, x), (b, y) in pairs}
    assert {pair: value for pair, value in near.items() if value < LEAST} == {}


def test_the_measure_rejects_colours_that_look_alike_to_some():
    assert difference("#8C8C8C", "#009E73", "normal") > 2 * LEAST
    assert difference("#8C8C8C", "#009E73", "deutan") < LEAST
