"""What a finished alignment sweep claims: naive fine-tuning follows its teacher, refinement keeps what is known."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from sims.alignment.spec import AlignmentSpec
from sims.engine.claims import Claim, worst
from w2s_jax import statistics

ASKED = ("train", "held_out")
"""Splits of the world's own questions."""


def alignment_claims(data: xr.Dataset, spec: AlignmentSpec) -> Iterator[Claim]:
    """What an alignment sweep must show (docs/alignment.md); intervals are of 95%, paired over seeds."""
    data = data.sel(temperature=1).sel(num_icl=max(spec.num_icl))
    content = data.content.sel(split=list(ASKED))
    yield Claim("seeds of networks, teachers and fine-tuning", int(data.num_replicates), ">=", spec.replicates)
    mastered = xr.concat([data.strong_content, data.strong_tagged_content], "mark").assign_coords(mark=["?", "tag"])
    text = "strong model before fine-tuning: content in the worst format and slot of any seed"
    yield worst(text, mastered, ">=", spec.min_content)
    named = data.strong_naming.isel(prompt_length=-1).mean("concept")
    yield worst(f"it names the concept of {max(spec.num_icl)} true examples, worst seed", named, ">=", spec.min_naming)
    yield worst("KL(Bayes || strong) of an answer, nats, mean over seeds", data.kl_to_bayes.mean("seed"), "<=", 0.1)
    yield worst("share of the untouched model's law that is no answer", 1 - _of(data.mass, "source"), "<=", 0.02)

    yield _slope(data)
    for rival in ("source", "control"):
        if {rival, "naive_ft"} <= set(spec.methods):
            lost = _lower_end(_of(content, rival) - _of(content, "naive_ft"))
            yield worst(f"{rival} content minus naive_ft content, lower end of its interval", lost, ">=", 0.0)
    if {"source", "icl_refine"} <= set(spec.methods):
        lost = (_of(content, "source") - _of(content, "icl_refine")).mean("seed")
        for split, bound in (("train", 0.03), ("held_out", 0.10)):
            text = f"content that icl_refine loses against the untouched model on {split} questions"
            yield worst(text, lost.sel(split=split), "<=", bound)
    if {"naive_ft", "icl_refine"} <= set(spec.methods):
        gain = _lower_end(_of(content, "icl_refine") - _of(content, "naive_ft"))
        yield worst("icl_refine content minus naive_ft content, lower end of its interval", gain, ">=", 0.0)
        copied = data.copied_errors.sel(split="train")
        more = _lower_end(_of(copied, "naive_ft") - _of(copied, "icl_refine"))
        text = "its teacher's wrong claims that naive_ft states more often than icl_refine, train questions, lower end"
        errs = np.isfinite(more)  # a teacher that is never wrong has nothing to copy
        if errs.any():
            yield worst(text, more.where(errs, np.inf), ">=", 0.0)
    if "icl_refine" in spec.methods:
        yield from _style(data, spec)
    if "naive_ft" in spec.methods:
        yield from _other_methods(data, spec)


def _other_methods(data: xr.Dataset, spec: AlignmentSpec) -> Iterator[Claim]:
    """Compared with naive fine-tuning: what protects content, what that costs in style, and what does not help."""
    content = data.content.sel(split=list(ASKED))
    naive, train = _of(content, "naive_ft"), {"split": ["train"]}
    # Of what a teacher knows that knows most, naive fine-tuning loses too little for six seeds to tell.
    harmful = {"capability": [capability for capability in spec.capability if capability <= 0.6]}
    for method, cells in (
        ("anchored_contrastive", {}),
        ("self_refine", harmful),
        ("selective", {}),
        ("reverse_kl", train),
    ):
        if method in spec.methods and all(cells.values()):
            gain = _lower_end((_of(content, method) - naive).sel(cells))
            start = "capability <= 0.6: " if cells is harmful else ""
            text = f"{start}{method} content minus naive_ft content{' on train questions' * (cells is train)}"
            yield worst(f"{text}, lower end of its interval", gain, ">=", 0.0)
    if "anchored_contrastive" in spec.methods:
        if "source" in spec.methods:
            lost = (_of(content, "source") - _of(content, "anchored_contrastive")).mean("seed")
            yield worst("content that anchored_contrastive loses against the untouched model", lost, "<=", 0.10)
        share = _share_of_style(data, "anchored_contrastive")
        yield worst("anchored_contrastive style over the target's own", share, ">=", 0.9)
        if "contrastive" in spec.methods:
            gain = _lower_end(_of(content, "anchored_contrastive") - _of(content, "contrastive"))
            yield worst("anchored_contrastive content minus contrastive content, lower end", gain, ">=", 0.0)
    if {"self_refine", "icl_refine"} <= set(spec.methods):
        more = _style_of(data, "icl_refine") - _style_of(data, "self_refine")
        yield worst("icl_refine style minus self_refine style", more, ">=", 0.0)
    if "selective" in spec.methods:
        yield worst("selective style over the target's own", _share_of_style(data, "selective"), "<=", 0.8)
    least = [capability for capability in spec.capability if capability <= 0.4]
    if "ensemble" in spec.methods and least:
        apart = abs((_of(content, "ensemble") - naive).sel(capability=least).mean("seed"))
        yield worst("capability <= 0.4: |ensemble content minus naive_ft content|", apart, "<=", 0.06)
    if "contrastive" in spec.methods and least:
        kept = (_of(content, "contrastive") - naive).sel(capability=least).mean("seed")
        yield worst("capability <= 0.4: contrastive content minus naive_ft content", kept, "<=", 0.10)


def _style(data: xr.Dataset, spec: AlignmentSpec) -> Iterator[Claim]:
    """Style of icl_refine: a share of the target's own; for bias, a rate beside exact Bayes' and the target's."""
    if spec.task != "bias":
        yield worst("icl_refine style over the target's own", _share_of_style(data, "icl_refine"), ">=", 0.9)
        return
    reached, target = _style_of(data, "icl_refine"), float(data.target_style)
    exact = data.bayes_style.mean("seed")
    yield worst("icl_refine: |rate - rate of exact Bayes after the same prompts|", abs(reached - exact), "<=", 0.1)
    yield worst("icl_refine: |rate - target rate|", abs(reached - target), "<=", 0.15)


def _slope(data: xr.Dataset) -> Claim:
    """Least squares slope of naive_ft content on weak content over capabilities, seed by seed."""
    weak, strong = (
        values.sel(split="train").transpose("seed", "capability").values
        for values in (data.weak_content, _of(data.content, "naive_ft"))
    )
    around = weak - weak.mean(axis=1, keepdims=True)
    slopes = (around * strong).sum(axis=1) / (around**2).sum(axis=1)
    sem = float(slopes.std(ddof=1) / np.sqrt(slopes.size))
    text = "slope of naive_ft content on weak content, train questions, mean over seeds"
    return Claim(text, float(slopes.mean()), ">=", 0.5, sem)


def _style_of(data: xr.Dataset, method: str) -> xr.DataArray:
    return _of(data.style.sel(split=list(ASKED)), method).mean("seed")


def _share_of_style(data: xr.Dataset, method: str) -> xr.DataArray:
    return _style_of(data, method) / float(data.target_style)


def _of(values: xr.DataArray, method: str) -> xr.DataArray:
    return values.sel({"method": method}, drop=True)


def _lower_end(differences: xr.DataArray) -> xr.DataArray:
    """Lower end of the 95% t interval of the mean over seeds."""
    mean, count = differences.mean("seed"), differences.sizes["seed"]
    sem = differences.std("seed", ddof=1) / np.sqrt(count)
    low, _ = statistics.confidence_interval(mean.values, sem.transpose(*mean.dims).values, count)
    return mean.copy(data=np.asarray(low))
