"""Lists the commands: `python -m sims`."""

import ast
import sys
from pathlib import Path

from sims.engine import cli

MINUTES = {
    "plan": "< 1",
    "risk_sweep": "2",
    "posterior_sweep": "2",
    "theory_sweep": "5",
    "methods": "5",
    "incontext": "10",
    "alignment": "15 to 20",
    "language": "30 to 60",
    "compare": "1",
    "verify": "3",
    "report": "1",
    "inspect": "1",
    "coverage": "20",
}
"""Commands, with the minutes that they take on two cores, where measured; a sweep with `--preset quick`."""


def main() -> int:
    """The command; returns its exit code."""
    return cli.guarded(show)


def show() -> None:
    """Print the first line of every command's documentation, which is read without importing it."""
    print("python -m sims.COMMAND --help says more. Minutes are those of two cores, for sweeps at --preset quick.\n")
    for command, minutes in MINUTES.items():
        path = Path(__file__).parent / command
        source = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        about = (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]
        print(f"{command:<16} {minutes:>8} min  {about}")


if __name__ == "__main__":
    sys.exit(main())
