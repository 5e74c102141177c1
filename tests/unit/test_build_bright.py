"""A golden case with wide bright areas: what counts as one, and who gets one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeai.api import TensorSpec
from edgeai.bundle.manifest import TransformStep
from edgeai.plugins import Registry
from edgeai_workbench.bright import bright_input, has_bright

RESIZE = TransformStep(transform="resize", options={"rows": 32, "columns": 48})
GREY = TransformStep(transform="grey")
FULL, ZSCORE = (TransformStep(transform="normalise", options={"mode": mode}) for mode in ("full_range", "zscore"))


def spec(*shape: int | None, layout: str = "NHWC", dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name="image", dtype=dtype, shape=shape, layout=layout)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.of(["transforms"])


@pytest.mark.parametrize(
    ("steps", "source"),
    [
        ((RESIZE, GREY, FULL), spec(1, 32, 48, 1)),
        ((RESIZE, GREY, ZSCORE), spec(1, 32, 48, 1)),
        ((RESIZE, FULL), spec(1, 3, 32, 48, layout="NCHW")),
        ((GREY, FULL), spec(1, None, None, 1)),
        ((RESIZE, GREY), spec(1, 32, 48, 1, dtype="uint8")),
    ],
)
def test_most_of_it_is_as_bright_as_an_input_can_be_and_some_is_black(
    steps: Any, source: TensorSpec, registry: Registry
) -> None:
    picture = bright_input(steps, registry, source)
    assert picture is not None
    if steps[-1] is not ZSCORE:
        assert (picture.min(), picture.max()) == (0, 255 if source.dtype == "uint8" else 1)
    assert np.mean(picture >= 0.99 * picture.max()) > 0.5
    assert picture.min() < np.median(picture)
    assert has_bright([picture], picture)


def test_a_case_is_bright_where_a_quarter_is_near_the_top(registry: Registry) -> None:
    picture = bright_input((RESIZE, GREY, FULL), registry, spec(1, 32, 48, 1))
    dark, ramp = np.zeros((1, 32, 48, 1), np.float32), np.zeros((1, 32, 48, 1), np.float32)
    ramp[:, :, 36:] = 0.985
    assert not has_bright([], picture)
    assert not has_bright([dark, 0.95 * np.ones_like(dark)], picture)
    assert not has_bright([ramp[:, :, :-1]], picture)
    assert has_bright([dark, ramp], picture)


STRUCTURE = TransformStep(transform="structure", options={"cell_px": 8})
OF_EACH = TransformStep(transform="normalise", options={"mode": "mean_std", "mean": [0.5, 0.4, 0.3], "std": [0.2] * 3})


@pytest.mark.parametrize(
    ("steps", "source"),
    [
        ((RESIZE, GREY, FULL, STRUCTURE), spec(1, 4, 6, 7)),  # one of seven samples says how bright a cell is
        ((RESIZE, FULL, OF_EACH), spec(1, 3, 32, 48, layout="NCHW")),  # one of three reaches the greatest value
    ],
)
def test_of_several_samples_that_one_is_bright_is_enough(steps: Any, source: TensorSpec, registry: Registry) -> None:
    picture = bright_input(steps, registry, source)
    assert picture is not None
    assert has_bright([picture], picture)
    assert not has_bright([np.minimum(picture, 0.9 * picture.max())], picture)


def test_what_is_no_picture_or_takes_no_drawing_has_none(registry: Registry) -> None:
    assert bright_input((), registry, TensorSpec(name="age", dtype="float32", shape=(1, 2))) is None
    assert bright_input((RESIZE,), registry, spec(1, 16, 16, 1)) is None  # the steps make another shape
    assert has_bright([np.zeros(3)], None)


def test_where_every_image_comes_out_alike_nothing_is_missing() -> None:
    assert has_bright([np.zeros(3)], np.ones(3))
