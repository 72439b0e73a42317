"""Specification of a risk sweep: typed, checked in full before anything is computed."""

import dataclasses
import math
from typing import Literal

from sims.engine.checked import InputError, check_one, check_prior, setting, settle
from sims.risk_sweep.methods import METHODS, READS_ROWS, SAMPLES_CONCEPTS, UNLESS_ASKED, Method
from w2s_jax.names import NEEDS_EXTRA_DIM, WEAKNESSES, FeatureLaw, LabelDraw, Weakness


@dataclasses.dataclass(frozen=True)
class SweepSpec:
    """A grid of weak-to-strong tasks, the methods compared on it and the number of replicates."""

    weakness: tuple[Weakness, ...] = WEAKNESSES
    """Kinds of weak teacher: rotated, shifted, noisy, confused, opposed."""
    weak_accuracy: tuple[float, ...] = setting((0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), "(0, 1]", "1 is a perfect teacher")
    """Weak accuracies a, in (0, 1], unitless: correlation with the target (ratio of noise levels for noisy)."""
    sample_size: tuple[int, ...] = setting((16, 64, 256, 1024), "[1, inf)", "give whole numbers of examples")
    """Numbers n of weak-labelled examples to fine-tune on, each >= 1."""
    concept_shift: tuple[float, ...] = setting((0.1, 0.25, 0.5, 0.75, 0.9), "[0, 1)", "0 is an aligned source")
    """Total variation distances between source and target prior, in [0, 1), unitless."""
    num_icl: tuple[int, ...] = setting((0, 1, 2, 4, 8, 16), "[0, inf)", "0 is an empty prompt")
    """Numbers of weak examples in a prompt, each >= 0."""
    methods: tuple[Method, ...] = tuple(method for method in METHODS if method not in UNLESS_ASKED)
    """Methods to compare, on the same draws; all but mixed_ft by default."""
    replicates: int = setting(2000, "[2, inf)", "a standard error needs two")
    """Independent replicates of the whole grid, >= 2."""
    dim: int = 32
    """Feature dimension d."""
    num_concepts: int = setting(4, "[2, inf)", "one concept has no shift")
    """Number K of latent concepts, 2 <= K <= d (K + 1 <= d with a rotated or shifted teacher)."""
    noise_var: float = setting(0.25, "(0, inf)", "try 0.25")
    """Label noise variance sigma^2 of source and target, > 0, in squared label units."""
    penalties: tuple[float, ...] = setting(
        (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), "[0, inf)", "0 is least squares"
    )
    """Penalty path of naive_ft, each >= 0, in units of feature variance (the loss is divided by n)."""
    times: tuple[float, ...] = setting((0.03, 0.1, 0.3, 1.0, 3.0, 10.0), "[0, inf)", "0 is the source")
    """Stopping times of gradient_flow, each >= 0, in units of 1 / feature variance."""
    em_steps: int = setting(10, "[0, inf)", "0 is the source prior")
    """EM steps of em_prior, >= 0: 0 is the source prior, 1 one-example refinement, many the likeliest prior."""
    refined_labels: LabelDraw = "sample"
    """How the strong model labels under its concept posterior: sample a concept and noise, its mean, or map (the
    likeliest concept, and noise). intent_refine is always the map of a shared prompt."""
    draws: Literal["data", "moments", "auto"] = "auto"
    """data: draw every example; moments: draw the moments of the examples, with the same distribution, for
    gaussian features, labels of one concept, and methods that do not read the sample row by row; auto: moments where
    they are exact, else data."""
    task_law: Literal["fixed", "random"] = "fixed"
    """fixed: axis-aligned concepts and an even source prior; random: a new frame and Dirichlet prior per replicate."""
    features: FeatureLaw = "gaussian"
    """Distribution of the features: gaussian, variance 1, or uniform on [-1, 1], variance 1/3 (task_law fixed only)."""
    spectrum: float = setting(0.0, "[0, inf)", "0 is isotropic")
    """Feature variances fall as coordinate^-spectrum, mean 1; >= 0, 0 is isotropic (else task_law fixed only)."""
    coherence: float = 0.0
    """Inner product of any two concepts, in (-1/(K - 1), 1); 0 is orthonormal."""
    target_prior: tuple[float, ...] = setting((), axis=False)
    """Weights q of the concepts in the target, K numbers that sum to 1, the first the largest; empty: the first alone.
    The concept shift is then moved from the first concept to the others."""
    weak_prior_error: float = setting(0.0, "[0, 1]", "0 is the paper's teacher")
    """Probability that the teacher shows a wrong concept, in [0, 1]; drawn once per prompt, per example of a sample."""
    contamination: float = setting(0.0, "[0, 1]", "0 is the paper's teacher")
    """Probability rho, in [0, 1], that a weak example comes from another concept than the one shown, independently."""
    assumed_noise_factor: float = setting(1.0, "(0, inf)", "1 is Bayes' rule")
    """Noise variance that the concept posterior assumes, over noise_var; > 0."""
    temperature: float = setting(1.0, "(0, inf)", "1 is Bayes' rule")
    """Temperature of the concept posterior, > 0; it divides the log likelihood."""
    prompt_rounds: int = setting(0, later=True)
    """Rounds of K prompts over which a replicate averages what shared prompts do: the risks of icl_refine_shared and
    intent_refine, and the misalignments of refinement with fresh prompts (docs/theory.md 2); >= 2, or 0 for the
    one prompt that the replicate itself refines with. Win rates and sign accuracies are always those of that one."""
    true_label_share: tuple[float, ...] = setting(
        (0.0, 0.01, 0.03, 0.1, 0.3, 1.0), "[0, 1]", "0.1 is a good value", later=True
    )
    """Shares of the labels that are true in mixed_ft, which is least squares on weak labels among them, in [0, 1]."""
    seed: int = 0
    """Seed of every random stream, >= 0."""
    block_size: int = setting(250, "[1, inf)", "250 is a good size")
    """Replicates in a block of work: a kill loses at most the blocks in flight. Changes no draw."""

    def __post_init__(self) -> None:
        settle(self)
        rounds = self.prompt_rounds
        check_one("prompt_rounds", rounds, rounds == 0 or rounds >= 2, "0 or at least 2", "64 is a good number")
        self._check_relaxations()
        if self.draws == "moments" and self.reads_rows is not None:
            raise InputError(
                f"draws must be data or auto where the examples themselves are needed, got moments with "
                f"{self.reads_rows}; choose auto, or leave that out."
            )
        outside = [w for w in self.weakness if w in NEEDS_EXTRA_DIM]
        needed = self.num_concepts + bool(outside)
        why = f"num_concepts + 1 = {needed} (the {outside[0]} teacher leaves their span)" if outside else str(needed)
        check_one("dim", self.dim, self.dim >= needed, f"at least {why}", "raise dim or lower num_concepts")

    def _check_relaxations(self) -> None:
        least = -1 / (self.num_concepts - 1)
        smallest = min(1 - self.coherence, 1 + (self.num_concepts - 1) * self.coherence)
        gram = f"the Gram matrix of {self.num_concepts} concepts is positive definite"
        inside = f"in ({least:.4g}, 1), well inside, where {gram}"
        check_one("coherence", self.coherence, smallest > LEAST_EIGENVALUE, inside, "0 makes them orthonormal")
        check_prior("target_prior", self.target_prior, self.num_concepts)
        if self.target_prior:
            moved, left = max(self.concept_shift), self.target_prior[0]
            check_one("concept_shift", moved, moved <= left, f"at most the first target weight, {left}", "lower it")
        special = self.features != "gaussian" or self.spectrum > 0
        isotropic = self.task_law == "fixed" or not special
        check_one("task_law", self.task_law, isotropic, "fixed with uniform or uneven features", "choose fixed")

    @property
    def mixes_target(self) -> bool:
        """Whether target labels come from several concepts."""
        return bool(self.target_prior)

    @property
    def mixes_weak(self) -> bool:
        """Whether weak labels come from several concepts."""
        return self.mixes_target or self.weak_prior_error > 0 or self.contamination > 0

    @property
    def reads_rows(self) -> str | None:
        """What needs the examples themselves, in words; None where their moments will do."""
        if self.features != "gaussian":
            return f"{self.features} features"
        if self.mixes_weak:
            return "weak labels of several concepts"
        return next((method for method in self.methods if method in READS_ROWS), None)

    @property
    def direct(self) -> bool:
        """Whether moments are drawn without the examples."""
        return self.draws != "data" and self.reads_rows is None

    @property
    def samples_concepts(self) -> bool:
        """Whether refined labels of one sample come from several concepts, so that their moments need a table."""
        one_mean = ("icl_refine_shared",) if self.refined_labels != "sample" else ()
        return any(method in SAMPLES_CONCEPTS and method not in one_mean for method in self.methods)

    @property
    def num_cells(self) -> int:
        """Grid cells: combinations of weakness, weak accuracy, sample size, concept shift and num_icl."""
        return math.prod(len(getattr(self, axis)) for axis in GRID_AXES)


GRID_AXES = ("weakness", "weak_accuracy", "sample_size", "concept_shift", "num_icl")
"""The dims of a store, in order."""

LEAST_EIGENVALUE = 1e-5
"""Least eigenvalue of the concepts' Gram matrix: below it, single precision cannot establish positive definiteness."""


SMOKE = SweepSpec(
    weakness=("rotated", "confused"),
    weak_accuracy=(0.5, 0.7, 0.9),
    sample_size=(16, 64, 256),
    concept_shift=(0.25, 0.75),
    num_icl=(0, 2, 8),
    prompt_rounds=16,
    replicates=200,
    block_size=50,
)
QUICK = SweepSpec(prompt_rounds=64)
PAPER = SweepSpec(
    weak_accuracy=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    concept_shift=(0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95),
    num_icl=(0, 1, 2, 4, 8, 16, 32),
    prompt_rounds=64,
    replicates=20_000,
    block_size=500,
)
PRESETS = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}
