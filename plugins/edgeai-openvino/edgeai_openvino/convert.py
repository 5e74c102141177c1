"""Keras to OpenVINO IR."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Final

from edgeai.api import BackendUnavailable, ConversionFailed, Converted, ConvertRequest, EdgeaiError
from edgeai_keras.calibration import Samples, check_calibration
from edgeai_keras.model_file import Source, check, failed, read
from edgeai_openvino.engine import describe, load, without
from edgeai_openvino.quantise import OPTIONS, Quantised, quantise

_COUNTED = re.compile(r"[A-Z][A-Za-z0-9]*_\d+")
"""A node's name where nobody gave it one: its kind, or that of the node it replaces, and a running number."""


CALIBRATED: Final = ("int8",)


def _fp32(ov: Any, model: Any, request: ConvertRequest, source: Source, samples: Samples) -> Quantised:
    return Quantised(model)


def _fp16(ov: Any, model: Any, request: ConvertRequest, source: Source, samples: Samples) -> Quantised:
    return Quantised(model, ("weights in float16; inputs, outputs and, with precision = f32, arithmetic in float32",))


PRECISIONS: Mapping[str, Callable[[Any, Any, ConvertRequest, Source, Samples], Quantised]] = {
    "fp32": _fp32,
    "fp16": _fp16,
    "int8": quantise,
}
"""Precision -> how the model is changed. The spec's ``precisions`` are these."""


def convert(request: ConvertRequest) -> Converted:
    """Write ``model.xml`` and ``model.bin`` below ``request.output``; the artifact is the ``.xml``.

    Inputs and outputs have the names and the order asked for, and are float32. An extent of ``None`` stays open.

    Raises:
        ConversionFailed: with OpenVINO's own words, and the layer they speak of where they name one; or
            ``convert.calibration-missing``, ``convert.calibration-invalid``, ``convert.quantisation-drop``.
    """
    check(request, "openvino", precisions=PRECISIONS, options=OPTIONS)
    samples = check_calibration(request, calibrated=CALIBRATED)
    try:
        ov = load()
    except BackendUnavailable as error:
        raise ConversionFailed(str(error), code="convert.engine-missing", remedy=error.remedy) from error
    source = read(request)
    artifact = request.output / "model.xml"
    try:
        made = PRECISIONS[request.precision](ov, _model(request, source), request, source, samples)
        _number(made.model)
        ov.save_model(made.model, artifact, compress_to_fp16=request.precision == "fp16")
    except EdgeaiError:
        raise
    except Exception as error:  # the front end and NNCF raise many kinds, none documented
        raise failed(request, source, error, describe()) from error
    return Converted(artifact=artifact, notes=(*source.notes, *made.notes), layers=made.layers)


def _model(request: ConvertRequest, source: Source) -> Any:
    import tensorflow as tf

    with without("openvino_telemetry"):  # a build host is no business of anyone's either
        from openvino.tools.ovc import convert_model
    with tempfile.TemporaryDirectory() as folder:
        # By way of a SavedModel: its signature carries the names, and OpenVINO reads it without TensorFlow.
        tf.saved_model.save(source.module, folder, signatures={"serving_default": source.function})
        model = convert_model(folder)
    return _ordered(model, request)


def _ordered(model: Any, request: ConvertRequest) -> Any:
    """The model with its tensors named and ordered as asked; the front end sorts them by name."""
    import openvino as ov

    inputs = [model.input(spec.name) for spec in request.inputs]
    outputs = [model.output(spec.name) for spec in request.outputs]
    for port, spec in zip((*inputs, *outputs), (*request.inputs, *request.outputs), strict=True):
        port.get_tensor().set_names({spec.name})
    ordered = ov.Model(
        [port.get_node().input_value(0) if port.get_node().get_type_name() == "Result" else port for port in outputs],
        [port.get_node() for port in inputs],
        "model",
    )
    _number(ordered)
    return ordered


def _number(model: Any) -> None:
    """Number the nodes that have no name of their own from 0; OpenVINO counts them over the whole process."""
    for place, node in enumerate(model.get_ordered_ops()):
        if _COUNTED.fullmatch(node.get_friendly_name()) and node.get_type_name() != "Parameter":
            node.set_friendly_name(f"{node.get_type_name()}_{place}")
