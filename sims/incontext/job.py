"""The program of an in-context sweep: the strong networks, trained if need be, and what a seed does with them."""

from functools import partial
from pathlib import Path

import jax.numpy as jnp

from sims.engine import runtime
from sims.engine.run import Job, Outline, bound, say
from sims.incontext.results import assemble
from sims.incontext.seeds import Setting, run_seed
from sims.incontext.spec import InContextSpec
from sims.incontext.strong import pretrained, warn_of_narrow_bins
from sims.incontext.world import task_of
from w2s_jax.types import stack


def prepare(spec: InContextSpec, out: Path) -> Job:
    """The strong networks, trained if they are not there, and the program that runs a seed with them."""
    warn_of_narrow_bins(spec)
    say(f"strong networks: {len(spec.concept_shift)} concept shifts x {spec.networks}, kept in {out / 'networks'}")
    settings = []
    for shift in spec.concept_shift:
        teachers = stack([task_of(spec, shift, accuracy, spec.weakness) for accuracy in spec.weak_accuracy])
        settings.append(Setting(teachers, pretrained(spec, shift, out), jnp.asarray(shift)))
    known = outline(spec)
    return Job(
        program=bound(run_seed, spec),
        chunks=settings,
        assemble=partial(assemble, spec),
        plan=known.plan,
        seconds=known.seconds,
        tasks_per_replicate=spec.num_fits * len(settings),
        unit="fine-tunings",
        doing=f"compiling, then {spec.num_fits:,} fine-tunings of {spec.finetune_steps:,} steps each",
    )


def outline(spec: InContextSpec) -> Outline:
    """What will run once the strong networks are there."""
    shifts = len(spec.concept_shift)
    fits = spec.num_fits * shifts
    return Outline(
        plan=[
            f"{fits:,} fine-tunings of {spec.finetune_steps:,} steps x {spec.replicates:,} seeds",
            f"{shifts * spec.replicates:,} blocks, one per seed and concept shift, on {len(runtime.devices())} devices",
        ],
        seconds=90
        + 1.8e-9 * spec.replicates * fits * spec.finetune_steps * spec.finetune_batch * spec.layers * spec.width**2,
    )
