"""Pipeline: the tensor is what the model declares, or the message says which step made what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from edgeai.api import (
    Frame,
    Geometry,
    InstanceRef,
    Options,
    PluginFault,
    PluginNotFound,
    TensorMismatch,
    TensorSpec,
    TransformFailed,
    TransformSpec,
)
from edgeai.pipeline import Pipeline


@dataclass(frozen=True)
class Step:
    transform: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Apply:
    function: Callable[[Frame], Any]

    def apply(self, frame: Frame) -> Any:
        return self.function(frame)


def _halve(frame: Frame) -> Frame:
    return replace(frame, pixels=frame.pixels[::2, ::2], geometry=frame.geometry.scaled(2.0, 2.0))


def _refuse(frame: Frame) -> Frame:
    raise TransformFailed("too dark", code="transform.not-applicable", remedy="more light")


def _build_refused(options: Options) -> Apply:
    raise TransformFailed("strict: option 'x' is 1", code="transform.options")


def _spec(name: str, function: Callable[[Frame], Any]) -> TransformSpec:
    return TransformSpec(name=name, build=lambda options: Apply(function))


SPECS: Mapping[str, TransformSpec] = {
    "halve": _spec("halve", _halve),
    "float": _spec("float", lambda f: replace(f, pixels=f.pixels.astype(np.float32))),
    "refuse": _spec("refuse", _refuse),
    "crash": _spec("crash", lambda f: 1 / 0),
    "starve": _spec("starve", lambda f: (_ for _ in ()).throw(MemoryError())),
    "lie": _spec("lie", lambda f: f.pixels),
    "strict": TransformSpec(name="strict", build=_build_refused),
}


def _frame(pixels: np.ndarray[Any, Any]) -> Frame:
    return Frame(
        pixels=pixels,
        number=3,
        geometry=Geometry(source_rows=pixels.shape[0], source_columns=pixels.shape[1]),
        instance=InstanceRef(sop_class_uid="1.2", sop_instance_uid="2.25.1"),
        photometric_interpretation="RGB" if pixels.ndim == 3 else "MONOCHROME2",
    )


def _input(shape: tuple[int | None, ...], layout: str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name="image", dtype=dtype, shape=shape, layout=layout)


GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
RGB = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)


@pytest.mark.parametrize(
    ("pixels", "shape", "layout", "wanted"),
    [
        (GREY, (1, 6, 8, 1), "NHWC", GREY[None, :, :, None]),
        (GREY, (None, None, None, 1), "NHWC", GREY[None, :, :, None]),
        (GREY, (1, 1, 6, 8), "NCHW", GREY[None, None]),
        (GREY, (1, 6, 8), "NHW", GREY[None]),
        (GREY, (1, 8, 6), "NWH", GREY.T[None]),
        (GREY[:, :, None], (1, 6, 8), "NHW", GREY[None]),
        (RGB, (1, 6, 8, 3), "NHWC", RGB[None]),
        (RGB, (1, 3, 6, 8), "NCHW", RGB.transpose(2, 0, 1)[None]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_layout_and_dtype_are_the_inputs(pixels, shape, layout, wanted, dtype) -> None:  # type: ignore[no-untyped-def]
    tensor, frame = Pipeline([], SPECS, _input(shape, layout, dtype)).prepare(_frame(pixels))
    assert tensor.dtype == dtype
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, wanted)
    assert frame.number == 3


def test_steps_run_in_order_and_the_geometry_comes_back() -> None:
    steps = [Step("halve"), Step("float")]
    tensor, frame = Pipeline(steps, SPECS, _input((1, 3, 4, 1), "NHWC")).prepare(_frame(GREY))
    np.testing.assert_array_equal(tensor[0, :, :, 0], GREY[::2, ::2])
    np.testing.assert_array_equal(frame.geometry.to_source([[1, 1]]), [[2, 2]])
    assert frame.pixels.dtype == np.float32


def test_nothing_is_copied_that_fits_as_it_is() -> None:
    source = np.ones((6, 8), np.float32)
    tensor, _ = Pipeline([], SPECS, _input((1, 6, 8, 1), "NHWC")).prepare(_frame(source))
    assert np.shares_memory(tensor, source)


def test_a_wrong_extent_names_what_each_step_made() -> None:
    pipeline = Pipeline([Step("halve"), Step("float")], SPECS, _input((1, 6, 8, 1), "NHWC"))
    with pytest.raises(TensorMismatch) as caught:
        pipeline.prepare(_frame(GREY))
    message = str(caught.value)
    assert caught.value.code == "tensor.shape"
    assert "takes 1x6x8x1 (NHWC), the frame became 1x3x4x1" in message
    assert "frame: 6x8 uint8 MONOCHROME2; transforms[0] halve: 3x4 uint8" in message
    assert "transforms[1] float: 3x4 float32" in message


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        ("uint8", "float32", True),
        ("uint16", "float32", True),
        ("int16", "float32", True),
        ("float64", "float32", True),
        ("float32", "float16", True),
        ("uint8", "float16", True),
        ("uint8", "int16", True),
        ("float32", "uint8", False),
        ("uint16", "uint8", False),
        ("uint16", "float16", False),
        ("int16", "uint16", False),
        ("int32", "float32", False),
    ],
)
def test_no_conversion_that_loses_anything_in_silence(source: str, target: str, fits: bool) -> None:
    pipeline = Pipeline([], SPECS, _input((1, 6, 8), "NHW", target))
    frame = _frame(GREY.astype(source))
    if fits:
        np.testing.assert_array_equal(pipeline.prepare(frame)[0][0], GREY)
        return
    with pytest.raises(TensorMismatch, match="does not hold every") as caught:
        pipeline.prepare(frame)
    assert caught.value.code == "tensor.dtype"


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, "float32"), (np.inf, "float32"), (1e6, "float16")])
def test_values_that_are_not_finite_do_not_reach_the_engine(value: float, dtype: str) -> None:
    pixels = GREY.astype(np.float32)
    pixels[2, 2] = value
    with pytest.raises(TensorMismatch) as caught:
        Pipeline([], SPECS, _input((1, 6, 8), "NHW", dtype)).prepare(_frame(pixels))
    assert caught.value.code == "tensor.not-finite"


def test_colour_into_a_grey_input_is_refused() -> None:
    with pytest.raises(TensorMismatch, match="no channel axis"):
        Pipeline([], SPECS, _input((1, 6, 8), "NHW")).prepare(_frame(RGB))
    with pytest.raises(TensorMismatch, match="1x6x8x3"):
        Pipeline([], SPECS, _input((1, 6, 8, 1), "NHWC")).prepare(_frame(RGB))


@pytest.mark.parametrize("layout", ["", "HWCN", "NTHW", "NCHH", "NC"])
def test_an_input_that_is_no_image_is_refused(layout: str) -> None:
    shape = (1,) * (len(layout) or 4)
    with pytest.raises(TensorMismatch) as caught:
        Pipeline([], SPECS, _input(shape, layout))
    assert caught.value.code == "tensor.layout"


def test_a_fixed_batch_is_refused() -> None:
    with pytest.raises(TensorMismatch, match="batch of 8") as caught:
        Pipeline([], SPECS, _input((8, 6, 8, 1), "NHWC"))
    assert caught.value.code == "tensor.batch"


@pytest.mark.parametrize(
    ("name", "error", "code", "says"),
    [
        ("refuse", TransformFailed, "transform.not-applicable", "transforms[1] refuse: too dark"),
        ("crash", PluginFault, "plugin.fault", "transforms[1] crash: ZeroDivisionError: division by zero"),
        ("starve", TransformFailed, "transform.memory", "transforms[1] starve: out of memory"),
        ("lie", PluginFault, "plugin.contract", "transforms[1] lie: apply returned ndarray"),
    ],
)
def test_a_fault_names_the_step(name: str, error: type[Exception], code: str, says: str) -> None:
    pipeline = Pipeline([Step("halve"), Step(name)], SPECS, _input((1, 3, 4, 1), "NHWC"))
    with pytest.raises(error) as caught:
        pipeline.prepare(_frame(GREY))
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert str(caught.value).startswith(says)


def test_a_step_that_cannot_be_built_is_named() -> None:
    with pytest.raises(TransformFailed, match=r"^transforms\[1\] strict: option 'x' is 1$") as caught:
        Pipeline([Step("halve"), Step("strict")], SPECS, _input((1, 3, 4, 1), "NHWC"))
    assert caught.value.code == "transform.options"
    with pytest.raises(PluginNotFound, match=r"transforms\[0\] sharpen: no loaded plugin"):
        Pipeline([Step("sharpen")], SPECS, _input((1, 3, 4, 1), "NHWC"))
