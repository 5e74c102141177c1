"""Small Keras models for the tests of a converter or a backend, and what is known of them.

Keras comes as an argument: this module imports no engine, so a test to which finished artifacts are given can use it
where Keras is not. As fixtures: ``edgeai.testing.fixtures``.

| model | inputs | outputs | what it is for |
|---|---|---|---|
| ``classifier`` | ``image`` | ``probabilities`` | convolutions, a batch normalisation, a softmax |
| ``two_heads`` | ``image``, ``age`` | ``probabilities``, ``value`` | names and order of several tensors |
| ``wild`` | ``image`` | ``values`` | integers: one channel is 400 times the others |
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import Array, ConverterSpec, ConvertRequest, Tensors, TensorSpec
from edgeai.testing.examples import Golden

IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, 16, 16, 1), layout="NHWC")
IMAGES = replace(IMAGE, shape=(None, 16, 16, 1))
AGE = TensorSpec(name="age", dtype="float32", shape=(1, 2))
PROBABILITIES = TensorSpec(name="probabilities", dtype="float32", shape=(1, 3))
MANY = replace(PROBABILITIES, shape=(None, 3))
VALUE = TensorSpec(name="value", dtype="float32", shape=(1, 1))
VALUES = TensorSpec(name="values", dtype="float32", shape=(1, 3))


def _classifier(keras: Any) -> Any:
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(16, 3, activation="relu", name="second")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="probabilities")(x))


def _two_heads(keras: Any) -> Any:
    image, age = keras.Input((16, 16, 1), name="image"), keras.Input((2,), name="age")
    x = keras.layers.Flatten()(keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image))
    x = keras.layers.Concatenate()([x, age])
    value = keras.layers.Dense(1, name="value")(x)
    probabilities = keras.layers.Dense(3, activation="softmax", name="probabilities")(x)
    return keras.Model([image, age], [probabilities, value])


def write_models(keras: Any, folder: Path) -> Path:
    """Write ``classifier.keras`` and ``two_heads.keras``, and for each an ``.npz`` of inputs with Keras's own outputs.

    The arrays are called as the tensors and hold four samples: ``image`` is 4 x 16 x 16 x 1 from 0 to 2, ``age`` 4 x 2
    from 0 to 1. The models are seeded.

    Args:
        keras: the module.
        folder: is there already.

    Returns:
        ``folder``.
    """
    keras.utils.set_random_seed(20)
    random = np.random.default_rng(20)
    image = (2 * random.random((4, 16, 16, 1))).astype("float32")
    age = random.random((4, 2)).astype("float32")
    classifier, two_heads = _classifier(keras), _two_heads(keras)
    classifier.save(folder / "classifier.keras")
    two_heads.save(folder / "two_heads.keras")
    np.savez(folder / "classifier.npz", image=image, probabilities=classifier(image, training=False))
    probabilities, value = two_heads([image, age], training=False)
    np.savez(folder / "two_heads.npz", image=image, age=age, probabilities=probabilities, value=value)
    return folder


def read_golden(folder: Path, name: str) -> dict[str, Array]:
    """The arrays of ``NAME.npz`` in ``folder``, by the names of the tensors; four samples along the first axis."""
    with np.load(folder / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def classifier_cases(golden: Tensors) -> tuple[Golden, ...]:
    """The first two samples of the classifier's golden arrays, as the kit's examples want them: (inputs, outputs)."""
    image, probabilities = golden["image"], golden["probabilities"]
    return tuple(({"image": image[n : n + 1]}, {"probabilities": probabilities[n : n + 1]}) for n in range(2))


def calibration_samples(count: int = 32) -> list[dict[str, Array]]:
    """Inputs of the classifier, one sample at a time, over the range that its golden ones have."""
    random = np.random.default_rng(21)
    return [{"image": (2 * random.random((1, 16, 16, 1))).astype("float32")} for _ in range(count)]


def classifier_request(models: Path, output: Path, /, **changes: Any) -> ConvertRequest:
    """The request that converts the classifier in fp32; ``changes`` by the names of ``ConvertRequest``.

    Args:
        models: folder of ``write_models``.
        output: an empty folder for the artifact.
        changes: these win, over ``model`` and ``output`` too.
    """
    request = ConvertRequest(
        model=models / "classifier.keras", output=output, precision="fp32", inputs=(IMAGE,), outputs=(PROBABILITIES,)
    )
    return replace(request, **changes)


def convert_models(converter: ConverterSpec, models: Path, folder: Path) -> dict[str, Path]:
    """Convert what ``write_models`` wrote, each to a folder of its own below ``folder``.

    Returns:
        The artifacts ``classifier``, ``classifier_fp16``, ``any_batch`` (the classifier with its batch open) and
        ``two_heads``, whose inputs and outputs are in neither the model's own order nor the alphabet's.

    Raises:
        ConversionFailed: as the converter raises it.
    """
    changes: dict[str, dict[str, Any]] = {
        "classifier": {},
        "classifier_fp16": {"precision": "fp16"},
        "any_batch": {"inputs": (IMAGES,), "outputs": (MANY,)},
        "two_heads": {
            "model": models / "two_heads.keras",
            "inputs": (AGE, IMAGE),
            "outputs": (VALUE, PROBABILITIES),
        },
    }
    artifacts = {}
    for name, changed in changes.items():
        (folder / name).mkdir()
        artifacts[name] = converter.convert(classifier_request(models, folder / name, **changed)).artifact
    return artifacts


def wild_changes(keras: Any, folder: Path) -> dict[str, Any]:
    """Write ``wild.keras``: integers lose its answer, unless the layers that matter stay in float.

    Its layers are ``first``, ``wild`` with one channel 400 times the others, ``after``, which all but ignores that
    channel, ``calm`` and ``values``.

    Args:
        keras: the module.
        folder: is there already.

    Returns:
        What to change in ``classifier_request`` to convert it: ``model``, ``outputs``, ``calibration`` (20 samples) and
        ``score``, which is minus the root mean square error against Keras in standard deviations of Keras's answers; 0
        is perfect.
    """
    keras.utils.set_random_seed(1)
    x = image = keras.Input((16, 16, 1), name="image")
    for name in ("first", "wild", "after", "calm"):
        x = keras.layers.Conv2D(8, 3, activation="relu", name=name)(x)
    model = keras.Model(image, keras.layers.Dense(3, name="values")(keras.layers.GlobalAveragePooling2D()(x)))
    kernel, bias = model.get_layer("wild").get_weights()
    kernel[..., 0] = np.abs(kernel[..., 0]) * 400
    model.get_layer("wild").set_weights([kernel, bias])
    kernel, bias = model.get_layer("after").get_weights()
    kernel[:, :, 0] /= 4000
    model.get_layer("after").set_weights([kernel, bias])
    model.save(folder / "wild.keras")
    random = np.random.default_rng(0)
    samples = [{"image": random.random((1, 16, 16, 1)).astype("float32")} for _ in range(20)]
    wanted = np.stack([np.asarray(model(sample["image"], training=False)) for sample in samples])

    def score(infer: Any) -> float:
        answers = np.stack([infer(sample)["values"] for sample in samples])
        return -float(np.sqrt(np.mean((answers - wanted) ** 2)) / wanted.std())

    return {"model": folder / "wild.keras", "outputs": (VALUES,), "calibration": lambda: samples, "score": score}
