"""Training of networks: tokens per second, as a share of the machine's matrix products; many at once or in a loop.

    python -m benchmarks.networks [--json FILE] [--quick]

Steps are those of the in-context sweep's `quick` preset: pre-training as `sims/training/fit.py` compiles it,
fine-tuning without context as the sweep's engine runs it, on every device. Ways of training run one after another, each
in a process of its own; figures are medians, and rates count what all networks do together.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import devices, limits, quiet, run
from benchmarks.devices import Machine
from benchmarks.parts import HEADLINE
from benchmarks.timing import MIN_REPEATS, Run, Timing, in_fresh_process, measure
from sims.engine.run import launcher
from sims.incontext import finetune
from sims.incontext.spec import QUICK, InContextSpec
from sims.incontext.strong import pretraining_loss
from sims.incontext.world import bins_of, task_of
from sims.training.pretrain import pretrain_spec
from w2s_jax.rng import seed_key, stream
from w2s_jax.training import init_state, make_optimizer, train
from w2s_jax.types import stack

SEEDS = (1, 2, 4, 8)
"""Networks that are pre-trained at once."""
WIDTHS = (1, 4, 8, 16, 32)
"""Networks that are fine-tuned at once, of `FITS` on each device."""
FITS = 32
PRETRAIN_STEPS, FINETUNE_STEPS = 2, 20
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

    @property
    def process(self) -> tuple[str, str, int]:
        """What is measured in one process."""
        return self.part, self.way, self.devices


class Work(NamedTuple):
    """What a contender does, ready to be timed."""

    run: Run
    steps: int
    """Optimizer steps in a unit of it, of all networks together."""


class Timed(NamedTuple):
    """What was measured of it."""

    timing: Timing
    steps: int

    @property
    def rate(self) -> float:
        """Optimizer steps per second."""
        return self.steps * self.timing.units / self.timing.median_seconds


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Times the training of networks against the machine's matrix products, and vmap against a loop."
    return run.command(
        argv, "networks", about, "short runs, two values a ladder", lambda quick: rows_of(QUICK, quick=quick), report
    )


# --- what is measured -----------------------------------------------------------------------------------------------


def cases(machine: Machine, quick: bool) -> list[Case]:
    """All measurements on this machine; one core alone is measured where there are several and no accelerator."""
    width = machine.accelerators or machine.cores
    seeds, widths = (SEEDS[1:2], WIDTHS[:2]) if quick else (SEEDS, WIDTHS)
    found = [Case("pretraining", "loop", 1, 1)] if width > 1 and not machine.accelerators else []
    found += [Case("pretraining", way, number, width) for way in ("loop", "vmap") for number in seeds]
    found += [Case("pretraining", "devices", width, width)] if width > 1 else []
    return found + [Case("finetuning", "vmap" if number > 1 else "loop", number, width) for number in widths]


def rows_of(spec: InContextSpec, *, quick: bool) -> list[dict]:
    """Measure all cases, and the ceiling that matrix products set to each."""
    machine = in_fresh_process(devices.machine)
    todo, seconds = cases(machine, quick), 0.1 if quick else 0.4
    ceilings = {}
    for number in sorted({case.devices for case in todo}):
        run.say(f"measuring matrix products, devices {number}")
        found = limits.measured(HEADLINE, machine.cores if machine.accelerators else number, MIN_REPEATS, seconds)
        ceilings[number] = next(limit.rate for limit in found if limit.resource == "matmul")
    timed: dict[Case, Timed] = {}
    for (part, way, number), group in itertools.groupby(todo, lambda case: case.process):
        together = list(group)
        ladder = ", ".join(str(case.at_once) for case in together)
        run.say(f"[{len(timed)}/{len(todo)}] {part}, {way} of {ladder}, devices {number}")
        cores = None if machine.accelerators else number
        answers = in_fresh_process(time_here, spec, together, MIN_REPEATS, seconds, cores=cores)
        timed |= dict(zip(together, answers))

    def ratio(case: Case) -> float:
        """To as many networks in a loop; to fewer, where there is no such loop: a second takes as long as the first."""
        loop = (case.part, "loop", case.devices)
        rates = {other.at_once: answer.rate for other, answer in timed.items() if other.process == loop}
        return timed[case].rate / rates.get(case.at_once, next(iter(rates.values())))

    return [row_of(spec, case, timed[case], ceilings[case.devices], ratio(case), machine) for case in todo]


def row_of(spec: InContextSpec, case: Case, timed: Timed, ceiling: float, ratio: float, machine: Machine) -> dict:
    """One measurement, as it is stored."""
    sequences, num_icl = batch_of(spec, case.part)
    timing, rate = timed.timing, timed.rate
    flops = rate * sequences * train_flops(spec, num_icl)
    return {
        **case._asdict(),
        "steps_per_second": rate,
        "tokens_per_second": rate * sequences * (num_icl + 1),
        "flops_per_second": flops,
        "matmul_flops_per_second": ceiling,
        "fraction_of_matmul": flops / ceiling,
        "ratio_to_loop": ratio,
        "compile_seconds": timing.compile_seconds,
        "median_seconds": timing.median_seconds,
        "seconds": list(timing.seconds),
        "steps": timed.steps * timing.units,
        "repeats": len(timing.seconds),
        "cores_used": timing.cores_used,
        "others_share": timing.others_share,
        **machine.origin(spec.seed),
    }


def batch_of(spec: InContextSpec, part: str) -> tuple[int, int]:
    """(sequences in a step of one network, examples of context in each)."""
    return (spec.pretrain_batch, spec.max_icl) if part == "pretraining" else (spec.finetune_batch, 0)


def train_flops(spec: InContextSpec, num_icl: int) -> float:
    """Floating-point operations of a training step for one sequence, of its matrix products alone.

    Counted by hand, two for each multiplication with its addition. With L = num_icl + 1 places, a place takes
    2 (w 3w + w w + 3 w h) in each block of width w and h hidden units (2 w h instead of 3 w h for gelu), and attention
    2 L w for its scores and as much for the mixture, over all L places: masked scores are computed too. Embeddings take
    2 d w for a query and 2 (d + 1) w for the example before it, the head 2 w B. Gradients take twice the forward pass,
    one product for each factor. Norms, softmax, random numbers and the optimizer are left out.
    """
    network, places = spec.network, num_icl + 1
    width, hidden = network.width, network.hidden
    mlp = (3 if network.activation == "swiglu" else 2) * width * hidden
    block = 2 * (4 * width**2 + mlp) + 4 * places * width
    ends = places * 2 * width * (spec.dim + spec.num_bins) + num_icl * 2 * width * (spec.dim + 1)
    return 3.0 * (places * network.num_layers * block + ends)


# --- the contenders -------------------------------------------------------------------------------------------------


def time_here(spec: InContextSpec, cases: list[Case], repeats: int, seconds: float) -> list[Timed]:
    """Time cases of one part on as many devices as this process has."""
    devices.start(cases[0].devices)
    if cases[0].part == "pretraining":
        work = pretraining(spec)
    else:
        work = finetuning(spec, FITS)
    found = (work(case.way, case.at_once) for case in cases)
    return [Timed(measure(each.run, repeats, seconds), each.steps) for each in found]


def pretraining_program(spec: InContextSpec) -> tuple[Callable, Callable]:
    """(key -> state of a network and its optimizer, (key, state) -> state after `PRETRAIN_STEPS` steps)."""
    own = pretrain_spec(spec, concept_shift=spec.concept_shift[0])
    optimizer, loss = make_optimizer(spec.pretraining), pretraining_loss(own, finetune.structure(spec))

    def start(key):
        return init_state(finetune.make_network(spec, stream(key, "init"))[1], optimizer)

    def take(key, state):
        return train(key, state, loss, optimizer, PRETRAIN_STEPS)[0]

    return start, take


def pretraining(spec: InContextSpec) -> Callable[[str, int], Work]:
    """(way, networks) -> pre-training steps of that number of networks, each with its own key and data."""
    start, take = pretraining_program(spec)
    start = jax.jit(start)
    programs = {
        "loop": jax.jit(take),
        "vmap": jax.jit(jax.vmap(take)),
        "devices": devices.on_every_device(jax.vmap(take)),
    }

    def work(way: str, networks: int) -> Work:
        keys = jax.random.split(seed_key(spec.seed), networks)
        each = [(key, start(key)) for key in keys]
        calls = each if way == "loop" else [(keys, stack(state for _, state in each))]

        def repeat(units: int) -> None:
            for _ in range(units):
                for call in calls:  # always from the first state: a step costs the same wherever it starts
                    jax.block_until_ready(programs[way](*call))

        return Work(repeat, networks * PRETRAIN_STEPS)

    return work


def finetuning(spec: InContextSpec, fits: int) -> Callable[[str, int], Work]:
    """(way, networks side by side) -> steps of that number of fits on every device, through the engine's launcher.

    Risks are measured at two queries, which cost nothing.
    """
    spec = dataclasses.replace(spec, finetune_steps=FINETUNE_STEPS, finetune_looks=1)
    graph, params = finetune.make_network(spec, seed_key(spec.seed))
    bins, coef = bins_of(spec), task_of(spec, spec.concept_shift[0]).target_coef
    num_samples, width = max(spec.sample_size), jax.local_device_count()
    key = seed_key(spec.seed)
    features = jax.random.normal(stream(key, "features"), (num_samples, spec.dim))
    labels = jax.random.normal(stream(key, "labels"), (fits, num_samples))

    def work(way: str, at_once: int) -> Work:
        def program(key, first, total, chunk):
            params, features, labels = chunk
            # Read while this is traced, in a process of its own.
            finetune.FITS_AT_ONCE = {jax.default_backend(): at_once}
            sizes, own = jnp.full(fits, num_samples), jax.random.fold_in(key, first)
            return finetune.fine_tune(spec, own, graph, params, bins, features, labels, sizes, features[:2], coef)

        launch = launcher(program, spec)

        def repeat(units: int) -> None:
            for _ in range(units):
                jax.block_until_ready(launch(range(width), [(params, features, labels)] * width))

        return Work(repeat, width * fits * FINETUNE_STEPS)

    return work


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
            f"| {row['flops_per_second']:.3g} | {row['fraction_of_matmul']:.0%} "
            f"| {quiet.ratio_text(row, format(row['ratio_to_loop'], '.2f'))} "
            f"| {row['compile_seconds']:.1f} s |"
        )
    ceilings = sorted({(row["devices"], row["matmul_flops_per_second"]) for row in rows})
    lines += ["", *(f"matrix products on {number} devices: {rate:.3g} flop/s" for number, rate in ceilings)]
    return "\n".join([*lines, f"{rows[0]['machine']}; medians of {rows[0]['repeats']}", *quiet.warning(rows)])


if __name__ == "__main__":
    sys.exit(main())
