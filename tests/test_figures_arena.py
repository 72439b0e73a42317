"""Figures of the arena, of results of its own writer: who wins where, what the table says, and a new method."""

import dataclasses
import shutil

import numpy as np
import pytest
from matplotlib.text import Text

from figures import arena, data, gain, make, true_labels
from sims.methods.relaxed import ASSUMPTIONS
from sims.methods.results import assemble
from sims.methods.spec import BUDGETS, ArenaSpec
from tests.panels import assert_legible, laid_out, stub, texts, written
from tests.test_bad_input import assert_refused
from tests.test_evidence import RESULTS, about
from w2s_jax.tasks import make_task
from w2s_jax.theory import mixed_labels_risk

RISKS = {"source": 0.5, "ceiling": 0.02, "naive_ft": 0.3, "hull": 0.1, "early_stopping": 0.2}
MISFITS = {"source": 0.9, "ceiling": 0.62, "naive_ft": 0.01, "hull": 0.5, "early_stopping": 0.1}
SPEC = ArenaSpec(
    methods=tuple(RISKS),
    weakness=("rotated", "confused", "noisy"),
    weak_accuracy=(0.5, 0.7),
    concept_shift=(0.25, 0.5, 0.75),
    relaxed=("coherence", "spectrum"),
    replicates=50,
)
NAMES = ("method_arena", "method_table", "robustness")


def sums(spec: ArenaSpec) -> dict:
    """A block as the sweep sums it: the hull wins, but for a confused teacher, where early stopping does."""
    cells, relaxed, count = spec.num_cells, 4 * len(spec.relaxed), spec.replicates
    kinds = np.repeat(spec.weakness, cells // len(spec.weakness))
    risk = np.tile(list(RISKS.values()), (cells + relaxed, len(BUDGETS), 1))
    risk[:cells][kinds == "confused", :, 3] = 0.25
    risk[cells:] *= 1 + np.random.default_rng(0).uniform(size=(relaxed, len(BUDGETS), 1))
    weak = np.full((*risk.shape[:2], 1), 0.6)
    weak[:cells][kinds == "noisy"] = 0.0
    # Errors that all methods share: paired differences are certain, but for those of the hull with a noisy teacher.
    cov = np.tile(0.2 + 1e-4 * np.eye(len(RISKS) + 1), (*risk.shape[:2], 1, 1))
    cov[:cells][kinds == "noisy", :, 3, 3] += 4.0
    tried = np.repeat(0.8 * risk, [len(spec.method(name).candidates()) for name in RISKS], axis=-1)
    return {
        "tuned.count": np.array(count),
        "tuned.mean": np.concatenate([risk, weak], axis=-1),
        "tuned.comoment": (count - 1) * cov,
        "tried_count": np.array(count),
        "tried_mean": tried,
        "tried_square": 1e-4 * np.ones_like(tried),
        "rank.count": np.array(count),
        "rank.mean": np.tile([4.0, 3.0, 1.2, 1.8][: len(RISKS) - 1], (len(BUDGETS), 1)),
        "rank.comoment": np.tile(0.01 * np.eye(len(RISKS) - 1), (len(BUDGETS), 1, 1)),
        **{f"{name}_mean": np.tile(list(MISFITS.values()), (*risk.shape[:2], 1)) for name in ("misfit", "copied")},
        **{f"{name}_square": 1e-4 * np.ones_like(risk) for name in ("misfit", "copied")},
    }


def write(spec: ArenaSpec, folder, name: str = "methods") -> data.Results:
    return written(assemble, spec, lambda block, chunk: sums(spec), [spec.replicates], folder, name)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> data.Results:
    return write(SPEC, tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def figures(results):
    """Every figure, laid out."""
    return {name: laid_out(make.FIGURES[name].draw, results) for name in NAMES}


def test_the_arena_names_winners_alone(figures):
    said = texts(figures["method_arena"])
    assert {"H: convex hull of the concepts", "E: early stopping", "not significantly ahead of the next"} <= set(said)
    assert not any("source" in text or "ceiling" in text for text in said)
    assert said.count("H") == 2 * 2 * 6 and said.count("E") == 2 * 6  # a letter in each cell of both budgets
    assert said.count("naive fine-tuning\n3.0") == 2  # its mean rank under both budgets
    assert any("n = 256, d = 16, K = 4, prompts of 8, 50 replicates" in text for text in said)


def test_letters_are_of_the_names_and_differ():
    letters = arena.letters_of(["experts", "hull", "experts_from_source", "contrastive"])
    assert letters == {"experts": "O", "hull": "H", "experts_from_source": "E", "contrastive": "C"}


def test_a_committed_table_calls_no_winner_doubtful(results):
    said = texts(laid_out(arena.method_arena, results._replace(data=results.data.drop_vars("risk_cov"), table=True)))
    assert "not significantly ahead of the next" not in said and "H: convex hull of the concepts" in said


def test_the_table_is_ordered_by_rank_and_tells_gaps_and_costs(figures):
    panel, said = figures["method_table"].axes[0], texts(figures["method_table"])
    names = [label.get_text() for label in panel.get_yticklabels()]
    order = ("ceiling", "hull", "early_stopping", "naive_ft", "source")
    assert names == [arena.label_of(name) + " *" * (name in ("ceiling", "hull")) for name in order]
    assert "1.2 ± 0.0" in said and said.count("1.25") == len(RISKS) and "reads the target" in said
    assert said.count("3") == 4  # a step of fine-tuning reads an example thrice; the source has none
    gap = (0.6 - 0.1) / (0.6 - 0.02)
    assert any(text.startswith(f"{gap:.2f}  [") for text in said)
    heads = [label.get_text() for label in panel.get_xticklabels()]
    assert any("rotated" in head for head in heads) and not any("noisy" in head for head in heads)  # no gap to recover


def test_robustness_shows_every_level_of_every_assumption(figures):
    panels = [panel for panel in figures["robustness"].axes if panel.get_title(loc="left")]
    assert [panel.get_title(loc="left").split("  ")[1] for panel in panels] == list(SPEC.relaxed)
    for panel, assumption in zip(panels, SPEC.relaxed):
        levels = [f"{level:g}" for level in ASSUMPTIONS[assumption].levels]
        assert [label.get_text() for label in panel.get_xticklabels()] == levels
        assert len(panel.texts) == (len(RISKS) + 1) * 4 == len(panel.patches)
    rows = [label.get_text() for label in panels[0].get_yticklabels()]
    assert rows == ["weak teacher", *map(arena.label_of, RISKS)]


def test_gain_and_misfit_shows_every_method_at_its_place(results, of_signs):
    figure = laid_out(gain.gain_and_misfit, results, data.open_results(of_signs, "methods_sign"))
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == [rf"$\bf{{{n}}}$  {kind}, rotated teacher" for n, kind in (("a", "numbers"), ("b", "signs"))]
    for panel in figure.axes:
        marks = [line for line in panel.lines if len(line.get_xdata()) == 1]
        points = {(line.get_xdata()[0], round(float(line.get_ydata()[0]), 9)) for line in marks}
        assert points == {(MISFITS[name], round(0.6 - RISKS[name], 9)) for name in RISKS}
        assert {arena.label_of(name) for name in RISKS} <= {text.get_text() for text in panel.texts}
        levels = {round(float(line.get_ydata()[0]), 3) for line in panel.lines if line.get_linestyle() == "--"}
        assert levels == {0.29, 0.58}  # half of the gap to the ceiling, and all of it
    assert_legible(figure, "gain_and_misfit")


SHARED = {"naive_ft": 0.3, "ceiling": 0.02, "true_only": 0.2, "weighted_true": 0.1}


@pytest.mark.slow
def test_true_labels_are_drawn_by_their_share(tmp_path, monkeypatch):
    few = {"methods": tuple(SHARED), "true_label_share": (0.1, 0.4), "relaxed": ("spectrum",)}
    monkeypatch.setattr("tests.test_figures_arena.RISKS", SHARED)
    monkeypatch.setattr("tests.test_figures_arena.MISFITS", SHARED)
    specs = {"methods_true_labels": dataclasses.replace(SPEC, **few)}
    specs["methods_sign_true_labels"] = dataclasses.replace(specs["methods_true_labels"], labels="sign")
    figure = laid_out(true_labels.true_labels, *(write(spec, tmp_path, name) for name, spec in specs.items()))
    said = texts(figure)
    assert {"true labels alone", "weak and true, weighted", "theory: true labels weigh no more"} <= set(said)
    assert not any("boosted" in text for text in said) and any("192 labels of a teacher" in text for text in said)
    assert len(figure.axes) == 6
    assert figure.axes[4].get_title(loc="left").endswith("copied errors, signs, rotated teacher")
    task, dashed = make_task(num_concepts=4, dim=16, weak_accuracy=0.7, concept_shift=0.5), figure.axes[0].lines[-1]
    for x, y in zip(dashed.get_xdata()[[0, -1]], dashed.get_ydata()[[0, -1]]):
        assert float(mixed_labels_risk(task, 192, 192 * x)) == pytest.approx(float(y), rel=1e-5)
    assert_legible(figure, "true_labels")


def test_texts_are_on_the_page(figures):
    for figure in figures.values():
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                box = text.get_window_extent()
                assert box.x0 > figure.bbox.x0 - 2 and box.x1 < figure.bbox.x1 + 2, text.get_text()


@pytest.mark.parametrize("definitions", [None, 2])
def test_old_stores_are_drawn_by_the_names_of_now(results, definitions):
    """What was called contrastive is another method since; a store that says nothing is of then."""
    names = ["contrastive" if name == "early_stopping" else name for name in RISKS]
    held = results._replace(
        data=results.data.assign_coords({"method": names, "method_2": names}).drop_vars("in_practice"),
        config={key: value for key, value in results.config.items() if key != "definitions" or definitions},
    )
    for draw in (arena.method_arena, arena.method_table, arena.robustness):
        said = [text.removeprefix("C: ").removeprefix("A: ") for text in texts(draw(held))]  # its letter in the arena
        assert ("contrastive" in said, "contrastive, anchored" in said) == (definitions == 2, definitions is None)
        assert not any(text.endswith(" *") for text in said)


def test_a_store_of_one_accuracy_has_no_diagram(results):
    with pytest.raises(data.MissingResultError, match="at least two values of weak_accuracy"):
        arena.method_arena(results._replace(data=results.data.isel(weak_accuracy=[0])))


@pytest.fixture(scope="module")
def of_signs(tmp_path_factory):
    """The folder of a store of signs, with the times that are committed."""
    folder = tmp_path_factory.mktemp("signs")
    write(dataclasses.replace(SPEC, labels="sign"), folder, "methods_sign")
    shutil.copy(RESULTS / "methods_cost.json", folder)
    return folder


def test_figures_of_signs_say_so(of_signs):
    signs, cost = (data.open_results(of_signs, store) for store in ("methods_sign", "methods_cost"))
    assert any("lowest mean share of wrong signs" in text for text in texts(arena.method_arena(signs)))
    assert "share of wrong signs" in texts(arena.robustness(signs))
    said = texts(arena.method_table(signs, cost))
    ratios = [
        row["ratio_to_naive_ft"] for row in about("methods_cost") if row["labels"] == "sign" and row["method"] in RISKS
    ]
    assert len(ratios) == len(RISKS) and {f"{ratio:.2g}" for ratio in ratios} <= set(said)
    assert "time of a fit,\nnaive's = 1" in said
    assert any("times: 256 fits side by side on one device of: 2 cores of" in text for text in said)


def test_a_table_needs_more_than_times(of_signs, tmp_path, capsys, monkeypatch):
    stub(monkeypatch)
    shutil.copy(RESULTS / "methods_cost.json", tmp_path)
    code = make.main(["--results", str(tmp_path), "--only", "method_table_sign"])
    assert_refused(capsys, code, "make it with: python -m sims.methods --labels sign --preset quick")
    assert make.main(["--results", str(of_signs), "--only", "method_table_sign"]) == 0
    assert make.main(["--results", str(of_signs), "--only", "method_table_sign", "--list"]) == 0
    assert "    ready\n" in capsys.readouterr().out
