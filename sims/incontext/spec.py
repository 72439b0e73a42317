"""What an in-context sweep is: strong networks, their teachers and the grid, checked before anything is computed."""

import dataclasses
from typing import TYPE_CHECKING

from sims.engine.checked import check_each, check_one, setting, settle
from w2s_jax.names import Activation, Optimizer, Weakness

if TYPE_CHECKING:
    from w2s_jax.training import TrainingConfig
    from w2s_jax.transformer import TransformerConfig


@dataclasses.dataclass(frozen=True)
class InContextSpec:
    """Strong networks, weak teachers, and how many seeds of data, teacher and fine-tuning."""

    concept_shift: tuple[float, ...] = setting((0.5, 0.75), "[0, 1)", "0 is an aligned source")
    """Total variation distances between source and target prior, in [0, 1), unitless; each has a network of its own."""
    weakness: Weakness = "rotated"
    """Kind of weak teacher: rotated, shifted, noisy, confused, opposed."""
    weak_accuracy: tuple[float, ...] = setting((0.4, 0.6, 0.8), "(0, 1]", "1 is a perfect teacher")
    """Weak accuracies a, in (0, 1], unitless."""
    sample_size: tuple[int, ...] = setting((64, 512, 4096), "[1, inf)", "labels are needed to fine-tune")
    """Numbers n of labelled examples to fine-tune on, each >= 1; nested."""
    num_icl: tuple[int, ...] = (2, 4, 8, 16)
    """Numbers of weak examples in a prompt, each in [0, max_icl]."""
    replicates: int = setting(32, "[2, inf)", "a standard error needs two")
    """Seeds of data, teacher and fine-tuning, >= 2; seed s uses network s mod networks."""
    networks: int = setting(1, "[1, inf)")
    """Pre-training seeds per concept shift, >= 1."""
    dim: int = setting(8, network=True)
    """Feature dimension d."""
    num_concepts: int = setting(4, "[2, inf)", "one concept has no shift", network=True)
    """Number K of latent concepts, 2 <= K <= d (K + 1 <= d with a rotated or shifted teacher)."""
    noise_var: float = setting(1.0, "(0, inf)", "try 0.25", network=True)
    """Label noise variance sigma^2 of source and target, > 0, in squared label units."""
    max_icl: int = setting(16, "[1, inf)", network=True)
    """Longest context that networks are trained for, in examples, >= 1."""
    num_bins: int = setting(64, "[2, inf)", "one bin cannot distinguish labels", network=True)
    """Bins of the predictive head, >= 2."""
    bin_limit: float = setting(6.0, "(0, inf)", "try 5", network=True)
    """Bins are equal on [-bin_limit, bin_limit], in label units; the outer two take what is beyond."""
    layers: int = setting(3, "[1, inf)", network=True)
    """Transformer blocks, >= 1."""
    width: int = setting(64, network=True)
    """Width of the residual stream, a multiple of 2 heads."""
    heads: int = setting(4, "[1, inf)", network=True)
    """Attention heads, >= 1."""
    activation: Activation = setting("swiglu", network=True)
    """Activation of the blocks' MLPs: swiglu or gelu."""
    pretrain_steps: int = setting(6000, "[1, inf)", network=True)
    """Optimizer steps of pre-training, >= 1."""
    pretrain_batch: int = setting(128, "[1, inf)", network=True)
    """Sequences in one of them, >= 1."""
    pretrain_rate: float = setting(3e-3, "(0, inf)", "try 1e-3", network=True)
    """Peak learning rate of pre-training, > 0."""
    pretrain_optimizer: Optimizer = setting("muon", network=True)
    """Optimizer for pre-training: muon or adamw."""
    finetune_steps: int = 160
    """Optimizer steps of fine-tuning, a multiple of finetune_looks."""
    finetune_looks: int = setting(16, "[1, inf)")
    """How often the risk is measured on the way, >= 1: the best stopping time is read off."""
    finetune_batch: int = setting(64, "[1, inf)")
    """Examples in a fine-tuning step, >= 1, drawn with replacement."""
    finetune_rate: float = setting(1e-3, "(0, inf)", "try 1e-3")
    """Learning rate of fine-tuning, > 0, constant after a short warm-up."""
    sequences: int = setting(256, "[2, inf)", "a standard error needs two")
    """Sequences of a seed on which distances to exact Bayes are measured, per distribution, >= 2."""
    prompts: int = setting(32, "[2, inf)", "a standard error needs two")
    """Weak prompts of a seed along which concept weights are traced, per teacher, >= 2."""
    queries: int = setting(512, "[2, inf)", "a standard error needs two")
    """Features at which a risk is measured, >= 2."""
    prompt_accuracy: float = setting(0.6, "(0, 1]", "1 is a perfect teacher")
    """Weak accuracy of the rotated, shifted and noisy prompts that networks have not been trained on, in (0, 1]."""
    seed: int = setting(0, network=True)
    """Seed of every random stream, >= 0."""

    def __post_init__(self) -> None:
        settle(self)
        check_each(
            "num_icl",
            self.num_icl,
            lambda m: 0 <= m <= self.max_icl,
            f"in [0, max_icl = {self.max_icl}]",
            "a network reads no longer context than it was trained for: shorten the prompt or raise max_icl",
        )
        # The distance to Bayes is measured under three kinds of teacher, of which two leave the concepts' span.
        fits = self.num_concepts + 1 <= self.dim
        check_one("dim", self.dim, fits, f"at least num_concepts + 1 = {self.num_concepts + 1}", "raise it")
        whole = self.finetune_steps >= 1 and self.finetune_steps % self.finetune_looks == 0
        remedy = "change either"
        check_one("finetune_steps", self.finetune_steps, whole, f"a multiple of {self.finetune_looks} looks", remedy)
        turns = self.width >= 1 and self.width % (2 * self.heads) == 0
        check_one("width", self.width, turns, f"a multiple of 2 heads = {2 * self.heads}", "change either")

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
    def pretraining(self) -> "TrainingConfig":
        """How the strong network is trained."""
        from w2s_jax.training import TrainingConfig

        return TrainingConfig(self.pretrain_steps, self.pretrain_rate, optimizer=self.pretrain_optimizer)

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
