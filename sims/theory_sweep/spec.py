"""What a theory sweep is: its studies, their grids and replicates, checked before anything is computed."""

import dataclasses
from typing import Literal, get_args

from sims.engine.checked import InputError, check_each, check_one, check_prior, setting, settle

StudyName = Literal[
    "hull",
    "em_ladder",
    "mixture_target",
    "contamination",
    "relaxed",
    "misfit",
    "proportional",
    "accuracy_plane",
    "scaling_laws",
    "self_training",
    "spurious",
]
STUDY_NAMES: tuple[StudyName, ...] = get_args(StudyName)


@dataclasses.dataclass(frozen=True)
class TheorySpec:
    """Which parts of the theory to simulate, on which grids, and how often."""

    studies: tuple[StudyName, ...] = STUDY_NAMES
    """Parts of the theory, each with a figure of its own."""
    hull_num_concepts: tuple[int, ...] = setting((2, 3, 4, 8, 16, 64), "[2, inf)", "one has no rival")
    """Numbers K of concepts of the hull study, each >= 2."""
    hull_sample_size: tuple[int, ...] = (128, 4096, 262144)
    """Sample sizes n of the hull study, each >= 2 K."""
    em_steps: tuple[int, ...] = setting((0, 1, 2, 5, 10, 20, 50, 100, 200, 500), "[0, inf)", "0 is the source prior")
    """Numbers T of EM steps, each >= 0."""
    em_sample_size: tuple[int, ...] = setting((256, 2048), "[1, inf)", "give whole numbers")
    """Sample sizes n of the EM ladder, each >= 1."""
    target_prior: tuple[float, ...] = setting((0.45, 0.3, 0.15, 0.1), axis=False)
    """Mixture target of the EM ladder: weights that sum to 1, the largest first."""
    target_weight: tuple[float, ...] = setting((0.6, 0.75, 0.9), "[0.5, 1)", "lead with the larger")
    """Weights of the first of two concepts in the mixture targets that prompts show, in [0.5, 1)."""
    contamination: tuple[float, ...] = setting((0.0, 0.05, 0.1, 0.2, 0.35, 0.5), "[0, 1]", "0 is a clean prompt")
    """Probabilities rho that an example of a prompt comes from another concept, in [0, 1]."""
    num_icl: tuple[int, ...] = setting((0, 1, 2, 4, 8, 16, 32, 64, 128), "[0, inf)", "0 is an empty prompt")
    """Prompt lengths of both studies of prompts, each >= 0."""
    weak_accuracy: tuple[float, ...] = setting(
        (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), "(0, 1]", "1 is a perfect teacher"
    )
    """Weak accuracies of the misfit study, in (0, 1]."""
    aspect_ratio: tuple[float, ...] = setting(
        (0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0), "[0.1, 10]", "give ratios d/n"
    )
    """Ratios d/n of the proportional limit, in [0.1, 10]; the sample size is rounded."""
    start_accuracy: tuple[float, ...] = setting((0.65, 0.8), "(0.5, 1)", "0.5 is chance")
    """Accuracies of students before fine-tuning in the accuracy plane, in (0.5, 1)."""
    teacher_accuracy: tuple[float, ...] = setting((0.55, 0.65, 0.75, 0.85), "(0.5, 1)", "0.5 is chance")
    """Accuracies of their teachers, in (0.5, 1)."""
    agreement_place: tuple[float, ...] = setting((0.1, 0.3, 0.5, 0.7, 0.9), "(0, 1)", "0.5 is half way")
    """Places of their agreement between the least, 0, and the greatest, 1, that the accuracies allow, in (0, 1)."""
    scaling_sample_size: tuple[int, ...] = setting(
        (16, 32, 64, 128, 256), "[8, 512]", "the spectrum has 768 directions"
    )
    """Sample sizes n of the scaling laws, each in [8, 512]."""
    replicates: int = setting(2000, "[2, inf)", "a standard error needs two")
    """Independent replicates of every study, >= 2."""
    noise_var: float = setting(0.25, "(0, inf)", "try 0.25")
    """Label noise variance sigma^2 of source and target, > 0, in squared label units."""
    seed: int = 0
    """Seed of every random stream, >= 0."""
    block_size: int = 100
    """Replicates in a block of work, a multiple of 10: a kill loses at most the blocks in flight. Changes no draw."""

    def __post_init__(self) -> None:
        settle(self)
        least = 2 * max(self.hull_num_concepts)
        check_each(
            "hull_sample_size", self.hull_sample_size, lambda n: n >= least, f"at least 2 K = {least}", "give more"
        )
        if not self.target_prior:
            raise InputError("target_prior must hold one weight per concept, got none; give some that sum to 1.")
        check_prior("target_prior", self.target_prior, len(self.target_prior))
        whole = self.block_size >= 1 and self.block_size % 10 == 0
        check_one("block_size", self.block_size, whole, "a positive multiple of 10", "try 100")


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
    start_accuracy=(0.8,),
    teacher_accuracy=(0.6, 0.75),
    agreement_place=(0.2, 0.5, 0.8),
    scaling_sample_size=(16, 32, 64),
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
