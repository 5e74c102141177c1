"""The look at the content: what shows nothing is withheld, with its code, and before an engine is asked."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from edgeai.api import Array, Frame, Geometry, Grayscale, InstanceRef, Outcome, Result, TensorSpec, TransformSpec
from edgeai.bundle.manifest import TransformStep
from edgeai.bundle.uses import GuardUse
from edgeai.cli.statement import statement
from edgeai.dicom.phantom import PHOTOMETRIC, Sitter, write_phantom
from edgeai.dicom.pixels import DecodeOptions, read_frames
from edgeai.model.content import ContentLook
from edgeai.model.withheld import Withheld
from edgeai.pipeline import Pipeline
from edgeai.testing.gallery import frame as gallery_frame
from edgeai.testing.phantoms import write_instance
from edgeai_workbench.drawings import chest, head
from edgeai_workbench.wrong_images import (
    Draw,
    blobs,
    checkers,
    constant,
    discs,
    grey_noise,
    noise,
    radial,
    ramp,
    text,
)

GUARDED: dict[str, Any] = {"schema": 2, "guard": GuardUse()}
SIZES = [(28, 28), (270, 400), (256, 256), (900, 700)]
FIGURES = 6
"""Of an image that passes."""
EVERY = 5
"""Each kind of drawing so many times, with other numbers."""


def frame_of(pixels: Array, **more: Any) -> Frame:
    rows, columns = pixels.shape[:2]
    return Frame(
        pixels=np.ascontiguousarray(pixels),
        number=1,
        geometry=Geometry(source_rows=rows, source_columns=columns),
        instance=InstanceRef(sop_class_uid="1.2", sop_instance_uid="1.2.3", rows=rows, columns=columns),
        **more,
    )


def judged(pixels: Array, **more: Any) -> str:
    """The code that withholds it; empty where it passes."""
    code = ""
    try:
        figures = ContentLook().measure(frame_of(pixels, **more))
    except Withheld as error:
        figures, code = error.figures, error.code
    assert [figure.withheld for figure in figures] == (
        [False] * (len(figures) - 1) + [True] if code else [False] * FIGURES
    )
    return code


# --- what shows nothing -------------------------------------------------------------------------


def saturated(random: np.random.Generator, rows: int, columns: int) -> Array:
    draw = random.choice([chest, head])  # type: ignore[arg-type]
    image = draw(int(random.integers(100)), rows=rows, columns=columns).astype(int)
    return np.clip(image * 8, 0, 255).astype(np.uint8)


WRONG: list[tuple[Draw, set[str]]] = [
    (constant, {"guard.constant"}),
    (checkers, {"guard.few-levels", "guard.blank"}),
    (discs, {"guard.few-levels", "guard.blank"}),
    (text, {"guard.blank", "guard.few-levels", "guard.noise"}),
    (ramp, {"guard.smooth"}),
    (radial, {"guard.smooth", "guard.clipped"}),
    (blobs, {"guard.smooth", "guard.blank"}),
    (noise, {"guard.noise"}),
    (grey_noise, {"guard.noise"}),
    (saturated, {"guard.clipped", "guard.blank", "guard.few-levels"}),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("draw", "codes"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_what_shows_nothing_is_withheld(draw: Draw, codes: set[str], size: tuple[int, int]) -> None:
    random = np.random.default_rng(sum(size))
    told = [judged(draw(random, *size)) for _ in range(EVERY)]
    assert set(told) <= codes, told


@pytest.mark.parametrize("draw", [discs, text, ramp, blobs, noise], ids=lambda draw: draw.__name__)
def test_so_it_is_after_a_lossy_codec(draw: Draw) -> None:
    random = np.random.default_rng(3)
    told = []
    for _ in range(EVERY):
        file = io.BytesIO()
        Image.fromarray(draw(random, 270, 400)).save(file, "JPEG", quality=85)
        told.append(judged(np.asarray(Image.open(file))))
    assert all(told), told


def test_black_is_no_more_than_another_level_where_the_header_turns_it_round() -> None:
    """A detector's air is saturated in MONOCHROME1, where the highest value is black."""
    picture = chest(1).astype(int)
    air = np.clip(300 - picture, 0, 255).astype(np.uint8)
    assert (air == 255).mean() > 0.05
    assert judged(air, photometric_interpretation="MONOCHROME1") == ""
    assert judged(air) == "guard.clipped"


def test_padding_is_no_part_of_the_image() -> None:
    slice_ = np.full((300, 300), -2000, np.int16)
    slice_[100:140, 60:160] = chest(2, rows=40, columns=100).astype(np.int16) * 8
    assert judged(slice_) == "guard.blank"
    assert judged(slice_, grayscale=Grayscale(pixel_padding=(-2000, -2000))) == ""
    assert judged(np.full((64, 64), -2000, np.int16), grayscale=Grayscale(pixel_padding=(-2000, -2000)))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGBaseline8Bit])
@pytest.mark.parametrize("draw", [chest, head, text, ramp, blobs, discs, noise], ids=lambda draw: draw.__name__)
def test_a_scaled_decoding_changes_no_verdict(tmp_path: Path, draw: Any, syntax: str) -> None:
    """What the fast paths leave of an image is what the model sees, and so what is judged."""
    seed: Any = 3 if draw in (chest, head) else np.random.default_rng(3)
    picture = draw(seed, rows=1000, columns=1400) if isinstance(seed, int) else draw(seed, 1000, 1400)
    path = write_instance(tmp_path / "image.dcm", picture, modality="DX", transfer_syntax=syntax).path
    told = {}
    for fast in ("", "reduced", "smallest"):
        options = DecodeOptions(fast=frozenset({fast} - {""}), min_rows=128, min_columns=128)
        [frame] = read_frames(path, options)
        told[fast] = judged(frame.pixels)
        assert (frame.rows < 1000) == bool(fast)
    assert {bool(code) for code in told.values()} == {draw not in (chest, head)}, told


# --- what shows something -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [(28, 28), (270, 400), (256, 256), (1200, 900)])
@pytest.mark.parametrize("draw", [chest, head])
def test_a_drawing_with_texture_passes_in_any_form(draw: Any, size: tuple[int, int]) -> None:
    for number in range(3):
        picture = draw(number, rows=size[0], columns=size[1])
        assert judged(picture) == ""
        assert judged(255 - picture, photometric_interpretation="MONOCHROME1") == ""
        assert judged(np.stack([picture] * 3, axis=-1), photometric_interpretation="RGB") == ""
        assert judged(picture.astype(np.uint16) * 16) == ""
        assert judged(picture.astype(np.int16) - 1024) == ""
        assert judged(picture.astype(np.float32) / 255) == ""


def test_the_gallerys_frame_passes() -> None:
    assert judged(gallery_frame().pixels) == ""


@pytest.mark.parametrize("photometric", PHOTOMETRIC)
@pytest.mark.parametrize("modality", ["US", "DX", "CT"])
def test_a_self_tests_phantom_passes(tmp_path: Path, modality: str, photometric: Any) -> None:
    for side in (256, 1000):
        sitter = Sitter(modality=modality, photometric_interpretation=photometric, rows=side, columns=side)
        write_phantom(tmp_path / "phantom.dcm", sitter)
        [frame] = read_frames(tmp_path / "phantom.dcm")
        ContentLook().measure(frame)


@pytest.mark.parametrize("folder", ["us_head", "us_breast", "xray_view"])
def test_images_of_the_data_kit_pass(data_kit: Path, folder: str) -> None:
    with (data_kit / folder / "labels_train.csv").open() as table:
        rows = list(csv.DictReader(table))[::6]
    told = {row["file"]: judged(np.asarray(Image.open(data_kit / folder / row["file"]).convert("L"))) for row in rows}
    assert {name: code for name, code in told.items() if code} == {}


def test_small_radiographs_of_the_data_kit_pass(data_kit: Path) -> None:
    images = np.load(data_kit / "xray_pneumonia28" / "data.npz")["train_images"][::20]
    told = [judged(np.squeeze(image)) for image in images]
    assert [code for code in told if code] == []


def test_real_files_of_the_data_kit_pass(data_kit: Path) -> None:
    told = {}
    for path in sorted((data_kit / "dicom_real").rglob("*.dcm")):
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            frame = next(iter(read_frames(path)))
        except Exception:  # what cannot be read is another test's
            continue
        if dataset.get("Modality") in ("US", "CR", "DX", "CT", "MR", "NM"):
            told[path.name] = judged(frame.pixels, grayscale=frame.grayscale)
    assert len(told) >= 20
    assert {name: code for name, code in told.items() if code} == {}


# --- on its way through the steps ---------------------------------------------------------------


class Step:
    """A step that is a function."""

    def __init__(self, apply: Any) -> None:
        self.apply = apply


def looked(pixels: Array, *steps: Any) -> Array:
    """The pixels that are measured on the way through these functions of a frame."""
    seen: list[Array] = []

    class Looking(ContentLook):
        def measure(self, frame: Frame) -> Any:
            seen.append(frame.pixels)
            return ()

    specs = {str(n): TransformSpec(name=str(n), build=lambda _, step=step: Step(step)) for n, step in enumerate(steps)}
    named = [TransformStep(transform=name) for name in specs]
    spec = TensorSpec(name="image", dtype="float32", shape=(1, None, None), layout="NHW")
    look = Looking()
    Pipeline(named, specs, spec).prepare(frame_of(pixels), None, look)
    assert len(seen) == 1
    return seen[0]


def cut(frame: Frame) -> Frame:
    return replace(frame, pixels=frame.pixels[10:50, 20:60], geometry=frame.geometry.cropped(20, 10))


def halve(frame: Frame) -> Frame:
    return replace(frame, pixels=frame.pixels[::2, ::2], geometry=frame.geometry.scaled(2.0, 2.0))


def scale(frame: Frame) -> Frame:
    return replace(frame, pixels=frame.pixels.astype(np.float32) / 255, stored_units=False)


def test_what_is_left_by_the_cuts_is_judged_before_it_is_resampled_and_in_its_own_values() -> None:
    whole = noisy()
    left = whole[10:50, 20:60]
    for steps in ((cut, halve, scale), (cut, scale, halve), (scale, cut, halve), (cut, scale), (scale, cut)):
        np.testing.assert_array_equal(looked(whole, *steps), left)
    np.testing.assert_array_equal(looked(whole, halve, cut, scale), whole)
    np.testing.assert_array_equal(looked(whole, scale), whole)


# --- in a run -----------------------------------------------------------------------------------


def noisy(rows: int = 64, columns: int = 80, *, frames: int = 0) -> Array:
    """Texture enough to pass, as one plane or several."""
    planes = [gallery_frame(rows, columns).pixels + np.uint8(number) for number in range(max(1, frames))]
    return np.stack(planes) if frames else planes[0]


def run(model: Any, path: Path, pixels: Array, **more: Any) -> Result:
    return model.run_file(write_instance(path / "image.dcm", pixels, modality="CR", **more).path)  # type: ignore[no-any-return]


def test_a_withheld_image_asks_no_engine_and_says_why_with_figures(opened: Any, tmp_path: Path) -> None:
    model = opened(**GUARDED)
    result = run(model, tmp_path, np.zeros((64, 80), np.uint8))
    assert result.outcome is Outcome.NOT_APPLICABLE
    assert result.reason is not None
    assert result.reason.code == "guard.constant"
    assert "grey levels 1, at least 2 for a picture" in result.reason.message
    assert (result.engine, result.frames_run, result.findings) == (None, 0, ())
    assert "run" not in result.timings_ms
    assert result.reason.remedy == "look at the device and its cable: nothing was shown"
    assert statement(result).headline == "This image was kept from the model"
    [figure] = result.guard
    assert (figure.check, figure.value, figure.threshold, figure.withheld) == ("content", 1.0, 2.0, True)
    assert Result.from_dict(result.as_dict()) == replace(result, timings_ms=result.as_dict()["timings_ms"])


def test_an_image_that_passes_has_its_figures_too(opened: Any, tmp_path: Path) -> None:
    result = run(opened(**GUARDED), tmp_path, noisy())
    assert result.outcome is Outcome.COMPLETED
    assert len(result.guard) == FIGURES + 1
    assert not any(figure.withheld for figure in result.guard)


@pytest.mark.parametrize("manifest", [{}, {"schema": 2, "guard": GuardUse(content=False)}])
def test_bundles_without_it_run_as_before(opened: Any, tmp_path: Path, manifest: dict[str, Any]) -> None:
    result = run(opened(**manifest), tmp_path, np.zeros((64, 80), np.uint8))
    assert (result.outcome, result.guard) == (Outcome.COMPLETED, ())


def test_an_image_that_the_model_would_have_to_make_up_is_withheld(opened: Any, tmp_path: Path) -> None:
    """The model takes 8 x 8."""
    result = run(opened(**GUARDED), tmp_path, chest(1)[100:103])
    assert result.reason is not None
    assert result.reason.code == "guard.small"


def test_it_is_asked_before_a_step_that_cannot_do_what_is_empty(opened: Any, tmp_path: Path) -> None:
    steps = (TransformStep(transform="fake-raises", options={"rows": 8, "columns": 8}),)
    model = opened(**GUARDED, transforms=steps)
    result = run(model, tmp_path, np.zeros((64, 80), np.uint8))
    assert result.reason is not None
    assert (result.outcome, result.reason.code) == (Outcome.NOT_APPLICABLE, "guard.constant")
    assert run(model, tmp_path, noisy()).outcome is Outcome.FAILED


@pytest.mark.parametrize("overlap", [True, False])
def test_frames_that_show_nothing_are_left_out_of_a_cine_and_named(opened: Any, tmp_path: Path, overlap: bool) -> None:
    model, pixels = opened(**GUARDED), noisy(frames=9)
    pixels[[1, 4, 8]] = 7
    path = write_instance(tmp_path / "cine.dcm", pixels, modality="CR", frames=True).path
    result = model.run_file(path, overlap=overlap)
    assert result.outcome is Outcome.COMPLETED
    assert (result.frames_run, result.frames_total) == (6, 9)
    told = {note.code: note.text for note in result.notes}
    assert told["guard.frames-withheld"] == (
        "3 frames not judged, and no finding speaks of what is there: 2, 5, 9 (guard.constant)"
    )
    assert told["input.frames-sampled"] == "6 of 9 frames were run"
    assert [figure.withheld for figure in result.guard] == [True]


@pytest.mark.parametrize("overlap", [True, False])
def test_a_cine_that_shows_nothing_at_all_is_withheld(opened: Any, tmp_path: Path, overlap: bool) -> None:
    model = opened(**GUARDED)
    path = write_instance(tmp_path / "cine.dcm", np.full((4, 64, 80), 9, np.uint8), modality="CR", frames=True).path
    result = model.run_file(path, overlap=overlap)
    assert result.outcome is Outcome.NOT_APPLICABLE
    assert result.reason is not None
    assert result.reason.code == "guard.constant"
    assert "none of 4 frames may be judged" in result.reason.message
    assert (result.frames_run, result.frames_total, result.engine) == (0, 4, None)


def test_the_first_image_waits_for_nothing_though_the_blank_plane_would_be_withheld(opened: Any) -> None:
    calls: list[Any] = []
    model = opened(**GUARDED)
    step = model.pipeline._steps[0][1]
    apply = step.apply
    step.apply = lambda frame: calls.append(frame) or apply(frame)
    model.warm_up()
    assert len(calls) == 1
