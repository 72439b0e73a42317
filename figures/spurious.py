"""Spurious correlations: risk of teacher and students on either group, by how the pool of pseudo-labels is balanced."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
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
WIDTH = 5.2
"""Inches: text stays readable where a page is 600 pixels wide."""
WORDS = {"core": "student that sees no group feature", "tilted": "student that sees one at 60°"}


def spurious(results: Results) -> Figure:
    """Risk by the share of the minority in the pool, a panel for each group that is tested."""
    study = results.study("spurious")
    figure, axes = style.new_figure(WIDTH, 3.2, 1, len(TESTS))
    shares = np.linspace(0.0, 1.0, 81)
    theory = {str(view): limits(str(view), shares, float(results.config["noise_var"])) for view in study["view"].values}
    handles: dict[str, Artist] = {}
    for index, test in enumerate(TESTS):
        panel = axes[0, index]
        panel.axvline(LABELLED, color="0.8", linewidth=0.8, zorder=0)
        place = panel.get_xaxis_transform()
        panel.text(LABELLED, 0.02, " as in the labels", transform=place, fontsize=6, color="0.4", va="bottom")
        known = {view: found[test] for view, found in theory.items()}
        handles |= _risks(panel, study, test, results.num_replicates, shares, known)
        style.title(panel, index, f"tested on the {test}")
        panel.set_xlabel("share of the minority in the pool")
        panel.set_ylim(0, None)
    axes[0, 0].set_ylabel(style.RISK)
    heading = (
        f"d = {DIM}, {NUM_LABELS} labels ({LABELLED:.0%} minority), pool of {NUM_PSEUDO} pseudo-labels,\n"
        f"groups {SHIFT[0]:g} s.d. apart, noise variance {results.config['noise_var']:g}; bars: 95% interval"
    )
    style.legend_below(figure, style.theory_last(handles), 2, heading)
    return figure


def groups(view: str, minority) -> GroupFeatures:
    """What theory knows of a set of points."""
    return theory_zoo.gaussian_groups(minority, *map(jnp.asarray, (SHIFT, WEAK_VIEW, STRONG_VIEWS[view])))


def limits(view: str, minority: np.ndarray, noise_var: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Closed forms of teacher and student on either group, at every share of the minority in the pool."""

    @jax.jit
    @jax.vmap
    def risks(share):
        labelled, pool, sizes = groups(view, LABELLED), groups(view, share), (DIM, NUM_LABELS)
        return [
            (
                theory_zoo.spurious_teacher_risk(labelled, tested, *sizes, noise_var),
                theory_zoo.spurious_student_risk(labelled, pool, tested, *sizes, NUM_PSEUDO, noise_var),
            )
            for tested in (groups(view, only) for only in TESTS.values())
        ]

    return dict(zip(TESTS, jax.tree.map(np.asarray, risks(jnp.asarray(minority)))))


def _risks(
    panel: Axes, study: xr.Dataset, test: str, count: int, dense: np.ndarray, theory: dict[str, tuple]
) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    for view, color, marker in zip(theory, style.ordered_colors(len(theory) + 1), style.MARKERS):
        row = study.sel(view=view, quantity=f"student_{test}_risk")
        mean, sem = row["mean"].values, row["sem"].values
        look = {"color": color, "marker": marker}
        handles[WORDS[view]] = style.error_bars(panel, study["minority"].values, mean, sem, count, **look)
        (line,) = panel.plot(dense, theory[view][1], color=color, linewidth=0.8)
        handles.setdefault("theory: large n, N and d", line)
    # The teacher does not see the pool: one of its points is all that was drawn.
    first, how = next(iter(theory)), style.look("weak")
    own = study.sel(view=first, quantity=f"teacher_{test}_risk").isel(minority=[0])
    look = {"color": how.color, "marker": how.marker}
    handles[how.label] = style.error_bars(panel, [LABELLED], own["mean"].values, own["sem"].values, count, **look)
    (line,) = panel.plot(dense, theory[first][0], color=how.color, linestyle=style.DASHED, linewidth=0.8)
    handles["theory: the teacher, whatever the pool"] = line
    return handles
