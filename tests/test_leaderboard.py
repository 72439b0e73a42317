"""The leaderboard: what was submitted is whole, of the committed draws, and in its table."""

import hashlib
import json
import shutil

import pytest

from sims.engine.checked import InputError
from sims.methods.submission import read
from sims.tables import Sources, leaderboard
from tests.conftest import ROOT

SUBMITTED = sorted((ROOT / "docs" / "leaderboard").glob("*.json"))


def rows(table: str) -> dict[str, list[str]]:
    """The cells of each row, by the name in the first."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {first.strip("*`"): rest for first, *rest in cells}


@pytest.mark.parametrize("path", SUBMITTED, ids=lambda path: path.name)
def test_a_submission_is_in_the_table(path):
    found = read(path)
    assert path.name == f"{found['name']}-{found['labels']}.json"
    table = rows(leaderboard.board(Sources(ROOT / "docs" / "results"), found["labels"]))
    scores = [f"{found['score'][budget]['ratio']:.3f}" for budget in ("examples", "compute")]
    assert table[found["name"]][1:3] == scores
    assert table["naive_ft"][1:3] == ["1.000", "1.000"] and "ceiling" not in table
    order = [float(cells[1]) for cells in table.values()]
    assert order == sorted(order)
    assert sum(float(cells[3]) for cells in table.values()) == pytest.approx(len(table) * (len(table) + 1) / 2, abs=1)


def test_the_template_is_the_file_that_was_submitted():
    """Who changes docs/my_method.py runs it again and submits it anew."""
    sha256 = hashlib.sha256((ROOT / "docs" / "my_method.py").read_bytes()).hexdigest()
    assert read(ROOT / "docs" / "leaderboard" / "mean_refine-linear.json")["sha256"] == sha256


def test_a_submission_of_other_draws_is_refused(tmp_path):
    shutil.copytree(ROOT / "docs" / "results", tmp_path / "results")
    (tmp_path / "leaderboard").mkdir()
    found = read(SUBMITTED[0])
    for budget, values in found["naive_risk"].items():
        found["naive_risk"][budget] = [1.1 * value for value in values]
        found["score"][budget]["ratio"] /= 1.1
    (tmp_path / "leaderboard" / "x.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match="must be of the same draws as docs/results, but mean_refine has other risks"):
        leaderboard.board(Sources(tmp_path / "results"), found["labels"])
