"""One assumption relaxed at a time: risk of fine-tuning, refinement and the oracles.

Every setting is a grid of one cell of the risk sweep, computed by the same program. Docs: docs/theory.md 4.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sims.risk_sweep.replicate import columns
from sims.risk_sweep.replicate import simulate as simulate_grid
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import Grid, make_grid
from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.study import Study
from w2s_jax.types import Key, stack

SETTINGS: dict[str, tuple[Any, ...]] = {
    "coherence": (-0.2, 0.0, 0.2, 0.4, 0.6, 0.8),
    "spectrum": (0.0, 0.25, 0.5, 0.75, 1.0),
    "features": ("gaussian", "uniform"),
    "weak_prior_error": (0.0, 0.05, 0.1, 0.2, 0.3, 0.4),
    "contamination": (0.0, 0.05, 0.1, 0.2, 0.3, 0.4),
    "target_weight": (1.0, 0.9, 0.8, 0.7, 0.6),
    "assumed_noise_factor": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
}
"""Values of every knob; the rest stay neutral. (A temperature does what the assumed noise does.)"""
CELL = {"weakness": ("rotated",), "weak_accuracy": (0.7,), "sample_size": (256,), "concept_shift": (0.5,)}
NUM_ICL = 16


def base(spec: TheorySpec) -> SweepSpec:
    """The risk sweep of one cell that every setting changes a little."""
    methods = ("source", "naive_ft", "icl_refine_shared", "icl_refine_fresh", "hull", "em_prior")
    return SweepSpec(**CELL, num_icl=(NUM_ICL,), methods=methods, noise_var=spec.noise_var)


def setting(spec: TheorySpec, knob: str, value: Any) -> SweepSpec:
    """The risk sweep of a setting."""
    plain = base(spec)
    if knob == "target_weight":
        rest = (1 - value) / (plain.num_concepts - 1)
        return dataclasses.replace(plain, target_prior=(value, *(rest,) * (plain.num_concepts - 1)))
    return dataclasses.replace(plain, **{knob: value})


def labels() -> list[tuple[str, Any]]:
    """(knob, value) of every setting, in order; uniform features, which need a program of their own, come last."""
    every = [(knob, value) for knob, values in SETTINGS.items() for value in values]
    return sorted(every, key=lambda pair: pair == ("features", "uniform"))


def inputs(spec: TheorySpec) -> tuple[Grid, Grid]:
    """Grids of all settings with gaussian features, stacked, and that of uniform ones."""
    grids = [make_grid(setting(spec, knob, value)) for knob, value in labels()]
    return stack(grids[:-1]), grids[-1]


def simulate(spec: TheorySpec, key: Key, inputs: tuple[Grid, Grid]) -> Float[Array, "J q"]:
    """Risk of every method in every setting, from the same draws."""
    gaussian, uniform = inputs
    # In the program every label may mix concepts; the grids say whether it does.
    program = dataclasses.replace(base(spec), contamination=0.5, target_prior=(1.0, 0.0, 0.0, 0.0))

    def risks(program: SweepSpec, grid: Grid) -> Float[Array, "q"]:
        outcome = simulate_grid(program, key, grid)
        return jnp.concatenate([outcome.fixed_risk[0, 0, 0], outcome.varying_risk[0, 0, 0, 0]])

    many = jax.lax.map(lambda grid: risks(program, grid), gaussian)
    return jnp.concatenate([many, risks(dataclasses.replace(program, features="uniform"), uniform)[None]])


def quantities(spec: TheorySpec) -> tuple[str, ...]:
    """The risk of every method, naive fine-tuning at each of its penalties."""
    fixed, varying = columns(base(spec))
    return tuple(method if value is None else f"{method}_{value:g}" for method, value in (*fixed, *varying))


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """The settings, as `knob=value`."""
    return {"setting": tuple(np.array([f"{knob}={value}" for knob, value in labels()]))}


STUDY = Study(axes, quantities, simulate, seconds=0.05, inputs=inputs)
