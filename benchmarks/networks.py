"""Networks that are measured, as bundles with untrained weights: speed does not depend on what the weights are.

``small`` has three convolutions, as the small X-ray models have; ``mobilenet`` is MobileNetV2, the usual size for
ultrasound; ``unet`` is a U-Net of 256 pixels a side. ``-int8`` behind a name: quantised, for OpenVINO alone;
``-guarded``: with the look at the content in front.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgeai.bundle.manifest import ArtifactDecl, TensorDecl

SIDE = 224
UNET_SIDE = 256
LABELS = ["a", "b", "c"]
INT8 = "-int8"
GUARDED = "-guarded"
_CALIBRATING = 8
_CLASSIFY = {"mode": "multi-class", "activation": "softmax", "labels": LABELS, "per_frame": True}
_SEGMENT = {"labels": ["bright"], "activation": "sigmoid"}


@dataclass(frozen=True, slots=True)
class Network:
    """A network of one input and one output, and the task that reads it."""

    layers: Callable[[Any], Any]
    side: int
    task: str
    options: dict[str, Any]
    layout: str


def built(folder: Path, name: str) -> Path:
    """The bundle, made once, in a process of its own: TensorFlow's threads and memory are gone before measuring."""
    path = folder / f"{name}-1.0.0.edgeai"
    if not path.exists():
        write = "import pathlib, sys; from benchmarks import networks; "
        write += "networks.write_bundle(pathlib.Path(sys.argv[1]), sys.argv[2])"
        subprocess.run([sys.executable, "-c", write, str(folder), name], check=True, capture_output=True)
    return path


def write_bundle(folder: Path, name: str) -> Path:
    """The network as a bundle with an artifact for LiteRT and for OpenVINO, float32; or one for OpenVINO in int8."""
    import keras

    from edgeai.bundle.archive import pack
    from edgeai.bundle.manifest import (
        FrameUse,
        Manifest,
        PixelUse,
        TaskUse,
        TensorDecl,
        TransformStep,
        at_lowest_schema,
    )
    from edgeai.bundle.uses import GuardUse

    network = NETWORKS[name.removesuffix(INT8).removesuffix(GUARDED)]
    keras.utils.set_random_seed(0)
    image = keras.Input((network.side, network.side, 1), batch_size=1, name="image")
    model = keras.Model(image, network.layers(image))
    model.save(folder / f"{name}.keras")
    inputs = TensorDecl(name="image", dtype="float32", shape=tuple(image.shape), layout="NHWC")
    outputs = TensorDecl(name="logits", dtype="float32", shape=tuple(model.output.shape), layout=network.layout)
    extent = {"rows": network.side, "columns": network.side, "two_pass": True, "margin": 1}
    manifest = Manifest(
        name=name,
        version="1.0.0",
        release=1,
        min_edgeai="0.1",
        intended_use="Measuring speed; the weights are untrained.",
        licence="Apache-2.0",
        plugins=("transforms", network.task),
        pixels=PixelUse(fast=("luma", "smallest")),
        frames=FrameUse(select="all"),
        transforms=(
            TransformStep(transform="grey"),
            TransformStep(transform="letterbox", options=extent),
            TransformStep(transform="invert"),
            TransformStep(transform="window", options={"mode": "percentile", "output": "unit"}),
        ),
        task=TaskUse(name=network.task, options=network.options),
        inputs=(inputs,),
        outputs=(outputs,),
        guard=GuardUse() if name.endswith(GUARDED) else None,
        artifacts=tuple(_artifacts(folder, name, inputs, outputs)),
    )
    path = folder / f"{name}-1.0.0.edgeai"
    pack(folder / name, at_lowest_schema(manifest), path)
    return path


def _artifacts(folder: Path, name: str, inputs: TensorDecl, outputs: TensorDecl) -> Iterator[ArtifactDecl]:
    from edgeai.api import ConvertRequest
    from edgeai.bundle.manifest import ArtifactDecl
    from edgeai.plugins import Registry

    precision, backends = ("int8", ("openvino",)) if name.endswith(INT8) else ("fp32", ("tflite", "openvino"))
    registry = Registry.of(["tflite", "openvino"])
    rng = np.random.default_rng(0)
    for backend in backends:
        where = folder / name / backend
        where.mkdir(parents=True)
        request = ConvertRequest(
            model=folder / f"{name}.keras",
            output=where,
            precision=precision,
            inputs=(inputs.spec(),),
            outputs=(outputs.spec(),),
            calibration=lambda: (
                {"image": rng.random([size or 1 for size in inputs.shape], np.float32)} for _ in range(_CALIBRATING)
            ),
        )
        converted = registry.converters[backend].convert(request)
        yield ArtifactDecl(
            id=f"{backend}-{precision}",
            format=backend,
            precision=precision,
            path=str(converted.artifact.relative_to(folder / name)),
            options=dict(converted.options),
        )


def _small(image: Any) -> Any:
    from keras import layers

    x = image
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(len(LABELS), name="logits")(x)


def _mobilenet(image: Any) -> Any:
    import keras

    body = keras.applications.MobileNetV2(input_tensor=image, weights=None, include_top=False, pooling="avg")
    return keras.layers.Dense(len(LABELS), name="logits")(body.output)


def _unet(image: Any) -> Any:
    """16 channels at the top, four levels, two convolutions a level.

    Untrained it would answer noise, whose outline is no outline of anything: so what it says is bright where the image
    is, in earnest, and a little of its own.
    """
    from keras import initializers, layers

    x, skips = image, []
    for width in (16, 32, 64, 128):
        x = _twice(x, width)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = _twice(x, 256)
    for skip in reversed(skips):
        width = skip.shape[-1]
        x = _twice(layers.Concatenate()([skip, layers.Conv2DTranspose(width, 2, strides=2)(x)]), width)
    own = layers.Conv2D(1, 1, kernel_initializer=initializers.RandomUniform(-0.05, 0.05, seed=0))(x)
    return layers.Add(name="logits")([own, layers.Rescaling(12.0, -6.0)(image)])


def _twice(x: Any, width: int) -> Any:
    from keras import layers

    for _ in range(2):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return x


NETWORKS = {
    "small": Network(_small, SIDE, "classify", _CLASSIFY, "NC"),
    "mobilenet": Network(_mobilenet, SIDE, "classify", _CLASSIFY, "NC"),
    "unet": Network(_unet, UNET_SIDE, "segment", _SEGMENT, "NHWC"),
}
