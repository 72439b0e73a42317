"""`python -m sims.compare`: planted truth is recovered, broken assumptions are noticed, bad tables are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from sims.compare import __main__ as command
from sims.compare.fit import fit
from sims.compare.predict import _cells, predict
from sims.compare.table import Row

DIM, INPUTS, TESTED = 5, 4000, 500
TABLES, ROWS = 12, 40


def students(seed, scales=1.0, confused=0.0):
    """Measured rows of students that gradient descent fine-tunes for a random number of steps on drawn inputs.

    Features have standard deviations `scales`; on a share `confused` of the inputs, those far along one axis, the
    teacher says the opposite.
    """
    rng = np.random.default_rng(seed)
    scales = np.broadcast_to(scales, DIM)
    rows = []
    for _ in range(ROWS):
        truth, start, teacher = rng.standard_normal((3, DIM)) / scales
        start, teacher = (way + truth * rng.uniform(0.5, 1.5) for way in (start, teacher))
        x, tested = (rng.standard_normal((count, DIM)) * scales for count in (INPUTS, TESTED))

        def labels(inputs, teacher=teacher):
            flipped = np.abs(inputs[:, 0]) / scales[0] > np.quantile(np.abs(rng.standard_normal(1000)), 1 - confused)
            return np.where(flipped, -1, 1) * (inputs @ teacher) > 0

        weak, student = labels(x), start.copy()
        for _ in range(rng.integers(5, 60)):
            student -= 0.3 / np.max(scales) ** 2 * (expit(x @ student) - weak) @ x / INPUTS
        right = {"truth": tested @ truth > 0, "start": tested @ start > 0, "student": tested @ student > 0}
        right["teacher"] = labels(tested)
        share = {name: (right[name] == right["truth"]).mean() for name in ("start", "teacher", "student")}
        agreement, seen = ((right[name] == right["teacher"]).mean() for name in ("start", "student"))
        rows.append(Row("", n=TESTED, agreement=agreement, student_agreement=seen, **share))
    return rows


@pytest.fixture(scope="module")
def planted():
    """Tables of the model itself."""
    return [students(seed) for seed in range(TABLES)]


def refused(tables):
    return sum(fit(predict(rows)).p_value < 0.05 for rows in tables)


def test_planted_truth_is_covered_at_the_nominal_rate(planted):
    found = [fit(predict(rows)) for rows in planted]
    covered = round(sum(one.covered * one.with_interval for one in found))
    assert binomtest(covered, TABLES * ROWS, 0.95).pvalue > 1e-3, covered
    assert refused(planted) <= 3
    assert all(one.rmse < 0.5 * one.teacher_rmse for one in found)
    assert np.mean([one.slope for one in found]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "broken", [{"scales": np.array([6.0, 3.0, 1.0, 1.0, 1.0])}, {"confused": 0.3}], ids=["uneven", "confused"]
)
def test_broken_assumptions_are_noticed(broken):
    assert refused([students(seed, **broken) for seed in range(4)]) == 4


def test_errors_that_are_related_are_noticed_where_their_agreement_is_missing(planted):
    assert refused([[replace(row, agreement=None) for row in rows] for rows in planted[:4]]) == 4


def test_cells_give_back_the_rates():
    start, teacher, agreement, student, seen = 0.8, 0.7, 0.66, 0.78, 0.82
    cells = _cells(start, teacher, agreement, student, seen)
    right = np.array(
        [[1, 1, 1, 0, 0, 0], [1, 0, 0, 1, 1, 0], [1, 0, 0, 0, 0, 1], [1, 1, 0, 1, 0, 0], [1, 0, 1, 1, 0, 1]]
    )
    np.testing.assert_allclose(right @ cells, [start, teacher, agreement, student, seen], rtol=1e-12)


def test_every_rule_has_its_form_and_its_error():
    end, paired, path, inferred, mixed, unknown, alone = predict(
        [
            Row("", 0.7, 0.72, 1000),
            Row("", 0.7, 0.72, 1000, student_agreement=0.9),
            Row("", 0.7, 0.81, start=0.8, agreement=0.66, student_agreement=0.762),
            Row("", 0.7, 0.81, start=0.8, student_agreement=0.762),
            Row("", 0.7, 0.76, ceiling=0.8, true_share=0.5),
            Row("", 0.7, 0.76, ceiling=0.65, true_share=0.5),
            Row("", 0.7, 0.76, true_share=0.5),
        ]
    )
    assert end.predicted == 0.7 and end.error == pytest.approx(np.sqrt((0.21 + 0.2016) / 1000))
    assert paired.error == pytest.approx(np.sqrt((0.1 - 0.02**2) / 1000))
    assert path.predicted == pytest.approx(0.8169, abs=1e-4) and np.isnan(path.error)
    assert inferred.predicted != path.predicted and "unrelated" in inferred.remark
    assert mixed.predicted == pytest.approx(0.7644, abs=1e-4)
    assert np.isnan(unknown.predicted) and "beat the ceiling" in unknown.remark
    assert np.isnan(alone.predicted) and "needs" in alone.remark.replace("need ", "needs ")
    found = fit([end, unknown])
    assert found.count == 1 and np.isnan(found.sem) and np.isnan(found.slope)
    assert fit([unknown]).count == 0


def test_the_command_writes_what_it_prints(tmp_path, capsys):
    table = tmp_path / "runs.csv"
    table.write_text("task,teacher,student,n\nboolq,0.7,0.69,500\n\nsciq,0.6,0.7,500\n")
    out = tmp_path / "deep" / "out.json"
    figure = tmp_path / "calibration.png"
    assert command.main([str(table), "--json", str(out), "--figure", str(figure)]) == 0
    printed = capsys.readouterr().out
    assert "task=boolq" in printed and "2 of 2 rows are predicted: 2 trained to the end." in printed
    assert "does not hold" in printed and figure.read_bytes().startswith(b"\x89PNG")
    read = json.loads(out.read_text())
    assert read["summary"]["count"] == 2 and read["rows"][1]["predicted"] == 0.6
    table.write_text("teacher,student\n0.7,0.69\n")
    assert command.main([str(table)]) == 0
    assert "no test of fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a file that can be read"),
        ("teacher,student\n", "must hold a header and at least one row, got 1 lines"),
        ("teacher,start\n0.7,0.6\n", "must have the column student, got teacher, start; "),
        ("teacher,studnet\n0.7,0.6\n", "must have the column student, got teacher, studnet; is it 'studnet'?"),
        ("teacher,student,cieling\n0.7,0.6,0.8\n", "got 'cieling'; did you mean 'ceiling'?"),
        ("teacher,student,student\n0.7,0.6,0.6\n", "must name each column once, got 'student' 2 times"),
        ("teacher,student\n70,65\n", "line 2, teacher, must be in (0, 1), got 70; write percentages as fractions."),
        ("teacher,student\n0.7,1.0\n", "line 2, student, must be in (0, 1), got 1.0; correct it."),
        ("teacher,student\n0.7,good\n", "line 2, student, must be a number, got 'good'"),
        ("teacher,student\n0.7,\n", "line 2 must have a value of student, got none"),
        ("teacher,student\n0.7,0.6\n", "--figure must end in .png, .pdf, .svg, got runs.txt; name its format."),
        ("teacher,student\n0.7\n", "line 2 must have 2 cells, as the header has, got 1"),
        ("teacher,student,n\n0.7,0.6,x\n", "line 2, n, must be a whole number of test inputs, at least 1, got 'x'"),
        (
            "teacher,student,start,agreement,student_agreement\n0.7,0.75,0.8,0.95,0.96\n",
            "agreement must be in [0.5, 0.9] for accuracies 0.8 and 0.7, got 0.95",
        ),
    ],
)
def test_bad_tables(tmp_path, capsys, text, words):
    table = tmp_path / "runs.csv"
    if text:
        table.write_text(text)
    figure = ["--figure", "runs.txt"] if "--figure" in words else []
    assert command.main([str(table), "--json", str(tmp_path / "out.json"), *figure]) == 2
    out, err = capsys.readouterr()
    assert words in err and err.count("\n") == 1 and not out and not (tmp_path / "out.json").exists()
