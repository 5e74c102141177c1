# ruff: noqa: E402  # the assert rewriting must be registered before the classes are imported
"""The conformance kit: what the host relies on, as tests that a plugin's author runs.

In a plugin's ``tests/test_conformance.py``, about five lines a spec::

    from edgeai.testing.conformance import ArtifactExample, BackendConformance

    class TestTflite(BackendConformance):
        plugin = "tflite"                         # the entry point's name
        backend = "tflite"                        # BackendSpec.name
        engine_modules = ("ai_edge_litert",)      # what loading the plugin must not import

        def artifact(self, folder: Path) -> ArtifactExample:
            ...

Each rule is one test method; its docstring is the rule. ``since`` names the minor of the API that
introduced it: a plugin is held to the suite of the API that it declares, not to a newer one.
What an author leaves out (an example artifact, settings) skips the rules that need it, saying so.
"""

from __future__ import annotations

import pytest

# Before the classes are imported, so that a failed rule shows the values it compared.
for _kind in (
    *("backend", "compressor", "converter", "judge", "session", "sink"),
    *("source", "state", "suite", "task", "transform"),
):
    pytest.register_assert_rewrite(f"edgeai.testing.conformance.{_kind}")

from edgeai.testing.conformance.backend import BackendConformance
from edgeai.testing.conformance.compressor import CompressorConformance
from edgeai.testing.conformance.converter import ConverterConformance
from edgeai.testing.conformance.judge import JudgeConformance
from edgeai.testing.conformance.sink import SinkConformance
from edgeai.testing.conformance.source import SourceConformance
from edgeai.testing.conformance.suite import Suite, since
from edgeai.testing.conformance.task import TaskConformance
from edgeai.testing.conformance.transform import TransformConformance
from edgeai.testing.examples import ArtifactExample, CompressionExample, ModelExample, example_frame, instance_ref

__all__ = [
    "ArtifactExample",
    "BackendConformance",
    "CompressionExample",
    "CompressorConformance",
    "ConverterConformance",
    "JudgeConformance",
    "ModelExample",
    "SinkConformance",
    "SourceConformance",
    "Suite",
    "TaskConformance",
    "TransformConformance",
    "example_frame",
    "instance_ref",
    "since",
]
