"""Pages for the files outside docs/ that documents link to, so that the site needs no other place."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)")
LANGUAGES = {".py": "python", ".md": "markdown", ".json": "json", ".csv": "text"}


def on_files(files, config, **_):
    """Add a page for every file that is linked to."""
    linked = set()
    for file in files.documentation_pages():
        linked |= {outside(match[2], file.src_uri) for match in LINK.finditer(file.content_string)}
    for path in sorted(linked - {None}):
        files.append(File.generated(config, page_of(path), content=shown(path)))
    return files


def on_page_markdown(markdown, page, **_):
    """Let links that lead out of docs/ lead to those pages."""

    def moved(match: re.Match) -> str:
        path = outside(match[2], page.file.src_uri)
        if path is None:
            return match[0]
        return match[1] + posixpath.relpath(page_of(path), posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(moved, markdown)


def outside(target: str, page: str) -> str | None:
    """The path, from the root of the project, that a page links to; None where that lies in docs/ or does not exist."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return path if not path.startswith("docs/") and (ROOT / path).is_file() else None


def page_of(path: str) -> str:
    """Where the site shows a file."""
    return f"source/{path}.md"


def shown(path: str) -> str:
    """The page that shows a file; it is left out of the search."""
    file = ROOT / path
    text = file.read_text().rstrip()
    language = LANGUAGES.get(file.suffix, "text")
    return f"---\nsearch:\n  exclude: true\nhide: [toc]\n---\n\n# `{path}`\n\n````{language}\n{text}\n````\n"
