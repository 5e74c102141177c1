"""Frames and steps for the tests of this plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgeai.api import Array, Frame, Transform
from edgeai.testing.examples import example_frame
from edgeai_transforms.specs import SPECS


@pytest.fixture
def step() -> Callable[..., Transform]:
    """A step by name and options."""
    specs = {spec.name: spec for spec in SPECS}

    def build(name: str, **options: Any) -> Transform:
        return specs[name].build(options)

    return build


@pytest.fixture
def frame_of() -> Callable[..., Frame]:
    """A frame with these pixels."""

    def make(pixels: Array, **changes: Any) -> Frame:
        rows, columns = pixels.shape[:2]
        samples = 1 if pixels.ndim == 2 else pixels.shape[2]
        return example_frame("uint8", rows=rows, columns=columns, samples=samples, **{"pixels": pixels, **changes})

    return make
