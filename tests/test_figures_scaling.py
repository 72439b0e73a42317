"""The figure of the benchmarks: what it reads, what it needs, and that it shows what was measured."""

import itertools
import json

import numpy as np
import pytest

from figures import data, make, scaling
from tests.panels import assert_drawn, laid_out, stub
from tests.test_bad_input import assert_refused

RATES = {"numpy_loop": 500.0, "numpy_vectorised": 8e5, "w2s_jax": 9e5, "w2s_jax_moments": 2e6}
SIZES = {"n": [64, 2048, 65_536], "d": [8, 32, 256], "cells": [1, 2000, 100_000]}


def row(part: str, value: int, name: str, rate: float, devices: int = 2) -> dict:
    sizes = {"d": 32, "n": 2048, "cells": 2000} | ({part: value} if part in SIZES else {})
    own = {"contender": name, "axis": part, "value": value, "devices": devices, "tasks": rate}
    own |= {"tasks_per_second": rate, "ratio_to_numpy_loop": rate / RATES["numpy_loop"], "median_seconds": 1.0}
    return own | sizes | {"machine": "2 cores of a processor", "seconds": [1.1, 1.0, 0.9, 1.0, 1.0]}


def rows() -> list[dict]:
    """A small run of the benchmarks: every ladder, and a limit, which has fewer keys."""
    found = [
        row(part, value, name, RATES[name] / (1 + value / values[1]))
        for part, values in SIZES.items()
        for name in RATES
        for value in ([2000] if (part, name) == ("cells", "numpy_loop") else values)
    ]
    for name, rate in (("w2s_jax", 1e6), ("numpy_vectorised_every_core", 8e5)):
        found += [row("devices", 1, name, rate, 1), row("devices", 2, name, 1.8 * rate, 2)]
    limit = {"contender": "limit: matmul", "axis": "limit", "value": 1e11, "unit": "flop/s", "tasks_per_second": 1e7}
    return [row("headline", 2000, "w2s_jax", 1e6), *found, limit]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    (folder / "benchmarks.json").write_text(json.dumps(rows()))
    return folder


@pytest.fixture(scope="module")
def drawn(folder):
    return laid_out(scaling.scaling, data.open_results(folder, "benchmarks"))


def line_of(panel, name):
    how = scaling.LINES[name]
    return next(line for line in panel.lines if (line.get_color(), line.get_marker()) == (how.color, how.marker))


def test_lines_and_title_say_what_was_measured(drawn):
    panels = drawn.axes
    for panel, (part, values) in zip(panels, SIZES.items()):
        line = line_of(panel, "w2s_jax")
        np.testing.assert_array_equal(line.get_xdata(), values)
        expected = [r["tasks_per_second"] for r in rows() if (r["axis"], r["contender"]) == (part, "w2s_jax")]
        np.testing.assert_allclose(line.get_ydata(), expected)
        bars = [bar.get_segments() for bar in panel.collections if len(bar.get_segments()) == len(values)]
        spans = np.array(bars)[..., 1]
        for end, seconds in enumerate((1.1, 0.9)):  # of the slowest run and of the fastest
            assert np.isclose(spans[..., end], np.array(expected) / seconds).all(axis=1).any()
    for name in ("w2s_jax", "numpy_vectorised_every_core"):
        np.testing.assert_allclose(line_of(panels[3], name).get_ydata(), [1.0, 0.9])  # efficiency of a core
    ratio = RATES["w2s_jax"] / 2 / RATES["numpy_loop"]
    assert drawn.get_suptitle().startswith(f"w2s_jax: {ratio:,.0f} times the NumPy loop at d = 32, n = 2,048")


def test_labels_do_not_touch_and_stand_by_their_lines(drawn):
    for panel in drawn.axes:
        boxes = sorted((text.get_window_extent() for text in panel.texts), key=lambda box: box.y0)
        assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))
        ends = {text.get_text(): text.get_position()[1] for text in panel.texts}
        assert min(ends.values()) > -0.1 and max(ends.values()) < 1.1


def test_the_file_is_found_listed_and_drawn(folder, capsys, monkeypatch):
    stub(monkeypatch, "scaling")
    assert make.main(["--results", str(folder), "--only", "scaling", "--list"]) == 0
    assert "ready" in capsys.readouterr().out
    assert make.main(["--results", str(folder), "--only", "scaling"]) == 0
    assert_drawn(folder, ["scaling"], least=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "make it with: python -m benchmarks.run --json"),
        ("[{", "benchmarks must be a list of measurements in JSON"),
        ('[{"contender": "w2s_jax", "tasks_per_second": 1}]', "needs the parts n, d, cells, devices"),
    ],
)
def test_a_missing_or_partial_file_is_one_sentence(tmp_path, capsys, text, words):
    if text is not None:
        (tmp_path / "benchmarks.json").write_text(text)
    code = make.main(["--results", str(tmp_path), "--only", "scaling"])
    assert_refused(capsys, code, words, tmp_path / "figures")
