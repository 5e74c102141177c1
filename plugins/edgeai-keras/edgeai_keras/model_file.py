"""A ``.keras`` file as a TensorFlow function whose tensors have the names that were asked for.

What every converter from Keras begins with; a converter of your own may begin with it too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeai.api import ConversionFailed, ConvertRequest, TensorSpec
from edgeai_keras.bounds import check_values
from edgeai_keras.complaints import words
from edgeai_keras.outline import description
from edgeai_keras.precision import as_float32, precision_note
from edgeai_keras.unusable import never_built, not_loaded, refuse_not_a_number

# What a TensorFlow signature keeps as it is; other input names come back altered, or not at all (measured).
_INPUT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_OUTPUT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")

# How TensorFlow ('tf.Erfinv' op is neither a custom op nor a flex op) and OpenVINO (No conversion rule found for
# operations: Erfinv) name the kinds of operation that they lack.
_KINDS = re.compile(r"(?:'tf\.|found for operations: )(\w+(?:, \w+)*)")
_NUMBER = re.compile(r"_\d+$")


@dataclass(frozen=True, slots=True)
class Source:
    """The loaded model and the function to export.

    Attributes:
        model: the Keras model.
        function: a ``tf.function`` of fixed signature; takes and gives the request's names.
        module: what must stay alive while ``function`` is used; trackable, for a SavedModel.
        notes: what a reader of the report should know of how it was read.
    """

    model: Any
    function: Any
    module: Any
    notes: tuple[str, ...] = ()

    def layer_in(self, message: str) -> str:
        """The layer that a converter's message speaks of, or an empty string.

        Converters name the graph's node (``functional/stem/Erfinv``), or only the kind of operation.
        """
        kinds = {kind for listed in _KINDS.findall(message) for kind in re.findall(r"\w+", listed)}
        nodes = self.function.get_concrete_function().graph.get_operations()
        scopes = [node.name for node in nodes if node.type in kinds] or re.findall(r"[\w./-]+/[\w./-]+", message)
        names = {str(layer.name) for layer in self.model._flatten_layers(include_self=False)}
        parts = [part for scope in scopes for part in scope.split("/")[:-1]]
        # Keras opens a layer's scope twice, so that TensorFlow numbers the one that holds the operations.
        numbered = any(part not in names and _NUMBER.sub("", part) in names for part in parts)
        candidates = [_NUMBER.sub("", part) if numbered else part for part in parts]
        return next((name for name in candidates if name in names), "")


def check(request: ConvertRequest, by: str, *, precisions: Collection[str], options: Collection[str] = ()) -> None:
    """Refuse what can be refused before anything heavy is imported.

    Raises:
        ConversionFailed: an unknown precision or option, or a tensor name that TensorFlow would alter.
    """
    if request.precision not in precisions:
        raise ConversionFailed(
            f"{by} has no precision {request.precision!r}",
            code="convert.precision-unknown",
            remedy=f"use one of {', '.join(precisions)}",
        )
    unknown = sorted(set(request.options) - set(options))
    if unknown:
        raise ConversionFailed(
            f"{by} has no option {', '.join(unknown)}",
            code="convert.option-unknown",
            remedy=f"it takes {', '.join(options) or 'none'}",
        )
    bad = [spec.name for spec in request.inputs if not _INPUT_NAME.fullmatch(spec.name)]
    bad += [spec.name for spec in request.outputs if not _OUTPUT_NAME.fullmatch(spec.name)]
    if bad:
        raise ConversionFailed(
            f"{request.model.name}: TensorFlow cannot keep the tensor names {', '.join(map(repr, bad))}",
            code="convert.name-unusable",
            remedy="use a letter, then letters, digits and underscores",
        )


def load(path: Path) -> Any:
    """The Keras model of a ``.keras`` file, uncompiled and in float32; no code out of the file is run.

    Raises:
        ConversionFailed: ``convert.model-unreadable``, ``convert.model-too-large``, ``convert.weights-elsewhere``,
            ``convert.layer-unsafe``, ``convert.not-a-number`` or ``convert.engine-missing``.
    """
    claims = description(path)
    config = claims.config
    check_values(config, claims.values, path.name)
    keras, _ = frameworks()
    try:
        with as_float32(path, config) as readable:
            model = keras.saving.load_model(readable, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the file makes it raise
        raise not_loaded(path, keras, config, error) from error
    refuse_not_a_number(path, model)
    return model


def read(request: ConvertRequest, *, prepare: Callable[[Any, Any], Any] | None = None) -> Source:
    """Load the model without running code from the file, and give its tensors the request's names.

    Args:
        request: what to convert.
        prepare: ``(keras, model) -> model``, a change to make before tracing.

    Raises:
        ConversionFailed: not a ``.keras`` file, a Lambda layer, unknown classes, or other tensors than asked for.
    """
    model = load(request.model)
    keras, tf = frameworks()
    if prepare is not None:
        model = prepare(keras, model)
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ConversionFailed(
            never_built(request.model.name),
            code="convert.tensors-differ",
            remedy="give it a keras.Input, or call it once before it is saved",
        )
    inputs = _order(request.inputs, tensor_names(model, "input"), model.inputs, request, "input")
    outputs = _order(request.outputs, tensor_names(model, "output"), model.outputs, request, "output")
    source = _traced(keras, tf, model, request, inputs, outputs)
    note = precision_note(description(request.model).config)
    return replace(source, notes=(note,)) if note else source


def failed(request: ConvertRequest, source: Source, error: BaseException, by: str) -> ConversionFailed:
    """A converter's exception as ``ConversionFailed``, with its words and the layer it speaks of."""
    words = " ".join(str(error).split())
    layer = source.layer_in(words)
    where = f" at layer {layer!r}" if layer else ""
    words = words if len(words) <= 1500 else f"{words[:1500]} ..."
    return ConversionFailed(
        f"{request.model.name}: {by} cannot convert it{where}: {words}",
        code="convert.layer-unsupported" if layer else None,
        remedy=f"replace layer {layer!r} by one that the target can run" if layer else None,
    )


def frameworks() -> tuple[Any, Any]:
    """Keras and TensorFlow, imported now; or ``ConversionFailed``, ``convert.engine-missing``."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        import keras
        import tensorflow as tf
    except ImportError as error:
        raise ConversionFailed(
            f"TensorFlow and Keras are needed to convert: {error}",
            code="convert.engine-missing",
            remedy="install the plugin's extra: pip install 'edgeai-<name>[build]'",
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise ConversionFailed(
            f"Keras runs on {keras.backend.backend()} here",
            code="convert.engine-missing",
            remedy="set KERAS_BACKEND=tensorflow",
        )
    return keras, tf


def structure_of(model: Any, what: str) -> Any:
    """The structure of a model's ``input`` or ``output``: a symbolic tensor, or a list or dict of them."""
    keras = frameworks()[0]
    if not isinstance(model, keras.Sequential):
        return getattr(model, what)
    tensors = model.inputs if what == "input" else model.outputs  # a Sequential has lists of one, and no more
    if not tensors:
        raise ValueError(f"{model.name} was never built")
    return tensors[0]


def tensor_names(model: Any, what: str) -> list[str]:
    """The model's own names of its ``input`` or ``output`` tensors, in the order of ``model.inputs``/``.outputs``."""
    keras = frameworks()[0]
    try:
        structure = structure_of(model, what)
    except (AttributeError, ValueError):  # a subclassed model that was never called
        return []
    if isinstance(structure, dict):
        return sorted(structure)  # the order in which Keras flattens a dict
    if what == "output":
        sequential = isinstance(model, keras.Sequential)
        return [str(name) for name in ([model.layers[-1].name] if sequential else model.output_names)]
    return [str(tensor.name) for tensor in keras.tree.flatten(structure)]


def _order(
    specs: Sequence[TensorSpec], names: list[str], tensors: Any, request: ConvertRequest, what: str
) -> list[int]:
    """For each tensor asked for, its place among the model's: by name where the names are its own, else by order."""
    tensors = list(tensors or ())
    wanted = [spec.name for spec in specs]
    if len(tensors) != len(specs):
        raise _differ(request, f"the model has {len(tensors)} {what}s ({', '.join(names)}), {len(specs)} are asked for")
    order = [names.index(name) for name in wanted] if set(names) == set(wanted) else list(range(len(specs)))
    for spec, place in zip(specs, order, strict=True):
        shape = tuple(tensors[place].shape)
        fits = len(shape) == len(spec.shape) and all(
            own is None or own == want for own, want in zip(shape, spec.shape, strict=True)
        )
        # An output's batch follows the input's, so that an open one is no promise to break.
        if not fits:
            raise _differ(request, f"{what} {spec.name!r} is {shape} in the model, {spec.shape} is asked for")
    return order


def _traced(keras: Any, tf: Any, model: Any, request: ConvertRequest, inputs: list[int], outputs: list[int]) -> Source:
    model_inputs, structure = list(model.inputs), structure_of(model, "input")
    names = [spec.name for spec in request.outputs]

    def call(*arrays: Any) -> dict[str, Any]:
        flat: list[Any] = [None] * len(arrays)
        for array, place in zip(arrays, inputs, strict=True):
            flat[place] = tf.cast(array, model_inputs[place].dtype)
        results = keras.tree.flatten(model(keras.tree.pack_sequence_as(structure, flat), training=False))
        return {
            name: tf.identity(tf.cast(results[place], spec.dtype), name=_plain(name))
            for name, place, spec in zip(names, outputs, request.outputs, strict=True)
        }

    signature = [tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in request.inputs]
    function = tf.function(call, input_signature=signature, autograph=False)
    try:
        concrete = function.get_concrete_function()
    except Exception as error:  # tracing runs the model's own code
        why = words(error, {layer.name for layer in model._flatten_layers()})
        raise ConversionFailed(f"{request.model.name}: it cannot be traced: {why}") from error
    module = tf.Module()
    # The bare tf.Variables: a module that holds only the Keras model saves no values, and the converted
    # model would read uninitialised weights without a word (TensorFlow 2.21 with Keras 3.15).
    module.weights, module.serve = list(concrete.variables), function
    return Source(model, function, module)


def _plain(name: str) -> str:
    """A name that TensorFlow takes for an operation."""
    return "out_" + "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)


def _differ(request: ConvertRequest, why: str) -> ConversionFailed:
    return ConversionFailed(
        f"{request.model.name}: {why}",
        code="convert.tensors-differ",
        remedy="ask for the model's own tensors; see model.summary()",
    )
