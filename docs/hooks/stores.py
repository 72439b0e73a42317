"""The page of all stores: the variables that each sweep writes, read from the code that writes them."""

import ast
import importlib
import inspect
from types import ModuleType

from mkdocs.structure.files import File

SWEEPS = {
    "risk_sweep": "sims.risk_sweep.results",
    "methods": "sims.methods.results",
    "incontext": "sims.incontext.results",
    "alignment_TASK": "sims.alignment.results",
    "language": "sims.language.results",
}
"""Stores, and the modules whose tables name their variables: name -> (dims, ..., meaning, unit)."""
BESIDES = {
    "methods": "`pgr`, `pgr_low` and `pgr_high` (performance gap recovered and its 95% interval), `rank_mean` and "
    "`rank_sem`, and what each method costs: `reads`, `fits`, `examples`, `reads_target`, `in_practice`.",
    "alignment_TASK": "`reads` and `compute_steps` of each method, `target_style`, `num_replicates`.",
}
"""Variables that no table of constants names."""
WORDS = {"what": "excess risk, or share of wrong signs"}
"""What meanings leave open until a sweep is run."""
OPENING = """# Stores

`w2s_jax.results.open_results("results/NAME.zarr")` opens a store as an `xarray.Dataset`. Each variable below is one of
its arrays: its dimensions, its meaning (the attribute `long_name`) and its unit (`units`). In a risk sweep those
of the grid follow: weakness, weak_accuracy, sample_size, concept_shift, num_icl. How a store is written, and what keeps
it sound, is in [design](../design.md#store).
"""


def on_files(files, config, **_):
    """Add the page."""
    files.append(File.generated(config, "reference/stores.md", content=page()))
    return files


def page() -> str:
    """The page in Markdown."""
    parts = [OPENING]
    for store, module in SWEEPS.items():
        rows = [(name, *described) for name, described in variables(importlib.import_module(module)).items()]
        parts += [f"## {store}\n", _table(("variable", "dimensions", "meaning", "unit"), rows)]
        parts += [f"Besides: {BESIDES[store]}\n"] if store in BESIDES else []
    parts += ["## posterior_sweep\n", _posterior(), "## theory_sweep\n", _theory()]
    return "\n".join(parts)


def variables(module: ModuleType) -> dict[str, tuple[str, str, str]]:
    """Dimensions, meaning and unit of the variables that a module's tables name."""
    known, found = {**WORDS, **vars(module)}, {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                _bind(target, _value(node.value, known), known)
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        for name, row in zip(node.keys, node.values) if isinstance(node, ast.Dict) else ():
            if isinstance(name, ast.Constant) and isinstance(row, ast.Tuple) and len(row.elts) > 2:
                dims, *_, last = row.elts
                texts = [text for part in row.elts[1:] if isinstance(text := _value(part, known), str)]
                shape = _value(dims, known)
                if texts and isinstance(shape, tuple) and isinstance(_value(last, known), str):
                    meaning, unit = (texts[-2], texts[-1]) if len(texts) > 1 else (texts[0], "1")
                    found[name.value] = (", ".join(shape), meaning, unit)
    return found


def _value(node: ast.AST, known: dict) -> object:
    """The value of an expression of constants; None where it needs a run."""
    try:
        return eval(compile(ast.Expression(node), "<table>", "eval"), {"__builtins__": {}}, known)
    except Exception:
        return None


def _bind(target: ast.AST, value: object, known: dict) -> None:
    if isinstance(target, ast.Name) and isinstance(value, str | tuple):
        known[target.id] = value
    elif isinstance(target, ast.Tuple) and isinstance(value, tuple):
        for part, own in zip(target.elts, value):
            _bind(part, own, known)


def _posterior() -> str:
    from sims.posterior_sweep.spec import AXES

    text = f"Every variable has the dimensions {', '.join(AXES)}."
    rows = [
        ("shared_misalignment_mean", "mean of ||w - e_*||^2 over prompts"),
        ("fresh_misalignment_mean", "||E w - e_*||^2, free of bias"),
        ("map_error_mean", "probability that the likeliest concept is not the target"),
        ("..._sem, _effective, _low, _high", "of each: standard error, prompts that carry it, 95% interval"),
        ("num_prompts", "independent prompts"),
    ]
    return f"{text}\n\n{_table(('variable', 'meaning'), rows)}"


def _theory() -> str:
    from sims.theory_sweep.spec import TheorySpec
    from sims.theory_sweep.studies import STUDIES

    text = "A study S has the variables `S_mean`, `S_sem` and `S_cov`, over its axes and quantities."
    spec = TheorySpec()
    rows = [
        (name, ", ".join(f"{name}_{axis}" for axis in study.axes(spec)), ", ".join(study.quantities(spec)))
        for name, study in STUDIES.items()
    ]
    return f"{text}\n\n{_table(('study', 'axes', 'quantities'), rows)}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *((f"`{name}`", *rest) for name, *rest in rows)]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in line) + " |" for line in lines
        )
        + "\n"
    )
