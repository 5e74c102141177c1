"""The picture of a result, by facts: what is said, where it stands, how large, in which colour, and what is dimmed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeai.api import Frame, Geometry, Outcome, Region, Result, UltrasoundRegion
from edgeai.cli.overlay import Overlays, Picture, compose
from edgeai.cli.picture import style
from edgeai.cli.picture.scale import caption, scale_of
from edgeai.cli.picture.sheet import area_says
from edgeai.cli.picture.text import Placed, height, legible, shortened, width, wrapped
from edgeai.cli.rendering import render
from edgeai.cli.statement import statement
from edgeai.cli.table import lines
from edgeai.cli.wording import labels_say
from edgeai.testing.gallery import BASE, FRAMES, RESULTS, frame, scored, segment, withheld

Make = Callable[..., Path]
WITHHELD = [name for name, result in RESULTS.items() if result.outcome is not Outcome.COMPLETED]
STATED = [name for name in RESULTS if name not in WITHHELD]
EDGES = ["completed", "segments", "unusual", "long words", "not applicable", "failed early"]


CASES = [
    *((name, "usual") for name in RESULTS),
    *((name, shape) for shape in FRAMES if shape != "usual" for name in EDGES),
]


@cache
def _drawn(name: str, shape: str = "usual") -> Picture:
    return compose(FRAMES[shape], f"{name}.dcm", RESULTS[name])


def _changed(name: str, **changes: Any) -> Picture:
    return compose(FRAMES["usual"], f"{name}.dcm", replace(RESULTS[name], **changes))


def _text(picture: Picture, *roles: str) -> str:
    """The lines of these roles, one after the other; of all without any."""
    return " ".join(line.text for line in picture.texts if not roles or line.role in roles)


def _of(picture: Picture, role: str) -> list[Placed]:
    return [line for line in picture.texts if line.role == role]


def _pixels(picture: Picture, box: tuple[int, int, int, int]) -> Any:
    return np.asarray(picture.image)[box[1] : box[3], box[0] : box[2]].astype(int)


# --- where the words stand ----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_every_word_stands_inside_the_picture_and_over_no_other(name: str, shape: str) -> None:
    picture = _drawn(name, shape)
    for line in picture.texts:
        left, top, right, bottom = line.box
        assert 0 <= left < right <= picture.image.width, line
        assert 0 <= top < bottom <= picture.image.height, line
    for one, other in combinations(picture.texts, 2):
        apart = (
            one.box[2] <= other.box[0]
            or other.box[2] <= one.box[0]
            or one.box[3] <= other.box[1]
            or other.box[3] <= one.box[1]
        )
        assert apart, (one, other)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_what_is_placed_is_drawn_in_its_colour(name: str, shape: str) -> None:
    picture = _drawn(name, shape)
    for line in picture.texts:
        near = np.abs(_pixels(picture, line.box) - line.colour).max(axis=-1) < 60
        assert near.sum() >= 2 * len(line.text.replace(" ", "").strip(".,:'\u2026")), line


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_not_for_diagnosis_is_burnt_into_the_image(name: str, shape: str) -> None:
    picture = _drawn(name, shape)
    (banner,) = _of(picture, "banner")
    assert banner.text == "NOT FOR DIAGNOSIS"
    shown = FRAMES[shape]
    if shown is None or shape in ("low", "narrow"):
        return  # there is no image, or none that the words fit into
    size = render(shown).size
    below = (picture.image.height - size[1]) // 2
    assert banner.box[2] <= size[0]
    assert below <= banner.box[1] < banner.box[3] <= below + size[1]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_nothing_is_larger_than_the_finding_and_nothing_smaller_than_the_state(name: str, shape: str) -> None:
    picture = _drawn(name, shape)
    unit = _of(picture, "state")[0].size / style.STATE
    largest = max(line.size for line in picture.texts)
    assert {line.size for line in _of(picture, "state")} == {min(line.size for line in picture.texts)}
    finding = _of(picture, "finding")
    if name in STATED:
        assert {line.size for line in finding} == {largest}
        assert not [line for line in picture.texts if line.size == largest and line.role != "finding"]
    else:
        assert finding == []
        assert largest < round(style.FINDING * unit)


# --- colours ----------------------------------------------------------------------------------


def _is_green(pixels: Any) -> Any:
    return (pixels[..., 1] > pixels[..., 0] + 24) & (pixels[..., 1] > pixels[..., 2] + 24)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_nothing_is_green(name: str, shape: str) -> None:
    assert not _is_green(np.asarray(_drawn(name, shape).image).astype(int)).any()


def test_no_colour_of_the_style_is_green() -> None:
    colours = [value for value in vars(style).values() if isinstance(value, tuple) and isinstance(value[0], int)]
    assert len(colours) > 8
    assert not _is_green(np.array([*colours, *style.AREAS])).any()
    assert _is_green(np.array([(95, 200, 120)])).all(), "the check knows the green that bars once had"


# --- what is said -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATED)
def test_what_was_found_comes_first(name: str) -> None:
    panel = [line for line in _drawn(name).texts if line.role not in ("banner", "tag", "scale", "not-shown")]
    assert [line.role for line in panel[:2]] == ["heading", "finding"]
    tops = [line.box[1] for line in panel if line.role != "swatch"]
    assert tops == sorted(tops)


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("completed", "pneumonia"),
        ("negative", "no label reaches its threshold"),
        ("one negative", "pneumonia: below its threshold"),
        ("just above", "pneumonia, just above its threshold"),
        ("just below", "pneumonia, just below its threshold"),
        ("highest of three", "ap"),
        ("closely before", "ap, closely before pa"),
        ("many labels", "pneumonia, effusion, nodule and 3 more"),
        ("segment", "fetal head outlined"),
        ("nothing outlined", "no head outlined"),
        ("a number alone", "radius 5.3 mm (4.9 to 5.7), contrast 0.5"),
        ("numbers", "left area 2.0 mm², right area 2.0 mm²"),
        ("no number", "radius: not stated"),
        ("usual", "usual"),
        ("unusual", "unusual"),
    ],
)
def test_the_headline_is_neutral(name: str, headline: str) -> None:
    assert _text(_drawn(name), "finding") == headline


DOUBTED = ["just above", "just below", "binary", "closely before", "disagrees"]


@pytest.mark.parametrize("name", STATED)
def test_doubt_looks_like_doubt_and_nothing_else_does(name: str) -> None:
    picture = _drawn(name)
    doubted = name in DOUBTED
    assert ("DOUBTFUL" in _text(picture, "heading")) is doubted
    assert {line.colour == style.AMBER for line in _of(picture, "finding")} == {doubted}


def test_the_bar_of_a_close_call_is_hatched() -> None:
    def solid(name: str) -> float:
        picture = _drawn(name)
        label = _of(picture, "label")[0]
        bar = _pixels(picture, (label.box[0], label.box[3] + 6, label.box[0] + 100, label.box[3] + 10))
        return float((np.abs(bar - bar[0, 4]).max(axis=-1) < 8).mean())

    assert solid("completed") == 1.0
    assert solid("just above") < 0.8


def test_a_label_beside_the_headline_is_doubted_in_its_own_line() -> None:
    picture = _drawn("many labels")
    assert _text(picture, "doubt") == "oedema: 36.0 %, stated from 40 %"


@pytest.mark.parametrize("name", ["completed", "highest of three", "many labels"])
def test_no_picture_calls_probabilities_calibrated_that_nobody_may_have_calibrated(name: str) -> None:
    explained = _text(_drawn(name), "explained")
    assert "the model's own probability" in explained
    assert "calibrat" not in explained


def test_thresholds_are_explained() -> None:
    assert "Stated from 50 % on, where the mark is." in _text(_drawn("completed"), "explained")
    assert "The highest of 3 is stated." in _text(_drawn("highest of three"), "explained")
    assert "stated from 10 % on stated from 15 % on" in _text(_drawn("many labels"), "explained")
    assert "a pixel counts from probability" in _text(_drawn("segment"), "explained")


def test_a_header_that_agrees_and_one_that_has_nothing_to_say() -> None:
    agrees = replace(RESULTS["disagrees"].findings[-1], present=True, probability=0.99)
    findings = (*RESULTS["disagrees"].findings[:-1], agrees)
    assert "fits the header: Modality DX" in _text(_changed("disagrees", findings=findings))
    assert "does not fit the header: Modality DX" in _text(_drawn("disagrees"))
    assert "no Body Part Examined in the header to compare with" in _text(_drawn("nothing to compare"))
    view = (*RESULTS["disagrees"].findings[:-1], replace(agrees, label="view_position"))
    assert "fits the header: View Position PA" in _text(_changed("disagrees", findings=view))


def test_sizes_and_scores_of_each_area() -> None:
    values = [line.text for line in _drawn("segment").texts if line.role in ("size-value", "explained-value")]
    assert values == ["62.4 cm\u00b2", "284 mm", "94.0 %", "50 %"]
    text = _text(_drawn("segments"))
    for words in ("61.0 mm\u00b2", "pieces", "2,827 px", "188 px", "58.0 %", "in frame 7, not shown", "(not outlined)"):
        assert words in text
    assert "41.3 mm (39.9 to 42.6)" in _text(_drawn("measured"))


def test_a_finding_that_is_a_number_shows_it_where_others_show_their_score() -> None:
    picture = _drawn("a number alone")
    assert [line.text for line in picture.texts if line.role.startswith(("label", "size"))] == [
        *("radius", "5.3 mm (4.9 to 5.7)"),
        *("contrast", "0.5"),
    ]
    assert "length 41.3 mm (39.9 to 42.6)" in labels_say(RESULTS["measured"])


def test_what_qualifies_a_finding_and_what_is_to_be_known_of_it_is_shown_with_it() -> None:
    roles = [line.role for line in _drawn("qualified").texts if line.role in ("label", "code", "note")]
    assert roles == ["label", "code", "note", "label"]
    assert "Left (SCT 7771000)" in _text(_drawn("qualified"), "code")
    beneath = [str(line) for line in lines(["a.dcm"], [RESULTS["qualified"]], 100)]
    assert "  fracture: Left (SCT 7771000)" in beneath
    assert "  note on fracture: a cast lies over it" in beneath


def test_what_is_nearly_certain_does_not_read_as_certain() -> None:
    findings = (scored("a", 0.99996), scored("b", 0.00001), scored("c", 1.0), scored("d", 0.0))
    values = [line.text for line in _changed("completed", findings=findings).texts if line.role == "label-value"]
    assert values == ["100.0 %", "> 99.9 %", "< 0.1 %", "0.0 %"]


def test_what_a_result_is_traced_by() -> None:
    text = _text(_drawn("completed"))
    for words in (
        "completed.dcm",
        "frame 1 of 1",
        "chest-findings 1.0.0",
        "unsigned, or signature not checked",
        "ai-edge-litert 2.3.0 on CPU, int8; 24.3 ms",
        "result 254e54b9-ebb0-8a71-a5ee-0c3118c60c22",
        "completed, 2026-01-02 03:04:05 UTC",
    ):
        assert words in text
    signed = _text(_drawn("signed"))
    assert "signed by release-2026, clinic" in signed
    assert "unsigned" not in signed
    assert "completed, attempt 2" in signed


def test_degraded_is_said_with_the_reason() -> None:
    picture = _drawn("degraded")
    assert "degraded: wished for openvino on GPU.0" in _text(picture, "degraded")
    assert "it has CPU" in _text(picture, "degraded")
    assert _of(picture, "degraded")[0].colour == style.AMBER


def test_frames_that_were_run_of_how_many() -> None:
    assert _text(_drawn("segments"), "frames") == "frame 1 of 30, 16 of 30 frames were run"
    assert _text(_drawn("completed"), "frames") == "frame 1 of 1"
    assert _text(_drawn("failed early"), "frames") == ""


def test_notes_are_shown_and_what_there_is_no_room_for_is_counted() -> None:
    notes = _text(_drawn("notes"), "note")
    assert notes.startswith("WindowCenter (0028,1050) has values without a width; they were not used note 0")
    assert notes.endswith("note 4 of a header with much to note and 2 more")


# --- no result --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITHHELD)
def test_no_result_says_so_on_the_image_and_beside_it_and_what_to_do(name: str) -> None:
    picture = _drawn(name)
    assert _text(picture, "no-result-box").startswith("NO RESULT This is not a negative finding.")
    assert _text(picture, "not-negative") == "This is not a negative finding."
    assert "What to do" in _text(picture, "heading")
    assert len(_text(picture, "remedy")) > 20
    assert RESULTS[name].reason.code in _text(picture, "state")  # type: ignore[union-attr]
    assert not _of(picture, "tag")


def test_needs_and_has() -> None:
    assert _text(_drawn("not applicable"), "reason", "reason-value") == "needs Modality CR or DX has Modality US"
    assert _text(_drawn("failed"), "reason") == "the engine stopped: out of memory on the device"


def test_figures_of_the_checks_are_shown_and_what_withheld_stands_out() -> None:
    first, second = _of(_drawn("indeterminate"), "guard")
    assert (first.text, first.colour) == ("content: share of equal pixels 0.982, bound 0.9", style.AMBER)
    assert (second.text, second.colour) == ("distance: Mahalanobis 3.1, bound 9", style.DIM)


@pytest.mark.parametrize("name", ["not applicable", "indeterminate", "failed"])
def test_an_image_without_a_result_is_dimmed(name: str) -> None:
    level = frame(300, 400, level=200)
    bright, dim = (compose(level, "a", RESULTS[which]) for which in ("completed", name))
    corner = (10, bright.image.height - 200, 60, bright.image.height - 150)
    assert _pixels(bright, corner).mean() == pytest.approx(200, abs=1)
    corner = (10, dim.image.height - 200, 60, dim.image.height - 150)
    assert 40 < _pixels(dim, corner).mean() < 80


def test_what_a_decoder_failed_on_is_not_decoded_again(make_dicom: Make, tmp_path: Path) -> None:
    path = make_dicom(level=200, WindowCenter="128", WindowWidth="256")
    for timings, is_shown in (({"header": 1.0, "decode": 2.0}, False), ({"transform": 1.0}, True)):
        result = withheld(Outcome.FAILED, "x.y", "no", timings_ms=timings)
        picture = np.asarray(Image.open(Overlays(tmp_path).draw(path, result)).convert("RGB"))
        assert bool((picture[-40:-20, 20:40] > 30).all()) is is_shown


# --- areas, tags, scale -----------------------------------------------------------------------


def _plate(picture: Picture, shown: Frame) -> tuple[Any, float, int]:
    """(pixels of the image, pixels of the picture in a source pixel, rows above the image)."""
    size = render(shown).size
    above = (picture.image.height - size[1]) // 2
    return (
        np.asarray(picture.image)[above : above + size[1], : size[0]].astype(int),
        size[0] / shown.geometry.source_columns,
        above,
    )


def test_an_area_is_translucent_and_outlined_where_the_contour_is() -> None:
    shown = frame()
    plain, scale, _ = _plate(compose(shown, "a", RESULTS["completed"]), shown)
    drawn, _, _ = _plate(compose(shown, "a", RESULTS["segment"]), shown)
    colour = np.array(style.AREAS[0])
    inside = (slice(round(70 * scale), round(90 * scale)), slice(round(90 * scale), round(110 * scale)))
    mixed = plain[inside] * (1 - style.FILLED) + colour * style.FILLED
    assert np.abs(drawn[inside] - mixed).max() <= 3
    for x, y in ((140, 80), (60, 80), (100, 120)):  # on the circle
        at = drawn[round(y * scale) - 1 : round(y * scale) + 2, round(x * scale) - 1 : round(x * scale) + 2]
        assert np.abs(at - colour).max(axis=-1).min() < 20
    for x, y in ((150, 80), (50, 80), (100, 130)):  # outside
        assert np.abs(drawn[round(y * scale), round(x * scale)] - plain[round(y * scale), round(x * scale)]).max() <= 3


def test_a_hole_is_not_filled() -> None:
    outer, inner = (segment("x", (100, 80), radius).region for radius in (50, 20))
    assert outer is not None
    assert inner is not None
    ring = replace(segment("ring", (100, 80), 50), region=replace(outer, contours=(*outer.contours, *inner.contours)))
    shown = frame(level=100)
    drawn, scale, _ = _plate(compose(shown, "a", replace(BASE, findings=(ring,))), shown)
    hole, body = drawn[round(80 * scale), round(100 * scale)], drawn[round(80 * scale), round(135 * scale)]
    assert np.ptp(hole) <= 3, "as grey as the image"
    assert np.ptp(body) > 20


def test_the_outline_of_a_doubtful_area_is_dashed() -> None:
    shown = frame(level=60)

    def share(probability: float) -> float:
        findings = (segment("x", (100, 80), 40, probability=probability),)
        drawn, scale, _ = _plate(compose(shown, "a", replace(BASE, findings=findings)), shown)
        turns = np.linspace(0, 2 * np.pi, 400)
        xs, ys = 100 + 40 * np.cos(turns), 80 + 40 * np.sin(turns)
        on = drawn[(ys * scale).astype(int), (xs * scale).astype(int)]
        return float((np.abs(on - np.array(style.AREAS[0])).max(axis=-1) < 60).mean())

    assert share(0.95) > 0.95
    assert 0.3 < share(0.55) < 0.75


def test_each_area_is_tagged_with_its_letter_in_its_colour() -> None:
    picture = _drawn("segments")
    tags = {line.text.split()[0]: line for line in _of(picture, "tag")}
    assert set(tags) == {"A", "C", "D"}, "B lies in another frame"
    assert [line.text for line in _of(picture, "swatch")] == ["A", "B", "C", "D"]
    for letter, line in tags.items():
        corner = _pixels(picture, (line.box[0] - 2, line.box[1], line.box[0], line.box[3]))
        assert np.abs(corner - np.array(style.AREAS[ord(letter) - ord("A")])).max() < 8


def test_a_place_that_is_known_by_its_box_is_drawn_as_a_box() -> None:
    picture = _drawn("boxes")
    assert [line.text for line in _of(picture, "tag")] == ["A lesion 87.0 %", "B lesion 52.0 %"]
    told = [line.text for line in picture.texts if line.role.startswith("size")]
    assert told == [
        *("score", "87.0 %", "width", "10.0 mm", "height", "8.0 mm"),
        *("score", "52.0 %", "width", "40.0 px", "height", "30.0 px"),
    ]
    text = _text(picture)
    assert "inside" not in text, "nothing is known of what is inside a box"
    assert "stated from" in text
    assert statement(RESULTS["boxes"]).headline == "2 \u00d7 lesion outlined"
    assert statement(RESULTS["boxes"]).doubts == ("lesion: 52.0 %, stated from 50 %",)
    assert "clip (not stated)" in text
    shown = frame()
    drawn, scale, _ = _plate(compose(shown, "a", RESULTS["boxes"]), shown)
    edge = drawn[round(99.5 * scale), round(45 * scale) : round(85 * scale)]
    assert np.abs(edge - np.array(style.AREAS[0])).max() < 60, "along its lower side"
    assert labels_say(RESULTS["boxes"]).startswith("lesion width 10.0 mm, height 8.0 mm (87.0 %), lesion")


# --- heat -------------------------------------------------------------------------------------


def test_heat_lies_beside_the_image_where_it_is_in_it_with_its_scale() -> None:
    shown = frame(level=100)
    picture = compose(shown, "a", RESULTS["unusual"])
    (title,) = [line for line in picture.texts if line.text == "error by place"]
    left, top, wide = title.box[0], title.box[3] + 3, style.PANEL - 2 * style.MARGIN
    small = _pixels(picture, (left, top, left + wide, top + wide * 150 // 200))
    redder = small[..., 0] - small[..., 2]
    scale = wide / 200
    hot = redder[: round(74 * scale), round(11 * scale) : round(99 * scale)]
    cool = redder[round(76 * scale) :, round(11 * scale) : round(189 * scale)]
    assert hot.min() > 150, "four of eight cells a side, from the left upper corner of what the model saw"
    assert 10 < cool.min() <= cool.max() < 60, "a seventh of it"
    assert redder[:, : round(9 * scale)].max() == 0, "what the model did not see"
    assert _text(picture, "explained").endswith("0 the mark: 0.9, the threshold of the whole")
    assert [line.text for line in picture.texts if line.role == "explained-value"] == ["6.66"]
    assert [line.text for line in picture.texts if line.role == "size-value"] == ["2.38", "0.9"], "once for both labels"


def test_what_stays_below_its_bound_does_not_look_hot() -> None:
    def redness(name: str) -> float:
        picture = _drawn(name)
        (title,) = [line for line in picture.texts if line.text == "error by place"]
        small = _pixels(picture, (title.box[0] + 20, title.box[3] + 3, title.box[0] + 170, title.box[3] + 130))
        return float((small[..., 0] - small[..., 2]).mean())

    assert redness("usual") < 0.6 * redness("unusual")
    assert [line.text for line in _drawn("usual").texts if line.role == "explained-value"] == ["3.6"]


def test_heat_of_another_frame_is_not_drawn_over_this_one() -> None:
    usual, unusual = RESULTS["unusual"].findings
    assert unusual.heat is not None
    elsewhere = replace(unusual, heat=replace(unusual.heat, frame_number=7))
    assert (
        _text(_changed("unusual", findings=(usual, elsewhere)), "elsewhere") == "error by place: of frame 7, not shown"
    )
    assert "not shown" in _text(_drawn("unusual", "none"), "elsewhere")


@pytest.mark.parametrize(
    ("shape", "says", "source"),
    [
        ("usual", "20 mm", "Scale from the header's Pixel Spacing."),
        ("tiny", "0.5 mm", "Imager Pixel Spacing: as large as on the detector, not as in the patient"),
        ("narrow", "20 mm", "Nominal Scanned Pixel Spacing"),
        ("region", "5 mm", "the header's ultrasound region"),
        ("large", "", "No scale: nothing says how large a pixel is."),
    ],
)
def test_the_scale_bar_and_who_says_so(shape: str, says: str, source: str) -> None:
    picture = _drawn("completed", shape)
    assert _text(picture, "scale") == says
    assert source in _text(picture, "scale-source")


def test_the_bar_is_as_long_as_it_says_and_lies_in_what_is_calibrated() -> None:
    usual = FRAMES["region"]
    assert usual is not None
    shown = replace(usual, pixels=np.zeros_like(usual.pixels))
    drawn, scale, _ = _plate(compose(shown, "a", RESULTS["completed"]), shown)
    white = (drawn > 238).all(axis=-1)
    runs = [row for row in range(drawn.shape[0]) if white[row].sum() > 40]
    length = max(int(white[row].sum()) for row in runs)
    assert length * 0.2 / scale == pytest.approx(5.0, rel=0.05)
    columns = np.nonzero(white[runs[0]])[0]
    assert columns.min() >= 20 * scale
    assert columns.max() <= 181 * scale
    assert max(runs) <= 121 * scale


def test_a_scale_that_does_not_fit_is_not_said_to_be_unknown() -> None:
    for spacing in (1e-9, 1e9):
        shown = frame(pixel_spacing_mm=(spacing, spacing))
        scale = scale_of(shown, render(shown).size)
        assert scale is None
        assert caption(shown, scale) == "No scale bar: none would fit."


def test_a_region_without_units_calibrates_nothing() -> None:
    shown = frame(regions=(UltrasoundRegion(min_x0=0, min_y0=0, max_x1=99, max_y1=99),))
    assert scale_of(shown, (512, 384)) is None


def test_along_a_spectrum_a_pixel_is_no_length() -> None:
    spectrum = UltrasoundRegion(min_x0=0, min_y0=80, max_x1=199, max_y1=149, spatial_format=3, data_type=4)
    tissue = UltrasoundRegion(min_x0=0, min_y0=0, max_x1=199, max_y1=79, spatial_format=1, data_type=1)
    spacing = {"pixel_spacing_mm": (0.5, 0.5)}
    assert scale_of(frame(regions=(spectrum,), **spacing), (512, 384)) is None
    scale = scale_of(frame(regions=(spectrum, tissue), **spacing), (512, 384))
    assert scale is not None
    assert scale.within == (0, 0, 512, 205)


def test_unequal_spacing_is_measured_along_the_bar() -> None:
    geometry = Geometry(source_rows=100, source_columns=200, pixel_spacing_mm=(2.0, 0.5))
    scale = scale_of(replace(frame(100, 200), geometry=geometry), (512, 1024))
    assert scale is not None
    assert scale.length_mm / scale.length_px == pytest.approx(0.5 * 200 / 512, rel=0.01)


# --- text -------------------------------------------------------------------------------------


def test_every_character_becomes_one_that_the_font_has() -> None:
    assert (
        legible("Übersicht, Ø 3 µm \u2265 2 × 4 \u2013 naïve 日本 cm\u00b2")
        == "Ubersicht, O 3 um >= 2 x 4 - naive ?? cm\u00b2"
    )


@pytest.mark.parametrize("most", [30, 80, 200, 360])
def test_wrapped_lines_fit_and_lose_no_word(most: int) -> None:
    text = "a paragraph with a-very-long-word-that-no-line-holds-whole and 16 of 30 frames in 20 cm\u00b2"
    lines = wrapped(text, 14, most)
    assert all(width(line, 14) <= most for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_name_is_shortened_in_its_middle() -> None:
    short = shortened("a-name-of-a-file-that-goes-on-and-on-0017.dcm", 14, 160)
    assert width(short, 14) <= 160
    assert short.startswith("a-name")
    assert short.endswith("17.dcm")
    assert shortened("short.dcm", 14, 160) == "short.dcm"


def test_a_line_holds_what_hangs_below_it() -> None:
    from PIL import ImageDraw

    from edgeai.cli.picture.text import write

    for size in (13, 14, 16, 21, 28, 39):
        image = Image.new("L", (400, 2 * size + 40))
        box = (5, 10, 5 + width("Agjpqy(|)", size), 10 + height(size))
        write(ImageDraw.Draw(image), Placed(text="Agjpqy(|)", box=box, role="x", size=size, colour=255))  # type: ignore[arg-type]
        inked = image.getbbox()
        assert inked is not None
        assert box[0] <= inked[0]
        assert box[1] <= inked[1]
        assert inked[2] <= box[2] + 1
        assert inked[3] <= box[3] + 1


def test_large_images_have_larger_words() -> None:
    small, large = (_of(_drawn("completed", shape), "finding")[0].size for shape in ("tiny", "large"))
    assert large > small


def test_a_result_of_every_outcome_is_in_the_gallery() -> None:
    assert {result.outcome for result in RESULTS.values()} == set(Outcome)
    assert all(isinstance(result, Result) for result in RESULTS.values())


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("pixel-spacing", "87.4 mm²"),
        ("region", "87.4 mm²"),
        ("imager-pixel-spacing", "87.4 mm² on the detector"),
        ("nominal-scanned-pixel-spacing", "87.4 mm² on the film"),
    ],
)
def test_an_area_that_is_not_the_anatomys_says_so(source: str, says: str) -> None:
    assert area_says(Region(area_px=10.0, area_mm2=87.4, spacing_from=source)) == says
