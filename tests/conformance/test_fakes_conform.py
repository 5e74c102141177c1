"""The fakes that work pass the whole kit: the kit can be passed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgeai.api import Message, Objective, TensorSpec
from edgeai.testing.conformance import (
    ArtifactExample,
    BackendConformance,
    CompressionExample,
    CompressorConformance,
    ConverterConformance,
    ModelExample,
    SinkConformance,
    SourceConformance,
    TaskConformance,
    TransformConformance,
)
from edgeai.testing.fake_parts import write_fake_model
from edgeai.testing.fakes import write_fake_artifact

INPUTS = (TensorSpec(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC"),)
OUTPUTS = (TensorSpec(name="probabilities", dtype="float32", shape=(1, 2), layout="NC"),)


def golden(mean):
    """By hand: softmax(4 m - 2, -4 m + 2) = 1 / (1 + exp(-(8 m - 4)))."""
    first = 1 / (1 + np.exp(-(8 * mean - 4)))
    return (
        {"image": np.full((1, 8, 8, 1), mean, np.float32)},
        {"probabilities": np.array([[first, 1 - first]], np.float32)},
    )


class TestBackend(BackendConformance):
    module = "edgeai.testing.fakes_plugin"
    backend = "fake-works"

    def artifact(self, folder: Path) -> ArtifactExample:
        path = write_fake_artifact(folder / "model.fake.json", INPUTS, OUTPUTS)
        return ArtifactExample(
            path=path, inputs=INPUTS, outputs=OUTPUTS, golden=(golden(0.25), golden(0.75)), tolerance=1e-6
        )

    def stateful(self, folder: Path) -> ArtifactExample:
        path = write_fake_artifact(folder / "model.fake.json", INPUTS, OUTPUTS, stateful=True)
        return ArtifactExample(path=path, inputs=INPUTS, outputs=OUTPUTS)


class TestAbsentBackend(BackendConformance):
    module = "edgeai.testing.fakes_plugin"
    backend = "fake-absent"


class TestTransform(TransformConformance):
    module = "edgeai.testing.fakes_plugin"
    transform = "fake-subsample"
    options = {"rows": 48, "columns": 64}
    more_options = ({"rows": 40, "columns": 100},)
    nonsense = ({"rows": 0, "columns": 4}, {"rows": "4", "columns": 4}, {"rows": 4})


class TestTask(TaskConformance):
    module = "edgeai.testing.fakes_plugin"
    task = "fake-classify"
    options = {"labels": ["effusion", "none"]}
    outputs = OUTPUTS
    nonsense = ({}, {"labels": []}, {"labels": [1, 2]}, {"labels": ["one"]})
    wrong_outputs = ((), (TensorSpec(name="probabilities", dtype="float32", shape=(1, 3)),))


class TestUnsure(TestTask):
    task = "fake-unsure"

    def unstated_outputs(self):
        return {"probabilities": np.zeros((1, 2), np.float32)}


BOXES = (TensorSpec(name="boxes", dtype="float32", shape=(1, 3, 5)),)


class TestDetect(TaskConformance):
    module = "edgeai.testing.fakes_plugin"
    task = "fake-detect"
    options = {"label": "nodule"}
    outputs = BOXES
    nonsense = ({}, {"label": ""}, {"label": 1})
    wrong_outputs = ((), OUTPUTS, (TensorSpec(name="boxes", dtype="float32", shape=(1, 3, 4)),))


class TestSink(SinkConformance):
    module = "edgeai.testing.fakes_plugin"
    sink = "fake-file"
    nonsense = ({"path": 3}, {"path": ""}, {})

    def settings(self, folder):
        return {"path": str(folder / "out.jsonl")}

    def failing_settings(self, folder):
        return {"path": str(folder)}

    def delivered(self, folder):
        file = folder / "out.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(channel, body.encode()) for channel, body in map(json.loads, lines)]

    def refused_message(self, folder):
        return Message(key="no", channel="event", body=b'{"refuse-me": 1}', sequence=2)


class TestSinkWithReceipts(TestSink):
    sink = "fake-receipts"


class TestSource(SourceConformance):
    module = "edgeai.testing.fakes_plugin"
    source = "fake-ramp"
    nonsense = ({"rows": 0}, {"columns": "wide"})

    def settings(self, folder):
        return {"rows": 12, "columns": 16}


class TestConverter(ConverterConformance):
    module = "edgeai.testing.fakes_plugin"
    converter = "fake-unpack"
    backend = "fake-works"

    def model(self, folder: Path) -> ModelExample:
        path = write_fake_model(folder / "model.keras", INPUTS, OUTPUTS)
        return ModelExample(
            path=path, inputs=INPUTS, outputs=OUTPUTS, golden=(golden(0.25), golden(0.75)), tolerance={"fp32": 1e-6}
        )


class TestCompressor(CompressorConformance):
    module = "edgeai.testing.fakes_plugin"
    compressor = "fake-round"
    nonsense = ({"digits": -1}, {"digits": "one"})

    def model(self, folder: Path) -> CompressionExample:
        path = write_fake_model(folder / "model.keras", INPUTS, OUTPUTS)
        objective = Objective(loss="categorical-crossentropy")
        return CompressionExample(
            path=path, inputs=INPUTS, outputs=OUTPUTS, objective=objective, train=(golden(0.25), golden(0.75))
        )
