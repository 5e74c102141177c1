"""The main graph of a ``.tflite`` that is changed after it was made: what computes a tensor, and new constants."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from edgeai.api import Array

_PLACES: Final = {"CONV_2D": (0, 2), "DEPTHWISE_CONV_2D": (0, 2), "FULLY_CONNECTED": (0, 2), "TRANSPOSE_CONV": (2, 3)}
"""Operation with a kernel -> where its input and its bias stand; the kernel stands second."""
_BORDERS: Final = ("QUANTIZE", "DEQUANTIZE")


class Graph:
    """Read with LiteRT's own tools. Tensors go by their number, and operators are the schema's objects."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.tools import flatbuffer_utils

        self._tools: Any = flatbuffer_utils
        self._model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        self._graph: Any = self._model.subgraphs[0]
        self.operators: tuple[Any, ...] = tuple(self._graph.operators)
        self.outputs: tuple[int, ...] = tuple(self._graph.outputs)
        self._producers = {number: one for one in self.operators for number in one.outputs}
        self._numbers = {tensor.name: number for number, tensor in enumerate(self._graph.tensors)}

    def content(self) -> bytes:
        """The file, with what was put into it; the same changes of the same file give the same bytes."""
        return bytes(self._tools.convert_object_to_bytearray(self._model))

    def kind(self, operator: Any) -> str:
        """As TensorFlow Lite names it, ``CONV_2D``."""
        return str(self._tools.opcode_to_name(self._model, operator.opcodeIndex))

    def name(self, operator: Any) -> str:
        """Of its first output tensor; empty where it has none."""
        return str(self._graph.tensors[operator.outputs[0]].name.decode()) if len(operator.outputs) else ""

    def producer(self, tensor: int | str) -> Any | None:
        """The operator that computes a tensor, before what only changes how numbers are held; ``None``: none does."""
        number = self._numbers.get(tensor.encode(), -1) if isinstance(tensor, str) else tensor
        operator = self._producers.get(number)
        while operator is not None and self.kind(operator) in _BORDERS:
            operator = self._producers.get(operator.inputs[0])
        return operator

    def input(self, operator: Any) -> int:
        """The tensor that an operator with a kernel takes, beside its constants."""
        return int(operator.inputs[_PLACES[self.kind(operator)][0]])

    def kernel(self, operator: Any) -> int:
        """The tensor of its weights."""
        return int(operator.inputs[1])

    def bias(self, operator: Any) -> int | None:
        """The constant tensor of its bias; ``None`` where there is none."""
        place = _PLACES.get(self.kind(operator), (0, len(operator.inputs)))[1]
        number = operator.inputs[place] if place < len(operator.inputs) else -1
        return int(number) if number >= 0 and self.is_constant(number) else None

    def is_constant(self, tensor: int) -> bool:
        """Whether the file holds its values."""
        data = self._model.buffers[self._graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def scales(self, tensor: int) -> Array | None:
        """(n,) float64: the steps of its integers, n of one or of its channels; ``None`` where it holds floats."""
        parameters = self._graph.tensors[tensor].quantization
        steps = None if parameters is None else parameters.scale
        return None if steps is None or len(steps) == 0 else np.asarray(steps, np.float64)

    def channels(self, tensor: int) -> int:
        """The axis along which ``scales`` go."""
        return int(self._graph.tensors[tensor].quantization.quantizedDimension)

    def values(self, tensor: int) -> Array:
        """A constant as it is held, in its own type and shape."""
        one = self._graph.tensors[tensor]
        data = bytes(self._model.buffers[one.buffer].data)
        return np.frombuffer(data, _type(one.type)).reshape(one.shape)

    def put(self, tensor: int, values: Array, scales: Array | None = None) -> None:
        """Another constant of the same type and shape, and other steps; no other tensor sees it."""
        from ai_edge_litert import schema_py_generated as schema

        one = self._graph.tensors[tensor]
        if sum(other.buffer == one.buffer for other in self._graph.tensors) > 1:
            self._model.buffers.append(schema.BufferT())
            one.buffer = len(self._model.buffers) - 1
        data = np.ascontiguousarray(values, _type(one.type)).tobytes()
        self._model.buffers[one.buffer].data = np.frombuffer(data, np.uint8)
        if scales is not None:
            one.quantization.scale = [float(step) for step in np.asarray(scales, np.float32)]


def _type(code: int) -> type[np.generic]:
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.TensorType
    known: dict[int, type[np.generic]] = {
        kinds.FLOAT32: np.float32,
        kinds.INT8: np.int8,
        kinds.INT32: np.int32,
        kinds.INT64: np.int64,
    }
    return known[code]
