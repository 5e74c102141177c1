"""The conformance kit, on this plugin's backend and compressors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import Objective, TensorSpec
from edgeai.testing.conformance import ArtifactExample, BackendConformance, CompressionExample, CompressorConformance

IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, 16, 16, 1), layout="NHWC")
STUDENT = {"size": 16, "filters": [4], "units": 4, "labels": 3, "head": "softmax"}
PROBABILITIES = TensorSpec(name="probabilities", dtype="float32", shape=(1, 3))


class TestKeras(BackendConformance):
    plugin = "keras"
    backend = "keras"
    engine_modules = ("tensorflow", "keras", "h5py", "sklearn")

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, trained, samples, keras):
        path = trained("classifier")
        inputs, targets = samples("classifier", 16, 9)
        model = keras.saving.load_model(path)
        places = [int(np.argmax(targets["probabilities"][:, label])) for label in (0, 1)]  # one of each class
        pictures = [inputs["image"][place : place + 1] for place in places]
        golden = tuple(({"image": one}, {"probabilities": np.asarray(model(one, training=False))}) for one in pictures)
        return ArtifactExample(path=path, inputs=(IMAGE,), outputs=(PROBABILITIES,), golden=golden, tolerance=1e-5)

    @pytest.fixture
    def stateful_example(self, keras, tmp_path):
        rows = keras.Input((4, 3), batch_size=1, name="rows")
        keras.Model(rows, keras.layers.GRU(2, stateful=True, name="two")(rows)).save(tmp_path / "gru.keras")
        source, target = (
            TensorSpec(name=n, dtype="float32", shape=s) for n, s in (("rows", (1, 4, 3)), ("two", (1, 2)))
        )
        return ArtifactExample(path=tmp_path / "gru.keras", inputs=(source,), outputs=(target,))


class Compressor(CompressorConformance):
    """What they have in common."""

    __test__ = False
    plugin = "keras"
    backend = "keras"
    engine_modules = ("tensorflow", "keras", "h5py", "sklearn")
    options: Mapping[str, object] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, trained, samples, batches):
        return CompressionExample(
            path=trained("classifier"),
            inputs=(replace(IMAGE, shape=(None, 16, 16, 1)),),
            outputs=(replace(PROBABILITIES, shape=(None, 3)),),
            objective=Objective(loss="categorical-crossentropy"),
            train=tuple(batches(*samples("classifier", 32, 1))()),
            validation=tuple(batches(*samples("classifier", 16, 2))()),
            options={"epochs": 1, **cls.options},
        )


class TestPruneMagnitude(Compressor):
    __test__ = True
    compressor = "prune-magnitude"
    options = {"sparsity": 0.6}
    nonsense = ({"sparsity": 2}, {"begin": 1.0}, {"layers": ["none"]}, {"learning_rate": -1}, {"patience": 0})


class TestPruneChannels(Compressor):
    __test__ = True
    compressor = "prune-channels"
    options = {"flops": 0.6, "importance": "taylor"}  # which needs the data
    nonsense = ({"flops": 2}, {"flops": 0.5, "parameters": 0.5}, {"keep": ["none"]}, {"epochs": -1})


class TestDistil(Compressor):
    __test__ = True
    compressor = "distil"
    options = {"student": "cnn", "student_options": STUDENT}
    nonsense = ({"student": "none"}, {"temperature": 0}, {"alpha": 2}, {"student_options": {"size": 8}})


class TestCluster(Compressor):
    __test__ = True
    compressor = "cluster"
    options = {"clusters": 4}
    nonsense = ({"clusters": 1}, {"init": "none"}, {"keep": ["none"]}, {"epochs": 0.5})


class TestWatch(Compressor):
    __test__ = True
    compressor = "watch"
    nonsense = ({"layers": "conv"}, {"layers": ["none"]}, {"epochs": 1})

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, trained, samples, batches):
        return CompressionExample(
            path=trained("classifier"),
            inputs=(replace(IMAGE, shape=(None, 16, 16, 1)),),
            outputs=(
                replace(PROBABILITIES, shape=(None, 3)),
                TensorSpec(name="features", dtype="float32", shape=(None, 48)),
            ),
            objective=Objective(loss="categorical-crossentropy"),
            train=tuple(batches(*samples("classifier", 48, 1))()),
        )


class TestViews(Compressor):
    __test__ = True
    compressor = "views"
    options = {"mirror": "both"}
    nonsense = ({"mirror": "diagonal"}, {"mirror": 2}, {"epochs": 1})

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, trained, samples, batches):
        return CompressionExample(
            path=trained("segmenter"),
            inputs=(replace(IMAGE, shape=(None, 16, 16, 1)),),
            outputs=(TensorSpec(name="mask", dtype="float32", shape=(None, 16, 16, 1)),),
            objective=Objective(loss="dice-binary-crossentropy"),
            train=tuple(batches(*samples("segmenter", 16, 1))()),
            options=cls.options,
        )
