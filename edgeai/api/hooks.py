"""The hooks. Each is called once, when the plugin is loaded, and must not import an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from edgeai.api.building import CompressorSpec, ConverterSpec
    from edgeai.api.sinks import SinkSpec
    from edgeai.api.specs import BackendSpec, SourceSpec, TaskSpec, TransformSpec

PROJECT = "edgeai"
ENTRY_POINT_GROUP = "edgeai.plugins"
"""``[project.entry-points."edgeai.plugins"]`` in a plugin's pyproject: plugin name = module."""
BACKENDS_GROUP = "edgeai.backends"
"""``[project.entry-points."edgeai.backends"]``: backend name = the plugin's module, for backends that are to be known
before it is imported. One is then found by its name, and tried where nobody says a name, without importing others.
"""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Put it on the plugin's functions of the names below."""


@hookspec
def edgeai_backends() -> tuple[BackendSpec, ...]:
    """Inference engines. Device."""
    return ()


@hookspec
def edgeai_transforms() -> tuple[TransformSpec, ...]:
    """Preprocessing steps. Device and build host."""
    return ()


@hookspec
def edgeai_tasks() -> tuple[TaskSpec, ...]:
    """Questions that a model answers. Device and build host."""
    return ()


@hookspec
def edgeai_sinks() -> tuple[SinkSpec, ...]:
    """Where results go. Device."""
    return ()


@hookspec
def edgeai_sources() -> tuple[SourceSpec, ...]:
    """Live frames. Device. DICOM arrival is the core's own."""
    return ()


@hookspec
def edgeai_converters() -> tuple[ConverterSpec, ...]:
    """Keras -> artifact. Build host."""
    return ()


@hookspec
def edgeai_compressors() -> tuple[CompressorSpec, ...]:
    """Keras -> Keras. Build host."""
    return ()
