"""Grey levels: a reader is shown what the model was given, since both come of the same curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import Frame, Geometry, Grayscale, InstanceRef, Lut, Note, Window
from edgeai.api.levels import is_usable_window, ramp_curve, window_curve
from edgeai.cli.rendering import render
from edgeai.plugins import Registry

PIXELS = np.arange(512 * 512, dtype=np.int64).reshape(512, 512) % 4001 - 1000
TABLE = Lut(first=-300, data=np.array([0, 9, 100, 4000] * 200, np.uint16), bits=12)
CURVED = Lut(first=-900, data=(np.arange(1900) ** 1.1).astype(np.uint16), bits=16)
STATED = {
    "linear": Grayscale(windows=(Window(center=40.0, width=400.0),)),
    "exact": Grayscale(windows=(Window(center=40.0, width=400.0),), voi_lut_function="LINEAR_EXACT"),
    "sigmoid": Grayscale(windows=(Window(center=40.0, width=400.0),), voi_lut_function="SIGMOID"),
    "a function of the future": Grayscale(windows=(Window(center=40.0, width=400.0),), voi_lut_function="CUBIC"),
    "linear, as narrow as it can be": Grayscale(windows=(Window(center=40.0, width=1.0),)),
    "linear, narrower": Grayscale(rescale_slope=0.25, windows=(Window(center=40.0, width=0.9),)),
    "slope below 1, table": Grayscale(rescale_slope=0.25, rescale_intercept=7.0, voi_luts=(TABLE,)),
    "slope below 0": Grayscale(rescale_slope=-2.0, windows=(Window(center=40.0, width=400.0),)),
    "modality table": Grayscale(modality_lut=CURVED, windows=(Window(center=700.0, width=900.0),)),
    "both tables": Grayscale(modality_lut=CURVED, voi_luts=(TABLE,)),
    "a window without a width, and a table": Grayscale(windows=(Window(center=1.0, width=0.0),), voi_luts=(TABLE,)),
    "neither": Grayscale(rescale_slope=0.5, pixel_padding=(-1000, -900)),
}
REF = InstanceRef(sop_class_uid="1.2", sop_instance_uid="1.2.3")


def _frame(grey: Grayscale, dtype: str) -> Frame:
    geometry = Geometry(source_rows=512, source_columns=512, pixel_spacing_mm=None)
    pixels = PIXELS.astype(dtype)
    return Frame(pixels=pixels, number=1, geometry=geometry, instance=REF, bits_stored=16, grayscale=grey)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
@pytest.mark.parametrize("stated", STATED)
def test_a_reader_is_shown_what_the_model_was_given(stated: str, dtype: str) -> None:
    options = {"on_missing": "percentile", "low": 0.5, "high": 99.5, "output": "uint8", "use": "window"}
    spec = Registry.of(["transforms"]).transforms["window"]
    frame = _frame(STATED[stated], dtype)
    given = spec.build(options).apply(frame).pixels
    np.testing.assert_array_equal(np.asarray(render(frame)), given)


def test_a_picture_is_shown_although_the_header_states_its_units_wrongly() -> None:
    """A step that needs them refuses; whoever looks at a failed result wants to see the picture all the same."""
    note = Note(code="dicom.value-ignored", text="(0028,1053) RescaleSlope is 0; ignored")
    frame = _frame(STATED["linear"], "int16")
    wrong = replace(frame.grayscale, unusable={"rescale_slope": note})
    assert render(replace(frame, grayscale=wrong)).tobytes() == render(frame).tobytes()


@pytest.mark.parametrize(("center", "width"), [(float("nan"), 1.0), (0.0, float("inf")), (0.0, 0.0), (0.0, -4.0)])
def test_a_window_that_has_no_curve(center: float, width: float) -> None:
    assert not is_usable_window(Window(center=center, width=width))


def test_values_beyond_a_curve_take_its_ends() -> None:
    far = np.array([-1e300, 1e300])
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        ends = window_curve(Window(center=0.0, width=10.0), function)(far)
        assert ends == pytest.approx([0.0, 1.0], abs=1e-300)
    assert ramp_curve(5.0, 5.0)(np.array([5.0, 5.1])).tolist() == [0.0, 1.0], "a step where both ends are one"
