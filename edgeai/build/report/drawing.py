"""A figure drawn without a display, as PNG bytes that are the same for the same figures."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from edgeai.build.extra import needed
from edgeai.build.report import Picture

_HALF_PAGE = 7.0
"""Inches; a wider figure stands alone in its line."""


def drawn(title: str, says: str, draw: Callable[[Any], None], *, size: tuple[float, float] = (6.4, 4.2)) -> Picture:
    """A picture of one figure, which ``draw`` is given (a ``matplotlib.figure.Figure``)."""
    figure = needed("matplotlib.figure").Figure(figsize=size, layout="constrained")
    draw(figure)
    body = io.BytesIO()
    figure.savefig(body, format="png", dpi=110, metadata={"Software": None})
    return Picture(title=title, says=says, png=body.getvalue(), wide=size[0] > _HALF_PAGE)
