"""Every table with numbers in the documents is what its function makes of the committed results."""

import json
import re

import numpy as np
import pytest
import xarray as xr

from sims import evidence
from sims.engine.checked import InputError
from sims.engine.claims import Claim
from sims.tables import Sources, alignment, arena, marks, networks, speed, theory, values
from tests.conftest import ROOT
from tests.test_evidence import RESULTS

TEXTS = {path.relative_to(ROOT): path.read_text() for path in marks.documents(ROOT)}
MARKS = [(name, match.group(0)) for name, text in TEXTS.items() for match in marks.MARK.finditer(text)]
COMMITTED = Sources(RESULTS)  # which reads every table once
CLOSED_FORMS = ("statistical_dimension", "contaminated_exponent", "one_example")
SYMBOLS = "formulas, of which some are 0 or 1"
UNMARKED = {
    "authors | title": "years and addresses of papers",
    "method | equation": "numbers of papers",
    "published pattern | cells": "counts of figures/paper_scores.json, which are published scores",
    "weakness | $b_w^2$": SYMBOLS,
    "labels | shared prompt": SYMBOLS,
    "weakness | $w_\\star$": SYMBOLS,
    "field | what it does": "numbers of sections",
    "method | excess risk": "each number is a mark of its own",
}
"""Tables outside of all marks, by their first two columns, with the reason."""


def is_slow(mark: str) -> bool:
    return any(f": {name} " in mark for name in CLOSED_FORMS)


@pytest.mark.parametrize(
    ("document", "mark"),
    [pytest.param(*each, marks=[pytest.mark.slow] * is_slow(each[1])) for each in MARKS],
    ids=lambda x: re.sub(r"<!-- (.*?) -->.*", r"\1", x, flags=re.DOTALL) if isinstance(x, str) else str(x),
)
def test_marked_numbers_are_those_of_the_results(document, mark):
    found, left = marks.written(mark, COMMITTED)
    assert not left
    assert found == mark, f"python -m sims.report --docs writes {document} anew"


def test_no_table_with_numbers_is_unmarked():
    found = [line for text in TEXTS.values() for line in marks.unmarked(text)]
    columns = [[cell.strip() for cell in line.strip("|").split("|")] for line in found]
    assert {" | ".join(each[:2]) for each in columns} == set(UNMARKED)


def test_marks_are_whole_and_leave_lines_to_markdown():
    for name, text in TEXTS.items():
        assert text.count("<!-- end -->") == len(marks.MARK.findall(text)), name
        assert len(re.findall(r"<!-- (table|value): ", text)) == len(marks.MARK.findall(text)), name
        assert not re.findall(r"^[-*>\s]*<!-- value: ", text, re.MULTILINE), f"{name}: a value begins a line"
        broken = [m.group(0) for m in marks.MARK.finditer(text) if m.group(1) == "value" and "\n" in m.group(0)]
        assert not broken, f"{name}: a value breaks a line"


# --- marks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A small tree of documents whose numbers are out of date."""
    (tmp_path / "docs").mkdir()
    claim = Claim("risk | of a", 0.024, "<=", 0.05)._asdict()
    (tmp_path / "x-quick.json").write_text(json.dumps({"claims": [claim]}))
    (tmp_path / "README.md").write_text('at most <!-- value: claim x "risk" .1% -->9%<!-- end --> of it')
    (tmp_path / "docs" / "a.md").write_text(
        "<!-- table: claims x -->\nold\n<!-- end -->\n\n<!-- table: network_risk -->kept<!-- end -->\n"
    )
    return tmp_path


def test_every_mark_is_written_anew_in_one_call(tree):
    found = list(marks.refresh(tree, Sources(tree)))
    assert [(path.name, changed) for path, changed, _ in found] == [("README.md", True), ("a.md", True)]
    assert found[1][2] == [("network_risk", str(tree / "incontext-quick.csv"))]
    assert (tree / "README.md").read_text() == 'at most <!-- value: claim x "risk" .1% -->2.4%<!-- end --> of it'
    text = (tree / "docs" / "a.md").read_text()
    assert "| risk \\| of a | | 0.024 | ≤ 0.05 |\n\n<!-- end -->" in text and ">kept<" in text and "old" not in text
    assert not any(changed for _, changed, _ in marks.refresh(tree, Sources(tree)))


def test_what_documents_read_of_a_sweep_is_noted(tree):
    """What reads no sweep is passed over, and nothing is written."""
    watched = evidence.watch(xr.Dataset({"risk": random(method=["a", "b"], size=[1, 10])}))
    calls = ("value: cell x risk method=b size=last .1f", "table: submissions", "table: one_example")
    (tree / "README.md").write_text(text := "\n".join(f"<!-- {call} -->9<!-- end -->" for call in calls))
    marks.touch(tree, Sources(tree, {"x": watched.data}))
    assert watched.arrays["risk"].read.tolist() == [[False, False], [False, True]]
    assert (tree / "README.md").read_text() == text


def test_timings_of_changes_that_no_commit_holds_are_refused(tmp_path):
    row = {"axis": "headline", "contender": "w2s_jax", "tasks_per_second": 2.0, "value": 1, "commit": "0123456789ab"}
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps([row, {**row, "contender": "numpy_loop", "tasks_per_second": 0.5}]))
    assert speed.rate(Sources(tmp_path), "w2s_jax", "/", "numpy_loop", ".1f") == "4.0"
    path.write_text(json.dumps([{**row, "commit": "0123456789ab-dirty"}]))
    with pytest.raises(InputError, match="evidence must come from code that a commit holds, but benchmarks was made"):
        speed.rate(Sources(tmp_path), "w2s_jax", ".1f")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("table: nothing", "a mark must name a table among alignment"),
        ('value: claim x "none" .1f', "fits 0; make it more precise"),
    ],
)
def test_a_mark_that_says_nothing_is_refused_and_nothing_is_written(tree, call, words):
    (tree / "docs" / "b.md").write_text(f"x <!-- {call} -->1<!-- end -->")
    before = (tree / "README.md").read_text()
    with pytest.raises(InputError, match=words):
        list(marks.refresh(tree, Sources(tree)))
    assert (tree / "README.md").read_text() == before


def test_cells_that_are_numbers_are_seen():
    numbers = ("0.391 ± 0.011", "**1,680,950**", "25%", "5.6 s", "37 of 37", ".0084", "< 0.1")
    for cell in (*numbers, "", "`naive_ft`", "K + 1", "the 4 others"):
        table = f"| a | b |\n|---|---:|\n| x | {cell} |\n"
        assert marks.unmarked(table) == ["| a | b |"] * (cell in numbers), cell
        assert marks.unmarked(f"<!-- table: claims x -->\n{table}\n<!-- end -->") == []


# --- tables of results ------------------------------------------------------------------------------------------------


def random(**dims) -> xr.DataArray:
    rng = np.random.default_rng(len(dims))
    return xr.DataArray(rng.random([len(labels) for labels in dims.values()]), dims=list(dims), coords=dims)


def cells(table: str, row: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {row} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def shown(values: xr.DataArray, digits: int = 3) -> str:
    return f"{float(values.mean()):.{digits}f} ± {float(values.std(ddof=1) / values.size**0.5):.{digits}f}"


def test_tables_of_worlds_show_the_cells_that_they_name():
    seeds, scored = {"seed": range(3)}, {"split": ["train", "held_out", "unrelated"], "temperature": [0, 1]}
    teachers, lengths = {"capability": [0.2, 0.4]}, {"num_icl": [1, 5]}
    methods = {"method": ["naive_ft", "icl_refine", "prompt_only"]}
    slots = {"prompt_length": range(2), "concept": ["women", "men"]}
    grids = {
        ("content", "style", "copied_errors"): {**methods, **teachers, **lengths, **scored, **seeds},
        ("weak_content", "weak_style", "weak_copied_errors"): {**teachers, **scored, **seeds},
        ("bayes_style", "weak_kl_to_bayes"): {**seeds, **teachers, **lengths},
        ("strong_naming", "bayes_naming"): {**seeds, **slots},
    }
    data = xr.Dataset({name: random(**dims) for names, dims in grids.items() for name in names})
    sources, cell = Sources(RESULTS, {"alignment_bias": data}), data.sel(capability=0.4, temperature=1, num_icl=5)
    found, naive = alignment.methods(sources, "bias"), cell.sel({"method": "naive_ft"})
    expected = [shown(naive.content.sel(split=split)) for split in scored["split"]]
    others = [shown(naive.style.sel(split="held_out")), shown(naive.copied_errors.sel(split="train"))]
    assert cells(found, "`naive_ft`") == [*expected, *others]
    assert cells(found, "weak teacher")[0] == shown(cell.weak_content.sel(split="train")) and "rate, held out" in found

    def row(values):
        return [f"{float(x):.2f}" for x in values]

    by_capability = data.content.sel(temperature=1, num_icl=5, split="held_out").sel({"method": "naive_ft"})
    found = cells(alignment.capability(sources, "bias", "naive_ft"), "`naive_ft`, held out")
    assert found == row(by_capability.mean("seed"))
    naming = data.bayes_naming.mean(["seed", "concept"])
    assert cells(alignment.naming(sources, "bias"), "exact Bayes") == row(naming)
    by_length = data.bayes_style.sel(capability=0.4).mean("seed")
    assert cells(alignment.examples(sources, "bias"), "exact Bayes") == row(by_length)


def test_the_table_of_the_arena_is_ordered_by_rank(tmp_path):
    methods = {"method": ["naive_ft", "hull", "ceiling"]}
    budgets, tasks = {"budget": ["examples", "compute"]}, {
        "weakness": ["rotated", "confused", "noisy"], "weak_accuracy": [0.7], "concept_shift": [0.5]
    }  # fmt: skip
    data = xr.Dataset({
        "rank_mean": random(**budgets, **methods), "rank_sem": random(**budgets, **methods),
        "pgr": random(**budgets, **tasks, **methods),
        "risk_mean": random(tuning=["weak_labels", "oracle"], **budgets, **tasks, **methods),
    })  # fmt: skip
    data.rank_mean[:] = [[5.0, 2.0, np.nan], [4.0, 3.0, np.nan]]
    (tmp_path / "methods_cost.json").write_text('[{"labels": "linear", "method": "hull", "ratio_to_naive_ft": 2.53}]')
    found = arena.methods(Sources(tmp_path, {"methods": data}), "linear")
    assert re.findall(r"\| `(\w+)`", found) == ["hull", "naive_ft", "ceiling"]
    row, cell = cells(found, "`hull`"), data.sel({"method": "hull"})
    assert row[:2] == [f"{mean:.1f} ± {float(cell.rank_sem[i]):.1f}" for i, mean in enumerate((2.0, 3.0))]
    assert row[2] == f"{float(cell.pgr.sel(budget='examples', weakness='rotated').squeeze()):.2f}"
    risks = cell.risk_mean.sel(budget="examples")
    assert row[5:] == [f"{float(np.median(risks.sel(tuning='weak_labels') / risks.sel(tuning='oracle'))):.2f}", "2.5"]
    assert cells(found, "`ceiling`")[:2] == ["", ""]


def test_tables_of_networks_show_the_cells_that_they_name():
    grid = {"concept_shift": [0.5, 0.75], "weak_accuracy": [0.4, 0.6], "sample_size": [64, 4096], "num_icl": [8, 16]}
    methods, seeds = {"method": ["source", "intent_refine"]}, {"seed": range(4)}
    data = xr.Dataset({
        "risk_last": random(**methods, **grid, **seeds), "uses_num_icl": ("method", [False, True]),
        "kl_to_bayes": random(law=["source", "rival"], context_length=range(3), concept_shift=[0.5, 0.75], **seeds),
    })  # fmt: skip
    sources = Sources(RESULTS, {"incontext": data})
    found, cell = networks.risk(sources), data.risk_last.sel(weak_accuracy=0.6, sample_size=4096)
    assert found.count("`source`") == 1 and found.count("`intent_refine`") == 2
    assert f"| 16 | {shown(cell.sel({'method': 'intent_refine', 'num_icl': 16, 'concept_shift': 0.5}), 2)} |" in found
    kl = data.kl_to_bayes.mean("seed").sel(law="rival", concept_shift=0.75)
    assert cells(networks.divergence(sources), "rival")[2:] == [f"{float(kl.mean()):.4f}", f"{float(kl.max()):.4f}"]


def test_a_number_of_a_text_is_a_cell_or_a_ratio_of_two():
    data = xr.Dataset({"risk": random(method=["a", "b"], size=[1, 10], seed=range(3))})
    sources = Sources(RESULTS, {"x": data})
    expected = data.risk.sel({"method": "a", "size": 10}).mean()
    assert values.cell(sources, "x", "risk", "method=a", "size=last", ".3f") == f"{float(expected):.3f}"
    ratio = float(expected / data.risk.sel({"method": "b", "size": 1}).mean())
    assert values.cell(sources, "x", "risk", "method=a", "size=10", "/", "method=b", "size=1", ".2f") == f"{ratio:.2f}"
    with pytest.raises(InputError, match="size is open"):
        values.cell(sources, "x", "risk", "method=a", ".3f")


@pytest.mark.slow
def test_closed_forms_of_a_table_are_those_that_are_known():
    assert cells(theory.statistical_dimension(COMMITTED), "$\\delta_K$")[:2] == ["0.5000", "0.8333"]
    assert cells(theory.contaminated_exponent(COMMITTED), "$\\kappa(\\rho)$")[0] == f"{0.5 * np.log(3):.3f}"[1:]
