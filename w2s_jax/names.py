"""Names that an argument may have, apart from all code that needs jax: a command reads them before it imports it."""

from typing import Literal, get_args

Weakness = Literal["rotated", "shifted", "noisy", "confused", "opposed"]
WEAKNESSES: tuple[Weakness, ...] = get_args(Weakness)
NEEDS_EXTRA_DIM: tuple[Weakness, ...] = ("rotated", "shifted")
"""Weaknesses whose teacher leaves the span of the concepts: they need d >= K + 1."""

FeatureLaw = Literal["gaussian", "uniform"]
FEATURE_LAWS: tuple[FeatureLaw, ...] = get_args(FeatureLaw)

LabelDraw = Literal["sample", "mean", "map"]
LABEL_DRAWS: tuple[LabelDraw, ...] = get_args(LabelDraw)

Prompts = Literal["shared", "fresh"]
PROMPTS: tuple[Prompts, ...] = get_args(Prompts)
"""One prompt for all labels, or one for each."""

Labels = Literal["linear", "sign"]
"""What a label is: a number, linear in the features up to noise; or a sign whose log odds are."""
LABELS: tuple[Labels, ...] = get_args(Labels)

Optimizer = Literal["adamw", "muon"]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)

Activation = Literal["swiglu", "gelu"]

TRUE_LABEL_METHODS = ("true_only", "weighted_true", "weak_then_true", "boosted_ensemble")
"""Methods of the arena that use a few true labels."""
SIGN_ONLY = ("product_loss", "confidence_window", "entropy_loss", "boosted_ensemble")
"""Methods of the arena that learn from signs alone."""
ARENA_METHODS = (
    *("source", "ceiling", "naive_ft", "early_stopping", "self_label", "aux_confidence"),
    *("product_loss", "confidence_window", "entropy_loss"),
    *("bootstrapping", "ensemble", "experts", "experts_from_source", "selective", "contrastive"),
    *("anchored_contrastive", "reverse_kl", "hull", "em_prior", "self_refine", "icl_refine", "intent_refine"),
    *TRUE_LABEL_METHODS,
)
"""Methods of `w2s_jax.methods.METHODS`, in its order."""
WORLDS = ("persona", "explanation", "math", "bias")
"""Worlds of tokens, in the order of `w2s_jax.alignment.worlds.WORLDS`."""
