"""The first part of MobileNetV2 as a Keras network for grey pictures, with weights of a quantised file.

The hosted ``mobilenet_v2_1.0_224_quant.tflite``, learnt on ImageNet, has its batch norms folded into the convolutions,
and so has this. Three colours of a grey picture are alike: the first kernel is summed over them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers

from edgeai.api import Array

BLOCKS = (
    *((1, 16, 1), (6, 24, 2), (6, 24, 1), (6, 32, 2), (6, 32, 1), (6, 32, 1), (6, 64, 2)),
    *((6, 64, 1), (6, 64, 1), (6, 64, 1), (6, 96, 1), (6, 96, 1), (6, 96, 1), (6, 160, 2)),
)
"""(expansion, channels, stride) of each block, to the first of 160 channels: Sandler et al., CVPR 2018, table 2."""


def backbone(*, size: int) -> keras.Model:
    """Without weights yet; to what the last block's kernels of 3 x 3 give, 576 numbers of 32 pixels a place.

    Args:
        size: rows and columns of the input, which goes from -1 to 1, as the weights were learnt.
    """
    image = keras.Input((size, size, 1), name="image")
    x: Any = _rounded(layers.Conv2D(32, 3, strides=2, padding="same", name="stem")(image), "stem")
    for number, (expansion, channels, stride) in enumerate(BLOCKS):
        before, x = x, _seen(x, number, expansion, stride)
        if number < len(BLOCKS) - 1:
            x = _added(before, x, number, channels, stride)
    return keras.Model(image, x, name="backbone", trainable=False)


def give_weights(model: keras.Model, file: Path) -> None:
    """The file's weights to the layers of ``backbone``."""
    tensors, known = _read(file), {layer.name for layer in model.layers}
    kernel, bias = tensors["MobilenetV2/Conv"]
    model.get_layer("stem").set_weights([kernel.sum(axis=2, keepdims=True), bias])
    for number in range(len(BLOCKS)):
        scope = "MobilenetV2/expanded_conv" + (f"_{number}" if number else "")
        for part in ("expand", "depthwise", "project"):
            name = f"block_{number}_{part}"
            if name in known:
                model.get_layer(name).set_weights(list(tensors[f"{scope}/{part}"]))


def _seen(x: Any, number: int, expansion: int, stride: int) -> Any:
    name = f"block_{number}"
    if expansion > 1:
        x = _rounded(layers.Conv2D(expansion * int(x.shape[-1]), 1, name=f"{name}_expand")(x), f"{name}_expand")
    across = layers.DepthwiseConv2D(3, strides=stride, padding="same", name=f"{name}_depthwise")
    return _rounded(across(x), f"{name}_depthwise")


def _added(before: Any, x: Any, number: int, channels: int, stride: int) -> Any:
    x = layers.Conv2D(channels, 1, name=f"block_{number}_project")(x)
    same = stride == 1 and int(before.shape[-1]) == channels
    return layers.Add(name=f"block_{number}_add")([before, x]) if same else x


def _rounded(x: Any, name: str) -> Any:
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _read(file: Path) -> dict[str, tuple[Array, Array]]:
    """Scope -> (kernel, bias) in float, the kernel as Keras has it."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(file), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    kernels, biases = {}, {}
    for detail in interpreter.get_tensor_details():
        name, where = str(detail["name"]), detail["quantization_parameters"]
        if not name.endswith(("/weights_quant/FakeQuantWithMinMaxVars", "_Fold_bias")):
            continue
        value = interpreter.get_tensor(detail["index"]).astype(np.float32)
        value = (value - np.float32(where["zero_points"][0])) * np.float32(where["scales"][0])
        if name.endswith("_bias"):
            biases[name.rpartition("/")[0]] = value
        else:  # of LiteRT: out or 1, rows, columns, in; of a depthwise one what it gives is last as well
            kernels[name.partition("/weights_quant")[0]] = value.transpose(1, 2, 3, 0)
    return {scope: (kernel, biases[scope]) for scope, kernel in kernels.items() if scope in biases}
