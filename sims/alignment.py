"""Aligns a strong language model with a weak one's answers in a small world whose content and style are computed.

Strong networks are pre-trained once and kept in `OUT/networks`; those that have not mastered their world are refused. A
seed then trains weak teachers of several capabilities, lets them label questions, and fine-tunes the strong model on
these labels, on its own after weak examples in its context, and by the other methods that it is compared with.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from sims import cli, engine, runtime
from sims.dialogues.gate import check_mastery, examine
from sims.dialogues.results import assemble
from sims.dialogues.seeds import Networks, run_seed
from sims.dialogues.spec import DEFINITIONS, PRESETS, AlignmentSpec
from sims.dialogues.strong import NETWORKS, pretrained
from sims.spec import InputError
from w2s_jax.alignment.world import FIRST_TAG, TARGET
from w2s_jax.alignment.worlds import dialogues
from w2s_jax.rng import seed_key


def prepare(spec: AlignmentSpec, out: Path) -> engine.Job:
    """The strong networks, trained if they are not there and examined, and the program that runs a seed with them."""
    engine.say(f"strong networks: one per seed, kept in {out / NETWORKS}")
    strong = pretrained(spec, spec.width, out)
    mastery = examine(spec, strong)
    check_mastery(spec, mastery)
    middle = pretrained(spec, spec.middle_width, out) if "bootstrapping" in spec.methods else None
    fits = spec.num_fits
    return engine.Job(
        program=engine.bound(run_seed, engine.static(spec)),
        chunks=[Networks(strong, middle, mastery)],
        assemble=partial(assemble, spec),
        plan=[
            f"{fits:,} fine-tunings of {spec.finetune_steps:,} steps x {spec.replicates:,} seeds",
            f"{spec.replicates:,} blocks, one per seed, on {len(runtime.devices())} devices",
        ],
        seconds=120 + 1.5 * spec.replicates * fits,
        tasks_per_replicate=fits,
    )


def start(spec: AlignmentSpec, out: Path, options: engine.Options = engine.ALONE) -> Path:
    """Run an alignment sweep, or what is missing of it, into `out`/alignment_<task>.zarr."""
    if spec.definitions != DEFINITIONS:
        raise InputError(
            f"definitions must be {DEFINITIONS}, what the methods are in this program, got {spec.definitions}, as in "
            f"stores of version 0.1; leave it out, and choose another --out."
        )
    if options.target is not None:
        raise InputError("target_sem is for sweeps of replicates, and this one has seeds; raise replicates instead.")
    if options.ranks is not None and options.ranks.count > 1:
        raise InputError(
            f"this sweep runs in one process, got {options.ranks.count}; leave num_processes and cluster out, and use "
            f"devices."
        )
    return engine.run(f"alignment_{spec.task}", spec, partial(prepare, out=out), out, options)


def show(spec: AlignmentSpec, count: int) -> None:
    """Print right dialogues of every way of answering, as words."""
    world, most = spec.world, len(spec.world.questions)
    if not 1 <= count <= most:
        raise InputError(f"show must be in [1, {most}], the questions of this world, got {count}; ask for fewer.")
    for concept in range(world.num_concepts):
        share = "the target" if concept == TARGET else "a rival"
        print(f"{world.words[FIRST_TAG + concept]} ({share})")
        for line in dialogues(world, seed_key(spec.seed), concept, count):
            print(f"    {line}")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--show", type=int, default=None)
    chosen, rest = first.parse_known_args(argv)
    about = f"{__doc__}\n--show N prints N dialogues of each way of answering as words, and runs nothing."
    if chosen.show is None:
        return cli.main("alignment", about, PRESETS, AlignmentSpec, start, rest)
    return cli.guarded(lambda: show(cli.parse("alignment", about, PRESETS, AlignmentSpec, rest).spec, chosen.show))


if __name__ == "__main__":
    sys.exit(main())
