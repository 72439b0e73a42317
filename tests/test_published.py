"""Published runs: the tables are sound, docs/published.md says what they say, and the figure can be read."""

import doctest

import numpy as np
import pytest

from figures import published, style, zoo
from tests.conftest import ROOT
from tests.panels import assert_legible, laid_out


@pytest.fixture(scope="module")
def runs():
    return published.read("gpt2_true_labels")


def mean(rows, column="student"):
    return np.mean([float(row[column]) for row in rows])


def test_accuracies_are_whole_numbers_of_the_questions(runs):
    for row in runs:
        for name in ("teacher", "ceiling", "student"):
            right = float(row[name]) * int(row["n"])
            assert abs(right - round(right)) < 5e-5 * int(row["n"]) + 1e-9
    assert {row["task"]: row["n"] for row in runs} == {"boolq": "3269", "sciq": "1000"}


def test_prose_says_what_the_tables_hold(runs):
    naive = [row for row in runs if row["true_share"] == "0"]
    boolq = [row for row in naive if row["task"] == "boolq"]
    sizes = [mean([row for row in boolq if (row["weak"], row["strong"]) == ("gpt2", size)]) for size in published.SIZES]
    assert np.ptp(sizes) < 0.01
    assert mean(boolq) < mean(boolq, "teacher") - 0.01
    prompts = published.read("llama_prompts")
    for labels in published.LABELLERS:
        own = {
            int(row["examples"]): int(row["correct"]) / int(row["n"])
            for row in prompts
            if (row["labels"], row["strong"]) == (labels, published.STUDENT)
        }
        assert own[5] < own[0] < own[25] and own[0] - own[5] <= 0.0701


def test_the_worked_case_of_the_guide(runs):
    found = doctest.testfile(str(ROOT / "docs" / "planning.md"), module_relative=False)
    assert found.attempted >= 4 and not found.failed
    own = [row for row in runs if (row["task"], row["weak"], row["strong"]) == ("boolq", "gpt2", "gpt2-xl")]
    reached = [mean([row for row in own if float(row["true_share"]) == share]) for share in (0, 0.25, 0.5, 0.75, 1)]
    guide = " ".join((ROOT / "docs" / "planning.md").read_text().split())
    assert "{:.3f}, {:.3f}, {:.3f}, {:.3f} and {:.3f}".format(*reached) in guide
    assert f"teacher is at {mean(own, 'teacher'):.1%}" in guide and f"ceiling at {mean(own, 'ceiling'):.1%}" in guide


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), [(published, "theory_and_runs"), (zoo, "theory_zoo")])
def test_figures_without_results_are_drawn_and_written(module, name, tmp_path, capsys, few_pixels):
    with style.style():
        assert_legible(laid_out(getattr(module, name)), name)
    assert module.main(["--out", str(tmp_path / "deep")]) == 0
    assert (tmp_path / "deep" / f"{name}.png").stat().st_size > 1000
    (tmp_path / "file").write_text("")
    assert module.main(["--out", str(tmp_path / "file")]) == 2
    assert "--out must be a folder that can be written" in capsys.readouterr().err
