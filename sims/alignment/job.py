"""The program of an alignment sweep: the strong networks, trained and examined, what a seed does, and its dialogues."""

from functools import partial
from pathlib import Path

from sims.alignment.gate import check_mastery, examine
from sims.alignment.results import assemble
from sims.alignment.seeds import Networks, Outcome, run_seed
from sims.alignment.spec import AlignmentSpec
from sims.alignment.strong import NETWORKS, pretrained
from sims.engine import runtime
from sims.engine.checked import InputError
from sims.engine.run import Job, Outline, bound, say
from w2s_jax.alignment.world import FIRST_TAG, TARGET
from w2s_jax.alignment.worlds import dialogues
from w2s_jax.rng import seed_key


def prepare(spec: AlignmentSpec, out: Path) -> Job:
    """The strong networks, trained if they are not there and examined, and the program that runs a seed with them."""
    say(f"strong networks: one per seed, kept in {out / NETWORKS}")
    strong = pretrained(spec, spec.width, out)
    mastery = examine(spec, strong)
    check_mastery(spec, mastery)
    middle = pretrained(spec, spec.middle_width, out) if "bootstrapping" in spec.methods else None
    fits, known = spec.num_fits, outline(spec)
    return Job(
        program=bound(run_seed, spec),
        chunks=[Networks(strong, middle, mastery)],
        assemble=partial(assemble, spec),
        plan=known.plan,
        holes=holes(spec),
        seconds=known.seconds,
        tasks_per_replicate=fits,
        unit="fine-tunings",
        doing=f"compiling, then {fits:,} fine-tunings of {spec.finetune_steps:,} steps a seed",
    )


def holes(spec: AlignmentSpec) -> dict[str, bool]:
    """Sums that may be NaN: of a teacher that is wrong in no question of a split, no error can be copied."""
    return {f"{budget}.{method}.copied": True for budget in Outcome._fields[:2] for method in ("weak", *spec.methods)}


def outline(spec: AlignmentSpec) -> Outline:
    """What will run once the strong networks are there."""
    return Outline(
        plan=[
            f"{spec.num_fits:,} fine-tunings of {spec.finetune_steps:,} steps x {spec.replicates:,} seeds",
            f"{spec.replicates:,} blocks, one per seed, on {len(runtime.devices())} devices",
        ],
        seconds=120 + 1.5 * spec.replicates * spec.num_fits,
    )


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
