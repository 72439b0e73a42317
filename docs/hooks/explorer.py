"""The numbers of the explorer as a script, which a page may load from a disk, where it may not read a file of JSON."""

from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

NUMBERS = Path(__file__).resolve().parents[1] / "explorer.json"


def on_files(files, config, **_):
    """Add the script."""
    if not NUMBERS.is_file():
        raise PluginError(f"The explorer reads {NUMBERS}, which is not there: restore it with `git checkout docs`.")
    content = f"window.explorerData = {NUMBERS.read_text().strip()};\n"
    files.append(File.generated(config, "assets/explorer-data.js", content=content))
    return files
