"""The command line that all sweeps share: a preset, any field of its specification, and where results go."""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from sims import runtime
from sims.spec import InputError
from sims.store import read_config

Spec = TypeVar("Spec")


@dataclasses.dataclass(frozen=True)
class Command(Generic[Spec]):
    """Options of a sweep command."""

    spec: tyro.conf.OmitArgPrefixes[Spec]
    preset: str = "quick"
    """Grid to start from: smoke (seconds), quick (minutes) or paper (up to an hour); any field below changes it."""
    out: Path = Path("results")
    """Folder of the store; made if missing."""
    from_store: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A store whose configuration to run again, instead of a preset."""
    devices: int | None = None
    """CPU cores to use, one device each; default all, at most 4. Changes no bit of the results."""


def main(
    name: str, description: str, presets: dict[str, Any], kind: type, start: Callable[[Any, Path], Path], argv=None
) -> int:
    """Parse, check and run a sweep command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        command = _parse(name, description, presets, kind, argv)
        if command.devices is not None and command.devices < 1:
            raise InputError(f"devices must be at least 1, got {command.devices}; leave it out to use all cores.")
        runtime.configure(command.devices)
        start(command.spec, command.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what is finished is saved, and the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


def _parse(name: str, description: str, presets: dict[str, Any], kind: type, argv: list[str]) -> Command:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default="quick")
    first.add_argument("--from", dest="from_store", type=Path, default=None)
    chosen, _ = first.parse_known_args(argv)
    if chosen.preset not in presets:
        raise InputError(f"preset must be among {', '.join(presets)}; got {chosen.preset!r}; choose from the list.")
    if chosen.from_store is None:
        default = presets[chosen.preset]
    else:
        default = read_config(chosen.from_store, kind)
    return tyro.cli(
        Command[kind],
        prog=f"python -m sims.{name}",
        description=description,
        args=argv,
        default=Command(spec=default, preset=chosen.preset),
    )
