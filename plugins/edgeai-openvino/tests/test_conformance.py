"""The conformance kit, on this plugin's backend and converter."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import TensorSpec
from edgeai.testing.conformance import ArtifactExample, BackendConformance, ConverterConformance, ModelExample
from edgeai.testing.keras_models import classifier_cases, read_golden


class TestOpenvino(BackendConformance):
    plugin = "openvino"
    backend = "openvino"
    engine_modules = ("openvino",)

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, examples, specs):
        path, answers = examples
        return ArtifactExample(
            path=path,
            inputs=(specs.image,),
            outputs=(specs.probabilities,),
            golden=classifier_cases(read_golden(answers, "classifier")),
            files=("model.xml", "model.bin"),
        )

    def stateful(self, folder):
        import openvino as ov
        from openvino import opset3, opset13

        x = opset13.parameter([1, 4], np.float32, name="x")
        begin = opset13.constant(np.full((1, 4), 3, np.float32))
        total = opset13.add(opset3.read_value(begin, "total"), x)
        y = opset13.relu(total)
        x.output(0).set_names({"x"})
        y.output(0).set_names({"y"})
        model = ov.Model([opset13.result(y)], [opset3.assign(total, "total")], [x], "theirs")
        ov.serialize(model, folder / "theirs.xml", folder / "theirs.bin")
        source, target = (TensorSpec(name=name, dtype="float32", shape=(1, 4)) for name in ("x", "y"))
        inputs = [np.full((1, 4), value, np.float32) for value in (0.25, 8.0)]
        golden = tuple(({"x": one}, {"y": 3 + one}) for one in inputs)
        path = folder / "theirs.xml"
        return ArtifactExample(path=path, inputs=(source,), outputs=(target,), golden=golden, threads=2)


class TestOpenvinoConverter(ConverterConformance):
    plugin = "openvino"
    converter = "openvino"
    backend = "openvino"
    engine_modules = ("tensorflow", "keras")

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, keras_models, specs, cases, calibration):
        return ModelExample(
            path=keras_models / "classifier.keras",
            inputs=(specs.image,),
            outputs=(specs.probabilities,),
            golden=cases,
            tolerance={"fp32": 1e-5, "fp16": 2e-3, "int8": 3e-2},
            calibration=calibration,
        )
