"""Deployments share what they do alike of one image, and each answers as if it were alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from edgeai.api import Frame, Grayscale, Note, PixelsRejected, Result
from edgeai.api.imaging import Lut, UltrasoundRegion, Window
from edgeai.bundle.manifest import ArtifactDecl, Eligibility, FrameUse, PixelUse, TaskUse, TensorDecl, TransformStep
from edgeai.bundle.uses import GuardModel, GuardUse
from edgeai.dicom import pixels as decoding
from edgeai.dicom.header import read_header
from edgeai.model import Model, open_model
from edgeai.model.halves import NotShared, packed, unpacked
from edgeai.model.recipe import Recipe
from edgeai.model.sharing import SharedFile, Sharing
from edgeai.pipeline import Halfway
from edgeai.plugins import Registry
from edgeai.spool.planes import Planes
from edgeai.testing.gallery import frame as gallery_frame
from edgeai.testing.phantoms import write_instance

PATIENT_S = 120.0
SIDE = 64
GREY = TransformStep(transform="grey")
INVERT = TransformStep(transform="invert")
PERCENTILES = TransformStep(transform="window", options={"mode": "percentile", "output": "unit"})
HEADERS = TransformStep(transform="window", options={"mode": "voi", "on_missing": "full_range", "output": "unit"})


def letterbox(side: int = SIDE, **options: Any) -> TransformStep:
    return TransformStep(transform="letterbox", options={"rows": side, "columns": side, **options})


USUAL = (GREY, letterbox(), INVERT, PERCENTILES)


def noise(*shape: int, dtype: Any = np.uint16, top: int = 4096) -> Any:
    ramp = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))
    values = np.random.default_rng(5).integers(0, top // 2, shape)
    return (values + (ramp if len(shape) == 2 else 0) % (top // 2)).astype(dtype)


KINDS: dict[str, Callable[[Path], Any]] = {
    "mapped": lambda path: write_instance(path, noise(600, 500), modality="CR", bits_stored=12),
    "mapped-inverted": lambda path: write_instance(
        path,
        noise(600, 500),
        modality="CR",
        bits_stored=12,
        photometric_interpretation="MONOCHROME1",
        windows=[Window(center=2000.5, width=1000.25)],
        rescale=(0.1, -1024.3),
    ),
    "few-bits": lambda path: write_instance(
        path, noise(600, 500), modality="CR", bits_stored=12, attributes={"BitsStored": 11, "HighBit": 10}
    ),
    "jpeg2000": lambda path: write_instance(
        path, noise(600, 500), modality="CR", bits_stored=12, transfer_syntax=JPEG2000Lossless
    ),
    "jpeg-ls": lambda path: write_instance(
        path, noise(600, 500), modality="CR", bits_stored=12, transfer_syntax=JPEGLSLossless
    ),
    "rle-colour": lambda path: write_instance(
        path, noise(400, 300, 3, dtype=np.uint8, top=256), modality="CR", transfer_syntax=RLELossless
    ),
    "jpeg-cine": lambda path: write_instance(
        path, noise(6, 500, 400, 3, dtype=np.uint8, top=256), modality="CR", transfer_syntax=JPEGBaseline8Bit
    ),
    "mapped-cine": lambda path: write_instance(
        path, noise(5, 500, 600, dtype=np.uint16), modality="CR", bits_stored=12, frames=True
    ),
}


def picture(path: Path) -> Any:
    """A picture, as what is drawn above is noise."""
    return write_instance(path, gallery_frame(600, 500).pixels.astype(np.uint16) * 16, modality="CR", bits_stored=12)


@pytest.fixture(scope="session")
def registry(fakes: Registry) -> Registry:
    return Registry.of_plugins([*fakes.plugins, *Registry.of(["transforms"]).plugins])


Open = Callable[..., Model]


@pytest.fixture
def opening(registry: Registry, make_bundle: Any, tmp_path: Path) -> Iterator[Open]:
    """Models that answer from a tensor of 64x64 (or so), through these transforms."""
    models: list[Model] = []

    def opened(*steps: TransformStep, fast: Sequence[Any] = (), side: int = SIDE, **changes: Any) -> Model:
        image = TensorDecl(name="image", dtype="float32", shape=(1, side, side, 1), layout="NHWC")
        bundle = make_bundle(
            golden=False,
            transforms=steps,
            inputs=(image,),
            takes=image,
            pixels=PixelUse(fast=tuple(fast)),
            frames=FrameUse(select="all"),
            plugins=("fakes", "transforms"),
            **changes,
        )
        model = open_model(bundle, backends=("fake-works",), registry=registry, cache_dir=tmp_path / "cache")
        models.append(model)
        return model

    yield opened
    for model in models:
        model.close()


class Cart:
    """Several models on one file, as the roles of one device, and all that their engines and tasks are given."""

    def __init__(self, folder: Path, models: Sequence[Model], **limits: int) -> None:
        self.names = [f"d{index}" for index in range(len(models))]
        self.models = dict(zip(self.names, models, strict=True))
        self.folder = folder / "planes"
        self.sharing = {name: self._share(name, model, limits) for name, model in self.models.items()}

    def _share(self, name: str, model: Model, limits: dict[str, int]) -> Sharing:
        planes = Planes(self.folder, max_bytes=limits.get("max_bytes", 256_000_000), sharers=len(self.models))
        return Sharing(planes, name, recipe_of(model), self.names)

    def of(self, name: str, file: Path, sharers: Sequence[str], patience_s: float = PATIENT_S) -> SharedFile:
        return self.sharing[name].of(file.name, sharers, patience_s)

    def run(self, name: str, file: Path, shared: SharedFile | None = None) -> tuple[Any, list[Any]]:
        """The result but for times, and tensor and frame of each frame."""
        model = self.models[name]
        seen: dict[int, Any] = {}
        prepare = model.pipeline.prepare

        def watched(frame: Frame, *more: Any) -> Any:
            ready = prepare(frame, *more)
            seen[frame.number] = told(*ready)
            return ready

        model._pipeline.prepare = watched  # type: ignore[method-assign]
        try:
            result = model.run_file(file, deployment=name, shared=shared)
        finally:
            model._pipeline.prepare = prepare  # type: ignore[method-assign]
        return plain(result), [seen[number] for number in sorted(seen)]

    def planes(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".recipe"]


def recipe_of(model: Model) -> Recipe:
    manifest = model.bundle.manifest
    return Recipe.of(model.decode_options(()), manifest.transforms, model.pipeline.plugins, manifest.guard)


def plain(result: Result) -> dict[str, Any]:
    return {key: value for key, value in result.as_dict().items() if key not in ("timings_ms", "created_at")}


def told(tensor: Any, frame: Frame) -> dict[str, Any]:
    """All of it, to the last bit."""
    pixels = frame.pixels
    whole = {field.name: getattr(frame, field.name) for field in fields(frame)}
    whole |= {"pixels": (pixels.tobytes(), pixels.dtype, pixels.shape), "grayscale": grey_told(frame.grayscale)}
    return {"tensor": (tensor.tobytes(), tensor.dtype, tensor.shape), **whole}


def grey_told(grey: Grayscale) -> dict[str, Any]:
    def lut(item: Lut | None) -> Any:
        return item and (item.first, item.bits, item.data.tobytes(), item.data.dtype)

    whole = {field.name: getattr(grey, field.name) for field in fields(grey)}
    return whole | {"modality_lut": lut(grey.modality_lut), "voi_luts": [lut(item) for item in grey.voi_luts]}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the frames that were really decoded."""
    numbers: list[int] = []
    make = decoding._frame

    def counted(header: Any, layout: Any, number: int, *more: Any) -> Frame:
        numbers.append(number)
        return make(header, layout, number, *more)

    monkeypatch.setattr(decoding, "_frame", counted)
    return numbers


# --- the same answers ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_three_that_do_alike_decode_once_and_answer_as_if_alone(
    opening: Open, tmp_path: Path, decoded: list[int], kind: str
) -> None:
    file = tmp_path / "image.dcm"
    KINDS[kind](file)
    frames = read_header(file).instance.number_of_frames
    cart = Cart(tmp_path, [opening(*USUAL) for _ in range(3)])
    alone = {name: cart.run(name, file) for name in cart.names}
    assert all(result["outcome"] == "completed" for result, _ in alone.values()), alone
    assert all(len(seen) == frames for _, seen in alone.values())
    decoded.clear()
    for index, name in enumerate(cart.names):
        assert cart.run(name, file, cart.of(name, file, cart.names[index + 1 :])) == alone[name]
    assert sorted(decoded) == list(range(1, frames + 1))
    assert len(cart.planes()) == frames, "the last one left nothing more"


PARTING = {
    "windows": [USUAL, (GREY, letterbox(), INVERT, HEADERS), USUAL],
    "sides": [USUAL, (GREY, letterbox(48), INVERT, PERCENTILES), (GREY, letterbox(48), INVERT, HEADERS)],
    "nothing-alike": [USUAL, (TransformStep(transform="rgb"), GREY, letterbox()), (letterbox(), GREY)],
}
ONCE = {"windows": 1, "sides": 1, "nothing-alike": 1}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mapped-inverted", "few-bits", "jpeg2000", "jpeg-cine"])
@pytest.mark.parametrize("parting", PARTING)
def test_those_that_part_half_way_share_the_way_to_there_in_any_order(
    opening: Open, tmp_path: Path, decoded: list[int], kind: str, parting: str
) -> None:
    file = tmp_path / "image.dcm"
    KINDS[kind](file)
    sides = [
        next(step.options["rows"] for step in steps if step.transform == "letterbox") for steps in PARTING[parting]
    ]
    models = [opening(*steps, side=side) for steps, side in zip(PARTING[parting], sides, strict=True)]
    cart = Cart(tmp_path, models)
    alone = {name: cart.run(name, file) for name in cart.names}
    frames = len(alone["d0"][1])
    for order in permutations(cart.names):
        copy = tmp_path / f"{'-'.join(order)}.dcm"
        decoded.clear()
        for index, name in enumerate(order):
            assert cart.run(name, file, cart.of(name, copy, order[index + 1 :])) == alone[name], order
        if "mapped" not in kind and "few" not in kind:
            assert len(decoded) == frames, order


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mapped", "jpeg2000", "jpeg-cine"])
def test_figures_of_what_is_looked_at_come_with_the_plane(opening: Open, tmp_path: Path, kind: str) -> None:
    """As if alone, whoever made it; and one that nobody looked at is shared with those that do not look alone."""
    guarded = {"schema": 2, "guard": GuardUse()}
    cart = Cart(tmp_path, [opening(*USUAL, **guarded), opening(*USUAL), opening(*USUAL, **guarded)])
    for order in permutations(cart.names):
        file = tmp_path / f"{''.join(order)}.dcm"
        (picture if kind == "mapped" else KINDS[kind])(file)
        alone = {name: cart.run(name, file) for name in cart.names}
        left = list(order)
        for name in order:
            left.remove(name)
            assert cart.run(name, file, cart.of(name, file, left)) == alone[name]
        assert alone["d0"][0]["guard"]
        assert not alone["d1"][0]["guard"]
        assert alone["d0"][0]["outcome"] == ("completed" if kind == "mapped" else "not-applicable")
    assert cart.planes()


@pytest.mark.parametrize(
    ("kind", "one", "other", "is_shared"),
    [
        ("jpeg2000", {}, {}, True),
        ("jpeg2000", {"fast": ["smallest"]}, {}, False),
        ("jpeg2000", {"fast": ["smallest"]}, {"fast": ["smallest", "luma"]}, True),
        ("jpeg-cine", {"fast": ["luma"]}, {}, False),
        ("mapped", {"fast": ["luma", "smallest"]}, {}, True),
        ("jpeg2000", {"fast": ["smallest"]}, {"fast": ["smallest"], "side": 70}, True),
        ("jpeg2000", {"fast": ["smallest"]}, {"fast": ["smallest"], "side": 300}, False),
    ],
)
def test_only_what_is_decoded_alike_is_shared(
    opening: Open, tmp_path: Path, decoded: list[int], kind: str, one: Any, other: Any, is_shared: bool
) -> None:
    file = tmp_path / "image.dcm"
    KINDS[kind](file)
    cart = Cart(tmp_path, [opening(GREY, letterbox(more.get("side", SIDE)), **more) for more in (one, other)])
    alone = {name: cart.run(name, file) for name in cart.names}
    frames = len(alone["d0"][1])
    decoded.clear()
    assert cart.run("d0", file, cart.of("d0", file, ["d1"])) == alone["d0"]
    assert cart.run("d1", file, cart.of("d1", file, [])) == alone["d1"]
    assert len(decoded) == (frames if is_shared else 2 * frames)


@pytest.mark.slow
def test_at_once_each_frame_is_decoded_once(opening: Open, tmp_path: Path, decoded: list[int]) -> None:
    file = tmp_path / "image.dcm"
    KINDS["jpeg-cine"](file)
    cart = Cart(tmp_path, [opening(*USUAL) for _ in range(3)])
    alone = {name: cart.run(name, file) for name in cart.names}
    decoded.clear()
    start, got = threading.Barrier(3), {}

    def run(name: str) -> None:
        others = [other for other in cart.names if other != name]
        start.wait()
        got[name] = cart.run(name, file, cart.of(name, file, others))

    threads = [threading.Thread(target=run, args=(name,)) for name in cart.names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == alone
    assert sorted(decoded) == list(range(1, 7))


# --- what is each one's own ---------------------------------------------------------------------


def test_what_is_cut_is_judged_by_each_for_itself(opening: Open, tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    region = UltrasoundRegion(min_x0=10, min_y0=20, max_x1=400, max_y1=119, spatial_format=1, data_type=1)
    write_instance(file, noise(600, 500), modality="CR", bits_stored=12, regions=[region])
    steps = (TransformStep(transform="crop_ultrasound", options={"on_missing": "fail"}), GREY, letterbox())
    strict = Eligibility(modality=("CR",), min_rows=200)
    cart = Cart(tmp_path, [opening(*steps), opening(*steps, eligibility=strict)])
    alone = {name: cart.run(name, file) for name in cart.names}
    assert [alone[name][0]["outcome"] for name in cart.names] == ["completed", "not-applicable"]
    for order in permutations(cart.names):
        copy = tmp_path / f"{order[0]}.dcm"
        for index, name in enumerate(order):
            assert cart.run(name, file, cart.of(name, copy, order[index + 1 :])) == alone[name]


@pytest.mark.slow
def test_errors_name_the_whole_way(opening: Open, tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    KINDS["jpeg2000"](file)
    cart = Cart(tmp_path, [opening(GREY, letterbox(48)), opening(GREY, letterbox(48))])
    alone = {name: cart.run(name, file) for name in cart.names}
    assert alone["d0"][0]["reason"]["code"] == "tensor.shape"
    assert cart.run("d0", file, cart.of("d0", file, ["d1"])) == alone["d0"]
    assert len(cart.planes()) == 1
    assert cart.run("d1", file, cart.of("d1", file, [])) == alone["d1"]


def test_a_frame_that_does_not_decode_leaves_nothing_and_fails_in_each(
    opening: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "image.dcm"
    KINDS["jpeg2000"](file)
    cart = Cart(tmp_path, [opening(*USUAL), opening(*USUAL)])

    def refuse(*given: Any) -> Any:
        raise PixelsRejected("no", code="pixels.codec")

    monkeypatch.setattr(decoding, "_decode", refuse)
    for name, other in (("d0", "d1"), ("d1", "d0")):
        result, _ = cart.run(name, file, cart.of(name, file, [other], patience_s=0.0))
        assert result["reason"]["code"] == "pixels.codec"
        assert cart.models[name].failed_step == "decode"
    assert cart.planes() == []


@pytest.mark.parametrize("facts", [{"BitsAllocated": 24}, {"BitsAllocated": 0}, {"Rows": 0}, {"SamplesPerPixel": 7}])
def test_a_header_that_makes_no_sense_ends_as_alone(opening: Open, tmp_path: Path, facts: dict[str, int]) -> None:
    file = tmp_path / "image.dcm"
    write_instance(file, noise(600, 500), modality="CR", bits_stored=12, attributes=facts)
    cart = Cart(tmp_path, [opening(*USUAL), opening(*USUAL)])
    alone = cart.run("d0", file)
    assert alone[0]["reason"]["code"].startswith(("pixels.", "dicom."))
    assert cart.run("d0", file, cart.of("d0", file, ["d1"])) == alone
    assert cart.planes() == []


def test_notes_come_with_the_frame(opening: Open, tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    KINDS["few-bits"](file)
    cart = Cart(tmp_path, [opening(*USUAL), opening(*USUAL)])
    alone = cart.run("d1", file)
    cart.run("d0", file, cart.of("d0", file, ["d1"]))
    assert cart.run("d1", file, cart.of("d1", file, [])) == alone


def test_a_model_before_the_model_has_its_frame_as_it_was_decoded(opening: Open, tmp_path: Path) -> None:
    """And so shares what is decoded, and nothing that steps have made of it."""
    file = tmp_path / "image.dcm"
    KINDS["jpeg2000"](file)
    image = TensorDecl(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
    model = GuardModel(
        task=TaskUse(name="fake-classify", options={"labels": ["bright", "dark"]}),
        admit=("dark", "bright"),
        min_score=0.5,
        inputs=(image,),
        outputs=(TensorDecl(name="scores", dtype="float32", shape=(1, 2)),),
        transforms=(TransformStep(transform="fake-subsample", options={"rows": 8, "columns": 8}),),
        artifacts=(ArtifactDecl(id="fake-fp32", format="fake", precision="fp32", path="guard.json"),),
    )
    guarded = {"schema": 2, "guard": GuardUse(content=False, model=model)}
    cart = Cart(tmp_path, [opening(*USUAL, **guarded), opening(*USUAL)])
    assert len(recipe_of(cart.models["d0"]).steps) == 1
    alone = {name: cart.run(name, file) for name in cart.names}
    assert len(alone["d0"][0]["guard"]) == 1
    for order in permutations(cart.names):
        copy = tmp_path / f"{order[0]}.dcm"
        for index, name in enumerate(order):
            assert cart.run(name, file, cart.of(name, copy, order[index + 1 :])) == alone[name]


# --- nothing in vain ----------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_is_left_for_nobody(opening: Open, tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    KINDS["jpeg2000"](file)
    cart = Cart(tmp_path, [opening(*USUAL), opening(*USUAL)])
    for sharers in ([], ["unheard-of"], ["d0"]):
        cart.run("d0", file, cart.of("d0", file, sharers))
    assert cart.planes() == []


def test_a_mapped_image_is_not_copied_before_it_is_shrunk(opening: Open, tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    KINDS["mapped"](file)
    cart = Cart(tmp_path, [opening(GREY, letterbox()), opening(GREY, letterbox(48), side=48)])
    alone = {name: cart.run(name, file) for name in cart.names}
    for number in range(3):
        copy = tmp_path / f"{number}.dcm"
        assert cart.run("d0", file, cart.of("d0", copy, ["d1"])) == alone["d0"]
        assert cart.run("d1", file, cart.of("d1", copy, [])) == alone["d1"]
    assert cart.planes() == []
    small = tmp_path / "small.dcm"
    write_instance(small, noise(64, 64), modality="CR", bits_stored=12, transfer_syntax=JPEG2000Lossless)
    twins = Cart(tmp_path, [opening(*USUAL), opening(*USUAL)])
    twins.run("d0", small, twins.of("d0", small, ["d1"]))
    assert twins.planes() == [], "made as fast as asked for"


@pytest.mark.slow
def test_one_that_takes_too_long_is_not_waited_for(opening: Open, tmp_path: Path, decoded: list[int]) -> None:
    file = tmp_path / "image.dcm"
    KINDS["jpeg2000"](file)
    cart = Cart(tmp_path, [opening(*USUAL), opening(*USUAL)])
    alone = cart.run("d1", file)
    decoded.clear()
    header = read_header(file)
    first = cart.of("d0", file, ["d1"]).frames(header)
    assert first is not None
    with first:
        assert first.known(1) is None, "its turn, and it stays with it"
        assert cart.run("d1", file, cart.of("d1", file, ["d0"], patience_s=0.05)) == alone
    assert decoded == [1]


def test_damaged_planes_change_no_answer(opening: Open, tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    KINDS["jpeg-cine"](file)
    cart = Cart(tmp_path, [opening(*USUAL), opening(*USUAL)])
    alone = cart.run("d1", file)
    cart.run("d0", file, cart.of("d0", file, ["d1"]))
    for index, path in enumerate(sorted(cart.planes())):
        data = bytearray(path.read_bytes())
        data[-1 - 97 * index] ^= 1
        path.write_bytes(data if index % 2 else data[: len(data) // 2])
    assert cart.run("d1", file, cart.of("d1", file, ["d0"])) == alone


# --- recipes ------------------------------------------------------------------------------------


def test_whatever_decides_about_pixels_is_in_the_name(opening: Open, tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    KINDS["jpeg2000"](file)
    layout = read_header(file).pixels
    assert layout is not None
    model = opening(*USUAL)
    recipe = recipe_of(model)
    assert Recipe.heard(recipe.told()) == recipe
    assert recipe.common(recipe, layout) == 4
    newer = [msgspec.structs.replace(step) for step in model.bundle.manifest.transforms]
    plugins = [replace(plugin, version="99") for plugin in model.pipeline.plugins]
    other = Recipe.of(model.decode_options(()), newer, plugins)
    assert recipe.common(other, layout) == 0, "the plugin's version"
    changed = Recipe.of(model.decode_options(()), (*USUAL[:3], HEADERS), model.pipeline.plugins)
    assert recipe.common(changed, layout) == 3, "an option"
    older = Recipe(recipe.fast, recipe.min_rows, recipe.min_columns, ("another", *recipe.steps[1:]))
    assert recipe.common(older, layout) is None, "the versions of decoders and of edgeai"
    names = {each.name(layout, steps) for each in (recipe, other, changed, older) for steps in range(5)}
    assert len(names) == 5 + 4 + 1 + 1


@pytest.mark.parametrize("told", [b"", b"{}", b"[1, 2]", b"[1, 2, 3, 4]", b'[["luma"], "x", 2, []]', b"\xff"])
def test_a_recipe_that_makes_no_sense_is_none(told: bytes) -> None:
    assert Recipe.heard(told) is None


# --- frames as bytes ----------------------------------------------------------------------------


@pytest.fixture
def header(tmp_path: Path) -> Any:
    KINDS["mapped-inverted"](tmp_path / "image.dcm")
    return read_header(tmp_path / "image.dcm")


def frame_of(header: Any, **facts: Any) -> Frame:
    given = {"pixels": np.arange(6, dtype=np.float32).reshape(2, 3), "grayscale": header.grayscale} | facts
    return Frame(number=1, geometry=header.geometry, instance=header.instance, **given)


def test_every_field_of_a_frame_comes_back(header: Any) -> None:
    lut = Lut(first=-3, data=np.linspace(0.1, 7.7, 9), bits=12)
    grey = Grayscale(
        rescale_slope=0.1,
        rescale_intercept=-1 / 3,
        modality_lut=lut,
        windows=(Window(center=0.1, width=1e-300), Window(center=5, width=2)),
        voi_luts=(lut, Lut(first=0, data=np.arange(4, dtype=np.uint16), bits=16)),
        voi_lut_function="SIGMOID",
        pixel_padding=(-5, 7),
        unusable={"windows": Note(code="dicom.bad-value", text="Grüße")},
    )
    frame = frame_of(
        header,
        grayscale=grey,
        photometric_interpretation="RGB",
        bits_stored=13,
        stored_units=False,
        whole_range=(-4, 2),
        notes=(Note(code="a.b", text="c"),),
    )
    frame = replace(frame, geometry=frame.geometry.cropped(1.1, -2.7).scaled(1 / 3, 7.0))
    halfway = Halfway(frame, (("frame", "x"), ("step", "y")), ((3, 4),))
    decoded = (Note(code="d.e", text="f"),)
    head, values = packed(halfway, decoded, header)
    again, noted = unpacked(head + b"   ", memoryview(bytes(values)), header, 1)
    empty = np.zeros(1)
    assert told(empty, again.frame) == told(empty, frame)
    assert (again.trail, again.cuts, noted, again.steps) == (halfway.trail, halfway.cuts, decoded, 1)
    assert all(type(getattr(again.frame, field.name)) is type(getattr(frame, field.name)) for field in fields(frame))


@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "u4", "i8", "f2", "f4", "f8"])
def test_every_kind_of_number_comes_back(header: Any, dtype: str) -> None:
    pixels = np.arange(24).reshape(4, 6).astype(dtype)[:, ::2]
    head, values = packed(Halfway.start(frame_of(header, pixels=pixels)), (), header)
    again, _ = unpacked(head, values, header, 1)
    assert again.frame.pixels.dtype == pixels.dtype
    assert np.array_equal(again.frame.pixels, pixels)


def test_what_cannot_be_told_exactly_is_not_shared(header: Any) -> None:
    frame = frame_of(header)
    for other in (
        replace(frame, instance=replace(frame.instance, modality="US")),
        replace(frame, geometry=replace(frame.geometry, source_rows=1)),
        replace(frame, pixels=np.array([[1, "a"]], dtype=object)),
        replace(frame, pixels=np.zeros((2, 2), ">u2")),
        replace(frame, pixels=np.zeros((0, 2))),
        replace(frame, whole_range=(np.int64(0), np.int64(1))),
    ):
        with pytest.raises(NotShared):
            packed(Halfway.start(other), (), header)


def test_task_use_is_no_part_of_what_is_shared(opening: Open, tmp_path: Path, decoded: list[int]) -> None:
    file = tmp_path / "image.dcm"
    KINDS["jpeg2000"](file)
    labels = TaskUse(name="fake-classify", options={"labels": ["one", "two"]})
    cart = Cart(tmp_path, [opening(*USUAL), opening(*USUAL, task=labels)])
    first, _ = cart.run("d0", file, cart.of("d0", file, ["d1"]))
    second, _ = cart.run("d1", file, cart.of("d1", file, []))
    assert decoded == [1]
    assert {finding["label"] for finding in first["findings"]} == {"bright", "dark"}
    assert {finding["label"] for finding in second["findings"]} == {"one", "two"}
