"""Training of networks: tokens per second, as a share of the machine's matrix products; many at once or in a loop.

    python -m benchmarks.networks [--json FILE] [--quick]

Steps are those of the in-context sweep's `quick` preset: pre-training as `sims/pretrain.py` compiles it, fine-tuning
without context as the sweep's engine runs it, on every device. Contenders run one after another, each in a process of
its own; figures are medians, and rates count what all networks do together.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks import devices, limits, run
from benchmarks.devices import Machine
from benchmarks.parts import HEADLINE
from benchmarks.timing import MIN_REPEATS, Run, Timing, in_fresh_process, measure
from sims import engine
from sims.networks import finetune
from sims.networks.spec import QUICK, InContextSpec, PretrainSpec
from sims.networks.world import bins_of, task_of
from w2s_jax import incontext
from w2s_jax.rng import stream
from w2s_jax.training import init_state, make_optimizer, train

SEEDS = (1, 2, 4, 8)
"""Networks that are pre-trained at once."""
WIDTHS = (1, 4, 8, 16, 32)
"""Networks that are fine-tuned at once, of `FITS` on each device."""
FITS = 32
PRETRAIN_STEPS, FINETUNE_STEPS = 4, 20
"""Steps in one call of a program: few, so that a timed run holds several calls."""


class Case(NamedTuple):
    """One measurement."""

    part: str
    """pretraining or finetuning."""
    way: str
    """loop: one network after another; vmap: side by side in one program; devices: each on a device of its own."""
    at_once: int
    """Networks trained; of fine-tuning those side by side."""
    devices: int
    """Cores or accelerators that the process has."""


class Work(NamedTuple):
    """What a contender does, ready to be timed."""

    run: Run
    steps: int
    """Optimizer steps in a unit of it, of all networks together."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(argv)
    if options.json is not None and (error := run.json_error(options.json)):
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = rows_of(QUICK, quick=options.quick)
    print(report(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


# --- what is measured -----------------------------------------------------------------------------------------------


def cases(machine: Machine, quick: bool) -> list[Case]:
    """All measurements on this machine; one core alone is measured where there are several and no accelerator."""
    width = machine.accelerators or machine.cores
    seeds, widths = (SEEDS[:2], WIDTHS[:2]) if quick else (SEEDS, WIDTHS)
    found = [Case("pretraining", "loop", 1, 1)] if width > 1 and not machine.accelerators else []
    found += [Case("pretraining", way, number, width) for way in ("loop", "vmap") for number in seeds]
    found += [Case("pretraining", "devices", width, width)] if width > 1 else []
    return found + [Case("finetuning", "vmap" if number > 1 else "loop", number, width) for number in widths]


def rows_of(spec: InContextSpec, *, quick: bool) -> list[dict]:
    """Measure all cases, and the ceiling that matrix products set to each."""
    machine = in_fresh_process(devices.machine)
    todo, seconds = cases(machine, quick), 0.1 if quick else 0.4
    ceilings, timed = {}, {}
    for number in sorted({case.devices for case in todo}):
        run.say(f"measuring matrix products, devices {number}")
        found = limits.measured(HEADLINE, machine.cores if machine.accelerators else number, MIN_REPEATS, seconds)
        ceilings[number] = next(limit.rate for limit in found if limit.resource == "matmul")
    for done, case in enumerate(todo):
        run.say(f"[{done + 1}/{len(todo)}] {case.part}, {case.way}, {case.at_once} at once, devices {case.devices}")
        cores = None if machine.accelerators else case.devices
        timed[case] = in_fresh_process(time_here, spec, case, MIN_REPEATS, seconds, cores=cores)
    rates = {case: steps * timing.units / timing.median_seconds for case, (timing, steps) in timed.items()}

    def loop_rate(case: Case) -> float:
        """Of as many networks in a loop; of one, where there is no such loop: a second takes as long as the first."""
        loop = case._replace(way="loop")
        return rates.get(loop) or rates[loop._replace(at_once=1)]

    return [
        row_of(spec, case, *timed[case], ceilings[case.devices], rates[case] / loop_rate(case), machine)
        for case in todo
    ]


def row_of(
    spec: InContextSpec, case: Case, timing: Timing, steps: int, ceiling: float, ratio: float, machine: Machine
) -> dict:
    """One measurement, as it is stored; `steps` are those of a unit of work."""
    sequences, num_icl = batch_of(spec, case.part)
    rate = steps * timing.units / timing.median_seconds
    flops = rate * sequences * train_flops(spec, num_icl)
    return {
        **case._asdict(),
        "steps_per_second": rate,
        "tokens_per_second": rate * sequences * (2 * num_icl + 1),
        "flops_per_second": flops,
        "matmul_flops_per_second": ceiling,
        "fraction_of_matmul": flops / ceiling,
        "ratio_to_loop": ratio,
        "compile_seconds": timing.compile_seconds,
        "peak_mb": timing.peak_mb,
        "median_seconds": timing.median_seconds,
        "seconds": list(timing.seconds),
        "steps": steps * timing.units,
        "repeats": len(timing.seconds),
        "cores_used": timing.cores_used,
        "machine": machine.name,
    }


def batch_of(spec: InContextSpec, part: str) -> tuple[int, int]:
    """(sequences in a step of one network, examples of context in each)."""
    return (spec.pretrain_batch, spec.max_icl) if part == "pretraining" else (spec.finetune_batch, 0)


def train_flops(spec: InContextSpec, num_icl: int) -> float:
    """Floating-point operations of a training step for one sequence, of its matrix products alone.

    Counted by hand, two for each multiplication with its addition. With L = 2 num_icl + 1 places, a place takes
    2 (w 3w + w w + 3 w h) in each block of width w and h hidden units (2 w h instead of 3 w h for gelu), and attention
    2 L w for its scores and as much for the mixture, over all L places: masked scores are computed too. Embeddings take
    2 d w for features and 2 w for a label, the head 2 w B where features stand. Gradients take twice the forward pass,
    one product for each factor. Norms, softmax, random numbers and the optimizer are left out.
    """
    network, places = spec.network, 2 * num_icl + 1
    width, hidden = network.width, network.hidden
    mlp = (3 if network.activation == "swiglu" else 2) * width * hidden
    block = 2 * (4 * width**2 + mlp) + 4 * places * width
    ends = (num_icl + 1) * 2 * width * (spec.dim + spec.num_bins) + num_icl * 2 * width
    return 3.0 * (places * network.num_layers * block + ends)


# --- the contenders -------------------------------------------------------------------------------------------------


def time_here(spec: InContextSpec, case: Case, repeats: int, seconds: float) -> tuple[Timing, int]:
    """Time a case in this process, which has no more than the case's devices: (timing, steps in a unit of work)."""
    devices.start(case.devices)
    if case.part == "pretraining":
        work = pretraining(spec, case.way, case.at_once)
    else:
        finetune.FITS_AT_ONCE = case.at_once  # in a process of its own
        work = finetuning(spec, FITS)
    return measure(work.run, repeats, seconds), work.steps


def pretraining(spec: InContextSpec, way: str, networks: int) -> Work:
    """Steps of so many networks, each with a key and data of its own."""
    own = PretrainSpec.of(spec, spec.concept_shift[0])
    task, bins, optimizer = task_of(own, own.concept_shift), bins_of(own), make_optimizer(own.training)
    graph = finetune.structure(spec)

    def loss(params, key):
        return incontext.loss(nnx.merge(graph, params), key, task, bins, own.pretrain_batch, own.max_icl + 1)

    def start(key):
        return init_state(finetune.make_network(spec, stream(key, "init"))[1], optimizer)

    def take(key, state):
        return train(key, state, loss, optimizer, PRETRAIN_STEPS)[0]

    keys = jax.random.split(jax.random.key(own.seed), networks)
    states = jax.jit(jax.vmap(start))(keys)
    if way == "loop":
        own_keys = list(keys)
        own_states = [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(networks)]
        alone = jax.jit(take)

        def loop(units: int) -> None:
            for _ in range(units):
                for i, key in enumerate(own_keys):
                    own_states[i] = jax.block_until_ready(alone(key, own_states[i]))

        return Work(loop, networks * PRETRAIN_STEPS)
    together = {"vmap": jax.jit, "devices": devices.on_every_device}[way](jax.vmap(take))

    def at_once(units: int) -> None:
        nonlocal states
        for _ in range(units):
            states = jax.block_until_ready(together(keys, states))

    return Work(at_once, networks * PRETRAIN_STEPS)


def finetuning(spec: InContextSpec, fits: int) -> Work:
    """Steps of so many fine-tunings on every device, `finetune.FITS_AT_ONCE` of them side by side.

    They go through the engine's own launcher. Risks are measured at two queries, which cost nothing.
    """
    spec = dataclasses.replace(spec, finetune_steps=FINETUNE_STEPS, finetune_looks=1)
    graph, params = finetune.make_network(spec, jax.random.key(spec.seed))
    bins, coef = bins_of(spec), task_of(spec, spec.concept_shift[0]).target_coef
    num_samples = max(spec.sample_size)

    def program(key, first, total, chunk):
        params, features, labels = chunk
        sizes = jnp.full(fits, num_samples)
        own = jax.random.fold_in(key, first)
        return finetune.fine_tune(spec, own, graph, params, bins, features, labels, sizes, features[:2], coef)

    key = jax.random.key(spec.seed)
    features = jax.random.normal(stream(key, "features"), (num_samples, spec.dim))
    labels = jax.random.normal(stream(key, "labels"), (fits, num_samples))
    width = jax.local_device_count()
    launch = engine.launcher(program, spec)

    def at_once(units: int) -> None:
        for _ in range(units):
            jax.block_until_ready(launch(range(width), [(params, features, labels)] * width))

    return Work(at_once, width * fits * FINETUNE_STEPS)


# --- in words -------------------------------------------------------------------------------------------------------


def report(rows: list[dict]) -> str:
    """The figures as a table."""
    lines = [
        "| steps | networks | devices | tokens/s | flop/s | of matrix products | ratio to the loop | compile |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    ways = {"loop": "{} in a loop", "vmap": "{} by vmap", "devices": "{}, one a device"}
    for row in rows:
        networks = ways[row["way"]].format(row["at_once"])
        lines.append(
            f"| {row['part']} | {networks} | {row['devices']} | {row['tokens_per_second']:,.0f} "
            f"| {row['flops_per_second']:.3g} | {row['fraction_of_matmul']:.0%} | {row['ratio_to_loop']:.2f} "
            f"| {row['compile_seconds']:.1f} s |"
        )
    ceilings = sorted({(row["devices"], row["matmul_flops_per_second"]) for row in rows})
    lines += ["", *(f"matrix products on {number} devices: {rate:.3g} flop/s" for number, rate in ceilings)]
    return "\n".join([*lines, f"{rows[0]['machine']}; medians of {rows[0]['repeats']}"])


def _parser() -> argparse.ArgumentParser:
    description = "Times the training of networks against the machine's matrix products, and vmap against a loop."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there, as a list of objects")
    parser.add_argument("--quick", action="store_true", help="a rehearsal: short runs, two values a ladder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
