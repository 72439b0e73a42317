"""What the documentation claims is committed as numbers, and is evaluated again here."""

import json
from pathlib import Path

import numpy as np
import pytest

from sims import posterior_sweep, report, risk_sweep, theory_sweep
from sims.claims import Claim, fit_exponent
from sims.spec import identity
from tests.test_engine import options

RESULTS = Path(__file__).parent.parent / "docs" / "results"
PRESETS = {
    "risk_sweep": risk_sweep.PRESETS,
    "theory_sweep": theory_sweep.PRESETS,
    "posterior_sweep": posterior_sweep.PRESETS,
}
EVIDENCE = sorted(path for path in RESULTS.glob("*.json") if path.stem != "benchmarks")


def test_there_is_evidence_of_the_quick_presets():
    assert {"risk_sweep-quick", "theory_sweep-quick", "posterior_sweep-quick"} <= {path.stem for path in EVIDENCE}


@pytest.mark.parametrize("path", EVIDENCE, ids=lambda path: path.stem)
def test_evidence_holds_and_belongs_to_its_preset(path):
    evidence = json.loads(path.read_text())
    command, preset = path.stem.split("-")
    spec = PRESETS[command][preset]
    assert evidence["command"] == f"python -m sims.{command} --preset {preset}"
    assert evidence["identity"] == identity(spec), "the preset has changed since: run it and sims.report again"
    assert evidence["seed"] == spec.seed and evidence["replicates"] >= spec.replicates
    assert evidence["device"] and evidence["commit"] and evidence["versions"]["jax"]
    for entry in evidence["claims"]:
        stated = entry.pop("holds")
        claim = Claim(**entry)
        assert np.isfinite(claim.value)
        assert claim.holds() and stated, claim


def test_a_claim_that_does_not_hold_is_told():
    assert Claim("x", 1.0, "<=", 2.0).holds() and not Claim("x", 3.0, "<=", 2.0).holds()
    assert Claim("x", 3.0, ">=", 2.0).holds() and not Claim("x", 1.0, ">=", 2.0).holds()


def test_benchmark_figures():
    """400 times the plain loop, and faster than NumPy that shares draws."""
    rows = {row["contender"]: row for row in json.loads((RESULTS / "benchmarks.json").read_text())}
    ours, loop, shared = (rows[name] for name in ("w2s_jax", "numpy_loop", "numpy_vectorised"))
    assert ours["tasks_per_second"] >= 400 * loop["tasks_per_second"]
    assert ours["tasks_per_second"] > shared["tasks_per_second"]


def test_a_fitted_exponent_is_recovered_and_another_is_not():
    rng, kappa = np.random.default_rng(0), 0.25
    lengths = np.arange(8, 36, 2)
    exact = 3.0 * np.exp(-kappa * lengths) / np.sqrt(lengths)
    noisy = exact * (1 + 0.01 * rng.standard_normal(len(lengths)))
    ratio, sem = fit_exponent(lengths, noisy, 0.01 * exact, kappa, 1)
    assert abs(ratio - 1) < 5 * sem < 0.05
    wrong, sem = fit_exponent(lengths, noisy, 0.01 * exact, 1.1 * kappa, 1)
    assert abs(wrong - 1) > 5 * sem
    assert fit_exponent(lengths[:3], noisy[:3], exact[:3], kappa, 1) is None


def test_evidence_comes_from_presets_alone(tmp_path, capsys):
    assert risk_sweep.main(options(tmp_path, methods=("source",), replicates=4)) == 0
    assert report.main(["--results", str(tmp_path), "--out", str(tmp_path / "docs")]) == 2
    assert "evidence must come from a preset" in capsys.readouterr().err
    assert report.main(["--results", str(tmp_path / "nothing")]) == 2
    assert "--results must hold a store" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()
