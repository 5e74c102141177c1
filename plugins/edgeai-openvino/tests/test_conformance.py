"""The conformance kit, on this plugin's backend and converter."""

from __future__ import annotations

import pytest

from edgeai.testing.conformance import ArtifactExample, BackendConformance, ConverterConformance, ModelExample


class TestOpenvino(BackendConformance):
    plugin = "openvino"
    backend = "openvino"
    engine_modules = ("openvino",)

    @pytest.fixture(scope="class")
    def example(self, artifacts, specs, cases):
        path = artifacts["classifier"]
        return ArtifactExample(
            path=path,
            inputs=(specs.image,),
            outputs=(specs.probabilities,),
            golden=cases,
            files=("model.xml", "model.bin"),
        )


class TestOpenvinoConverter(ConverterConformance):
    plugin = "openvino"
    converter = "openvino"
    backend = "openvino"
    engine_modules = ("tensorflow", "keras")

    @pytest.fixture(scope="class")
    def example(self, keras_models, specs, cases, calibration):
        return ModelExample(
            path=keras_models / "classifier.keras",
            inputs=(specs.image,),
            outputs=(specs.probabilities,),
            golden=cases,
            tolerance={"fp32": 1e-5, "fp16": 2e-3, "int8": 3e-2},
            calibration=calibration,
        )
