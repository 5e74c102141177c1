"""Where a task's findings lie: on the same pixels of the source, whatever was cropped and scaled on the way."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgeai.api import Array, Finding, FrameContext, Geometry, Region, TensorSpec
from edgeai.api.results import Point
from edgeai.testing.examples import example_frame, instance_ref

ROWS, COLUMNS = 96, 128
"""Of the plane that the model sees."""

SPACING_MM = 0.4

WAYS = {
    "cropped": (37.0, 21.0, 1.0, 1.0),
    "reduced": (0.0, 0.0, 3.0, 3.0),
    "enlarged": (0.0, 0.0, 0.5, 0.5),
    "stretched": (0.0, 0.0, 2.0, 1.25),
    "cropped and reduced": (150.0, 40.0, 2.5, 2.0),
    "padded": (-20.0, -12.0, 1.5, 1.5),
}
"""How the plane came from its source: (x, y) of its corner there, and source pixels across and down a pixel of it."""


def seen(way: tuple[float, float, float, float] | None = None) -> FrameContext:
    """A plane that came so from its source; by default it is its source."""
    x, y, across, down = way or (0.0, 0.0, 1.0, 1.0)
    rows, columns = round(ROWS * down + 2 * abs(y)), round(COLUMNS * across + 2 * abs(x))
    source = Geometry(source_rows=rows, source_columns=columns, pixel_spacing_mm=(SPACING_MM, SPACING_MM))
    instance = instance_ref(rows=rows, columns=columns, number_of_frames=9)
    geometry = source.cropped(x, y).scaled(across, down)
    frame = example_frame(rows=ROWS, columns=COLUMNS, geometry=geometry, instance=instance)
    return FrameContext(frame=frame, instance=instance)


def blobs(specs: Iterable[TensorSpec], outputs: dict[str, Array]) -> dict[str, Array]:
    """The outputs with a smooth blob in each plane of those that are planes (NHWC, NCHW), amid the picture."""
    for spec in specs:
        if spec.layout not in ("NHWC", "NCHW") or not spec.dtype.startswith("float"):
            continue
        array = outputs[spec.name]
        planes = np.moveaxis(array, -1, 1) if spec.layout == "NHWC" else array
        rows, columns = planes.shape[2:]
        y, x = np.mgrid[0:rows, 0:columns]
        for channel in range(planes.shape[1]):
            centre_y, centre_x = rows * (0.4 + 0.1 * (channel % 3)), columns * (0.35 + 0.15 * (channel % 3))
            distance = ((y - centre_y) / (rows * 0.16)) ** 2 + ((x - centre_x) / (columns * 0.12)) ** 2
            planes[:, channel] = 0.02 + 0.94 * np.exp(-(distance**2))
    return outputs


def assert_same_place(got: Finding, want: Finding, way: tuple[float, float, float, float]) -> None:
    """A finding on a plane that came ``way`` from its source lies where it lies on the plane itself."""
    assert (got.label, got.present, got.region is None) == (want.label, want.present, want.region is None)
    if got.heat is not None and want.heat is not None:
        (x0, y0, x1, y1), (u0, v0, u1, v1) = got.heat.box, want.heat.box
        _assert_near(f"{got.label}, heat", [(x0, y0), (x1, y1)], [(u0, v0), (u1, v1)], way)
    if got.region is None or want.region is None:
        return
    for name, points in _points(got.region).items():
        wanted = _points(want.region).get(name)
        assert wanted is not None, f"{got.label}: {name} is there for one of the two only"
        _assert_near(f"{got.label}, {name}", points, wanted, way)
    _, _, across, down = way
    area = want.region.area_px * across * down
    assert abs(got.region.area_px - area) <= 0.1 * area + 4 * across * down, (
        f"{got.label}: an area of {got.region.area_px} pixels of the source, not about {area:.1f}"
    )
    if got.region.area_mm2 is not None:
        in_mm = got.region.area_px * SPACING_MM**2
        assert abs(got.region.area_mm2 - in_mm) <= 0.05 * in_mm, (
            f"{got.label}: {got.region.area_mm2} mm2 of {got.region.area_px} pixels of {SPACING_MM} mm"
        )


def _points(region: Region) -> dict[str, list[Point]]:
    """What of a region can be compared: the corners of its box, its centroid, the bounds of its contours."""
    points: dict[str, list[Point]] = {}
    if region.box is not None:
        x0, y0, x1, y1 = region.box
        points["box"] = [(x0, y0), (x1, y1)]
    if region.centroid is not None:
        points["centroid"] = [region.centroid]
    corners = [corner for contour in region.contours for corner in contour]
    if corners:
        x, y = zip(*corners, strict=True)
        points["contours"] = [(min(x), min(y)), (max(x), max(y))]
    return points


def _assert_near(what: str, points: list[Point], wanted: list[Point], way: tuple[float, float, float, float]) -> None:
    x, y, across, down = way
    for (got_x, got_y), (want_x, want_y) in zip(points, wanted, strict=True):
        right = (x + want_x * across, y + want_y * down)
        # A pixel of the coarser of the two planes, and half of one: outlines are rounded to pixels and simplified.
        slack = (1.5 * max(across, 1.0), 1.5 * max(down, 1.0))
        near = abs(got_x - right[0]) <= slack[0] and abs(got_y - right[1]) <= slack[1]
        assert near, (
            f"{what}: ({got_x:.1f}, {got_y:.1f}), where the source has it at ({right[0]:.1f}, {right[1]:.1f}): a "
            "finding lies in pixels of the source, and frame.geometry.to_source leads there"
        )
