"""The table of figures: what draws each, the stores that it reads, and its claim. Nothing here is slow to import."""

import importlib
from typing import TYPE_CHECKING, NamedTuple

from figures.stores import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure as Canvas

    from figures.data import Results


class Entry(NamedTuple):
    """A figure: the function that draws it, the store that it reads, its claim, and further stores that it reads.

    It is drawn from those of its stores that are there, of which there must be one; each is an argument of `draw`. A
    schematic has no store.
    """

    draw: "Callable[..., Canvas]"
    store: str | None
    claim: str
    others: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    """Stores that add to it where they are there, and that alone do not make it; they come last."""

    @property
    def stores(self) -> tuple[str, ...]:
        """All stores that it is drawn from."""
        return (self.store, *self.others) if self.store else ()


def _drawn_by(place: str) -> "Callable[..., Canvas]":
    """The function at MODULE.NAME of this folder, imported when it is called."""
    module, name = place.split(".")

    def draw(*results: "Results") -> "Canvas":
        return getattr(importlib.import_module(f"figures.{module}"), name)(*results)

    return draw


_ALIGNMENT = tuple(f"alignment_{task}" for task in TASKS)

FIGURES: dict[str, Entry] = {
    "framework": Entry(
        _drawn_by("framework.framework"),
        None,
        "Source, concepts and teacher: naive fine-tuning is a segment with a floor, refinement a posterior that moves.",
    ),
    "trap_and_escape": Entry(
        _drawn_by("trap_and_escape.trap_and_escape"),
        "risk_sweep",
        "Naive fine-tuning is trapped between teacher and source at every weak accuracy; refinement escapes.",
    ),
    "risk_vs_sample_size": Entry(
        _drawn_by("risk_lines.risk_vs_sample_size"),
        "risk_sweep",
        "With more weak labels naive fine-tuning falls to its floor, refinement to its misalignment.",
    ),
    "risk_vs_weak_accuracy": Entry(
        _drawn_by("risk_lines.risk_vs_weak_accuracy"),
        "risk_sweep",
        "A better teacher lowers the floor slowly, the risk of refinement fast; a confused one must pass a threshold.",
    ),
    "risk_vs_sample_size_grid": Entry(
        _drawn_by("risk_lines.risk_vs_sample_size_grid"),
        "risk_sweep",
        "The same for nine methods and every kind of teacher.",
    ),
    "risk_vs_weak_accuracy_grid": Entry(
        _drawn_by("risk_lines.risk_vs_weak_accuracy_grid"),
        "risk_sweep",
        "The same for nine methods and every kind of teacher.",
    ),
    "risk_vs_concept_shift": Entry(
        _drawn_by("risk_lines.risk_vs_concept_shift"),
        "risk_sweep",
        "The worse aligned the source, the higher the floor of naive fine-tuning; refinement hardly changes.",
    ),
    "naive_ft_trap": Entry(
        _drawn_by("trap.naive_ft_trap"),
        "risk_sweep",
        "No penalty takes naive fine-tuning under its floor, on its way from its teacher's bias to the source's.",
    ),
    "phase_diagram": Entry(
        _drawn_by("phase.phase_diagram"),
        "risk_sweep",
        "Where naive fine-tuning wins, where refinement does and by how much, with the border that theory predicts.",
    ),
    "phase_diagram_grid": Entry(
        _drawn_by("phase.phase_diagram_grid"),
        "risk_sweep",
        "The same for every kind of teacher.",
    ),
    "refinement_exponent": Entry(
        _drawn_by("posterior.refinement_exponent"),
        "posterior_sweep",
        "Misalignment falls exponentially in the prompt at the predicted rate, which concept shift does not move.",
    ),
    "refinement_exponent_many_concepts": Entry(
        _drawn_by("posterior.refinement_exponent_many_concepts"),
        "posterior_sweep",
        "The same for the largest number of concepts.",
    ),
    "overconfidence": Entry(
        _drawn_by("posterior.overconfidence"),
        "posterior_sweep",
        "With a good source a short prompt first does harm; the balanced noise variance does less, at the same rate.",
    ),
    "hull_statistical_dimension": Entry(
        _drawn_by("oracles.hull_statistical_dimension"),
        "theory_sweep",
        "Over the hull of the concepts the risk grows with their statistical dimension, not with their number.",
    ),
    "em_ladder": Entry(
        _drawn_by("oracles.em_ladder"),
        "theory_sweep",
        "One step of EM is refinement by one example; the next steps lead to the oracle.",
    ),
    "mixture_target": Entry(
        _drawn_by("mixtures.mixture_target"),
        "theory_sweep",
        "Where the target is a mixture, fresh prompts first pass near it, then longer ones give all to one concept.",
    ),
    "contamination": Entry(
        _drawn_by("mixtures.contamination"),
        "theory_sweep",
        "Foreign examples slow refinement; below a threshold they never stop it, however long the prompt.",
    ),
    "relaxed_assumptions": Entry(
        _drawn_by("assumptions.relaxed_assumptions"),
        "theory_sweep",
        "Risk of each method when one assumption at a time is relaxed.",
    ),
    "misfit": Entry(
        _drawn_by("misfit.misfit"),
        "theory_sweep",
        "A student's gain over its teacher equals its misfit to it, and is larger where its class is only convex.",
    ),
    "misfit_grid": Entry(
        _drawn_by("misfit.misfit_grid"),
        "theory_sweep",
        "The same for every kind of teacher, and sign accuracy.",
    ),
    "proportional_limit": Entry(
        _drawn_by("assumptions.proportional_limit"),
        "theory_sweep",
        "The risk of naive fine-tuning follows the Marchenko-Pastur limit, through the peak at d = n.",
    ),
    "accuracy_plane": Entry(
        _drawn_by("accuracy_plane.accuracy_plane"),
        "theory_sweep",
        "Two accuracies and an agreement rate say where naive fine-tuning gains, and where it passes its teacher.",
    ),
    "scaling_laws": Entry(
        _drawn_by("scaling_laws.scaling_laws"),
        "theory_sweep",
        "With too small a penalty a teacher gains nothing from more labels, and its student falls with the best power.",
    ),
    "self_training": Entry(
        _drawn_by("self_training.self_training"),
        "theory_sweep",
        "Self-training gains for a few generations, then forgets all; with noisy pseudo-labels it gains less.",
    ),
    "spurious": Entry(
        _drawn_by("spurious.spurious"),
        "theory_sweep",
        "A student that cannot read the group passes its teacher while its pool is balanced much as the labels are.",
    ),
    "icl_vs_bayes": Entry(
        _drawn_by("networks.icl_vs_bayes"),
        "incontext",
        "In distribution a network is close to exact Bayes; under prompts from other distributions it is further away.",
    ),
    "concept_posterior_trace": Entry(
        _drawn_by("networks.concept_posterior_trace"),
        "incontext",
        "Along a weak prompt a network weighs the target as Bayes does; the worse the teacher, the wider the gap.",
    ),
    "network_vs_theory": Entry(
        _drawn_by("network_risk.network_vs_theory"),
        "incontext",
        "Naive networks end at their teacher's risk, refined ones below it, in the order of the linear theory.",
    ),
    "network_prompt_length": Entry(
        _drawn_by("network_risk.network_prompt_length"),
        "incontext",
        "With longer prompts the risk of refined networks falls, as exact Bayes after the same prompts does.",
    ),
    "alignment_persona": Entry(
        _drawn_by("alignment.strong_against_weak"),
        "alignment_persona",
        "Persona: weak labels pull the strong model's facts down to its teacher's; refined ones teach only the voice.",
    ),
    "alignment_explanation": Entry(
        _drawn_by("alignment.strong_against_weak"),
        "alignment_explanation",
        "Explanations: the same for the form of an explanation.",
    ),
    "alignment_math": Entry(
        _drawn_by("alignment.strong_against_weak"),
        "alignment_math",
        "Math: the same for worked arithmetic, where a teacher's wrong table spoils held-out problems as well.",
    ),
    "alignment_bias": Entry(
        _drawn_by("alignment.strong_against_weak"),
        "alignment_bias",
        "Bias: the same for biographies; the rate of female subjects reaches that of exact Bayes and of the target.",
    ),
    "alignment_table": Entry(
        _drawn_by("alignment_overview.alignment_table"),
        _ALIGNMENT[0],
        "Content and style of every method in every world of tokens, on held-out questions.",
        _ALIGNMENT[1:],
    ),
    "alignment_methods": Entry(
        _drawn_by("alignment_methods.alignment_methods"),
        _ALIGNMENT[0],
        "What a student of each method keeps of its knowledge and takes of the style.",
        _ALIGNMENT[1:],
    ),
    "icl_examples": Entry(
        _drawn_by("alignment_overview.icl_examples"),
        _ALIGNMENT[0],
        "More weak examples in the prompt bring style, as with exact Bayes, at no cost in content.",
        _ALIGNMENT[1:],
    ),
    "language_persona": Entry(
        _drawn_by("language.language_persona"),
        "language",
        "A language model's content and style after naive fine-tuning and refinement, by voice and teacher.",
        beside=("alignment_persona",),
    ),
    "language_copying": Entry(
        _drawn_by("language.language_copying"),
        "language",
        "What a language model answers where its teacher is wrong: the truth, the teacher's value, or another.",
    ),
    "language_methods": Entry(
        _drawn_by("language.language_methods"),
        "language_weaker",
        "Content and style of a language model after every method, by a synthetic teacher and by a weaker model.",
    ),
    "language_icl": Entry(
        _drawn_by("language.language_icl"),
        "language_examples",
        "What more weak examples in the context bring a language model.",
    ),
    "method_arena": Entry(
        _drawn_by("arena.method_arena"),
        "methods",
        "Which method has the lowest risk where, with the same weak examples and with the same compute.",
    ),
    "method_table": Entry(
        _drawn_by("arena.method_table"),
        "methods",
        "Mean rank, performance gap recovered, what tuning on weak labels costs, and what each method asks for.",
        beside=("methods_cost",),
    ),
    "robustness": Entry(
        _drawn_by("arena.robustness"),
        "methods",
        "Risk of every method when one assumption of the theory is relaxed.",
    ),
    "method_arena_sign": Entry(
        _drawn_by("arena.method_arena"),
        "methods_sign",
        "Which method has the fewest wrong signs where, with labels that are signs and logistic students.",
    ),
    "method_table_sign": Entry(
        _drawn_by("arena.method_table"),
        "methods_sign",
        "Ranks, performance gap recovered and costs of all methods where labels are signs.",
        beside=("methods_cost",),
    ),
    "robustness_sign": Entry(
        _drawn_by("arena.robustness"),
        "methods_sign",
        "Relaxed assumptions where labels are signs.",
    ),
    "gain_and_misfit": Entry(
        _drawn_by("gain.gain_and_misfit"),
        "methods",
        "Students near their teacher gain little over it; far from it those gain whose misfit is the teacher's error.",
        beside=("methods_sign",),
    ),
    "true_labels": Entry(
        _drawn_by("true_labels.true_labels"),
        "methods_true_labels",
        "With true labels for a tenth of the examples a student errs less, and copies fewer of its teacher's errors.",
        beside=("methods_sign_true_labels",),
    ),
    "scaling": Entry(
        _drawn_by("scaling.scaling"),
        "benchmarks",
        "How tasks per second depend on samples, dimension, cells and cores, compared with NumPy.",
    ),
}
