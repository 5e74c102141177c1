"""What a bundle is proved on before it is packed."""

from __future__ import annotations

import pytest

from edgeai_workbench.proving import _drawn


@pytest.mark.parametrize(("layout", "shape"), [("NHWC", (1, 8, 8, 1)), ("NCHW", (1, 3, None, None))])
def test_the_picture_says_how_large_its_pixels_are(layout: str, shape: tuple[int | None, ...]) -> None:
    """A task that states millimetres could not answer otherwise, and nothing of it be packed."""
    assert _drawn(layout, shape).geometry.spacing_mm() == (1.0, 1.0)
