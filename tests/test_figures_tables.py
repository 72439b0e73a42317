"""Figures of committed tables: every committed figure is drawn of them; what they lack is one sentence."""

import dataclasses
import functools
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from figures import alignment_methods, data, make, style
from figures import evidence as figures_evidence
from sims import evidence
from sims.report import Report
from sims.sweeps import SWEEPS
from tests.panels import laid_out, texts
from tests.test_bad_input import assert_refused

TABLES = Path(__file__).parent.parent / "docs" / "results"
FIGURES = TABLES.parent / "figures"
DRAWN = sorted({path.stem for path in FIGURES.glob("*.png")} & set(make.FIGURES))


def test_a_figure_is_drawn_of_a_table():
    held = data.open_results(TABLES, "alignment_math")
    assert held.table and held.config["task"] == "math"
    said = texts(laid_out(alignment_methods.alignment_methods, held))
    content = held.data["content"].sel({"method": "icl_refine", "capability": 0.4, "split": "held_out"})
    mean = content.sel(temperature=1, num_icl=5).mean("seed").item()
    assert any(f"content {mean:.0%} refined" in text for text in said) and style.RISK not in said


@functools.cache
def opened(store: str) -> data.Results:
    return data.open_results(TABLES, store)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_a_committed_figure_is_drawn_of_committed_tables(name):
    entry = make.FIGURES[name]
    with style.style():
        image = style.encode(entry.draw(*map(opened, (*entry.stores, *entry.beside))), ("png",))["png"]
    files = (io.BytesIO(image), FIGURES / f"{name}.png")
    drawn, committed = (np.asarray(Image.open(file).convert("RGB"), float) for file in files)
    # another processor rounds closed forms otherwise, which may move the edge of a line by a shade
    assert drawn.shape == committed.shape and np.abs(drawn - committed).mean() < 0.5


@pytest.mark.slow
def test_what_figures_read_of_a_sweep_is_noted(finished, monkeypatch):
    few = {name: make.FIGURES[name] for name in ("risk_vs_concept_shift", "naive_ft_trap", "phase_diagram")}
    monkeypatch.setattr(figures_evidence, "FIGURES", few)
    tiny = finished("risk_sweep").data.load()
    watched = evidence.watch(tiny)
    spec = dataclasses.replace(SWEEPS["risk_sweep"].presets["smoke"], **json.loads(tiny.attrs["config"]))
    figures_evidence.read_by_figures([Report("risk_sweep", "quick", spec, {}, watched)], Path("nowhere"))
    risk, path = (watched.arrays[name].read for name in ("risk_mean", "naive_path_mean"))
    assert risk.mean() > 0.1 and not risk.all() and path.any()  # three figures read a part of it
    held = evidence.build(*evidence.table(watched))
    results = data.Results("risk_sweep", held.data, json.loads(tiny.attrs["config"]), table=True)
    with style.style():
        for entry in few.values():
            entry.draw(results)


def test_what_a_table_lacks_is_a_sentence(tmp_path, capsys):
    shutil.copy(TABLES / "alignment_math-quick.json", tmp_path)
    rows = (TABLES / "alignment_math-quick.csv").read_text().splitlines(keepends=True)
    (tmp_path / "alignment_math-quick.csv").write_text("".join(row for row in rows if not row.startswith("style,")))
    lacking = "reads more than the committed table of alignment_math .* -m sims.alignment --task math --preset quick"
    code = make.main(["--results", str(tmp_path), "--out", str(tmp_path / "f"), "--only", "icl_examples"])
    assert_refused(capsys, code, lacking, tmp_path / "f")
