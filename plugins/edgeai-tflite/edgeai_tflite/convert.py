"""Keras to TensorFlow Lite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edgeai.api import ConversionFailed, Converted, ConvertRequest
from edgeai_keras.calibration import Samples, check_calibration
from edgeai_keras.model_file import Source, check, failed, read
from edgeai_keras.scopes import Scopes, layer_names, true_or_false, whole_number

CALIBRATED: Final = ("int8", "int16x8")
OPTIONS: Final = ("keep_float", "max_float_layers", "correct_bias")
_MEASURED = 8
"""Samples that errors of layers are measured on: each holds the model's every tensor."""


@dataclass(frozen=True, slots=True)
class _Made:
    content: bytes
    notes: tuple[str, ...] = ()
    layers: Mapping[str, float] = field(default_factory=dict)


def _fp32(request: ConvertRequest, source: Source, samples: Samples) -> _Made:
    return _Made(_flatbuffer(request, source))


def _fp16(request: ConvertRequest, source: Source, samples: Samples) -> _Made:
    notes = ("weights in float16; inputs, outputs and, on the CPU, arithmetic in float32",)
    return _Made(_flatbuffer(request, source, half=True), notes)


def _dynamic(request: ConvertRequest, source: Source, samples: Samples) -> _Made:
    from edgeai_tflite.layers import Layers
    from edgeai_tflite.quantise import FloatModel

    model = FloatModel(_flatbuffer(request, source))
    scopes, kept = Scopes(source), layer_names(request.options, "keep_float")
    layers = Layers(scopes, model.operations, scopes.givers(request))
    layers.check(kept, "keep_float")
    request.progress("quantising the weights")
    depthwise = any(one.kind == "DEPTHWISE_CONV_2D" for one in model.operations)
    more = "; depthwise convolutions in float" if depthwise else ""
    notes = (f"weights in int8 per channel, activations quantised as they come{more}",)
    return _Made(model.dynamic(layers.scopes_of(kept)), notes + _kept_note(kept))


def _int8(request: ConvertRequest, source: Source, samples: Samples) -> _Made:
    return _static(request, source, samples, 8)


def _int16x8(request: ConvertRequest, source: Source, samples: Samples) -> _Made:
    return _static(request, source, samples, 16)


PRECISIONS: Mapping[str, Callable[[ConvertRequest, Source, Samples], _Made]] = {
    "fp32": _fp32,
    "fp16": _fp16,
    "dynamic": _dynamic,
    "int8": _int8,
    "int16x8": _int16x8,
}
"""Precision -> how it is made. The spec's ``precisions`` are these."""


def convert(request: ConvertRequest) -> Converted:
    """Write ``model.tflite`` below ``request.output``.

    The one signature, ``serving_default``, has the names asked for, its tensors are float32 whatever is inside.
    An extent of ``None`` stays open. The same request gives the same bytes in a fresh process.

    Raises:
        ConversionFailed: with TensorFlow's own words, and the layer they speak of where they name one; or
            ``convert.calibration-missing``, ``convert.calibration-invalid``, ``convert.quantisation-drop``.
    """
    check(request, "tflite", precisions=PRECISIONS, options=OPTIONS)
    samples = check_calibration(request, calibrated=CALIBRATED)
    source = read(request)
    made = PRECISIONS[request.precision](request, source, samples)
    artifact = request.output / "model.tflite"
    artifact.write_bytes(made.content)
    return Converted(artifact=artifact, notes=(*source.notes, *made.notes), layers=made.layers)


def _flatbuffer(request: ConvertRequest, source: Source, *, half: bool = False) -> bytes:
    import tensorflow as tf

    try:
        converter: Any = tf.lite.TFLiteConverter.from_concrete_functions(
            [source.function.get_concrete_function()], source.module
        )
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())
    except Exception as error:  # the converter raises many kinds, none documented
        raise failed(request, source, error, f"TensorFlow {tf.__version__}") from error


def _static(request: ConvertRequest, source: Source, samples: Samples, activation_bits: int) -> _Made:
    """Integers inside, float32 at the border; as many layers in float as the recipe names and ``max_drop`` asks for."""
    from edgeai_tflite.correction import correct
    from edgeai_tflite.layers import Layers, as_infer, errors, hold, worst_first
    from edgeai_tflite.quantise import FloatModel

    named = layer_names(request.options, "keep_float")
    most = whole_number(request.options, "max_float_layers", 8)
    correcting = true_or_false(request.options, "correct_bias")
    model = FloatModel(_flatbuffer(request, source))
    scopes = Scopes(source)
    layers = Layers(scopes, model.operations, scopes.givers(request))
    layers.check(named, "keep_float")
    _refuse_loops(request, model.control_flow, layers)
    request.progress("calibrating")
    some = samples.first(_MEASURED)
    try:
        model.calibrate(samples, activation_bits=activation_bits)

        changes: dict[str, float] = {}  # of the biases of what was quantised last

        def quantised(kept: Any) -> bytes:
            made = model.static(activation_bits, layers.scopes_of((*named, *kept)))
            if correcting:
                request.progress("correcting biases")
                made, corrected = correct(made, model.content, samples)
                if not corrected:
                    raise _no_bias(request)
                changes.update(corrected)
            return made

        left_in_float: tuple[str, ...] = ()
        if request.score is not None and request.max_drop is not None:
            score = request.score
            request.progress("scoring")
            content, left_in_float = hold(
                request,
                quantised,
                lambda made: score(as_infer(made, request)),
                parent=score(as_infer(model.content, request)),
                ranked=lambda: worst_first(model, layers, some, activation_bits=activation_bits),
                most=most,
            )
        else:
            content = quantised(())
        _refuse_floats(request, content, (*named, *left_in_float))
        as_infer(content, request)(some[0])  # LiteRT refuses some of what its quantiser makes
        request.progress("measuring the error of each layer")
        measured = errors(content, model, layers, some)
    except (ValueError, RuntimeError, NotImplementedError, KeyError, TypeError) as error:
        raise failed(request, source, error, "LiteRT's quantiser") from error
    notes = (
        samples.note,
        *_kept_note((*named, *left_in_float)),
        *_left_note(content, layers, (*named, *left_in_float)),
        *_corrected_note(changes, layers),
    )
    return _Made(content, notes, measured)


def _refuse_loops(request: ConvertRequest, scopes: tuple[str, ...], layers: Any) -> None:
    """A recurrent layer becomes a loop, whose inside no calibration sees."""
    if scopes:
        name = next((layers.scopes.main(scope) for scope in scopes if layers.scopes.main(scope)), scopes[0])
        raise ConversionFailed(
            f"{request.model.name}: {request.precision} cannot quantise layer {name!r}: it runs as a loop, whose "
            "activations cannot be calibrated",
            code="convert.layer-unsupported",
            remedy=f"use dynamic or fp16, or build {name!r} with unroll=True",
        )


def _refuse_floats(request: ConvertRequest, content: bytes, kept: tuple[str, ...]) -> None:
    """An artifact must be what its precision says, in one operation at least."""
    from edgeai_tflite.quantise import operations_of

    if not any(one.kind == "QUANTIZE" for one in operations_of(content)):
        raise ConversionFailed(
            f"{request.model.name}: nothing of it is left to be {request.precision}; "
            f"in float: {', '.join(kept) or 'all'}",
            code="convert.quantisation-drop",
            remedy="use fp16; or calibrate on more samples, or allow a greater drop",
        )


def _no_bias(request: ConvertRequest) -> ConversionFailed:
    return ConversionFailed(
        f"{request.model.name}: correct_bias = true, and no layer before an output has a bias",
        code="convert.options",
        remedy="leave correct_bias out, or give the last layer a bias (use_bias=True)",
    )


def _corrected_note(changes: Mapping[str, float], layers: Any) -> tuple[str, ...]:
    """Of which layers the biases were corrected, and how much that moves an answer before its activation."""
    told = [
        f"{layers.name(one)} by up to {changes[one.output]:.3g}" for one in layers.operations if one.output in changes
    ]
    return (f"biases corrected on the calibration samples: {', '.join(told)}",) if told else ()


def _kept_note(names: tuple[str, ...]) -> tuple[str, ...]:
    return (f"kept in float: {', '.join(dict.fromkeys(names))}",) if names else ()


def _left_note(content: bytes, layers: Any, kept: tuple[str, ...]) -> tuple[str, ...]:
    """What is in float without having been asked for: kinds that the quantiser has no integer form of."""
    from edgeai_tflite.quantise import in_float

    wanted = layers.scopes_of(kept)
    left = {scope for scope in in_float(content) if scope not in wanted}
    kinds = sorted({one.kind for one in layers.operations if one.scope in left})
    return (f"in float, for want of an integer form: {', '.join(kinds)}",) if kinds else ()
