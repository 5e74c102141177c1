"""The foreign task and its judge against the kit, as its author would hold them; no engine is needed."""

from __future__ import annotations

from edgeai.api import TensorSpec
from edgeai.testing.conformance import JudgeConformance, TaskConformance

OUTPUTS = (TensorSpec(name="length", dtype="float32", shape=(1, 1)),)


class TestGauge(TaskConformance):
    module = "acme_gauge"
    task = "acme-gauge"
    options = {"what": "radius"}
    outputs = OUTPUTS
    nonsense = ({}, {"what": 7}, {"what": "radius", "same": 0}, {"what": "radius", "unit": 3})
    wrong_outputs = ((), (TensorSpec(name="length", dtype="float32", shape=(1, 2)),))


class TestGaugeJudge(JudgeConformance):
    module = "acme_gauge"
    task = "acme-gauge"
    options = {"what": "radius"}
    outputs = OUTPUTS
    rows = ({"length": 2.5}, {"length": "7"}, {"length": 0})
    nonsense_rows = ({"length": "long"}, {"length": -1}, {"length": "nan"})
