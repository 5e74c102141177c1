"""The conformance kit, on this plugin's backend and converter."""

from __future__ import annotations

import pytest

from edgeai.testing.conformance import ArtifactExample, BackendConformance, ConverterConformance, ModelExample


class TestTflite(BackendConformance):
    plugin = "tflite"
    backend = "tflite"
    engine_modules = ("ai_edge_litert", "tflite_runtime")

    @pytest.fixture(scope="class")
    def example(self, artifacts, specs, cases):
        path = artifacts / "classifier.tflite"
        return ArtifactExample(path=path, inputs=(specs.image,), outputs=(specs.probabilities,), golden=cases)


class TestTfliteConverter(ConverterConformance):
    plugin = "tflite"
    converter = "tflite"
    backend = "tflite"
    engine_modules = ("tensorflow", "keras")

    @pytest.fixture(scope="class")
    def example(self, keras_models, specs, cases, calibration):
        return ModelExample(
            path=keras_models / "classifier.keras",
            inputs=(specs.image,),
            outputs=(specs.probabilities,),
            golden=cases,
            tolerance={"fp32": 1e-5, "fp16": 2e-3, "dynamic": 2e-2, "int8": 3e-2, "int16x8": 2e-2},
            calibration=calibration,
        )
