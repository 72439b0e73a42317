"""From seeds to the results of an in-context sweep: labelled arrays, every seed kept."""

from pathlib import Path

import numpy as np
import xarray as xr

from sims.engine.store import Store, save_results
from sims.incontext.distance import LAWS, LEVELS
from sims.incontext.spec import InContextSpec

METHODS = ("source", "weak", "ceiling", "naive_ft", "icl_refine_shared", "icl_refine_fresh", "intent_refine")
USES = {
    "weak_accuracy": METHODS[1:2] + METHODS[3:],
    "sample_size": METHODS[2:],
    "num_icl": METHODS[4:],
    "step": METHODS[2:],
}
"""Which methods read a dim; the others repeat their value along it."""
GRID = ("concept_shift", "weak_accuracy", "sample_size", "num_icl")
LABELS = {
    "method": ("method", ""),
    "concept_shift": ("concept shift (total variation)", "1"),
    "weak_accuracy": ("weak accuracy", "1"),
    "sample_size": ("sample size", "examples"),
    "num_icl": ("examples in the prompt", "examples"),
    "seed": ("seed of data, teacher and fine-tuning", ""),
    "step": ("fine-tuning step", "optimizer steps"),
    "law": ("law of the sequences", ""),
    "context_length": ("examples in the context", "examples"),
    "prompt_length": ("weak examples in the prompt", "examples"),
    "level": ("level of the central interval", "1"),
    "predictor": ("who weighs the concepts", ""),
    "prompts": ("prompts: one for all examples, or one for each", ""),
}
SQUARED = "squared label units"


def assemble(spec: InContextSpec, store: Store, counts: np.ndarray, staging: Path) -> None:
    """Read every seed of every concept shift and write the results."""
    seeds = len(counts)
    blocks = [[store.read(seed, shift) for seed in range(seeds)] for shift in range(len(spec.concept_shift))]
    names = blocks[0][0]
    found = {name: np.array([[block[name] for block in row] for row in blocks], float) for name in names}
    paths = _paths(spec, found)  # [method S R W N I T]
    mean = paths.mean(axis=2)
    best = np.argmin(mean, axis=-1)  # of the mean over seeds, never seed by seed
    risk = np.take_along_axis(paths, best[:, :, None, ..., None], axis=-1)[..., 0]
    steps = np.array(spec.steps)
    seeded = ("concept_shift", "seed")
    weights = np.stack([found["trace.network"], found["trace.bayes"]])
    misalignments = np.stack([found["shared_bayes"], found["fresh_bayes"]])
    arrays = {
        "risk": (("method", *GRID, "seed"), np.moveaxis(risk, 2, -1), "risk at the best stopping step", SQUARED),
        "risk_last": (("method", *GRID, "seed"), np.moveaxis(paths[..., -1], 2, -1), "risk after all steps", SQUARED),
        "best_step": (("method", *GRID), steps[best], "step with the lowest mean risk over seeds", "optimizer steps"),
        "risk_path": (
            ("method", *GRID, "seed", "step"),
            np.moveaxis(paths, 2, -2),
            "risk along fine-tuning",
            SQUARED,
        ),
        "named_concept": (
            (*seeded, "weak_accuracy", "num_icl"),
            found["intent"].astype(int),
            "concept that the network names after the shared prompt; the target is 0",
            "1",
        ),
        "bayes_named_concept": (
            (*seeded, "weak_accuracy", "num_icl"),
            found["bayes_intent"].astype(int),
            "likeliest concept of the exact posterior after the shared prompt",
            "1",
        ),
        "bayes_misalignment": (
            ("prompts", *seeded, "weak_accuracy", "num_icl"),
            misalignments,
            "risk of exact Bayes after the same prompts",
            SQUARED,
        ),
        "kl_to_bayes": (
            ("law", "context_length", *seeded),
            _by_law(found["distance.kl"]),
            "KL(Bayes || network)",
            "nats",
        ),
        "mean_square_to_bayes": (
            ("law", "context_length", *seeded),
            _by_law(found["distance.mean_square"]),
            "squared distance of the predictive means from Bayes",
            SQUARED,
        ),
        "coverage": (
            ("level", "context_length", *seeded),
            _by_law(found["distance.coverage"]),
            "share of labels inside the network's central intervals, in distribution",
            "1",
        ),
        "share_outside": (seeded, found["distance.outside"], "share of the source's labels beyond the bins", "1"),
        "concept_weight": (
            ("predictor", *seeded, "weak_accuracy", "prompt_length"),
            weights,
            "weight on the target concept, mean over prompts",
            "1",
        ),
        "concept_weight_gap": (
            (*seeded, "weak_accuracy", "prompt_length"),
            found["trace.gap"],
            "mean absolute difference of the two weights, prompt by prompt",
            "1",
        ),
    }
    variables = {
        name: (dims, values, {"long_name": text, "units": unit}) for name, (dims, values, text, unit) in arrays.items()
    }
    for dim, users in USES.items():
        variables[f"uses_{dim}"] = (("method",), np.isin(METHODS, users), {"long_name": f"whether it reads {dim}"})
    variables["num_replicates"] = ((), np.array(seeds), {"long_name": "seeds", "units": "1"})
    save_results(xr.Dataset(variables, _coordinates(spec, seeds)), staging)


def _paths(spec: InContextSpec, found: dict[str, np.ndarray]) -> np.ndarray:
    """Risks along fine-tuning, `[method S R W N I T]`, repeated along what a method does not read."""
    naive = found["naive_risk"][:, :, :, :, None]
    parts = {
        "source": naive[:, :, :1, :1, :, :1],
        "weak": found["weak_risk"][:, :, :, None, None, None],
        "ceiling": found["ceiling_risk"][:, :, None, :, None],
        "naive_ft": naive,
        "icl_refine_shared": found["shared_risk"],
        "icl_refine_fresh": found["fresh_risk"],
        "intent_refine": found["intent_risk"],
    }
    return np.stack([np.broadcast_to(parts[name], found["shared_risk"].shape) for name in METHODS])


def _by_law(values: np.ndarray) -> np.ndarray:
    """`[S R L M]` as `[L M S R]`."""
    return np.moveaxis(values, (0, 1), (2, 3))


def _coordinates(spec: InContextSpec, seeds: int) -> dict:
    values = {
        "method": METHODS,
        **{name: getattr(spec, name) for name in GRID},
        "seed": range(seeds),
        "step": spec.steps,
        "law": LAWS,
        "context_length": range(spec.max_icl + 1),
        "prompt_length": spec.trace_lengths,
        "level": LEVELS,
        "predictor": ("network", "bayes"),
        "prompts": ("shared", "fresh"),
    }
    return {
        name: ((name,), np.array(held), {"long_name": LABELS[name][0], "units": LABELS[name][1]})
        for name, held in values.items()
    }
