"""When two models say the same of where something is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeai.api import Finding
from edgeai.testing.gallery import segment
from edgeai_tasks.segment.agreeing import difference

HEAD = segment("head", (100.0, 80.0), 40.0)
NOWHERE = replace(HEAD, present=False)


def ring(inner: float) -> Finding:
    """With a hole: what is inside of both outlines is not meant."""
    outer, hole = HEAD.region, segment("head", (100.0, 80.0), inner).region
    assert outer is not None
    assert hole is not None
    return replace(HEAD, region=replace(outer, contours=(*outer.contours, *hole.contours)))


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (HEAD, HEAD, ""),
        (HEAD, segment("head", (104.0, 80.0), 40.0), ""),
        (HEAD, segment("head", (100.0, 80.0), 36.0), ""),
        (HEAD, segment("head", (140.0, 80.0), 40.0), "head lies elsewhere, Dice 0.39"),
        (HEAD, segment("head", (100.0, 80.0), 20.0), "head lies elsewhere, Dice 0.4"),
        (HEAD, segment("head", (900.0, 80.0), 40.0), "head lies elsewhere, Dice 0.00"),
        (HEAD, ring(38.0), "head lies elsewhere"),
        (ring(20.0), ring(21.0), ""),
        (HEAD, NOWHERE, "head is stated no longer"),
        (NOWHERE, HEAD, "head is stated"),
        (NOWHERE, NOWHERE, ""),
    ],
)
def test_the_same_place_is_much_the_same_outline(before: Finding, now: Finding, expected: str) -> None:
    told = difference((before,), (now,))
    assert told.startswith(expected)
    assert bool(told) == bool(expected)


def test_frames_are_compared_each_with_its_own() -> None:
    frames = tuple(replace(HEAD, frame_number=number) for number in (1, 2))
    moved = replace(segment("head", (300.0, 80.0), 40.0), frame_number=2)
    assert difference(frames, frames) == ""
    assert difference(frames, (frames[0], moved)) == "head in frame 2 lies elsewhere, Dice 0.00"
    assert difference(frames, frames[:1]) == "head in frame 2 is stated no longer"
