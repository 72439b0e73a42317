"""The command that measures coverage, on few and small sweeps; and what it found of the quick grid."""

import dataclasses
import json
from itertools import tee

import numpy as np
import pytest

from sims.coverage import __main__ as command
from sims.coverage import intervals, sweeps
from sims.risk_sweep.spec import QUICK
from tests.test_bad_input import assert_refused
from tests.test_evidence import about
from tests.tiny import cheaply

TINY = dataclasses.replace(
    command.CELLS,
    weak_accuracy=(0.9,),
    concept_shift=(0.1,),
    sample_size=(24,),
    num_icl=(1, 3),
    penalties=(0.3, 1.0),
    dim=6,
    num_concepts=3,
    replicates=100,
    prompt_rounds=0,
)
ERROR = np.sqrt(0.05 * 0.95)
"""Standard error of a coverage of 95%, times the square root of the number of sweeps."""


@pytest.fixture(scope="module", autouse=True)
def simulated_once():
    """The sweeps of a specification are simulated once for all tests."""
    simulated, held = sweeps.simulated, {}

    def kept(spec):
        held[spec], drawn = tee(held[spec] if spec in held else simulated(spec))
        return drawn

    with cheaply(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "simulated", kept)
        patch.setattr(command, "CELLS", TINY)
        yield


@pytest.mark.slow
def test_rows_hold_what_the_intervals_of_each_sweep_say(monkeypatch):
    """Honest intervals are held by most sweeps; its twin, intervals a tenth as wide, by few."""
    rows = intervals.measure(TINY, 30)
    assert len({row["quantity"] for row in rows}) == 3 + 2 + 3 and len(rows) == 1 + 2 + 2 + 2 * 2 + 1 + 2 + 2
    assert all(0.75 <= row["coverage"] <= 1 for row in rows if not intervals.flagged(row))
    honest = intervals._interval

    def narrow(*args):
        found = honest(*args)
        return found._replace(low=found.estimate, high=found.estimate + 0.1 * (found.high - found.estimate))

    monkeypatch.setattr(intervals, "_interval", narrow)
    short = [row for row in intervals.measure(TINY, 30) if not row["quantity"].startswith("PGR")]
    assert max(row["coverage"] for row in short) < 0.5


def test_sweeps_of_a_pool_have_the_moments_of_their_replicates(monkeypatch):
    rng = np.random.default_rng(0)
    parts = [[rng.exponential(size=(50, 1, 1, 1, *tail)) for tail in ((3,), (2, 2), (2, 1))] for _ in range(2)]
    monkeypatch.setattr(sweeps, "simulated", lambda spec: iter(parts))
    spec = dataclasses.replace(TINY, replicates=50)
    (found,) = sweeps.resampled(spec, 7, 2)
    times = np.random.default_rng(spec.seed).multinomial(50, np.full(100, 0.01), size=7)
    pools = [np.concatenate(two) for two in zip(*parts)]
    for sweep in range(7):
        drawn = [np.repeat(pool, times[sweep], axis=0) for pool in pools]
        ceiling = drawn[0][..., 1]
        for moments, own in zip(found, drawn):
            assert moments.mean[sweep] == pytest.approx(own.mean(axis=0), rel=1e-6)
            assert moments.variance[sweep] == pytest.approx(own.var(axis=0, ddof=1), rel=1e-5)
            apart = (ceiling - ceiling.mean(axis=0)).reshape(50, *(1,) * (own.ndim - 1))
            expected = (apart * (own - own.mean(axis=0))).sum(axis=0) / 49
            assert moments.with_ceiling[sweep] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def run(file, *options: str) -> dict:
    """What the command writes."""
    assert command.main([*options, "--json", str(file)]) in (0, 1)
    return json.loads(file.read_text())


@pytest.mark.slow
def test_the_command_sums_up_the_whole_grid(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "GRID", dataclasses.replace(TINY, weakness=("rotated", "noisy")))
    held = run(tmp_path / "grid.json", "--pool", "2", "--sweeps", "50")
    cells = {(row["quantity"], row["weakness"]): row["cells"] for row in held["summary"]}
    assert len(cells) == 8 + 5  # with a noisy teacher there is no gap to recover
    assert all(number == (1 if "naive_ft" in name else 2) for (name, _), number in cells.items())
    assert all(intervals.poor(row) for row in held["rows"])


def test_means_that_rest_on_few_replicates_are_bounded(tmp_path, capsys, monkeypatch):
    """As those of rare mistakes do without prompt rounds; the command says so."""
    simulated, few = sweeps.simulated, (np.arange(TINY.replicates) < 2).reshape(-1, 1, 1, 1, 1, 1)
    monkeypatch.setattr(sweeps, "simulated", lambda spec: ((f, v, few * m) for f, v, m in simulated(spec)))
    held = run(tmp_path / "coverage.json", "--sweeps", "10")
    assert (held["sweeps"], held["replicates"], held["prompt_rounds"]) == (10, 100, 0)
    flagged = {row["quantity"] for row in held["rows"] if intervals.flagged(row)}
    assert {f"misalignment of icl_refine_{prompts}" for prompts in ("shared", "fresh")} <= flagged
    assert not [name for name in flagged if name.startswith("PGR") or "naive_ft" in name]
    assert "least coverage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--sweeps", "1"], "sweeps must be at least 2, got 1"),
        (["--pool", "1"], "pool must be 0 or at least 2, got 1"),
        (["--prompt-rounds", "1"], "prompt_rounds must be 0 or at least 2, got 1"),
    ],
)
def test_bad_input_is_one_sentence(argv, words, capsys):
    assert_refused(capsys, command.main(argv), words)


def evidence(name: str) -> dict:
    """What the command found of the quick grid; it came from a commit, and from enough sweeps."""
    held = about(name)
    assert held["sweeps"] >= 500 and "dirty" not in held["commit"]
    assert (held["replicates"], held["prompt_rounds"]) == (QUICK.replicates, QUICK.prompt_rounds)
    return held


def test_every_cell_of_the_quick_grid_is_covered():
    """And fresh sweeps of a few cells lie within what the whole grid says of their quantity, to five errors."""
    held = evidence("coverage_grid")
    assert held["pool"] >= 8
    groups = {(group["quantity"], group["weakness"]): group for group in held["summary"]}
    cells = QUICK.num_cells // len(QUICK.weakness)
    for weakness in QUICK.weakness:
        for student in intervals.STUDENTS:
            expected = cells // len(QUICK.num_icl) if student == "naive_ft" else cells
            assert groups[f"risk of {student}", weakness]["cells"] == expected
    assert all(group["flagged"] < group["cells"] for group in groups.values())
    assert min(group["least"] for group in groups.values()) >= command.LEAST
    assert all(0.94 < group["mean"] < 0.97 and group["truth_above"] < 0.04 for group in groups.values())
    error = ERROR * np.sqrt(1 / 1000 + 1 / held["sweeps"])
    for row in evidence("coverage")["rows"]:
        if not intervals.flagged(row):
            group = groups[row["quantity"], "rotated"]
            assert group["least"] - 5 * error <= row["coverage"] <= group["most"] + 5 * error


def test_the_quick_grid_is_covered():
    rows = [row for row in evidence("coverage")["rows"] if not intervals.flagged(row)]
    cells = {(row["quantity"], row["weak_accuracy"], row["concept_shift"]) for row in rows}
    for student in intervals.STUDENTS:
        for name in ("risk", "PGR") if student == "naive_ft" else ("risk", "PGR", "misalignment"):
            wanted = ((0.8, 0.1), (0.9, 0.9), (0.9, 0.5), (0.9, 0.1))
            assert {(f"{name} of {student}", *cell) for cell in wanted} <= cells
    assert min(row["coverage"] for row in rows) >= command.LEAST
    # one that is too often above its interval is as bad as one that is too seldom held
    assert np.mean([row["truth_above"] for row in rows]) < 0.04
