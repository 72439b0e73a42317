"""Memory that the program of a block takes on one device, read from the compiled program; nothing is run.

    python -m benchmarks.memory [--json FILE] [--quick]

A sweep refuses to start where a block does not fit its device (`sims.engine.runtime.fitting`). This says in advance
whether it will fit an accelerator of 16 GB. XLA lays out buffers for the processor here; another compiler fuses
differently, so read a row as an order of magnitude.
"""

import sys
from pathlib import Path

from benchmarks import devices, run
from benchmarks.timing import in_fresh_process

SWEEPS = ("risk_sweep", "posterior_sweep", "theory_sweep", "methods", "methods_sign")
"""Those whose program needs no trained network."""
PRETRAINING = "incontext, pre-training"
DEVICE = 16e9
"""Bytes of a small accelerator."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Reads the memory of a block of work from the compiled programs of the paper presets."
    return run.command(argv, "memory", about, "the smoke presets", rows_of, report)


def rows_of(quick: bool) -> list[dict]:
    """A row for the block of each sweep and for the pre-training of the in-context sweep's networks."""
    machine, preset = in_fresh_process(devices.machine), "smoke" if quick else "paper"
    rows = []
    for name in (*SWEEPS, PRETRAINING):
        run.say(f"compiling {name}, {preset}")
        found = in_fresh_process(pretraining, preset) if name == PRETRAINING else in_fresh_process(block, name, preset)
        rows.append({"sweep": name, "preset": preset, **found, **machine.origin(0)})
    return rows


def block(name: str, preset: str) -> dict:
    """A block of a sweep; of the risk sweep also the bound by which its plan cuts the grid."""
    import jax
    import jax.numpy as jnp

    from sims.engine import runtime
    from sims.risk_sweep import plan
    from sims.sweeps import SWEEPS as KNOWN
    from w2s_jax.rng import seed_key

    devices.start(1)
    sweep = KNOWN[name]
    spec = sweep.presets[preset]
    job, number = sweep.prepare(spec, Path()), jax.ShapeDtypeStruct((), jnp.int32)
    program = jax.jit(job.program, compiler_options=runtime.compiler_options())
    found = _memory(program.lower(jax.eval_shape(lambda: seed_key(spec.seed)), number, number, job.chunks[0]))
    bound = plan.unit_bytes(spec, *plan.cut(spec)[0].shape) + plan.block_bytes(spec) if name == "risk_sweep" else None
    return {"replicates": spec.block_size, **found, "planned_bytes": bound}


def pretraining(preset: str) -> dict:
    """Steps of pre-training of one network, with its optimizer's state."""
    import jax

    from benchmarks.networks import pretraining_program
    from sims.incontext.spec import PRESETS
    from w2s_jax.rng import seed_key

    devices.start(1)
    start, take = pretraining_program(PRESETS[preset])
    key = jax.eval_shape(lambda: seed_key(0))
    return {"replicates": 1, **_memory(jax.jit(take).lower(key, jax.eval_shape(start, key))), "planned_bytes": None}


def _memory(lowered) -> dict:
    found = lowered.compile().memory_analysis()
    needed = found.temp_size_in_bytes + found.output_size_in_bytes + found.argument_size_in_bytes
    return {"bytes": needed, "share_of_16_gb": needed / DEVICE}


def report(rows: list[dict]) -> str:
    """The figures in lines."""
    return "\n".join(
        f"{row['sweep']}, {row['preset']}: {row['bytes'] / 1e6:,.1f} MB for {row['replicates']} at a time, "
        f"{row['share_of_16_gb']:.2%} of 16 GB"
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
