"""What an alignment sweep is: a world, its models, the weak teachers and the methods, checked before any compute."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Literal

from sims.engine.checked import (
    InputError,
    check_each,
    check_members,
    check_one,
    is_checked,
    setting,
    settle,
    unchecked,
)
from w2s_jax.names import ARENA_METHODS, SIGN_ONLY, WORLDS

if TYPE_CHECKING:
    from w2s_jax.alignment.world import World
    from w2s_jax.training import TrainingConfig
    from w2s_jax.transformer import TransformerConfig

METHODS = (
    *("source", "ceiling", "control", "self_label", "naive_ft", "icl_refine", "intent_refine", "self_refine"),
    *("aux_confidence", "bootstrapping", "ensemble", "selective", "contrastive", "anchored_contrastive", "reverse_kl"),
    "prompt_only",
)
USES_CAPABILITY = METHODS[4:]
BUDGETS = ("examples", "compute")
"""The resource that a method shares with naive fine-tuning: examples to train on; or examples that strong models read,
so that costly methods take fewer steps."""
STEPS = {"persona": (300, 800), "explanation": (500, 900), "math": (600, 1100), "bias": (300, 500)}
"""Steps of pre-training that a network of the quick preset needs to master each world."""
USES_NUM_ICL = ("icl_refine", "intent_refine", "prompt_only")
DEFINITIONS = 2
"""Version of the definitions of the methods; stores record theirs."""


@dataclasses.dataclass(frozen=True)
class AlignmentSpec:
    """A world, the models in it, and how many seeds of teacher, network and fine-tuning."""

    task: str = setting("persona", choices=WORLDS, network=True)
    """World: persona, explanation, math or bias."""
    methods: tuple[str, ...] = METHODS
    """Methods to run, of source, ceiling, control, self_label, naive_ft, icl_refine, intent_refine, self_refine,
    aux_confidence, bootstrapping, ensemble, selective, contrastive, anchored_contrastive, reverse_kl, prompt_only."""
    capability: tuple[float, ...] = setting((0.2, 0.4, 0.6, 0.8), "[0, 1]", "1 knows the whole world")
    """Shares of the world that the weak teachers know, in [0, 1], unitless."""
    num_icl: tuple[int, ...] = setting((1, 2, 5), "[1, inf)", "prompt_only of none is source")
    """Numbers of weak examples in a prompt, each >= 1."""
    replicates: int = setting(6, "[2, inf)", "a standard error needs two")
    """Seeds, >= 2; each has a strong network, teachers and fine-tuning of its own."""
    concept_shift: float = setting(0.85, "(0, 1)", network=True)
    """Total variation distance between the strong model's prior over concepts and the target, in (0, 1)."""
    size: int | None = setting(None, network=True)
    """Facts, problems or people of the world; None: the world's own default."""
    style_noise: float | None = setting(None, network=True)
    """How often a way of answering slips; None: the world's own default."""
    train_questions: int = 96
    """Questions that the weak teacher labels and models are fine-tuned on; a multiple of max num_icl + 1."""
    held_out_questions: int = setting(48, "[2, inf)", "a standard error needs two")
    """Other questions on which they are judged, >= 2."""
    skill_questions: int = setting(16, "[2, inf)", "a standard error needs two")
    """Questions of the unrelated skill on which they are judged, in [2, 90]."""
    layers: int = setting(2, "[1, inf)", network=True)
    """Transformer blocks of all models, >= 1."""
    width: int = 64
    """Width of the strong model's residual stream, a multiple of 2 heads."""
    middle_width: int = 48
    """Width of the model between the two, which `bootstrapping` passes through."""
    weak_width: int = 32
    """Width of the weak models."""
    heads: int = setting(4, "[1, inf)", network=True)
    """Attention heads, >= 1."""
    single_steps: int | None = setting(None, "[1, inf)", "give a whole number, or leave it out")
    """Steps of pre-training on single examples, >= 1; None: as many as the world needs."""
    single_batch: int = setting(128, "[1, inf)", network=True)
    """Examples in one of them, >= 1."""
    single_rate: float = setting(3e-3, "(0, inf)", "try 1e-3", network=True)
    """Their peak learning rate, > 0."""
    document_steps: int | None = setting(None, "[1, inf)", "give a whole number, or leave it out")
    """Steps of pre-training on documents of max num_icl + 1 examples, >= 1; None: as many as the world needs."""
    document_batch: int = setting(32, "[1, inf)", network=True)
    """Documents in one of them, >= 1."""
    document_rate: float = setting(3e-3, "(0, inf)", "try 1e-3", network=True)
    """Their peak learning rate, > 0."""
    tag_share: float = setting(0.25, "(0, 1)", network=True)
    """How often a tag stands in the place of the question mark, in (0, 1)."""
    skill_share: float = setting(0.1, "(0, 1)", network=True)
    """Share of the documents that are of the unrelated skill, in (0, 1)."""
    weak_steps: int = setting(400, "[1, inf)")
    """Steps of training of a weak model, >= 1."""
    weak_batch: int = setting(64, "[1, inf)")
    """Examples in one of them, >= 1."""
    weak_rate: float = setting(3e-3, "(0, inf)", "try 1e-3")
    """Their peak learning rate, > 0."""
    finetune_steps: int = setting(150, "[1, inf)")
    """Steps of fine-tuning, >= 1."""
    finetune_batch: int = setting(32, "[1, inf)")
    """Examples in one of them, >= 1, drawn with replacement."""
    finetune_rate: float = setting(1.5e-4, "(0, inf)", "try 1e-3")
    """Their learning rate, > 0, constant after a short warm-up."""
    confidence: float = setting(0.5, "[0, 1]")
    """Weight of the student's own answers in the loss of `aux_confidence`, in [0, 1], after its warm-up."""
    confidence_labels: Literal["drawn", "soft"] = setting("drawn", later=True)
    """Labels that `aux_confidence` learns with its own answers: drawn, the weak labels as all methods see them; soft,
    the teacher's probabilities of each token along them."""
    colleagues: int = setting(2, "[1, inf)")
    """Further weak teachers of the same capability, with errors of their own, which `ensemble` also uses, >= 1."""
    known_share: float = setting(0.5, "[0, 1]")
    """Share of the questions, those of which the strong model is surest, that it answers itself in `selective`, in
    [0, 1]."""
    contrast: float = setting(0.4, "[0, 1]")
    """alpha of `contrastive`, in [0, 1]: log P_aligned - (1 - alpha) log P_unaligned of the weak model."""
    anchored_contrast: float = setting(1.0, "[0, inf)", "try 1")
    """How much of what alignment changed in the weak model `anchored_contrastive` adds to the strong one, >= 0."""
    relative_top: float = setting(0.1, "[0, 1]")
    """Both leave out tokens less likely than this share of the likeliest one, in [0, 1]: by the aligned weak model in
    `contrastive`, by the strong one in `anchored_contrastive`."""
    min_content: float = setting(0.98, "[0, 1]")
    """Content that a strong model must reach in every format and every slot of the prompt, in [0, 1]."""
    min_naming: float = setting(0.95, "[0, 1]")
    """How often it must name the concept after the longest prompt, in [0, 1]."""
    seed: int = setting(0, network=True)
    """Seed of every random stream, >= 0."""
    definitions: int = setting(DEFINITIONS, "[1, 2]", "leave it out", before=1)
    """Version of the methods; only 2 can be run. In stores of version 0.1 it is 1: `contrastive` was what is now
    `anchored_contrastive`, `ensemble` a geometric mean, and `aux_confidence` warmed up over a fifth of the steps."""

    block_size = 1
    """A seed is a block of work."""

    def __post_init__(self) -> None:
        settle(self)
        if is_checked():
            self.check()

    def check(self) -> None:
        """Refuse what cannot be run.

        Raises:
            InputError: for the first field that is out of its range.
        """
        kinds = {name: "sign labels" if name in SIGN_ONLY else "linear, sign labels" for name in ARENA_METHODS}
        arena = {name: f"python -m sims.methods ({labels})" for name, labels in kinds.items()}
        check_members("methods", self.methods, METHODS, arena)
        for name in ("width", "middle_width", "weak_width"):
            fits = getattr(self, name) >= 1 and getattr(self, name) % (2 * self.heads) == 0
            check_one(name, getattr(self, name), fits, f"a multiple of 2 heads = {2 * self.heads}", "change either")
        whole = self.train_questions >= 1 and self.train_questions % self.slots == 0
        check_one("train_questions", self.train_questions, whole, f"a multiple of {self.slots} examples", "change it")
        try:
            world = self.world
        except ValueError as error:
            raise InputError(str(error)) from error
        own, skill = len(world.questions), len(world.skill_questions)
        for name, most, way in (
            ("train_questions", own - 2, "ask fewer, or raise size"),
            ("held_out_questions", own - self.train_questions, "ask fewer, or raise size"),
            ("skill_questions", skill, "ask fewer"),
        ):
            check_one(name, getattr(self, name), getattr(self, name) <= most, f"at most {most} in this world", way)
        # A document asks no question twice, of the skill either.
        check_each("num_icl", self.num_icl, lambda m: m < skill, f"at most {skill - 1}", "give shorter prompts")
        for method in self.fitted:
            left = self.compute_steps(method)
            text = f"at least 1 at equal compute, where {method} pays for its answers too"
            check_one("finetune_steps", left, left >= 1, text, "raise it, or leave the method out")

    @property
    def world(self) -> "World":
        """The world, the same for all seeds."""
        return _world(self.task, self.size, self.style_noise)

    @property
    def pretrain_steps(self) -> tuple[int, int]:
        """Steps of pre-training on single examples and on documents."""
        single, documents = STEPS[self.task]
        return (
            single if self.single_steps is None else self.single_steps,
            documents if self.document_steps is None else self.document_steps,
        )

    @property
    def slots(self) -> int:
        """Examples in a document, and in a batch of leave-one-out refinement: the longest prompt and one more."""
        return max(self.num_icl) + 1

    @property
    def prompt_lengths(self) -> tuple[int, ...]:
        """Prompt lengths in order."""
        return tuple(sorted(self.num_icl))

    @property
    def fitted(self) -> tuple[str, ...]:
        """Methods that fine-tune."""
        return tuple(method for method in self.methods if self._students(method))

    def budgets(self, method: str) -> tuple[str, ...]:
        """Budgets under which a method is run: one where it costs no more than naive fine-tuning."""
        return BUDGETS if self.compute_steps(method) < self.finetune_steps else BUDGETS[:1]

    def steps(self, method: str, budget: str) -> int:
        """Steps of each of its fine-tunings."""
        return self.finetune_steps if budget == "examples" else self.compute_steps(method)

    @property
    def num_fits(self) -> int:
        """Fine-tunings of one seed."""
        teachers, prompts = len(self.capability), len(self.num_icl)
        counts = dict.fromkeys(METHODS, teachers) | dict.fromkeys(("ceiling", "control", "self_label"), 1)
        counts |= {"icl_refine": teachers * prompts, "intent_refine": self.world.num_concepts}
        return sum(counts[method] * self._students(method) * len(self.budgets(method)) for method in self.fitted)

    def reads(self, method: str) -> int:
        """Examples that the strong model, and one between, read for a method.

        1 for an answer, m more where that follows the longest prompt, and 3 for an example of a training step (forward
        and back). What weak models read is not counted.
        """
        return self._answers(method) + self._students(method) * self._step_reads * self.finetune_steps

    def compute_steps(self, method: str) -> int:
        """Steps of each of its fine-tunings at the compute of naive fine-tuning."""
        left = self.reads("naive_ft") - self._answers(method)
        return left // (self._students(method) * self._step_reads)

    @property
    def _step_reads(self) -> int:
        return 3 * self.finetune_batch

    def _students(self, method: str) -> int:
        """Models that are fine-tuned for one set of its labels."""
        return 0 if method in ("source", "prompt_only") else 2 if method == "bootstrapping" else 1

    def _answers(self, method: str) -> int:
        """Examples that are read for its labels."""
        asked, longest = self.train_questions, max(self.num_icl)
        answers = dict.fromkeys(("self_label", "selective", "anchored_contrastive", "bootstrapping"), asked)
        answers |= {"icl_refine": (1 + longest) * asked, "intent_refine": longest + asked, "self_refine": 2 * asked}
        return answers.get(method, 0)

    def network(self, width: int) -> "TransformerConfig":
        """Sizes of a model."""
        from w2s_jax.transformer import TransformerConfig

        return TransformerConfig(
            num_layers=self.layers,
            width=width,
            num_heads=self.heads,
            max_length=self.slots * self.world.example_length,
        )

    @property
    def weak_training(self) -> "TrainingConfig":
        """How a weak model is trained."""
        from w2s_jax.training import TrainingConfig

        return TrainingConfig(num_steps=self.weak_steps, learning_rate=self.weak_rate)

    @property
    def finetuning(self) -> "TrainingConfig":
        """How models are fine-tuned."""
        from w2s_jax.training import TrainingConfig

        return TrainingConfig(
            num_steps=self.finetune_steps, learning_rate=self.finetune_rate, final_fraction=1.0, weight_decay=0.0
        )


@functools.lru_cache(maxsize=8)
def _world(task: str, size: int | None, style_noise: float | None) -> "World":
    from w2s_jax.alignment.worlds import make_world

    return make_world(task, size=size, style_noise=style_noise)


with unchecked():  # a test checks them
    SMOKE = AlignmentSpec(
        methods=tuple(method for method in METHODS if method != "bootstrapping"),
        capability=(0.3, 0.7),
        num_icl=(1, 3),
        replicates=2,
        train_questions=16,
        held_out_questions=8,
        skill_questions=4,
        layers=1,
        width=32,
        weak_width=16,
        heads=2,
        single_steps=200,
        single_batch=64,
        document_steps=200,
        document_batch=16,
        weak_steps=100,
        weak_batch=64,
        finetune_steps=40,
        min_content=0.0,
        min_naming=0.0,
    )
    QUICK = AlignmentSpec()
    PAPER = AlignmentSpec(
        capability=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        num_icl=(1, 2, 3, 5, 11),
        replicates=20,
        layers=4,
        width=128,
        middle_width=64,
        document_steps=10_000,
    )
PRESETS = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}
