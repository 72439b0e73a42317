"""Claims and tables of the dear sweeps on results of the right shape and random numbers, straight and by a table.

What the numbers say is nothing; that a table holds all that is read, stays small and gives the same, is tested.
"""

import numpy as np
import pytest
import xarray as xr

from sims import evidence, report
from sims.alignment.results import _coordinates as of_worlds
from sims.incontext.results import _coordinates as of_networks
from sims.methods.results import TUNINGS
from sims.methods.spec import BUDGETS
from sims.sweeps import SWEEPS
from sims.tables import Sources, marks
from tests.conftest import ROOT
from tests.test_evidence import MAX_BYTES, RESULTS

TASKS = "weakness weak_accuracy concept_shift"
SCORES = "method capability num_icl split temperature seed"
SHAPES = {
    "methods": {
        "risk_mean": f"tuning budget {TASKS} method",
        "risk_cov": f"budget {TASKS} method method_2",
        "pgr": f"budget {TASKS} method",
        "weak_risk": TASKS,
        "rank_mean": "budget method",
        "rank_sem": "budget method",
    },
    "incontext": {
        "risk_last": "method concept_shift weak_accuracy sample_size num_icl seed",
        "named_concept": "concept_shift seed weak_accuracy num_icl",
        "bayes_named_concept": "concept_shift seed weak_accuracy num_icl",
        "kl_to_bayes": "law context_length concept_shift seed",
        "coverage": "level context_length concept_shift seed",
        "share_outside": "concept_shift seed",
        "concept_weight": "predictor concept_shift seed weak_accuracy prompt_length",
        "uses_num_icl": "method",
    },
    "alignment_bias": {
        **dict.fromkeys(("content", "style", "copied_errors"), SCORES),
        **dict.fromkeys(("weak_content", "weak_style", "weak_copied_errors"), "capability split temperature seed"),
        "mass": "method capability num_icl split seed",
        **dict.fromkeys(("bayes_style", "weak_kl_to_bayes"), "seed capability num_icl"),
        "kl_to_bayes": "prompts seed num_icl",
        **dict.fromkeys(
            ("strong_content", "strong_tagged_content", "strong_naming", "bayes_naming"), "seed prompt_length concept"
        ),
        "target_style": "",
    },
}
SHAPES["methods_sign"] = SHAPES["methods"]


def imagined(name: str) -> xr.Dataset:
    """Random results of a sweep at `quick`."""
    spec, rng = SWEEPS[name].presets["quick"], np.random.default_rng(0)
    if name.startswith("methods"):
        axes = {dim: getattr(spec, dim) for dim in TASKS.split()}
        coords = {**axes, "method": spec.methods, "method_2": spec.methods, "budget": BUDGETS, "tuning": TUNINGS}
        coords = {dim: np.array(labels) for dim, labels in coords.items()}
    else:
        found = (of_networks if name == "incontext" else of_worlds)(spec, spec.replicates)
        coords = {dim: values for dim, (_, values, _) in found.items()}
    variables = {"num_replicates": ((), np.array(spec.replicates))}
    for variable, words in SHAPES[name].items():
        dims = words.split()
        values = rng.random([coords[dim].size for dim in dims])
        variables[variable] = (dims, np.float32(values) if "uses" not in variable else values > 0.5)
    return xr.Dataset(variables, coords)


@pytest.mark.parametrize("name", SHAPES)
def test_claims_and_tables_are_the_same_by_a_table(name, tmp_path):
    straight = imagined(name)
    watched = evidence.watch(straight)
    report.evaluate(watched, name, "quick")
    marks.touch(ROOT, Sources(RESULTS, {name: watched.data}))
    about, rows = evidence.table(watched)
    assert {"num_replicates", *SHAPES[name]} == set(about["variables"])  # nothing here that is not read
    evidence.write(rows, list(about["coordinates"]), tmp_path / "x.csv")
    assert (tmp_path / "x.csv").stat().st_size < MAX_BYTES

    held = evidence.build(about, rows)
    found = report.evaluate(held, name, "quick")
    expected = report.evaluate(evidence.Evidence(straight, {}, {}), name, "quick")
    assert len(found) > 5
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["value"] == pytest.approx(theirs["value"], rel=1e-3, abs=1e-4), theirs
        assert (ours["claim"], ours["where"]) == (theirs["claim"], theirs["where"])

    filled = 0
    for path in marks.documents(ROOT):
        pages = [marks.written(path.read_text(), Sources(RESULTS, {name: data})) for data in (straight, held.data)]
        assert pages[0][1] == pages[1][1]
        lines = [(a, b) for a, b in zip(*(page[0].splitlines() for page in pages), strict=True) if a != b]
        assert len(lines) <= 5, lines  # a last digit may fall on either side
        filled += pages[0][0] != path.read_text()
    assert filled
