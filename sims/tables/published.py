"""Tables of docs/published.md: published runs, of which figures/published_runs holds the numbers, beside theory."""

import csv
from pathlib import Path

from sims.compare.fit import fit
from sims.compare.predict import predict
from sims.compare.table import Row, read_table
from sims.tables.sources import Sources, markdown
from w2s_jax.theory_zoo import copied_errors, mixed_label_student
from w2s_jax.theory_zoo.true_labels import teacher_rates

FOLDER = Path(__file__).parents[2] / "figures" / "published_runs"
TASKS = {"boolq": "BoolQ", "sciq": "SciQ"}
SHARES = {"no true labels": (0.0, 0.0), "some": (0.001, 0.999), "true labels alone": (1.0, 1.0)}
"""Groups of rows by the share of true labels."""


def accuracies(sources: Sources) -> str:
    """How far accuracies of GPT-2 students are from those predicted, by task and share of true labels."""
    sources.formulas()
    rows = read_table(FOLDER / "gpt2_true_labels.csv")
    found = []
    for task, label in TASKS.items():
        for group, (low, high) in SHARES.items():
            own = [row for row in rows if f"task={task} " in row.label and low <= (row.true_share or 0.0) <= high]
            found.append([label, group, *_line(own)])
    found.append(["both", "all", *_line(rows)])
    numbers = [
        "runs",
        "observed less predicted",
        "root mean square",
        "its teacher",
        "its ceiling",
        "inside 95%",
        "p of the fit",
    ]
    return markdown(["task", "labels", *numbers], found, words=2)


def _line(rows: list[Row]) -> list[str]:
    one = fit(predict(rows))
    return [
        f"{one.count} of {len(rows)}",
        f"{one.mean_error:+.3f} ± {one.sem:.3f}",
        *(f"{error:.3f}" for error in (one.rmse, one.teacher_rmse, one.ceiling_rmse)),
        f"{one.covered:.0%}",
        f"{one.p_value:.1g}",
    ]


def copied(sources: Sources) -> str:
    """The share of its teacher's errors that gpt2-xl repeats, measured and predicted."""
    sources.formulas()
    with (FOLDER / "gpt2_copied_errors.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = []
    for task, label in TASKS.items():
        own = [{name: float(row[name]) for name in COLUMNS} for row in rows if row["task"] == task]
        naive, ceiling = own[0], own[-1]
        teacher, seen = teacher_rates(*(naive[name] for name in COLUMNS[1:]))
        for row in own[1:]:
            student = mixed_label_student(row["true_share"], ceiling["accuracy"], naive["accuracy"], seen)
            predicted = float(copied_errors(student.accuracy, teacher, student.agreement))
            observed = 1 - row["right_where_teacher_wrong"]
            found.append([label, f"{row['true_share']:g}", f"{observed:.3f}", f"{predicted:.3f}"])
    return markdown(["task", "share of true labels", "copied", "predicted"], found)


COLUMNS = ("true_share", "accuracy", "right_where_teacher_wrong", "right_where_teacher_right")
