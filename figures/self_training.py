"""Self-training: simulated risk by generation over its closed form, with the best generation and the collapse."""

import jax
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures import style
from figures.data import Results
from w2s_jax import theory_zoo
from w2s_jax.theory_zoo import SelfTraining

DIM, NUM_LABELS, NUM_PSEUDO, TEACHER_PENALTY = 96, 120, 120, 0.01
"""As in sims/theory_sweep/studies/self_training.py."""
WIDTH = 5.2
"""Inches: text stays readable where a page is 600 pixels wide."""


def self_training(results: Results) -> Figure:
    """Risk by generation and penalty, a panel for each noise variance of the pseudo-labels."""
    study = results.study("self_training").sel(quantity="risk")
    noises = study["pseudo_noise_var"].values
    figure, axes = style.new_figure(WIDTH, 3.2, 1, len(noises), sharey=True)
    handles: dict[str, Artist] = {}
    for index, noise_var in enumerate(noises):
        panel = axes[0, index]
        handles |= _paths(panel, study.sel(pseudo_noise_var=noise_var), float(noise_var), results)
        words = "predictions, copied" if noise_var == 0 else f"with noise of variance {noise_var:g}"
        style.title(panel, index, words)
        panel.set_xlabel("generation (0: the teacher)")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel(style.RISK)
    heading = (
        f"ridge on ridge, d = {DIM}, {NUM_LABELS} labels with noise variance {results.config['noise_var']:g},\n"
        f"then {NUM_PSEUDO} fresh points a generation; bars: 95% interval"
    )
    style.legend_below(figure, style.theory_last(handles), 3, heading)
    return figure


def setting(results: Results, penalty: float, pseudo_noise_var: float) -> SelfTraining:
    """What theory knows of a path."""
    sizes = DIM / NUM_LABELS, TEACHER_PENALTY, DIM / NUM_PSEUDO
    return SelfTraining(1.0, float(results.config["noise_var"]), *sizes, penalty, pseudo_noise_var)


def _paths(panel: Axes, study: xr.Dataset, noise_var: float, results: Results) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    penalties, generations = study["penalty"].values, study["generation"].values
    dense = np.linspace(generations.min(), generations.max(), 121)
    for penalty, color, marker in zip(penalties, style.ordered_colors(len(penalties) + 1), style.MARKERS):
        row, law = study.sel(penalty=penalty), setting(results, float(penalty), noise_var)
        handles[rf"penalty $\eta$ = {penalty:g}"] = style.error_bars(
            panel,
            generations,
            row["mean"].values,
            row["sem"].values,
            results.num_replicates,
            color=color,
            marker=marker,
        )
        limits = jax.vmap(lambda j, law=law: theory_zoo.self_training_risk(law, j))(dense)
        (line,) = panel.plot(dense, limits, color=color, linewidth=0.8)
        handles.setdefault("theory: large n and d", line)
        best = min(float(theory_zoo.self_training_best_generation(law)), float(generations.max()))
        (ring,) = panel.plot(best, theory_zoo.self_training_risk(law, best), **style.RING)
        handles.setdefault("theory: best generation", ring)
        if np.isfinite(limit := float(theory_zoo.self_training_limit(law))):
            dashed = {"color": color, "linestyle": style.DASHED, "linewidth": 0.7, "zorder": 1}
            collapse = panel.axhline(limit, **dashed)
            handles.setdefault("theory: endless generations", collapse)
    return handles
