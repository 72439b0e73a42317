"""Scaling laws: risk of teacher and student of random-feature ridge as both grow, and exponents of every teacher."""

import functools
from typing import NamedTuple

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
from w2s_jax.theory_zoo import FeatureRidge, Schedule

CAPACITY, SOURCE, DIM, FEATURES_PER_SAMPLE = 1.5, 0.75, 768, 2
BEST_PENALTY = 1 / (2 * SOURCE + 1 / CAPACITY)
"""All as in sims/theory_sweep/studies/scaling_laws.py."""
NARROW = 0.3
"""Exponent of the width of the narrow teachers among the exponents."""
LEARNERS = {"teacher": "weak", "student": "naive_ft"}
"""Each with the method whose colour and marker it has."""


class Curve(NamedTuple):
    """A line of exponents."""

    label: str
    width: float
    line: object


CURVES = (Curve("features 2n", 1.0, "-"), Curve(f"features $n^{{{NARROW:g}}}$", NARROW, style.DASHED))


def scaling_laws(results: Results) -> Figure:
    """Risk against samples for two teachers and their students, and the exponents against the teacher's penalty."""
    study, count = results.study("scaling_laws"), results.num_replicates
    noise_var = float(results.config["noise_var"])
    figure, axes = style.new_figure(style.DOUBLE_COLUMN, 2.9, 1, 3)
    handles: dict[str, Artist] = {}
    for column, teacher in enumerate(str(name) for name in study["teacher"].values):
        panel = axes[0, column]
        handles |= _risks(panel, study.sel(teacher=teacher), teacher, noise_var, count)
        style.title(panel, column, f"teacher: {teacher}")
    low, high = (f(ends) for f, ends in zip((min, max), zip(*(panel.get_ylim() for panel in axes[0, :2]))))
    for panel in axes[0, :2]:
        panel.set_ylim(low, high)
        style.log_ticks_in_full(panel)
    axes[0, 1].tick_params(labelleft=False)
    axes[0, 0].set_ylabel(style.RISK)
    handles |= _exponents(axes[0, 2])
    heading = (
        rf"eigenvalues $k^{{-{CAPACITY:g}}}$, squared target $k^{{-{1 + 2 * CAPACITY * SOURCE:g}}}$, {DIM} directions, "
        f"{FEATURES_PER_SAMPLE}n random features, noise variance {noise_var:g}; bars: 95% interval"
    )
    style.legend_below(figure, style.theory_last(handles), 4, heading)
    return figure


def learners(num_samples):
    """The teachers by name, and the student of either, as in the study."""
    width = FEATURES_PER_SAMPLE * num_samples
    best = FeatureRidge(num_samples, 0.3 * num_samples**-BEST_PENALTY, width)
    return {"small penalty": FeatureRidge(num_samples, num_samples**-CAPACITY, width), "best penalty": best}, best


def schedules(teacher: str) -> tuple[Schedule, Schedule]:
    """How teacher and student of a panel grow."""
    best = Schedule(BEST_PENALTY, 1.0)
    return (Schedule(CAPACITY, 1.0) if teacher == "small penalty" else best), best


def equivalents(teacher: str, sizes: np.ndarray, noise_var: float) -> np.ndarray:
    """Deterministic equivalents of teacher and student `[2 n]`."""
    return np.asarray(_equivalents(teacher)(jnp.asarray(sizes, float), noise_var)).T


@functools.cache
def _equivalents(teacher: str):
    def one(size, noise_var):
        spectrum = theory_zoo.power_law_spectrum(CAPACITY, SOURCE, DIM)
        teachers, student = learners(size)
        given = *spectrum, noise_var, teachers[teacher]
        return jnp.stack(
            [theory_zoo.feature_ridge_risk(*given), theory_zoo.feature_ridge_student_risk(*given, student)]
        )

    return jax.jit(jax.vmap(one, in_axes=(0, None)))


def _risks(axes: Axes, data: xr.Dataset, teacher: str, noise_var: float, count: int) -> dict[str, Artist]:
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = data["sample_size"].values
    dense = np.geomspace(sizes.min() / 1.2, sizes.max() * 1.2, 33)
    theory = equivalents(teacher, dense, noise_var)
    ours, theirs = schedules(teacher)
    target = CAPACITY, SOURCE
    exponents = (
        float(theory_zoo.feature_ridge_exponent(*target, ours)),
        float(theory_zoo.feature_ridge_student_exponent(*target, ours, theirs)),
    )
    handles: dict[str, Artist] = {}
    for i, (name, method) in enumerate(LEARNERS.items()):
        how, row = style.look(method), data.sel(quantity=f"{name}_risk")
        mean, sem = row["mean"].values, row["sem"].values
        handles[name] = style.error_bars(axes, sizes, mean, sem, count, color=how.color, marker=how.marker, zorder=5)
        (handles["theory: deterministic equivalent"],) = axes.plot(dense, theory[i], **style.THEORY)
        power = theory[i][-1] * (dense / dense[-1]) ** -exponents[i]
        (line,) = axes.plot(dense, power, color=how.color, linestyle=style.DOTTED, linewidth=1.0)
        if name == "student":
            handles["theory: its power of n"] = line
        above = mean[-1] == data["mean"].values[-1].max()
        axes.annotate(
            rf"$n^{{-{exponents[i]:.2f}}}$" if exponents[i] > 0.005 else r"$n^0$",
            (sizes[-2], mean[-2]),
            (3, 3) if above else (-3, -3),
            textcoords="offset points",
            ha="left" if above else "right",
            va="bottom" if above else "top",
            color=how.color,
        )
    style.mark_values(axes, sizes)
    axes.set_xlabel("labels n of each")
    return handles


def _exponents(axes: Axes) -> dict[str, Artist]:
    penalties = np.linspace(0.02, CAPACITY * 1.1, 300)
    handles: dict[str, Artist] = {}
    for curve in CURVES:
        teachers = Schedule(jnp.asarray(penalties), curve.width)
        found = {
            "teacher": theory_zoo.feature_ridge_exponent(CAPACITY, SOURCE, teachers),
            "student": theory_zoo.best_student_schedule(CAPACITY, SOURCE, teachers).exponent,
        }
        for name, values in found.items():
            color = style.look(LEARNERS[name]).color
            axes.plot(penalties, values, color=color, linestyle=curve.line)
        wins = np.asarray(found["student"]) > np.asarray(found["teacher"]) + 1e-9
        handles["student ahead of its teacher"] = axes.fill_between(
            penalties, found["teacher"], found["student"], where=wins, color="0.5", alpha=0.18, linewidth=0
        )
        (handles[f"exponents, {curve.label}"],) = axes.plot([], [], color="0.3", linestyle=curve.line)
    for letter, name in zip("ab", ("small penalty", "best penalty")):
        place = float(schedules(name)[0].penalty)
        axes.axvline(place, color="0.8", linewidth=0.6, zorder=0)
        axes.text(place, 0.99, f" {letter}", transform=axes.get_xaxis_transform(), fontweight="bold", va="top")
    axes.set_xlim(penalties[0], penalties[-1])
    axes.set_ylim(0, 0.8)
    axes.set_xlabel(r"teacher's penalty $n^{-l}$: exponent $l$")
    axes.set_ylabel("exponent of the risk")
    style.title(axes, 2, "teacher, and its best student")
    return handles
