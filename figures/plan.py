"""One point on the predicted phase diagram: where a user's numbers lie, and how far the border is."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from figures import style
from figures.phase import COLORS, STRONGEST, edges


def point_on_phase_diagram(
    accuracies: np.ndarray,
    shifts: np.ndarray,
    naive: np.ndarray,
    refined: np.ndarray,
    point: tuple[float, float],
    heading: str,
) -> Figure:
    """Predicted risks `[accuracies shifts]` of naive fine-tuning and refinement, their border, and one point."""
    decades = np.log10(naive / refined)
    figure, panels = style.new_figure(style.SINGLE_COLUMN, 2.9)
    axes = panels[0, 0]
    x, y = edges(accuracies), edges(shifts)
    axes.set_facecolor("0.85")  # of cells without a closed form
    axes.pcolormesh(x, y, decades.T, cmap=COLORS, vmin=-STRONGEST, vmax=STRONGEST, rasterized=True)
    if np.nanmin(decades) < 0 < np.nanmax(decades):
        axes.contour(accuracies, shifts, decades.T, [0.0], colors="black", linewidths=0.8, linestyles="--")
    axes.plot(*point, marker="*", markersize=11, color="#FFD500", markeredgecolor="black", markeredgewidth=0.8)
    axes.set_xlim(x[0], max(x[-1], point[0]))
    axes.set_ylim(min(y[0], point[1]), max(y[-1], point[1]))
    axes.set_xlabel("weak accuracy")
    axes.set_ylabel("concept shift")
    axes.set_title(heading, fontsize=6)
    bar = figure.colorbar(ScalarMappable(Normalize(-STRONGEST, STRONGEST), COLORS), ax=axes, extend="both")
    bar.set_label(r"$\log_{10}$ risk of naive / refined, fresh prompts")
    return figure
