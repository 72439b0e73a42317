"""Weak-to-strong methods for linear and logistic students, behind one signature: published ones, and what was derived
from them, as each says; a new one is a file and a line here."""

from w2s_jax.methods.anchored import ANCHORED_CONTRASTIVE
from w2s_jax.methods.boosting import BOOSTED_ENSEMBLE
from w2s_jax.methods.bootstrapping import BOOTSTRAPPING
from w2s_jax.methods.confidence import AUX_CONFIDENCE
from w2s_jax.methods.contrastive import CONTRASTIVE, contrast
from w2s_jax.methods.early_stopping import EARLY_STOPPING
from w2s_jax.methods.experts import EXPERTS
from w2s_jax.methods.logistic import logistic_to_source
from w2s_jax.methods.losses import CONFIDENCE_WINDOW, ENTROPY_LOSS, PRODUCT_LOSS
from w2s_jax.methods.method import (
    LABELS,
    SIGHTS,
    Chance,
    Cost,
    Densities,
    FewLabels,
    Knob,
    Labels,
    Method,
    SignForm,
    View,
    known,
    masked,
)
from w2s_jax.methods.plain import CEILING, NAIVE_FT, SELF_LABEL, SOURCE
from w2s_jax.methods.projections import HULL, REVERSE_KL
from w2s_jax.methods.refinement import EM_PRIOR, ICL_REFINE, INTENT_REFINE, SELF_REFINE
from w2s_jax.methods.selective import SELECTIVE
from w2s_jax.methods.signs import nearest_logit
from w2s_jax.methods.teams import ENSEMBLE, EXPERTS_FROM_SOURCE
from w2s_jax.methods.true_labels import TRUE_ONLY, WEAK_THEN_TRUE, WEIGHTED_TRUE
from w2s_jax.methods.views import draw_view

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        SOURCE,
        CEILING,
        NAIVE_FT,
        EARLY_STOPPING,
        SELF_LABEL,
        AUX_CONFIDENCE,
        PRODUCT_LOSS,
        CONFIDENCE_WINDOW,
        ENTROPY_LOSS,
        BOOTSTRAPPING,
        ENSEMBLE,
        EXPERTS,
        EXPERTS_FROM_SOURCE,
        SELECTIVE,
        CONTRASTIVE,
        ANCHORED_CONTRASTIVE,
        REVERSE_KL,
        HULL,
        EM_PRIOR,
        SELF_REFINE,
        ICL_REFINE,
        INTENT_REFINE,
        TRUE_ONLY,
        WEIGHTED_TRUE,
        WEAK_THEN_TRUE,
        BOOSTED_ENSEMBLE,
    )
}
"""Every method by its name."""

__all__ = [
    "LABELS",
    "METHODS",
    "SIGHTS",
    "Chance",
    "Cost",
    "Densities",
    "FewLabels",
    "Knob",
    "Labels",
    "Method",
    "SignForm",
    "View",
    "contrast",
    "draw_view",
    "known",
    "logistic_to_source",
    "masked",
    "nearest_logit",
]
