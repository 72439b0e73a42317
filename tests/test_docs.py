"""The documents: every figure is shown with its words, examples run, commands exist, headings are in order."""

import importlib.util
import itertools
import re
import shutil

import jax
import numpy as np
import pytest

import w2s_jax as w2s
from figures.make import FIGURES
from figures.stores import COMMANDS
from sims.__main__ import MINUTES
from tests.conftest import ROOT
from tests.test_house import name_of, prose

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")  # examples call kernels eagerly, as a user tries them
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("tutorials/*.md"))]
COMMITTED = sorted(path.stem for path in (DOCS / "figures").glob("*.png"))
IMAGE = re.compile(r"^!\[([^\]]*)\]\((?:docs/)?figures/(\w+)\.png\)\n\n(.*?)\n\n", re.MULTILINE | re.DOTALL)
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", (DOCS / "gallery.md").read_text(), re.MULTILINE | re.DOTALL))


def test_the_gallery_shows_every_committed_figure_once():
    assert sorted(SECTIONS) == COMMITTED
    for name, section in SECTIONS.items():
        assert [shown for _, shown, _ in IMAGE.findall(section)] == [name]
        assert all(f"\n- {part}: " in section for part in ("Made by", "Data", "Look for")), name


@pytest.mark.parametrize("name", sorted(set(COMMITTED) & set(FIGURES)))
def test_the_gallery_says_what_the_code_says(name):
    entry, ((_, _, claim),) = FIGURES[name], IMAGE.findall(SECTIONS[name])
    assert claim == f"*{entry.claim}*"
    made = re.search(r"- Made by: (.*)", SECTIONS[name])[1]
    for store in entry.stores:
        command = COMMANDS[store].removesuffix(" --out {folder}").format(folder="results")
        assert f"`{command}`" in made
        sweep = re.search(r"-m sims\.(\w+)", command)
        assert sweep is None or f"({MINUTES[sweep[1]]} minutes" in made


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_picture_has_words_and_a_caption_with_its_command(path):
    images = IMAGE.findall(path.read_text() + "\n\n")
    assert len(images) == len(re.findall(r"^!\[", path.read_text(), re.MULTILINE))
    for words, name, caption in images:
        assert len(words) > 20 and not words.startswith("The same"), name
        assert caption.startswith("*") and caption.endswith("*"), name
        if path.stem != "gallery":
            assert "`python -m " in caption and "gallery.md" in caption, name


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_headings_go_down_one_level_at_a_time(path):
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose(path), re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands_that_are_named_exist(path):
    for name in set(re.findall(r"python -m ((?:sims|figures|benchmarks|w2s_jax)[\w.]*\w)", path.read_text())):
        assert name.endswith(("NAME", "COMMAND")) or importlib.util.find_spec(name), name


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_to_files(path):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert not [target for target in targets if not (path.parent / target).exists()]


def test_the_readme_is_read_in_a_minute():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def run_examples(place: str, *numbers: int, **names) -> None:
    """Run these Python examples of a document, or all, one after the other."""
    examples = re.findall(r"```python\n(.*?)```", (ROOT / place).read_text(), re.DOTALL)
    with jax.numpy_rank_promotion("allow"):
        for number in numbers or range(len(examples)):
            exec(compile(examples[number], place, "exec"), names)


@pytest.mark.slow
def test_the_first_example_of_the_readme_runs(capsys):
    run_examples("README.md", 0)
    curve, slope = (np.array(row.split(), float) for row in re.findall(r"\[([^\]]*)\]", capsys.readouterr().out))
    assert curve.shape == slope.shape == (4,)
    assert (np.diff(curve) < 0).all() and (slope < 0).all()
    assert np.ptp(slope) > 0.5 * -slope.mean()  # a slope that changes along the curve


@pytest.mark.slow
def test_the_second_example_of_the_readme_runs(capsys):
    run_examples("README.md", 1, w2s=w2s, jax=jax, jnp=jax.numpy)
    student, teacher = (float(risk) for risk in capsys.readouterr().out.split("from"))
    assert 0 < student < teacher / 3


RUN = ("docs/index.md", "docs/methods.md", "docs/design.md")


@pytest.mark.slow
@pytest.mark.parametrize("place", RUN)
def test_the_examples_of_the_documents_run(place, finished, tmp_path, monkeypatch, capsys):
    if place == "docs/design.md":
        shutil.copytree(finished("risk_sweep").out, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    run_examples(place)
    assert "index" not in place or capsys.readouterr().out.count("\n") == 3


def test_every_example_is_run_by_a_test():
    with_examples = {name_of(path) for path in PAGES if "```python\n" in path.read_text()}
    assert with_examples == {"README.md", *RUN, "docs/planning.md"}  # the last by test_published


def test_every_work_that_is_cited_is_in_the_bibliography():
    sources = [*DOCS.glob("*.md"), *ROOT.glob("w2s_jax/**/*.py"), *ROOT.glob("figures/published_runs/*.md")]
    cited = {number for path in sources for number in re.findall(r"\b[12][0-9]{3}\.[0-9]{5}\b", path.read_text())}
    assert cited == set(re.findall(r"arxiv\.org/abs/([12][0-9]{3}\.[0-9]{5})", (DOCS / "bibliography.md").read_text()))


def test_every_test_that_is_named_exists():
    tests = (ROOT / "tests").glob("*.py")
    known = {name for path in tests for name in (path.stem, *re.findall(r"def (test_\w+)", path.read_text()))}
    named = {name for path in PAGES for name in re.findall(r"\btest_\w+", path.read_text())}
    assert named <= known, named - known


@pytest.mark.parametrize("path", sorted((DOCS / "tutorials").glob("*.py")), ids=name_of)
def test_a_tutorial_is_a_script_of_cells(path):
    cells = re.split(r"^# %%", path.read_text(), flags=re.MULTILINE)[1:]
    assert cells[0].startswith(" [markdown]\n# # ")
    for before, after in itertools.pairwise(cells):
        if "plt.show()" in before:
            assert re.match(r' alt="[^"]{20,}"', before) and after.startswith(" [markdown]\n# *"), "a caption follows"
