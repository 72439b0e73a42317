"""What a weak-to-strong method is: what it may see, how it fits, what may be tuned, and what it costs."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.names import LABELS, Labels
from w2s_jax.types import Dataset, Task, is_concrete


class View(NamedTuple):
    """The inputs of a method: `features`, its `chance` and the fields that it asks for.

    The fields that it did not ask for are None: only methods that declare it can read the target.
    """

    features: Float[Array, "n d"]
    """Features of the examples to be labelled and fine-tuned on."""
    chance: "Chance"
    source: Task | None = None
    """The source (strong model, not aligned): concepts, source_prior, noise_var, feature_var; other fields are None."""
    weak_labels: Float[Array, "n"] | None = None
    """Labels of the teacher."""
    unaligned_labels: Float[Array, "n"] | None = None
    """Expected answers of the weak model before it was aligned: it weighs its concepts as the strong model does."""
    weak_densities: "Densities | None" = None
    """Log densities of the weak model's answers, after and before it was aligned. For linear labels alone."""
    weak_log_odds: Float[Array, "n"] | None = None
    """Log odds of +1 by the teacher, which its labels are drawn from. For sign labels alone."""
    unaligned_log_odds: Float[Array, "n"] | None = None
    """Log odds of +1 by the weak model before it was aligned. For sign labels alone."""
    colleague_labels: Float[Array, "T n"] | None = None
    """Labels of T more teachers of the same accuracy, whose errors have directions of their own."""
    colleague_log_odds: Float[Array, "T n"] | None = None
    """Log odds of +1 by these teachers. For sign labels alone."""
    middle_coef: Float[Array, "J d"] | None = None
    """Pre-trained models of growing size between weak and strong; with sign labels in log odds."""
    prompts: Dataset | None = None
    """A prompt of m other weak examples for each example: features `[n m d]`, labels `[n m]`."""
    few_true_labels: "FewLabels | None" = None
    """Labels of the target for a share of the examples."""
    weak_concept_log_odds: Float[Array, "K n"] | None = None
    """Log odds of +1 by the weak model under each of its concepts: what it can be trained to. For sign labels alone."""
    true_labels: Float[Array, "n"] | None = None
    """Labels of the target for all examples."""


class Densities(NamedTuple):
    """A weak model on a grid of answers to each example, evenly spaced and wide enough for all likely answers."""

    answers: Float[Array, "n G"]
    aligned: Float[Array, "n G"]
    """Log densities up to a constant, after its alignment: the distribution that its labels are drawn from."""
    unaligned: Float[Array, "n G"]
    """Log densities up to a constant, before its alignment."""


class FewLabels(NamedTuple):
    """Labels that some of the examples have."""

    labels: Float[Array, "n"]
    """0 where there is none."""
    given: Float[Array, "n"]
    """1 where there is a label, else 0."""


class Chance(NamedTuple):
    """The draws of a method's own, one per example, so that examples may come in any order."""

    uniform: Float[Array, "n"]
    normal: Float[Array, "n"]


Sight = Literal[
    "source",
    "weak_labels",
    "unaligned_labels",
    "weak_densities",
    "weak_log_odds",
    "unaligned_log_odds",
    "colleague_labels",
    "colleague_log_odds",
    "middle_coef",
    "prompts",
    "few_true_labels",
    "weak_concept_log_odds",
    "true_labels",
]
SIGHTS: tuple[Sight, ...] = get_args(Sight)


@dataclasses.dataclass(frozen=True)
class Knob:
    """A hyperparameter."""

    default: float
    candidates: tuple[float, ...]
    """Values that are tried when it is tuned; one alone is kept as it was released."""
    low: float
    high: float
    """Its range, both ends included; infinity where it has none."""
    about: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a method asks of the strong model, per example of its sample."""

    calls: int
    """Answers of the strong model, or of one between weak and strong."""
    in_context: bool
    """Whether each of them reads a prompt of m examples first."""
    fits: int
    """Times that all examples are trained on."""

    def reads(self, num_icl: int) -> int:
        """Examples read by models, with m in a prompt: 1 for an answer, 3 for a training step (forward and back)."""
        return self.calls * (1 + num_icl * self.in_context) + 3 * self.fits


@dataclasses.dataclass(frozen=True)
class SignForm:
    """What a method is for sign labels; None where that is as for linear ones."""

    fit: Callable[..., Float[Array, "d"]]
    """(view, **knobs) -> coefficients of the strong model's log odds."""
    reference: str
    knobs: Mapping[str, Knob] = dataclasses.field(default_factory=dict)
    about: str | None = None
    sees: tuple[Sight, ...] | None = None
    cost: Cost | None = None
    in_practice: str | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """A weak-to-strong method for linear students, for logistic ones, which learn from signs, or for both.

    >>> from w2s_jax.methods import METHODS
    >>> METHODS["naive_ft"].sees, METHODS["naive_ft"].cost.reads(num_icl=8)
    (('source', 'weak_labels'), 3)
    >>> METHODS["contrastive"].on("sign").sees
    ('source', 'weak_log_odds', 'unaligned_log_odds')
    >>> METHODS["product_loss"].labels
    ('sign',)
    """

    name: str
    about: str
    """One sentence."""
    fit: Callable[..., Float[Array, "d"]] | None
    """(view, **knobs) -> coefficients of the strong model; pure, and knobs may be traced. None for signs alone."""
    sees: tuple[Sight, ...]
    cost: Cost
    reference: str
    knobs: Mapping[str, Knob] = dataclasses.field(default_factory=dict)
    sign: SignForm | None = None
    """None where it has no form for sign labels."""
    in_practice: str = ""
    """Whether what it sees can be had of a language model: yes or no, and what it takes."""

    @property
    def labels(self) -> tuple[Labels, ...]:
        """The kinds of labels that it supports."""
        forms = {"linear": self.fit, "sign": self.sign}
        return tuple(kind for kind in LABELS if forms[kind] is not None)

    def on(self, labels: Labels) -> "Method":
        """The method for one kind of labels.

        Raises:
            ValueError: if it does not support them.
        """
        if labels not in self.labels:
            raise ValueError(
                f"labels of {self.name} must be among {', '.join(self.labels)}, got {labels!r}; choose from the list, "
                f"or another method."
            )
        form = self.sign
        if labels == "linear" or form is None:
            return self
        named = {name: getattr(form, name) for name in ("about", "sees", "cost", "in_practice")}
        own = {name: value for name, value in named.items() if value is not None}
        return dataclasses.replace(self, fit=form.fit, reference=form.reference, knobs=form.knobs, **own)

    @property
    def reads_target(self) -> bool:
        """Whether it reads true labels, which are not available in practice."""
        return "true_labels" in self.sees

    def candidates(self) -> list[dict[str, float]]:
        """All combinations of values that are tried when it is tuned; the defaults alone where nothing can be."""
        names = list(self.knobs)
        return [dict(zip(names, values)) for values in itertools.product(*(k.candidates for k in self.knobs.values()))]

    def defaults(self) -> dict[str, float]:
        """The values of its knobs if nothing is said."""
        return {name: knob.default for name, knob in self.knobs.items()}

    def __call__(self, view: View, **knobs: Any) -> Float[Array, "d"]:
        """Fit with what it may see of a view, and with its defaults where no value is given.

        Raises:
            ValueError: for an unknown knob, a Python value out of range, or a view without what the method needs.
        """
        for name, value in knobs.items():
            if name not in self.knobs:
                raise ValueError(
                    f"{self.name} has no knob {name!r}, only {', '.join(self.knobs) or 'none'}; leave it out."
                )
            knob = self.knobs[name]
            if is_concrete(value) and not knob.low <= value <= knob.high:
                raise ValueError(f"{name} of {self.name} must be in [{knob.low:g}, {knob.high:g}], got {value:g}.")
        missing = [sight for sight in self.sees if getattr(view, sight) is None]
        if missing:
            raise ValueError(
                f"{self.name} must see {', '.join(missing)}, which this setting does not offer; it supports settings "
                f"with {', '.join(self.sees)}."
            )
        return known(self.fit)(masked(view, self.sees), **{**self.defaults(), **knobs})


def masked(view: View, sees: tuple[Sight, ...]) -> View:
    """The view with every other field None.

    >>> import jax
    >>> from w2s_jax.methods.views import draw_view
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=4, weak_accuracy=0.6, concept_shift=0.5)
    >>> seen = masked(draw_view(jax.random.key(0), task, 10, 3), ("weak_labels",))
    >>> seen.weak_labels.shape, seen.true_labels is None
    ((10,), True)
    """
    return view._replace(**{sight: None for sight in SIGHTS if sight not in sees})


def known(value: Any) -> Any:
    """A field that the method declared, for the type checker.

    >>> known(0.5)
    0.5
    """
    assert value is not None
    return value


def strong_answers(view: View) -> Float[Array, "K n"]:
    """What the strong model would answer under each concept."""
    source = known(view.source)
    return source.concepts @ view.features.T


LEAST_PENALTY = 1e-3
"""Penalty of a logistic student without regularisation: at 0, separable labels have no minimum."""
PENALTY = Knob(0.1, (0.0, 0.03, 0.1, 0.3, 1.0, 3.0), 0.0, jnp.inf, "pull to the source, in units of feature variance")
SIGN_PENALTY = Knob(
    0.03,
    (LEAST_PENALTY, 0.01, 0.03, 0.1, 0.3),
    LEAST_PENALTY,
    jnp.inf,
    "pull to the source, in units of feature variance",
)
TEMPERATURE = Knob(1.0, (0.5, 1.0, 2.0, 4.0), 1e-3, 1e3, "of the concept posterior; divides the log likelihood")
