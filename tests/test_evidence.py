"""What the documentation claims: committed as tables of numbers, on which the claim functions run again here."""

import csv
import json
import math
import re

import numpy as np
import pytest
import xarray as xr
import zarr

from benchmarks import quiet
from figures import evidence as figures_evidence
from sims import evidence, report
from sims.engine import runtime
from sims.engine.checked import InputError, from_json, identity
from sims.engine.claims import Claim
from sims.posterior_sweep.claims import fit_exponent
from sims.sweeps import SWEEPS
from tests.conftest import ROOT
from tests.test_bad_input import assert_refused
from tests.toy_sweep import SWEEP, ToySpec

RESULTS = ROOT / "docs" / "results"
HERE = [
    *sorted(f"{name}-quick" for name in SWEEPS),
    *(f"{name}-paper" for name in ("posterior_sweep", "risk_sweep", "theory_sweep")),
]
FALLEN = {
    "posterior_sweep-paper": ["K = 4: largest |fitted exponent", "K = 4: largest difference of fitted exponent"],
    "language_weaker-quick": ["content that icl_refine loses", "icl_refine style over the ceiling's"],
}
"""Claims that do not hold, by how they begin; docs/performance.md and docs/language.md say so."""
LARGE = ("risk_sweep-paper", "risk_sweep-quick", "theory_sweep-paper", "theory_sweep-quick")
"""Those whose claims take seconds to compute again."""
MAX_BYTES = 1_300_000
"""Of a table; those of a sweep without single seeds are far smaller."""


def about(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def rows_of(name: str) -> list[dict]:
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_awaited_is_what_is_not_there():
    tables = {path.stem for path in RESULTS.glob("*.csv")}
    assert tables == set(HERE)
    rows = {
        "benchmarks",
        "networks",
        "methods_cost",
        "language_speed",
        "scale",
        "memory",
        "planning",
        "profile",
        "startup",
    }
    assert all("commit" in row for name in rows for row in about(name))
    held = {path.stem for path in RESULTS.glob("*.json")}
    assert held == {*HERE, *rows, "coverage", "coverage_grid", "language_known"}


@pytest.mark.parametrize("name", ["benchmarks", "language_speed", "scale", "planning", "profile", "startup"])
def test_timings_were_taken_alone(name):
    rows = [row for row in about(name) if row.get("axis") != "limit"]
    assert all(row["others_share"] is not None and not quiet.is_disturbed(row) for row in rows)
    assert len({row["commit"] for row in rows}) == 1 or name == "scale"  # no whole sweep is compared with another


def test_every_block_fits_a_small_accelerator_and_the_bound_of_its_plan():
    rows = about("memory")
    assert {row["preset"] for row in rows} == {"paper"} and len(rows) == 6
    assert all(row["bytes"] == pytest.approx(16e9 * row["share_of_16_gb"]) and row["bytes"] < 16e9 / 10 for row in rows)
    assert all(row["bytes"] < row["planned_bytes"] for row in rows if row["planned_bytes"])


@pytest.mark.parametrize("stem", HERE)
def test_evidence_belongs_to_its_preset(stem):
    found, (name, preset) = about(stem), stem.split("-")
    spec = SWEEPS[name].presets[preset]
    assert found["command"] == f"python -m sims.{SWEEPS[name].command} --preset {preset}"
    assert found["seed"] == spec.seed and found["replicates"] >= spec.replicates
    assert identity(from_json(SWEEPS[name].kind, json.dumps(found["config"]))) == found["identity"]
    assert found["device"] and "jax" in found["versions"]
    assert (RESULTS / f"{stem}.csv").stat().st_size < MAX_BYTES
    assert found["identity"] == identity(spec), "the preset has changed since: run it and sims.report again"
    runtime.check_commit(stem, found["commit"])


@pytest.mark.parametrize("stem", [pytest.param(s, marks=[pytest.mark.slow] * (s in LARGE)) for s in HERE])
def test_claims_follow_from_the_table(stem):
    stated = about(stem)["claims"]
    found = report.evaluate(evidence.load(RESULTS, stem), *stem.split("-"))
    fallen = [claim["claim"] for claim in found if not claim["holds"]]
    assert [text.startswith(start) for text, start in zip(fallen, FALLEN.get(stem, []), strict=True)].count(False) == 0
    assert [claim["claim"] for claim in found] == [claim["claim"] for claim in stated]
    for ours, theirs in zip(found, stated):
        assert ours["holds"] == theirs["holds"], ours
        for part in ("value", "sem", "bound"):
            expected = theirs[part] if theirs[part] is None else pytest.approx(theirs[part], rel=1e-4, abs=1e-9)
            assert ours[part] == expected, ours
        assert (ours["relation"], ours["where"]) == (theirs["relation"], theirs["where"])


def test_another_number_is_another_verdict_and_one_that_is_not_there_is_missed():
    name, variable = "posterior_sweep", "shared_misalignment"
    found, rows = about(f"{name}-quick"), rows_of(f"{name}-quick")
    for row in rows:
        if (row["variable"], row["num_icl"]) == (f"{variable}_mean", "0"):
            row["value"] = str(3 * float(row["value"]))
    claims = report.evaluate(evidence.build(found, rows), name, "quick")
    (fallen,) = [claim["claim"] for claim in claims if not claim["holds"]]
    assert "overconfidence" in fallen
    rows = [row for row in rows if (row["variable"], row["weakness"]) != (f"{variable}_sem", "rotated")]
    with pytest.raises(InputError, match=f"must hold what is read of it, but {variable}_sem is not all there"):
        report.evaluate(evidence.build(found, rows), name, "quick")


# --- tables -----------------------------------------------------------------------------------------------------------


def data() -> xr.Dataset:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, 3, 4))
    values[1] = values[1, :1]  # the second method does not read `size`
    values[0, 0, 0] = np.nan
    coords = {"method": ["naive", "plain"], "size": [1, 2, 10], "seed": [0, 1, 2, 3]}
    dims = ("method", "size", "seed")
    scalars = {"count": ((), np.array(1_000_001)), "uses_size": ("method", [True, False])}
    return xr.Dataset({"risk": (dims, values), "other": (dims, values), **scalars}, coords)


def read_back(watched, tmp_path) -> evidence.Evidence:
    found, rows = evidence.table(watched)
    evidence.write(rows, list(found["coordinates"]), tmp_path / "x.csv")
    (tmp_path / "x.json").write_text(json.dumps(found))
    return evidence.load(tmp_path, "x")


def test_a_table_holds_what_was_read_and_nothing_else(tmp_path):
    whole, watched = data(), evidence.watch(data())
    cut = watched.data.sel({"method": "naive"}).sel(size=[10, 1])
    assert not watched.arrays["risk"].read.any()  # selecting reads nothing
    float(cut.risk.mean())
    int(watched.data["count"].copy(deep=True))  # of a copy too, as xarray makes them
    bool(watched.data.uses_size[0])
    held = read_back(watched, tmp_path)
    assert set(held.data) == {"risk", "count", "uses_size"} and int(held.data["count"]) == 1_000_001
    assert held.data.uses_size[0]
    expected = whole.risk.values[0, [2, 0]]
    found = held.data.risk.sel({"method": "naive"}).sel(size=[10, 1])
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # to six digits, and holes are holes
    with pytest.raises(InputError, match="risk is not all there"):
        float(held.data.risk.isel(method=0, size=1).mean())


def test_words_are_kept_as_they_are(tmp_path):
    words = np.array([["capital: France", "symbol: tin"], ["plural: ox", ""]])
    whole = data().assign(fact=(("method", "place"), words), part=(("method",), np.array(["a", "a"])))
    watched = evidence.watch(whole.assign_coords(place=[0, 1]))
    assert watched.data.fact.isel(method=0).values.tolist() == words[0].tolist()
    assert watched.data.part.values.tolist() == ["a", "a"]
    _, rows = evidence.table(watched)
    assert len(rows) == 2 + 1
    held = read_back(watched, tmp_path)
    assert held.data.fact.isel(method=0).values.tolist() == words[0].tolist()
    assert (held.data.part.values == "a").all()
    with pytest.raises(InputError, match="fact is not all there"):
        held.data.fact.isel(method=1).load()


def test_what_does_not_change_along_a_dimension_is_written_once(tmp_path):
    watched = evidence.watch(data())
    watched.data.other.sum().compute()
    _, rows = evidence.table(watched)
    assert len(rows) == 3 * 4 + 4
    held = read_back(watched, tmp_path)
    np.testing.assert_allclose(held.data.other, data().other, rtol=1e-5)
    assert held.data.other.dims == ("method", "size", "seed")


def test_the_commits_of_tables_are_those_that_the_design_names():
    design = (ROOT / "docs" / "design.md").read_text()
    named = re.search(r"were last made anew from the programs of one commit.*?\n\n", design, re.DOTALL)[0]
    commits = {json.loads(path.read_text())["commit"] for path in RESULTS.glob("*-quick.json")}
    assert {commit[:7] for commit in commits} == set(re.findall(r"\b[0-9a-f]{7}\b", named))


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def toy(toy_copy, monkeypatch):
    """A finished toy sweep of a clean commit, that is a preset and claims something; its folder."""

    def claims(data, spec):
        yield Claim("largest risk of the first chunk", float(data.risk.isel(chunk=0).max()), "<=", 10.0)

    monkeypatch.setitem(report.SWEEPS, "toy", SWEEP._replace(presets={"smoke": ToySpec()}))
    monkeypatch.setitem(report.CLAIMS, "toy", claims)
    zarr.open_group(str(toy_copy / "toy.zarr"), mode="r+").attrs["commit"] = "0123456789ab"
    return toy_copy


def test_a_finished_preset_becomes_evidence(toy, tmp_path, capsys):
    docs = tmp_path / "docs"
    assert report.main(["--results", str(toy), "--out", str(docs)]) == 0
    assert sorted(path.name for path in docs.glob("*")) == ["toy-smoke.csv", "toy-smoke.json"]
    assert "ok   largest risk of the first chunk" in capsys.readouterr().out
    held = evidence.load(docs, "toy-smoke")
    assert held.arrays["risk"].held.sum() == 3  # of six
    (claim,) = held.about["claims"]
    assert claim["value"] == float(held.data.risk.isel(chunk=0).max()) and claim["holds"]


def test_evidence_is_not_written_over_what_is_committed_unless_asked(toy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert report.main(["--results", str(toy)]) == 0
    assert sorted(path.name for path in (toy / "evidence").glob("*")) == ["toy-smoke.csv", "toy-smoke.json"]
    assert not list(tmp_path.rglob("docs"))


@pytest.mark.parametrize(
    ("commit", "preset", "words"),
    [
        ("0123456789ab-dirty", ToySpec(), "evidence must come from code that a commit holds"),
        ("unknown", ToySpec(), "evidence must come from code that a commit holds"),
        ("0123456789ab", ToySpec(seed=1), "evidence must come from a preset"),
        ("0123456789ab", ToySpec(replicates=1000), "evidence must be complete"),
    ],
)
def test_evidence_comes_from_finished_presets_of_a_commit(toy, tmp_path, capsys, monkeypatch, commit, preset, words):
    zarr.open_group(str(toy / "toy.zarr"), mode="r+").attrs["commit"] = commit
    monkeypatch.setitem(report.SWEEPS, "toy", SWEEP._replace(presets={"smoke": preset}))
    docs = tmp_path / "docs"
    assert_refused(capsys, report.main(["--results", str(toy), "--out", str(docs)]), words, docs)


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        (report, "--results", "--results must hold a store, but .* has none; run a sweep first"),
        (report, "--docs --out", "--out must be the folder of the evidence"),
        (figures_evidence, "--out new --results", "--results must hold a store, but .* has none; run a sweep first"),
    ],
)
def test_folders_that_hold_nothing_are_refused(tmp_path, capsys, monkeypatch, command, options, words):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, command.main([*options.split(), "nothing"]), words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("changed", "suffix"), [("", ""), (" M sims/engine/run.py\n?? sims/new.py", "-dirty")])
def test_a_commit_says_whether_it_holds_the_code(monkeypatch, changed, suffix):
    answers = {"rev-parse": "0123456789ab", "status": changed}
    asked = []
    monkeypatch.setattr(runtime, "_git", lambda name, *rest: asked.append(rest) or answers[name])
    assert runtime.provenance()["commit"] == "0123456789ab" + suffix
    assert {"w2s_jax", "sims", "figures", "benchmarks"} < set(asked[-1])


def test_without_a_repository_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert runtime.provenance()["commit"] == "unknown"


# --- claims -----------------------------------------------------------------------------------------------------------


def test_a_claim_that_does_not_hold_is_said():
    assert Claim("x", 1.0, "<=", 2.0).holds() and not Claim("x", 3.0, "<=", 2.0).holds()
    assert Claim("x", 3.0, ">=", 2.0).holds() and not Claim("x", 1.0, ">=", 2.0).holds()
    assert not Claim("x", math.nan, "<=", 2.0).holds() and not Claim("x", math.nan, ">=", 2.0).holds()


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
