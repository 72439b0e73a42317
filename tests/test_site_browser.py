"""The site in a browser: controls of the explorer lead to the numbers of its file, and every text can be read."""

import json
import shutil
from urllib.parse import parse_qs

import pytest

from sims.risk_sweep.__main__ import main as risk_sweep
from tests.conftest import ROOT
from tests.test_explorer import COMMITTED, value

SITE = ROOT / "site"
PAGE = SITE / "explorer.html"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AT = {
    "num_concepts": 8,
    "weakness": "shifted",
    "weak_accuracy": 0.5,
    "sample_size": 256,
    "concept_shift": 0.75,
    "num_icl": 8,
}

pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="no site: run make docs"),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium"),
]
held = json.loads(COMMITTED.read_text())


CONTRASTS = """() => {
  const parse = (c) => [...c.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const over = (top, under) => top.slice(0, 3).map((x, i) => x * top[3] + under[i] * (1 - top[3]));
  const linear = (x) => (x /= 255) <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  const light = (c) => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const found = {}, walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    const box = element.getBoundingClientRect(), own = getComputedStyle(element);
    if (!text || !box.width || own.visibility === "hidden" || element.closest("script, style, noscript, svg")) continue;
    const layers = [];
    let opacity = 1;
    for (let e = element; e; e = e.parentElement) {
      layers.unshift(parse(getComputedStyle(e).backgroundColor));
      opacity *= Number(getComputedStyle(e).opacity);
    }
    if (opacity === 0) continue;
    const ground = layers.reduce((under, layer) => over(layer, under), [255, 255, 255]), ink = parse(own.color);
    ink[3] *= opacity;
    const [a, b] = [light(over(ink, ground)), light(ground)];
    const least = parseFloat(own.fontSize) >= 24 ? 3 : 4.5;
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < least) found[`${element.tagName}.${element.className} ${text.slice(0, 30)}`] = ratio;
  }
  return found;
}"""
"""Texts whose contrast with what is behind them is too small (WCAG 2.1, AA): under 4.5, or 3 where they are large."""


def number(x: float) -> str:
    """As the page writes it: three significant digits, or an exponent where it is small."""
    if x == 0:
        return "0"
    if x < 0.001:
        mantissa, exponent = f"{x:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{float(f'{x:.3g}'):g}"


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra docs")
    with sync_api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser):
    """The page at AT, on a wide screen; afterwards nothing may have gone wrong, nor come from elsewhere."""
    page, wrong, asked = browser.new_page(viewport={"width": 1200, "height": 1000}), [], []
    # the theme's search needs a server
    page.on("pageerror", lambda error: wrong.append(error) if "search_index.js" not in str(error) else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{PAGE.as_uri()}#" + "&".join(f"{axis}={given}" for axis, given in AT.items()))
    yield page
    page.close()
    assert not wrong and all(url.startswith(("file:", "data:")) for url in asked)


def shown(page) -> dict[str, list[str]]:
    """The table: method -> risk, interval, closed form, PGR."""
    rows = page.locator("#numbers tbody tr").all()
    return {row.get_attribute("data-method"): row.locator("td").all_inner_texts()[1:] for row in rows}


def assert_shows(page, at: dict) -> None:
    for method, (risk, error, closed, _) in shown(page).items():
        expected = {kind: value(held, method, kind, **at) for kind in ("risk", "error")}
        assert float(risk) == pytest.approx(expected["risk"], rel=6e-3), (method, at)
        half = expected["error"]
        assert error == ("few replicates" if half is None else "exact" if half == 0 else f"± {number(half)}")
        if held["methods"][method]["theory"]:
            assert float(closed) == pytest.approx(value(held, method, "theory", **at), rel=6e-3)
        else:
            assert closed == ""


@pytest.mark.parametrize("axis", [axis for axis in AT if axis != "weakness"])
def test_a_slider_that_is_moved_by_key_changes_the_numbers(page, axis):
    assert_shows(page, AT)
    page.locator(f"#{axis}").press("ArrowLeft")
    values = held["axes"][axis]
    moved = AT | {axis: values[values.index(AT[axis]) - 1]}
    assert page.locator(f"#of-{axis}").inner_text() == str(moved[axis])
    assert page.locator(f"#{axis}").evaluate("slider => slider === document.activeElement")
    assert_shows(page, moved)
    assert parse_qs(page.url.partition("#")[2])[axis] == [str(moved[axis])]


def test_a_teacher_is_chosen_and_the_address_shows_it_to_another(page, browser):
    page.locator("#weakness").select_option(label="confused")
    page.locator("#x").select_option("num_icl")
    page.locator("#show-hull").check()
    assert_shows(page, AT | {"weakness": "confused"})
    other = browser.new_page()
    other.goto(page.url)
    assert shown(other) == shown(page) and other.locator("#show-hull").is_checked()
    assert other.locator("#x").input_value() == "num_icl"
    assert other.locator("#chart circle").count() == 5 * len(held["axes"]["num_icl"])
    other.close()


def test_the_words_name_the_student_of_the_lowest_risk(page):
    risks = {method: value(held, method, "risk", **AT) for method in held["students"]}
    best = min(risks, key=lambda method: risks[method])
    said = page.locator("#says").inner_text()
    assert said.startswith(f"Lowest risk: {held['methods'][best]['label']}, {number(risks[best])}")
    assert page.locator("tr.lowest").get_attribute("data-method") == best
    ahead = risks["icl_refine_fresh"] < risks["naive_ft"]
    assert ("refinement with fresh prompts is ahead" in said) == ahead


def test_a_click_on_the_map_or_on_the_chart_chooses_a_place(page):
    page.locator("#map rect").first.click()
    corner = {axis: held["axes"][axis][0] for axis in ("weak_accuracy", "concept_shift")}
    assert_shows(page, AT | corner)
    page.locator("#chart rect").nth(3).click()
    assert_shows(page, AT | corner | {"weak_accuracy": held["axes"]["weak_accuracy"][3]})


def test_the_command_is_one_that_plans_this_setting(page, capsys):
    words = page.locator("#command").inner_text().split()
    assert words[:3] == ["python", "-m", "sims.risk_sweep"]
    assert risk_sweep([*words[3:], "--dry-run"]) == 0
    assert "1 cells x 2,000 independent replicates" in capsys.readouterr().err


def test_a_phone_has_room_for_it(browser):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(PAGE.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#chart svg").bounding_box()["width"] > 300
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(browser, scheme):
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1200, "height": 900})
    for name in ("index", "theory", "gallery", "explorer", "tutorials/own_method", "reference/commands"):
        page = context.new_page()
        page.goto((SITE / f"{name}.html").as_uri())
        assert page.evaluate(CONTRASTS) == {}, name
        page.close()
    page = context.new_page()
    page.set_content("<p style='color: #999'>grey on white</p>")
    assert len(page.evaluate(CONTRASTS)) == 1
    context.close()


@pytest.mark.slow
def test_the_command_finds_the_numbers_of_the_page(page, tmp_path):
    from w2s_jax.results import open_results

    words = page.locator("#command").inner_text().split()[3:]
    words[words.index("--out") + 1] = str(tmp_path)
    assert risk_sweep(words) == 0
    cell = open_results(tmp_path / "risk_sweep.zarr").squeeze()
    for method in cell["method"].values:
        own = cell.sel({"method": method})
        far = abs(float(own.risk_mean) - value(held, method, "risk", **AT))
        # two simulations of the same mean, each with its standard error, and four digits
        assert far < 5 * 2**0.5 * float(own.risk_sem) + 1e-3 * float(own.risk_mean), method
