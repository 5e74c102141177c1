"""What was counted, as plain records: evidence has it as ``stress``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from edgeai_workbench.robustness import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One artifact and one kind of images.

    Attributes:
        kind: its name.
        says: what they are.
        model: the artifact's id.
        samples: how many.
        withheld: share of them that gets no statement.
        codes: why not -> how many.
        kept: of its own images that were changed, the share that is withheld, right, or stated as before it was
            changed; ``None`` where nobody can say.
        min_withheld: the card's bound, of ``kept`` where the images are its own, else of ``withheld``.
    """

    kind: str
    says: str
    model: str
    samples: int
    withheld: Part
    codes: dict[str, int]
    kept: Part | None = None
    min_withheld: float | None = None

    @property
    def mostly(self) -> str:
        """The most frequent code; empty where nothing is withheld."""
        return min(self.codes, key=lambda code: (-self.codes[code], code), default="")

    @property
    def held_to(self) -> Part:
        """What the bound is of."""
        return self.kept or self.withheld

    @property
    def holds(self) -> bool:
        """Whether the bound is met; also where there is none."""
        return self.min_withheld is None or self.held_to.value >= self.min_withheld


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """All kinds, of each artifact; ``seed`` is of the drawings."""

    samples: int
    seed: int
    rows: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def from_plain(body: Mapping[str, Any] | None) -> Stress | None:
    """What ``as_dict`` made plain, as evidence has it."""
    return None if body is None else msgspec.convert(body, Stress)
