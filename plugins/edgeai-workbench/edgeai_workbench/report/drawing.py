"""A figure drawn without a display, as PNG bytes that are the same for the same figures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from edgeai.api import Curve, Drawing, Grid, Outline, Panel, Plane, Polyline
from edgeai_workbench.libraries import needed
from edgeai_workbench.report import Picture

_HALF_PAGE = 7.0
"""Inches; a wider figure stands alone in its line."""
_STYLES: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "line": ("", {"lw": 1.4}),
    "both": ("o-", {"lw": 1.2, "ms": 3.5}),
    "dots": ("o", {"ms": 3.5, "alpha": 0.7}),
    "guide": (":", {"color": "#888"}),
}


def drawn(title: str, says: str, draw: Callable[[Any], None], *, size: tuple[float, float] = (6.4, 4.2)) -> Picture:
    """A picture of one figure, which ``draw`` is given (a ``matplotlib.figure.Figure``)."""
    figure = needed("matplotlib.figure").Figure(figsize=size, dpi=110, layout="constrained")
    canvas = needed("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    draw(figure)
    body = io.BytesIO()
    canvas.print_png(body, metadata={"Software": None})  # savefig draws everything twice
    return Picture(title=title, says=says, png=body.getvalue(), wide=size[0] > _HALF_PAGE)


def drawn_of(drawing: Drawing) -> Picture:
    """The picture of what a task's judge wants drawn.

    Raises:
        ConfigError: ``build.extra-missing``.
    """

    def draw(figure: Any) -> None:
        down = drawing.down or max(1, -(-len(drawing.panels) // drawing.across))
        every = np.ravel(figure.subplots(down, drawing.across))
        for axes in every[len(drawing.panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(every, drawing.panels, strict=False):
            _draw_panel(axes, panel)
        if any(isinstance(mark, Curve) and mark.label for panel in drawing.panels for mark in panel.marks):
            figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)  # where it covers no curve

    return drawn(drawing.title, drawing.says, draw, size=drawing.size_inches)


def _draw_panel(axes: Any, panel: Panel) -> None:
    if not panel.axes:
        axes.set_axis_off()
    for mark in panel.marks:
        match mark:
            case Curve():
                style, more = _STYLES[mark.style]
                axes.plot(mark.x, mark.y, style, label=mark.label or None, **more)
            case Grid():
                _draw_grid(axes, mark)
            case Plane():
                axes.imshow(mark.pixels, cmap="gray")
            case Outline():
                if mark.mask.any():
                    shape = {"linewidths": 1.2, "linestyles": "dashed"} if mark.dashed else {"linewidths": 1.0}
                    axes.contour(mark.mask, [0.5], colors=mark.colour, **shape)
            case Polyline():
                axes.plot(mark.points[:, 0], mark.points[:, 1], color=mark.colour, lw=1.0)
    if panel.title:
        axes.set_title(panel.title, fontsize=7)
    if panel.x:
        axes.set_xlabel(panel.x)
    if panel.y:
        axes.set_ylabel(panel.y)


def _draw_grid(axes: Any, grid: Grid) -> None:
    shades = np.asarray(grid.shades)
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=1)
    for (row, column), shade in np.ndenumerate(shades):
        colour = "white" if shade > 0.5 else "black"
        axes.text(column, row, grid.texts[row][column], ha="center", va="center", fontsize=10, color=colour)
    axes.set_xticks(range(len(grid.columns)), grid.columns, rotation=30, ha="right")
    axes.set_yticks(range(len(grid.rows)), grid.rows)
