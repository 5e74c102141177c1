"""What structured pruning saves on the clock: half of the floating-point operations, float32, one thread.

Weights are untrained: which channels go does not change how long what is left takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Row, paired
from edgeai.api import CompressRequest, ConvertRequest, Objective, OpenRequest, Session, TensorSpec
from edgeai.plugins import Registry

SHARE = 0.5
BOUND = 1.6
"""How many times faster a model with half of the operations has to be."""
ENGINES = ("tflite", "openvino")


def pruning(folder: Path, bundle: Path, rounds: int) -> Iterator[Row]:
    """A U-Net and a plain CNN, by both ways of sharing out what goes, on both engines."""
    registry = Registry.of(["keras", *ENGINES])
    for name, build in MODELS.items():
        parent = folder / f"{name}.keras"
        image, answer = _written(build(), parent)
        for scope in ("global", "layer"):
            small = registry.compressors["prune-channels"].compress(
                CompressRequest(
                    model=parent,
                    output=folder / f"{name}-{scope}.keras",
                    objective=Objective(loss="mean-squared-error"),
                    options={"flops": SHARE, "scope": scope},
                )
            )
            left = small.facts["flops"] / small.facts["flops_before"]
            for engine in ENGINES:
                ours = _opened(registry, engine, small.model, folder / f"{engine}-{name}-{scope}", image, answer)
                limit = _opened(registry, engine, parent, folder / f"{engine}-{name}-{scope}-parent", image, answer)
                inputs = {image.name: np.random.default_rng(0).random([size or 1 for size in image.shape], np.float32)}
                taken = paired(lambda: ours.run(inputs), lambda: limit.run(inputs), rounds=rounds)  # noqa: B023
                low, high = taken.spread
                yield Row(
                    case=f"pruning {name}, {scope}, {engine}",
                    ours=f"{taken.ours_ms:.2f} ms at {left:.1%} of the FLOPs",
                    limit=f"{taken.limit_ms:.2f} ms, the parent",
                    ratio=1 / taken.ratio,
                    spread=(1 / high, 1 / low),
                    bound=BOUND,
                    at_least=True,
                )
                ours.close()
                limit.close()


def _written(model: Any, path: Path) -> tuple[TensorSpec, TensorSpec]:
    model.save(path)
    [image], [answer] = model.inputs, model.outputs
    return (
        TensorSpec(name="image", dtype="float32", shape=(1, *image.shape[1:])),
        TensorSpec(name="answer", dtype="float32", shape=(1, *answer.shape[1:])),
    )


def _opened(
    registry: Registry, engine: str, model: Path, folder: Path, image: TensorSpec, answer: TensorSpec
) -> Session:
    folder.mkdir()
    backend = registry.backends[engine]
    converter = next(one for one in registry.converters.values() if one.artifact_format == backend.artifact_format)
    request = ConvertRequest(model=model, output=folder, precision="fp32", inputs=(image,), outputs=(answer,))
    artifact = converter.convert(request)
    return backend.open(
        OpenRequest(
            artifact=artifact.artifact,
            device="CPU",
            inputs=(image,),
            outputs=(answer,),
            threads=1,
            options=artifact.options,
        )
    )


def _unet() -> Any:
    """256 x 256, 16 channels at the top, four levels, two convolutions a level."""
    from keras import Input, Model, layers

    def twice(x: Any, width: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        return x

    x = image = Input((256, 256, 1), name="image")
    skips = []
    for width in (16, 32, 64, 128):
        x = twice(x, width)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = twice(x, 256)
    for skip in reversed(skips):
        width = skip.shape[-1]
        x = twice(layers.Concatenate()([skip, layers.Conv2DTranspose(width, 2, strides=2)(x)]), width)
    return Model(image, layers.Conv2D(1, 1, activation="sigmoid", name="answer")(x))


def _plain() -> Any:
    """224 x 224, as VGG is built, a half as wide: 32 to 256 channels, a dense head."""
    from keras import Input, Sequential, layers

    net = Sequential([Input((224, 224, 1), name="image")])
    for width, depth in ((32, 2), (64, 2), (128, 3), (256, 3)):
        for _ in range(depth):
            net.add(layers.Conv2D(width, 3, padding="same", activation="relu"))
        net.add(layers.MaxPooling2D())
    for layer in (layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(2, name="answer")):
        net.add(layer)
    return net


MODELS: dict[str, Callable[[], Any]] = {"U-Net 256": _unet, "CNN 224": _plain}
