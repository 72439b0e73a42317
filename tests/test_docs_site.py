"""The site that `make docs` built: links, anchors, words for pictures, size; nothing from the network; its hooks."""

import importlib
import itertools
import json
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import ROOT
from tests.test_house import public_functions

SITE = ROOT / "site"
MAX_BYTES = 25_000_000
built = pytest.mark.skipif(not (SITE / "index.html").exists(), reason="no site: run make docs")


class Page(HTMLParser):
    """What a page links to and loads, the anchors that it has, its headings, and its pictures."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.loaded, self.anchors, self.headings, self.pictures, self.text = [], [], set(), [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Note an element."""
        held = dict(attrs)
        self.anchors |= {held[name] for name in ("id", "name") if held.get(name)}
        if tag == "a" and "href" in held:
            self.links.append(held["href"])
        if tag in ("script", "img", "iframe") and "src" in held:
            self.loaded.append(held["src"])
        if tag == "link" and held.get("rel") != "canonical":
            self.loaded.append(held["href"])
        if tag == "img":
            self.pictures.append((held["src"], held.get("alt", "")))
        if tag in ("h1", "h2", "h3", "h4", "h5"):
            self.headings.append(int(tag[1]))


@cache
def page(path: Path) -> Page:
    return Page(path)


def pages() -> list[Path]:
    return [path for path in sorted(SITE.rglob("*.html")) if path.name != "404.html"]


def name_of(path: Path) -> str:
    return str(path.relative_to(SITE))


@built
def test_links_lead_to_a_file_and_an_anchor_of_the_site():
    lost = []
    for path in pages():
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and anchor not in page(target).anchors and not anchor.startswith("__")):
                lost.append(f"{name_of(path)}: {link}")
    assert not lost


@built
def test_nothing_is_loaded_from_another_place():
    far = {(name_of(path), source) for path in pages() for source in page(path).loaded if urlsplit(source).netloc}
    assert not far


@built
def test_pictures_have_words_and_headings_are_in_order():
    for path in pages():
        assert all(len(words) > 20 for _, words in page(path).pictures), name_of(path)
        levels = page(path).headings
        assert levels.count(1) == 1, name_of(path)
        assert all(below <= above + 1 for above, below in itertools.pairwise(levels)), (name_of(path), levels)


@built
def test_no_formula_is_left_as_latex():
    for name in ("theory.html", "theory_zoo.html", "methods.html", "alignment.html"):
        text = (SITE / name).read_text()
        assert "<math" in text and "arithmatex" not in text and "\\frac" not in text and "\\beta" not in text


@built
def test_the_reference_has_every_public_function_and_command():
    anchors = set().union(*(page(path).anchors for path in (SITE / "reference").glob("*.html")))
    functions = {f"{function.__module__}.{function.__name__}" for _, function in public_functions()}
    functions = {name for name in functions if not name.split(".")[-1].startswith("_")}
    assert not functions - anchors
    assert (SITE / "reference" / "commands.html").read_text().count("usage: ") >= 19


@built
def test_every_variable_of_a_store_is_described(finished):
    described = (SITE / "reference" / "stores.html").read_text()
    for name, array in finished("risk_sweep").data.data_vars.items():
        assert str(name).startswith("uses_") or (
            f"<code>{name}</code>" in described and array.attrs["long_name"] in described
        ), name


@built
def test_the_site_is_small_and_can_be_searched():
    assert sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file()) < MAX_BYTES
    index = json.loads((SITE / "search" / "search_index.json").read_text())
    assert not [entry for entry in index["docs"] if entry["location"].startswith("source/")]


# --- hooks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hook(monkeypatch):
    """`hook(name)` is a module of docs/hooks."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    monkeypatch.syspath_prepend(ROOT / "docs" / "hooks")
    return importlib.import_module


@pytest.mark.parametrize(
    ("folders", "packages", "words"),
    [
        (("figures/a.png", "results/a.json"), ("no_such_package",), "extras sims and docs, but no_such_package"),
        (("figures/a.png",), (), "shows the committed results, but"),
        (("results/a.json",), (), "shows the committed figures, but"),
    ],
)
def test_what_is_missing_is_one_sentence(hook, tmp_path, folders, packages, words):
    for name in folders:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    sentence = hook("preconditions").missing(tmp_path, packages)
    assert words in sentence and sentence.endswith(".") and "\n" not in sentence


def test_a_formula_that_is_not_known_is_named(hook):
    mathematics = hook("mathematics")
    assert mathematics.drawn(r"\lVert b \rVert / 2", "inline").count('stretchy="false"') == 3
    with pytest.raises(Exception, match=r"must be LaTeX that latex2mathml knows, got .*nosuch"):
        mathematics.drawn(r"\nosuch{x}", "inline")


def test_a_tutorial_is_run_and_shown(hook):
    text, pictures = hook("tutorials").page("# %% [markdown]\n# # Title\n\n# %%\nprint(6 * 7)\n", "small")
    assert text.startswith("# Title\n\n```python\nprint(6 * 7)\n```\n\n```text\n42\n```") and not pictures
    with pytest.raises(Exception, match=r"docs/tutorials/small\.py must run, but it ended with ZeroDivisionError"):
        hook("tutorials").page("# %%\n1 / 0\n", "small")


def test_examples_of_docstrings_become_code(hook):
    doctests = hook("doctests")
    assert doctests.fenced("Words.\n\n>>> 1 + 1\n2\n\nMore.") == "Words.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore."


def test_links_out_of_the_documents_are_known(hook):
    sources = hook("sources")
    assert sources.outside("../tests/test_house.py", "theory.md") == "tests/test_house.py"
    assert sources.outside("../theory.md", "tutorials/index.md") is None
    assert sources.outside("../tests/nothing.py", "theory.md") is None
