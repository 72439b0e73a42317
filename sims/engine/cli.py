"""The command line that all sweeps share: a preset, any field of its specification, and where results go."""

import argparse
import contextlib
import dataclasses
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from sims.engine import arguments
from sims.engine.checked import InputError, unchecked
from sims.engine.names import suggest

# What needs jax is imported by functions here and in the commands: --help and a typo answer without it.

Spec = TypeVar("Spec")


@dataclasses.dataclass(frozen=True)
class Command(Generic[Spec]):
    """Options of a sweep command."""

    spec: tyro.conf.OmitArgPrefixes[Spec]
    preset: str = "quick"
    """Grid to start from: smoke (the smallest), quick or paper (the largest); any field below changes it."""
    out: Path = Path("results")
    """Folder of the store; made if missing."""
    from_store: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A store whose configuration to run again, instead of a preset."""
    devices: int | None = None
    """How many accelerators or CPU cores this process uses, one device each; default all accelerators, or at most 4
    cores. Like the options below it changes no bit of a replicate."""
    target_sem: float | None = None
    """Go on beyond replicates until the standard error of every risk is below this share of it, in (0, 1)."""
    max_replicates: int | None = None
    """Replicates at which a cell stops even if it is above target_sem; default 100 times replicates."""
    coordinator: str | None = None
    """HOST:PORT of process 0, where several processes that share the sweep and its folder meet."""
    num_processes: int | None = None
    """How many processes share the sweep; each is started by the same command but for its process-id."""
    process_id: int | None = None
    """Number of this process, from 0."""
    cluster: bool = False
    """Get the last three from the cluster (SLURM, Open MPI, TPU, Kubernetes) instead."""
    dry_run: bool = False
    """Print what would run, with its disk and time, and write nothing."""
    compilation_cache: bool = True
    """Keep compiled programs for the next run, in ~/.cache/w2s_jax or JAX_COMPILATION_CACHE_DIR."""


def main(
    name: str,
    description: str,
    presets: dict[str, Any],
    kind: type,
    start: Callable[[Any, Path, Any], Path],
    argv=None,
    headline: str = "",
) -> int:
    """Parse, check and run a sweep command, and print its main numbers; returns its exit code.

    `headline` is the module whose `main_numbers(data, spec)` gives the lines of these.
    """
    argv = sys.argv[1:] if argv is None else list(argv)

    def act() -> None:
        command = parse(name, description, presets, kind, argv)
        from sims.engine import hosts, runtime
        from sims.engine.disk import output_folder
        from sims.engine.precision import make_target
        from sims.engine.run import Options

        if command.devices is not None and command.devices < 1:
            raise InputError(f"devices must be at least 1, got {command.devices}; leave it out to use all cores.")
        target = make_target(command.target_sem, command.max_replicates, command.spec.replicates)
        out = output_folder(command.out)
        with runtime.restored():
            runtime.configure(command.devices, command.compilation_cache and not command.dry_run)
            ranks = hosts.start(command.coordinator, command.num_processes, command.process_id, command.cluster)
            path = start(command.spec, out, Options(ranks, target, command.dry_run))
            if headline and not command.dry_run and ranks.index == 0:
                _tell(path, command.spec, headline)

    return guarded(act)


def _tell(path: Path, spec: Any, headline: str) -> None:
    """The main numbers of finished results, on stdout."""
    import importlib

    import xarray as xr

    for line in importlib.import_module(headline).main_numbers(xr.open_zarr(path, consolidated=False).load(), spec):
        print(line)


def guarded(act: Callable[[], int | None]) -> int:
    """Run a command and return its exit code; bad input and interruptions are reported in one sentence."""
    try:
        with ended_by_sigterm():
            code = act() or 0
            sys.stdout.flush()
            return code
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + getattr(signal, "SIGPIPE", 13)
    except KeyboardInterrupt as stop:
        # Writes to the store that were in flight end with the process, and asyncio need not say so after the last line.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        word, code = ("terminated", 143) if isinstance(stop, Terminated) else ("interrupted", 130)
        print(f"{word}: what is finished is saved, and the same command goes on from there.", file=sys.stderr)
        return code


class Terminated(KeyboardInterrupt):
    """SIGTERM, which a scheduler sends before it ends a process. Handled like Ctrl-C: finished blocks are kept."""


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM raises `Terminated`; in the main thread only, since no other may handle signals."""

    def terminate(*_: Any) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def parse(name: str, description: str, presets: dict[str, Any], kind: type, argv: list[str]) -> Command:
    """The options of a sweep command.

    Raises:
        InputError: for what the command does not take.
    """
    own = arguments.options_of(Command)
    own["from"] = own.pop("from_store")
    argv = arguments.checked(argv, {**arguments.options_of(kind), **own}, presets)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset")
    first.add_argument("--from", dest="from_store", type=Path)
    chosen, _ = first.parse_known_args(argv)
    if chosen.preset is not None and chosen.from_store is not None:
        raise InputError(
            f"--from takes a configuration from a store and --preset from a preset, but both were given "
            f"({chosen.from_store}, {chosen.preset}); leave one out."
        )
    preset = chosen.preset or "quick"
    if preset not in presets:
        raise InputError(f"preset must be among {', '.join(presets)}; got {preset!r}; {suggest(preset, [*presets])}")
    if chosen.from_store is None:
        default = presets[preset]
    else:
        from sims.engine.store import read_config

        default = read_config(chosen.from_store, kind)
    example = f"Example: python -m sims.{name} --preset smoke --out results"
    with unchecked():  # what --help prints needs no check, and some checks need jax
        command = tyro.cli(
            Command[kind],
            prog=f"python -m sims.{name}",
            description=f"{description.strip()}\n\n{example}",
            args=argv,
            default=Command(spec=default, preset=preset),
        )
    if hasattr(command.spec, "check"):
        command.spec.check()
    return command
