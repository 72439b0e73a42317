"""From sums to the labelled results of an arena."""

from pathlib import Path

import numpy as np
import xarray as xr

from sims.engine.precision import Errors, name_cell, relative
from sims.engine.store import Leaves, Store, save_results
from sims.engine.sums import merged
from sims.methods.relaxed import ASSUMPTIONS, NUM_LEVELS
from sims.methods.replicate import ranked
from sims.methods.spec import BUDGETS, ArenaSpec
from w2s_jax import statistics
from w2s_jax.methods.kinds import KINDS

TUNINGS = ("weak_labels", "oracle")
"""How the values of the knobs are chosen: by held-out weak labels (true ones for methods that see some), in each
replicate; or by the mean true risk."""
LABELS = {
    "method": ("method", ""),
    "method_2": ("method", ""),
    "tuning": ("what chooses the knobs: held-out weak labels, or the true risk (oracle)", ""),
    "budget": ("what all methods have the same of", ""),
    "weakness": ("kind of weak teacher", ""),
    "weak_accuracy": ("weak accuracy", "1"),
    "concept_shift": ("concept shift (total variation distance)", "1"),
    "true_label_share": ("share of the examples that have a true label", "1"),
    "assumption": ("assumption that is relaxed", ""),
    "level": ("number of the level of relaxed_level", ""),
}


def assemble(spec: ArenaSpec, store: Store, counts: np.ndarray, staging: Path) -> None:
    """Merge the blocks in float64 and write the results."""
    leaves = [store.read(block, 0) for block in range(len(counts))]
    tuned, rank = (merged(leaves, name) for name in ("tuned.", "rank."))
    count, methods = int(counts.sum()), len(spec.methods)
    oracle_mean, oracle_sem = _oracle(spec, *_spread(leaves, "tried"))
    cell = spec.axes
    mean, sem, cov = tuned.mean[..., :methods], statistics.sem(tuned)[..., :methods], statistics.covariance(tuned)
    own, pair = ("budget", *cell, "method"), ("budget", *cell, "method", "method_2")
    risk, risk_sem = np.stack([mean, oracle_mean]), np.stack([sem, oracle_sem])
    relaxed = ("tuning", "assumption", "level", "budget", "method")
    what = KINDS[spec.labels].risk_name
    variables = {
        "risk_mean": (("tuning", *own), _on_grid(spec, risk, 1), f"mean {what}"),
        "risk_sem": (("tuning", *own), _on_grid(spec, risk_sem, 1), "standard error of the mean"),
        "relaxed_risk_mean": (relaxed, _of_relaxed(spec, risk, 1), f"mean {what}"),
        "relaxed_risk_sem": (relaxed, _of_relaxed(spec, risk_sem, 1), "standard error of the mean"),
        "relaxed_weak_risk": (relaxed[1:3], _of_relaxed(spec, tuned.mean[..., -1])[..., 0], f"of the teacher: {what}"),
        "relaxed_level": (relaxed[1:3], np.array([ASSUMPTIONS[name].levels for name in spec.relaxed]), "measure"),
        "risk_cov": (
            pair,
            _on_grid(spec, cov[..., :methods, :methods]),
            "covariance of two methods' risks in one replicate, knobs tuned on weak labels",
        ),
        "weak_risk": (cell, _on_grid(spec, tuned.mean[..., -1])[0], f"of the teacher: {what}"),
    }
    about = {"misfit": f"misfit, how far from the teacher: {what}"}
    if spec.labels == "sign":
        about["copied"] = "share of the teacher's errors that the student repeats"
    for name, text in about.items():
        full = {"copied": "copied_errors"}.get(name, name)
        for part, values in zip(("mean", "sem"), _spread(leaves, name)):
            variables[f"{full}_{part}"] = (own, _on_grid(spec, values), f"{text}, knobs tuned on weak labels: {part}")
    if "ceiling" in spec.methods:
        for part, values in zip(("pgr", "pgr_low", "pgr_high"), _pgr(spec, tuned)):
            text = "performance gap recovered, knobs tuned on weak labels"
            variables[part] = (
                own,
                _on_grid(spec, values),
                text if part == "pgr" else f"{text}: end of the 95% interval",
            )
    places = [spec.methods.index(name) for name in ranked(spec)]
    for part, values in (("mean", rank.mean), ("sem", statistics.sem(rank))):
        full = np.full((len(BUDGETS), methods), np.nan)
        full[:, places] = values
        variables[f"rank_{part}"] = (("budget", "method"), full, f"rank by risk, mean over cells: {part}")
    of_method = {
        "reads_target": (
            [spec.method(name).reads_target for name in spec.methods],
            "whether it reads the target's labels",
        ),
        "in_practice": (
            [spec.method(name).in_practice.startswith("yes") for name in spec.methods],
            "whether what it sees can be had of a language model",
        ),
        "reads": (
            [spec.method(name).cost.reads(spec.num_icl) for name in spec.methods],
            "examples read by models, each",
        ),
        "fits": ([spec.method(name).cost.fits for name in spec.methods], "times that its examples are trained on"),
    }
    variables |= {name: (("method",), np.array(values), text) for name, (values, text) in of_method.items()}
    fitted = [[spec.examples(name, budget) for name in spec.methods] for budget in BUDGETS]
    variables["examples"] = (("budget", "method"), np.array(fitted), "weak examples that it fits")
    variables["num_replicates"] = ((), np.array(count), "independent replicates")
    data = {name: (dims, values, {"long_name": text, "units": "1"}) for name, (dims, values, text) in variables.items()}
    values = {dim: getattr(spec, dim) for dim in cell}
    values |= {"assumption": spec.relaxed, "level": range(NUM_LEVELS)}
    values |= {"method": spec.methods, "method_2": spec.methods, "tuning": TUNINGS, "budget": BUDGETS}
    coords = {dim: ((dim,), np.array(values[dim]), dict(zip(("long_name", "units"), LABELS[dim]))) for dim in values}
    save_results(xr.Dataset(data, coords), staging)


def relative_sem(spec: ArenaSpec, store: Store, blocks: np.ndarray, chunk: int) -> Errors:
    """Relative standard errors of the tuned risks."""
    tuned = merged([store.read(int(block), chunk) for block in blocks], "tuned.")
    found = relative(statistics.sem(tuned), tuned.mean)[..., :-1]
    axes = {dim: getattr(spec, dim) for dim in spec.axes}
    found = found[: spec.num_cells].reshape(*map(len, axes.values()), *found.shape[1:])
    named = {**axes, "budget": BUDGETS, "method": spec.methods}
    return Errors(found.ravel(), lambda at: name_cell(named, np.unravel_index(at[0], found.shape)))


def _spread(leaves: list[Leaves], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of what blocks sum up as `name`_mean and `name`_square."""
    total, mean, square = 0.0, np.zeros(()), np.zeros(())
    for block in leaves:  # Chan, Golub and LeVeque (1979)
        count, own, spread = (
            np.asarray(block[part], np.float64) for part in ("tried_count", f"{name}_mean", f"{name}_square")
        )
        step, after = own - mean, total + count
        square = square + spread + step**2 * total * count / max(after, 1)
        mean, total = mean + step * count / max(after, 1), after
    return mean, np.sqrt(square / max(total - 1, 1) / max(total, 1))


def _oracle(spec: ArenaSpec, mean: np.ndarray, sem: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of the values of the knobs that are best in each cell and budget, `[C B M]`."""
    ends = np.cumsum([len(spec.method(name).candidates()) for name in spec.methods])[:-1]
    best = [
        (part.argmin(axis=-1)[..., None], part, error)
        for part, error in zip(*(np.split(x, ends, -1) for x in (mean, sem)))
    ]
    picked = [[np.take_along_axis(values, at, -1) for values in (part, error)] for at, part, error in best]
    return tuple(np.concatenate(values, axis=-1) for values in zip(*picked))


def _pgr(spec: ArenaSpec, tuned: statistics.Summary) -> list[np.ndarray]:
    """Estimate and interval of every method, `[C B M]`: the teacher is the last column of the summary."""
    cov, ceiling = statistics.covariance(tuned), spec.methods.index("ceiling")
    found = []
    for place in range(len(spec.methods)):
        trio = [len(spec.methods), place, ceiling]
        found.append(statistics.pgr_interval(tuned.mean[..., trio], cov[..., trio, :][..., trio], tuned.count))
    return [np.stack(part, axis=-1) for part in zip(*found)]


def _of_relaxed(spec: ArenaSpec, values: np.ndarray, lead: int = 0) -> np.ndarray:
    """`[*lead C B ...]` as `[*lead assumption level B ...]`, of the relaxed tasks."""
    kept = np.moveaxis(values, lead, 0)[spec.num_cells :]
    return np.moveaxis(kept.reshape(len(spec.relaxed), NUM_LEVELS, *kept.shape[1:]), (0, 1), (lead, lead + 1))


def _on_grid(spec: ArenaSpec, values: np.ndarray, lead: int = 0) -> np.ndarray:
    """`[*lead C B ...]` as `[*lead B, the axes, ...]`, of the tasks of the grid."""
    shape = [len(getattr(spec, dim)) for dim in spec.axes]
    kept = np.moveaxis(np.moveaxis(values, lead, 0)[: spec.num_cells], 0, lead)
    grid = kept.reshape(*values.shape[:lead], *shape, *values.shape[lead + 1 :])
    return np.moveaxis(grid, lead + len(shape), lead)
