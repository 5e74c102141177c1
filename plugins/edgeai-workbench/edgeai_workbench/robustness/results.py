"""What was measured, as plain records: the report, ``evidence.json`` and the command line write them down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A value with its 95 % interval, found by ``method``; ``None`` at an end that the samples do not determine.

    ``unit`` is empty for a share.
    """

    value: float
    low: float | None
    high: float | None
    method: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model on images that were spoilt in one way.

    Attributes:
        kind: name of the kind; ``plain`` for the images as they are.
        says: what was done to them, with strength and unit.
        model: ``parent``, or an artifact's id.
        right: share of the images of which the model says what is true.
        withheld: share of which it says nothing: its task makes no statement, or the image is refused.
        confidently_wrong: share of which it says what is wrong, as sure as ``Robustness.confident`` or more.
        fall: of ``right``, plain images minus these.
        alike: share that is decided as the plain image; of kinds that move nothing, for tasks that cannot say more.
        main: the main figure, of the images that were answered.
        refusals: code -> images that were refused by it.
        why: what could not be asked, in a sentence; empty where all could.
    """

    kind: str
    says: str
    model: str
    samples: int
    right: Part | None = None
    withheld: Part | None = None
    confidently_wrong: Part | None = None
    fall: Part | None = None
    alike: Part | None = None
    main: Part | None = None
    refusals: dict[str, int]
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftedModel:
    """The main figure of one model, and how far it may be off on another hospital's images.

    Attributes:
        plain: on the images as they are.
        shifted: median over the simulated hospitals, with the interval of one more hospital's images.
        worst: of one simulated hospital.
        withheld: share of the shifted images that were not answered.
    """

    model: str
    plain: Part
    shifted: Part
    worst: float
    withheld: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How far other data may differ, of one figure.

    Attributes:
        figure: its name.
        hospitals: how many were simulated.
        method: what was simulated and how the interval is made, in a sentence.
        literature: what others found for this kind of data, as the card says.
        why: what could not be simulated.
    """

    figure: str
    hospitals: int
    models: tuple[ShiftedModel, ...]
    method: str
    literature: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """All of it, of one set of samples.

    Attributes:
        split: which samples (``validation``, ``test``).
        samples: images that were asked about, of ``of``.
        groups: patients or examinations among them.
        confident: from which confidence on a wrong answer counts as confidently wrong.
        seed: of every random choice.
        main: name of the main figure.
    """

    split: str
    samples: int
    of: int
    groups: int
    confident: float
    seed: int
    main: str
    rows: tuple[Row, ...]
    shift: Shift | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def from_plain(body: Mapping[str, Any] | None) -> Robustness | None:
    """What ``as_dict`` made plain, as evidence has it."""
    return None if body is None else msgspec.convert(body, Robustness)
