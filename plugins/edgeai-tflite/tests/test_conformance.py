"""The conformance kit, on this plugin's backend and converter."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import TensorSpec
from edgeai.testing.conformance import ArtifactExample, BackendConformance, ConverterConformance, ModelExample
from edgeai.testing.keras_models import classifier_cases, read_golden


class TestTflite(BackendConformance):
    plugin = "tflite"
    backend = "tflite"
    engine_modules = ("ai_edge_litert", "tflite_runtime")

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, examples, specs):
        path, golden = examples / "classifier.tflite", classifier_cases(read_golden(examples, "classifier"))
        return ArtifactExample(path=path, inputs=(specs.image,), outputs=(specs.probabilities,), golden=golden)

    @pytest.fixture(scope="class")
    @classmethod
    def stateful_example(cls, examples):
        rows, answer = (TensorSpec(name=name, dtype="float32", shape=(1, 4)) for name in ("rows", "answer"))
        inputs = [np.full((1, 4), value, np.float32) for value in (0.25, 8.0)]
        golden = tuple(({"rows": one}, {"answer": 3 + one}) for one in inputs)
        return ArtifactExample(
            path=examples / "stateful.tflite", inputs=(rows,), outputs=(answer,), golden=golden, threads=2
        )


class TestTfliteConverter(ConverterConformance):
    plugin = "tflite"
    converter = "tflite"
    backend = "tflite"
    engine_modules = ("tensorflow", "keras")

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, keras_models, specs, cases, calibration):
        return ModelExample(
            path=keras_models / "classifier.keras",
            inputs=(specs.image,),
            outputs=(specs.probabilities,),
            golden=cases,
            tolerance={"fp32": 1e-5, "fp16": 2e-3, "dynamic": 2e-2, "int8": 3e-2, "int16x8": 2e-2},
            calibration=calibration,
        )
