"""Colours and sizes of the pictures. None is green: what a model says is never an all-clear."""

from __future__ import annotations

from typing import Final, TypeAlias

Colour: TypeAlias = tuple[int, int, int]

BACK: Final[Colour] = (21, 23, 27)
PLATE: Final[Colour] = (0, 0, 0)
TRACK: Final[Colour] = (56, 60, 68)
WHITE: Final[Colour] = (242, 243, 246)
SOFT: Final[Colour] = (190, 195, 204)
DIM: Final[Colour] = (146, 152, 163)
STEEL: Final[Colour] = (164, 190, 224)
"""Bars of what is stated, and what the header confirms."""
AMBER: Final[Colour] = (255, 194, 92)
"""Doubt, what was withheld, and what a reader must not overlook."""
CORAL: Final[Colour] = (255, 136, 118)
"""What failed."""
AREAS: Final[tuple[Colour, ...]] = (
    (76, 201, 240),
    (255, 134, 190),
    (176, 156, 255),
    (236, 224, 178),
    (128, 160, 255),
    (226, 120, 232),
    (198, 214, 232),
    (232, 158, 158),
)
"""Outlines, in turn; each area bears a letter too, for whom colours are not enough."""

FINDING: Final = 28
"""What was found. Nothing in a picture is larger."""
TITLE: Final = 21
BODY: Final = 16
SMALL: Final = 14
STATE: Final = 13
"""How the run ended; nothing is smaller."""

PANEL: Final = 400
MARGIN: Final = 20
DIMMED: Final = 0.3
"""What is left of the brightness of an image without a result."""
FILLED: Final = 0.22
"""How much of an area's colour lies over the image."""
