"""The conformance kit, on this plugin's backend and converter."""

from __future__ import annotations

import pytest

from edgeai.api import Device
from edgeai.testing.conformance import ArtifactExample, BackendConformance, ConverterConformance, ModelExample


class TestGpu(BackendConformance):
    plugin = "gpu"
    backend = "gpu"
    engine_modules = ("tensorflow", "keras")

    @pytest.fixture(scope="class")
    def example(self, artifacts, specs, cases):
        path = artifacts["classifier"]
        return ArtifactExample(path=path, inputs=(specs.image,), outputs=(specs.probabilities,), golden=cases)


class TestGpuOnTheCpuThatIsNamed(TestGpu):
    """The same rules where there is no CUDA: ``CPU`` is not probed, but taken when it is named."""

    @pytest.fixture(scope="class")
    def present(self):
        return (Device(name="CPU"),)


class TestSavedModelConverter(ConverterConformance):
    plugin = "gpu"
    converter = "savedmodel"
    backend = "gpu"
    device = "CPU"  # XLA compiles for it too
    engine_modules = ("tensorflow", "keras")

    @pytest.fixture(scope="class")
    def example(self, keras_models, specs, cases):
        return ModelExample(
            path=keras_models / "classifier.keras",
            inputs=(specs.image,),
            outputs=(specs.probabilities,),
            golden=cases,
            tolerance={"fp32": 1e-5, "fp16": 2e-3},
        )
