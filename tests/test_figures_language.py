"""Figures of a language model: what they draw of its committed results."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from figures import language, make
from figures.data import MissingResultError, Results, open_results
from sims.language.spec import USES_TEACHER
from tests.panels import assert_legible, laid_out, shows, texts

TABLES = Path(__file__).parent.parent / "docs" / "results"
STORES = {"persona": "language", "copying": "language", "methods": "language_weaker", "icl": "language_examples"}
"""The store of each figure."""


@pytest.fixture(scope="module")
def results() -> dict[str, Results]:
    return {name: open_results(TABLES, name) for name in set(STORES.values())}


def means(results: Results, method: str, voice: str, number: int, teacher: int = 0) -> tuple[float, float]:
    """Content and style: means over facts of the means of their questions."""
    cut = language.held_out(results).sel(voice=voice, num_icl=number).sel({"method": method}).isel(teacher=teacher)
    by_fact = cut[["content", "style", "fact"]].to_dataframe().groupby("fact")[["content", "style"]].mean()
    return tuple(by_fact.mean())


def assert_marked(panel, results: Results, method: str, voice: str, teacher: int) -> None:
    """A mark stands where content and style of a method are."""
    place = means(results, method, voice, max(results.config["num_icl"]), teacher)
    assert any(np.isclose(line.get_xydata(), place).all(axis=1).any() for line in panel.lines), (method, voice)


@pytest.mark.parametrize("name", STORES)
def test_a_page_can_be_read(name, results):
    assert_legible(laid_out(make.FIGURES[f"language_{name}"].draw, results[STORES[name]]), name)


def test_marks_stand_where_content_and_style_are(results):
    own = results["language"]
    figure = laid_out(language.language_persona, own)
    for panel, voice in zip(figure.axes, own.config["voices"]):
        for method in own.config["methods"]:
            for teacher in range(2 if method in USES_TEACHER else 1):
                assert_marked(panel, own, method, voice, teacher)
    assert "paper, GPT-4o-mini (1–10)" in " ".join(texts(figure))


def test_each_teacher_has_a_panel_of_every_method(results):
    own = results["language_weaker"]
    for teacher, panel in enumerate(laid_out(language.language_methods, own).axes):
        for method in own.config["methods"]:
            assert_marked(panel, own, method, own.config["voices"][0], teacher if method in USES_TEACHER else 0)


def test_bars_split_what_the_teacher_has_wrong(results):
    panel = laid_out(language.language_copying, results["language"]).axes[0]
    widths = np.array([bar.get_width() for bar in panel.patches if isinstance(bar, Rectangle)]).reshape(-1, 3)
    np.testing.assert_allclose(widths.sum(axis=1), 1.0)
    data = results["language"].data.isel(voice=0, teacher=0, num_icl=-1)
    data = data.isel(question=np.flatnonzero(data.split.values == "train"))
    copied = float(data.copied.sel({"method": "naive_ft"}).where(data.teacher_is_right == 0).mean())
    assert copied > 0 and np.isclose(widths[:, 1], copied).any()


def test_lines_go_through_the_means_of_every_number_of_examples(results):
    own = results["language_examples"]
    content, style = laid_out(language.language_icl, own).axes[:2]  # of the first voice
    voice, numbers = own.config["voices"][0], own.config["num_icl"]
    assert shows(style, [means(own, "icl_refine", voice, number)[1] for number in numbers])
    assert shows(content, [means(own, "ceiling", voice, max(numbers))[0]] * len(numbers))
    with pytest.raises(MissingResultError, match="at least two values of num_icl"):
        language.language_icl(own._replace(data=own.data.isel(num_icl=[-1])))
