"""What a judge says of probabilities: how far they are what happens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """``samples`` answers whose mean probability is ``said``, and the share of them that was true, ``happened``."""

    said: float
    happened: float
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How far probabilities are what happens.

    Attributes:
        name: of which probabilities: ``as stated``, ``before the temperature of 1.7``.
        bins: those with samples, by what is said.
        error: the expected calibration error.
    """

    name: str
    bins: tuple[ReliabilityBin, ...]
    error: float
