"""A submission to the leaderboard: what a finished arena found of a plugin's method, as JSON that anyone can check.

It holds the method's risk and that of `naive_ft` in every task, at both budgets, and its score: the geometric mean over
tasks of the one over the other. All submissions are of one preset and one seed, so that they are compared on the same
draws; `python -m sims.methods.verify` runs the method again on other seeds.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sims.engine.checked import InputError, identity
from sims.engine.files import read_text
from sims.engine.runtime import check_commit
from sims.engine.store import Store, completed, read_config
from sims.methods import plugin
from sims.methods.spec import BUDGETS, ArenaSpec, presets
from w2s_jax.names import LABELS

FORMAT = 1
PRESET = "quick"
"""The preset that all submissions are of."""
NAIVE = "naive_ft"
"""What a score is relative to."""
DIGITS = 6
TEXTS = ("name", "about", "reference", "in_practice", "labels", "sha256", "commit", "versions", "device", "created")
NUMBERS = ("format", "seed", "replicates")
RISKS = ("risk", "risk_sem", "naive_risk", "naive_risk_sem")
FIELDS = (*TEXTS, *NUMBERS, "sees", *RISKS, "score")
"""What a submission holds: texts, whole numbers, a list of sights, for each budget a list of numbers, one a task, and
for each budget the score with the standard error of its logarithm."""


class Score(NamedTuple):
    """Geometric mean over tasks of a method's risk over that of naive fine-tuning."""

    ratio: float
    log_sem: float
    """Standard error of its logarithm, over replicates."""


def preset_of(labels: str) -> ArenaSpec:
    """The arena that submissions with these labels are of."""
    return presets(labels)[PRESET]  # pyright: ignore[reportArgumentType]


def write_up(store: Path, own: str) -> dict[str, Any]:
    """The submission of a plugin (as `plugin.load` returns it) from a finished store.

    Raises:
        InputError: unless the store is complete, of the preset, of that plugin and of code that a commit holds.
    """
    spec = read_config(store, ArenaSpec)
    if spec.plugin != own:
        raise InputError(
            f"the store must be of the file that --plugin names, but {store} is of {spec.plugin or 'no plugin'}, and "
            f"that file is {own}; give the file that it was run with."
        )
    check_preset(store, spec)
    if completed(store, spec) < preset_of(spec.labels).replicates:
        raise InputError(f"a submission must be complete, but {store} is not; run the same command again.")
    data = xr.open_zarr(store, consolidated=False).load()
    check_commit(str(store), str(data.attrs.get("commit", "unknown")))
    name, method = plugin.name_of(own), spec.method(plugin.name_of(own))
    if method.reads_target:
        raise InputError(f"{name} must not see true_labels, which no one has; leave that out of its sees.")
    found = {
        **{field: getattr(method, field) for field in ("name", "about", "reference", "in_practice")},
        "sees": list(method.sees),
        "labels": spec.labels,
        "sha256": own.split()[1],
        **{field: data.attrs[field] for field in ("commit", "versions", "device", "created")},
        "format": FORMAT,
        "seed": spec.seed,
        "replicates": int(data.num_replicates),
        **numbers_of(store, spec),
    }
    found["versions"] = str(found["versions"])
    return check(found, str(store))


def check_preset(store: Path, spec: ArenaSpec) -> None:
    """Refuse an arena with other tasks, draws or budgets than those of the preset; it may have fewer methods."""
    preset = preset_of(spec.labels)
    same = dataclasses.replace(preset, methods=spec.methods, plugin=spec.plugin)
    if identity(same) != identity(spec) or NAIVE not in spec.methods:
        raise InputError(
            f"a submission must be of the tasks and the seed of the preset {PRESET}, with {NAIVE} among its methods, "
            f"but {store} is not; run python -m sims.methods --plugin FILE --preset {PRESET}."
        )


def numbers_of(store: Path, spec: ArenaSpec) -> dict[str, Any]:
    """The fields of a submission that are numbers of its method, from a finished store."""
    data, name = xr.open_zarr(store, consolidated=False).load(), plugin.name_of(spec.plugin)
    return {
        "risk": _by_budget(data.risk_mean, name),
        "risk_sem": _by_budget(data.risk_sem, name),
        "naive_risk": _by_budget(data.risk_mean, NAIVE),
        "naive_risk_sem": _by_budget(data.risk_sem, NAIVE),
        "score": {budget: score._asdict() for budget, score in scores_of(store, spec).items()},
    }


def _by_budget(values: xr.DataArray, method: str) -> dict[str, list[float]]:
    held = values.sel({"tuning": "weak_labels", "method": method})
    return {b: [float(f"{x:.{DIGITS}g}") for x in held.sel(budget=b).values.ravel()] for b in BUDGETS}


def scores_of(store: Path, spec: ArenaSpec) -> dict[str, Score]:
    """The score at each budget; its error by the jackknife over blocks, since all tasks share their draws."""
    held = Store.look(store)
    blocks = [held.read(int(block), 0) for block in np.flatnonzero(held.marks()[:, 0])]
    counts = np.array([float(np.max(block["tuned.count"])) for block in blocks])
    places = [spec.methods.index(name) for name in (plugin.name_of(spec.plugin), NAIVE)]
    means = np.stack([np.asarray(b["tuned.mean"], np.float64)[: spec.num_cells][..., places] for b in blocks])

    def log_ratio(weights: np.ndarray) -> np.ndarray:
        risk = np.tensordot(weights / weights.sum(), means, 1)  # [C B 2]
        return np.log(risk[..., 0] / risk[..., 1]).mean(axis=0)

    without = np.stack([log_ratio(np.where(np.arange(len(counts)) == i, 0.0, counts)) for i in range(len(counts))])
    errors = np.sqrt((len(counts) - 1) * without.var(axis=0))
    ratios = np.exp(log_ratio(counts))
    return {b: Score(*(float(f"{x:.{DIGITS}g}") for x in pair)) for b, *pair in zip(BUDGETS, ratios, errors)}


def read(path: Path) -> dict[str, Any]:
    """A submission from its file.

    Raises:
        InputError: naming the first thing in it that is missing or wrong.
    """
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise InputError(f"{path} must be JSON, but {error}; write it with python -m sims.methods.submit.") from error
    return check(found, str(path))


def check(found: Any, where: str) -> dict[str, Any]:
    """The submission itself, if it holds what `FIELDS` says and its score is that of its risks."""

    def must(holds: bool, what: str, got: Any) -> None:
        if not holds:
            raise InputError(
                f"{what} in {where} must be right, got {got}; write it with python -m sims.methods.submit."
            )

    held = set(found) if isinstance(found, dict) else set()
    if differ := sorted(held ^ set(FIELDS)):
        what = "lacks" if differ[0] in FIELDS else "also has"
        raise InputError(
            f"{where} must hold the fields {', '.join(FIELDS)}, but it {what} {differ[0]}; write it with "
            f"python -m sims.methods.submit."
        )
    for field in TEXTS:
        must(isinstance(found[field], str) and found[field] != "", f"the text {field}", repr(found[field]))
    for field in NUMBERS:
        whole = isinstance(found[field], int) and not isinstance(found[field], bool) and found[field] >= 0
        must(whole, f"the whole number {field}", repr(found[field]))
    must(found["format"] == FORMAT, f"the format, {FORMAT},", found["format"])
    must(found["labels"] in LABELS, f"labels, among {', '.join(LABELS)},", repr(found["labels"]))
    must(found["replicates"] >= 2, "replicates, at least 2,", found["replicates"])
    tasks = preset_of(found["labels"]).num_cells
    for field in RISKS:
        for budget in BUDGETS:
            values: Any = found[field].get(budget) if isinstance(found[field], dict) else None
            sizes = isinstance(values, list) and len(values) == tasks
            must(sizes, f"{field} at the same {budget}, {tasks} numbers, one a task,", _short(values))
            least = 0 if field.endswith("_sem") else 1e-300
            good = all(isinstance(x, int | float) and least <= x < np.inf for x in values)
            must(good, f"{field} at the same {budget}, positive and finite numbers,", _short(values))
    for budget in BUDGETS:
        score: Any = found["score"].get(budget) if isinstance(found["score"], dict) else None
        held = isinstance(score, dict) and set(score) == set(Score._fields)
        must(held and all(isinstance(x, int | float) for x in score.values()), f"the score at the same {budget}", score)
        ratio, given = geometric_mean(found["risk"][budget], found["naive_risk"][budget]), Score(**score).ratio
        must(abs(given / ratio - 1) < 1e-4, f"the ratio at the same {budget}, {ratio:.{DIGITS}g} by its risks,", given)
    return found


def geometric_mean(risk: Any, naive: Any) -> float:
    """Geometric mean of the ratios of two lists of risks.

    >>> round(geometric_mean([1.0, 0.25], [1.0, 1.0]), 6)
    0.5
    """
    return float(np.exp(np.log(np.asarray(risk, float) / np.asarray(naive, float)).mean()))


def _short(values: Any) -> str:
    text = repr(values)
    return text if len(text) <= 60 else f"{text[:57]}..."
