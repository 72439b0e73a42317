"""What a posterior sweep is: a grid of prompts and how many of them, checked before anything is computed."""

import dataclasses
import math
from typing import Literal

from sims.engine.checked import check_one, setting, settle
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

    num_concepts: tuple[int, ...] = setting((2, 4), "[2, inf)", "one concept has no shift")
    """Numbers K of latent concepts, each >= 2."""
    weakness: tuple[Weakness, ...] = WEAKNESSES
    """Kinds of weak teacher: rotated, shifted, noisy, confused, opposed."""
    weak_accuracy: tuple[float, ...] = setting((0.7, 0.8, 0.9), "(0, 1]", "1 is a perfect teacher")
    """Weak accuracies a, in (0, 1], unitless."""
    concept_shift: tuple[float, ...] = setting((0.1, 0.5, 0.9), "[0, 1)", "0 is an aligned source")
    """Total variation distances between source and target prior, in [0, 1), unitless."""
    assumed_noise: tuple[AssumedNoise, ...] = ("task", "balanced")
    """Noise variance that the posterior assumes: the task's own, or the one that balances the contest (tilt 1/2)."""
    num_icl: tuple[int, ...] = setting(
        (0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64), "[0, inf)", "0 is an empty prompt"
    )
    """Numbers of weak examples in a prompt, each >= 0."""
    replicates: int = setting(1_000_000, "[2, inf)", "a standard error needs two")
    """Independent prompts, >= 2; the cells share them."""
    noise_var: float = setting(0.25, "(0, inf)", "try 0.25")
    """Label noise variance sigma^2 of source and target, > 0, in squared label units."""
    seed: int = 0
    """Seed of every random stream, >= 0."""
    block_size: int = 50_000
    """Prompts in a block of work, a multiple of 1,000. Changes no draw."""
    definitions: int = setting(DEFINITIONS, "[1, 2]", "leave it out", before=1)
    """Number of the definition of the draws: 2 here, 1 in stores of version 0.1, which are read but not extended."""

    def __post_init__(self) -> None:
        settle(self)
        whole = self.block_size >= 1 and self.block_size % PROMPTS_AT_ONCE == 0
        check_one("block_size", self.block_size, whole, f"a multiple of {PROMPTS_AT_ONCE}", "try 50000")

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
