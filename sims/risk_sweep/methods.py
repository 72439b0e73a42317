"""The methods that a risk sweep compares, and the grid axes that each one reads."""

from typing import Literal, get_args

Method = Literal[
    "source",
    "weak",
    "ceiling",
    "naive_ft",
    "gradient_flow",
    "icl_refine_shared",
    "icl_refine_fresh",
    "icl_refine_leave_one_out",
    "intent_refine",
    "self_refine",
    "hull",
    "em_prior",
    "mixed_ft",
]
METHODS: tuple[Method, ...] = get_args(Method)
UNLESS_ASKED: tuple[Method, ...] = ("mixed_ft",)
"""Methods that run only where --methods names them."""

_TEACHER = ("weakness", "weak_accuracy")
USES: dict[Method, tuple[str, ...]] = {
    "source": ("concept_shift",),
    "weak": _TEACHER,
    # Where n < d the ceiling is the solution nearest to the source, which the concept shift moves.
    "ceiling": ("sample_size", "concept_shift"),
    "naive_ft": (*_TEACHER, "sample_size", "concept_shift"),
    "gradient_flow": (*_TEACHER, "sample_size", "concept_shift"),
    "icl_refine_shared": (*_TEACHER, "sample_size", "concept_shift", "num_icl"),
    "icl_refine_fresh": (*_TEACHER, "sample_size", "concept_shift", "num_icl"),
    "icl_refine_leave_one_out": (*_TEACHER, "sample_size", "concept_shift", "num_icl"),
    "intent_refine": (*_TEACHER, "sample_size", "concept_shift", "num_icl"),
    "self_refine": (*_TEACHER, "sample_size", "concept_shift"),
    "hull": (*_TEACHER, "sample_size"),
    "em_prior": (*_TEACHER, "sample_size", "concept_shift"),
    "mixed_ft": (*_TEACHER, "sample_size", "concept_shift"),
}
"""Axes whose value changes a method's risk; along the others a store repeats it."""

WEIGHING: tuple[Method, ...] = (
    "icl_refine_shared",
    "icl_refine_fresh",
    "icl_refine_leave_one_out",
    "intent_refine",
    "self_refine",
    "hull",
    "em_prior",
)
"""Methods that weigh the concepts, hence have a misalignment."""

READS_ROWS: tuple[Method, ...] = ("icl_refine_leave_one_out", "self_refine", "em_prior", "mixed_ft")
"""Methods that look at the sample's examples one by one: moments drawn without examples cannot serve them."""

SAMPLES_CONCEPTS: tuple[Method, ...] = ("icl_refine_shared", "icl_refine_fresh")
"""Methods whose refined labels may come from several concepts of one prompt or sample, apart from `READS_ROWS`."""
