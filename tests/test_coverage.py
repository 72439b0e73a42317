"""The command that measures coverage, on few and small sweeps; and what it found of the quick grid."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from sims import coverage
from sims.risk_sweep.spec import QUICK

EVIDENCE = Path(__file__).parent.parent / "docs" / "results" / "coverage.json"
TINY = dataclasses.replace(
    coverage.CELLS,
    weak_accuracy=(0.9,),
    concept_shift=(0.1,),
    sample_size=(64,),
    penalties=(0.3, 1.0),
    dim=6,
    num_concepts=2,
    replicates=200,
    prompt_rounds=4,
)


def test_rows_hold_what_the_intervals_of_each_sweep_say(monkeypatch):
    """Honest intervals are held by most sweeps; its twin, intervals a tenth as wide, by few."""
    rows = coverage.measure(TINY, 30)
    names = {row["quantity"] for row in rows}
    assert len(rows) == len(names) == 3 + 2 + 3
    assert all(0.75 <= row["coverage"] <= 1 for row in rows if not coverage.flagged(row))
    honest = coverage._interval

    def narrow(x, largest):
        found = honest(x, largest)
        return found._replace(low=found.estimate, high=found.estimate + 0.1 * (found.high - found.estimate))

    monkeypatch.setattr(coverage, "_interval", narrow)
    short = [row for row in coverage.measure(TINY, 30) if not row["quantity"].startswith("PGR")]
    assert max(row["coverage"] for row in short) < 0.5


def test_own_prompts_alone_are_bounded(tmp_path, capsys, monkeypatch):
    """Without prompt rounds rare mistakes are missed: their means are bounded, and the command says so."""
    monkeypatch.setattr(coverage, "CELLS", dataclasses.replace(TINY, num_concepts=4))
    file = tmp_path / "coverage.json"
    assert coverage.main(["--sweeps", "10", "--prompt-rounds", "0", "--json", str(file)]) in (0, 1)
    held = json.loads(file.read_text())
    assert (held["sweeps"], held["replicates"], held["prompt_rounds"]) == (10, 200, 0)
    flagged = [row["quantity"] for row in held["rows"] if coverage.flagged(row)]
    assert "misalignment of icl_refine_shared" in flagged
    assert not [name for name in flagged if not name.startswith("misalignment")]
    assert "least coverage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--sweeps", "1"], "sweeps must be at least 2, got 1"),
        (["--prompt-rounds", "1"], "prompt_rounds must be 0 or at least 2, got 1"),
        (["--json", "/"], "--json must be a file that can be written"),
    ],
)
def test_bad_input_is_one_sentence(argv, words, capsys):
    assert coverage.main(argv) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and words in said[0]


def test_the_quick_grid_is_covered():
    held = json.loads(EVIDENCE.read_text())
    assert held["sweeps"] >= 500 and (held["replicates"], held["prompt_rounds"]) == (
        QUICK.replicates,
        QUICK.prompt_rounds,
    )
    assert "dirty" not in held["commit"]
    rows = [row for row in held["rows"] if not coverage.flagged(row)]
    cells = {(row["quantity"], row["weak_accuracy"], row["concept_shift"]) for row in rows}
    for student in coverage.STUDENTS:
        for name in ("risk", "PGR", "misalignment")[: 2 if student == "naive_ft" else 3]:
            assert {
                (f"{name} of {student}", a, s) for a, s in ((0.8, 0.1), (0.9, 0.9), (0.9, 0.5), (0.9, 0.1))
            } <= cells
    assert min(row["coverage"] for row in rows) >= coverage.LEAST
    # one that is too often above its interval is as bad as one that is too seldom held
    assert np.mean([row["truth_above"] for row in rows]) < 0.04
