"""From seeds to the results of an alignment sweep: labelled arrays, every seed kept."""

from pathlib import Path

import numpy as np
import xarray as xr

from sims.alignment.spec import USES_CAPABILITY, USES_NUM_ICL, AlignmentSpec
from sims.engine.store import Store, save_results

SPLITS = ("train", "held_out", "unrelated")
LABELS = {
    "method": ("method", ""),
    "capability": ("share of the world that the weak teacher knows", "1"),
    "num_icl": ("weak examples in the prompt", "examples"),
    "temperature": ("0: the likeliest answer; 1: the model's own law", "1"),
    "split": ("questions", ""),
    "seed": ("seed of networks, teachers and fine-tuning", ""),
    "prompts": ("whose examples are in the prompt", ""),
    "prompt_length": ("true examples in the prompt", "examples"),
    "concept": ("way of answering", ""),
}


def assemble(spec: AlignmentSpec, store: Store, counts: np.ndarray, staging: Path) -> None:
    """Read every seed and write the results."""
    blocks = [store.read(seed, 0) for seed in range(len(counts))]
    found = {name: np.stack([np.asarray(block[name], float) for block in blocks]) for name in blocks[0]}  # [seeds ...]

    def of_methods(kind: str, budget: str = "reports") -> np.ndarray:
        """`[method C I ... seed]`, repeated along what a method does not read; the same where it has one budget."""
        own = [found.get(f"{budget}.{name}.{kind}", found[f"reports.{name}.{kind}"]) for name in methods]
        return np.stack([np.moveaxis(_on_grid(spec, name, values), 0, -1) for name, values in zip(methods, own)])

    def with_unrelated(style: np.ndarray) -> np.ndarray:
        """Style or copied errors `[... split T seed]` with the third split, on which there are none."""
        return np.concatenate([style, np.full_like(style[..., :1, :, :], np.nan)], axis=-3)

    def copied(method: str) -> np.ndarray:
        """Errors that a method copies of its own teacher, `[C I split T seed]`, or of each; without I of `weak`."""
        shares = found[f"reports.{method}.copied"]  # [seeds C I teacher split T], without C and I as the method is
        if method == "weak" or method in USES_CAPABILITY:
            shares = np.moveaxis(np.diagonal(shares, axis1=1, axis2=-3), -1, 1)
        if method != "weak" and method not in USES_NUM_ICL:
            shares = np.repeat(shares[:, :, None], len(spec.num_icl), axis=2)
        return with_unrelated(np.moveaxis(shares, 0, -1))

    methods = spec.methods
    grid = ("capability", "num_icl")
    scored = (*grid, "split", "temperature", "seed")
    weak = {kind: np.moveaxis(found[f"reports.weak.{kind}"], 0, -1) for kind in ("content", "style")}
    naming, divergence = found["mastery.naming"], found["mastery.divergence"]
    kl = np.stack([divergence[:, list(spec.prompt_lengths)].mean(axis=-1), found["divergence"].mean(axis=1)])
    by_slot = ("seed", "prompt_length", "concept")
    arrays = {
        "content": (("method", *scored), of_methods("content"), "expected content score", "1"),
        "style": (("method", *scored), with_unrelated(of_methods("style")), "expected style score", "1"),
        "mass": (
            ("method", *grid, "split", "seed"),
            of_methods("mass"),
            "share of the model's own law on answers of the grammar",
            "1",
        ),
        "compute_content": (
            ("method", *scored),
            of_methods("content", "at_equal_compute"),
            "expected content score, fine-tuned for compute_steps",
            "1",
        ),
        "compute_style": (
            ("method", *scored),
            with_unrelated(of_methods("style", "at_equal_compute")),
            "expected style score, fine-tuned for compute_steps",
            "1",
        ),
        "copied_errors": (
            ("method", *scored),
            np.stack([copied(method) for method in methods]),
            "share of its teacher's wrong claims that it states",
            "1",
        ),
        "weak_copied_errors": (
            ("capability", *scored[2:]),
            copied("weak"),
            "share of its own wrong claims that the teacher states",
            "1",
        ),
        "weak_content": (("capability", *scored[2:]), weak["content"], "content score of the weak teacher", "1"),
        "weak_style": (
            ("capability", *scored[2:]),
            with_unrelated(weak["style"]),
            "style score of the weak teacher",
            "1",
        ),
        "named_concept": (
            ("seed", *grid),
            found["named"].astype(int),
            "concept that the strong model names after weak examples; the target is 0",
            "1",
        ),
        "bayes_style": (
            ("seed", *grid),
            found["bayes_style"],
            "style score of exact Bayes after the same prompts",
            "1",
        ),
        "weak_kl_to_bayes": (("seed", *grid), found["divergence"], "KL(Bayes || strong) after weak examples", "nats"),
        "kl_to_bayes": (
            ("prompts", "seed", "num_icl"),
            kl,
            "KL(Bayes || strong), mean over concepts or teachers",
            "nats",
        ),
        "naming_accuracy": (
            ("seed", "num_icl"),
            naming[:, list(spec.prompt_lengths)].mean(axis=-1),
            "how often the strong model names the concept of true examples",
            "1",
        ),
        "strong_content": (by_slot, found["mastery.content"], "content of the strong model after true examples", "1"),
        "strong_tagged_content": (by_slot, found["mastery.tagged_content"], "the same under the concept's tag", "1"),
        "strong_naming": (by_slot, naming, "how often the strong model names the concept", "1"),
        "bayes_naming": (by_slot, found["mastery.bayes_naming"], "how often exact Bayes does", "1"),
        "strong_kl_to_bayes": (by_slot, divergence, "KL(Bayes || strong) after true examples", "nats"),
    }
    variables = {
        name: (dims, values, {"long_name": text, "units": unit}) for name, (dims, values, text, unit) in arrays.items()
    }
    for dim, users in (("capability", USES_CAPABILITY), ("num_icl", USES_NUM_ICL)):
        variables[f"uses_{dim}"] = (("method",), np.isin(methods, users), {"long_name": f"whether it reads {dim}"})
    of_method = {
        "reads": ([spec.reads(method) for method in methods], "examples that strong models read, a step's thrice"),
        "compute_steps": (
            [spec.compute_steps(method) if method in spec.fitted else 0 for method in methods],
            "steps of fine-tuning that leave it no dearer than naive fine-tuning",
        ),
    }
    for name, (values, text) in of_method.items():
        variables[name] = (("method",), np.array(values), {"long_name": text, "units": "1"})
    world = spec.world
    scalars = {
        "target_style": (world.target_style(), "expected style score of the target concept itself"),
        "num_replicates": (len(blocks), "seeds"),
    }
    for name, (value, text) in scalars.items():
        variables[name] = ((), np.array(value), {"long_name": text, "units": "1"})
    save_results(xr.Dataset(variables, _coordinates(spec, len(blocks))), staging)


def _on_grid(spec: AlignmentSpec, method: str, values: np.ndarray) -> np.ndarray:
    """`[seeds ...]` of a method as `[seeds C I ...]`."""
    if method not in USES_CAPABILITY:
        values = values[:, None]
    if method not in USES_NUM_ICL:
        values = values[:, :, None]
    shape = (values.shape[0], len(spec.capability), len(spec.num_icl), *values.shape[3:])
    return np.broadcast_to(values, shape)


def _coordinates(spec: AlignmentSpec, seeds: int) -> dict:
    world = spec.world
    values = {
        "method": spec.methods,
        "capability": spec.capability,
        "num_icl": spec.prompt_lengths,
        "temperature": (0, 1),
        "split": SPLITS,
        "seed": range(seeds),
        "prompts": ("source", "weak"),
        "prompt_length": range(spec.slots),
        "concept": [word.strip("<>") for word in world.words[2 : 2 + world.num_concepts]],
    }
    return {
        name: ((name,), np.array(held), {"long_name": LABELS[name][0], "units": LABELS[name][1]})
        for name, held in values.items()
    }
