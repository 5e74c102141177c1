"""The demo's table: every column on 80 columns, sums that add up, and when all is well."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from rich.console import Console

from edgeai.api import Finding, GuardFigure, InstanceIds, Outcome, Result
from edgeai.cli.demo_files import no_probe
from edgeai.cli.demo_table import DemoTable
from edgeai.dicom.content import ContentDigest
from edgeai.dicom.scu import Sent
from edgeai.testing.gallery import BASE, scored, withheld

Make = Callable[..., Path]
TIMES = {"queue": 12.34, "header": 0.5, "decode": 31.2, "transform": 1.04, "run": 9.9, "interpret": 0.3, "total": 43.5}
FITS = (
    scored("radiograph", 0.9996, None),
    scored("other", 0.0004, None, present=False),
    Finding(kind="agreement", label="modality", present=True, probability=0.99, threshold=0.5),
)


def _result(path: Path, **changes: Any) -> dict[str, Any]:
    uid = pydicom.dcmread(path).SOPInstanceUID
    content = ContentDigest.of_file(path).result()
    ids = InstanceIds(
        sop_class_uid="1", sop_instance_uid=uid, series_instance_uid="1", study_instance_uid="1", modality="CR",
        content=content,
    )  # fmt: skip
    base: Result = changes.pop("base", replace(BASE, findings=FITS))
    return replace(base, instance=ids, **{"timings_ms": TIMES, "result_id": path.name, **changes}).as_dict()


class Shown:
    """A table on so many columns, with all files acknowledged."""

    def __init__(self, paths: list[Path], columns: int = 80) -> None:
        self._file = io.StringIO()
        self.table = DemoTable(Console(file=self._file, width=columns), paths)
        for path in paths:
            self.table.sent(Sent(path=path, sop_instance_uid=pydicom.dcmread(path).SOPInstanceUID, status=0))

    def lines(self) -> list[str]:
        with self.table.live():
            pass
        self.table.summarise(0, Path("out"), 1.0)
        return self._file.getvalue().splitlines()


@pytest.mark.parametrize("columns", [80, 110, 200])
def test_no_column_is_dropped_and_no_line_is_too_long(make_dicom: Make, columns: int) -> None:
    paths = [make_dicom("a-very-long-name-of-an-image-that-someone-sent.dcm"), make_dicom("b.dcm")]
    shown = Shown(paths, columns)
    for path in paths:
        shown.table.received(_result(path, timings_ms={stage: 4321.9 * value for stage, value in TIMES.items()}))
    lines = shown.lines()
    head = next(line for line in lines if line.startswith("instance")).split()
    assert head[:6] == ["instance", "says", "looks", "like", "fits", "prob."]
    assert len(head[6:]) == 7
    assert max(map(len, lines)) <= columns
    row = next(line for line in lines if line.startswith("b.dcm")).split()
    assert len(row) == 5 + 7, "a figure in each"
    assert any(line.startswith("a-very") and line.split()[0].endswith(("sent", "sent.dcm")) for line in lines)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_parts_add_up_to_the_total(make_dicom: Make, columns: int) -> None:
    path = make_dicom("a.dcm")
    shown = Shown([path], columns)
    shown.table.received(_result(path))
    lines = shown.lines()
    wait, *parts, total = map(float, next(line for line in lines if line.startswith("a.dcm")).split()[5:])
    assert wait == pytest.approx(12.3)
    assert sum(parts) == pytest.approx(total, abs=0.25)
    names = next(line for line in lines if line.startswith("instance")).split()[6:]
    assert f"{names[-1]} = {' + '.join(names[1:-1])}, and wait came before" in " ".join(lines)


def test_frames_side_by_side_are_marked_and_explained(make_dicom: Make) -> None:
    path = make_dicom("a.dcm", frames=4)
    shown = Shown([path])
    shown.table.received(_result(path, frames_total=60, frames_run=16))
    lines = shown.lines()
    assert next(line for line in lines if line.startswith("a.dcm")).split()[-2] == "*"
    assert any(line.startswith("* many frames side by side") for line in lines)
    assert "  a.dcm: 16 of 60 frames were run" in lines


def test_what_is_nearly_certain_is_not_shown_as_certain(make_dicom: Make) -> None:
    path = make_dicom("a.dcm")
    shown = Shown([path])
    shown.table.received(_result(path))
    assert ">.999" in " ".join(shown.lines())


def test_all_is_well_when_nothing_failed_and_nothing_disagrees(make_dicom: Make) -> None:
    path = make_dicom("a.dcm")
    other = replace(FITS[-1], present=False, probability=0.1)
    silent = replace(FITS[-1], present=False, probability=None)
    cases = [
        (_result(path), True),
        (_result(path, findings=(*FITS[:-1], silent)), True),
        (_result(path, findings=FITS[:-1]), True),
        (_result(path, findings=(*FITS[:-1], other)), False),
        (_result(path, base=withheld(Outcome.FAILED, "x.y", "no")), False),
        (_result(path, base=withheld(Outcome.INDETERMINATE, "x.y", "no")), True),
    ]
    for result, is_well in cases:
        shown = Shown([path])
        assert not shown.table.all_well, "nothing has arrived"
        shown.table.received(result)
        assert shown.table.all_well is is_well
        assert shown.table.is_complete


def test_no_result_is_said_to_be_no_negative(make_dicom: Make) -> None:
    path = make_dicom("a[b].dcm")
    shown = Shown([path])
    shown.table.received(_result(path, base=withheld(Outcome.INDETERMINATE, "x.y", "it holds [too] little")))
    text = " ".join(" ".join(line.split()) for line in shown.lines())
    assert "a[b].dcm: no result, which is no negative: it holds [too] little" in text


def test_what_was_kept_from_the_model_is_counted_and_is_no_failure(make_dicom: Make, tmp_path: Path) -> None:
    path = no_probe(tmp_path)
    assert not pydicom.dcmread(path).pixel_array.any()
    figure = GuardFigure(check="content", name="grey levels", value=1.0, threshold=2.0, withheld=True)
    why = withheld(Outcome.NOT_APPLICABLE, "guard.constant", "all of the image is one grey level")
    shown = Shown([path, make_dicom("a.dcm")])
    shown.table.received(_result(path, base=replace(why, guard=(figure,), engine=None, frames_run=0)))
    assert not shown.table.all_well
    shown.table.received(_result(tmp_path / "a.dcm"))
    text = " ".join(" ".join(line.split()) for line in shown.lines())
    assert "2 instances acknowledged, 2 results received, 1 agree, 1 withheld" in text
    assert "no-probe.dcm: no result, which is no negative; it was kept from the model: all of the image is one" in text
    assert shown.table.all_well


def test_of_what_an_engine_was_asked_it_is_not_said_that_it_was_kept_away(make_dicom: Make) -> None:
    path = make_dicom("far.dcm")
    figure = GuardFigure(check="distance", name="from what was learnt", value=2.0, threshold=1.0, withheld=True)
    why = withheld(Outcome.NOT_APPLICABLE, "guard.distance", "it is unlike those that the model learnt from")
    shown = Shown([path])
    shown.table.received(_result(path, base=replace(why, guard=(figure,))))
    text = " ".join(" ".join(line.split()) for line in shown.lines())
    assert "far.dcm: no result, which is no negative; the model does not speak of it: it is unlike" in text


def test_one_instance_sent_twice_has_one_result_and_other_content_has_its_own(make_dicom: Make) -> None:
    path = make_dicom("a.dcm")
    shown = Shown([path, path])
    shown.table.received(_result(path))
    shown.table.received(_result(path))
    assert shown.table.is_complete
    assert sum(line.startswith("a.dcm") for line in shown.lines()) == 1
    assert any("a.dcm again: known" in line for line in shown.lines())

    uid = pydicom.dcmread(path).SOPInstanceUID
    other = make_dicom("b.dcm", level=9, SOPInstanceUID=uid)
    both = Shown([path, other])
    both.table.received(_result(path))
    assert not both.table.is_complete, "the other content is an instance of its own"
    both.table.received(_result(other))
    assert both.table.is_complete
    assert not any("again" in line for line in both.lines())
    assert any(line.startswith("b.dcm") for line in both.lines())


def test_refused_and_missing_are_said(make_dicom: Make) -> None:
    path, refused = make_dicom("a.dcm"), make_dicom("b.dcm")
    shown = Shown([path])
    shown.table.sent(Sent(path=refused, sop_instance_uid="2", status=0xC000))
    lines = shown.lines()
    assert "  b.dcm: refused with status 0xC000" in lines
    assert "  a.dcm: no result came" in lines
    assert not shown.table.all_well
