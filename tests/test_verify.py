"""`python -m sims.verify`: the command, and whether a formula with a constant wrong by 10% turns a line of it red."""

import ast
import importlib
import inspect
import json
import math
import sys
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest

import w2s_jax
from sims import verify
from sims.checks import all_checks, check, population
from sims.checks.check import Check, judge, simulate
from sims.checks.draws import normals
from sims.checks.run import report
from w2s_jax import theory, theory_zoo

FORMS = [name for name in theory.__all__ if inspect.isfunction(getattr(theory, name))]
KERNELS = ["misfit", "sign_accuracy"]
"""Closed forms that are kernels: docs/theory.md 3.8 and 3.9."""
UNSIMULATED = {
    "agreement_range": "bounds for any two classifiers, which tests of the module reach",
    "best_student_schedule": "the best of another form, found again by a search in tests of the module",
    "projected_coef": "read through every other form of its module",
    "success_exponent": "a limit far beyond sizes that can be drawn; held by slopes in tests of the module",
    "weak_to_strong_exponent": "the same",
}
"""Forms of the zoo without a row, and why."""
ZOO = [name for name in theory_zoo.__all__ if inspect.isfunction(getattr(theory_zoo, name)) and name not in UNSIMULATED]


# --- The command ------------------------------------------------------------------------------------------------------


def run(*arguments: str, source=population.checks) -> int:
    return verify.main(list(arguments), source)


@pytest.mark.slow
def test_two_claims(capsys, tmp_path):
    path = tmp_path / "deep" / "claims.json"
    assert run("--only", "b_P^2,", "b_w^2, rotated", "--json", str(path)) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 3 and all(line.startswith("ok ") for line in lines[1:])
    assert "2 of 2 claims hold" in err
    rows = json.loads(path.read_text())
    assert [row["forms"] for row in rows] == [["source_bias"], ["weak_bias"]]
    for row in rows:
        assert set(row) == {"claim", "predicted", "simulated", "sem", "z", "ok", "count", "scale", "forms"}
        assert row["ok"] is True and row["count"] >= 1000 and row["scale"] == row["predicted"]
        assert row["sem"] <= 0.01 * row["scale"]
        assert math.isclose(row["z"], (row["simulated"] - row["predicted"]) / row["sem"])


def test_a_wrong_formula_exits_with_1(capsys, monkeypatch):
    monkeypatch.setattr(theory, "source_bias", lambda task, right=theory.source_bias: 1.1 * right(task))
    assert run("--only", "b_P^2", "--precision", "0.015") == 1
    assert "FAIL b_P^2" in capsys.readouterr().out


def test_draws_depend_on_seed_and_claim_alone(capsys):
    def printed(*arguments):
        assert run(*arguments) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "b_P^2, K" in line]
        return line.split()[-4:]

    alone, among = printed("--only", "b_P^2,"), printed("--only", "b_")
    assert alone == among != printed("--only", "b_P^2,", "--seed", "1")
    assert run("--list") == 0
    assert "[source_bias]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "0"], "--precision must be positive and finite, got 0.0"),
        (["--seed", "-1"], r"--seed must be in [0, 2^63), got -1"),
        (["--only", "b_P^2", "unheard of"], "--only must match a claim or a form, but none contains 'unheard of'"),
        (["--json", "FILE/claims.json"], "--json must be a file that can be written, got"),
        (["--json", "."], "--json must be a file that can be written, got"),
    ],
)
def test_bad_input(capsys, tmp_path, arguments, message):
    (tmp_path / "file").write_text("keep me")
    arguments = [argument.replace("FILE", str(tmp_path / "file")) for argument in arguments]
    out = [] if "--json" in arguments else ["--json", str(tmp_path / "deep" / "claims.json")]
    assert run(*arguments, *out) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert not captured.out
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]
    assert (tmp_path / "file").read_text() == "keep me"


def noise(key):
    return 1 + 0.5 * normals(key, 100, 1)


def test_a_standard_error_out_of_reach_is_not_ok(monkeypatch):
    monkeypatch.setattr(check, "MAX_BATCHES", 20)
    never = Check("too noisy", ("f",), lambda: 1.0, noise)
    simulation = simulate(never, 0, 0.001)
    assert not simulation.precise and simulation.count == 2000
    outcome = judge(never, simulation)
    assert abs(outcome.z) < 5 and not outcome.ok


def test_predictions_that_are_not_numbers_are_not_ok():
    for value in (math.nan, math.inf):
        row = Check("nothing", ("f",), lambda value=value: value, noise)
        simulation = simulate(row, 0, 0.01)
        assert simulation.count == check.MIN_SAMPLES and not judge(row, simulation).ok
        json.dumps(report(judge(row, simulation)), allow_nan=False)


@pytest.mark.slow
def test_bounds_and_allowances_and_reduced_values():
    def outcome(prediction, **options):
        row = Check("f", ("f",), lambda: prediction, noise, **options)
        return judge(row, simulate(row, 0, 0.01))

    assert outcome(1.0).ok and not outcome(1.2).ok and not outcome(0.8).ok
    assert outcome(1.2, is_bound=True).ok and not outcome(0.8, is_bound=True).ok
    assert outcome(1.05, allowance=0.06).ok and not outcome(1.2, allowance=0.06).ok
    assert outcome(1.0, sharpen=3).count > 5 * outcome(1.0).count
    assert outcome(0.0, scale=1.0).z > 50
    # The mean of a square: the value is free of the bias var/n, and its error that of a derivative.
    squared, plain = outcome(1.0, reduce=lambda mean: mean[0] ** 2), outcome(1.0, sharpen=2)
    assert squared.count == plain.count
    np.testing.assert_allclose(squared.simulated, plain.simulated**2 - plain.sem**2, rtol=1e-10)
    np.testing.assert_allclose(squared.sem, 2 * plain.simulated * plain.sem, rtol=1e-10)


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return all_checks()


@pytest.mark.slow
def test_every_form_has_a_claim(checks):
    covered = {form for row in checks for form in row.forms}
    assert set(FORMS + KERNELS + ZOO) <= covered, f"without a row in sims/checks: {set(FORMS + ZOO) - covered}"
    assert covered <= {*theory.__all__, *theory_zoo.__all__, *w2s_jax.__all__}
    claims = [row.claim for row in checks]
    assert len(set(claims)) == len(claims)


# --- Whether it would notice ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(checks, compile_in_a_hurry) -> list:
    """Every row with its draws, at a precision at which 10% is still noticed."""
    with ThreadPoolExecutor(2) as pool:
        return list(zip(checks, pool.map(lambda row: simulate(row, 0, 0.015), checks), strict=True))


@pytest.mark.slow
def test_every_claim_holds(simulated):
    failed = [judge(*row) for row in simulated if not judge(*row).ok]
    assert not failed, failed


def is_red(row) -> bool:
    """Whether a row is not ok; a formula that no longer runs is noticed as well."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return not judge(*row).ok
    except Exception:
        return True


HOMES = {
    **{form: [theory] for form in FORMS},
    **{form: [w2s_jax] for form in KERNELS},
    **{form: [theory_zoo, importlib.import_module(getattr(theory_zoo, form).__module__)] for form in ZOO},
}
"""Where each form is looked up."""


@pytest.mark.slow
@pytest.mark.parametrize("form", HOMES)
def test_a_form_wrong_by_10_percent_is_noticed(simulated, monkeypatch, form):
    right = getattr(HOMES[form][0], form)
    for factor in (0.9, 1.1):

        def wrong(*args, f=factor, **options):
            return jax.tree.map(lambda x: f * x, right(*args, **options))

        for home in HOMES[form]:
            monkeypatch.setattr(home, form, wrong)
        assert any(is_red(row) for row in simulated if form in row[0].forms), f"{factor} times {form} passes"


MODULES = (
    *("population", "finite_sample", "hull", "span", "posterior", "posterior_mean", "misalignment"),
    *("sampled_misalignment", "mixed_prompts", "mixed_prompts_mean", "one_example", "em", "crossover"),
)
"""In an order in which each imports only from those before it."""

PLACES_A_CONTOUR = "an integral is the same on every contour; its digits are held by tests of the module"
FINDS_A_ROOT = "the way to a root, not the root"
QUADRATURE = "nodes and weights that are held to 1e-8 by tests of the module; a mutant compiles for many seconds"
NO_EXAMPLES = "nothing is random without examples; held to 1e-12 by tests of the module"
INERT_FUNCTIONS = {
    "posterior_mean": dict.fromkeys(("_contour", "_saddle", "logistic_kernel_slope"), PLACES_A_CONTOUR),
    "mixed_prompts": {
        "singularities": PLACES_A_CONTOUR,
        **dict.fromkeys(("bisect", "parts", "log_mgf_slope", "_best_scaled_tilt"), FINDS_A_ROOT),
    },
    "mixed_prompts_mean": {"_contour": PLACES_A_CONTOUR, "_contour_integral": QUADRATURE},
    "one_example": dict.fromkeys(("_quadrature", "_label_nodes", "_log_nodes", "_feature_nodes"), QUADRATURE),
    "crossover": {
        **dict.fromkeys(("refinement_crossover", "_crossing", "_halley"), FINDS_A_ROOT),
        "_halley_jvp": "a derivative",
    },
}
"""Functions whose constants are left alone, and why."""
INERT = {
    "tolerance =": "a tolerance",
    "eps) **": "a tolerance",
    "ties = exponents <=": "a tolerance",
    "if num_concepts < 1": "the range of an argument",
    "fminbound(": PLACES_A_CONTOUR,
    "prior[rivals] ** 2)": NO_EXAMPLES,
    "jnp.sum(prior[rivals]) ** 2 - square)": NO_EXAMPLES,
    "if length else 1": NO_EXAMPLES,
    "means[:] = means[:1]": NO_EXAMPLES,
    "np.zeros((1, num_concepts, 0))": NO_EXAMPLES,
    "distances = means": "what the standard error is of",
    "error[cells] =": "the standard error, which tests of the module compare with the spread between seeds",
    "sobol.random_base2(log2_points), 1e-12": "beyond every point",
    "distance = jnp.sum((task.concepts": "only which concept is nearest is read",
}
"""Lines whose constants are left alone, by a part of them, and why."""


def module_of(name: str):
    return importlib.import_module(f"w2s_jax.theory.{name}")


def constants(name: str) -> list[tuple[str, int, str]]:
    """(function, number in the file, its line) of every numeric constant in the code of a module, fillers aside."""
    source = Path(module_of(name).__file__).read_text()
    lines, found = source.splitlines(), []
    tree = ast.parse(source)
    numbers = {id(node): i for i, node in enumerate(n for n in ast.walk(tree) if isinstance(n, ast.Constant))}
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        if function.name in INERT_FUNCTIONS.get(name, {}):
            continue
        fillers = {
            id(argument)
            for call in ast.walk(function)
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "jnp.where"
            for argument in call.args
        }
        for part in [*function.args.defaults, *function.args.kw_defaults, *function.body]:
            for node in ast.walk(part) if part else ():
                number = isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value != 0
                line = lines[node.lineno - 1].strip() if number else ""
                if number and id(node) not in fillers and not any(part in line for part in INERT):
                    found.append((function.name, numbers[id(node)], line))
    return found


def mutant(name: str, number: int) -> dict[str, types.ModuleType]:
    """The module with one constant 10% too large, and all modules that build on it, by name."""
    fresh, kept = {}, {}
    try:
        for module in MODULES[MODULES.index(name) :]:
            path = Path(module_of(module).__file__)
            tree = ast.parse(path.read_text(), str(path))
            imports = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
            full = f"w2s_jax.theory.{module}"
            if module != name and not imports & set(fresh):
                continue
            if module == name:
                node = [n for n in ast.walk(tree) if isinstance(n, ast.Constant)][number]
                node.value = 1.1 * node.value
            kept[full] = sys.modules[full]
            fresh[full] = sys.modules[full] = types.ModuleType(full)
            exec(compile(tree, str(path), "exec"), fresh[full].__dict__)
    finally:
        sys.modules.update(kept)
    return fresh


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_a_constant_wrong_by_10_percent_is_noticed(simulated, monkeypatch, name):
    """Each numeric constant in the code of the closed forms, one after the other."""
    home = {form: getattr(theory, form).__module__ for form in FORMS}
    unnoticed = []
    for function, number, line in constants(name):
        fresh = mutant(name, number)
        with monkeypatch.context() as patched:
            for form, module in home.items():
                if module in fresh:
                    patched.setattr(theory, form, getattr(fresh[module], form))
            near_first = sorted(
                (row for row in simulated if any(home.get(form) in fresh for form in row[0].forms)),
                key=lambda row: not any(home.get(form, "").endswith(f".{name}") for form in row[0].forms),
            )
            noticed = any(is_red(row) for row in near_first)
        if not noticed:
            unnoticed.append((function, number, line))
    print(*unnoticed, sep="\n")
    assert not unnoticed


def test_what_is_left_alone_exists_and_no_module_is_left_out():
    for name, functions in INERT_FUNCTIONS.items():
        assert set(functions) <= set(vars(module_of(name))), name
    sources = "".join(Path(module_of(name).__file__).read_text() for name in MODULES)
    assert all(part in sources for part in INERT)
    assert {f"w2s_jax.theory.{name}" for name in MODULES} >= {getattr(theory, form).__module__ for form in FORMS}
