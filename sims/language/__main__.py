"""Aligns a real language model with weak answers to real questions, in voices whose content and style are judged.

The model is asked facts that it knows. A weak teacher answers them in its own voice and is often wrong; the model is
fine-tuned on these answers, on its own answers after weak examples in its context, and by the methods compared with.
"""

import sys
from pathlib import Path
from typing import Any

from sims.engine import cli
from sims.language.spec import PRESETS, LanguageSpec
from sims.training import start_alone


def start(spec: LanguageSpec, out: Path, options: Any = None) -> Path:
    """Run a language sweep, or what is missing of it, into `out`/language.zarr; with several numbers of examples into
    language_examples.zarr, with a weaker model into language_weaker.zarr."""
    return start_alone(spec.store, spec, _job, out, options)


def _job() -> Any:
    from sims.language import job

    return job


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.main("language", __doc__ or "", PRESETS, LanguageSpec, start, argv, "sims.language.headline")


if __name__ == "__main__":
    sys.exit(main())
