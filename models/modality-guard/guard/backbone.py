"""The first blocks of MobileNetV2, read out of the data kit's quantised TFLite file into Keras layers.

What a few thousand images of a few scanners cannot teach (edges, textures, letters, speckle as such) is taken from a
network trained on photographs: TensorFlow's hosted MobileNetV2 1.0 224 (Sandler et al. 2018), Apache-2.0. Its batch
norms are folded already; its weights come as 8-bit numbers with a scale, and become float32 here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from keras import layers

FILE = Path("models") / "mobilenet_v2_1.0_224_quant.tflite"
"""In the data kit."""


class _Reader:
    """Builds Keras layers in the order of the file's operations."""

    def __init__(self, path: Path, image: keras.KerasTensor) -> None:
        self._interpreter = Interpreter(str(path))
        self._details = {item["index"]: item for item in self._interpreter.get_tensor_details()}
        # The photographs were scaled to -1..1.
        self._tensors = {self._interpreter.get_input_details()[0]["index"]: layers.Rescaling(2.0, -1.0)(image)}

    def after(self, wanted: int) -> keras.KerasTensor:
        """What the first layer after block ``wanted`` gives; block 0 is the first that ends in a linear convolution.

        That layer widens the planes before the next block's depthwise convolution.
        """
        ended = 0
        for operation in self._interpreter._get_ops_details():
            made, is_end = self._layer(operation["op_name"], operation["inputs"], operation["outputs"][0])
            self._tensors[operation["outputs"][0]] = made
            if ended > wanted and operation["op_name"] != "ADD":
                return made
            ended += is_end
        raise ValueError(f"{FILE} has no block {wanted + 1}")

    def _layer(self, kind: str, inputs: Any, output: int) -> tuple[keras.KerasTensor, bool]:
        if kind == "ADD":
            return layers.Add()([self._tensors[number] for number in inputs[:2]]), False
        source = self._tensors[inputs[0]]
        weights, bias = self._constant(inputs[1]).transpose(1, 2, 3, 0), self._constant(inputs[2])
        size = int(weights.shape[0])
        stride = int(self._details[inputs[0]]["shape"][1] // self._details[output]["shape"][1])
        if kind == "DEPTHWISE_CONV_2D":
            layer: Any = layers.DepthwiseConv2D(size, strides=stride, padding="same")
        else:
            if weights.shape[2] == 3:  # one grey plane instead of three equal ones
                weights = weights.sum(axis=2, keepdims=True)
            layer = layers.Conv2D(int(weights.shape[3]), size, strides=stride, padding="same")
        made = layer(source)
        layer.set_weights([weights, bias])
        # An output that begins at zero was clipped there: ReLU6 is fused into the operation.
        if self._details[output]["quantization_parameters"]["zero_points"][0] == 0:
            return layers.ReLU(6.0)(made), False
        return made, True

    def _constant(self, number: int) -> npt.NDArray[np.float32]:
        scale = self._details[number]["quantization_parameters"]
        stored = self._interpreter.get_tensor(number).astype(np.float32)
        return np.asarray((stored - scale["zero_points"][0]) * scale["scales"][0], np.float32)


def widened(path: Path, rows: int, columns: int, last: int) -> keras.Model:
    """Image in 0 to 1 -> what the layer after block ``last`` makes of it."""
    image = keras.Input((rows, columns, 1), name="image")
    return keras.Model(image, _Reader(path, image).after(last), name="trunk")
