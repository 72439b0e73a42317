"""Draws `theory_and_runs`: published experiments beside closed forms that no parameter was fitted to.

The tables and their sources are in figures/published_runs/README.md; docs/published.md reads the figure.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import alone, style
from w2s_jax.statistics import confidence_interval
from w2s_jax.theory_zoo import copied_errors, mixed_label_student
from w2s_jax.theory_zoo.true_labels import teacher_rates

FOLDER = Path(__file__).with_name("published_runs")
SIZES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
MILLIONS = (124, 355, 774, 1558)
"""Parameters of the sizes."""
TASKS = {"boolq": ("BoolQ", "#0072B2", "o"), "sciq": ("SciQ", "#D55E00", "s")}
STUDENT = "llama-3.1-70b-instruct"
LABELLERS = {
    "gold": ("true labels", "#009E73", "D"),
    "llama-3.1-70b-instruct": ("labels of the 70B model itself", "#8C8C8C", "o"),
    "llama-3.1-8b-instruct": ("labels of the 8B model", "#D55E00", "s"),
}


def read(name: str) -> list[dict[str, str]]:
    """The rows of a table."""
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def theory_and_runs() -> Figure:
    """Four panels: teachers set the end, true labels, copied errors, and examples in the prompt."""
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 5.4, 2, 2)
    runs = read("gpt2_true_labels")
    _sizes(axes[0, 0], runs)
    handles = _true_labels(axes[0, 1], runs)
    handles |= _copied(axes[1, 0], read("gpt2_copied_errors"))
    prompts = _prompts(axes[1, 1], read("llama_prompts"))
    axes[0, 1].legend(handles.values(), handles, loc="lower right")
    axes[1, 1].legend(prompts.values(), prompts, loc="lower right")
    figure.supxlabel(
        "bars: 95% interval, over seeds in a and b, over 200 questions in d; c: means of 2 seeds", fontsize=6.5
    )
    return figure


def mean_and_reach(values: list[float]) -> tuple[float, float]:
    """The mean over seeds and half of its interval of 95%; no interval of one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, 0.0
    sem = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, float(confidence_interval(np.array(mean), np.array(sem), np.array(len(values)))[1] - mean)


def _grouped(runs: list[dict[str, str]], *names: str) -> dict[tuple, list[dict[str, str]]]:
    found = defaultdict(list)
    for row in runs:
        found[tuple(row[name] for name in names)].append(row)
    return found


def _sizes(panel: Axes, runs: list[dict[str, str]]) -> None:
    """Accuracy against the size of the student, a line for each teacher; dashes: the teacher's accuracy."""
    naive = [row for row in runs if row["task"] == "boolq" and row["true_share"] == "0"]
    groups = _grouped(naive, "weak", "strong")
    for weak, color, marker in zip(SIZES, style.ordered_colors(len(SIZES)), style.MARKERS):
        at = range(SIZES.index(weak), len(SIZES))
        found = [
            mean_and_reach([float(row["student"]) for row in groups[weak, strong]])
            for strong in SIZES[SIZES.index(weak) :]
        ]
        teacher = np.mean([float(row["teacher"]) for row in groups[weak, weak]])
        mean, reach = np.array(found).T
        panel.errorbar(np.array(at), mean, reach, color=color, marker=marker, elinewidth=0.7)
        panel.plot([at[0] - 0.3, len(SIZES) - 0.7], [teacher, teacher], **{**style.THEORY, "linestyle": style.DASHED})
        panel.annotate(weak, (len(SIZES) - 0.65, teacher), color=color, va="center", fontsize=6.5)
    panel.set_xticks(range(len(SIZES)), [f"{name}\n{size}M" for name, size in zip(SIZES, MILLIONS)])
    panel.set(xlim=(-0.4, len(SIZES) + 0.1), xlabel="student", ylabel="accuracy (BoolQ)")
    style.title(panel, 0, "students of a teacher end near its accuracy (dashed)")


def _true_labels(panel: Axes, runs: list[dict[str, str]]) -> dict[str, Artist]:
    """Accuracy of gpt2-xl on labels of gpt2 with some true ones; the curve is predicted by two accuracies."""
    handles: dict[str, Artist] = {}
    shares = jnp.linspace(0, 1, 101)
    for task, (label, color, marker) in TASKS.items():
        rows = [row for row in runs if (row["task"], row["weak"], row["strong"]) == (task, "gpt2", "gpt2-xl")]
        groups = _grouped(rows, "true_share")
        x = np.array([float(share) for (share,) in groups])
        mean, reach = np.array([mean_and_reach([float(row["student"]) for row in each]) for each in groups.values()]).T
        handles[label] = panel.errorbar(x, mean, reach, color=color, marker=marker, linestyle="none", elinewidth=0.7)
        ceiling, teacher = (np.mean([float(row[name]) for row in rows]) for name in ("ceiling", "teacher"))
        predicted = mixed_label_student(shares, float(ceiling), float(teacher)).accuracy
        panel.plot(shares, predicted, color=color, linewidth=0.8)
    panel.set(xlabel="share f of true labels", ylabel="accuracy of gpt2-xl taught by gpt2")
    style.title(panel, 1, "true labels among the weak ones (lines: theory)")
    return handles


def _copied(panel: Axes, rows: list[dict[str, str]]) -> dict[str, Artist]:
    """Share of the teacher's errors that gpt2-xl repeats; the curve is predicted by its two ends' accuracies."""
    shares = jnp.linspace(0, 1, 101)
    for task, (_, color, marker) in TASKS.items():
        own = [row for row in rows if row["task"] == task]
        x, accuracy, wrong, right = (
            np.array([float(row[name]) for row in own])
            for name in ("true_share", "accuracy", "right_where_teacher_wrong", "right_where_teacher_right")
        )
        panel.plot(x, 1 - wrong, color=color, marker=marker, linestyle="none")
        teacher, seen = teacher_rates(*map(float, (accuracy[0], wrong[0], right[0])))
        student = mixed_label_student(shares, float(accuracy[-1]), float(accuracy[0]), seen)
        panel.plot(shares, copied_errors(student.accuracy, teacher, student.agreement), color=color, linewidth=0.8)
    panel.set(xlabel="share f of true labels", ylabel="share of the teacher's errors repeated", ylim=(0, 1))
    style.title(panel, 2, "copied errors (lines: theory from f = 0 and accuracy at f = 1)")
    return {}


def _prompts(panel: Axes, rows: list[dict[str, str]]) -> dict[str, Artist]:
    """Accuracy of the 70B model against the number of examples in its prompt, by who labelled them."""
    handles: dict[str, Artist] = {}
    for labels, (label, color, marker) in LABELLERS.items():
        own = sorted(
            (int(row["examples"]), int(row["correct"]), int(row["n"]))
            for row in rows
            if (row["labels"], row["strong"]) == (labels, STUDENT)
        )
        examples, correct, n = np.array(own, float).T
        share = correct / n
        reach = 1.96 * np.sqrt(share * (1 - share) / n)
        at = np.arange(len(examples)) + 0.08 * (list(LABELLERS).index(labels) - 1)
        handles[label] = panel.errorbar(at, share, reach, color=color, marker=marker, elinewidth=0.7)
        panel.set_xticks(range(len(examples)), [f"{count:.0f}" for count in examples])
    panel.set(xlabel="examples in the prompt", ylabel="accuracy of Llama 70B (TruthfulQA)", ylim=(0.5, 1))
    style.title(panel, 3, "a short prompt first does harm")
    return handles


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return alone.command("published", theory_and_runs, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
