"""Specification of an arena: the methods, their tasks and their budgets, checked before any compute."""

import dataclasses
import math
import sys
from typing import TYPE_CHECKING

from sims.engine.checked import (
    LATER,
    InputError,
    check_axis,
    check_each,
    check_members,
    check_one,
    is_checked,
    settle,
    unchecked,
)
from w2s_jax.names import ARENA_METHODS, LABELS, SIGN_ONLY, WEAKNESSES, Labels, Weakness

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

    labels: Labels = dataclasses.field(default="linear", metadata=LATER)
    """What a label is. linear: a number, and students are linear; risk is excess risk. sign: +1 or -1 with log odds
    linear in the features under each concept, and students are logistic; risk is the share of inputs with another
    sign than the target's."""
    methods: tuple[str, ...] = tuple(name for name in ARENA_METHODS if name not in SIGN_ONLY)
    """Methods to compare, on the same draws; --list describes them."""
    weakness: tuple[Weakness, ...] = WEAKNESSES
    """Kinds of weak teacher: rotated, shifted, noisy, confused, opposed."""
    weak_accuracy: tuple[float, ...] = (0.3, 0.5, 0.7, 0.9)
    """Weak accuracies a, in (0, 1], unitless: correlation with the target (ratio of noise levels for noisy)."""
    concept_shift: tuple[float, ...] = (0.25, 0.5, 0.75, 0.9)
    """Total variation distances between source and target prior, in [0, 1), unitless."""
    relaxed: tuple[str, ...] = RELAXABLE
    """Assumptions that are relaxed, one at a time, on a rotated task of accuracy 0.7 under a shift of 0.5: coherence
    (of concepts), spectrum (of features), wrong_concept (shown by the teacher), label_noise, target_mixture."""
    sample_size: int = 256
    """Weak examples n, >= 8: three quarters are fitted, on the others the knobs are tuned."""
    num_icl: int = 8
    """Weak examples m in a prompt, >= 1."""
    replicates: int = 200
    """Independent replicates of the whole grid, >= 2."""
    dim: int = 16
    """Feature dimension d."""
    num_concepts: int = 4
    """Number K of latent concepts, in [2, d - 1]."""
    noise_var: float = 0.25
    """Label noise variance sigma^2 of source and target, > 0, in squared label units."""
    seed: int = 0
    """Seed of every random stream, >= 0."""
    block_size: int = 10
    """Replicates in a block of work, >= 1; it changes no draw."""
    definitions: int = dataclasses.field(default=DEFINITIONS, metadata={"before": 1})
    """What the methods are; 2 is all that can be run. In stores of version 0.1 it is 1: `contrastive` was what is now
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

        for name in ("methods", "weakness", "weak_accuracy", "concept_shift", "relaxed"):
            check_axis(name, getattr(self, name))
        check_members("relaxed", self.relaxed, RELAXABLE)
        check_members("labels", (self.labels,), LABELS)
        check_members("methods", self.methods, tuple(METHODS), dict.fromkeys(OF_WORLDS, "python -m sims.alignment"))
        for name in self.methods:
            if self.labels not in METHODS[name].labels:
                has = METHODS[name].labels
                raise InputError(
                    f"{name} must support {self.labels} labels, but it has {', '.join(has)} ones alone; leave it "
                    f"out or choose labels {has[0]}."
                )
        if all(METHODS[name].reads_target for name in self.methods):
            raise InputError(
                f"methods must hold one that does not read the target, got {', '.join(self.methods)} alone; "
                f"add naive_ft."
            )
        check_members("weakness", self.weakness, WEAKNESSES)
        check_each("weak_accuracy", self.weak_accuracy, lambda a: 0 < a <= 1, "in (0, 1]", "1 is a perfect teacher")
        check_each("concept_shift", self.concept_shift, lambda s: 0 <= s < 1, "in [0, 1)", "0 is an aligned source")
        check_one("sample_size", self.sample_size, self.sample_size >= 8, "at least 8", "knobs are tuned on a quarter")
        for name in ("num_icl", "block_size"):
            check_one(name, getattr(self, name), getattr(self, name) >= 1, "at least 1", "give a whole number")
        check_one("replicates", self.replicates, self.replicates >= 2, "at least 2", "a standard error needs two")
        check_one("num_concepts", self.num_concepts, self.num_concepts >= 2, "at least 2", "one concept has no shift")
        least = self.num_concepts + 1
        check_one("dim", self.dim, self.dim >= least, f"at least num_concepts + 1 = {least}", "raise it")
        check_one("noise_var", self.noise_var, 0 < self.noise_var < math.inf, "positive and finite", "try 0.25")
        check_one("definitions", self.definitions, self.definitions in (1, DEFINITIONS), "1 or 2", "leave it out")
        check_one("seed", self.seed, 0 <= self.seed < 2**63, "in [0, 2^63)", "give a whole number")
        if self.examples("naive_ft", "examples") < 2 or self.matched_least < 2:
            raise InputError(
                f"every method must have 2 examples to fit at equal compute, but with sample_size {self.sample_size} "
                f"and num_icl {self.num_icl} one has {self.matched_least}; raise sample_size or give shorter prompts."
            )

    def method(self, name: str) -> "Method":
        """A method, for the labels of this arena."""
        from w2s_jax.methods import METHODS

        return METHODS[name].on(self.labels)

    @property
    def num_cells(self) -> int:
        """Tasks of the grid, without those that are relaxed."""
        return len(self.weakness) * len(self.weak_accuracy) * len(self.concept_shift)

    @property
    def num_fitted(self) -> int:
        """Weak examples that are fitted."""
        return int(FIT_SHARE * self.sample_size)

    @property
    def matched_least(self) -> int:
        """Examples of the dearest method at equal compute."""
        return min(self.examples(name, "compute") for name in self.methods)

    def examples(self, method: str, budget: str) -> int:
        """Examples that a method fits: all, or as many as it can afford at what naive fine-tuning on all costs."""
        if budget == "examples":
            return self.num_fitted
        reads, naive = (self.method(name).cost.reads(self.num_icl) for name in (method, "naive_ft"))
        return min(self.num_fitted, self.num_fitted * naive // max(reads, 1))


def supporting(labels: Labels) -> list[str]:
    """Methods that learn from labels of this kind: by their registry where it is loaded, by name before."""
    registry = sys.modules.get("w2s_jax.methods")
    if registry is not None:
        return [name for name, method in registry.METHODS.items() if labels in method.labels]
    return [name for name in ARENA_METHODS if labels == "sign" or name not in SIGN_ONLY]


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


def presets(labels: Labels) -> dict[str, ArenaSpec]:
    """The presets for one kind of labels, with the methods that support it."""
    found = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}
    methods = tuple(supporting(labels))
    with unchecked():
        return {name: dataclasses.replace(spec, labels=labels, methods=methods) for name, spec in found.items()}


PRESETS = presets("linear")
