"""Figures of the alignment experiments: what they draw of results of its own writer, and the published scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from figures import alignment, alignment_methods, alignment_overview, data, make, paper_scores, style
from figures.stores import TASKS
from sims.alignment.results import assemble
from sims.alignment.spec import METHODS, USES_CAPABILITY, USES_NUM_ICL, AlignmentSpec
from tests.panels import assert_drawn, assert_legible, laid_out, shows, stub, texts, written
from w2s_jax.statistics import confidence_interval

LINES = ("source", "control", "ceiling", "naive_ft", "bootstrapping", "aux_confidence")
LINES += ("self_refine", "intent_refine", "icl_refine", "prompt_only")
"""Methods that have a line against the teacher's content."""
DEAR = ("bootstrapping", "icl_refine")
"""Methods that take fewer steps at equal compute."""
TOGETHER = (alignment_overview.alignment_table, alignment_overview.icl_examples, alignment_methods.alignment_methods)
"""Figures of all worlds."""
SEEDS = 3


def spec_of(task: str, capability=(0.3, 0.5, 0.7, 0.9), num_icl=(1, 5)) -> AlignmentSpec:
    return AlignmentSpec(task=task, capability=capability, num_icl=num_icl, replicates=SEEDS)


def write(folder, spec: AlignmentSpec) -> data.Results:
    """The results that the sweep's own writer makes of numbers that a run might give."""
    draw = np.random.default_rng(0)
    grid, levels = (len(spec.capability), len(spec.num_icl)), 0.1 + 0.8 * np.array(spec.capability)
    mastery = ("naming", "divergence", "content", "tagged_content", "bayes_naming")

    def near(value, *shape: int) -> np.ndarray:
        return np.clip(value + 0.02 * draw.standard_normal(shape), 0, 1)

    def read(seed: int, chunk: int) -> dict[str, np.ndarray]:
        found = {f"mastery.{name}": near(0.5, spec.slots, spec.world.num_concepts) for name in mastery}
        found |= {"bayes_style": near(0.8, *grid), "divergence": near(0.1, *grid), "named": np.zeros(grid)}
        found["reports.weak.content"] = near(levels[:, None, None], grid[0], 3, 2)
        found["reports.weak.style"] = near(0.88, grid[0], 2, 2)
        found["reports.weak.copied"] = near(0.8, grid[0], grid[0], 2, 2)
        for method, share in zip(METHODS, np.linspace(0.1, 0.9, len(METHODS))):
            own = [size for size, users in zip(grid, (USES_CAPABILITY, USES_NUM_ICL)) if method in users]
            found[f"reports.{method}.mass"] = near(0.9, *own, 3)
            found[f"reports.{method}.copied"] = near(1 - share, *own, grid[0], 2, 2)
            for budget, less in (("reports", 0.0), ("at_equal_compute", 0.1))[: 1 + (method in DEAR)]:
                found[f"{budget}.{method}.content"] = near(share - less, *own, 3, 2)
                found[f"{budget}.{method}.style"] = near(1 - share - less, *own, 2, 2)
        return found

    return written(assemble, spec, read, np.ones(SEEDS), folder, f"alignment_{spec.task}")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Stores of all tasks, in no particular order and of different sizes."""
    folder, sizes = tmp_path_factory.mktemp("results"), {"bias": {"num_icl": (1, 2, 5)}}
    sizes |= {"math": {"capability": (0.4, 0.8)}, "persona": {}, "explanation": {}}
    return {task: write(folder, spec_of(task, **size)) for task, size in sizes.items()}


@pytest.fixture(scope="module")
def figures(stores):
    """Every figure, laid out."""
    found = {name: laid_out(alignment.strong_against_weak, store) for name, store in stores.items()}
    return found | {draw.__name__: laid_out(draw, *stores.values()) for draw in TOGETHER}


def lines_of(panel, method: str) -> list[np.ndarray]:
    """Heights of the lines in a method's color."""
    return [np.asarray(line.get_ydata(), float) for line in panel.lines if line.get_color() == style.look(method).color]


def drawn(panel, method: str, heights) -> bool:
    return shows(panel, heights, style.look(method).color)


def interval(values) -> tuple[np.ndarray, np.ndarray]:
    """The 95% interval of a mean over seeds, which come first."""
    return confidence_interval(values.mean(0), values.std(0, ddof=1) / np.sqrt(SEEDS), SEEDS)


def words(figure) -> str:
    return "\n".join(texts(figure))


# --- Published scores --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "key", "score", "expected"),
    [
        ("persona", ("tinyTruthfulQA", "weak", "", "falcon"), "content", 2.351),
        ("persona", ("tinyTruthfulQA", "source", "GPT-3.5-Turbo", ""), "style", 1.783),
        ("persona", ("tinyAlpacaEval", "icl_refine", "GPT-4o-mini", "gemma"), "style_sem", 0.334),
        ("explanation", ("chatgpt_questions_test", "intent_refine", "GPT-4o-mini", "mistral"), "style", 9.171),
        ("math", ("MATH", "naive_ft", "GPT-4o-mini", "llama2"), "content", 0.0679),
        ("math", ("GSM8K", "icl_refine", "GPT-4o-mini", "mistral"), "content_sem", 0.0255),
        ("math", ("MATH", "icl_refine", "GPT-4o-mini", "GPT-3.5"), "content", 0.74),
        ("bias", ("biographies", "self_refine", "GPT-3.5-Turbo", ""), "style", 0.963),
    ],
)
def test_published_scores_are_those_of_the_paper(task, key, score, expected):
    rows = [r for r in paper_scores.published(task) if (r.test_set, r.method, r.strong_model, r.weak_model) == key]
    assert [getattr(row, score) for row in rows] == [expected]


def test_published_scores_are_whole():
    counts = {task: len(paper_scores.published(task)) for task in TASKS}
    assert counts == {"persona": 90, "explanation": 30, "math": 15, "bias": 6}
    for task in TASKS:
        for score in alignment.SCORES:
            values = np.array([getattr(row, score) for row in paper_scores.published(task)])
            scale = paper_scores.scale(task, score)
            if scale is None:
                assert np.isnan(values).all()
            else:
                assert (values >= scale[0]).all() and (values <= scale[1]).all()
    assert "2405.16236" in json.loads(paper_scores.FILE.read_text())["citation"]


def test_a_mean_share_of_right_answers_has_a_standard_error_that_it_can_have():
    """Scores in [0, 1] of mean p vary by at most p (1 - p): 0.7746 +- 0.0966, printed of one cell, cannot be."""
    known = [r for r in paper_scores.published("math") if not np.isnan(r.content_sem)]
    assert len(known) == len(paper_scores.published("math")) - 1
    assert all(r.content_sem**2 <= r.content * (1 - r.content) / r.num_questions for r in known)


def test_published_scores_are_drawn_against_their_teachers(figures):
    panel = next(p for p in figures["explanation"].axes if "chatgpt" in p.get_title(loc="left"))
    of_gpt = [r for r in paper_scores.published("explanation") if r.strong_model == "GPT-4o-mini"]
    naive = {r.weak_model: r.content for r in of_gpt if r.method == "naive_ft"}
    by_content = ["gemma", "falcon", "llama2", "mistral"]
    assert drawn(panel, "naive_ft", [naive[name] for name in by_content])
    assert drawn(panel, "source", [9.58, 9.58])


def test_published_scores_without_teachers_are_marks(figures):
    panel = next(p for p in figures["math"].axes if "MATH" in p.get_title(loc="left"))
    assert [label.get_text() for label in panel.get_xticklabels()] == ["llama2", "gemma", "mistral", "GPT-3.5"]
    assert drawn(panel, "naive_ft", [0.0679]) and drawn(panel, "icl_refine", [0.7295])
    for panel in (p for p in figures["bias"].axes if "biographies" in p.get_title(loc="left")):
        assert [label.get_text() for label in panel.get_xticklabels()] == ["GPT-3.5-Turbo", "GPT-4o-mini"]
    assert "no style score was published" in words(figures["math"])
    assert "no style score" not in words(figures["bias"])


# --- Strong against weak -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_scores_are_drawn_against_the_measured_content(task, figures, stores):
    held = stores[task].at(temperature=1).isel(num_icl=-1)
    panels = {
        (score, split): [p for p in figures[task].axes if p.get_title(loc="left").endswith(name)][row]
        for row, score in enumerate(alignment.SCORES)
        for split, name in alignment.SPLITS.items()
    }
    for (score, split), panel in panels.items():
        cut = held.sel(split=split)
        for method in METHODS:
            mean = cut[score].sel({"method": method}).mean("seed").values
            expected = mean if method in USES_CAPABILITY else [mean[0]] * 2
            assert drawn(panel, method, expected) == (method in LINES), (score, split, method)
        naive = next(line for line in panel.lines if line.get_color() == style.look("naive_ft").color)
        np.testing.assert_allclose(naive.get_xdata(), cut["weak_content"].mean("seed"))
        low, high = panel.get_ylim()
        assert all(low <= y.min() and y.max() <= high for method in METHODS for y in lines_of(panel, method))
        if score == "style":
            assert drawn(panel, "weak", cut["weak_style"].mean("seed").values)
            black = [line.get_ydata() for line in panel.lines if line.get_color() == "black"]
            np.testing.assert_allclose(black[0], held["bayes_style"].mean("seed"))
            np.testing.assert_allclose(black[1], held["target_style"].item())


def test_intervals_are_over_seeds(figures, stores):
    values = stores["persona"].at(temperature=1, num_icl=5, split="train")["content"].sel({"method": "naive_ft"})
    low, high = interval(values.transpose("seed", "capability").values)
    ends = [c.get_paths()[0].vertices[:, 1] for c in figures["persona"].axes[0].collections]
    assert any(np.isclose(y.min(), low.min()) and np.isclose(y.max(), high.max()) for y in ends)


def test_labels_name_what_is_drawn(figures):
    for task in TASKS:
        said = words(figures[task])
        for method in METHODS:
            assert (alignment.label_of(method) in said) == (method in LINES), (task, method)
        for word in ("weak content, measured", "strong = weak", "95% interval", "exact Bayes", "temperature 1"):
            assert word in said, (task, word)
    assert "rate of female subjects" in words(figures["bias"])
    assert "rate of female subjects" not in words(figures["persona"])


def test_store_without_temperature_one_or_with_one_capability_is_refused(stores):
    greedy = stores["persona"]._replace(data=stores["persona"].data.sel(temperature=[0]))
    with pytest.raises(data.MissingResultError, match="needs temperature 1"):
        alignment.strong_against_weak(greedy)
    single = stores["persona"]._replace(data=stores["persona"].data.isel(capability=[0]))
    with pytest.raises(data.MissingResultError, match="at least two values of capability"):
        alignment.strong_against_weak(single)


# --- All worlds --------------------------------------------------------------------------------------------------


def test_table_holds_every_method_of_every_task(figures, stores):
    said = words(figures["alignment_table"])
    for task, store in stores.items():
        capabilities = store.data["capability"].values
        middle = capabilities[len(capabilities) // 2]
        assert f"{task}\nweak capability {middle:g}" in said
        cut = store.at(temperature=1, split="held_out", capability=middle).isel(num_icl=-1)
        for method in METHODS:
            for score in alignment.SCORES:
                values = cut[score].sel({"method": method}).values
                assert f"{values.mean():.2f} ± {values.std(ddof=1) / np.sqrt(SEEDS):.2f}" in said, (task, method, score)
    assert all(alignment.label_of(method) in said for method in METHODS)
    assert all(row in said for row in alignment_overview.ROWS.values())


def test_methods_are_points_of_style_and_content_with_intervals_and_a_line_to_equal_compute(figures, stores):
    figure = figures["alignment_methods"]
    for index, task in enumerate(TASKS):
        capability = stores[task].nearest(capability=alignment_methods.CAPABILITY)["capability"]
        cut = stores[task].at(temperature=1, capability=capability, split="held_out").isel(num_icl=-1)
        panel = figure.axes[index]
        for method in METHODS:
            own, color = cut.sel({"method": method}), style.look(method).color
            lines = [line.get_xydata().T for line in panel.lines if line.get_color() == color]
            x, y, x_matched, y_matched = (
                own[name].mean().item() for name in ("style", "content", "compute_style", "compute_content")
            )
            point, across = ([x], [y]), (interval(own["style"].values), [y, y])
            along, led = ([x, x], interval(own["content"].values)), ([x, x_matched], [y, y_matched])
            seen = [
                any(found.shape == np.shape(line) and np.allclose(found, line) for found in lines)
                for line in (point, across, along, led)
            ]
            assert seen == [True, True, True, method in DEAR], (task, method)
        assert any(np.allclose(line.get_xdata(), cut["target_style"].item()) for line in panel.lines)
        content = cut["content"].mean("seed")
        refined, naive = (content.sel({"method": m}).item() for m in ("icl_refine", "naive_ft"))
        assert f"content {refined:.0%} refined, {naive:.0%} naive" in panel.get_title(loc="left")
    said = words(figure)
    for text in ("style score", "rate of female subjects", "at equal compute", "95% intervals", "weak teacher"):
        assert text in said
    assert all(alignment.label_of(method) in said for method in METHODS)


def test_methods_that_coincide_are_named_together():
    marks = {"one": (0.9, 0.99), "two": (0.5, 0.5), "three": (0.88, 1.0), "four": (0.9, 0.8)}
    found = alignment_methods.groups(marks)
    assert [group.names for group in found] == [["one", "three"], ["two"], ["four"]]


def test_examples_are_drawn_beside_exact_bayes(figures, stores):
    top, bottom = (figures["icl_examples"].axes[4 * row + TASKS.index("bias")] for row in range(2))
    cut = stores["bias"].at(temperature=1, split="held_out").mean("seed")
    for capability in (0.3, 0.7):
        row = cut.sel(capability=capability)
        for method in alignment_overview.PROMPTED:
            assert drawn(top, method, row["content"].sel({"method": method}))
            assert drawn(bottom, method, row["style"].sel({"method": method}))
        exact = [line.get_ydata() for line in bottom.lines if line.get_color() == "black"]
        assert any(np.shape(y) == (3,) and np.allclose(y, row["bayes_style"]) for y in exact)


def test_tasks_without_results_are_named(stores):
    for draw in TOGETHER:
        figure = laid_out(draw, stores["math"])
        assert "no results yet: persona, explanation, bias" in words(figure)
        assert_legible(figure, "math alone")


def test_examples_need_the_methods_that_read_them(stores):
    fewer = stores["math"]._replace(data=stores["math"].data.sel({"method": ["source", "naive_ft", "icl_refine"]}))
    with pytest.raises(data.MissingResultError, match="needs method prompt_only, which alignment_math"):
        alignment_overview.icl_examples(fewer)
    with style.style():  # the others take what there is
        alignment.strong_against_weak(fewer)
        alignment_overview.alignment_table(fewer)


# --- The command -------------------------------------------------------------------------------------------------


def test_stores_that_are_missing_are_named(tmp_path, capsys, monkeypatch):
    stub(monkeypatch)
    arguments = ["--results", str(tmp_path), "--only", "alignment_table"]
    assert make.main(arguments) == 2
    error = capsys.readouterr().err
    assert "needs one of alignment_persona, alignment_explanation, alignment_math, alignment_bias" in error
    assert f"python -m sims.alignment --task persona --preset quick --out {tmp_path}" in error
    assert error.count("\n") == 1
    write(tmp_path, spec_of("math"))
    assert make.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert_drawn(tmp_path, ["alignment_table"], least=1)
    lacking = [line for line in lines if line.startswith("drawn without: alignment_table: ")]
    named = [task for task in TASKS if any(f"--task {task} " in line for line in lacking)]
    assert named == ["persona", "explanation", "bias"]
    assert make.main([*arguments, "--list"]) == 0
    listed = capsys.readouterr().out
    assert "ready, but lacks: " in listed and "--task math" not in listed


# --- Legibility --------------------------------------------------------------------------------------------------


def test_figures_are_legible(figures):
    for name, figure in figures.items():
        assert_legible(figure, name)


def test_one_seed_has_no_interval(stores):
    store = stores["bias"]._replace(data=stores["bias"].data.isel(seed=[0]))
    with style.style():
        for draw in (alignment.strong_against_weak, alignment_overview.alignment_table):
            assert "±" not in words(draw(store)).replace("mean ±", "")


def test_the_published_patterns_are_counted_right():
    """The table of docs/alignment.md, counted again from the scores."""
    scores = {}
    for task in TASKS:
        for score in paper_scores.published(task):
            place = (task, score.test_set, score.strong_model, score.weak_model)
            scores.setdefault(place, {})[score.method] = score
    # Beside each cell, the untouched strong model and the weak one, which have a place of their own.
    cells = {}
    for (*where, strong, weak), own in scores.items():
        alone = [scores.get((*where, *models), {}) for models in ((strong, ""), ("", weak))]
        cells[*where, strong, weak] = alone[0] | alone[1] | own

    def count(method, other, field="content", tasks=TASKS):
        """(cells where the method's score is above the other's, cells that have both)."""
        pairs = [(c[method], c[other]) for k, c in cells.items() if k[0] in tasks and {method, other} <= c.keys()]
        return sum(getattr(a, field) > getattr(b, field) for a, b in pairs), len(pairs)

    said = (Path(__file__).parent.parent / "docs" / "alignment.md").read_text().split("## Beside the published")[1]
    assert count("naive_ft", "source") == (0, 40) and "| 40 of 40 |" in said
    for method, above_naive, above_source in (
        ("icl_refine", (38, 38), (5, 39)),
        ("intent_refine", (31, 32), (1, 32)),
        ("self_refine", (2, 2), (2, 2)),
    ):
        assert count(method, "naive_ft") == above_naive and count(method, "source") == above_source
        for above, cells_of in (above_naive, above_source):
            assert f"{above} of {cells_of}" in next(row for row in said.splitlines() if row.startswith(f"| `{method}`"))
    assert count("intent_refine", "icl_refine", "style") == (31, 32)
    assert count("icl_refine", "naive_ft", "style", ("persona",)) == (4, 24)
    assert count("icl_refine", "naive_ft", "style", ("explanation",)) == (0, 8)
    assert count("icl_refine", "intent_refine", tasks=("persona",)) == (18, 24)
    assert count("icl_refine", "intent_refine", tasks=("explanation",)) == (8, 8)
    pairs = [(c["naive_ft"], c["weak"]) for c in cells.values() if {"naive_ft", "weak"} <= c.keys()]
    assert sum(abs(a.content - b.content) <= 0.5 for a, b in pairs if a.task == "persona") == 16
    assert count("naive_ft", "weak", tasks=("explanation",))[0] == 8
    assert "| 31 of 32 |" in said
