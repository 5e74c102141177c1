"""The networks that our users start from, on every engine: what converts and opens must answer as Keras does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.api import Array, ConvertRequest, OpenRequest, Tensors, TensorSpec
from edgeai.plugins import Registry
from edgeai.testing.require import require
from edgeai_workbench.drawings import chest, head

keras = pytest.importorskip("keras")
architectures = pytest.importorskip("edgeai_keras.architectures")

SEEDS: dict[str, tuple[str, dict[str, Any]]] = {
    "cnn-28-sigmoid": ("cnn", {"size": 28, "filters": (32, 64), "labels": 1, "head": "sigmoid"}),
    "cnn-32-softmax": ("cnn", {"size": 32, "channels": 3, "filters": (32, 64, 64), "labels": 4, "head": "softmax"}),
    "cnn-150-sigmoid": ("cnn", {"size": 150, "channels": 3, "filters": (16, 32, 64), "labels": 1, "head": "sigmoid"}),
    "cnn-224-softmax": ("cnn", {"size": 224, "filters": (8, 16, 32), "units": 16, "head": "softmax"}),
    "cnn-28-logits": ("cnn", {"size": 28, "filters": (8, 16), "batch_norm": True, "dropout": 0.4}),
    "autoencoder": ("autoencoder", {"size": 64}),
    "rnn": ("rnn", {}),
    "unet": ("unet", {"size": 64, "filters": 8, "depth": 2, "head": "sigmoid"}),
    "unet-upsample": ("unet", {"size": 64, "filters": 8, "depth": 2, "up": "upsample"}),
    "fcn": ("fcn", {"size": 64, "filters": (8, 16, 16)}),
    "small-cnn": ("small-cnn", {"size": 96}),
    "small-unet": ("small-unet", {"size": 96}),
}
ENGINES = {
    "tflite-fp32": ("tflite", 1e-4),
    "tflite-int8": ("tflite", 0.15),
    "openvino-fp32": ("openvino", 1e-4),
    "openvino-int8": ("openvino", 0.15),
    "gpu-fp32": ("gpu", 1e-4),
}
"""Converter and precision -> plugin, and the error that is allowed as a part of the answers' own spread."""
SLOW = {"openvino-int8", "gpu-fp32"}
ALIKE = {"cnn-28-sigmoid", "cnn-150-sigmoid", "cnn-224-softmax", "unet-upsample", "small-unet"}
"""Of the layers of others here: converted for TFLite as they are, and else only for `make torture`."""


def _marks(engine: str, name: str) -> list[pytest.MarkDecorator]:
    more = engine != "tflite-fp32" and name in ALIKE
    more |= engine == "gpu-fp32" and name not in ("cnn-28-logits", "rnn")  # it runs what Keras itself saves
    return [pytest.mark.slow] * (engine in SLOW) + [pytest.mark.torture] * more


CASES = [pytest.param(engine, name, marks=_marks(engine, name)) for engine in ENGINES for name in SEEDS]


@dataclass(frozen=True, kw_only=True)
class Seed:
    """An untrained network, saved, with what it answers."""

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    images: Array
    answers: Array


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.of(sorted({plugin for plugin, _ in ENGINES.values()}))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Seed]:
    made: dict[str, Seed] = {}
    folder = tmp_path_factory.mktemp("seeds")

    def seed(name: str) -> Seed:
        if name not in made:
            made[name] = _seed(name, folder / f"{name}.keras")
        return made[name]

    return seed


def _seed(name: str, path: Path) -> Seed:
    kind, options = SEEDS[name]
    keras.utils.set_random_seed(11)
    model = architectures.build(kind, **options)
    images = _images(*model.input_shape[1:])
    _make_sure(model, images)
    model.save(path)
    shape = model.input_shape[1:]
    return Seed(
        path=path,
        inputs=(TensorSpec(name="image", dtype="float32", shape=(1, *shape), layout="NHWC"[: len(shape) + 1]),),
        outputs=(TensorSpec(name=model.output_names[0], dtype="float32", shape=(1, *model.output_shape[1:])),),
        images=images,
        answers=np.asarray(model(images, training=False)),
    )


def _make_sure(model: Any, images: Array) -> None:
    """Scale the last weights until scores spread as those of a trained model: else all answers are alike."""
    last = next(layer for layer in reversed(model.layers) if layer.weights)
    scores = np.asarray(keras.Model(model.input, last.output)(images, training=False))
    centred = scores - scores.mean()
    if getattr(last, "activation", None) is not None and last.activation.__name__ == "linear":
        weights = last.get_weights()
        last.set_weights([weights[0] * (2.0 / centred.std()), *weights[1:]])


def _images(rows: int, columns: int, channels: int = 0) -> Array:
    """Eight drawings: pictures have edges and large areas, which noise has not."""
    drawn = [draw(number, rows=rows, columns=columns) for number in range(4) for draw in (chest, head)]
    grey = np.stack(drawn).astype(np.float32) / 255
    return np.repeat(grey[..., np.newaxis], channels, axis=3) if channels else grey


def _needs(registry: Registry, plugin: str) -> None:
    require(plugin, plugin not in registry.faults, str(registry.faults.get(plugin)))
    backend = registry.backends[plugin]
    require(plugin, bool(backend.engine()), backend.explain())


def _run(registry: Registry, seed: Seed, engine: str, folder: Path) -> Iterator[tuple[str, Array]]:
    """(device, answers) of every device."""
    plugin, _ = ENGINES[engine]
    backend = registry.backends[plugin]
    converter = next(c for c in registry.converters.values() if c.artifact_format == backend.artifact_format)

    def calibration() -> Iterator[Tensors]:
        for image in seed.images:
            yield {"image": image[np.newaxis]}

    made = converter.convert(
        ConvertRequest(
            model=seed.path,
            output=folder,
            precision=engine.removeprefix(f"{plugin}-"),
            inputs=seed.inputs,
            outputs=seed.outputs,
            calibration=calibration,
        )
    )
    # The GPU backend takes CPU where it is named, though it does not offer it.
    for device in dict.fromkeys([*(offered.name for offered in backend.probe()), "CPU"]):
        session = backend.open(
            OpenRequest(
                artifact=made.artifact,
                device=device,
                inputs=seed.inputs,
                outputs=seed.outputs,
                threads=1,
                options=made.options,
            )
        )
        try:
            answers = [session.run({"image": image[np.newaxis]}) for image in seed.images]
            yield device, np.concatenate([answer[seed.outputs[0].name] for answer in answers])
        finally:
            session.close()


@pytest.mark.parametrize(("engine", "name"), CASES)
def test_every_engine_answers_as_keras_does(
    registry: Registry, seeds: Callable[[str], Seed], name: str, engine: str, tmp_path: Path
) -> None:
    plugin, allowed = ENGINES[engine]
    _needs(registry, plugin)
    seed = seeds(name)
    spread = float(np.std(seed.answers.astype(np.float64)))
    assert spread > 0
    for device, answers in _run(registry, seed, engine, tmp_path):
        assert answers.shape == seed.answers.shape
        error = float(np.sqrt(np.mean((answers - seed.answers).astype(np.float64) ** 2)))
        assert error <= allowed * max(spread, 1e-2), f"{device}: {error:.2g} against a spread of {spread:.2g}"
