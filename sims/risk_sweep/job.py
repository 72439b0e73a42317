"""The program of a risk sweep: its grid in chunks, what a block of them computes, and how long that takes."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from sims.engine import runtime
from sims.engine.finite import BadRisk
from sims.engine.run import Job, bound, sums_like
from sims.risk_sweep import plan, results
from sims.risk_sweep.block import block_sums
from sims.risk_sweep.methods import READS_ROWS
from sims.risk_sweep.plan import GridChunk
from sims.risk_sweep.replicate import columns, simulate
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import Grid
from w2s_jax.rng import replicate_key, seed_key

NO_ANGLE = ("mean.fixed_accuracy", "mean.varying_accuracy", "fixed_accuracy_square", "varying_accuracy_square")
"""Sums of sign accuracies: NaN where a coefficient is 0 and makes no angle, and for features that are not gaussian."""


def prepare(spec: SweepSpec) -> Job:
    """The grid cut into chunks, and the program that fills a block of them."""
    program = bound(block_sums, spec)
    pieces = plan.cut(spec)
    inputs = plan.whole_grid(spec, pieces)
    like = sums_like(program, inputs[0])
    return Job(
        program=program,
        chunks=inputs,
        assemble=partial(results.assemble, spec, like, pieces),
        plan=plan.describe(spec, pieces, len(runtime.devices())),
        seconds=estimated_seconds(spec),
        tasks_per_replicate=spec.num_cells,
        relative_sem=partial(results.relative_sem, spec, like, pieces),
        holes=dict.fromkeys(NO_ANGLE, True),
        diagnose=partial(bad_risks, spec, jax.jit(partial(simulate, spec)), pieces, inputs),
    )


def bad_risks(
    spec: SweepSpec, simulate_one: Callable, pieces: list[GridChunk], inputs: list[Grid], chunk: int, replicate: int
) -> list[BadRisk]:
    """The risks of one replicate, computed alone on one chunk of the grid, that are not finite."""
    key = replicate_key(seed_key(spec.seed), replicate)
    outcome, piece = simulate_one(key, inputs[chunk]), pieces[chunk]
    found = []
    for columns_of, risk in zip(columns(spec), (outcome.fixed_risk, outcome.varying_risk)):
        held = np.asarray(risk)[: piece.num_teachers, : piece.num_shifts]  # the rest is padding
        for w, s, n, *prompt, column in np.argwhere(~np.isfinite(held)):
            (method, value), (i,) = columns_of[column], prompt or [None]
            name = method if value is None else f"{method} at {value:g}"
            found.append(BadRisk(name, piece.cell(spec, w, s, n, i), float(held[(w, s, n, *prompt, column)])))
    return found


def estimated_seconds(spec: SweepSpec) -> float:
    """Rough time on two cores: compilation, then draws, rows to be labelled and linear algebra at measured rates."""
    teachers = len(spec.weakness) * len(spec.weak_accuracy)
    rows = max(spec.sample_size)
    seen = 3 * spec.dim if not spec.direct else spec.samples_concepts * spec.num_concepts
    fresh = "icl_refine_fresh" in spec.methods
    draws = rows * (seen + fresh * max(spec.num_icl) * (spec.num_concepts + 2))
    per_row = teachers * len(spec.concept_shift) * spec.num_concepts * (len(spec.num_icl) + 1)
    draws += spec.prompt_rounds * spec.num_concepts * max(spec.num_icl) * (spec.num_concepts + 2)
    labelled = per_row * (rows * fresh + sum(spec.sample_size) * any(m in READS_ROWS for m in spec.methods))
    solved = spec.num_cells * spec.dim**2
    return 30 + spec.replicates * (10e-9 * draws + 1.0e-9 * labelled + 2e-9 * solved)
