"""Figures of committed tables: every committed figure is drawn of them; what they lack is one sentence."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from figures import alignment_methods, data, make, style
from sims.engine.checked import identity
from sims.sweeps import SWEEPS
from tests.panels import laid_out, texts

TABLES = Path(__file__).parent.parent / "docs" / "results"
FIGURES = TABLES.parent / "figures"
AWAITED = ("alignment_", "icl_examples", "language_persona")
"""Figures of the worlds of tokens, whose tables hold what claims read alone: their sweeps are to be run again."""
DRAWN = sorted({path.stem for path in FIGURES.glob("*.png") if not path.stem.startswith(AWAITED)} & set(make.FIGURES))


@pytest.mark.parametrize("path", sorted(TABLES.glob("*-quick.json")), ids=lambda path: path.stem)
def test_a_table_says_the_configuration_of_its_preset(path):
    about, sweep = json.loads(path.read_text()), SWEEPS[path.stem.removesuffix("-quick")]
    spec = sweep.kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in about["config"].items()})
    assert identity(spec) == about["identity"] and spec.replicates == about["replicates"]


def test_a_figure_is_drawn_of_a_table():
    held = data.open_results(TABLES, "alignment_math")
    assert held.table and held.config["task"] == "math"
    said = texts(laid_out(alignment_methods.alignment_methods, held))
    content = held.data["content"].sel({"method": "icl_refine", "capability": 0.4, "split": "held_out"})
    mean = content.sel(temperature=1, num_icl=5).mean("seed").item()
    assert any(f"content {mean:.0%} refined" in text for text in said)
    assert style.RISK not in said


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_a_committed_figure_is_drawn_of_committed_tables(name, tmp_path):
    given = ["--results", str(TABLES), "--out", str(tmp_path), "--only", name]
    assert make.main(given) == 0
    drawn, committed = (
        np.asarray(Image.open(source).convert("RGB"), float)
        for source in (io.BytesIO((tmp_path / f"{name}.png").read_bytes()), FIGURES / f"{name}.png")
    )
    # another processor rounds closed forms otherwise, which may move the edge of a line by a shade
    assert drawn.shape == committed.shape and np.abs(drawn - committed).mean() < 0.5


def test_what_a_table_lacks_is_a_sentence(tmp_path, capsys):
    given = ["--results", str(TABLES), "--out", str(tmp_path), "--only", "language_icl"]
    assert make.main(given) == 2
    error = capsys.readouterr().err
    assert "at least two values of num_icl" in error and error.count("\n") == 1
    held = json.loads((TABLES / "alignment_math-quick.json").read_text())
    (tmp_path / "alignment_math-quick.json").write_text(json.dumps(held))
    rows = (TABLES / "alignment_math-quick.csv").read_text().splitlines(keepends=True)
    (tmp_path / "alignment_math-quick.csv").write_text("".join(row for row in rows if not row.startswith("style,")))
    assert make.main(["--results", str(tmp_path), "--out", str(tmp_path / "f"), "--only", "icl_examples"]) == 2
    error = capsys.readouterr().err
    assert "reads more than the committed table of alignment_math" in error and error.count("\n") == 1
    assert "python -m sims.alignment --task math --preset quick" in error
    assert not (tmp_path / "f").exists()
