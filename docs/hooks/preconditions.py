"""What the site needs before it is built: the packages of the extra `docs`, and the committed figures and results."""

from importlib.util import find_spec
from pathlib import Path

from mkdocs.exceptions import Abort

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jax", "matplotlib", "xarray", "jupytext", "nbclient", "ipykernel", "latex2mathml", "ziamath")


def missing(docs: Path, packages: tuple[str, ...] = PACKAGES) -> str | None:
    """One sentence about what is not there, or None."""
    if absent := [name for name in packages if find_spec(name) is None]:
        return (
            f"The site needs the extras sims and docs, but {', '.join(absent)} cannot be imported: "
            "run `make docs`, which installs both."
        )
    for folder, kind in (("figures", "png"), ("results", "json")):
        if not any((docs / folder).glob(f"*.{kind}")):
            return (
                f"The site shows the committed {folder}, but {docs / folder} has none: "
                "restore them with `git checkout docs`."
            )
    return None


# The other hooks import these packages, and are loaded after this one.
if sentence := missing(ROOT / "docs"):
    raise Abort(sentence)
