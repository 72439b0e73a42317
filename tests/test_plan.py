"""`w2s_jax.plan` and `python -m sims.plan`: predictions against committed simulations and theory."""

import json
import math
import re
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import w2s_jax as w2s
from sims import evidence
from sims import plan as command
from sims.risk_sweep.spec import QUICK
from tests.conftest import ROOT
from tests.helpers import of
from tests.test_bad_input import assert_refused
from w2s_jax import theory, theory_zoo
from w2s_jax.planning import forms
from w2s_jax.planning import plan as planning
from w2s_jax.planning.question import read

CELL = {"weak_accuracy": 0.7, "concept_shift": 0.5, "num_samples": 1024, "dim": 32, "num_concepts": 2, "num_icl": 16}
MEASURED = {"start_accuracy": 0.8, "teacher_accuracy": 0.7, "agreement": 0.66}
SIZES = {"num_samples": 64, "dim": 9, "num_concepts": 4}
NOTHING = dict.fromkeys(("weak_accuracy", "concept_shift", "weakness"))
LARGEST = QUICK.sample_size[-1]


@pytest.fixture(scope="module")
def found() -> w2s.Plan:
    return w2s.plan(**CELL)


@pytest.fixture(scope="module")
def task():
    return w2s.make_task(**{name: CELL[name] for name in ("num_concepts", "dim", "weak_accuracy", "concept_shift")})


# --- The committed quick sweep --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated():
    return evidence.load(ROOT / "docs" / "results", "risk_sweep-quick").data


@pytest.fixture(scope="module")
def tasks():
    """All tasks of the sweep, `[35 * 5]`, weakness first, and one program each for their predictions."""

    def build(weakness):
        def one(accuracy, shift):
            law = {"num_concepts": QUICK.num_concepts, "dim": QUICK.dim, "noise_var": QUICK.noise_var}
            return w2s.make_task(**law, weak_accuracy=accuracy, concept_shift=shift, weakness=weakness)

        grid = jnp.meshgrid(jnp.array(QUICK.weak_accuracy), jnp.array(QUICK.concept_shift), indexing="ij")
        return jax.vmap(one)(*map(jnp.ravel, grid))

    return jax.jit(lambda: jax.tree.map(lambda *x: jnp.concatenate(x), *map(build, QUICK.weakness)))()


def laid_out(values, *extra: int) -> np.ndarray:
    """`[weakness weak_accuracy concept_shift *extra]` from `[tasks *extra]`."""
    return np.asarray(values).reshape(len(QUICK.weakness), len(QUICK.weak_accuracy), len(QUICK.concept_shift), *extra)


@pytest.fixture(scope="module")
def fine_tuned(tasks) -> forms.Naive:
    """Predictions of naive fine-tuning, `[weakness weak_accuracy concept_shift sample_size]`."""
    sizes = jnp.array(QUICK.sample_size, float)
    one = jax.vmap(forms.naive, (None, 0, None))
    grid = jax.jit(jax.vmap(one, (0, None, None)))(tasks, sizes, jnp.array(planning.PENALTIES))
    return forms.Naive(*(laid_out(part, len(sizes)) for part in grid))


@pytest.fixture(scope="module")
def refined(tasks) -> forms.Refined:
    """Predictions of refinement at n = 1024, `[weakness weak_accuracy concept_shift num_icl 2]`."""
    lengths = jnp.array(QUICK.num_icl[1:], float)
    one = jax.vmap(forms.refined, (None, None, 0))
    grid = jax.jit(jax.vmap(one, (0, None, None)))(tasks, float(LARGEST), lengths)
    return forms.Refined(*(laid_out(part, len(lengths), 2) for part in grid))


def simulated_risks(simulated, method: str, part: str = "mean") -> np.ndarray:
    """Risks, or their errors, as predictions are laid out: over n (naive_ft), or over prompt lengths at n = 1024."""
    rows, last = of(method, simulated[f"risk_{part}"]), "sample_size"
    if method == "naive_ft":
        rows = rows.isel(num_icl=0)
    else:
        rows, last = rows.sel(sample_size=LARGEST, num_icl=list(QUICK.num_icl[1:])), "num_icl"
    return rows.transpose("weakness", "weak_accuracy", "concept_shift", last).values


def most_sem(refined: forms.Refined) -> np.ndarray:
    """The largest standard error that refinement with fresh prompts may have, which the table does not hold.

    A replicate's risk is that of one least squares fit, of error variance v in each of d directions around a bias of
    square m, averaged over 64 rounds of prompts of shared misalignment s: variance 4 m v + 2 d v^2 from the sample,
    which the mean over labels only lowers, and 4 m s/64 + 2 (s/64)^2 from the prompts.
    """
    shared, fresh = refined.misalignment[..., 0], refined.misalignment[..., 1]
    v = (QUICK.noise_var + 1 - (1 - np.sqrt(fresh)) ** 2) / (LARGEST - QUICK.dim - 1)
    prompts = shared / QUICK.prompt_rounds
    variance = 4 * fresh * v + 2 * QUICK.dim * v**2 + 4 * fresh * prompts + 2 * prompts**2
    return np.sqrt(variance / QUICK.replicates)


@pytest.mark.slow
def test_the_plan_names_the_winner_of_the_quick_sweep(simulated, fine_tuned, refined):
    """Cells of n = 1024, five prompt lengths; significant where twice both standard errors together do not reach."""
    naive, sem = (simulated_risks(simulated, "naive_ft", part)[..., -1:] for part in ("mean", "sem"))
    fresh = simulated_risks(simulated, "icl_refine_fresh")
    significant = np.abs(naive - fresh) > 2 * (sem + most_sem(refined))
    agree = (naive > fresh) == (fine_tuned.risk[..., -1:] > refined.risk[..., 1])
    print(f"{significant.sum()} of {agree.size} cells are significant; the plan names {agree[significant].sum()}")
    assert significant.sum() > 800
    assert agree[significant].mean() >= 0.95


def test_predicted_risks_cover_the_simulated_means(simulated, fine_tuned, refined):
    """And their twin: a prediction that is 10% off covers little."""
    naive, sem = (simulated_risks(simulated, "naive_ft", part) for part in ("mean", "sem"))
    fresh = simulated_risks(simulated, "icl_refine_fresh")
    covered = np.abs(naive - fine_tuned.risk) <= fine_tuned.error + 1.96 * sem
    also = np.abs(fresh - refined.risk[..., 1]) <= refined.error[..., 1] + 1.96 * most_sem(refined)
    together = np.concatenate([covered.ravel(), also.ravel()])
    print(f"covered: {covered.mean():.1%} of {covered.size} (naive), {also.mean():.1%} of {also.size} (refined)")
    assert together.mean() >= 0.93
    assert np.mean(np.abs(naive - 1.1 * fine_tuned.risk) <= fine_tuned.error + 1.96 * sem) < 0.1
    # and nearly nothing is left for the intervals to cover: predictions are close in themselves
    assert np.median(np.abs(naive / fine_tuned.risk - 1)) < 0.003
    assert np.median(np.abs(fresh / refined.risk[..., 1] - 1)) < 0.01


def test_the_path_of_penalties_is_that_of_the_sweep():
    assert QUICK.penalties == planning.PENALTIES


# --- Every line is the function that it names -------------------------------------------------------------------------


@pytest.mark.slow
def test_lines_are_the_functions_of_theory(found, task):
    n, m = CELL["num_samples"], CELL["num_icl"]
    perfect = task._replace(weak_concepts=task.concepts, weak_noise_var=task.noise_var)
    shared, fresh = (theory.misalignment(task, m, prompts) for prompts in ("shared", "fresh"))
    spreads = [theory.refined_label_spread(task, m, prompts) for prompts in ("shared", "fresh")]
    penalty = 1.0
    floor, source, weak = (getattr(theory, f)(task) for f in ("population_ridge_floor", "source_bias", "weak_bias"))
    near = theory.ridge_risk(task, n, penalty) + theory.ridge_risk_correction(task, n, penalty)
    risks_and_limits = {
        "naive_ft": (near, min(float(theory.population_ridge_risk(task, each)) for each in planning.PENALTIES)),
        "naive_ft_floor": (floor, math.nan),
        "icl_refine_shared": (theory.refined_risk(task, n, shared, spreads[0]), shared),
        "icl_refine_fresh": (theory.refined_risk(task, n, fresh, spreads[1]), fresh),
        "span": (theory.span_risk(task, n), theory.span_bias(task)),
        "hull": (theory.hull_risk(task, n), theory.hull_bias(task)),
        "source": (source, math.nan),
        "weak": (weak, math.nan),
        "ceiling": (theory.least_squares_risk(perfect, n), 0.0),
    }
    expected = {method: risk for method, (risk, _) in risks_and_limits.items()}
    assert {line.method for line in found.predictions} == set(expected)
    for line in found.predictions:
        pair = np.array([line.risk, line.limit], float)  # no limit is NaN
        np.testing.assert_allclose(pair, risks_and_limits[line.method], rtol=1e-6, err_msg=line.method)
        gap = (expected["weak"] - expected[line.method]) / (expected["weak"] - expected["ceiling"])
        np.testing.assert_allclose(line.pgr, gap, rtol=1e-6, atol=1e-9)
        for form in re.findall(r"theory\.(\w+)", line.form):
            assert hasattr(theory, form)
    assert found.winner == "icl_refine_fresh"
    np.testing.assert_allclose(found.ratio, expected["naive_ft"] / expected["icl_refine_fresh"], rtol=1e-6)
    ranked = {name: float(risk) for name, risk in expected.items() if name not in ("naive_ft_floor", "ceiling", "weak")}
    assert found.best == min(ranked, key=ranked.get)


@pytest.mark.slow
def test_true_labels_add_two_students_and_change_no_other_line(found, task):
    n, k = CELL["num_samples"], 50
    some = w2s.plan(**CELL, num_true=k)
    assert some.predictions[: len(found.predictions)] == found.predictions and some.best == found.best
    mixed, alone = some.predictions[len(found.predictions) :]
    perfect = task._replace(weak_concepts=task.concepts, weak_noise_var=task.noise_var)
    np.testing.assert_allclose(mixed.risk, theory.mixed_labels_risk(task, n, k), rtol=1e-6)
    np.testing.assert_allclose(alone.risk, theory.least_squares_risk(perfect, k), rtol=1e-6)
    np.testing.assert_allclose(mixed.limit, (1 - k / n) ** 2 * theory.weak_bias(task), rtol=1e-6)
    weak, ceiling = found.line("weak").risk, found.line("ceiling").risk
    np.testing.assert_allclose(mixed.pgr, (weak - mixed.risk) / (weak - ceiling), rtol=1e-6)
    coef = task.target_coef + (1 - k / n) * (task.weak_coef - task.target_coef)
    np.testing.assert_allclose(mixed.sign_accuracy, w2s.sign_accuracy(coef, task.target_coef), rtol=1e-6)
    assert (alone.limit, alone.sign_accuracy) == (0.0, 1.0)
    few = w2s.plan(**CELL, num_true=CELL["dim"])
    assert few.line("true_only").risk is None
    assert any("too few for least squares" in text for text in command.table(few))
    assert any("(50 of them true)" in text for text in command.table(some))


def test_sign_accuracies_are_those_of_the_students_of_many_labels(found, task):
    """A student fitted to 10^6 labels, and its teacher, count their signs on drawn inputs."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400_000, 32))
    truth = features @ np.asarray(task.target_coef) > 0
    weak, source = np.asarray(task.weak_coef), np.asarray(task.source_coef)
    half = weak * 0.5 + source * 0.5  # the best penalty is 1
    students = {"weak": weak, "source": source, "naive_ft": half, "span": np.r_[weak[:2], np.zeros(30)]}
    for method, coef in students.items():
        agree = np.mean((features @ coef > 0) == truth)
        assert abs(found.line(method).sign_accuracy - agree) < 0.004, method
    assert found.line("icl_refine_shared").sign_accuracy is None


@pytest.mark.slow
def test_labels_are_enough_where_the_risk_is_within_5_percent(found, task):
    span = found.line("span")
    risk = [float(theory.span_risk(task, n)) for n in (span.enough - 1, span.enough)]
    assert risk[0] > 1.05 * span.limit >= risk[1]
    naive = found.line("naive_ft")
    near = [
        float(jax.jit(forms.naive)(task, n, np.array(planning.PENALTIES)).risk)
        for n in (naive.enough - 2, naive.enough)
    ]
    assert near[0] > 1.05 * naive.limit >= near[1]
    assert math.isinf(found.line("ceiling").enough)


@pytest.mark.slow
def test_lengths_are_the_crossovers_of_theory(found, task):
    for prompts, length in zip(("shared", "fresh"), found.lengths_in_the_limit):
        level = [float(theory.misalignment(task, m, prompts)) for m in (length - 1, length)]
        assert level[0] >= found.line("naive_ft_floor").risk > level[1]
        crossover = theory.refinement_crossover_asymptotic(task, prompts)
        assert length <= math.ceil(crossover)  # the formula is high
    shortest = int(found.lengths.shared)
    at, before = (w2s.plan(**CELL | {"num_icl": m}) for m in (shortest, shortest - 1))
    assert at.line("icl_refine_shared").risk < at.line("naive_ft").risk
    assert before.line("icl_refine_shared").risk >= before.line("naive_ft").risk


@pytest.mark.slow
def test_without_a_closed_form_the_misalignment_is_sampled_and_the_rest_not_known():
    cell = {"num_concepts": 3, "dim": 32, "noise_var": 0.05, "weakness": "confused", "weak_accuracy": 0.3}
    found = w2s.plan(**CELL | cell | {"num_icl": 4})
    line = found.line("icl_refine_fresh")
    assert "sampled_misalignment" in line.form and 0 < line.error < 0.05
    assert found.lengths == (None, None) and len(found.not_known) == 1 + len(w2s.plan(**CELL).not_known)


def test_a_winner_within_the_errors_is_open(found):
    naive, fresh = found.line("naive_ft"), found.line("icl_refine_fresh")
    assert planning._winner(naive, fresh) == "icl_refine_fresh"
    assert planning._winner(naive, fresh._replace(risk=naive.risk + naive.error / 2)) is None
    assert planning._winner(naive, fresh._replace(risk=naive.risk + 0.1)) == "naive_ft"


# --- Measured accuracies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agreement", [0.51, 0.62, 0.66, 0.89])
def test_a_measured_task_has_the_accuracies_and_the_agreement_that_were_measured(agreement):
    given = MEASURED | SIZES | {"agreement": agreement}
    question = read(**given, **NOTHING, noise_var=0.25, num_icl=4)[0]
    task = planning.task_of(question)
    target, start, teacher = (np.asarray(x) for x in (task.target_coef, task.source_coef, task.weak_coef))
    for one, other, expected in ((start, target, 0.8), (teacher, target, 0.7), (start, teacher, agreement)):
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        np.testing.assert_allclose(1 - np.arccos(cosine) / np.pi, expected, atol=1e-9)
    assert theory.source_bias(task) > 0 and abs(np.linalg.norm(teacher) - 1) < 1e-9


@pytest.mark.parametrize(("weakness", "lean"), [("confused", 1), ("opposed", -1), ("rotated", 0)])
def test_the_lean_of_a_measured_teacher_names_its_kind(weakness, lean):
    task = w2s.make_task(num_concepts=4, dim=5, weak_accuracy=0.6, concept_shift=0.3, weakness=weakness)
    coefs = [np.asarray(c) for c in (task.source_coef, task.weak_coef, task.target_coef)]
    shares = [float(w2s.sign_accuracy(*pair)) for pair in ((coefs[0], coefs[2]), (coefs[1], coefs[2]), coefs[:2])]
    measured = dict(zip(("start_accuracy", "teacher_accuracy", "agreement"), shares))
    found = read(**measured, **NOTHING, num_samples=9, dim=5, num_concepts=4, noise_var=0.25, num_icl=4)[0]
    np.testing.assert_allclose([found.weak_accuracy, found.concept_shift, found.lean], [0.6, 0.3, lean], atol=1e-6)


def test_the_path_is_that_of_the_zoo():
    path = w2s.plan(**MEASURED).path
    best = theory_zoo.best_accuracy(*MEASURED.values())
    np.testing.assert_allclose([path.best_accuracy, path.progress], best, rtol=1e-6)
    np.testing.assert_allclose(path.first_gain, theory_zoo.first_gain(*MEASURED.values()), rtol=1e-6)
    assert path.gains and path.passes_teacher
    loses = w2s.plan(start_accuracy=0.8, teacher_accuracy=0.6, agreement=0.78).path
    assert not loses.gains and loses.best_accuracy == pytest.approx(0.8) and not loses.passes_teacher


# --- The command ------------------------------------------------------------------------------------------------------


def argv(numbers: dict) -> list[str]:
    return [word for name, value in numbers.items() for word in (f"--{name.replace('_', '-')}", str(value))]


MISTAKES = [
    (CELL | {"weak_accuracy": 70}, "weak_accuracy must be in (0, 1], got 70; a percentage is written as a fraction"),
    (CELL | {"concept_shift": 1}, "concept_shift must be in [0, 1), got 1"),
    (CELL | {"num_concepts": 1}, "num_concepts must be a whole number, at least 2, got 1; one concept has no shift."),
    (CELL | {"num_true": 2000}, "num_true must be at most num_samples = 1024, got 2000; it counts"),
    (CELL | {"noise_var": 0}, "noise_var must be positive and finite, got 0"),
    (CELL | {"dim": 2}, "dim must be at least 3 for 2 concepts and a rotated teacher, got 2"),
    (CELL | {"weakness": "rotten"}, "got 'rotten'; did you mean rotated?"),
    (CELL | {"weakness": "x"}, "weakness must be one of rotated, shifted, noisy, confused, opposed; got 'x'"),
    (MEASURED | {"start_accuracy": 1}, "start_accuracy must be in (0, 1), got 1"),
    (MEASURED | {"teacher_accuracy": 70}, "teacher_accuracy must be in (0, 1), got 70; a percentage"),
    (MEASURED | {"agreement": 0.95}, "agreement must be in [0.5, 0.9], which a start of accuracy 0.8"),
    ({"start_accuracy": 0.8}, "needs teacher_accuracy and agreement too"),
    ({"weak_accuracy": 0.7}, "needs concept_shift and num_samples and dim and num_concepts too"),
    (MEASURED | {"num_samples": 9}, "needs dim and num_concepts too"),
    (MEASURED | SIZES | {"teacher_accuracy": 0.4, "agreement": 0.5}, "teacher_accuracy must be above 0.5"),
    (MEASURED | SIZES | {"weakness": "rotated"}, "weakness must be left out"),
    ({}, "A plan needs numbers, got none"),
    (CELL | {"num_sample": 3}, "there is no option --num-sample; did you mean --num-samples?"),
    (CELL | {"dim": "many"}, "--dim must be a whole number, got 'many'"),
    (MEASURED | {"figure": "x.png"}, "--figure needs a task to draw"),
    (CELL | {"figure": "x.txt"}, "--figure must end in .png, .pdf, .svg, got x.txt"),
    (CELL | {"figure": "no.png/x.png", "json": "."}, "--json must be a file that can be written"),
]


@pytest.mark.parametrize(("numbers", "sentence"), MISTAKES, ids=lambda x: x if isinstance(x, str) else "")
def test_a_mistake_gets_a_sentence(capsys, tmp_path, monkeypatch, numbers, sentence):
    monkeypatch.chdir(tmp_path)
    files = {"json": "out.json"} | {name: value for name, value in numbers.items() if name in ("json", "figure")}
    assert_refused(capsys, command.main(argv(numbers | files)), re.escape(sentence))
    assert not list(tmp_path.iterdir())


def test_json_holds_the_plan(capsys, tmp_path, found):
    path = tmp_path / "deep" / "plan.json"
    assert command.main([*argv(CELL), "--json", str(path)]) == 0
    assert "Refinement with fresh prompts wins" in capsys.readouterr().out
    held = json.loads(path.read_text())
    assert held == command.as_json(found)
    assert [line["method"] for line in held["predictions"]] == [line.method for line in found.predictions]
    assert held["predictions"][-1]["enough"] == "never" and held["path"] is None
    assert command.main([*argv(CELL), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == held


@pytest.mark.slow
def test_the_figure_shows_the_point(tmp_path, monkeypatch, capsys):
    from figures import plan as drawing

    drawn = []
    make = drawing.point_on_phase_diagram
    monkeypatch.setattr(drawing, "point_on_phase_diagram", lambda *args: drawn.append(args) or make(*args))
    monkeypatch.setattr(command, "POINTS", 4)
    assert command.main([*argv(CELL), "--figure", str(tmp_path / "plan.png")]) == 0
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
    accuracies, shifts, naive, refined, point, _ = drawn[0]
    assert point == (0.7, 0.5)
    cell = w2s.plan(**CELL | {"weak_accuracy": float(accuracies[2]), "concept_shift": float(shifts[1])})
    np.testing.assert_allclose(naive[2, 1], cell.line("naive_ft").risk, rtol=1e-6)
    np.testing.assert_allclose(refined[2, 1], cell.line("icl_refine_fresh").risk, rtol=1e-6)


# --- docs/planning.md -------------------------------------------------------------------------------------------------

GUIDE = (ROOT / "docs" / "planning.md").read_text()
CASES = re.findall(r"```sh\n(python -m sims\.plan.*?)```\n+```text\n(.*?)```", GUIDE, re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


def test_the_guide_has_worked_cases_and_is_in_the_readme():
    assert len(CASES) >= 3 and "docs/planning.md" in (ROOT / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("line", "printed"), CASES, ids=lambda text: "")
def test_the_guide_prints_what_the_command_prints(capsys, line, printed):
    """Word by word, numbers to 2%: the guide was printed in single precision. Dots: the last lines are left out."""
    words = shlex.split(line.replace("\\\n", " "))[3:]
    assert command.main(words) == 0
    now = capsys.readouterr().out
    if printed.endswith("...\n"):
        printed = printed.removesuffix("...\n")
        now = "\n".join(now.splitlines()[: len(printed.splitlines())])
    assert NUMBER.sub("#", now).split() == NUMBER.sub("#", printed).split()
    numbers = [np.array([float(x.replace(",", "")) for x in NUMBER.findall(text)]) for text in (now, printed)]
    np.testing.assert_allclose(*numbers, rtol=0.02)
