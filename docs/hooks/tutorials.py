"""Runs the tutorials, scripts in jupytext's percent format, and makes a page of each with what it printed and drew."""

import base64
import functools
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = re.compile(r"\]\(((?:tutorials/)?\w+)\.py\)")
SECONDS = 600
"""Longest that a cell may take."""


def on_files(files, config, **_):
    """Add a page for every script, beside the script itself."""
    scripts = [file for file in files if file.src_uri.startswith("tutorials/") and file.src_uri.endswith(".py")]
    with ThreadPoolExecutor(2) as pool:
        pages = list(pool.map(lambda script: page(script.content_string, Path(script.src_uri).stem), scripts))
    for script, (text, pictures) in zip(scripts, pages):
        files.append(File.generated(config, script.src_uri.removesuffix(".py") + ".md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=data))
    return files


@functools.cache
def page(script: str, name: str) -> tuple[str, dict[str, bytes]]:
    """A tutorial's page in Markdown, and its pictures by their names; run once for each version of the script."""
    notebook = jupytext.reads(script, fmt="py:percent")
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": ROOT}})
    # Programs this small compile for longer than they run; a second build finds them in the cache of the tests.
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    try:
        client.execute(env={**os.environ, **kept, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)})
    except CellExecutionError as error:
        raise PluginError(
            f"docs/tutorials/{name}.py must run, but it ended with {error.ename}: {error.evalue}"
        ) from error
    parts, pictures = [], {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.source.strip():
            parts += [f"```python\n{cell.source}\n```", *_shown(cell, name, pictures)]
    parts.append(f"[This tutorial as a script]({name}.py)")
    return "\n\n".join(parts) + "\n", pictures


def _shown(cell: NotebookNode, name: str, pictures: dict[str, bytes]) -> list[str]:
    """What a cell printed and drew."""
    printed = "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout").rstrip()
    parts = [f"```text\n{printed}\n```"] if printed else []
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            file = f"{name}-{len(pictures) + 1}.png"
            pictures[file] = base64.b64decode(data["image/png"])
            parts.append(f"![{_alt(cell, name)}]({file})")
        elif "text/plain" in data:
            parts.append(f"```text\n{data['text/plain'].rstrip()}\n```")
    return parts


def _alt(cell: NotebookNode, name: str) -> str:
    if "alt" not in cell.metadata:
        raise PluginError(f'docs/tutorials/{name}.py: a cell that draws must say what is seen: `# %% alt="..."`')
    return cell.metadata["alt"]


def on_page_markdown(markdown, page, **_):
    """Links to the script of a tutorial, which readers of the repository follow, lead to its page."""
    here = page.file.src_uri.startswith("tutorials/")

    def moved(match: re.Match) -> str:
        return f"]({match[1]}.md)" if here or match[1].startswith("tutorials/") else match[0]

    return markdown if page.file.generated_by else SCRIPT.sub(moved, markdown)
