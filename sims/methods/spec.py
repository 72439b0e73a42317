"""Specification of an arena: the methods, their tasks and their budgets, checked before any compute."""

import dataclasses
import math
import sys
from typing import TYPE_CHECKING, Any

from sims.engine.checked import (
    InputError,
    check_members,
    check_one,
    is_checked,
    setting,
    settle,
    unchecked,
)
from sims.methods import plugin
from w2s_jax.names import ARENA_METHODS, SIGN_ONLY, TRUE_LABEL_METHODS, WEAKNESSES, Labels, Weakness

if TYPE_CHECKING:
    from w2s_jax.methods import Method

BUDGETS = ("examples", "compute")
"""The resource that all methods share: weak examples; or examples read by models, so that costly methods get fewer."""
OF_WORLDS = ("control", "prompt_only")
"""Methods that run in the worlds of tokens alone."""
DEFINITIONS = 2
"""Version of the definitions of the methods; stores record theirs."""
RELAXABLE = ("coherence", "spectrum", "wrong_concept", "label_noise", "target_mixture")
FIT_SHARE = 0.75
"""Share of the weak examples that is fitted; the rest, with its weak labels, chooses values of the knobs."""


@dataclasses.dataclass(frozen=True)
class ArenaSpec:
    """A grid of weak-to-strong tasks, the methods compared on it and the number of replicates."""

    labels: Labels = setting("linear", later=True)
    """What a label is. linear: a number, and students are linear; risk is excess risk. sign: +1 or -1 with log odds
    linear in the features under each concept, and students are logistic; risk is the share of inputs with another
    sign than the target's."""
    methods: tuple[str, ...] = tuple(name for name in ARENA_METHODS if name not in (*SIGN_ONLY, *TRUE_LABEL_METHODS))
    """Methods to compare, on the same draws; --list describes them. Those that use true labels are
    added with --true-label-share."""
    weakness: tuple[Weakness, ...] = WEAKNESSES
    """Kinds of weak teacher: rotated, shifted, noisy, confused, opposed."""
    weak_accuracy: tuple[float, ...] = setting((0.3, 0.5, 0.7, 0.9), "(0, 1]", "1 is a perfect teacher")
    """Weak accuracies a, in (0, 1], unitless: correlation with the target (ratio of noise levels for noisy)."""
    concept_shift: tuple[float, ...] = setting((0.25, 0.5, 0.75, 0.9), "[0, 1)", "0 is an aligned source")
    """Total variation distances between source and target prior, in [0, 1), unitless."""
    relaxed: tuple[str, ...] = setting(RELAXABLE, choices=RELAXABLE)
    """Assumptions that are relaxed, one at a time, on a rotated task of accuracy 0.7 under a shift of 0.5: coherence
    (of concepts), spectrum (of features), wrong_concept (shown by the teacher), label_noise, target_mixture."""
    sample_size: int = setting(256, "[8, inf)", "knobs are tuned on a quarter")
    """Weak examples n, >= 8: three quarters are fitted, on the others the knobs are tuned."""
    num_icl: int = setting(8, "[1, inf)")
    """Weak examples m in a prompt, >= 1."""
    replicates: int = setting(200, "[2, inf)", "a standard error needs two")
    """Independent replicates of the whole grid, >= 2."""
    dim: int = 16
    """Feature dimension d."""
    num_concepts: int = setting(4, "[2, inf)", "one concept has no shift")
    """Number K of latent concepts, in [2, d - 1]."""
    noise_var: float = setting(0.25, "(0, inf)", "try 0.25")
    """Label noise variance sigma^2 of source and target, > 0, in squared label units."""
    seed: int = 0
    """Seed of every random stream, >= 0."""
    block_size: int = setting(10, "[1, inf)")
    """Replicates in a block of work, >= 1; it changes no draw."""
    true_label_share: tuple[float, ...] = setting((0.0,), "[0, 1]", "0.1 is a good value", later=True)
    """Shares of the weak examples that also have a true label, in [0, 1]; methods that do not use them repeat their
    result. Relaxed tasks use the last share. With only 0 there are no true labels."""
    plugin: str = setting("", free=True, later=True)
    """A Python file with a method of your own, which is compared with the others (docs/my_method.py is a template). A
    store keeps its name and the sha256 of the file, not the path."""
    definitions: int = setting(DEFINITIONS, "[1, 2]", "leave it out", before=1)
    """Version of the methods; only 2 can be run. In stores of version 0.1 it is 1: `contrastive` was what is now
    `anchored_contrastive`, `experts` what is now `experts_from_source`, and `aux_confidence` warmed up more slowly."""

    def __post_init__(self) -> None:
        settle(self)
        if is_checked():
            self.check()

    def check(self) -> None:
        """Refuse what cannot be run.

        Raises:
            InputError: for the first field that is out of its range.
        """
        from w2s_jax.methods import METHODS

        own = plugin.name_of(self.plugin)
        known = (*METHODS, *([own] * bool(own)))
        check_members("methods", self.methods, known, dict.fromkeys(OF_WORLDS, "python -m sims.alignment"))
        if own and own not in self.methods:
            raise InputError(f"methods must name {own}, the method of --plugin, got {', '.join(self.methods)}; add it.")
        for name in self.here:
            has = self._any_labels(name).labels
            if self.labels not in has:
                raise InputError(
                    f"{name} must support {self.labels} labels, but it has {', '.join(has)} ones alone; leave it "
                    f"out or choose labels {has[0]}."
                )
        if len(self.here) == len(self.methods) and all(self.method(name).reads_target for name in self.methods):
            raise InputError(
                f"methods must hold one that does not read the target, got {', '.join(self.methods)} alone; "
                f"add naive_ft."
            )
        users = [name for name in self.here if "few_true_labels" in self.method(name).sees]
        if users and not self.has_true_labels:
            raise InputError(f"true_label_share must hold one over 0 where {users[0]} is compared, got 0; try 0.1.")
        least = self.num_concepts + 1
        check_one("dim", self.dim, self.dim >= least, f"at least num_concepts + 1 = {least}", "raise it")
        if self.examples("naive_ft", "examples") < 2 or self.matched_least < 2:
            raise InputError(
                f"every method must have 2 examples to fit at equal compute, but with sample_size {self.sample_size} "
                f"and num_icl {self.num_icl} one has {self.matched_least}; raise sample_size or give shorter prompts."
            )

    def method(self, name: str) -> "Method":
        """A method, for the labels of this arena.

        Raises:
            InputError: for that of a plugin which this process has not loaded.
        """
        return self._any_labels(name).on(self.labels)

    def _any_labels(self, name: str) -> "Method":
        from w2s_jax.methods import METHODS

        return plugin.find(self.plugin) if self.is_own(name) else METHODS[name]

    def is_own(self, name: str) -> bool:
        """Whether a method is that of the plugin."""
        return bool(name) and name == plugin.name_of(self.plugin)

    @property
    def here(self) -> list[str]:
        """Methods that this process can run: a store of a plugin is also read where its file is not."""
        return [name for name in self.methods if not self.is_own(name) or plugin.is_loaded(self.plugin)]

    @property
    def has_true_labels(self) -> bool:
        """Whether some examples have true labels."""
        return self.true_label_share != (0.0,)

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes of the grid, in order; of true labels where there are any."""
        return ("weakness", "weak_accuracy", "concept_shift", *["true_label_share"] * self.has_true_labels)

    @property
    def num_cells(self) -> int:
        """Tasks of the grid, without those that are relaxed."""
        return math.prod(len(getattr(self, axis)) for axis in self.axes)

    @property
    def num_fitted(self) -> int:
        """Weak examples that are fitted."""
        return int(FIT_SHARE * self.sample_size)

    @property
    def matched_least(self) -> int:
        """Examples of the dearest method at equal compute."""
        return min(self.examples(name, "compute") for name in self.here)

    def examples(self, method: str, budget: str) -> int:
        """Examples that a method fits: all, or as many as it can afford at what naive fine-tuning on all costs."""
        if budget == "examples":
            return self.num_fitted
        reads, naive = (self.method(name).cost.reads(self.num_icl) for name in (method, "naive_ft"))
        return min(self.num_fitted, self.num_fitted * naive // max(reads, 1))


def supporting(labels: Labels, few: bool = False) -> list[str]:
    """Methods that learn from labels of this kind, with those that use a few true ones where there are any: by their
    registry where it is loaded, by name before."""
    registry, unused = sys.modules.get("w2s_jax.methods"), () if few else TRUE_LABEL_METHODS
    if registry is not None:
        return [n for n, method in registry.METHODS.items() if labels in method.labels and n not in unused]
    return [name for name in ARENA_METHODS if name not in unused and (labels == "sign" or name not in SIGN_ONLY)]


with unchecked():  # a test checks them
    SMOKE = ArenaSpec(
        weakness=("rotated", "noisy"),
        weak_accuracy=(0.5, 0.8),
        concept_shift=(0.5, 0.75),
        sample_size=64,
        num_icl=4,
        dim=6,
        num_concepts=3,
        relaxed=("spectrum",),
        replicates=20,
    )
    QUICK = ArenaSpec()
    PAPER = ArenaSpec(
        weak_accuracy=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        concept_shift=(0.1, 0.25, 0.5, 0.75, 0.9),
        sample_size=1024,
        replicates=2000,
    )


SHARES = {"smoke": (0.1, 0.3), "quick": (0.03, 0.1, 0.3), "paper": (0.01, 0.03, 0.1, 0.3)}
FEWER: dict[str, Any] = {"weak_accuracy": (0.5, 0.7, 0.9), "concept_shift": (0.5, 0.9)}
"""Where true labels are an axis, `quick` and `paper` have fewer values on others."""


def presets(labels: Labels, own: str = "", few: bool = False) -> dict[str, ArenaSpec]:
    """The presets for one kind of labels, with the methods that support it and that of a plugin; with `few`, those of
    an arena with true labels."""
    found = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}
    methods = (*supporting(labels, few), *[plugin.name_of(own)] * bool(own))
    changes = {"labels": labels, "plugin": own, "methods": methods}

    def with_labels(name: str) -> dict[str, Any]:
        return {**(FEWER if name != "smoke" else {}), "true_label_share": SHARES[name]} if few else {}

    with unchecked():
        return {name: dataclasses.replace(spec, **changes, **with_labels(name)) for name, spec in found.items()}


PRESETS = presets("linear")
