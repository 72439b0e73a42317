"""What a risk sweep is: a typed specification, checked in full before anything is computed."""

import dataclasses
import hashlib
import json
import math
from typing import Literal

from sims.methods import METHODS, Method
from w2s_jax.tasks import NEEDS_EXTRA_DIM, WEAKNESSES, Weakness


class InputError(Exception):
    """Bad input, told in one sentence: the invariant, what was given, what to do. Commands exit with code 2.

    Not a ValueError, which the command-line parser would take for its own and print in a box.
    """


@dataclasses.dataclass(frozen=True)
class SweepSpec:
    """A grid of weak-to-strong tasks, the methods compared on it and the number of replicates."""

    weakness: tuple[Weakness, ...] = WEAKNESSES
    """Kinds of weak teacher: rotated, shifted, noisy, confused, opposed."""
    weak_accuracy: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Weak accuracies a, in (0, 1], unitless: correlation with the target (ratio of noise levels for noisy)."""
    sample_size: tuple[int, ...] = (16, 64, 256, 1024)
    """Numbers n of weak-labelled examples to fine-tune on, each >= 1."""
    concept_shift: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9)
    """Total variation distances between source and target prior, in [0, 1), unitless."""
    num_icl: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    """Numbers of weak examples in a prompt, each >= 0."""
    methods: tuple[Method, ...] = METHODS
    """Methods to compare, on the same draws."""
    replicates: int = 2000
    """Independent replicates of the whole grid, >= 2."""
    dim: int = 32
    """Feature dimension d."""
    num_concepts: int = 4
    """Number K of latent concepts, 2 <= K <= d (K + 1 <= d with a rotated or shifted teacher)."""
    noise_var: float = 0.25
    """Label noise variance sigma^2 of source and target, > 0, in squared label units."""
    penalties: tuple[float, ...] = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    """Penalty path of naive_ft, each >= 0, in units of feature variance (the loss is divided by n)."""
    times: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    """Stopping times of gradient_flow, each >= 0, in units of 1 / feature variance."""
    task_law: Literal["fixed", "random"] = "fixed"
    """fixed: axis-aligned concepts and an even source prior; random: a new frame and Dirichlet prior per replicate."""
    seed: int = 0
    """Seed of every random stream, >= 0."""
    block_size: int = 250
    """Replicates in a block of work: a kill loses at most the blocks in flight. Changes no draw."""

    def __post_init__(self) -> None:
        for name in (*GRID_AXES, "methods", "penalties", "times"):
            check_axis(name, getattr(self, name))
        check_members("weakness", self.weakness, WEAKNESSES)
        check_members("methods", self.methods, METHODS)
        check_each("weak_accuracy", self.weak_accuracy, lambda a: 0 < a <= 1, "in (0, 1]", "1 is a perfect teacher")
        check_each("concept_shift", self.concept_shift, lambda s: 0 <= s < 1, "in [0, 1)", "0 is an aligned source")
        check_each("sample_size", self.sample_size, lambda n: n >= 1, "at least 1", "give whole numbers of examples")
        check_each("num_icl", self.num_icl, lambda m: m >= 0, "at least 0", "0 is an empty prompt")
        check_each("penalties", self.penalties, lambda p: 0 <= p < math.inf, "finite and >= 0", "0 is least squares")
        check_each("times", self.times, lambda t: 0 <= t < math.inf, "finite and >= 0", "0 is the source")
        check_one("num_concepts", self.num_concepts, self.num_concepts >= 2, "at least 2", "one concept has no shift")
        check_one("noise_var", self.noise_var, 0 < self.noise_var < math.inf, "positive and finite", "try 0.25")
        check_one("replicates", self.replicates, self.replicates >= 2, "at least 2", "a standard error needs two")
        check_one("block_size", self.block_size, self.block_size >= 1, "at least 1", "250 is a good size")
        check_one("seed", self.seed, 0 <= self.seed < 2**63, "in [0, 2^63)", "give a whole number")
        check_one("task_law", self.task_law, self.task_law in ("fixed", "random"), "fixed or random", "choose one")
        outside = [w for w in self.weakness if w in NEEDS_EXTRA_DIM]
        needed = self.num_concepts + bool(outside)
        why = f"num_concepts + 1 = {needed} (the {outside[0]} teacher leaves their span)" if outside else str(needed)
        check_one("dim", self.dim, self.dim >= needed, f"at least {why}", "raise dim or lower num_concepts")

    @property
    def num_cells(self) -> int:
        """Grid cells: combinations of weakness, weak accuracy, sample size, concept shift and num_icl."""
        return math.prod(len(getattr(self, axis)) for axis in GRID_AXES)


GRID_AXES = ("weakness", "weak_accuracy", "sample_size", "concept_shift", "num_icl")
"""The dims of a store, in order."""

MAY_GROW = ("replicates",)
"""Fields that may change between runs on one store: more replicates extend it."""


def to_json(spec) -> str:
    """A specification as canonical JSON; any dataclass of Python values."""
    return json.dumps(dataclasses.asdict(spec), sort_keys=True)


def from_json(kind: type, text: str):
    """The specification written by `to_json`."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()}
    return kind(**fields)


def identity(spec) -> str:
    """A hash of everything that decides the draws and the meaning of a store, so without `replicates`."""
    fields = {name: value for name, value in dataclasses.asdict(spec).items() if name not in MAY_GROW}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def check_axis(name: str, values: tuple) -> None:
    """An axis holds at least one value and none twice."""
    if not values:
        raise InputError(f"{name} must hold at least one value, got none; give one or more.")
    duplicates = sorted({str(v) for v in values if values.count(v) > 1})
    if duplicates:
        raise InputError(f"{name} must not repeat a value, got {duplicates[0]} more than once; remove the repeats.")


def check_members(name: str, values: tuple, known: tuple) -> None:
    """Every value is a known name."""
    for value in values:
        if value not in known:
            raise InputError(f"{name} must be among {', '.join(known)}; got {value!r}; choose from the list.")


def check_each(name: str, values: tuple, holds, invariant: str, remedy: str) -> None:
    """Every value satisfies the invariant."""
    for value in values:
        check_one(name, value, holds(value), invariant, remedy)


def check_one(name: str, value, holds: bool, invariant: str, remedy: str) -> None:
    """The value satisfies the invariant; otherwise say so in one sentence."""
    if not holds:
        raise InputError(f"{name} must be {invariant}, got {value}; {remedy}.")
