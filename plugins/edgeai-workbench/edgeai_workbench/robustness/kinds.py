"""The kinds of odd images, by name, each with the strength that it has unless the card says another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PLAIN: Final = "plain"
"""The images as they are, which all others are held against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way to spoil an image.

    Attributes:
        name: as card and report call it.
        help: what is done, with ``{}`` where the strength stands.
        strength: how strongly, unless the card says; ``None`` where there is no more or less.
        bounds: least and greatest strength.
        moves: whether points of the image lie elsewhere afterwards, so that truth has to move along.
    """

    name: str
    help: str
    strength: float | None = None
    bounds: tuple[float, float] = (0.0, 0.0)
    moves: bool = False

    def says(self, strength: float | None) -> str:
        """What is done, in words."""
        return self.help if strength is None else self.help.format(f"{strength:g}")


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind(name="inverted", help="black is white and white is black"),
        Kind(name="upside-down", help="turned by 180 degrees", moves=True),
        Kind(name="flipped", help="top and bottom changed places", moves=True),
        Kind(name="mirrored", help="left and right changed places", moves=True),
        Kind(name="rotated-90", help="turned by 90 degrees, to the left", moves=True),
        Kind(
            name="rotated",
            help="turned by {} degrees about the middle, to either side",
            strength=10.0,
            bounds=(0.1, 45.0),
            moves=True,
        ),
        Kind(
            name="cropped",
            help="{} % of each extent cut off, anywhere at the edges",
            strength=20.0,
            bounds=(1.0, 80.0),
            moves=True,
        ),
        Kind(
            name="saturated",
            help="all that is {} times as bright, so white where it was bright",
            strength=2.0,
            bounds=(1.0, 100.0),
        ),
        Kind(
            name="noise", help="Gaussian noise, standard deviation {} % of the range", strength=8.0, bounds=(0.1, 100.0)
        ),
        Kind(
            name="blur",
            help="Gaussian blur, standard deviation {} % of the shorter side",
            strength=2.0,
            bounds=(0.05, 50.0),
        ),
        Kind(name="jpeg", help="JPEG of quality {}, 8 bits", strength=30.0, bounds=(1.0, 100.0)),
        Kind(
            name="text",
            help="white text burnt in at a corner, {} % of the shorter side high",
            strength=10.0,
            bounds=(1.0, 50.0),
        ),
        Kind(name="half-size", help="{} times as many rows and columns", strength=0.5, bounds=(0.05, 0.99), moves=True),
        Kind(
            name="double-size", help="{} times as many rows and columns", strength=2.0, bounds=(1.01, 8.0), moves=True
        ),
    )
}


def table() -> str:
    """All kinds, as the guide has them."""
    lines = ["| kind | what is done | strength |", "|---|---|---|"]
    for kind in KINDS.values():
        least, most = kind.bounds
        strength = "" if kind.strength is None else f"{kind.strength:g} ({least:g} to {most:g})"
        lines.append(f"| `{kind.name}` | {kind.says(kind.strength)} | {strength} |")
    return "\n".join(lines) + "\n"
