"""Spurious correlations: risk of teacher and students on either group, by how the pool of pseudo-labels is balanced."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.data import Results
from w2s_jax import theory_zoo
from w2s_jax.theory_zoo import GroupFeatures

DIM, NUM_LABELS, NUM_PSEUDO, LABELLED = 40, 320, 240, 0.1
SHIFT, WEAK_VIEW = np.array([2.5, 0.0]), np.array([[1.0], [0.0]])
STRONG_VIEWS = {"core": np.zeros((2, 0)), "tilted": np.array([[0.5], [np.sqrt(0.75)]])}
TESTS = {"majority": 0.0, "minority": 1.0}
"""As in sims/theory_sweep/studies/spurious.py."""
WORDS = {"core": "student that sees no group feature", "tilted": "student that sees one at 60°"}


def spurious(results: Results) -> Figure:
    """Risk by the share of the minority in the pool, a panel for each group that is tested."""
    study = results.study("spurious")
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 3.0, 1, len(TESTS))
    handles: dict[str, Artist] = {}
    for index, test in enumerate(TESTS):
        panel = axes[0, index]
        panel.axvline(LABELLED, color="0.8", linewidth=0.8, zorder=0)
        place = panel.get_xaxis_transform()
        panel.text(LABELLED, 0.99, " as in the labels", transform=place, fontsize=6, color="0.4", va="top")
        handles |= _risks(panel, study, test, results)
        style.title(panel, index, f"tested on the {test}")
        panel.set_xlabel("share of the minority in the pool of pseudo-labels")
        panel.set_ylim(0, None)
    axes[0, 0].set_ylabel(style.RISK)
    heading = (
        f"d = {DIM}, {NUM_LABELS} labels ({LABELLED:.0%} minority), {NUM_PSEUDO} pseudo-labels, "
        f"groups {SHIFT[0]:g} s.d. apart, noise variance {results.config['noise_var']:g}; bars: 95% interval"
    )
    style.legend_below(figure, style.theory_last(handles), 2, heading)
    return figure


def groups(view: str, minority) -> GroupFeatures:
    """What theory knows of a set of points."""
    return theory_zoo.gaussian_groups(minority, *map(jnp.asarray, (SHIFT, WEAK_VIEW, STRONG_VIEWS[view])))


def limits(view: str, test: str, minority: np.ndarray, noise_var: float) -> tuple[np.ndarray, np.ndarray]:
    """Closed forms of teacher and student at every share of the minority in the pool."""
    labelled, tested = groups(view, LABELLED), groups(view, TESTS[test])

    @jax.jit
    @jax.vmap
    def student(share):
        pool = groups(view, share)
        return theory_zoo.spurious_student_risk(labelled, pool, tested, DIM, NUM_LABELS, NUM_PSEUDO, noise_var)

    teacher = theory_zoo.spurious_teacher_risk(labelled, tested, DIM, NUM_LABELS, noise_var)
    return np.full(len(minority), float(teacher)), np.asarray(student(jnp.asarray(minority)))


def _risks(panel: Axes, study, test: str, results: Results) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    shares, noise_var = study["minority"].values, float(results.config["noise_var"])
    dense = np.linspace(0.0, 1.0, 81)
    views = [str(view) for view in study["view"].values]
    for view, color, marker in zip(views, style.ordered_colors(len(views) + 1), style.MARKERS):
        row = study.sel(view=view, quantity=f"student_{test}_risk")
        handles[WORDS[view]] = style.error_bars(
            panel, shares, row["mean"].values, row["sem"].values, results.num_replicates, color=color, marker=marker
        )
        _, student = limits(view, test, dense, noise_var)
        (line,) = panel.plot(dense, student, color=color, linewidth=0.8)
        handles.setdefault("theory: large n, N and d", line)
    # The teacher does not see the pool: one of its points is all that was drawn.
    own = study.sel(view=views[0], quantity=f"teacher_{test}_risk").isel(minority=[0])
    how = style.look("weak")
    handles[how.label] = style.error_bars(
        panel,
        [LABELLED],
        own["mean"].values,
        own["sem"].values,
        results.num_replicates,
        color=how.color,
        marker=how.marker,
    )
    teacher, _ = limits(views[0], test, dense, noise_var)
    (line,) = panel.plot(dense, teacher, color=how.color, linestyle=style.DASHED, linewidth=0.8)
    handles["theory: the teacher, whatever the pool"] = line
    return handles
