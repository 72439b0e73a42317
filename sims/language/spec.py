"""What a language sweep is: a pre-trained model, the facts it is asked, weak teachers, voices and methods."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sims.engine.checked import check_members, check_one, setting, settle
from sims.language.facts import by_relation, load
from sims.language.voices import VOICES

if TYPE_CHECKING:
    from w2s_jax.training import TrainingConfig

NEEDS_WEAK_MODEL = ("contrastive", "anchored_contrastive")
"""Methods that read a weaker model before and after it learnt the voice."""
METHODS = (
    *("source", "ceiling", "control", "self_label", "naive_ft", "icl_refine", "intent_refine", "self_refine"),
    *("aux_confidence", *NEEDS_WEAK_MODEL, "prompt_only"),
)
USES_TEACHER = ("naive_ft", "icl_refine", "self_refine", "aux_confidence", "prompt_only")
USES_NUM_ICL = ("icl_refine", "prompt_only")
OWN = "own"
"""Name of the relation, the voice and the teacher of one's own questions."""
UNFITTED = ("source", "prompt_only")
"""Methods that train nothing."""


@dataclasses.dataclass(frozen=True)
class LanguageSpec:
    """A model, what it is asked, who teaches it, and how many seeds of teacher and division of the facts."""

    model: str = setting("smollm2-135m", free=True)
    """A .gguf file, a Hugging Face folder, or smollm2-135m, which is downloaded once (98.4 MB, Apache-2.0)."""
    methods: tuple[str, ...] = setting(tuple(m for m in METHODS if m not in NEEDS_WEAK_MODEL), choices=METHODS)
    """Methods to run, of source, ceiling, control, self_label, naive_ft, icl_refine, intent_refine, self_refine,
    aux_confidence, contrastive, anchored_contrastive, prompt_only."""
    voices: tuple[str, ...] = setting(("pirate", "letter"), choices=tuple(VOICES))
    """Voices of the teacher, of pirate, letter, hedge, excited."""
    relations: tuple[str, ...] = ("capital", "language", "symbol", "nationality", "city")
    """Kinds of facts that are asked; the model must know them."""
    capability: tuple[float, ...] = setting((0.2, 0.5), "[0, 1]", "1 knows all of them")
    """Shares of the facts that the weak teachers know, unitless."""
    weak_model: str = setting("", free=True)
    """A weaker model as one more teacher: a .gguf file, a folder, or layers:N for the first N blocks of the model."""
    weak_steps: int = setting(48, "[1, inf)")
    """Steps of its fine-tuning on the right answers to facts that are not asked."""
    questions: str = setting("", free=True)
    """A JSONL file of one's own questions, weak answers and accepted values; relations, voices and teachers are then
    those of the file."""
    intent: str = setting("", free=True)
    """System prompt of intent_refine for one's own questions."""
    num_icl: tuple[int, ...] = setting((6,), "[1, inf)", "prompt_only of none is source")
    """Numbers of weak examples in a context."""
    replicates: int = setting(3, "[2, inf)", "a standard error needs two")
    """Seeds, each with a division of the facts, teachers and fine-tunings of its own."""
    facts: Literal["reported", "development"] = "reported"
    """Facts that are asked: reported; or development, on which settings are chosen."""
    train_questions: int = setting(48, "[1, inf)")
    """Questions that the teacher answers and models are fine-tuned on; a multiple of groups and of finetune_batch."""
    held_out_questions: int = setting(48, "[2, inf)")
    """Other questions on which they are judged; a multiple of groups."""
    skill_questions: int = setting(16, "[2, inf)")
    """Questions of the unrelated skill on which they are judged."""
    skill: str = "plural"
    """The relation that is the unrelated skill: none of relations."""
    groups: int = setting(8, "[2, inf)")
    """Groups of questions; a group is answered after examples of the others."""
    rivals: int = setting(5, "[1, inf)")
    """Other values of the relation among which the right one must be likeliest."""
    answer_tokens: int = setting(32, "[2, inf)")
    """Longest answer, in tokens."""
    trained: Literal["full", "last_layers", "lora"] = "last_layers"
    """Parameters that fine-tuning moves."""
    trained_layers: int = setting(10, "[1, inf)")
    """Blocks that last_layers moves, from the last; all if there are no more."""
    lora_rank: int = setting(8, "[1, inf)")
    """Rank of what lora adds to a matrix."""
    finetune_steps: int = setting(24, "[1, inf)")
    """Steps of fine-tuning."""
    finetune_batch: int = setting(16, "[1, inf)")
    """Answers in one of them."""
    finetune_rate: float = setting(2e-4, "(0, inf)", "try 2e-4")
    """Their learning rate, constant after a short warm-up."""
    confidence: float = setting(0.5, "[0, 1]")
    """Weight of the student's own answers in the loss of aux_confidence, after its warm-up."""
    contrast: float = setting(0.4, "[0, 1]")
    """alpha of `contrastive`, in [0, 1]: log P_aligned - (1 - alpha) log P_unaligned of the weaker model."""
    anchored_contrast: float = setting(1.0, "[0, inf)", "try 1")
    """How much of what alignment changed in the weaker model `anchored_contrastive` adds to the strong one, >= 0."""
    relative_top: float = setting(0.1, "[0, 1]")
    """Both leave out tokens less likely than this share of the likeliest one, in [0, 1]: by the aligned weaker model in
    `contrastive`, by the strong one in `anchored_contrastive`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type to compute in."""
    max_length: int = setting(1024, "[8, inf)")
    """Places of the longest conversation."""
    min_known: float = setting(0.7, "[0, 1]")
    """Share of development facts of each relation that the model must answer rightly before anything is run."""
    seed: int = 0
    """Seed of every random stream, >= 0."""

    block_size = 1
    """A seed is a block of work."""

    def __post_init__(self) -> None:
        settle(self)
        known = tuple(by_relation(load()))
        check_members("relations", self.relations, known)
        check_members("skill", (self.skill,), known)
        check_one("skill", self.skill, self.skill not in self.relations, "none of relations", "choose another")
        check_one("voices", "plain", "plain" not in self.voices, "other than the model's own", "leave plain out")
        for name, parts in (
            ("train_questions", ("groups", "finetune_batch")),
            ("held_out_questions", ("groups",)),
        ):
            for part in parts:
                whole = getattr(self, name) % getattr(self, part) == 0
                check_one(
                    name, getattr(self, name), whole, f"a multiple of {part} = {getattr(self, part)}", "change one"
                )
        if self.questions:
            needs = "intent_refine" in self.methods and not self.intent
            rule = "a system prompt where one's own questions meet intent_refine"
            check_one("intent", self.intent, not needs, rule, "write one, or leave intent_refine out of methods")
        paired = not self.combined or (bool(self.weak_model) and not self.questions)
        rule = "left out where there is no weak_model, or where questions are your own"
        check_one("methods", ", ".join(self.combined), paired, rule, "give --weak-model, such as layers:20")
        most = self.train_questions - self.train_questions // self.groups
        for count in self.num_icl:
            check_one(
                "num_icl", count, count <= most, f"at most {most}, the questions of the other groups", "use fewer"
            )

    @property
    def fitted(self) -> tuple[str, ...]:
        """Methods that fine-tune."""
        return tuple(method for method in self.methods if method not in UNFITTED)

    @property
    def combined(self) -> tuple[str, ...]:
        """Methods whose labels a weaker model writes, with its former self, before any seed."""
        return tuple(method for method in self.methods if method in NEEDS_WEAK_MODEL)

    @property
    def store(self) -> str:
        """Name of the store: one study of weaker models, and one of numbers of examples, may lie beside a plain one."""
        return "language_weaker" if self.weak_model else "language_examples" if len(self.num_icl) > 1 else "language"

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the teachers: the synthetic ones by what they know, then the weaker model; or that of the file."""
        if self.questions:
            return (OWN,)
        return (*(f"{share:g}" for share in self.capability), *([Path(self.weak_model).name] * bool(self.weak_model)))

    @property
    def spoken(self) -> tuple[str, ...]:
        """Names of the voices: those of a list, or that of the file."""
        return (OWN,) if self.questions else self.voices

    def axes(self, method: str) -> tuple[int, ...]:
        """Sizes of the axes of teachers and number of examples of what a method reads."""
        return (len(self.teachers),) * (method in USES_TEACHER) + (len(self.num_icl),) * (method in USES_NUM_ICL)

    @property
    def finetuning(self) -> "TrainingConfig":
        """How models are fine-tuned."""
        from w2s_jax.training import TrainingConfig

        return TrainingConfig(
            num_steps=self.finetune_steps, learning_rate=self.finetune_rate, final_fraction=1.0, weight_decay=0.0
        )


SMOKE = LanguageSpec(
    methods=("source", "ceiling", "naive_ft", "icl_refine", "intent_refine", "prompt_only"),
    voices=("pirate",),
    capability=(0.5,),
    num_icl=(2,),
    replicates=2,
    train_questions=8,
    held_out_questions=4,
    skill_questions=2,
    groups=2,
    rivals=3,
    answer_tokens=100,
    trained_layers=1,
    finetune_steps=4,
    finetune_batch=4,
    min_known=0.0,
)
QUICK = LanguageSpec(
    methods=("source", "ceiling", "naive_ft", "icl_refine", "prompt_only"),
    train_questions=32,
    held_out_questions=32,
    finetune_steps=16,
)
PAPER = LanguageSpec(
    voices=("pirate", "letter", "hedge", "excited"),
    capability=(0.2, 0.5, 0.8, 1.0),
    num_icl=(8,),
    replicates=10,
    train_questions=128,
    held_out_questions=80,
    trained="full",
    finetune_steps=32,
)
PRESETS = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}
EXAMPLES = {"num_icl": (1, 2, 4, 8), "voices": ("pirate",), "capability": (0.2,), "replicates": 2}
"""What the study of the number of weak examples changes in a preset."""
WEAKER = {
    "weak_model": "layers:20",
    "methods": METHODS,
    "voices": ("pirate",),
    "capability": (0.2,),
    "replicates": 2,
}
"""What the study of every method, with a weaker model as one of two teachers, changes in a preset."""
