"""Tasks on which one assumption of the theory is relaxed at a time, increasingly; at the first level it holds."""

from typing import NamedTuple

from sims.methods.spec import ArenaSpec
from w2s_jax.relaxed import coherent_gram, contaminated_prior, power_law_spectrum
from w2s_jax.tasks import make_task
from w2s_jax.types import Task

WEAK_ACCURACY, CONCEPT_SHIFT = 0.7, 0.5
"""The task that is relaxed; its teacher is rotated."""


class Assumption(NamedTuple):
    """An assumption and the degrees to which it is relaxed."""

    levels: tuple[float, ...]
    about: str
    """What a level is, for an axis."""


ASSUMPTIONS = {
    "coherence": Assumption((0.0, 0.2, 0.4, 0.6), "inner product of any two concepts"),
    "spectrum": Assumption((0.0, 0.5, 1.0, 1.5), "decay exponent of feature variances"),
    "wrong_concept": Assumption((0.0, 0.1, 0.2, 0.4), "share of labels and prompts of a wrong concept"),
    "label_noise": Assumption((1.0, 2.0, 4.0, 8.0), "noise variance of weak labels, in that of the source"),
    "target_mixture": Assumption((0.0, 0.1, 0.2, 0.4), "weight of the other concepts in the target"),
}
NUM_LEVELS = 4


def relaxed_tasks(spec: ArenaSpec) -> list[Task]:
    """A task for each assumption and level, in their order."""
    return [relaxed_task(spec, name, level) for name in spec.relaxed for level in ASSUMPTIONS[name].levels]


def relaxed_task(spec: ArenaSpec, assumption: str, level: float) -> Task:
    """The rotated task with one assumption relaxed."""
    task = make_task(
        num_concepts=spec.num_concepts,
        dim=spec.dim,
        weak_accuracy=WEAK_ACCURACY,
        concept_shift=CONCEPT_SHIFT,
        noise_var=spec.noise_var,
        gram=coherent_gram(spec.num_concepts, level) if assumption == "coherence" else None,
    )
    if assumption == "spectrum":
        return task._replace(feature_var=power_law_spectrum(spec.dim, level))
    if assumption == "wrong_concept":
        return task._replace(weak_prior=contaminated_prior(task.weak_prior, level))
    if assumption == "label_noise":
        return task._replace(weak_noise_var=level * task.noise_var)
    if assumption == "target_mixture":
        mixture = contaminated_prior(task.target_prior, level)
        return task._replace(target_prior=mixture, weak_prior=mixture)
    return task
