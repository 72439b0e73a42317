"""What a finished language sweep claims, question by question: naive fine-tuning follows its teacher, refinement keeps
what the model knows."""

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr

from sims.engine.claims import Claim, worst
from sims.language.over_facts import fact_means
from sims.language.spec import LanguageSpec
from w2s_jax import statistics

HALF = 0.5
"""Capabilities up to this one are claimed to do harm; a teacher that knows as much as the model does none."""


def language_claims(data: xr.Dataset, spec: LanguageSpec) -> Iterator[Claim]:
    """What a language sweep must show (docs/language.md), on questions that are held out.

    Intervals are of 95%, over facts: the questions of a fact in several seeds are one observation.
    """
    data = data.sel(num_icl=max(spec.num_icl))
    held_out, methods = _held_out(data), set(spec.methods)
    yield from _leads(data, spec)
    if {"source", "icl_refine"} <= methods:
        lost = _mean(_of(held_out.content, "source") - _of(held_out.content, "icl_refine"))
        yield worst("content that icl_refine loses against the untouched model", lost, "<=", 0.10)
    if {"ceiling", "icl_refine"} <= methods:
        reached, ceiling = (_mean(_of(held_out.style, method)) for method in ("icl_refine", "ceiling"))
        share = xr.where(ceiling > 0, reached / ceiling.where(ceiling > 0, 1.0), 0.0)
        yield worst("icl_refine style over the ceiling's", share, ">=", 0.9)
    if {"naive_ft", "icl_refine"} <= methods:
        mistaken = data.teacher_is_right == 0
        copied = {method: _of(data.copied, method).where(mistaken).mean(["seed", "question"]) for method in
                  ("naive_ft", "icl_refine")}  # fmt: skip
        more = copied["naive_ft"] - copied["icl_refine"]
        yield worst("share of the teacher's wrong values copied, naive_ft minus icl_refine", more, ">=", 0.0)


def _leads(data: xr.Dataset, spec: LanguageSpec) -> Iterator[Claim]:
    """Seeds, and the lead of refinement over naive fine-tuning under teachers that do harm, on the same questions."""
    held_out, weak = _held_out(data), (data.capability.mean(["voice", "seed"]) <= HALF).values
    yield Claim("seeds of facts, teachers and fine-tuning", int(data.num_replicates), ">=", spec.replicates)
    if not ({"naive_ft", "icl_refine"} <= set(spec.methods) and weak.any()):
        return
    for name, text in (("forced", "probability of the right value"), ("content", "content of the likeliest answer")):
        low = _lower_ends(_of(held_out[name], "icl_refine") - _of(held_out[name], "naive_ft"), held_out.fact)
        note = f"capability <= {HALF}: {text}, icl_refine minus naive_ft, lower end of its interval"
        yield worst(note, low.isel(teacher=weak), ">=", 0.0)
    right = [_of(held_out.content, method).isel(teacher=weak) for method in ("icl_refine", "naive_ft")]
    yield worst(f"capability <= {HALF}: p of McNemar's test on the same answers", mcnemar(*right), "<=", 0.05)


def example_claims(data: xr.Dataset, spec: LanguageSpec) -> Iterator[Claim]:
    """What more weak examples in the context must show: style, at no cost in content of the likeliest answer. With each
    number of them refinement leads; that it keeps what the untouched model knows is claimed of `language_claims` alone.
    """
    yield from _leads(data, spec)
    fewest, most = (_held_out(data).sel(num_icl=bound(spec.num_icl)) for bound in (min, max))
    for method in ("prompt_only", "icl_refine"):
        for score, bound in (("style", 0.0), ("content", -0.1)):
            more = _mean(_of(most[score], method) - _of(fewest[score], method))
            yield worst(f"{method} {score} after {max(spec.num_icl)} examples minus after one", more, ">=", bound)


def weaker_claims(data: xr.Dataset, spec: LanguageSpec) -> Iterator[Claim]:
    """What all methods must show beside `language_claims`, with a weaker model as one of the teachers."""
    yield from language_claims(data, spec)
    held_out = _held_out(data).sel(num_icl=max(spec.num_icl))
    naive = _of(held_out.content, "naive_ft")
    for method in ("anchored_contrastive", "self_refine"):
        more = _mean(_of(held_out.content, method) - naive)
        yield worst(f"{method} content minus naive_ft content", more, ">=", 0.0)
    less = _mean(_of(held_out["style"], "icl_refine") - _of(held_out["style"], "intent_refine"))
    yield worst("icl_refine style minus intent_refine style", less, ">=", 0.0)


def mcnemar(first: xr.DataArray, second: xr.DataArray) -> xr.DataArray:
    """Two-sided p-value of McNemar's exact test that two methods are right equally often, over seeds and questions.

    Of the questions that one alone has right, each method has half under the hypothesis (McNemar, 1947).
    """
    alone = [((a == 1) & (b == 0)).sum(["seed", "question"]) for a, b in ((first, second), (second, first))]

    def p_value(one: int, other: int) -> float:
        total = int(one + other)
        tail = sum(math.comb(total, k) for k in range(int(min(one, other)) + 1)) / 2**total
        return min(1.0, 2 * tail)

    return xr.apply_ufunc(np.vectorize(p_value, otypes=[float]), *alone)


def _lower_ends(differences: xr.DataArray, facts: xr.DataArray) -> xr.DataArray:
    """Lower end of the 95% t interval of the mean over facts."""
    means, first = fact_means(differences, facts), differences.isel(seed=0, question=0, drop=True)
    sem = means.std(axis=0, ddof=1) / np.sqrt(len(means))
    low, _ = statistics.confidence_interval(means.mean(axis=0), sem, len(means))
    return first.copy(data=np.asarray(low))


def _held_out(data: xr.Dataset) -> xr.Dataset:
    return data.isel(question=np.flatnonzero(data.split.values == "held_out"))


def _mean(values: xr.DataArray) -> xr.DataArray:
    return values.mean(["seed", "question"])


def _of(values: xr.DataArray, method: str) -> xr.DataArray:
    return values.sel({"method": method}, drop=True)
