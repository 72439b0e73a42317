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

    def narrow(*args):
        found = honest(*args)
        return found._replace(low=found.estimate, high=found.estimate + 0.1 * (found.high - found.estimate))

    monkeypatch.setattr(coverage, "_interval", narrow)
    short = [row for row in coverage.measure(TINY, 30) if not row["quantity"].startswith("PGR")]
    assert max(row["coverage"] for row in short) < 0.5


def test_sweeps_of_a_pool_have_the_moments_of_their_replicates(monkeypatch):
    rng = np.random.default_rng(0)
    parts = [[rng.exponential(size=(50, 1, 1, 1, *tail)) for tail in ((3,), (2, 2), (2, 1))] for _ in range(2)]
    monkeypatch.setattr(coverage, "simulated", lambda spec: iter(parts))
    spec = dataclasses.replace(TINY, replicates=50)
    (found,) = coverage.resampled(spec, 7, 2)
    times = np.random.default_rng(spec.seed).multinomial(50, np.full(100, 0.01), size=7)
    for i, moments in enumerate(found):
        pool = np.concatenate([part[i] for part in parts])
        for sweep in range(7):
            own = np.repeat(pool, times[sweep], axis=0)
            assert moments.mean[sweep] == pytest.approx(own.mean(axis=0), rel=1e-6)
            assert moments.variance[sweep] == pytest.approx(own.var(axis=0, ddof=1), rel=1e-5)
            ceiling = np.repeat(np.concatenate([part[0] for part in parts]), times[sweep], axis=0)[..., 1]
            ceiling = (ceiling - ceiling.mean(axis=0)).reshape(50, *(1,) * (own.ndim - 1))
            expected = (ceiling * (own - own.mean(axis=0))).sum(axis=0) / 49
            assert moments.with_ceiling[sweep] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_pool_says_what_fresh_sweeps_say():
    """Coverage from a pool of 5 sweeps is that of 400 fresh ones, to five standard errors."""
    fresh, pooled = (coverage.measure(TINY, 400, pool) for pool in (0, 5))
    assert [row["quantity"] for row in fresh] == [row["quantity"] for row in pooled]
    for one, other in zip(fresh, pooled):
        if not coverage.flagged(one):
            assert abs(one["coverage"] - other["coverage"]) < 5 * np.sqrt(2 * 0.05 * 0.95 / 400)


def test_the_command_sums_up_the_whole_grid(tmp_path, monkeypatch):
    monkeypatch.setattr(coverage, "GRID", dataclasses.replace(TINY, weakness=("rotated", "noisy"), num_icl=(0, 16)))
    file = tmp_path / "grid.json"
    assert coverage.main(["--pool", "2", "--sweeps", "50", "--json", str(file)]) in (0, 1)
    held = json.loads(file.read_text())
    cells = {(row["quantity"], row["weakness"]): row["cells"] for row in held["summary"]}
    assert len(cells) == 8 + 5  # with a noisy teacher there is no gap to recover
    assert {n for (name, _), n in cells.items() if "naive_ft" in name} == {1}
    assert {n for (name, _), n in cells.items() if "naive_ft" not in name} == {2}
    assert all(coverage.poor(row) for row in held["rows"])


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
        (["--pool", "1"], "pool must be 0 or at least 2, got 1"),
        (["--prompt-rounds", "1"], "prompt_rounds must be 0 or at least 2, got 1"),
        (["--json", "/"], "--json must be a file that can be written"),
    ],
)
def test_bad_input_is_one_sentence(argv, words, capsys):
    assert coverage.main(argv) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and words in said[0]


def test_every_cell_of_the_quick_grid_is_covered():
    """And fresh sweeps of a few cells lie within what the whole grid says of their quantity, to five errors."""
    held = json.loads(EVIDENCE.with_name("coverage_grid.json").read_text())
    assert held["sweeps"] >= 500 and held["pool"] >= 8 and "dirty" not in held["commit"]
    assert (held["replicates"], held["prompt_rounds"]) == (QUICK.replicates, QUICK.prompt_rounds)
    groups = {(group["quantity"], group["weakness"]): group for group in held["summary"]}
    cells = QUICK.num_cells // len(QUICK.weakness)
    for weakness in QUICK.weakness:
        for student in coverage.STUDENTS:
            count = cells // len(QUICK.num_icl) if student == "naive_ft" else cells
            assert groups[f"risk of {student}", weakness]["cells"] == count
    assert all(group["flagged"] < group["cells"] for group in groups.values())
    assert min(group["least"] for group in groups.values()) >= coverage.LEAST
    assert all(0.94 < group["mean"] < 0.97 and group["truth_above"] < 0.04 for group in groups.values())
    fresh = [row for row in json.loads(EVIDENCE.read_text())["rows"] if not coverage.flagged(row)]
    error = np.sqrt(0.05 * 0.95 * (1 / 1000 + 1 / held["sweeps"]))
    for row in fresh:
        group = groups[row["quantity"], "rotated"]
        assert group["least"] - 5 * error <= row["coverage"] <= group["most"] + 5 * error


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
