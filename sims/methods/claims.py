"""What a finished arena claims of its methods, in the setting that all of them share (docs/methods.md)."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from sims.engine.claims import Claim, worst
from sims.methods.spec import ArenaSpec
from w2s_jax import statistics

BIASED = ("rotated", "shifted", "confused", "opposed")
"""Teachers whose error is not noise alone."""


def arena_claims(data: xr.Dataset, spec: ArenaSpec) -> Iterator[Claim]:
    """With the same examples, knobs tuned on weak labels; intervals are of 95%, paired over replicates."""
    yield Claim("independent replicates of every task", int(data.num_replicates), ">=", spec.replicates)
    yield from _best(data)
    data = data.sel(budget="examples")
    risk = data.risk_mean.sel(tuning="weak_labels")
    biased = [kind for kind in BIASED if kind in spec.weakness]
    naive = _of(risk, "naive_ft").sel(weakness=biased)
    teacher = data.weak_risk.sel(weakness=biased)
    yield worst(
        "naive_ft tuned on weak labels becomes its teacher: |risk over the teacher's - 1|",
        abs(naive / teacher - 1),
        "<=",
        0.2,
    )
    yield from _hardly(risk.sel(weakness=biased))
    yield worst(
        "hull: teacher's risk minus its own (misfit, arXiv 2405.15116)",
        teacher - _of(risk, "hull").sel(weakness=biased),
        ">=",
        0.0,
    )
    for method, kinds in (
        ("ensemble", ("rotated", "shifted")),
        ("experts", ("rotated", "shifted")),
        ("aux_confidence", ("rotated", "shifted", "opposed")),
        ("selective", ("rotated", "shifted", "opposed")),
        ("anchored_contrastive", BIASED),
        ("icl_refine", ("rotated", "shifted", "opposed")),
        ("reverse_kl", ("rotated", "shifted", "opposed")),
    ):
        kinds = [kind for kind in kinds if kind in spec.weakness]
        low = _lower_end(data.sel(weakness=kinds), "naive_ft", method)
        yield worst(f"naive_ft risk minus {method} risk, lower end of its interval: {', '.join(kinds)}", low, ">=", 0.0)


def sign_claims(data: xr.Dataset, spec: ArenaSpec) -> Iterator[Claim]:
    """The same for sign labels, where a risk is the share of inputs with another sign than the target's.

    A sign says less than a number: sampling error adds to every student's bias, and an accurate teacher (0.9) leaves
    no room for those who draw labels anew.
    """
    yield Claim("independent replicates of every task", int(data.num_replicates), ">=", spec.replicates)
    yield from _best(data)
    data = data.sel(budget="examples")
    risk = data.risk_mean.sel(tuning="weak_labels")
    biased = [kind for kind in BIASED if kind in spec.weakness]
    naive, oracle = (_of(part, "naive_ft").sel(weakness=biased) for part in (risk, data.risk_mean.sel(tuning="oracle")))
    teacher = data.weak_risk.sel(weakness=biased)
    yield worst("naive_ft tuned on weak labels: its wrong signs over the teacher's", naive / teacher, ">=", 0.8)
    text = "naive_ft: median over tasks of its risk, knobs tuned on weak labels, over that with an oracle's"
    yield Claim(text, float((naive / oracle).median()), ">=", 1.2)
    yield from _hardly(risk.sel(weakness=biased))
    for method, kinds, accuracy, shift in (
        ("hull", ("rotated", "shifted", "opposed"), 0.9, 0.9),
        ("em_prior", ("rotated", "shifted", "opposed"), 0.9, 0.9),
        ("reverse_kl", ("rotated", "shifted", "opposed"), 0.9, 0.9),
        ("ensemble", ("rotated", "shifted"), 0.9, 0.9),
        ("selective", ("opposed",), 0.9, 0.9),
        ("anchored_contrastive", ("rotated", "shifted", "confused", "opposed"), 0.7, 0.5),
        ("icl_refine", ("rotated", "shifted", "opposed"), 0.7, 0.75),
    ):
        kinds = [kind for kind in kinds if kind in spec.weakness]
        cells = data.sel(weakness=kinds, weak_accuracy=slice(accuracy), concept_shift=slice(shift))
        low = _lower_end(cells, "naive_ft", method)
        where = f"{', '.join(kinds)}; a <= {accuracy:g}, shift <= {shift:g}"
        yield worst(f"naive_ft risk minus {method} risk, lower end of its interval: {where}", low, ">=", 0.0)


def true_label_claims(data: xr.Dataset, spec: ArenaSpec) -> Iterator[Claim]:
    """What a few true labels do, of numbers or of signs, with the same examples; knobs tuned on held-out labels."""
    yield Claim("independent replicates of every task", int(data.num_replicates), ">=", spec.replicates)
    data = data.sel(budget="examples")
    fewest, most = min(spec.true_label_share), max(spec.true_label_share)
    risk = data.risk_mean.sel(tuning="weak_labels")
    naive, refined, then = (_of(risk, name) for name in ("naive_ft", "icl_refine", "weak_then_true"))
    biased = [kind for kind in BIASED if kind in spec.weakness]
    ratio = (then / naive).sel(true_label_share=most, weakness=biased)
    least = {"linear": 0.5, "sign": 0.95}[spec.labels]
    yield worst("most true labels: weak_then_true risk over naive_ft's, biased teachers", ratio, "<=", least)
    for share, relation, bound in ((fewest, "<=", 0.3), (most, ">=", 0.4)):
        ahead = float((then < refined).sel(true_label_share=share).mean())
        which = "fewest" if share == fewest else "most"
        text = f"{which} true labels: share of tasks in which weak_then_true has a lower risk than icl_refine"
        yield Claim(text, ahead, relation, bound)
    if "copied_errors_mean" in data:
        copied = data.copied_errors_mean.sel(true_label_share=most, weakness=biased)
        less = _of(copied, "naive_ft") - _of(copied, "weighted_true")
        yield worst("most true labels: copied errors, naive_ft minus weighted_true", less, ">=", 0.1)
        boosted = (_of(risk, "boosted_ensemble") / _of(risk, "ceiling")).sel(true_label_share=most, weakness="confused")
        yield worst("most true labels: boosted_ensemble risk over the ceiling's, confused teachers", boosted, "<=", 1.0)


def _best(data: xr.Dataset) -> Iterator[Claim]:
    """How often refinement is the best of the methods, the ceiling aside."""
    names = [name for name in data.method.values if name != "ceiling"]
    risk = data.risk_mean.sel({"tuning": "weak_labels", "method": names})
    for budget in risk.budget.values:
        best = risk.sel(budget=budget).idxmin("method") == "icl_refine"
        text = f"icl_refine: share of tasks in which it is the best method, same {budget}"
        yield Claim(text, float(best.mean()), "<=", 0.1)


def _hardly(risk: xr.DataArray) -> Iterator[Claim]:
    """Methods that are hardly ahead of naive fine-tuning, or behind it."""
    naive = _of(risk, "naive_ft")
    gained = {name: (naive - _of(risk, name)) / naive for name in ("bootstrapping", "contrastive")}
    yield worst("bootstrapping: share of naive_ft's risk that it saves", gained["bootstrapping"], "<=", 0.05)
    kinds = [kind for kind in risk.weakness.values if kind != "confused"]
    found = gained["contrastive"].sel(weakness=kinds)
    yield worst(f"contrastive: share of naive_ft's risk that it saves: {', '.join(kinds)}", found, "<=", 0.2)


def _of(values: xr.DataArray, method: str) -> xr.DataArray:
    return values.sel({"method": method}, drop=True)


def _lower_end(data: xr.Dataset, worse: str, better: str) -> xr.DataArray:
    """Lower end of the interval of a paired difference of risks."""
    count = float(data.num_replicates)
    risk = data.risk_mean.sel(tuning="weak_labels")
    gap = _of(risk, worse) - _of(risk, better)
    pairs = {
        (a, b): data.risk_cov.sel({"method": a, "method_2": b}, drop=True)
        for a in (worse, better)
        for b in (worse, better)
    }
    variance = pairs[worse, worse] + pairs[better, better] - 2 * pairs[worse, better]
    sem = np.sqrt(np.maximum(variance.transpose(*gap.dims).values, 0.0) / count)
    low, _ = statistics.confidence_interval(gap.values, sem, count)
    return gap.copy(data=np.asarray(low))
