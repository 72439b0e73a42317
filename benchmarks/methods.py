"""What each published method costs in time: a fit of it over one of naive fine-tuning, measured in the same run.

    python -m benchmarks.methods [--json FILE] [--quick]

Every method fits many tasks side by side, as the arena's `quick` preset has them (`vmap`, then `jit`), with its knobs
at their defaults and data in memory; for each kind of labels in a process of its own. Naive fine-tuning is timed again
with each method, in turns, so that a machine that is busier for a while slows both. Figures are medians, a ratio
that of the turns' ratios; compile time is apart. What a fit costs here is the work of a small student: with a network
it is the reads of `Cost` that count.
"""

import statistics
import sys

import jax

from benchmarks import devices, quiet, run
from benchmarks.devices import Machine
from benchmarks.timing import MIN_REPEATS, Timing, in_fresh_process, measure_beside
from sims.engine import runtime
from sims.methods.spec import QUICK, ArenaSpec, presets, supporting
from w2s_jax.methods import LABELS, Labels, View, draw_view, masked
from w2s_jax.rng import seed_key, stream
from w2s_jax.tasks import make_task

TASKS = 256
"""Tasks that a method fits side by side."""
RIVAL = "naive_ft"


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Times a fit of every published method, relative to naive fine-tuning."
    return run.command(argv, "methods", about, "few tasks, short runs", lambda quick: rows_of(quick=quick), report)


def rows_of(*, quick: bool) -> list[dict]:
    """Measure every method on labels of either kind, on one core or on the accelerator."""
    machine = in_fresh_process(devices.machine)
    tasks, seconds = (8, 0.02) if quick else (TASKS, 0.3)
    rows = []
    for labels in LABELS:
        names = supporting(labels)
        run.say(f"{labels} labels: {len(names)} methods")
        cores = None if machine.accelerators else 1
        timed = in_fresh_process(time_here, labels, names, tasks, MIN_REPEATS, seconds, cores=cores)
        rows += [row_of(labels, name, tasks, *both, machine) for name, both in zip(names, timed)]
    return rows


def time_here(
    labels: Labels, names: list[str], tasks: int, repeats: int, seconds: float
) -> list[tuple[Timing, Timing]]:
    """Time methods in this process, one after another, each alternating with naive fine-tuning."""
    devices.start(1)
    spec = presets(labels)["quick"]
    views = jax.block_until_ready(draw_views(spec, tasks))
    rival = fits_of(spec, RIVAL, views)
    rival(1)
    return [measure_beside(fits_of(spec, name, views), rival, repeats, seconds) for name in names]


def draw_views(spec: ArenaSpec, tasks: int) -> View:
    """Inputs of a method for `tasks` draws of one task, at its fitted examples."""
    task = make_task(
        num_concepts=spec.num_concepts, dim=spec.dim, weak_accuracy=0.7, concept_shift=0.5, noise_var=spec.noise_var
    )
    keys = jax.random.split(stream(seed_key(spec.seed), "cost"), tasks)
    return jax.jit(jax.vmap(lambda key: draw_view(key, task, spec.num_fitted, spec.num_icl, spec.labels)))(keys)


def fits_of(spec: ArenaSpec, name: str, views: View):
    """Units of work: a fit of every task."""
    method = spec.method(name)
    fit = jax.jit(jax.vmap(method), compiler_options=runtime.compiler_options())
    seen = masked(views, method.sees)

    def repeat(units: int) -> None:
        for _ in range(units):
            jax.block_until_ready(fit(seen))

    return repeat


def row_of(labels: Labels, name: str, tasks: int, timing: Timing, rival: Timing, machine: Machine) -> dict:
    """One measurement, as it is stored."""
    fits, rivals = (timing.units * tasks for timing in (timing, rival))
    ratios = [one / fits / (other / rivals) for one, other in zip(timing.seconds, rival.seconds)]
    return {
        "labels": labels,
        "method": name,
        "seconds_per_fit": timing.median_seconds / fits,
        "ratio_to_naive_ft": 1.0 if name == RIVAL else statistics.median(ratios),
        "compile_seconds": timing.compile_seconds,
        "tasks": tasks,
        "examples": QUICK.num_fitted,
        "dim": QUICK.dim,
        "seconds": [second / fits for second in timing.seconds],
        "repeats": len(timing.seconds),
        "cores_used": timing.cores_used,
        "others_share": timing.others_share,
        **machine.origin(QUICK.seed),
    }


def report(rows: list[dict]) -> str:
    """The figures as a table."""
    lines = ["| labels | method | a fit | ratio to naive_ft | compile |", "|---|---|---:|---:|---:|"]
    lines += [
        f"| {row['labels']} | {row['method']} | {row['seconds_per_fit'] * 1e6:.3g} us "
        f"| {quiet.ratio_text(row, format(row['ratio_to_naive_ft'], '.2f'))} | {row['compile_seconds']:.1f} s |"
        for row in rows
    ]
    where = "one core" if rows[0]["cores_used"] < 1.5 else "all cores"
    about = f"{where} of: {rows[0]['machine']}; {rows[0]['tasks']} tasks side by side; medians of {rows[0]['repeats']}"
    return "\n".join([*lines, "", about, *quiet.warning(rows)])


if __name__ == "__main__":
    sys.exit(main())
