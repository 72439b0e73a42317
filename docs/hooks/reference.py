"""Pages of reference, from the code itself: what the package promises, and the options of every command."""

import ast
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 88
COMMANDS = (
    "figures.make",
    "figures.evidence",
    "figures.explorer",
    "figures.published",
    "figures.zoo",
    "benchmarks.run",
    "benchmarks.accelerator",
    "benchmarks.networks",
    "benchmarks.language",
    "benchmarks.methods",
    "benchmarks.scale",
    "sims.methods.submit",
    "sims.methods.verify",
    "sims.language.gate",
    "sims.risk_sweep.headline",
)
"""Commands that `python -m sims` does not list, with options."""
TITLES = {
    "theory": "Theory: closed forms",
    "theory_zoo": "Theory zoo",
    "methods": "Methods of the arena",
    "incontext": "Networks in context",
    "transformer": "Transformers",
    "alignment": "Worlds of tokens",
    "checkpoints": "Pre-trained models",
    "statistics": "Statistics",
    "results": "Results",
}
"""Modules that have a page of their own, with its title."""


def on_files(files, config, **_):
    """Add the pages."""
    pages = {"reference/kernels.md": kernels(), "reference/commands.md": commands()}
    pages |= {f"reference/{name}.md": module(name, title) for name, title in TITLES.items()}
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def kernels() -> str:
    """The functions of `w2s_jax` itself, by the file that they live in."""
    from w2s_jax import _NAMES_OF

    parts = [_documented(f"w2s_jax.{place}", names.split()) for place, names in _NAMES_OF.items()]
    opening = "# Kernels\n\nEverything on this page is public as `w2s_jax.NAME`.\n"
    return "\n".join([opening, *parts])


def module(name: str, title: str) -> str:
    """One public module: its own words, then what each of its files defines and it promises."""
    folder = ROOT / "w2s_jax" / name
    if not folder.is_dir():
        return f"# {title}\n\n{_documented(f'w2s_jax.{name}', None)}"
    promised = set(_assigned(folder / "__init__.py", "__all__"))
    parts = [f"# {title}\n\n::: w2s_jax.{name}\n    options:\n      members: false\n      show_root_heading: false\n"]
    for path in sorted(folder.glob("*.py")):
        if names := [found for found in _defined(path) if found in promised]:
            own = path.stem != "__init__"
            parts.append(_documented(f"w2s_jax.{name}.{path.stem}" if own else f"w2s_jax.{name}", names, words=own))
    return "\n".join(parts)


def commands() -> str:
    """What every command prints about itself with --help."""
    from sims.__main__ import MINUTES

    names = [*(f"sims.{name}" for name in MINUTES), *COMMANDS]
    with ThreadPoolExecutor() as pool:
        printed = list(pool.map(_help, names))
    opening = "# Commands\n\nWhat each command prints with `--help`, from a clone of the repository.\n"
    parts = [f"## `python -m {name}`\n\n```text\n{text}\n```\n" for name, text in zip(names, printed)]
    return "\n".join([opening, *parts])


def _help(name: str) -> str:
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", name, "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PluginError(f"python -m {name} --help must print its options, but it ended with: {done.stderr.strip()}")
    return done.stdout.strip()


def _documented(place: str, names: list[str] | None, *, words: bool = True) -> str:
    """A part of a page for one file: its docstring, then these of its names."""
    lines = [f"## {place.removeprefix('w2s_jax.')}\n", f"::: {place}", "    options:", "      show_root_heading: false"]
    lines.append("      show_root_toc_entry: false")
    if names is not None:
        lines += ["      members:", *(f"        - {name}" for name in names)]
    if not words:
        lines.append("      show_docstring_description: false")
    return "\n".join([*lines, ""])


def _assigned(path: Path, name: str) -> list[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    raise PluginError(f"{path.relative_to(ROOT)} must define {name}")


def _defined(path: Path) -> list[str]:
    """Names of the functions, classes and constants that a file defines, in its order."""
    names = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return names
