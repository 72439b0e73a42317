"""Every sweep by the name of its store: for what reads stores of any kind."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sims.alignment import __main__ as alignment
from sims.alignment.job import prepare as prepare_alignment
from sims.engine.run import Job
from sims.incontext import __main__ as incontext
from sims.incontext.job import prepare as prepare_incontext
from sims.language import __main__ as language
from sims.language.job import prepare as prepare_language
from sims.language.spec import EXAMPLES, WEAKER
from sims.methods import __main__ as methods
from sims.methods.job import prepare as prepare_arena
from sims.posterior_sweep import __main__ as posterior_sweep
from sims.posterior_sweep import job as posterior_job
from sims.risk_sweep import __main__ as risk_sweep
from sims.risk_sweep import job as risk_job
from sims.theory_sweep import __main__ as theory_sweep
from sims.theory_sweep import job as theory_job
from w2s_jax.alignment.worlds import WORLDS
from w2s_jax.names import Labels


class Sweep(NamedTuple):
    """A sweep, as seen by code that handles any sweep."""

    command: str
    """What follows `python -m sims.`, but for the preset and the folder."""
    kind: type
    """Type of its specification."""
    presets: dict[str, Any]
    prepare: Callable[[Any, Path], Job]
    """(specification, folder of the store) -> what is to be computed."""


def _of(module: ModuleType, kind: type, prepare: Callable[[Any], Job]) -> Sweep:
    return Sweep(module.__name__.split(".")[1], kind, module.PRESETS, lambda spec, out: prepare(spec))


def _with_true_labels(labels: Labels) -> Sweep:
    """An arena with the shares of true labels of its presets, which the command names."""
    presets = methods.presets(labels, few=True)
    shares = " ".join(f"{share:g}" for share in presets["quick"].true_label_share)
    sign = " --labels sign" * (labels == "sign")
    found = _of(methods, methods.ArenaSpec, prepare_arena)
    return found._replace(command=f"methods{sign} --true-label-share {shares}", presets=presets)


def _in_world(task: str) -> Sweep:
    presets = {name: dataclasses.replace(preset, task=task) for name, preset in alignment.PRESETS.items()}
    return Sweep(f"alignment --task {task}", alignment.AlignmentSpec, presets, prepare_alignment)


def _of_language(changes: Mapping[str, Any]) -> Sweep:
    """A language sweep whose presets are changed by options, which the command names; `smoke` has few questions, and so
    the contexts that they can fill."""

    def changed(preset: language.LanguageSpec) -> language.LanguageSpec:
        most = preset.train_questions - preset.train_questions // preset.groups
        lengths = tuple(count for count in changes.get("num_icl", preset.num_icl) if count <= most)
        return dataclasses.replace(preset, **{**changes, "num_icl": lengths})

    presets = {name: changed(preset) for name, preset in language.PRESETS.items()}
    words = [
        f" --{name.replace('_', '-')} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in changes.items()
    ]
    return Sweep("".join(["language", *words]), language.LanguageSpec, presets, prepare_language)


SWEEPS = {
    "risk_sweep": _of(risk_sweep, risk_sweep.SweepSpec, risk_job.prepare),
    "theory_sweep": _of(theory_sweep, theory_sweep.TheorySpec, theory_job.prepare),
    "posterior_sweep": _of(posterior_sweep, posterior_sweep.PosteriorSpec, posterior_job.prepare),
    "methods": _of(methods, methods.ArenaSpec, prepare_arena),
    "methods_sign": _of(methods, methods.ArenaSpec, prepare_arena)._replace(
        command="methods --labels sign", presets=methods.presets("sign")
    ),
    "methods_true_labels": _with_true_labels("linear"),
    "methods_sign_true_labels": _with_true_labels("sign"),
    "incontext": Sweep("incontext", incontext.InContextSpec, incontext.PRESETS, prepare_incontext),
    **{f"alignment_{task}": _in_world(task) for task in WORLDS},
    "language": _of_language({}),
    "language_examples": _of_language(EXAMPLES),
    "language_weaker": _of_language(WEAKER),
}
