"""What an in-context sweep is: strong networks, their teachers and the grid, checked before anything is computed."""

import dataclasses
import hashlib
import math
from typing import TYPE_CHECKING

from sims.engine.checked import check_axis, check_each, check_members, check_one, settle, to_json
from w2s_jax.names import ACTIVATIONS, OPTIMIZERS, WEAKNESSES, Activation, Optimizer, Weakness

if TYPE_CHECKING:
    from w2s_jax.training import TrainingConfig
    from w2s_jax.transformer import TransformerConfig


@dataclasses.dataclass(frozen=True)
class InContextSpec:
    """Strong networks, weak teachers, and how many seeds of data, teacher and fine-tuning."""

    concept_shift: tuple[float, ...] = (0.5, 0.75)
    """Total variation distances between source and target prior, in [0, 1), unitless; each has a network of its own."""
    weakness: Weakness = "rotated"
    """Kind of weak teacher: rotated, shifted, noisy, confused, opposed."""
    weak_accuracy: tuple[float, ...] = (0.4, 0.6, 0.8)
    """Weak accuracies a, in (0, 1], unitless."""
    sample_size: tuple[int, ...] = (64, 512, 4096)
    """Numbers n of labelled examples to fine-tune on, each >= 1; nested."""
    num_icl: tuple[int, ...] = (2, 4, 8, 16)
    """Numbers of weak examples in a prompt, each in [0, max_icl]."""
    replicates: int = 32
    """Seeds of data, teacher and fine-tuning, >= 2; seed s uses network s mod networks."""
    networks: int = 1
    """Pre-training seeds per concept shift, >= 1."""
    dim: int = 8
    """Feature dimension d."""
    num_concepts: int = 4
    """Number K of latent concepts, 2 <= K <= d (K + 1 <= d with a rotated or shifted teacher)."""
    noise_var: float = 1.0
    """Label noise variance sigma^2 of source and target, > 0, in squared label units."""
    max_icl: int = 16
    """Longest context that networks are trained for, in examples, >= 1."""
    num_bins: int = 64
    """Bins of the predictive head, >= 2."""
    bin_limit: float = 6.0
    """Bins are equal on [-bin_limit, bin_limit], in label units; the outer two take what is beyond."""
    layers: int = 3
    """Transformer blocks, >= 1."""
    width: int = 64
    """Width of the residual stream, a multiple of 2 heads."""
    heads: int = 4
    """Attention heads, >= 1."""
    activation: Activation = "swiglu"
    """Activation of the blocks' MLPs: swiglu or gelu."""
    pretrain_steps: int = 6000
    """Optimizer steps of pre-training, >= 1."""
    pretrain_batch: int = 128
    """Sequences in one of them, >= 1."""
    pretrain_rate: float = 3e-3
    """Peak learning rate of pre-training, > 0."""
    pretrain_optimizer: Optimizer = "muon"
    """Optimizer for pre-training: muon or adamw."""
    finetune_steps: int = 160
    """Optimizer steps of fine-tuning, a multiple of finetune_looks."""
    finetune_looks: int = 16
    """How often the risk is measured on the way, >= 1: the best stopping time is read off."""
    finetune_batch: int = 64
    """Examples in a fine-tuning step, >= 1, drawn with replacement."""
    finetune_rate: float = 1e-3
    """Learning rate of fine-tuning, > 0, constant after a short warm-up."""
    sequences: int = 256
    """Sequences of a seed on which distances to exact Bayes are measured, per distribution, >= 2."""
    prompts: int = 32
    """Weak prompts of a seed along which concept weights are traced, per teacher, >= 2."""
    queries: int = 512
    """Features at which a risk is measured, >= 2."""
    prompt_accuracy: float = 0.6
    """Weak accuracy of the rotated, shifted and noisy prompts that networks have not been trained on, in (0, 1]."""
    seed: int = 0
    """Seed of every random stream, >= 0."""

    def __post_init__(self) -> None:
        settle(self)
        for name in ("concept_shift", "weak_accuracy", "sample_size", "num_icl"):
            check_axis(name, getattr(self, name))
        check_members("weakness", (self.weakness,), WEAKNESSES)
        check_each("concept_shift", self.concept_shift, lambda s: 0 <= s < 1, "in [0, 1)", "0 is an aligned source")
        accuracies = (*self.weak_accuracy, self.prompt_accuracy)
        check_each("weak_accuracy", accuracies, lambda a: 0 < a <= 1, "in (0, 1]", "1 is a perfect teacher")
        check_each("sample_size", self.sample_size, lambda n: n >= 1, "at least 1", "labels are needed to fine-tune")
        counts = ("networks", "max_icl", "layers", "heads", "pretrain_steps", "pretrain_batch")
        for name in (*counts, "finetune_looks", "finetune_batch"):
            check_one(name, getattr(self, name), getattr(self, name) >= 1, "at least 1", "give a whole number")
        for name in ("sequences", "prompts", "queries", "replicates"):
            check_one(name, getattr(self, name), getattr(self, name) >= 2, "at least 2", "a standard error needs two")
        check_each(
            "num_icl",
            self.num_icl,
            lambda m: 0 <= m <= self.max_icl,
            f"in [0, max_icl = {self.max_icl}]",
            "a network reads no longer context than it was trained for: shorten the prompt or raise max_icl",
        )
        check_one("num_concepts", self.num_concepts, self.num_concepts >= 2, "at least 2", "one concept has no shift")
        # The distance to Bayes is measured under three kinds of teacher, of which two leave the concepts' span.
        fits = self.num_concepts + 1 <= self.dim
        check_one("dim", self.dim, fits, f"at least num_concepts + 1 = {self.num_concepts + 1}", "raise it")
        check_one("noise_var", self.noise_var, 0 < self.noise_var < math.inf, "positive and finite", "try 0.25")
        check_one("num_bins", self.num_bins, self.num_bins >= 2, "at least 2", "one bin cannot distinguish labels")
        check_one("bin_limit", self.bin_limit, 0 < self.bin_limit < math.inf, "positive and finite", "try 5")
        whole = self.finetune_steps >= 1 and self.finetune_steps % self.finetune_looks == 0
        remedy = "change either"
        check_one("finetune_steps", self.finetune_steps, whole, f"a multiple of {self.finetune_looks} looks", remedy)
        for name in ("pretrain_rate", "finetune_rate"):
            check_one(name, getattr(self, name), 0 < getattr(self, name) < math.inf, "positive and finite", "try 1e-3")
        check_members("activation", (self.activation,), ACTIVATIONS)
        check_members("pretrain_optimizer", (self.pretrain_optimizer,), OPTIMIZERS)
        turns = self.width >= 1 and self.width % (2 * self.heads) == 0
        check_one("width", self.width, turns, f"a multiple of 2 heads = {2 * self.heads}", "change either")
        check_one("seed", self.seed, 0 <= self.seed < 2**63, "in [0, 2^63)", "give a whole number")

    block_size = 1
    """A seed is a block of work."""

    @property
    def network(self) -> "TransformerConfig":
        """Sizes of the strong network."""
        from w2s_jax.transformer import TransformerConfig

        return TransformerConfig(
            num_layers=self.layers,
            width=self.width,
            num_heads=self.heads,
            activation=self.activation,
            max_length=self.max_icl + 1,
        )

    @property
    def finetuning(self) -> "TrainingConfig":
        """How it is fine-tuned."""
        from w2s_jax.training import TrainingConfig

        return TrainingConfig(
            num_steps=self.finetune_steps,
            learning_rate=self.finetune_rate,
            final_fraction=1.0,
            weight_decay=0.0,
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """Fine-tuning steps after which risks are measured; 0 is the untouched network."""
        every = self.finetune_steps // self.finetune_looks
        return tuple(every * look for look in range(self.finetune_looks + 1))

    @property
    def trace_lengths(self) -> tuple[int, ...]:
        """Prompt lengths at which concept weights are traced."""
        return tuple(sorted({0, *self.num_icl}))

    @property
    def num_fits(self) -> int:
        """Fine-tunings of one seed under one concept shift."""
        teachers, sizes, prompts = len(self.weak_accuracy), len(self.sample_size), len(self.num_icl)
        return sizes * (teachers * (1 + 2 * prompts) + self.num_concepts + 1)


@dataclasses.dataclass(frozen=True)
class PretrainSpec:
    """All that decides a pre-trained network, and nothing else: networks are shared by sweeps that agree on it."""

    concept_shift: float
    dim: int
    num_concepts: int
    noise_var: float
    max_icl: int
    num_bins: int
    bin_limit: float
    layers: int
    width: int
    heads: int
    activation: Activation
    pretrain_steps: int
    pretrain_batch: int
    pretrain_rate: float
    pretrain_optimizer: Optimizer
    seed: int

    @classmethod
    def of(cls, spec: InContextSpec, concept_shift: float) -> "PretrainSpec":
        """Specification of one concept shift of a sweep."""
        names = [field.name for field in dataclasses.fields(cls) if field.name != "concept_shift"]
        return cls(concept_shift, **{name: getattr(spec, name) for name in names})

    @property
    def folder(self) -> str:
        """Name of the folder of such networks."""
        return f"shift-{self.concept_shift:g}-{hashlib.sha256(to_json(self).encode()).hexdigest()[:12]}"

    @property
    def training(self) -> "TrainingConfig":
        """How it is trained."""
        from w2s_jax.training import TrainingConfig

        return TrainingConfig(self.pretrain_steps, self.pretrain_rate, optimizer=self.pretrain_optimizer)


SMOKE = InContextSpec(
    concept_shift=(0.75,),
    weak_accuracy=(0.6, 0.8),
    sample_size=(64, 256),
    num_icl=(1, 4),
    replicates=2,
    max_icl=4,
    num_bins=32,
    layers=2,
    width=32,
    heads=2,
    pretrain_steps=400,
    pretrain_batch=64,
    finetune_steps=60,
    finetune_looks=6,
    sequences=64,
    prompts=8,
    queries=256,
)
QUICK = InContextSpec()
PAPER = InContextSpec(
    concept_shift=(0.25, 0.5, 0.75, 0.9),
    weak_accuracy=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    sample_size=(64, 256, 1024, 4096, 16384),
    replicates=20,
    networks=5,
    layers=6,
    width=128,
    pretrain_steps=50_000,
    pretrain_batch=256,
    pretrain_rate=1e-3,
    finetune_steps=640,
)
PRESETS = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}
