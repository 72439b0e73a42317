"""Compares weak-to-strong methods on the same tasks, from the same draws: published ones, and some derived from them.

Labels are numbers or signs (--labels). Knobs are tuned on held-out weak labels, never on true ones; the choice of an
oracle is stored separately. Every method runs on every task twice: with the same weak examples, and with the same
compute, where costly methods get fewer examples.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

from sims.engine import cli
from sims.engine.checked import check_members
from sims.methods import plugin
from sims.methods.spec import PRESETS, ArenaSpec, presets
from w2s_jax.names import LABELS


def start(spec: ArenaSpec, out: Path, options: Any = None) -> Path:
    """Run an arena, or what is missing of it, into `out`/methods.zarr; the name goes on with _sign for sign labels and
    with _true_labels where some are true."""
    from sims.engine.run import ALONE, run
    from sims.methods.job import prepare

    name = "methods" + "_sign" * (spec.labels == "sign") + "_true_labels" * spec.has_true_labels
    return run(name, spec, prepare, out, options or ALONE)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    return cli.guarded(lambda: _act(given))


def _act(given: list[str]) -> int:
    about = f"{__doc__}\n--list prints the methods, what they see, cost and tune, and runs nothing."
    given, own = _loaded(given)
    labels = _value(given, "--labels") or "linear"
    few = any(word.split("=")[0] == "--true-label-share" for word in given)
    known = presets(labels, own, few) if labels in LABELS else PRESETS
    if "--list" not in given:
        return cli.main("methods", about, known, ArenaSpec, start, given, "sims.methods.headline")
    check_members("labels", (labels,), LABELS)
    cli.parse("methods", about, known, ArenaSpec, [word for word in given if word != "--list"])
    from sims.methods.job import table

    print(table(own))
    return 0


def _loaded(given: list[str]) -> tuple[list[str], str]:
    """The arguments with the file of --plugin loaded and replaced by what a store knows of it; and that."""
    path = _value(given, "--plugin")
    if not path:
        return given, ""
    own = plugin.load(Path(path).expanduser())
    return [own if word == path else f"--plugin={own}" if word == f"--plugin={path}" else word for word in given], own


def _value(given: list[str], option: str) -> str:
    """The first value of an option before the command line is parsed; empty where there is none."""
    words = [part for word in given for part in word.split("=", 1)]
    return next((after for word, after in itertools.pairwise(words) if word == option), "")


if __name__ == "__main__":
    sys.exit(main())
