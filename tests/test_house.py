"""Rules of the house that a machine can check: who imports whom, what an import does, what is public."""

import ast
import functools
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import w2s_jax as w2s
from sims import __main__ as commands
from tests.conftest import ROOT
from w2s_jax._versions import check_version

MAX_LINES = 400

# Each room may import from the rooms before it, and from itself.
ORDER = ["_versions", "names", "types", "gradients", "inputs", "rng", "relaxed", "tasks", "sampling", "mixture_labels"]
KERNELS = {name: set(ORDER[:i]) for i, name in enumerate(ORDER)}
_sampled = set(ORDER)
_fits = ("estimators", "hull", "sorted_labels", "increments", "refinement")
KERNELS |= dict.fromkeys(_fits, _sampled) | {"em": _sampled | {"refinement"}, "predictive": _sampled}
_spine = _sampled | {*_fits, "em"}
KERNELS |= {"risk": _spine, "pipeline": _spine, "methods": _spine | {"risk"}}
KERNELS |= dict.fromkeys(("transformer", "training"), _spine | {"risk", "transformer"})
_networks = _spine | {"risk", "transformer", "training", "predictive"}
KERNELS |= {"incontext": _networks, "incontext_measures": _networks | {"incontext"}, "alignment": _networks}
KERNELS |= {
    "checkpoints": {"transformer"},
    "theory": {"types"},
    "theory_zoo": {"types", "theory"},
    "forecast": {"types", "theory_zoo"},
    "statistics": {"types"},
    "results": set(),
    "planning": {"names", "types", "tasks", "risk", "theory", "theory_zoo"},
}
# The wheel holds w2s_jax alone: nothing in it needs the rest of the checkout or the `sims` extra.
OUTSIDE = {"sims", "figures", "benchmarks", "tests", "matplotlib", "xarray", "zarr", "tyro", "rich"}
FIGURES_MAY_IMPORT = {"tasks", "theory", "theory_zoo", "statistics", "risk", "types"}
DRAWING_COMMANDS = ("compare", "plan.py")
"""Commands whose --figure is one point or table of the user's, of which there is no store."""
READS_TABLES = {"tables.py", "evidence.py"}
"""Files of figures that open committed tables, by the one reader that there is of them, and that write them."""


def python_files(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def assert_none(offences) -> None:
    """A rule is kept everywhere; all who break it are named at once."""
    found = list(offences)
    assert not found, "\n".join(found)


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """The syntax tree of a file, which several rules walk through."""
    return list(ast.walk(ast.parse(path.read_text(), str(path))))


@functools.cache
def imported(path: Path) -> list[str]:
    """Dotted names of everything that the file imports, wherever in it."""
    found = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno}: imports here are absolute"
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def rooms(path: Path, package: str) -> set[str]:
    """The modules of `package` that the file imports from."""
    names = (name.split(".") for name in imported(path))
    return {parts[1] for parts in names if parts[0] == package and len(parts) > 1}


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def wrong_imports(path: Path) -> set[str]:
    """What a file of the package, of the sweeps, of the figures or of the benchmarks imports and may not."""
    folder, *inside = path.relative_to(ROOT).parts
    if folder == "sims":
        draws = {"figures"} if inside[0] in DRAWING_COMMANDS else set()
        return packages(path) & ({"figures", "benchmarks", "tests", "matplotlib"} - draws)
    if folder == "figures":
        reader = {"sims"} if inside[0] in READS_TABLES else set()
        return packages(path) & ({"sims", "benchmarks", "tests"} - reader) | (
            rooms(path, "w2s_jax") - FIGURES_MAY_IMPORT - {"__version__"}
        )
    if folder == "benchmarks":
        return packages(path) & {"figures", "tests"}
    room = inside[0].removesuffix(".py")
    # One room reads results, with what the extra `sims` brings; `import w2s_jax` does not import it.
    found = packages(path) & (OUTSIDE - ({"xarray"} if room == "results" else set()))
    if room == "__init__":
        return found
    assert room in KERNELS, f"{room} is a new room: give it a place in the order above and in docs/design.md"
    modules = {m for m in rooms(path, "w2s_jax") if any((ROOT / "w2s_jax").glob(f"{m}*"))}
    return found | (modules - KERNELS[room] - {room})


def test_imports_go_one_way():
    found = {path: wrong_imports(path) for path in python_files("w2s_jax", "sims", "figures", "benchmarks")}
    assert_none(f"{name_of(path)} may not import {', '.join(sorted(wrong))}" for path, wrong in found.items() if wrong)


BOXES, LAYERS = 20, 7


def test_sims_is_a_few_boxes_in_layers():
    # Files and folders at the top of sims, and which others each imports from.
    inside = {path: path.relative_to(ROOT / "sims").parts[0].removesuffix(".py") for path in python_files("sims")}
    found = {box: set() for box in inside.values() if box != "__init__"}
    for path, box in inside.items():
        if box in found:
            found[box] |= (rooms(path, "sims") & set(found)) - {box}
    assert len(found) <= BOXES
    layers = []
    while left := set(found).difference(*layers):
        layers.append({box for box in left if not found[box] & left})
        assert layers[-1], f"these import each other in a circle: {sorted(left)}"
    assert len(layers) <= LAYERS, layers
    assert {*COMMANDS, "engine", "training"} <= set(found)
    assert not found["engine"] and found["training"] == {"engine"}


def test_the_engine_knows_no_model():
    names = {name for path in python_files("sims/engine") for name in imported(path) if name.startswith("w2s_jax.")}
    assert {name.split(".")[1] for name in names} <= {"rng", "statistics"}


def test_the_list_of_commands_is_complete(capsys):
    assert commands.main() == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    own = {path.parent.name for path in python_files("sims") if path.name == "__main__.py"} - {"sims"}
    own |= {path.stem for path in (ROOT / "sims").glob("*.py") if "argparse" in path.read_text()}
    assert {line.split()[0] for line in lines} == own
    assert all(line.rstrip().endswith((".", ":")) for line in lines)


IMPORT_PROBE = """
import os, sys, warnings
warnings.simplefilter("error")
before = dict(os.environ)
import jax
settings = dict(jax.config.values)
import w2s_jax
from jax._src import xla_bridge
changed = {k for k, v in jax.config.values.items() if settings.get(k) != v}
assert not changed, f"settings changed: {changed}"
assert not xla_bridge._backends, f"backends started: {xla_bridge._backends}"
loaded = {"flax", "optax", "xarray", "zarr", "matplotlib", "tyro", "rich"} & set(sys.modules)
assert not loaded, f"imported: {loaded}"
assert dict(os.environ) == before, "environment changed"
print("clean", w2s_jax.__version__)
"""


def run_python(code: str, *arguments: str, timeout: int = 120, **environment) -> subprocess.CompletedProcess:
    given = {"cwd": ROOT, "env": {**os.environ, **environment}, "timeout": timeout, "check": False}
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, **given)
    assert result.returncode == 0, result.stderr
    return result


def test_import_has_no_side_effects():
    assert run_python(IMPORT_PROBE).stdout.split() == ["clean", w2s.__version__]


REFUSAL_PROBE = """
import sys
from importlib import metadata
real = metadata.version
metadata.version = lambda name: "0.10.1" if name == "jaxlib" else real(name)
try:
    import w2s_jax
except ImportError as error:
    assert "jax" not in sys.modules, "jax was imported first"
    print(error)
"""


def test_jax_0_10_is_refused_before_jax_is_imported():
    result = run_python(REFUSAL_PROBE)
    assert "w2s_jax does not run with jaxlib 0.10.1" in result.stdout
    assert result.stdout.count("\n") == 1


def test_every_0_10_is_refused_and_other_releases_are_welcome():
    for version in ("0.10", "0.10.0", "0.10.0rc1", "0.10.1.dev20260101"):
        with pytest.raises(ImportError, match=f"jaxlib {re.escape(version)}, which deadlocks"):
            check_version("jaxlib", version)
    for version in ("0.9.2", "0.11.0", "0.12.0.1", "0.100.0", "1.10.0", "0.1.10"):
        check_version("jaxlib", version)


# --- the public surface ---------------------------------------------------------------------------------------------


def public_functions():
    """Promised functions: those of `w2s_jax`, and of the modules that it promises."""
    for name in w2s.__all__:
        value = getattr(w2s, name)
        if inspect.ismodule(value):
            for inner in getattr(value, "__all__", vars(value)):
                function = getattr(value, inner)
                if inspect.isfunction(function) and function.__module__.startswith(value.__name__) and inner[0] != "_":
                    yield f"{name}.{inner}", function
        elif inspect.isfunction(value):
            yield name, value


def test_all_is_complete_and_real():
    assert set(w2s.__all__) <= set(dir(w2s))
    tree = ast.parse((ROOT / "w2s_jax" / "__init__.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names - {"check_installed", "TYPE_CHECKING", "Any"} == set(w2s.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = w2s.no_such_name


LIGHT_PROBE = """
import importlib, sys
for command in {commands}:
    main = importlib.import_module("sims." + command).main
    for arguments, expected in ((["--help"], 0), (["--replicate", "3"], 2)):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
        heavy = {{"jax", "xarray", "zarr", "flax", "scipy", "matplotlib"}} & set(sys.modules)
        assert code == expected and not heavy, (command, arguments, code, heavy)
"""
COMMANDS = ("risk_sweep", "posterior_sweep", "theory_sweep", "incontext", "methods", "alignment")


def test_help_and_a_typo_answer_before_jax_is_imported():
    run_python(LIGHT_PROBE.format(commands=[*(f"{name}.__main__" for name in COMMANDS), "verify", "plan"]))


def undocumented(name: str, function) -> str | None:
    """What is missing in the docstring of a public function."""
    doc = inspect.getdoc(function) or ""
    if not doc.split("\n\n")[0].rstrip().endswith((".", ":")):
        return "does not open with a sentence"
    if name.startswith("statistics.") and name != "statistics.pgr_interval":
        return None  # small tools of the sweeps: one line will do
    if ">>>" not in doc:
        return "has no example"
    absent = [p for p in inspect.signature(function).parameters if not re.search(rf"\b{p}\b", doc)]
    return f"does not mention {absent}" if "Args:" in doc and absent else None


def test_public_functions_are_documented_and_take_their_key_first():
    functions = dict(public_functions())
    assert len(functions) > 50
    assert_none(f"{name}: {what}" for name, f in functions.items() if (what := undocumented(name, f)))
    assert_none(name for name, f in functions.items() if "key" in [*inspect.signature(f).parameters][1:])


# --- plain English --------------------------------------------------------------------------------------------------

DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *(ROOT / "docs").glob("*.md")]
DIALECT = re.compile(r"\b(told|roads?|whoever|so many|at hand)\b", re.IGNORECASE)
"""Words for which there is a plainer one: printed, method, the user, a number, available."""


def docstrings(path: Path):
    """(line, text) of every string that stands alone: docstrings of modules, classes, functions, fields, constants."""
    for node in nodes(path):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def prose(document: Path) -> str:
    """A document without its code blocks and without what marks generate."""
    blocks = r"^```.*?^```|<!-- (?:table|value): .*?<!-- end -->|<!--.*?-->"
    return re.sub(blocks, "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_prose_is_plain_english():
    texts = [(name_of(path), prose(path)) for path in DOCUMENTS]
    for path in python_files("w2s_jax", "sims", "figures", "benchmarks"):
        texts += [(f"{name_of(path)}:{line}", " ".join(text.split())) for line, text in docstrings(path)]
    assert_none(f"{place}: {match.group(0)}" for place, text in texts for match in DIALECT.finditer(text))
    assert_none(f"{place}: begins with Of, not with a noun" for place, text in texts if text.startswith("Of "))


# --- the tree -------------------------------------------------------------------------------------------------------


def lines_of_code(path: Path) -> int:
    """Lines outside docstrings."""
    return len(path.read_text().splitlines()) - sum(len(text.splitlines()) for _, text in docstrings(path))


def test_files_hold_one_idea():
    sizes = {path: lines_of_code(path) for path in python_files("w2s_jax", "sims", "figures", "benchmarks")}
    assert_none(f"split {name_of(path)}: {size} lines of code" for path, size in sizes.items() if size > MAX_LINES)


def test_tests_are_less_than_half_of_what_they_test():
    tests, others = (
        sum(len(path.read_text().splitlines()) for path in python_files(*folders))
        for folders in (("tests",), ("w2s_jax", "sims", "figures", "benchmarks", "docs"))
    )
    assert tests < 0.47 * others, "merge tests that say the same before adding more"


TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".cff", ".yaml", ".yml", ".json", ".ipynb", ".cfg", ""}
SKIPPED_FOLDERS = re.compile(r"\.(git|venv\w*|cache|hypothesis|\w+_cache)|__pycache__|results|build|dist")
# Absolute paths of somebody's machine. Written in pieces, so that this file does not find itself.
PRIVATE = re.compile(
    "|".join(["/ho" + r"me/\w", "/Us" + r"ers/\w", r"(?<![\w.])/ro" + "ot/", r"(?<![\w./])/wo" + "rk/"])
)


def tree_files():
    """Files that belong to the project: what git tracks or would track, or the whole tree where there is no git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        paths = [ROOT / line for line in listing.stdout.splitlines()]
    else:
        paths = [p for p in ROOT.rglob("*") if not any(map(SKIPPED_FOLDERS.fullmatch, p.relative_to(ROOT).parts))]
    return [p for p in paths if p.is_file() and p.suffix in TEXT_SUFFIXES]


def test_the_tree_names_no_private_path():
    assert_none(
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in tree_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if PRIVATE.search(line)
    )
