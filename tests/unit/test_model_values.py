"""What a result says of sizes and millimetres: what the model saw was large enough, and who calibrated it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeai.api import Outcome, Result, UltrasoundRegion
from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import ArtifactDecl, Eligibility, TaskUse, TensorDecl, TransformStep
from edgeai.hosting import PluginInfo
from edgeai.model import Model, open_model
from edgeai.model.schema1 import as_schema_1
from edgeai.plugins import Registry, load_from
from edgeai.testing.bundles import small_manifest
from edgeai.testing.fakes import write_fake_artifact
from edgeai.testing.phantoms import write_instance

FAKES = PluginInfo(name="fakes", module="edgeai.testing.fakes_plugin", distribution="edgeai", version="0")
INPUT = TensorDecl(name="image", dtype="float32", shape=(1, 16, 16, 1), layout="NHWC")
OUTPUT = TensorDecl(name="map", dtype="float32", shape=(1, 16, 16, 1), layout="NHWC")
STEPS = (
    TransformStep(transform="crop_ultrasound"),
    TransformStep(transform="letterbox", options={"rows": 16, "columns": 16, "two_pass": True, "margin": 1}),
    TransformStep(transform="normalise", options={"mode": "full_range"}),
)
MANIFEST = small_manifest(
    name="outline",
    plugins=("fakes", "transforms", "segment"),
    task=TaskUse(name="segment", options={"labels": ["all"], "activation": "sigmoid"}),
    transforms=STEPS,
    inputs=(INPUT,),
    outputs=(OUTPUT,),
    artifacts=(ArtifactDecl(id="fake-fp32", format="fake", precision="fp32", path="model.json"),),
    eligibility=Eligibility(min_rows=128, min_columns=96),
)
Open = Callable[..., Model]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open a bundle that finds its label everywhere; keywords change its manifest."""
    known = Registry.of(["transforms", "segment"])
    registry = Registry.of_plugins([load_from(FAKES), *known.plugins])
    models: list[Model] = []

    def opening(**changes: Any) -> Model:
        folder = tmp_path / f"bundle-{len(models)}"
        folder.mkdir()
        write_fake_artifact(folder / "model.json", (INPUT.spec(),), (OUTPUT.spec(),))
        bundle = folder.with_suffix(".edgeai")
        pack(folder, msgspec.structs.replace(MANIFEST, **changes), bundle)
        model = open_model(bundle, backends=("fake-works",), registry=registry, cache_dir=tmp_path / "cache")
        models.append(model)
        return model

    yield opening
    for model in models:
        model.close()


def tissue(x0: int, y0: int, x1: int, y1: int) -> UltrasoundRegion:
    kind = {"spatial_format": 1, "data_type": 1, "delta_x_mm": 0.25, "delta_y_mm": 0.25}
    return UltrasoundRegion(min_x0=x0, min_y0=y0, max_x1=x1, max_y1=y1, **kind)  # type: ignore[arg-type]


def run(model: Model, path: Path, **described: Any) -> Result:
    pixels = np.random.default_rng(1).integers(0, 255, described.pop("shape", (256, 300))).astype(np.uint8)
    return model.run_file(write_instance(path / "image.dcm", pixels, **described).path)


# --- sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "why"),
    [
        ((100, 100, 115, 115), "rows is 16, the model wants at least 128"),
        ((100, 0, 299, 126), "rows is 127, the model wants at least 128"),
        ((100, 0, 194, 255), "columns is 95, the model wants at least 96"),
        ((100, 0, 299, 127), None),
        ((204, 100, 400, 400), None),
        ((0, 0, 299, 255), None),
    ],
)
@pytest.mark.parametrize("frames", [1, 5])
def test_what_is_left_of_the_image_has_to_be_large_enough(
    opened: Open, tmp_path: Path, region: Any, why: str | None, frames: int
) -> None:
    shape = (256, 300) if frames == 1 else (frames, 256, 300)
    result = run(opened(), tmp_path, shape=shape, regions=[tissue(*region)])
    if why is None:
        assert result.outcome is Outcome.COMPLETED
        return
    assert result.outcome is Outcome.NOT_APPLICABLE
    assert result.reason is not None
    assert result.reason.code == "input.not-eligible"
    assert why in result.reason.message
    assert (result.engine, result.findings) == (None, ())


def test_bars_beside_the_picture_are_no_picture(opened: Open, tmp_path: Path) -> None:
    """A narrow strip, letterboxed: its bars lie where the source image goes on, and were not seen for that."""
    result = run(opened(), tmp_path, regions=[tissue(100, 0, 149, 255)])
    assert result.reason is not None
    assert "columns is 50" in result.reason.message


def test_whoever_asks_for_nothing_gets_every_crop(opened: Open, tmp_path: Path) -> None:
    model = opened(eligibility=Eligibility())
    assert run(model, tmp_path, regions=[tissue(100, 100, 115, 115)]).outcome is Outcome.COMPLETED


def test_edges_that_a_fast_path_leaves_out_are_no_crop(opened: Open, tmp_path: Path) -> None:
    """``two_pass`` halves whole blocks: of 143 rows it takes 136, and that is still this image."""
    model = opened(eligibility=Eligibility(min_rows=143, min_columns=100))
    assert run(model, tmp_path, shape=(143, 151)).outcome is Outcome.COMPLETED
    assert run(model, tmp_path, shape=(142, 151)).outcome is Outcome.NOT_APPLICABLE


def test_a_crop_to_the_content_is_asked_too(opened: Open, tmp_path: Path) -> None:
    crop = TransformStep(transform="crop_ultrasound", options={"on_missing": "content", "least_area": 0.0})
    model = opened(transforms=(crop, *STEPS[1:]))
    pixels = np.zeros((256, 300), np.uint8)
    pixels[50:150, 20:280] = 200
    small = model.run_file(write_instance(tmp_path / "small.dcm", pixels).path)
    assert small.reason is not None
    assert "rows is 100" in small.reason.message
    pixels[50:250, 20:280] = 200
    assert model.run_file(write_instance(tmp_path / "large.dcm", pixels).path).outcome is Outcome.COMPLETED


# --- millimetres --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "allowed", "scale", "source", "codes"),
    [
        ({"PixelSpacing": [0.5, 0.5]}, None, 0.25, "pixel-spacing", []),
        ({"ImagerPixelSpacing": [0.5, 0.5]}, None, None, None, ["dicom.detector-plane"]),
        ({"NominalScannedPixelSpacing": [0.5, 0.5]}, None, None, None, ["dicom.detector-plane"]),
        ({"PixelSpacing": [0.5, 0.5], "ImagerPixelSpacing": [0.5, 0.5]}, None, None, None, ["dicom.detector-plane"]),
        ({"PixelSpacing": [0.5, 0.5], "ImagerPixelSpacing": [0.6, 0.6]}, None, 0.25, "pixel-spacing", []),
        ({"ImagerPixelSpacing": [0.5, 0.5]}, ["imager-pixel-spacing"], 0.25, "imager-pixel-spacing", []),
        ({"PixelSpacing": [0.5, 0.5]}, ["imager-pixel-spacing"], None, None, []),
        ({"PixelSpacing": [0.5, 0.5]}, [], None, None, []),
        ({"PixelSpacing": [500, 500]}, None, None, None, ["dicom.ignored-value"]),
        ({}, None, None, None, []),
    ],
)
def test_regions_say_what_their_millimetres_come_from(
    opened: Open, tmp_path: Path, attributes: Any, allowed: Any, scale: Any, source: Any, codes: Any
) -> None:
    options = MANIFEST.task.options | ({} if allowed is None else {"millimetres_from": allowed})
    result = run(opened(task=TaskUse(name="segment", options=options)), tmp_path, attributes=attributes)
    assert result.outcome is Outcome.COMPLETED, result.reason
    region = result.findings[0].region
    assert region is not None
    assert region.area_px > 70_000
    assert region.area_mm2 == (None if scale is None else pytest.approx(region.area_px * scale))
    assert (region.perimeter_mm is None) == (scale is None)
    assert region.spacing_from == source
    assert [note.code for note in result.notes] == codes
    assert Result.from_dict(result.as_dict()).findings == result.findings
    old = as_schema_1(result)["findings"][0]["region"]
    assert "spacing_from" not in old
    assert old["area_mm2"] == (region.area_mm2 if source in ("pixel-spacing", "region") else None)


def test_a_region_of_the_scanner_calibrates_what_it_holds(opened: Open, tmp_path: Path) -> None:
    result = run(opened(), tmp_path, regions=[tissue(0, 0, 299, 255)], pixel_spacing_mm=(0.5, 0.5))
    region = result.findings[0].region
    assert region is not None
    assert (region.area_mm2, region.spacing_from) == (pytest.approx(region.area_px / 16), "region")
    assert [note.code for note in result.notes] == ["dicom.doubtful"], "Pixel Spacing says something else"


def test_notes_of_a_decoder_reach_the_result_once(opened: Open, tmp_path: Path) -> None:
    pixels = np.full((3, 256, 300), 100, np.uint16)
    pixels[:, 7] = 300
    attributes = {"BitsStored": 8, "HighBit": 7}
    path = write_instance(tmp_path / "image.dcm", pixels, attributes=attributes).path
    result = opened().run_file(path)
    assert result.outcome is Outcome.COMPLETED, result.reason
    assert [note.code for note in result.notes] == ["dicom.doubtful"]
