"""Aligns a strong language model with a weak one's answers in a small world whose content and style are computed.

Strong networks are pre-trained once and kept in `OUT/networks`; those that have not mastered their world are refused. A
seed then trains weak teachers of several capabilities, lets them label questions, and fine-tunes the strong model on
these labels, on its own after weak examples in its context, and by the other methods that it is compared with.
"""

import sys
from pathlib import Path
from typing import Any

from sims.alignment.spec import DEFINITIONS, PRESETS, AlignmentSpec
from sims.engine import arguments, cli
from sims.engine.checked import check_definitions
from sims.training import start_alone


def start(spec: AlignmentSpec, out: Path, options: Any = None) -> Path:
    """Run an alignment sweep, or what is missing of it, into `out`/alignment_<task>.zarr."""
    check_definitions(spec.definitions, DEFINITIONS)
    return start_alone(f"alignment_{spec.task}", spec, _job, out, options)


def _job() -> Any:
    from sims.alignment import job

    return job


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    about = f"{__doc__}\n--show N prints N dialogues of each way of answering as words, and runs nothing."
    if not any(word.split("=")[0] == "--show" for word in given):
        return cli.main("alignment", about, PRESETS, AlignmentSpec, start, given, "sims.alignment.headline")

    def act() -> None:
        count, rest = arguments.taken("--show", given)
        spec = cli.parse("alignment", about, PRESETS, AlignmentSpec, rest).spec
        from sims.alignment.job import show

        show(spec, count)

    return cli.guarded(act)


if __name__ == "__main__":
    sys.exit(main())
