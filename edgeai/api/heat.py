"""What a finding was made of, place by place: a coarse map that is drawn beside the image (since 1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """How much of something lies where in a frame, coarsely.

    Attributes:
        name: what the values are, in the model's word.
        values: rows of cells from the top, each from the left; rows are equally long. From 0 on.
        box: (x0, y0, x1, y1), the outer edges of all cells together, in pixels of the source image.
        frame_number: the frame that they lie in, from 1.
        bound: the value that a reader holds them to, where there is one.
    """

    name: str
    values: tuple[tuple[float, ...], ...]
    box: tuple[float, float, float, float]
    frame_number: int
    bound: float | None = None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Heat:
        """Of its JSON form, of which a later version may say more."""
        known = {name: body[name] for name in cls.__slots__ if name in body}
        values = tuple(tuple(row) for row in known["values"])
        return cls(**{**known, "box": tuple(known["box"]), "values": values})
