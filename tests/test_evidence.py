"""What the documentation claims is committed as numbers, and is evaluated again here."""

import json
from pathlib import Path

import numpy as np
import pytest

from sims import report, risk_sweep
from sims.claims import Claim, fit_exponent
from sims.spec import identity
from sims.sweeps import SWEEPS
from tests.test_engine import options

RESULTS = Path(__file__).parent.parent / "docs" / "results"
TIMINGS = ("benchmarks", "networks", "methods_cost", "coverage")
EVIDENCE = sorted(path for path in RESULTS.glob("*.json") if path.stem not in TIMINGS)


def test_there_is_evidence_of_the_quick_presets():
    assert {f"{name}-quick" for name in SWEEPS} == {path.stem for path in EVIDENCE}


@pytest.mark.parametrize("path", EVIDENCE, ids=lambda path: path.stem)
def test_evidence_holds_and_belongs_to_its_preset(path):
    evidence = json.loads(path.read_text())
    name, preset = path.stem.split("-")
    spec = SWEEPS[name].presets[preset]
    assert evidence["command"] == f"python -m sims.{SWEEPS[name].command} --preset {preset}"
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


def headline_rates() -> dict[str, float]:
    """Tasks per second of each contender at the headline, on all cores."""
    rows = json.loads((RESULTS / "benchmarks.json").read_text())
    return {row["contender"]: row["tasks_per_second"] for row in rows if row["axis"] == "headline"}


def test_the_engine_beats_its_rivals():
    rates = headline_rates()
    ours, loop, shared = (rates[name] for name in ("w2s_jax", "numpy_loop", "numpy_vectorised"))
    assert ours >= 1000 * loop and ours >= 3 * shared
    assert ours > rates["numpy_vectorised_every_core"]
    assert rates["w2s_jax_moments"] >= 4.5 * shared
    assert ours >= max(500 * rates[name] for name in ("jax_plain", "torch_batched", "sklearn_loop"))


def test_the_cost_of_moments_does_not_feel_the_sample():
    rows = json.loads((RESULTS / "benchmarks.json").read_text())
    rates = {
        row["value"]: row["tasks_per_second"]
        for row in rows
        if (row["axis"], row["contender"]) == ("n", "w2s_jax_moments_mean")
    }
    assert min(rates) <= 1000 and max(rates) == 10**6
    assert max(rates.values()) <= 1.1 * min(rates.values())


def test_the_engine_is_within_three_times_of_its_limit():
    rows = json.loads((RESULTS / "benchmarks.json").read_text())
    limit = min(
        row["tasks_per_second"] for row in rows if row["contender"] == "limit: normals, w2s_jax" and row["devices"] == 2
    )
    assert headline_rates()["w2s_jax"] >= limit / 3


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
