"""What the tests of figures share: stores on disk, what a figure says and shows, and whether a page can be read."""

import itertools
from types import SimpleNamespace

import numpy as np
import zarr
from matplotlib.figure import Figure
from matplotlib.text import Text

from figures import data, make, style
from sims.engine.checked import to_json


def stored(dataset, folder, name: str) -> data.Results:
    """The data set as a store on disk, read back as figures read it."""
    dataset.to_zarr(folder / f"{name}.zarr", zarr_format=3, consolidated=False)
    return data.open_results(folder, name)


def written(assemble, spec, read, counts, folder, name: str) -> data.Results:
    """What a sweep's own `assemble` makes of blocks that nobody simulated: `read(block, chunk)` gives their arrays."""
    path = folder / f"{name}.zarr"
    assemble(spec, SimpleNamespace(read=read), np.array(counts), path)
    zarr.open_group(str(path), mode="r+").attrs.update({"config": to_json(spec), "complete": int(sum(counts))})
    return data.open_results(folder, name)


def laid_out(draw, *results):
    """The figure that a function draws of some results, with every text in its place."""
    with style.style():
        figure = draw(*results)
        figure.draw_without_rendering()
    return figure


def texts(figure) -> list[str]:
    """All that a figure says, legends included."""
    legends = [text for legend in figure.legends for text in (*legend.get_texts(), legend.get_title())]
    return [text.get_text() for text in (*figure.findobj(Text), *legends) if text.get_text()]


def stub(monkeypatch, *names: str) -> None:
    """Replace the drawing of these figures, or of all, by an empty one, where only files and exit codes matter."""
    for name in names or make.FIGURES:
        entry = make.FIGURES[name]._replace(draw=lambda *results: Figure(figsize=(1, 1)))
        monkeypatch.setitem(make.FIGURES, name, entry)


def shows(panel, heights, color=None) -> bool:
    """Whether one of the lines or sets of points of a panel (of that color, if one is given) has these heights."""
    heights = np.asarray(heights, float)
    lines = [np.asarray(x.get_ydata(), float) for x in panel.lines if color is None or x.get_color() == color]
    return any(y.shape == heights.shape and np.allclose(y, heights, rtol=1e-6, equal_nan=True) for y in lines)


def assert_drawn(folder, names, least: int = 1000) -> None:
    """The files of these figures and no others lie in the folder, none smaller than `least` bytes."""
    files = {path.name: path.stat().st_size for path in (folder / "figures").iterdir()}
    assert set(files) == {f"{name}.{kind}" for name in names for kind in ("pdf", "png")}
    assert min(files.values()) >= least


def assert_legible(figure, name: str, ticks: bool = True) -> None:
    """No title, label or legend touches another, and all lie on the page, which is no wider than two columns."""
    assert figure.get_figwidth() <= style.DOUBLE_COLUMN
    found = [text for panel in figure.axes for text in (*panel.get_children(), panel.xaxis.label, panel.yaxis.label)]
    found += [text for panel in figure.axes for text in _ticks_of(panel) if ticks]
    found += [figure._supxlabel] if figure._supxlabel else []
    shown = [text for text in found if isinstance(text, Text) and text.get_text() and text.get_visible()]
    shown = [text for text in shown if text.axes is None or text.axes.axison or text in text.axes.texts]
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in shown]  # without the line that leads to a mark
    boxes += [("legend", legend.get_window_extent()) for legend in figure.legends]
    for (first, one), (second, other) in itertools.combinations(boxes, 2):
        assert not one.overlaps(other), (name, first, second)
    for text, box in boxes:
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y0 >= -1, (name, text)


def _ticks_of(panel) -> list[Text]:
    """The numbers on both axes that lie inside the frame."""
    sides = ((panel.xaxis, panel.get_xlim()), (panel.yaxis, panel.get_ylim()))
    found = [
        (tick, min(ends) <= tick.get_loc() <= max(ends)) for side, ends in sides for tick in side.get_major_ticks()
    ]
    return [label for tick, inside in found if inside for label in (tick.label1, tick.label2)]
