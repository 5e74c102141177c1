"""What ``edgeai infer`` shows of a segment: its size in the table, its outline on the frame that it lies in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeai.api import EngineRef, Failure, Finding, InstanceIds, ModelRef, Outcome, Region, Result
from edgeai.cli.overlay import Overlays
from edgeai.cli.picture.style import AREAS, PANEL
from edgeai.cli.wording import finding_says, probability_says

Make = Callable[..., Path]
ENGINE = EngineRef(backend="tflite", engine="x 1", device="CPU", artifact="a", precision="fp32")
SQUARE = ((5.0, 4.0), (15.0, 4.0), (15.0, 12.0), (5.0, 12.0))


def _segment(label: str = "head", **region: object) -> Finding:
    values = {"area_px": 80.0, "box": (5.0, 4.0, 15.0, 12.0), "parts": 1, "contours": (SQUARE,), "frame_number": 1}
    return Finding(
        kind="segment",
        label=label,
        present=True,
        probability=0.87,
        threshold=0.5,
        region=Region(**{**values, **region}),  # type: ignore[arg-type]
    )


def _result(*findings: Finding) -> Result:
    return Result(
        result_id="r",
        deployment="",
        outcome=Outcome.COMPLETED if findings else Outcome.FAILED,
        model=ModelRef(name="m", version="1.0.0", digest="sha256:" + "0" * 64),
        instance=InstanceIds(sop_class_uid="1", sop_instance_uid="1", series_instance_uid="1", study_instance_uid="1"),
        created_at="2026-01-02T03:04:05Z",
        edgeai_version="0.1.0",
        findings=findings,
        reason=None if findings else Failure(code="x.y", message="no"),
        engine=ENGINE,
    )


def _drawn(path: Path, result: Result, folder: Path) -> np.ndarray:  # type: ignore[type-arg]
    """The picture without its panel of words."""
    picture = np.asarray(Image.open(Overlays(folder).draw(path, result)).convert("RGB"))
    return picture[:, :-PANEL]


def _is(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:  # type: ignore[type-arg]
    near: np.ndarray = np.abs(picture.astype(int) - colour).max(axis=2) < 4  # type: ignore[type-arg]
    return near


@pytest.mark.parametrize(
    ("finding", "says"),
    [
        (_segment(), "head 80 px"),
        (_segment(area_mm2=12.345, spacing_from="imager-pixel-spacing"), "head 12.3 mm2 on the detector"),
        (_segment(area_mm2=12.345), "head 12.3 mm2"),
        (Finding(kind="segment", label="head", present=False, region=Region(area_px=0.0)), "none found (head)"),
    ],
)
def test_the_table_says_how_large(finding: Finding, says: str) -> None:
    assert finding_says(_result(finding)) == says
    assert probability_says(_result(finding)) == ("87.0 %" if finding.present else "")


def test_several_labels_are_each_said_with_size_and_score() -> None:
    text = finding_says(_result(_segment(), _segment("hand", area_mm2=2.0)))
    assert text == "head 80 px (87.0 %), hand 2.0 mm2 (87.0 %)"


def test_the_outline_is_where_the_contour_is(make_dicom: Make, tmp_path: Path) -> None:
    picture = _drawn(make_dicom(level=0), _result(_segment()), tmp_path)
    # 20 x 16 source pixels are shown at 512 wide.
    scale = picture.shape[1] / 20
    top = (picture.shape[0] - 16 * scale) / 2
    coloured = _is(picture, AREAS[0])

    def first(line: np.ndarray) -> int:  # type: ignore[type-arg]
        return int(np.nonzero(line)[0][0])

    row, column = coloured[round(top + 8 * scale)], coloured[:, round(7 * scale)]  # the tag is further to the right
    edges = (first(row) / scale, (first(column) - top) / scale, 20 - first(row[::-1]) / scale)
    assert edges == pytest.approx((5, 4, 15), abs=0.2)
    assert (picture.shape[0] - first(column[::-1]) - top) / scale == pytest.approx(12, abs=0.2)
    assert not coloured[round(top + 8 * scale), round(10 * scale)], "inside, the image is seen"


def test_it_is_drawn_on_the_frame_that_it_lies_in(make_dicom: Make, tmp_path: Path) -> None:
    path = make_dicom(level=50, frames=9, WindowCenter="55", WindowWidth="20")
    third = _drawn(path, _result(_segment(frame_number=3, contours=())), tmp_path)
    last = _drawn(path, _result(_segment(frame_number=9, contours=())), tmp_path)
    middle = _drawn(path, _result(Finding(kind="class", label="x", present=True, probability=0.9)), tmp_path)
    levels = [int(np.median(picture)) for picture in (third, middle, last)]
    assert levels == sorted(set(levels))


def test_an_outline_of_another_frame_is_not_drawn(make_dicom: Make, tmp_path: Path) -> None:
    path = make_dicom(level=50, frames=9)
    picture = _drawn(path, _result(_segment(frame_number=3), _segment("hand", frame_number=5)), tmp_path)
    assert _is(picture, AREAS[0]).any()
    assert not _is(picture, AREAS[1]).any()


def test_a_failure_has_no_outline(make_dicom: Make, tmp_path: Path) -> None:
    assert not _is(_drawn(make_dicom(), _result(), tmp_path), AREAS[0]).any()
