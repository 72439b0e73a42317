"""Claims of a finished in-context sweep: networks against exact Bayes, and refined networks against naive ones."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from sims.engine.claims import Claim, worst
from sims.incontext.spec import InContextSpec
from w2s_jax import statistics

REFINED = {"icl_refine_fresh": 8, "icl_refine_shared": 16, "intent_refine": 16}
"""Methods that fine-tune on the network's own labels, and the shortest prompts of which something is claimed.

Methods that rely on one prompt need a longer one: after 8 examples exact Bayes itself names a wrong concept in 28 to
38% of them (docs/transformers.md), which costs as much as naive fine-tuning does.
"""


def network_claims(data: xr.Dataset, spec: InContextSpec) -> Iterator[Claim]:
    """What networks must show (docs/transformers.md)."""
    yield Claim("seeds of data, teacher and fine-tuning", int(data.num_replicates), ">=", spec.replicates)
    yield worst("share of labels beyond the bins", data.share_outside.mean("seed"), "<=", 1e-3)
    kl = data.kl_to_bayes.sel(law="in_distribution").mean("seed")
    yield worst(
        "in distribution: KL(Bayes || network), mean over context lengths", kl.mean("context_length"), "<=", 0.02
    )
    yield worst("in distribution: KL(Bayes || network) at the worst context length", kl, "<=", 0.04)
    missed = abs(data.coverage.mean(["seed", "context_length"]) - data.level)
    yield worst("in distribution: |coverage of central intervals - level|", missed, "<=", 0.02)
    if spec.weakness == "rotated" and 0.8 in spec.weak_accuracy:
        weights = data.concept_weight.sel(weak_accuracy=0.8).mean("seed")
        gap = abs(weights.sel(predictor="network") - weights.sel(predictor="bayes"))
        for shift in spec.concept_shift:
            text = f"rotated, a = 0.8, shift {shift}: |weight on the target, network - Bayes|, means over prompts"
            yield worst(text, gap.sel(concept_shift=shift), "<=", 0.05)
    agrees = (data.named_concept == data.bayes_named_concept).mean(["seed", "weak_accuracy", "num_icl"])
    yield worst("share of shared prompts that the network names as exact Bayes does", agrees, ">=", 0.85)
    if 0.6 in spec.weak_accuracy:
        yield from _refined_against_naive(data, spec)
    yield from _levels_off(data, spec)


def _refined_against_naive(data: xr.Dataset, spec: InContextSpec) -> Iterator[Claim]:
    """Paired differences over seeds, after all fine-tuning steps: the lower end of a 95% t interval is above zero."""
    largest = max(spec.sample_size)
    for method, shortest in REFINED.items():
        cell = data.risk_last.sel(weak_accuracy=0.6, sample_size=largest).where(data.num_icl >= shortest, drop=True)
        if not cell.num_icl.size:
            continue
        gain = cell.sel({"method": "naive_ft"}) - cell.sel({"method": method})
        mean, count = gain.mean("seed"), gain.sizes["seed"]
        sem = gain.std("seed", ddof=1) / np.sqrt(count)
        low, _ = statistics.confidence_interval(mean.values, sem.values, count)
        where = f"a = 0.6, n = {largest}, n_icl >= {shortest}"
        text = f"{where}: naive_ft risk minus {method} risk, lower end of its 95% interval"
        yield worst(text, mean.copy(data=np.asarray(low)), ">=", 0.0)


def _levels_off(data: xr.Dataset, spec: InContextSpec) -> Iterator[Claim]:
    """Where more weak labels lead: to the teacher's own risk, however many; true labels lead to none."""
    mean = data.risk_last.isel(num_icl=0).sel(sample_size=max(spec.sample_size)).mean("seed")
    ratio = mean.sel({"method": "naive_ft"}) / mean.sel({"method": "weak"})
    text = f"n = {max(spec.sample_size)}: |naive_ft risk over the teacher's own - 1|"
    yield worst(f"naive_ft levels off, {text}", abs(ratio - 1), "<=", 0.25)
    share = mean.sel({"method": "ceiling"}) / mean.sel({"method": "source"})
    yield worst(f"ceiling does not, n = {max(spec.sample_size)}: its risk over the source's", share, "<=", 0.2)
