"""A method from a file outside the checkout: checked, run in disguise, known by its source, read without it."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from figures import make
from sims import inspect
from sims.methods import __main__ as methods
from sims.methods import plugin, submission, submit, verify
from sims.methods.disguise import disguised, draw_disguise, put_back
from tests.arena_views import draw, make_task
from tests.conftest import ROOT
from tests.helpers import of
from tests.test_bad_input import assert_refused
from tests.tiny import ARENA
from w2s_jax.results import open_results

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
FILE = ROOT / "docs" / "my_method.py"
TEMPLATE = FILE.read_text()
NAME = "mean_refine"
COMPARED = ("ceiling", "naive_ft", "icl_refine", NAME)


def run(out, file, *arguments: str, **fields) -> int:
    return ARENA.run(out, *arguments, **{"methods": COMPARED, "plugin": file, "relaxed": ("wrong_concept",), **fields})


# --- bad plugins ------------------------------------------------------------------------------------------------------

BAD = {
    "is not there": (None, "must be a file that can be read"),
    "does not import": ("import jax.numpy", "import jax.nump", "cannot|raises ModuleNotFoundError: No module"),
    "is no Python": ("def fit(view", "def fit(view:", "raises SyntaxError: invalid syntax"),
    "defines nothing": ("METHOD =", "OTHER =", r"METHOD in .* must be a w2s_jax.methods.Method, got nothing"),
    "lacks a field": ("    cost=", "    #", "raises TypeError: .*missing .*argument: 'cost'"),
    "has a known name": (NAME, "hull", "must be a new one, got hull, a method of the arena; give another"),
    # Where annotations are checked, as in most tests, Method itself refuses it.
    "sees what there is not": ('"prompts"', '"prompt"', "sees of .* must be among .*, got 'prompt'|TypeCheckError"),
    "tries what it forbids": ("1.0), 0.0", "1.0), 0.5", "penalty of mean_refine in .* must be a Knob with a default"),
    "peeks at the target": ("view.source\n", "view.source; view.true_labels\n", "it reads true_labels and declares"),
    "peeks into the source": ("view.source\n", "view.source; view.source.target_coef\n", "reads target_coef of the "),
    "peeks at prompts": ('("source", "prompts")', '("source",)', "it reads prompts and declares source; do without"),
    "returns another shape": ("penalty)\n\n", "penalty)[None]\n\n", r"float64 \[5\], got float64 \[1, 5\]"),
    "returns another type": ("penalty)\n\n", "penalty) > 0\n\n", r"must return one array .*, got bool \[5\]"),
    "returns two arrays": ("penalty)\n\n", "penalty), labels\n\n", "must return one array of coefficients"),
    "is not traceable": ("view.source\n", "view.source; float(penalty)\n", "raises ConcretizationTypeError"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_plugin_gets_a_sentence(capsys, tmp_path, case):
    *change, message = BAD[case]
    file = tmp_path / "method.py"
    if len(change) == 2:
        assert change[0] in TEMPLATE
        file.write_text(TEMPLATE.replace(*change))
    assert_refused(capsys, run(tmp_path / "out", file), message, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} <= {"method.py"}


def test_what_an_arena_asks_of_a_plugin(capsys, tmp_path):
    for given, message in (
        (["--labels", "sign"], "mean_refine must support sign labels, but it has linear ones alone"),
        (["--methods", "naive_ft"], "methods must name mean_refine, the method of --plugin, got naive_ft; add it"),
    ):
        assert_refused(capsys, methods.main(["--plugin", str(FILE), *given, "--out", str(tmp_path / "x")]), message)
    assert_refused(capsys, methods.main(["--plugin"]), "--plugin needs a value")
    assert not list(tmp_path.iterdir())
    assert methods.main(["--list", f"--plugin={FILE}"]) == 0
    assert f"\n{NAME}: Labels are the expected answers" in capsys.readouterr().out


# --- the disguise -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_disguise_changes_no_answer():
    """What a model answers to an example is the same in disguise, concept by concept, and coefficients are put back."""
    view = draw(jax.random.key(1), make_task(), 24, 3)
    view = view._replace(source=view.source._replace(feature_var=jax.numpy.arange(1.0, 7.0)))
    by = draw_disguise(jax.random.key(2), view)
    seen = disguised(view, by)
    assert not np.array_equal(by.concepts, np.arange(3)) and not np.array_equal(by.features, np.arange(6))
    for answers in (
        lambda view: view.features @ view.source.source_coef,
        lambda view: view.features @ view.middle_coef.T,
        lambda view: np.square(view.features) @ view.source.feature_var,
        lambda view: view.prompts.features @ view.source.source_coef,
    ):
        np.testing.assert_allclose(answers(seen), answers(view), rtol=1e-9, atol=1e-12)
    answers, again = (view.source.concepts @ view.features.T for view in (view, seen))
    np.testing.assert_allclose(again, answers[by.concepts], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(view.features @ put_back(seen.middle_coef, by).T, view.features @ view.middle_coef.T)


@pytest.mark.slow
def test_who_knows_the_place_of_the_target_learns_nothing_of_it():
    """The first concept, which is the target in every task of the arena, is any of them in disguise."""
    view = draw(jax.random.key(1), make_task(), 4, 1)

    @jax.jit
    @jax.vmap
    def first_concept(key):
        by = draw_disguise(key, view)
        return put_back(disguised(view, by).source.concepts[0], by)

    found = first_concept(jax.random.split(jax.random.key(0), 300))
    shares = [np.isclose(found, concept, atol=1e-9).all(axis=1).mean() for concept in view.source.concepts]
    assert sum(shares) == pytest.approx(1) and max(np.abs(np.array(shares) - 1 / 3)) < 0.12  # 4 standard errors


# --- a store of it ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The folder of a finished arena with the template, whose file is gone."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "mine.py").write_text(TEMPLATE)
    assert run(folder / "results", folder / "mine.py") == 0
    (folder / "mine.py").unlink()
    return folder / "results"


@pytest.fixture
def other(tmp_path):
    """The same method in another file."""
    (path := tmp_path / "other.py").write_text(TEMPLATE + "# one more remark\n")
    return path


@pytest.mark.slow
def test_the_template_is_ranked_among_the_others(own):
    data = open_results(own / "methods.zarr")
    assert data.method.values.tolist() == list(COMPARED)
    risk = data.risk_mean.sel(tuning="weak_labels", budget="examples")
    assert (of(NAME, risk) < of("naive_ft", risk)).all()
    np.testing.assert_allclose(data.rank_mean.sum("method"), 6)


@pytest.mark.slow
def test_its_store_opens_where_its_file_is_not(own, tmp_path, capsys, monkeypatch, few_pixels):
    monkeypatch.setattr(plugin, "_loaded", {})
    elsewhere = shutil.copytree(own, tmp_path / "elsewhere")
    assert inspect.main([str(elsewhere / "methods.zarr")]) == 0
    assert f"plugin {NAME} " in capsys.readouterr().out.replace("\n              ", " ")
    assert make.main(["--results", str(elsewhere), "--only", "method_table", "--only", "robustness"]) == 0
    capsys.readouterr()
    code = methods.main(["--from", str(elsewhere / "methods.zarr"), "--replicates", "9", "--out", str(elsewhere)])
    assert_refused(capsys, code, r"mean_refine \(sha256 \w{12}\.\.\.\) is not loaded; give that file with --plugin")


@pytest.mark.slow
def test_another_source_is_another_store(own, other, capsys):
    assert run(own, FILE) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert_refused(capsys, run(own, other), r'differs in plugin \("mean_refine \w+\.\.\. in the store')


@pytest.mark.slow
def test_signs_are_ranked_where_a_plugin_learns_from_them(tmp_path):
    """A copy of a built-in method finds what that finds, although it works in disguise."""
    (file := tmp_path / "copy.py").write_text(
        "import dataclasses\nfrom w2s_jax.methods import METHODS\n"
        'METHOD = dataclasses.replace(METHODS["hull"], name="copied")\n'
    )
    assert run(tmp_path, file, labels="sign", methods=("naive_ft", "hull", "copied"), weak_accuracy=(0.7,)) == 0
    data = open_results(tmp_path / "methods_sign.zarr")
    np.testing.assert_allclose(of("copied", data.risk_mean), of("hull", data.risk_mean), rtol=1e-5)


# --- submissions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_board(monkeypatch):
    """Submissions are of the tiny arena, and of whatever code."""
    spec = dataclasses.replace(ARENA.spec, methods=("naive_ft",), relaxed=("wrong_concept",), plugin="")
    for module in (submission, verify):
        monkeypatch.setattr(module, "preset_of", lambda labels: spec)
    monkeypatch.setattr(submission, "check_commit", lambda *_: None)


@pytest.fixture
def submitted(own, tmp_path, tiny_board):
    """A submission of the finished arena."""
    out = tmp_path / "mine.json"
    assert submit.main([str(own / "methods.zarr"), "--plugin", str(FILE), "--out", str(out)]) == 0
    return out


@pytest.fixture
def verified(capsys, submitted):
    """`verified(change, seed, source)` is the exit code of a verification of the submission, changed."""
    text = submitted.read_text()

    def run_again(change=lambda found: None, seed="11", source=FILE) -> int:
        found = json.loads(text)
        change(found)
        submitted.write_text(json.dumps(found))
        capsys.readouterr()
        return verify.main([str(submitted), "--plugin", str(source), "--seed", seed, "--replicates", "40"])

    return run_again


@pytest.mark.slow
def test_a_score_is_the_geometric_mean_of_ratios(own, submitted):
    found, data = json.loads(submitted.read_text()), open_results(own / "methods.zarr")
    assert set(found) == set(submission.FIELDS) and found["sees"] == ["source", "prompts"]
    for budget in ("examples", "compute"):
        risk = data.risk_mean.sel(tuning="weak_labels", budget=budget)
        np.testing.assert_allclose(found["risk"][budget], of(NAME, risk).values.ravel(), rtol=1e-5)
        ratio = (of(NAME, risk) / of("naive_ft", risk)).values
        np.testing.assert_allclose(found["score"][budget]["ratio"], np.exp(np.log(ratio).mean()), rtol=1e-5)


def test_the_error_of_a_score_is_that_of_a_mean(monkeypatch, tmp_path):
    """Where the ratio of risks hardly varies the jackknife's error is that of the mean of the blocks."""
    rng, blocks = np.random.default_rng(0), 12
    means = np.ones((blocks, 3, 2, 3)) * [1.0, 0.5, 9.0] * (1 + 1e-4 * rng.normal(size=(blocks, 1, 1, 3)))
    held = SimpleNamespace(
        marks=lambda: np.full((blocks, 1), 4),
        read=lambda block, chunk: {"tuned.count": np.array(4.0), "tuned.mean": means[block]},
    )
    monkeypatch.setattr(submission.Store, "look", lambda path: held)
    cells = {"weakness": ("rotated",), "weak_accuracy": (0.5, 0.6, 0.7), "concept_shift": (0.5,)}
    spec = dataclasses.replace(ARENA.spec, methods=("naive_ft", "source"), **cells)
    monkeypatch.setattr(submission.plugin, "name_of", lambda own: "source")
    score = submission.scores_of(tmp_path, spec)["examples"]
    assert score.ratio == pytest.approx(0.5, rel=1e-3)
    logs = np.log(means[:, 0, 0, 1] / means[:, 0, 0, 0])
    assert score.log_sem == pytest.approx(logs.std(ddof=1) / np.sqrt(blocks), rel=1e-2)


BROKEN = {
    "lacks risk": (lambda found: found.pop("risk"), "but it lacks risk; write it with"),
    "holds more": (lambda found: found.update(extra=1), "but it also has extra"),
    "has no text": (lambda found: found.update(about=3), "the text about .* must be right, got 3"),
    "counts in halves": (lambda found: found.update(replicates=1.5), "the whole number replicates .* got 1.5"),
    "is of a later format": (lambda found: found.update(format=9), "the format, 1, .* must be right, got 9"),
    "has other labels": (lambda found: found.update(labels="words"), "labels, among linear, sign, .* got 'words'"),
    "lacks a task": (lambda found: found["risk"]["examples"].pop(), "risk at the same examples, 2 numbers"),
    "has no risk": (lambda found: found["risk"]["compute"].__setitem__(0, 0), "positive and finite numbers"),
    "has words": (lambda found: found["naive_risk"]["compute"].__setitem__(0, "x"), "positive and finite numbers"),
    "boasts": (lambda found: found["score"]["examples"].update(ratio=0), "the ratio at the same examples, .* got 0;"),
    "scores words": (lambda found: found["score"].update(examples="good"), "the score at the same examples"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BROKEN)
def test_a_submission_that_is_not_whole_gets_a_sentence(capsys, verified, case):
    change, message = BROKEN[case]
    assert_refused(capsys, verified(change), message)


@pytest.mark.slow
def test_what_cannot_be_submitted(capsys, own, submitted, other, tmp_path, monkeypatch):
    def refused(message: str, source=FILE) -> None:
        capsys.readouterr()
        code = submit.main([str(own / "methods.zarr"), "--plugin", str(source), "--out", str(tmp_path / "x.json")])
        assert_refused(capsys, code, message, tmp_path / "x.json")

    refused("the store must be of the file that --plugin names", other)
    preset = dataclasses.replace(submission.preset_of("linear"), seed=4)
    monkeypatch.setattr(submission, "preset_of", lambda labels: preset)
    refused("must be of the tasks and the seed of the preset quick")
    monkeypatch.undo()
    spec = dataclasses.replace(preset, seed=ARENA.spec.seed, replicates=99)
    monkeypatch.setattr(submission, "preset_of", lambda labels: spec)
    refused("a submission must be complete, but")


@pytest.mark.slow
def test_a_submission_is_run_again_on_other_draws(capsys, verified, other):
    def better(found):
        """Every risk is a tenth lower, and the score with it."""
        for budget, values in found["risk"].items():
            found["risk"][budget] = [0.9 * value for value in values]
            found["score"][budget]["ratio"] *= 0.9

    assert verified() == 0
    assert capsys.readouterr().out.endswith("comes out again, on its own draws and with seed 11\n")
    assert verified(better) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: a submission must come out again, but its risk at the same examples in task")
    assert " with seed 3, more than " in last and last.endswith(" apart; submit what its method finds.")
    assert_refused(capsys, verified(source=other), "--plugin must be the file that was submitted")
    assert_refused(capsys, verified(seed="3"), "--seed must be another than that of the submission")


@pytest.mark.slow
def test_a_method_made_for_the_seed_of_the_submission_is_found_out(capsys, verified, monkeypatch):
    """On the submission's own draws all is as it says; on others its risks are another method's."""
    run_before = verify.numbers_of

    def lucky(store, spec):
        found = run_before(store, spec)
        if spec.seed != ARENA.spec.seed:
            for budget in found["score"]:
                found["score"][budget]["ratio"] *= 1e9
        return found

    monkeypatch.setattr(verify, "numbers_of", lucky)
    assert verified(seed="12") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: a submission must come out again, but its logarithm of the score at the same ex")
    assert "with seed 12, more than" in last
