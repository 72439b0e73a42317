"""Methods that do nothing clever, which the others are measured against."""

from w2s_jax.methods.method import PENALTY, Cost, Method, View, fine_tune, known

SOURCE = Method(
    "source",
    "The strong model as it was pre-trained.",
    lambda view: known(view.source).source_coef,
    ("source",),
    Cost(0, False, 0),
    "arXiv 2405.16236",
)


def _self_label(view: View):
    source = known(view.source)
    labels = view.features @ source.source_coef + source.noise_var**0.5 * view.chance.normal
    return fine_tune(view, labels, source.source_coef)


SELF_LABEL = Method(
    "self_label",
    "Fine-tuning on the strong model's own answers, without any teacher: b = LS(phi, beta_P.phi + sigma eps).",
    _self_label,
    ("source",),
    Cost(1, False, 1),
    "control, as in arXiv 2405.16236",
)


def _naive(view: View, penalty):
    return fine_tune(view, known(view.weak_labels), known(view.source).source_coef, penalty)


NAIVE_FT = Method(
    "naive_ft",
    "Fine-tuning on the weak labels: argmin (1/n) sum (y' - b.phi)^2 + penalty ||b - beta_P||^2.",
    _naive,
    ("source", "weak_labels"),
    Cost(0, False, 1),
    "Burns et al., arXiv 2312.09390; arXiv 2405.16236",
    {"penalty": PENALTY},
)


def _ceiling(view: View):
    return fine_tune(view, known(view.true_labels), known(view.source).source_coef)


CEILING = Method(
    "ceiling",
    "Fine-tuning on the target's own labels, which nobody has.",
    _ceiling,
    ("source", "true_labels"),
    Cost(0, False, 1),
    "Burns et al., arXiv 2312.09390",
)
