"""The leaderboard: every method of the arena and every submission of docs/leaderboard, on the same draws."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sims.engine.checked import InputError
from sims.methods.spec import BUDGETS
from sims.methods.submission import NAIVE, geometric_mean
from sims.tables.sources import Sources, markdown
from w2s_jax.methods import METHODS


class Entry(NamedTuple):
    """A method: its risk in every task, by budget, and what it is."""

    name: str
    risk: dict[str, np.ndarray]
    in_practice: str
    is_submitted: bool


def board(sources: Sources, labels: str) -> str:
    """A row per method, the lowest score at the same examples first."""
    data = sources.sweep("methods" if labels == "linear" else f"methods_{labels}")
    entries, naive = _built_in(data, labels), _risks(data, NAIVE)
    for found in sources.submissions(labels):
        _check_draws(found, naive)
        risk = {budget: np.array(found["risk"][budget]) for budget in BUDGETS}
        entries.append(Entry(found["name"], risk, found["in_practice"], True))
    places = {
        budget: np.argsort(np.argsort(np.stack([e.risk[budget] for e in entries]), axis=0), axis=0) + 1
        for budget in BUDGETS
    }
    scores = [[geometric_mean(entry.risk[budget], naive[budget]) for budget in BUDGETS] for entry in entries]
    rows = []
    for i in np.argsort([score[0] for score in scores], kind="stable"):
        entry = entries[i]
        name = f"**`{entry.name}`**" if entry.is_submitted else f"`{entry.name}`"
        means = [f"{places[budget][i].mean():.1f}" for budget in BUDGETS]
        practice = entry.in_practice.split(":")[0].split(",")[0]
        rows.append([name, practice, *(f"{score:.3f}" for score in scores[i]), *means])
    header = ["method", "with a language model?"]
    header += [f"{what}, same {budget}" for what in ("score", "mean place") for budget in BUDGETS]
    return markdown(header, rows, words=2)


def submissions(sources: Sources) -> str:
    """A row per submission: its scores with their standard errors, and what identifies it."""
    rows = []
    for found in sources.submissions():
        scores = [found["score"][budget] for budget in BUDGETS]
        each = [f"{s['ratio']:.3f} ± {s['ratio'] * s['log_sem']:.3f}" for s in scores]
        words = [f"`{found['name']}`", found["labels"], found["about"], found["reference"], f"`{found['sha256'][:12]}`"]
        rows.append([*words, *each, f"{found['replicates']:,}"])
    header = ["method", "labels", "what it does", "from", "sha256 of its source"]
    return markdown([*header, *(f"score, same {budget}" for budget in BUDGETS), "replicates"], rows, words=5)


def _built_in(data: xr.Dataset, labels: str) -> list[Entry]:
    """The methods of the arena that do not read the target."""
    known = {str(name): METHODS[str(name)].on(labels) for name in data["method"].values}  # pyright: ignore[reportArgumentType]
    return [
        Entry(name, _risks(data, name), method.in_practice, False)
        for name, method in known.items()
        if not method.reads_target
    ]


def _risks(data: xr.Dataset, name: str) -> dict[str, np.ndarray]:
    held = data.risk_mean.sel({"tuning": "weak_labels", "method": name})
    return {budget: held.sel(budget=budget).values.ravel() for budget in BUDGETS}


def _check_draws(found: dict[str, Any], naive: dict[str, np.ndarray]) -> None:
    """On the draws of the committed arena a submission's naive fine-tuning has the risks that are committed."""
    for budget in BUDGETS:
        if not np.allclose(found["naive_risk"][budget], naive[budget], rtol=0.02):
            raise InputError(
                f"a submission must be of the same draws as docs/results, but {found['name']} has other risks of "
                f"{NAIVE} at the same {budget}; run it again with this version and submit that."
            )
