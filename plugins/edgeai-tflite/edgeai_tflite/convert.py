"""Keras to TensorFlow Lite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeai.api import Converted, ConvertRequest
from edgeai_keras.model_file import Source, check, failed, read


def _fp32(converter: Any, request: ConvertRequest) -> tuple[str, ...]:
    return ()


def _fp16(converter: Any, request: ConvertRequest) -> tuple[str, ...]:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return ("weights in float16; inputs, outputs and, on the CPU, arithmetic in float32",)


PRECISIONS: Mapping[str, Callable[[Any, ConvertRequest], tuple[str, ...]]] = {"fp32": _fp32, "fp16": _fp16}
"""Precision -> what it sets on the TFLiteConverter; gives the notes. The spec's ``precisions`` are these."""


def convert(request: ConvertRequest) -> Converted:
    """Write ``model.tflite`` below ``request.output``.

    The one signature, ``serving_default``, has the names asked for. An extent of ``None`` stays open.
    The same request gives the same bytes in a fresh process.

    Raises:
        ConversionFailed: with TensorFlow's own words, and the layer they speak of where they name one.
    """
    check(request, "tflite", precisions=PRECISIONS)
    source = read(request)
    flatbuffer, notes = _flatbuffer(request, source, PRECISIONS[request.precision])
    artifact = request.output / "model.tflite"
    artifact.write_bytes(flatbuffer)
    return Converted(artifact=artifact, notes=notes)


def _flatbuffer(
    request: ConvertRequest, source: Source, setting: Callable[[Any, ConvertRequest], tuple[str, ...]]
) -> tuple[bytes, tuple[str, ...]]:
    import tensorflow as tf

    try:
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [source.function.get_concrete_function()], source.module
        )
        notes = setting(converter, request)
        return bytes(converter.convert()), notes
    except Exception as error:  # the converter raises many kinds, none documented
        raise failed(request, source, error, f"TensorFlow {tf.__version__}") from error
