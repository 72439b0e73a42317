"""The stores that figures read: where they lie and which command makes them. Nothing here is slow to import."""

from pathlib import Path

TASKS = ("persona", "explanation", "math", "bias")
"""Worlds of tokens."""

LANGUAGE_METHODS = (
    "source ceiling control self_label naive_ft icl_refine intent_refine self_refine aux_confidence contrastive "
    "anchored_contrastive prompt_only"
)
"""Every method of the sweep on a language model."""
COMMANDS = {
    "risk_sweep": "python -m sims.risk_sweep --preset quick --out {folder}",
    "posterior_sweep": "python -m sims.posterior_sweep --preset quick --out {folder}",
    "theory_sweep": "python -m sims.theory_sweep --preset quick --out {folder}",
    "incontext": "python -m sims.incontext --preset quick --out {folder}",
    "methods": "python -m sims.methods --preset quick --out {folder}",
    "methods_sign": "python -m sims.methods --labels sign --preset quick --out {folder}",
    **{
        f"methods{sign}_true_labels": f"python -m sims.methods{option} --preset quick --true-label-share 0.03 0.1 0.3 "
        "--out {folder}"
        for sign, option in (("", ""), ("_sign", " --labels sign"))
    },
    "language": "python -m sims.language --preset quick --out {folder}",
    "language_examples": "python -m sims.language --preset quick --num-icl 1 2 4 8 --voices pirate --capability 0.2 "
    "--replicates 2 --out {folder}",
    "language_weaker": f"python -m sims.language --preset quick --weak-model layers:20 --methods {LANGUAGE_METHODS} "
    "--voices pirate --capability 0.2 --replicates 2 --out {folder}",
    "methods_cost": "python -m benchmarks.methods --json {folder}/methods_cost.json",
    "benchmarks": "python -m benchmarks.run --json {folder}/benchmarks.json",
    **{
        f"alignment_{task}": f"python -m sims.alignment --task {task} --preset quick --out {{folder}}" for task in TASKS
    },
}
"""Stores that figures read, and the command that makes each."""
TIMINGS = ("benchmarks", "methods_cost")
"""Stores that are lists of measured times."""


class FigureError(ValueError):
    """Invalid input. The message names the rule, the value given and the remedy; the command exits with code 2."""


class MissingResultError(FigureError):
    """A result that a figure needs is not there yet; the sentence names the command that makes it."""


def command_for(store: str, folder: Path) -> str:
    """The command that makes a store in a folder."""
    return COMMANDS[store].format(folder=folder)


def path_of(store: str, folder: Path) -> Path:
    """Where a store lies in a folder: measured times are a file of JSON, all others zarr groups."""
    return folder / f"{store}.{'json' if store in TIMINGS else 'zarr'}"


def table_of(store: str, folder: Path) -> Path:
    """Where the committed table of a store lies in a folder; the tables are those of the preset `quick`."""
    return folder / f"{store}-quick.csv"
