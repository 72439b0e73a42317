"""Figures of committed tables: what they hold is drawn, and what they lack is one sentence."""

import json
from pathlib import Path

import pytest

from figures import alignment_methods, data, make, style
from sims.engine.checked import identity
from sims.sweeps import SWEEPS
from tests.panels import laid_out, texts

TABLES = Path(__file__).parent.parent / "docs" / "results"


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


def test_what_a_table_lacks_is_a_sentence(tmp_path, capsys):
    given = ["--results", str(TABLES), "--out", str(tmp_path), "--only", "icl_examples"]
    assert make.main(given) == 2
    error = capsys.readouterr().err
    assert "reads more than the committed table of alignment_persona" in error and error.count("\n") == 1
    assert "python -m sims.alignment --task persona --preset quick" in error
    assert not list(tmp_path.iterdir())
