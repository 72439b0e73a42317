"""A line of a plan: what it holds, which functions it comes from, and what it leans on."""

from typing import NamedTuple


class Prediction(NamedTuple):
    """What the theory predicts for one method; None is "not known"."""

    method: str
    risk: float | None
    """Mean excess risk on n labels, squared label units."""
    error: float | None
    """Stated error of the risk: 0 where the form is exact, None where it is of leading order, and no size is stated."""
    limit: float | None
    """The risk with infinitely many labels; None for what is not fitted."""
    pgr: float | None
    """Performance gap recovered: 0 is the teacher, 1 the ceiling; None where there is no gap."""
    sign_accuracy: float | None
    """How often its sign is that of the target; of a fitted method with infinitely many labels."""
    enough: float | None
    """Labels from which the risk stays within 5% of its limit; inf where the limit is 0 and is never reached."""
    form: str
    """The functions that the risk comes from."""
    assumes: str
    """What it leans on."""


FORM = {
    "naive_ft": "theory.ridge_risk + theory.ridge_risk_correction (theory.least_squares_risk at penalty 0)",
    "naive_ft_floor": "theory.population_ridge_floor",
    "icl_refine_shared": "theory.refined_risk of theory.misalignment, shared",
    "icl_refine_fresh": "theory.refined_risk of theory.misalignment, fresh",
    "span": "theory.span_risk",
    "hull": "theory.hull_risk",
    "source": "theory.source_bias",
    "weak": "theory.weak_bias",
    "ceiling": "theory.least_squares_risk with the target as its teacher",
}
FORM_OF_TRUE = {
    "mixed_ft": "theory.mixed_labels_risk",
    "true_only": "theory.least_squares_risk of the true labels, with the target as its teacher",
}
"""Methods that use true labels, which are planned where there are any."""
_PROMPT = "gaussian features; the posterior knows the noise and reads a prompt as the work of one concept"
ASSUMES = {
    "naive_ft": "gaussian features; the penalty of a fixed path that is best on average",
    "naive_ft_floor": "isotropic features; infinitely many labels",
    "icl_refine_shared": _PROMPT,
    "icl_refine_fresh": f"{_PROMPT}; prompts are independent",
    "span": "gaussian features; the span of the concepts is known",
    "hull": "gaussian features; the concepts are known; n is large",
    "source": "nothing but the concept shift",
    "weak": "nothing but the weak accuracy",
    "ceiling": "gaussian features; true labels",
    "mixed_ft": "gaussian features; one least squares fit in which a true label weighs no more than a weak one",
    "true_only": "gaussian features; least squares, which is not pulled to the source",
}
SILENT = (
    "gradient_flow on n labels: only its limit is known, and that is the path of naive fine-tuning",
    "icl_refine_leave_one_out: its prompts share examples, so that posteriors depend on each other",
    "intent_refine: only the exponent of its errors is known",
    "self_refine on n labels: only its bias is known (theory.self_refinement_bias)",
    "em_prior on n labels: only its first step and its limit are known (theory.em_first_step_risk, em_limit_risk)",
    "sign accuracy on n labels, and with one shared prompt: a mean over students, and an angle is not linear in them",
)
"""What no line says, and why."""
