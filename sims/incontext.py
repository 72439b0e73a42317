"""Pre-trains transformers on a mixture of concepts, aligns them with weak labels, and sets them beside the theory.

Strong networks are trained once and kept in `OUT/networks`; a seed draws data and teachers, measures how far the
network is from exact Bayesian inference, and fine-tunes it on weak labels, on refined labels and on the target's own.
"""

import sys
from functools import partial
from pathlib import Path

import jax.numpy as jnp

from sims import cli, engine, runtime
from sims.networks.results import assemble
from sims.networks.seeds import Setting, run_seed
from sims.networks.spec import PRESETS, InContextSpec
from sims.networks.strong import pretrained, warn_of_narrow_bins
from sims.networks.world import task_of
from sims.spec import InputError
from w2s_jax.types import stack


def prepare(spec: InContextSpec, out: Path) -> engine.Job:
    """The strong networks, trained if they are not there, and the program that runs a seed with them."""
    warn_of_narrow_bins(spec)
    engine.say(
        f"strong networks: {len(spec.concept_shift)} concept shifts x {spec.networks}, kept in {out / 'networks'}"
    )
    settings = []
    for shift in spec.concept_shift:
        teachers = stack([task_of(spec, shift, accuracy, spec.weakness) for accuracy in spec.weak_accuracy])
        settings.append(Setting(teachers, pretrained(spec, shift, out), jnp.asarray(shift)))
    fits = spec.num_fits * len(settings)
    return engine.Job(
        program=engine.bound(run_seed, engine.static(spec)),
        chunks=settings,
        assemble=partial(assemble, spec),
        plan=[
            f"{fits:,} fine-tunings of {spec.finetune_steps:,} steps x {spec.replicates:,} seeds",
            f"{len(settings) * spec.replicates:,} blocks, one per seed and concept shift, on "
            f"{len(runtime.devices())} devices",
        ],
        seconds=90
        + 1.8e-9 * spec.replicates * fits * spec.finetune_steps * spec.finetune_batch * spec.layers * spec.width**2,
        tasks_per_replicate=fits,
    )


def start(spec: InContextSpec, out: Path, options: engine.Options = engine.ALONE) -> Path:
    """Run an in-context sweep, or what is missing of it, into `out`/incontext.zarr."""
    if options.target is not None:
        raise InputError("target_sem is for sweeps of replicates, and this one has seeds; raise replicates instead.")
    if options.ranks is not None and options.ranks.count > 1:
        raise InputError(
            f"this sweep runs in one process, got {options.ranks.count}; leave num_processes and cluster out, and use "
            f"devices."
        )
    return engine.run("incontext", spec, partial(prepare, out=out), out, options)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.main("incontext", __doc__, PRESETS, InContextSpec, start, argv)


if __name__ == "__main__":
    sys.exit(main())
