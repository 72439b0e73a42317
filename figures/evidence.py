"""Evidence that is committed: the numbers of sweeps that claims, documents and committed figures read.

    python -m figures.evidence --results results --out docs/results

writes what `python -m sims.report` does, with what every figure of the catalogue reads beside, so that
`python -m figures.make --results docs/results` draws it without a sweep. A figure of several sweeps is drawn of those
in the folder and of the tables in `--out`. Exit code 0: written; 2: invalid input, nothing written.
"""

import argparse
import contextlib
import dataclasses
import json
import sys
from pathlib import Path

from figures import style
from figures.catalog import FIGURES
from figures.data import Results, open_results
from figures.stores import FigureError, MissingResultError
from sims import report
from sims.engine.checked import InputError


def read_by_figures(found: list[report.Report], tables: Path) -> None:
    """Draw each figure of these sweeps, so that what it reads of them is noted; others come from committed tables."""
    held = {each.name: _results(each) for each in found if each.preset == "quick"}
    for entry in FIGURES.values():
        if held.keys() & {*entry.stores, *entry.beside}:
            stores = [_one(name, held, tables) for name in (*entry.stores, *entry.beside)]
            own = [held[name] for name in entry.stores if name in held]
            with contextlib.suppress(MissingResultError), style.style():  # a figure of what these sweeps do not vary
                try:
                    entry.draw(*(store for store in stores if store))
                except (InputError, KeyError):  # committed tables of others may lack what it reads
                    if own:
                        entry.draw(*own)


def _results(each: report.Report) -> Results:
    config = json.loads(json.dumps(dataclasses.asdict(each.spec)))
    return Results(each.name, each.watched.data, config, table=True)


def _one(name: str, held: dict[str, Results], tables: Path) -> Results | None:
    try:
        return held[name] if name in held else open_results(tables, name)
    except MissingResultError:
        return None


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m figures.evidence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the stores (default: results)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the evidence")
    given = parser.parse_args(argv)
    try:
        found = report.reports(given.results)
        read_by_figures(found, given.out)
        report.write(found, given.out)
    except (InputError, FigureError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
