"""Writes every formula of the site as MathML, which browsers draw without a script, and brings a font for it."""

import re
from importlib.resources import files as package
from io import BytesIO

from fontTools.ttLib import TTFont
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
"""What the extension arithmatex makes of $...$ and of $$...$$."""
FONT = "assets/stix-two-math.woff"
TIDY = [
    (re.compile("<mo>(&#x02016;|&#x0007C;|&#x0002F;)</mo>"), r'<mo stretchy="false" lspace="0" rspace="0">\1</mo>'),
    (re.compile("<mo>&#x02223;</mo>"), '<mo stretchy="false">&#x02223;</mo>'),
    (
        re.compile(r"((?:\[|\(|&#x00028;|&#x0002C;|=|&#x0003D;)</mo>)<mo>&#x02212;</mo>"),
        r'\1<mo form="prefix">&#x02212;</mo>',
    ),
]
"""Where browsers differ from TeX: a bar must not grow by itself, a slash has no room, and a sign is no minus."""


def on_files(files, config, **_):
    """Add the font, compressed for the web."""
    font, packed = TTFont(package("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"), BytesIO()
    font.flavor = "woff"
    font.save(packed)
    files.append(File.generated(config, FONT, content=packed.getvalue()))
    return files


def on_page_content(content, page, **_):
    """Replace the formulas of a page, and those of its table of contents."""
    for entry in _entries(page.toc):
        entry.title = re.sub(r"\\\((.*?)\\\)", lambda match: drawn(match[1], "inline"), entry.title)
    return FORMULA.sub(lambda match: drawn(_unescaped(match[2]), "inline" if match[1] == "span" else "block"), content)


def drawn(formula: str, display: str) -> str:
    """MathML of a formula; one that is not understood is an error."""
    found = convert(formula.strip(), display=display)
    if "\\" in found:
        raise PluginError(f"a formula must be LaTeX that latex2mathml knows, got {formula.strip()!r}")
    for pattern, better in TIDY:
        found = pattern.sub(better, found)
    return found


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _entries(toc):
    for entry in toc:
        yield entry
        yield from _entries(entry.children)
