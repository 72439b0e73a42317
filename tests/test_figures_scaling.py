"""The figure of the benchmarks: what it reads, what it needs, and that it shows what was measured."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from figures import data, make, scaling
from tests.conftest import ROOT
from tests.panels import assert_drawn, laid_out, stub
from tests.test_bad_input import assert_refused

COMMITTED = ROOT / "docs" / "results" / "benchmarks.json"
ROWS = json.loads(COMMITTED.read_text())


def ladder(part: str, name: str) -> list[dict]:
    """Measurements of a contender along a size of the workload, from the smallest."""
    own = (row for row in ROWS if (row["axis"], row["contender"]) == (part, name))
    return sorted(own, key=lambda row: row["value"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Path(shutil.copy(COMMITTED, tmp_path_factory.mktemp("results"))).parent


@pytest.fixture(scope="module")
def drawn(folder):
    return laid_out(scaling.scaling, data.open_results(folder, "benchmarks"))


def line_of(panel, name):
    how = scaling.LINES[name]
    return next(line for line in panel.lines if (line.get_color(), line.get_marker()) == (how.color, how.marker))


def test_lines_and_title_say_what_was_measured(drawn):
    *panels, cores = drawn.axes
    for panel, part in zip(panels, ("n", "d", "cells"), strict=True):
        rows, line = ladder(part, "w2s_jax"), line_of(panel, "w2s_jax")
        np.testing.assert_array_equal(line.get_xdata(), [row["value"] for row in rows])
        np.testing.assert_allclose(line.get_ydata(), [row["tasks_per_second"] for row in rows])
        bars = [bar.get_segments() for bar in panel.collections if len(bar.get_segments()) == len(rows)]
        for end, extreme in enumerate((max, min)):  # of the slowest run and of the fastest
            rates = [row["tasks"] / extreme(row["seconds"]) for row in rows]
            assert any(np.allclose(np.array(bar)[:, end, 1], rates) for bar in bars)
    for name in ("w2s_jax", "numpy_vectorised_every_core"):
        one, two = (row["tasks_per_second"] for row in ladder("devices", name))
        np.testing.assert_allclose(line_of(cores, name).get_ydata(), [1.0, two / 2 / one])  # efficiency of a core
    ours, loop = (next(row for row in ladder("d", name) if row["d"] == 32) for name in ("w2s_jax", "numpy_loop"))
    ratio = ours["tasks_per_second"] / loop["tasks_per_second"]
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
