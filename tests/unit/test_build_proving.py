"""What a bundle is proved on before it is packed."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai_workbench.proving import _as_seen, _drawn


@pytest.mark.parametrize(("layout", "shape"), [("NHWC", (1, 8, 8, 1)), ("NCHW", (1, 3, None, None))])
def test_the_picture_says_how_large_its_pixels_are(layout: str, shape: tuple[int | None, ...]) -> None:
    """A task that states millimetres could not answer otherwise, and nothing of it be packed."""
    assert _drawn(layout, shape).geometry.spacing_mm() == (1.0, 1.0)


@pytest.mark.parametrize(
    ("layout", "shape", "pixels"),
    [
        ("NHWC", (1, 6, 8, 1), (6, 8)),
        ("NHWC", (1, 6, 8, 3), (6, 8, 3)),
        ("NCHW", (1, 3, 6, 8), (6, 8, 3)),
        ("NHW", (1, 6, 8), (6, 8)),
    ],
)
def test_in_place_of_a_picture_that_is_too_small_a_golden_case_is_what_the_model_saw(
    layout: str, shape: tuple[int, ...], pixels: tuple[int, ...]
) -> None:
    """A task that holds its answer against the picture would find another one otherwise."""
    seen = _as_seen(_drawn("NHWC", (1, 8, 8, 1)), np.arange(np.prod(shape)).reshape(shape), layout)
    assert seen.pixels.shape == pixels
    assert (seen.geometry.source_rows, seen.geometry.source_columns) == (6, 8)
    assert seen.geometry.spacing_mm() == (1.0, 1.0)


def test_what_is_no_picture_stays_as_it_was() -> None:
    frame = _drawn("NHWC", (1, 8, 8, 1))
    assert _as_seen(frame, np.zeros((1, 5)), "NC") is frame
