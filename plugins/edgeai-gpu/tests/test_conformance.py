"""The conformance kit, on this plugin's backend and converter."""

from __future__ import annotations

import pytest

from edgeai.api import Device, TensorSpec
from edgeai.testing.conformance import ArtifactExample, BackendConformance, ConverterConformance, ModelExample


class TestGpu(BackendConformance):
    plugin = "gpu"
    backend = "gpu"
    engine_modules = ("tensorflow", "keras")

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, artifacts, specs, cases):
        path = artifacts["classifier"]
        return ArtifactExample(path=path, inputs=(specs.image,), outputs=(specs.probabilities,), golden=cases)

    def stateful(self, folder):
        import tensorflow as tf

        module = tf.Module()
        module.total = tf.Variable(tf.fill((1, 4), 3.0))
        module.serve = tf.function(
            lambda x: {"y": module.total.assign_add(x)}, input_signature=[tf.TensorSpec((1, 4), name="x")]
        )
        tf.saved_model.save(module, str(folder / "theirs"), signatures={"serving_default": module.serve})
        source, target = (TensorSpec(name=name, dtype="float32", shape=(1, 4)) for name in ("x", "y"))
        return ArtifactExample(path=folder / "theirs", inputs=(source,), outputs=(target,))


class TestGpuOnTheCpuThatIsNamed(TestGpu):
    """The same rules where there is no CUDA: ``CPU`` is not probed, but taken when it is named."""

    @pytest.fixture(scope="class")
    @classmethod
    def present(cls):
        return (Device(name="CPU"),)


class TestSavedModelConverter(ConverterConformance):
    plugin = "gpu"
    converter = "savedmodel"
    backend = "gpu"
    device = "CPU"  # XLA compiles for it too
    engine_modules = ("tensorflow", "keras")

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, keras_models, specs, cases):
        return ModelExample(
            path=keras_models / "classifier.keras",
            inputs=(specs.image,),
            outputs=(specs.probabilities,),
            golden=cases,
            tolerance={"fp32": 1e-5, "fp16": 2e-3},
        )
