"""What a posterior sweep is: a grid of prompts and how many of them, checked before anything is computed."""

import dataclasses
import math
from typing import Literal

from sims.engine.checked import check_axis, check_each, check_members, check_one, settle
from w2s_jax.names import WEAKNESSES, Weakness

AssumedNoise = Literal["task", "balanced"]
AXES = ("num_concepts", "weakness", "weak_accuracy", "concept_shift", "assumed_noise", "num_icl")
DEFINITIONS = 2
"""Since 2 each coordinate of a prompt has a stream of its own, and a concept of prior 0 leaves the others alone."""
PROMPTS_AT_ONCE = 1000
"""Prompts that share one key: a draw is addressed by (seed, group of prompts, place in the group)."""


@dataclasses.dataclass(frozen=True)
class PosteriorSpec:
    """A grid of prompts, and how many of them."""

    num_concepts: tuple[int, ...] = (2, 4)
    """Numbers K of latent concepts, each >= 2."""
    weakness: tuple[Weakness, ...] = WEAKNESSES
    """Kinds of weak teacher: rotated, shifted, noisy, confused, opposed."""
    weak_accuracy: tuple[float, ...] = (0.7, 0.8, 0.9)
    """Weak accuracies a, in (0, 1], unitless."""
    concept_shift: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Total variation distances between source and target prior, in [0, 1), unitless."""
    assumed_noise: tuple[AssumedNoise, ...] = ("task", "balanced")
    """Noise variance that the posterior assumes: the task's own, or the one that balances the contest (tilt 1/2)."""
    num_icl: tuple[int, ...] = (0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)
    """Numbers of weak examples in a prompt, each >= 0."""
    replicates: int = 1_000_000
    """Independent prompts, >= 2; the cells share them."""
    noise_var: float = 0.25
    """Label noise variance sigma^2 of source and target, > 0, in squared label units."""
    seed: int = 0
    """Seed of every random stream, >= 0."""
    block_size: int = 50_000
    """Prompts in a block of work, a multiple of 1,000. Changes no draw."""
    definitions: int = dataclasses.field(default=DEFINITIONS, metadata={"before": 1})
    """Number of the definition of the draws: 2 here, 1 in stores of version 0.1, which are read but not extended."""

    def __post_init__(self) -> None:
        settle(self)
        for name in AXES:
            check_axis(name, getattr(self, name))
        check_members("weakness", self.weakness, WEAKNESSES)
        check_members("assumed_noise", self.assumed_noise, ("task", "balanced"))
        check_each("num_concepts", self.num_concepts, lambda k: k >= 2, "at least 2", "one concept has no shift")
        check_each("weak_accuracy", self.weak_accuracy, lambda a: 0 < a <= 1, "in (0, 1]", "1 is a perfect teacher")
        check_each("concept_shift", self.concept_shift, lambda s: 0 <= s < 1, "in [0, 1)", "0 is an aligned source")
        check_each("num_icl", self.num_icl, lambda m: m >= 0, "at least 0", "0 is an empty prompt")
        check_one("noise_var", self.noise_var, 0 < self.noise_var < math.inf, "positive and finite", "try 0.25")
        check_one("replicates", self.replicates, self.replicates >= 2, "at least 2", "a standard error needs two")
        whole = self.block_size >= 1 and self.block_size % PROMPTS_AT_ONCE == 0
        check_one("block_size", self.block_size, whole, f"a multiple of {PROMPTS_AT_ONCE}", "try 50000")
        check_one("definitions", self.definitions, self.definitions in (1, DEFINITIONS), "1 or 2", "leave it out")
        check_one("seed", self.seed, 0 <= self.seed < 2**63, "in [0, 2^63)", "give a whole number")

    @property
    def num_cells(self) -> int:
        """Grid cells."""
        return math.prod(len(getattr(self, axis)) for axis in AXES)


SMOKE = PosteriorSpec(
    num_concepts=(2,),
    weakness=("rotated",),
    weak_accuracy=(0.7, 0.9),
    num_icl=(0, 1, 2, 4, 8, 16, 24),
    replicates=20_000,
    block_size=10_000,
)
QUICK = PosteriorSpec()
PAPER = PosteriorSpec(weak_accuracy=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0), replicates=10_000_000, block_size=100_000)
PRESETS = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}
