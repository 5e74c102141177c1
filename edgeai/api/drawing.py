"""A picture of the report as what is in it: primitives that a judge gives, and the host draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgeai.api.tensors import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Points in a panel: joined, marked, or both; ``guide`` is the thin line that others are held against.

    Attributes:
        x, y: (n,).
        label: for the legend; none without.
    """

    x: Array | Sequence[float]
    y: Array | Sequence[float]
    label: str = ""
    style: Literal["line", "dots", "both", "guide"] = "line"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """A table of shaded cells with a text in each.

    Attributes:
        shades: (rows, columns), 0 to 1.
        texts: one a cell.
        rows, columns: what each is called.
    """

    shades: Array
    texts: Sequence[Sequence[str]]
    rows: Sequence[str]
    columns: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """An image: (rows, columns) of grey levels, or (rows, columns, 3)."""

    pixels: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """The border of a mask, (rows, columns) bool, over a ``Plane``; nothing of one that is empty."""

    mask: Array
    colour: str
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Polyline:
    """Points over a ``Plane``, (n, 2) as x and y in its pixels, joined."""

    points: Array
    colour: str


Mark: TypeAlias = Curve | Grid | Plane | Outline | Polyline


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """One pair of axes; without ``axes`` what is drawn stands alone, as images do."""

    marks: tuple[Mark, ...]
    title: str = ""
    x: str = ""
    y: str = ""
    axes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """One picture of the report, as what is in it; the host draws it.

    Attributes:
        title: what it is.
        says: how to read it, in a sentence or two.
        panels: row by row.
        across: panels in a row.
        down: rows; by default as many as the panels fill.
        size_inches: of the whole; wider than 7 takes the page's whole width.
    """

    title: str
    says: str
    panels: tuple[Panel, ...]
    across: int = 1
    down: int = 0
    size_inches: tuple[float, float] = (4.6, 4.2)
