"""How long a model takes, against another: what a latency target is measured with."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeai_keras.channels.graph import inputs_of
from edgeai_keras.frameworks import keras, tf
from edgeai_keras.model_file import structure_of

ROUNDS = 15


def ratio(smaller: Any, parent: Any) -> float:
    """Median time of one inference of ``smaller`` against that of ``parent``, batch 1, one thread, taken in turn.

    Both run as float32 LiteRT models where that is installed, else as Keras functions.
    """
    ours, theirs = timed(smaller), _of_parent(parent)
    for _ in range(3):
        theirs()
        ours()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(ROUNDS)]
    return statistics.median(own / other for own, other in pairs)


@functools.lru_cache(maxsize=1)
def _of_parent(model: Any) -> Callable[[], object]:
    """``timed``, made once for all the models that a search tries against one parent."""
    return timed(model)


def engine() -> str:
    """What ``ratio`` measures with."""
    try:
        from ai_edge_litert import interpreter  # noqa: F401
    except ImportError:
        return "Keras"
    return "LiteRT"


def timed(model: Any) -> Callable[[], object]:
    """One inference on random inputs of the model's own shapes."""
    random = np.random.default_rng(0)
    arrays = [random.random(value.shape).astype(value.dtype) for value in inputs_of(model)]

    def call(*tensors: Any) -> Any:
        return model(keras.tree.pack_sequence_as(structure_of(model, "input"), list(tensors)), training=False)

    signature = [tf.TensorSpec(array.shape, array.dtype) for array in arrays]
    function = tf.function(call, input_signature=signature, autograph=False).get_concrete_function()
    if engine() == "Keras":
        tensors = [tf.constant(array) for array in arrays]
        return lambda: keras.tree.map_structure(keras.ops.convert_to_numpy, function(*tensors))
    return _litert(function, arrays, model)


def _litert(function: Any, arrays: list[Any], model: Any) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    for detail, array in zip(_in_order(interpreter.get_input_details()), arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)
    return lambda: interpreter.invoke()


def _in_order(details: list[Any]) -> list[Any]:
    """Inputs as the function has them: their names end in the place (``serving_default_tensors_1:0``)."""
    return sorted(details, key=lambda detail: (len(detail["name"]), detail["name"]))


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
