"""The figures in front: the schematic, the trap and the escape, two teachers with four curves."""

import numpy as np
import pytest

from figures import framework, risk_lines, style, trap_and_escape
from tests.panels import laid_out, shows, texts
from tests.test_figures import METHODS, results
from w2s_jax import theory
from w2s_jax.tasks import make_task


def test_the_schematic_is_exact():
    points = framework.geometry()
    concepts, source, teacher, floor, weights = points.values()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights[0], framework.PRIOR)
    assert (np.diff(weights[:, 0]) > 0).all() and weights[-1, 0] > 0.95
    assert teacher[3] > 0.5 and (np.append(concepts, source)[3::4] == 0).all()  # off the span, which holds the others
    # the floor lies on the segment, nearest to the target: it is the least risk of ridge toward the source
    assert (floor - concepts[0]) @ (teacher - source) == pytest.approx(0, abs=1e-6)
    assert 0 < (floor - source)[3] / teacher[3] < 1
    along = [((source + t * (teacher - source) - concepts[0]) ** 2).sum() for t in np.linspace(0, 1, 101)]
    assert ((floor - concepts[0]) ** 2).sum() <= min(along) + 1e-9


def test_the_schematic_names_its_parts():
    said = "\n".join(texts(laid_out(framework.framework)))
    for word in ("source", "weak teacher", "target", "rival 1", "naive fine-tuning", "floor", "refinement", "prior"):
        assert word in said, word


@pytest.mark.slow
def test_trap_and_escape_has_marks_of_the_store_closed_forms_and_a_title_from_the_data():
    held = results()
    figure = laid_out(trap_and_escape.trap_and_escape, held)
    panel, cut = figure.axes[0], {"sample_size": 64, "concept_shift": 0.25, "num_icl": 4}
    cell = held.at(weakness="rotated", **cut)["risk_mean"]
    for method in trap_and_escape.NAMES:
        assert shows(panel, cell.sel({"method": method}).values, style.look(method).color), method
    task = make_task(num_concepts=2, dim=8, weak_accuracy=0.8, concept_shift=0.25)
    exact = trap_and_escape.predicted(held, "rotated", cut, np.array([0.5, 0.8]))
    assert exact["weak"][1] == pytest.approx(float(theory.weak_bias(task)), rel=1e-6)
    weak, naive, refined, ceiling = cell.sel({"weak_accuracy": 0.8, "method": [*trap_and_escape.NAMES]}).values
    for risk in (naive, refined):
        assert f"{(weak - risk) / (weak - ceiling):.0%}" in panel.get_title(loc="left")


@pytest.mark.parametrize("axis", ["sample_size", "weak_accuracy"])
def test_the_front_shows_four_curves_and_says_where_refinement_is_ahead(axis):
    draw, held = getattr(risk_lines, f"risk_vs_{axis}"), results()
    held.data["risk_mean"].loc[{"method": "naive_ft"}] = 0.5
    held.data["risk_mean"].loc[{"method": "icl_refine_fresh"}] = 0.4
    figure = laid_out(draw, held)
    assert "refinement ahead throughout" in figure.axes[0].get_title(loc="left")
    marked = {line.get_color() for line in figure.axes[0].lines if line.get_marker() != "None"}
    assert marked == {style.look(method).color for method in risk_lines.FRONT}
    assert set(risk_lines.NAMES.values()) <= set(texts(figure))
    held.data["risk_mean"].loc[{"method": "icl_refine_fresh", axis: held.data[axis].values[0]}] = 0.6
    assert "refinement ahead from" in laid_out(draw, held).axes[0].get_title(loc="left")


def test_no_line_leads_across_the_peak_of_least_squares():
    held = results()  # d = 8 lies between its sizes
    least_squares = {style.look(method).color for method in ("icl_refine_fresh", "ceiling")}
    for panel in laid_out(risk_lines.risk_vs_sample_size, held).axes:
        for line in panel.lines:
            x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
            if line.get_color() in least_squares and len(x) > 10:
                assert np.isnan(y[(x > 8 / 1.5) & (x < 8 * 1.5)]).all()
    panel = laid_out(risk_lines.risk_vs_sample_size_grid, held).axes[0]
    drawn = {line.get_label(): np.asarray(line.get_ydata(), float) for line in panel.lines}
    for method in METHODS:
        assert np.isnan(drawn[style.look(method).label]).tolist() == [False, True, False], method


def test_names_are_moved_apart_from_the_top_down():
    np.testing.assert_allclose(style.apart([0.5, 0.9, 0.88, 0.1], 0.1), [0.5, 0.9, 0.8, 0.1])
