"""Draws `theory_zoo`: what the closed forms of six neighbouring papers say, one panel each (docs/theory_zoo.md)."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import alone, style
from w2s_jax import theory_zoo as zoo

TEACHER, STUDENT, TRUTH = (style.METHODS[name].color for name in ("weak", "naive_ft", "ceiling"))
LABELS = "true labels"


def theory_zoo() -> Figure:
    """Six panels; every curve is a closed form, which `python -m sims.verify` holds against simulation."""
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 5.0, 2, 3)
    panels = {
        "other features: discrepancy": _subspaces,
        "surrogates of the truth": _surrogate,
        "ridge on ridge": _ridge_pair,
        "early stopping": _random_features,
        "benign overfitting": _benign,
        "gain and misfit": _misfit,
    }
    for index, (title, draw) in enumerate(panels.items()):
        draw(axes.flat[index])
        style.title(axes.flat[index], index, title)
        axes.flat[index].legend(fontsize=6, handlelength=2)
    return figure


def _subspaces(panel: Axes) -> None:
    """Twelve dimensions each, the target in both, so that variance alone is left."""
    dim, num_labels = 12, 40
    numbers = np.geomspace(2 * dim, 4000, 200)
    teacher = zoo.subspace_student_variance(dim, dim, float(dim), num_labels, jnp.inf, 1.0)
    for overlap, color in zip((0, 3, 6, 9), style.ordered_colors(4)):
        student = jax.vmap(lambda n, o=overlap: zoo.subspace_student_variance(dim, dim, float(o), num_labels, n, 1.0))
        panel.plot(numbers, 1 - student(numbers) / teacher, color=color, label=f"overlap {overlap} of {dim}")
    panel.axhline(0, color="0.8", linewidth=0.6)
    panel.set(xscale="log", ylim=(-0.6, 1.05), xlabel="pseudo-labels", ylabel="share of the teacher's risk removed")


def _surrogate(panel: Axes) -> None:
    """The spectrum and the target of the paper's scaling law; labels without noise."""
    places = jnp.arange(1.0, 2001.0)
    spectrum = places**-2
    truth = jnp.sqrt(places**-1.5 / spectrum)
    risk = jax.vmap(lambda n, labels: zoo.surrogate_risk(spectrum, labels, truth, n, 0.0))
    numbers = jnp.asarray(np.geomspace(10, 1000, 40))
    best = jax.vmap(lambda n: zoo.best_surrogate(spectrum, truth, n))(numbers)
    mask = jax.vmap(lambda n: zoo.best_surrogate_mask(spectrum, n))(numbers)
    true = risk(numbers, jnp.broadcast_to(truth, best.shape))
    panel.plot(numbers, risk(numbers, mask * truth[None]) / true, color=STUDENT, label="features hidden")
    panel.plot(numbers, risk(numbers, best) / true, color="black", label="best labels")
    panel.axhline(1, color=TRUTH, label=LABELS)
    panel.set(xscale="log", xlabel="labels", ylabel="risk over that with true labels", ylim=(0.5, 1.05))


def _ridge_pair(panel: Axes) -> None:
    """A signal of 1 in noise of 1; the teacher has two labels a feature, the student endless ones."""
    ratio = 0.5
    penalties = jnp.asarray(np.geomspace(0.01, 10, 200))

    def best(penalty):
        own = zoo.ridge_pair_best_student_penalty(1.0, 1.0, ratio, penalty, 0.0)
        return zoo.ridge_pair_student_risk(1.0, 1.0, ratio, penalty, 0.0, own)

    panel.plot(penalties, jax.vmap(lambda p: zoo.ridge_pair_teacher_risk(1.0, 1.0, ratio, p))(penalties),
               color=TEACHER, linestyle=style.DASHED, label="teacher")  # fmt: skip
    panel.plot(penalties, jax.vmap(best)(penalties), color=STUDENT, label="its best student")
    panel.axvline(float(zoo.ridge_pair_best_teacher_penalty(1.0, 1.0, ratio)), color="0.7", linewidth=0.8)
    panel.annotate("best\nteacher", (0.5, 0.9), xytext=(4, 0), textcoords="offset points", fontsize=6)
    panel.set(xscale="log", xlabel="penalty of the teacher", ylabel="risk", ylim=(0, 1))


def _random_features(panel: Axes) -> None:
    """A target in one leading direction of a hundred."""
    dim = 100
    widths = np.arange(1, dim)
    teacher = 1 - widths / dim
    for trailing, color in zip((0.01, 0.1, 0.3), style.ordered_colors(3)):
        student = jax.vmap(lambda m, r=trailing: zoo.stopped_risk(zoo.TwoLevel(dim, 1, m, 1.0, r)))
        panel.plot(teacher, student(widths.astype(float)), color=color, label=f"other eigenvalues {trailing}")
    panel.plot(teacher, jax.vmap(zoo.student_floor)(teacher), label="least possible", **style.THEORY)
    panel.plot(teacher, teacher, color=TEACHER, linestyle=style.DASHED, label="teacher")
    panel.set(xlabel="risk of the teacher", ylabel="risk of the student, best time", xlim=(0, 1), ylim=(0, 1))


def _benign(panel: Axes) -> None:
    """A teacher near chance, and students that share none or a part of its errors."""
    teacher = zoo.interpolator_score(zoo.Bilevel(50, 5000, 5, 0.02))
    correlation = zoo.score_correlation(teacher)
    numbers = jnp.asarray(np.geomspace(60, 8000, 100))
    for overlap, color in zip((0.0, 0.3, 1.0), style.ordered_colors(3)):
        student = jax.vmap(
            lambda n, o=overlap: zoo.classification_error(
                zoo.student_score(zoo.Bilevel(n, 100_000, 20, 0.2), correlation, o)
            )
        )
        panel.plot(numbers, student(numbers), color=color, label=f"{overlap:.0%} of its errors seen")
    panel.axhline(float(zoo.classification_error(teacher)), color=TEACHER, linestyle=style.DASHED, label="teacher")
    panel.set(xscale="log", xlabel="pseudo-labels", ylabel="share of wrong labels", ylim=(0, 0.5))


def _misfit(panel: Axes) -> None:
    """Eight strong features of twenty-four; a teacher without noise that misses the target in both parts."""
    dim, features = 24, 8
    target = jnp.zeros(dim).at[:features].set(1 / np.sqrt(features))
    numbers = jnp.asarray(np.geomspace(features + 3, 1000, 200))
    for miss, color in zip((0.25, 0.5, 1.0), style.ordered_colors(3)):
        outside = jnp.zeros(dim).at[features:].set(np.sqrt(miss / (dim - features)))
        problem = zoo.LinearClass(jnp.eye(dim)[:features], 0.6 * target + outside, target, jnp.eye(dim))
        gain = 0.16 + miss - jax.vmap(lambda n, p=problem: zoo.projection_sample_risk(p, n))(numbers)
        panel.plot(numbers, gain, color=color, label=f"misfit {miss}")
        panel.axhline(float(zoo.projection_misfit(problem)), color=color, linewidth=0.7, linestyle=style.DOTTED)
    panel.axhline(0, color="0.8", linewidth=0.6)
    panel.set(
        xscale="log", xlabel="labels of the teacher", ylabel="gain over the teacher (dotted: misfit)", ylim=(-0.6, 1.1)
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return alone.command("zoo", theory_zoo, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
