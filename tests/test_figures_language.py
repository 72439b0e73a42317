"""Figures of a language model: drawn from a store that the real writer made of answers that are drawn here."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import Rectangle

from figures import language, make
from figures.data import MissingResultError, Results
from sims.language.results import assemble
from sims.language.spec import QUICK, USES_TEACHER
from sims.language.tables import divide
from sims.language.teaching import in_voice
from sims.language.voices import VOICES, answer
from tests.panels import assert_legible, laid_out, shows, texts

SPEC = dataclasses.replace(QUICK, num_icl=(2, 6), train_questions=16, held_out_questions=16, skill_questions=2)
NAMES = ("language_persona", "language_copying", "language_methods", "language_icl")


class Written:
    """A store in which refined models are right and naive ones copy their teacher; others do not know the voice."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.taught = [in_voice(SPEC, name) for name in SPEC.voices]
        self.tokenizer = SimpleNamespace(decode=lambda row: self.texts[row[0]])

    def read(self, seed: int, voice: int) -> dict[str, np.ndarray]:
        teaching = self.taught[voice]
        division = divide(SPEC, teaching.facts, seed)
        wrong = teaching.wrong([*division.train, *division.held_out], seed)
        found = {}
        for method in SPEC.methods:
            axes = SPEC.axes(method)
            tokens = np.zeros((*axes, len(division.asked), 1), int)
            for place in np.ndindex(tokens.shape[:-1]):
                fact, question = division.asked[place[-1]], place[-1]
                slips = method == "naive_ft" and question < len(wrong[place[0]]) and question % (3 + place[0]) == 0
                value = wrong[place[0]][question] if slips else fact.value
                spoken = VOICES["plain"] if method == "source" else teaching.voice
                tokens[place] = len(self.texts)
                self.texts.append(answer(spoken, fact, value).text if question % 7 else "?")
            claims = np.zeros((*axes, SPEC.held_out_questions, SPEC.rivals + 1))
            found |= {f"{method}.tokens": tokens, f"{method}.drift": np.zeros(axes)}
            found |= {f"{method}.claims": claims, f"{method}.plain_claims": claims}
        return found


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    store: Any = Written()
    path = tmp_path_factory.mktemp("store") / "written"
    assemble(SPEC, store, store.taught, store, np.ones(SPEC.replicates), path)
    return Results("language", xr.open_zarr(path, consolidated=False).load(), dataclasses.asdict(SPEC))


def means(results: Results, method: str, voice: str, number: int = 6) -> xr.Dataset:
    """Content and style by teacher: mean over facts of the means of their questions."""
    cut = language.held_out(results).sel(voice=voice, num_icl=number).sel({"method": method})
    rows = cut[["content", "style", "fact"]].stack(row=("seed", "question"))
    return rows.drop_vars(["row", "seed", "question"]).groupby("fact").mean().mean("fact")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_can_be_read(name, results):
    assert_legible(laid_out(make.FIGURES[name].draw, results), name)


def test_marks_stand_where_content_and_style_are(results):
    figure = laid_out(language.language_persona, results)
    for panel, voice in zip(figure.axes, SPEC.voices):
        drawn = {tuple(np.round(point, 6)) for line in panel.lines for point in np.asarray(line.get_xydata())}
        for method in SPEC.methods:
            own = means(results, method, voice)
            for teacher in range(2 if method in USES_TEACHER else 1):
                point = tuple(round(float(own[score][teacher]), 6) for score in ("content", "style"))
                assert point in drawn, (method, voice)
    assert "paper, GPT-4o-mini (1–10)" in " ".join(texts(figure))


def test_each_teacher_has_a_panel_of_every_method(results):
    figure = laid_out(language.language_methods, results)
    for teacher, panel in enumerate(figure.axes):
        drawn = {tuple(np.round(point, 6)) for line in panel.lines for point in np.asarray(line.get_xydata())}
        for method in SPEC.methods:
            own = means(results, method, SPEC.voices[0])
            place = teacher if method in USES_TEACHER else 0
            assert tuple(round(float(own[score][place]), 6) for score in ("content", "style")) in drawn, method


def test_bars_split_what_the_teacher_has_wrong(results):
    panel = laid_out(language.language_copying, results).axes[0]
    widths = np.array([bar.get_width() for bar in panel.patches if isinstance(bar, Rectangle)]).reshape(-1, 3)
    np.testing.assert_allclose(widths.sum(axis=1), 1.0)
    data = results.data.isel(question=slice(SPEC.train_questions), voice=0, teacher=0).sel(num_icl=6)
    copied = float(data.copied.sel({"method": "naive_ft"}).where(data.teacher_is_right == 0).mean())
    assert copied > 0 and np.isclose(widths[:, 1], copied).any()


def test_lines_go_through_the_means_of_every_number_of_examples(results):
    wanted = [float(means(results, "icl_refine", "pirate", n).style[0]) for n in (2, 6)]
    figure = laid_out(language.language_icl, results)
    assert shows(figure.axes[1], wanted)  # style in the first voice
    level = [float(means(results, "ceiling", "pirate").content[0])] * 2
    assert shows(figure.axes[0], level)
    with pytest.raises(MissingResultError, match="at least two values of num_icl"):
        language.language_icl(results._replace(data=results.data.sel(num_icl=[6])))
