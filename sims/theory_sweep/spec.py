"""What a theory sweep is: its studies, their grids and replicates, checked before anything is computed."""

import dataclasses
import math
from typing import Literal, get_args

from sims.engine.checked import InputError, check_axis, check_each, check_members, check_one, check_prior, settle

StudyName = Literal["hull", "em_ladder", "mixture_target", "contamination", "relaxed", "misfit", "proportional"]
STUDY_NAMES: tuple[StudyName, ...] = get_args(StudyName)


@dataclasses.dataclass(frozen=True)
class TheorySpec:
    """Which parts of the theory to simulate, on which grids, and how often."""

    studies: tuple[StudyName, ...] = STUDY_NAMES
    """Parts of the theory, each with a figure of its own."""
    hull_num_concepts: tuple[int, ...] = (2, 3, 4, 8, 16, 64)
    """Numbers K of concepts of the hull study, each >= 2."""
    hull_sample_size: tuple[int, ...] = (128, 4096, 262144)
    """Sample sizes n of the hull study, each >= 2 K."""
    em_steps: tuple[int, ...] = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)
    """Numbers T of EM steps, each >= 0."""
    em_sample_size: tuple[int, ...] = (256, 2048)
    """Sample sizes n of the EM ladder, each >= 1."""
    target_prior: tuple[float, ...] = (0.45, 0.3, 0.15, 0.1)
    """Mixture target of the EM ladder: weights that sum to 1, the largest first."""
    target_weight: tuple[float, ...] = (0.6, 0.75, 0.9)
    """Weights of the first of two concepts in the mixture targets that prompts show, in [0.5, 1)."""
    contamination: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5)
    """Probabilities rho that an example of a prompt comes from another concept, in [0, 1]."""
    num_icl: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 32, 64, 128)
    """Prompt lengths of both studies of prompts, each >= 0."""
    weak_accuracy: tuple[float, ...] = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Weak accuracies of the misfit study, in (0, 1]."""
    aspect_ratio: tuple[float, ...] = (0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0)
    """Ratios d/n of the proportional limit, in [0.1, 10]; the sample size is rounded."""
    replicates: int = 2000
    """Independent replicates of every study, >= 2."""
    noise_var: float = 0.25
    """Label noise variance sigma^2 of source and target, > 0, in squared label units."""
    seed: int = 0
    """Seed of every random stream, >= 0."""
    block_size: int = 100
    """Replicates in a block of work, a multiple of 10: a kill loses at most the blocks in flight. Changes no draw."""

    def __post_init__(self) -> None:
        settle(self)
        for field in dataclasses.fields(self):
            if isinstance(getattr(self, field.name), tuple) and field.name != "target_prior":
                check_axis(field.name, getattr(self, field.name))
        check_members("studies", self.studies, STUDY_NAMES)
        check_each("hull_num_concepts", self.hull_num_concepts, lambda k: k >= 2, "at least 2", "one has no rival")
        least = 2 * max(self.hull_num_concepts)
        check_each(
            "hull_sample_size", self.hull_sample_size, lambda n: n >= least, f"at least 2 K = {least}", "give more"
        )
        check_each("em_steps", self.em_steps, lambda t: t >= 0, "at least 0", "0 is the source prior")
        check_each("em_sample_size", self.em_sample_size, lambda n: n >= 1, "at least 1", "give whole numbers")
        if not self.target_prior:
            raise InputError("target_prior must hold one weight per concept, got none; give some that sum to 1.")
        check_prior("target_prior", self.target_prior, len(self.target_prior))
        check_each("target_weight", self.target_weight, lambda q: 0.5 <= q < 1, "in [0.5, 1)", "lead with the larger")
        check_each("contamination", self.contamination, lambda r: 0 <= r <= 1, "in [0, 1]", "0 is a clean prompt")
        check_each("num_icl", self.num_icl, lambda m: m >= 0, "at least 0", "0 is an empty prompt")
        check_each("weak_accuracy", self.weak_accuracy, lambda a: 0 < a <= 1, "in (0, 1]", "1 is a perfect teacher")
        check_each("aspect_ratio", self.aspect_ratio, lambda g: 0.1 <= g <= 10, "in [0.1, 10]", "give ratios d/n")
        check_one("noise_var", self.noise_var, 0 < self.noise_var < math.inf, "positive and finite", "try 0.25")
        check_one("replicates", self.replicates, self.replicates >= 2, "at least 2", "a standard error needs two")
        whole = self.block_size >= 1 and self.block_size % 10 == 0
        check_one("block_size", self.block_size, whole, "a positive multiple of 10", "try 100")
        check_one("seed", self.seed, 0 <= self.seed < 2**63, "in [0, 2^63)", "give a whole number")


SMOKE = TheorySpec(
    hull_num_concepts=(2, 4),
    hull_sample_size=(64, 512),
    em_steps=(0, 1, 10, 100),
    em_sample_size=(256,),
    target_weight=(0.75,),
    contamination=(0.0, 0.2),
    num_icl=(0, 1, 4, 16),
    weak_accuracy=(0.4, 0.8),
    aspect_ratio=(0.25, 0.75, 1.0, 2.0),
    replicates=200,
)
QUICK = TheorySpec()
PAPER = TheorySpec(
    contamination=(0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    num_icl=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256),
    replicates=20_000,
    block_size=500,
)
PRESETS = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}
