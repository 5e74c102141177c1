"""Keras to TensorFlow SavedModel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeai.api import ConversionFailed, Converted, ConvertRequest
from edgeai_keras.model_file import check, failed, read

_FP16_NOTE = "weights and arithmetic in float16, batch normalisation's in float32; inputs and outputs in float32"


def _half(keras: Any, model: Any) -> Any:
    """The same layers under Keras's ``float16`` policy, with the same weights; inputs stay as they are."""

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = "float16"
        return layer.__class__.from_config(config)

    try:
        half = keras.models.clone_model(model, clone_function=clone, recursive=True)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConversionFailed(
            f"{model.name}: its layers cannot be rebuilt in float16: {error}",
            code="convert.precision-unsupported",
            remedy="use fp32, or a functional or sequential model of built-in layers",
        ) from error
    half.set_weights(model.get_weights())
    return half


PRECISIONS: Mapping[str, tuple[Callable[[Any, Any], Any] | None, tuple[str, ...]]] = {
    "fp32": (None, ()),
    "fp16": (_half, (_FP16_NOTE,)),
}
"""Precision -> the change made to the Keras model before it is traced, and the notes; the spec's ``precisions``."""


def convert(request: ConvertRequest) -> Converted:
    """Write the folder ``savedmodel`` below ``request.output``; the folder is the artifact.

    Its one signature, ``serving_default``, has the names asked for. An extent of ``None`` stays open.

    Raises:
        ConversionFailed: with TensorFlow's own words, and the layer they speak of where they name one.
    """
    check(request, "savedmodel", precisions=PRECISIONS)
    prepare, notes = PRECISIONS[request.precision]
    source = read(request, prepare=prepare)
    import tensorflow as tf

    artifact = request.output / "savedmodel"
    try:
        tf.saved_model.save(source.module, str(artifact), signatures={"serving_default": source.function})
    except Exception as error:  # the writer raises many kinds, none documented
        raise failed(request, source, error, f"TensorFlow {tf.__version__}") from error
    # A random identifier and nothing that loading needs; without it the same model gives the same graph.
    (artifact / "fingerprint.pb").unlink(missing_ok=True)
    return Converted(artifact=artifact, notes=(*source.notes, *notes))
