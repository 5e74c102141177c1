"""The conformance kit, on this plugin's backend and compressors."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import TensorSpec
from edgeai.testing.conformance import ArtifactExample, BackendConformance

IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, 16, 16, 1), layout="NHWC")
PROBABILITIES = TensorSpec(name="probabilities", dtype="float32", shape=(1, 3))


class TestKeras(BackendConformance):
    plugin = "keras"
    backend = "keras"
    engine_modules = ("tensorflow", "keras", "h5py", "sklearn")

    @pytest.fixture(scope="class")
    def example(self, trained, samples, keras):
        path = trained("classifier")
        inputs, targets = samples("classifier", 16, 9)
        model = keras.saving.load_model(path)
        places = [int(np.argmax(targets["probabilities"][:, label])) for label in (0, 1)]  # one of each class
        pictures = [inputs["image"][place : place + 1] for place in places]
        golden = tuple(({"image": one}, {"probabilities": np.asarray(model(one, training=False))}) for one in pictures)
        return ArtifactExample(path=path, inputs=(IMAGE,), outputs=(PROBABILITIES,), golden=golden, tolerance=1e-5)
