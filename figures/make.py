"""Draws every figure whose results exist, as PDF and PNG, and prints the command that makes missing results."""

import argparse
import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from figures.catalog import FIGURES, Entry
from figures.stores import COMMANDS, FigureError, MissingResultError, command_for, path_of, table_of

if TYPE_CHECKING:
    from figures.data import Results


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(argv)
    os.environ["MPLBACKEND"] = "agg"  # a notebook's own, which its commands inherit, would not load here
    try:
        chosen = _chosen(options.only)
        if options.list:
            return _list(chosen, options.results)
        return _make(chosen, options.results, options.out or options.results / "figures", strict=bool(options.only))
    except FigureError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m figures.make", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the stores (default: results)")
    parser.add_argument("--out", type=Path, default=None, help="folder of the figures (default: RESULTS/figures)")
    parser.add_argument(
        "--only", action="append", metavar="NAME", default=[], help="draw only this figure; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="list the figures and what they need, and draw nothing")
    return parser


def _chosen(only: list[str]) -> list[str]:
    for name in only:
        if name not in FIGURES:
            raise FigureError(f"--only must name a figure, got {name!r}; {_suggest(name)}")
    return list(dict.fromkeys(only)) or list(FIGURES)


def _suggest(name: str) -> str:
    plain = {known.replace("_", ""): known for known in FIGURES}
    own = name.replace("_", "").replace("-", "").lower()
    near = [known for known in plain if known.startswith(own)] or difflib.get_close_matches(own, plain, cutoff=0.7)
    return f"did you mean {' or '.join(plain[known] for known in near)}?" if near else "see --list."


def _list(names: list[str], folder: Path) -> int:
    for name in names:
        entry = FIGURES[name]
        absent = [store for store in entry.stores if not _is_there(store, folder)]
        commands = "; ".join(command_for(store, folder) for store in absent)
        if absent and len(absent) == len(entry.stores):
            state = f"needs{' one of' * bool(entry.others)}: {commands}"
        else:
            state = "ready" + f", but lacks: {commands}" * bool(absent)
        print(f"{name}\n    {entry.claim}\n    {state}")
    return 0


def _make(names: list[str], folder: Path, out: Path, *, strict: bool) -> int:
    if folder.suffix == ".zarr" or (folder / "zarr.json").exists():
        raise FigureError(
            f"--results must be the folder that holds the stores, got the store {folder}; "
            f"did you mean --results {folder.parent}?"
        )
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing"
        example = command_for(next(iter(COMMANDS)), folder)
        raise FigureError(f"--results must be a folder of stores, but {folder} is {what}; make one with: {example}")
    _check_out(out)
    stores, absent = _open_stores(names, folder, strict=strict)
    lacking: list[str] = []
    missing, partial = {}, {}
    for name in names:
        entry = FIGURES[name]
        held = [stores[store] for store in entry.stores if store in stores]
        if entry.store and not held:
            lacking.append(name)
            continue
        try:
            held += [stores[store] for store in entry.beside if store in stores]
            files = _drawn(entry, held)
        except MissingResultError as error:
            if strict:
                raise
            missing[name] = str(error)
            continue
        for kind, data in files.items():
            path = out / f"{name}.{kind}"
            _write(path, data)
            print(path)
        partial[name] = [str(absent[store]) for store in entry.stores if store in absent]
    for name, reasons in partial.items():
        for reason in reasons:
            print(f"drawn without: {name}: {reason}")
    for name, reason in missing.items():
        print(f"not drawn: {name}: {reason}")
    if lacking:
        print(
            f"not drawn, since their results are not there: {', '.join(lacking)}; "
            f"python -m figures.make --results {folder} --list names the commands that make them"
        )
    return 0


def _is_there(store: str, folder: Path) -> bool:
    """Whether a store lies in the folder, or its committed table."""
    return path_of(store, folder).exists() or table_of(store, folder).exists()


def _drawn(entry: Entry, held: list["Results"]) -> dict[str, bytes]:
    """The files of a figure; of committed tables that hold less than it reads, one sentence."""
    try:
        return draw(entry, *held)
    except Exception as error:
        from figures.tables import lacks

        sentence = lacks(error, [results.name for results in held if results.table])
        if sentence is None:
            raise
        raise sentence from error


def _open_stores(
    names: list[str], folder: Path, *, strict: bool
) -> tuple[dict[str, "Results"], dict[str, MissingResultError]]:
    """The stores that these figures read, and why the others cannot be read."""
    from figures.data import open_results

    stores: dict[str, "Results"] = {}
    absent: dict[str, MissingResultError] = {}
    for store in dict.fromkeys(store for name in names for store in (*FIGURES[name].stores, *FIGURES[name].beside)):
        try:
            stores[store] = open_results(folder, store)
        except MissingResultError as error:
            absent[store] = error
    for name in names if strict else ():  # before anything is drawn
        if FIGURES[name].store and not set(FIGURES[name].stores) & set(stores):
            raise _nothing_to_read(FIGURES[name], absent)
    return stores, absent


def _nothing_to_read(entry: Entry, absent: dict[str, MissingResultError]) -> MissingResultError:
    """Why a figure has no store; the command that is named makes the first of those that would do."""
    first = absent[entry.stores[0]]
    if not entry.others:
        return first
    return MissingResultError(f"this figure needs one of {', '.join(entry.stores)}, but {first}")


def draw(entry: Entry, *results: "Results") -> dict[str, bytes]:
    """A figure as the bytes of its files, by kind; the same results give the same bytes."""
    from figures import style

    with style.style():
        return style.encode(entry.draw(*results))


def _check_out(out: Path) -> None:
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise FigureError(f"--out must be a folder that can be written, got {out}; choose another path.")


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise FigureError(
            f"--out must be a folder that can be written, got {path.parent} ({error.strerror}); choose another path."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
