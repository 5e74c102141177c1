"""Networks that are measured, as bundles with untrained weights: speed does not depend on what the weights are.

``small`` has three convolutions, as the small X-ray models have; ``mobilenet`` is MobileNetV2, the usual size for
ultrasound; ``unet`` is a U-Net of 256 pixels a side. ``-int8`` behind a name: quantised, for OpenVINO alone;
``-content``, ``-model`` and ``-distance``: for LiteRT alone, with that guard and no other. ``gate`` is the model of
``-model``, small as such a one would be.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgeai.bundle.manifest import ArtifactDecl, TensorDecl
    from edgeai.bundle.uses import GuardUse

SIDE = 224
UNET_SIDE = 256
GATE_SIDE = 128
LABELS = ["a", "b", "c"]
INT8 = "-int8"
CONTENT, MODEL, DISTANCE = "content", "model", "distance"
GUARDS = (CONTENT, MODEL, DISTANCE)
_CALIBRATING = 8
_CLASSIFY = {"mode": "multi-class", "activation": "softmax", "labels": LABELS, "per_frame": True}
_SEGMENT = {"labels": ["bright"], "activation": "sigmoid"}


@dataclass(frozen=True, slots=True)
class Network:
    """A network of one input and one output, and the task that reads it; ``watched``: the last layer with a plane."""

    layers: Callable[[Any], Any]
    side: int
    task: str
    options: dict[str, Any]
    layout: str
    watched: str = ""


def built(folder: Path, name: str) -> Path:
    """The bundle, made once, in a process of its own: TensorFlow's threads and memory are gone before measuring."""
    path = folder / f"{name}-1.0.0.edgeai"
    if not path.exists():
        write = "import pathlib, sys; from benchmarks import networks; "
        write += "networks.write_bundle(pathlib.Path(sys.argv[1]), sys.argv[2])"
        subprocess.run([sys.executable, "-c", write, str(folder), name], check=True, capture_output=True)
    return path


def write_bundle(folder: Path, name: str) -> Path:
    """The network as a bundle with an artifact for LiteRT and for OpenVINO, float32; or for one of the two.

    In int8 it is for OpenVINO alone, behind a guard for LiteRT alone.
    """
    from edgeai.bundle.archive import pack
    from edgeai.bundle.manifest import FrameUse, Manifest, PixelUse, at_lowest_schema

    plain, _, more = name.partition("-")
    network, root = NETWORKS[plain], folder / name
    if f"-{more}" == INT8:
        parts = _parts(network, root, backends=("openvino",), precision="int8")
    elif more:
        parts = _parts(network, root, backends=("tflite",), watched=more == DISTANCE)
    else:
        parts = _parts(network, root, backends=("tflite", "openvino"))
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
        guard=_guard(more, root, parts),
        **parts,
    )
    path = folder / f"{name}-1.0.0.edgeai"
    pack(root, at_lowest_schema(manifest), path)
    return path


def _parts(
    network: Network,
    root: Path,
    within: str = "",
    *,
    backends: tuple[str, ...],
    precision: str = "fp32",
    watched: bool = False,
) -> dict[str, Any]:
    """What a manifest, or its guard's model, says of a network whose artifacts are written to ``root / within``.

    ``watched``: with one more output, as the compressor ``watch`` adds it.
    """
    import keras

    from edgeai.bundle.manifest import TaskUse, TensorDecl, TransformStep
    from edgeai_keras.watch import FEATURES, Watched

    keras.utils.set_random_seed(0)
    image = keras.Input((network.side, network.side, 1), batch_size=1, name="image")
    model = keras.Model(image, network.layers(image))
    inputs = TensorDecl(name="image", dtype="float32", shape=tuple(image.shape), layout="NHWC")
    outputs = [TensorDecl(name="logits", dtype="float32", shape=tuple(model.output.shape), layout=network.layout)]
    if watched:
        seen = Watched(model, (network.watched,))
        model = seen.model
        outputs.append(TensorDecl(name=FEATURES, dtype="float32", shape=(1, seen.width)))
    extent = {"rows": network.side, "columns": network.side, "two_pass": True, "margin": 1}
    return {
        "task": TaskUse(name=network.task, options=network.options),
        "transforms": (
            TransformStep(transform="grey"),
            TransformStep(transform="letterbox", options=extent),
            TransformStep(transform="invert"),
            TransformStep(transform="window", options={"mode": "percentile", "output": "unit"}),
        ),
        "inputs": (inputs,),
        "outputs": tuple(outputs),
        "artifacts": tuple(_artifacts(model, root, within, inputs, outputs, backends, precision)),
    }


def _artifacts(
    model: Any,
    root: Path,
    within: str,
    inputs: TensorDecl,
    outputs: list[TensorDecl],
    backends: tuple[str, ...],
    precision: str,
) -> Iterator[ArtifactDecl]:
    from edgeai.api import ConvertRequest
    from edgeai.bundle.manifest import ArtifactDecl
    from edgeai.plugins import Registry

    registry = Registry.of(["tflite", "openvino"])
    rng = np.random.default_rng(0)
    for backend in backends:
        where = root / within / backend
        where.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as name:
            source = Path(name) / "model.keras"
            model.save(source)
            request = ConvertRequest(
                model=source,
                output=where,
                precision=precision,
                inputs=(inputs.spec(),),
                outputs=tuple(output.spec() for output in outputs),
                calibration=lambda: (
                    {"image": rng.random([size or 1 for size in inputs.shape], np.float32)} for _ in range(_CALIBRATING)
                ),
            )
            converted = registry.converters[backend].convert(request)
        yield ArtifactDecl(
            id=f"{backend}-{precision}",
            format=backend,
            precision=precision,
            path=str(converted.artifact.relative_to(root)),
            options=dict(converted.options),
        )


def _guard(kind: str, root: Path, parts: dict[str, Any]) -> GuardUse | None:
    """That guard alone, which lets everything pass: what it says follows from the weights, and these are of nothing."""
    from edgeai.bundle.uses import DistanceUse, GuardModel, GuardUse

    if kind == CONTENT:
        return GuardUse()
    if kind == MODEL:
        standing = _parts(NETWORKS["gate"], root, "guard/", backends=("tflite",))
        return GuardUse(content=False, model=GuardModel(admit=tuple(LABELS), min_score=0.0, **standing))
    if kind == DISTANCE:
        [_, features], [artifact] = parts["outputs"], parts["artifacts"]
        where = "guard/distance.npz"
        _write_fit(root / where, artifact.id, features.shape[1])
        use = DistanceUse(output=features.name, method="mahalanobis", parameters=where, threshold=1.0, true_accept=0.99)
        return GuardUse(content=False, distance=use)
    return None


def _write_fit(path: Path, artifact: str, width: int) -> None:
    """As many directions as a build keeps at most, of features that are no further away than is allowed."""
    from edgeai.model.distance import Fit, fit_arrays
    from edgeai_workbench.distances import MOST_AXES

    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(width, MOST_AXES)))[0]
    fit = Fit(centre=np.zeros(width), axes=axes, spread=np.full(MOST_AXES + 1, 1e6), bound=1.0)
    path.parent.mkdir()
    np.savez(path, **fit_arrays(artifact, fit))


def _small(image: Any) -> Any:
    from keras import layers

    x = image
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv_{filters}")(x)
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
    "small": Network(_small, SIDE, "classify", _CLASSIFY, "NC", watched="conv_64"),
    "mobilenet": Network(_mobilenet, SIDE, "classify", _CLASSIFY, "NC", watched="out_relu"),
    "gate": Network(_small, GATE_SIDE, "classify", _CLASSIFY, "NC"),
    "unet": Network(_unet, UNET_SIDE, "segment", _SEGMENT, "NHWC"),
}
