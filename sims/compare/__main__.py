"""Compares measured accuracies of fine-tuned students with those that theory predicts.

TABLE.csv has a row for each fine-tuned student: its accuracy, that of its teacher, and more if known.

{columns}

Any other column, such as seed or task, names the row. Theory predicts two-class accuracy from the other rates of the
row, never from the student's own: docs/published.md says how. The command prints every row, with a 95% interval for the
observation if the model holds, and over all rows the error, the calibration and a test of fit.
Exit code 0: the table was read; 2: invalid input.
"""

import argparse
import json
import math
import sys
from pathlib import Path

from sims.compare.table import COLUMNS, read_table
from sims.engine import cli
from sims.engine.files import check_figure, check_writable

EXAMPLE = "Example: python -m sims.compare figures/published_runs/gpt2_true_labels.csv --figure calibration.png"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options of the command."""
    columns = "\n".join(f"    {name:18} {about}" for name, about in COLUMNS.items())
    parser = argparse.ArgumentParser(
        prog="python -m sims.compare",
        description=(__doc__ or "").format(columns=columns),
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help="the measured accuracies")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows and summary there too")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw observed over predicted: a PNG, PDF or SVG")
    parser.add_argument("--quiet", action="store_true", help="print only the summary")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(argv)
    return cli.guarded(lambda: compare(options))


def compare(options: argparse.Namespace) -> None:
    """Read the table, print predictions beside observations, and write what was asked for."""
    rows = read_table(options.table)
    for path, check in ((options.json, check_writable), (options.figure, check_figure)):
        if path is not None:
            check(path)
    import jax

    from sims.compare.fit import fit
    from sims.compare.predict import points, predict
    from sims.compare.text import lines, summary_lines
    from sims.engine import runtime

    runtime.configure()
    jax.config.update("jax_enable_x64", True)
    predictions = predict(rows)
    found = fit(predictions)
    if not options.quiet:
        print("\n".join(lines(predictions)))
    print("\n".join(summary_lines(predictions, found)))
    if options.json is not None:
        shown = [
            {**one.row.__dict__, "rule": one.rule, "predicted": one.predicted, "error": one.error, "remark": one.remark}
            for one in predictions
        ]
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(_plain({"rows": shown, "summary": found._asdict()}), indent=1) + "\n")
    if options.figure is not None:
        from figures.calibration import calibration
        from figures.style import style, write

        with style():
            write(calibration(points(predictions), found.rmse, found.teacher_rmse), options.figure)


def _plain(value):
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
