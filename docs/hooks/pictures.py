"""Makes figures of pictures and their captions, and the files small: at most 256 colours, which the eye cannot tell."""

import re
import shutil
from pathlib import Path

from PIL import Image

AS_WRITTEN = re.compile(r"(<(pre|script|textarea)\b.*?</\2>)", re.DOTALL)
INDENTATION = re.compile(r"\s*\n\s*")
PICTURE = re.compile(r'<p>(<img [^>]*?src="([^"]+)"[^>]*>)</p>(?:\s*<p><em>(.*?)</em></p>)?', re.DOTALL)


def on_page_content(content, **_):
    """A picture alone in its paragraph, with the paragraph in italics after it, is a figure that opens at full size."""
    return PICTURE.sub(_figure, content)


def _figure(match: re.Match) -> str:
    caption = f"<figcaption>{match[3]}</figcaption>" if match[3] else ""
    return f'<figure><a href="{match[2]}">{match[1]}</a>{caption}</figure>'


def on_post_page(output, **_):
    """Leave out the indentation of the page, a twelfth of it."""
    parts = AS_WRITTEN.split(output)  # text, a part to keep, its tag, text, ...
    parts[::3] = [INDENTATION.sub("\n", text) for text in parts[::3]]
    del parts[2::3]
    return "".join(parts)


def on_post_build(config, **_):
    """Rewrite every PNG of the built site; drop what only debuggers of its scripts read, and the search in languages
    other than English.
    """
    site = Path(config.site_dir)
    for path in site.rglob("*.png"):
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
    for path in site.rglob("*.map"):
        path.unlink()
    shutil.rmtree(site / "assets" / "javascripts" / "lunr", ignore_errors=True)
