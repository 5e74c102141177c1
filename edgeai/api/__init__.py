"""THE HEADER: all of edgeai that a plugin imports. Standard library, numpy and pluggy only.

Names are resolved when first used, so that a role which needs only an error or a result (the supervisor, the
publisher) does not pay for numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeai.api.building import (
        Batch,
        Compressed,
        CompressorSpec,
        CompressRequest,
        Converted,
        ConverterSpec,
        ConvertRequest,
        Infer,
        Objective,
    )
    from edgeai.api.errors import (
        BackendError,
        BackendUnavailable,
        BundleRejected,
        CompressionFailed,
        ConfigError,
        ConversionFailed,
        DataRejected,
        DicomRejected,
        EdgeaiError,
        EvaluationFailed,
        GateFailed,
        InferenceFailed,
        InputRejected,
        JobFailed,
        ModelRejected,
        MqttError,
        PixelsRejected,
        PluginConflict,
        PluginError,
        PluginFault,
        PluginIncompatible,
        PluginNotFound,
        PluginQuarantined,
        SessionClosed,
        SinkFailed,
        SpoolError,
        SpoolFull,
        TaskFailed,
        TensorMismatch,
        TransformFailed,
    )
    from edgeai.api.hooks import (
        ENTRY_POINT_GROUP,
        PROJECT,
        hookimpl,
        hookspec,
    )
    from edgeai.api.imaging import (
        IMAGER_PIXEL_SPACING,
        IN_THE_PATIENT,
        NOMINAL_SCANNED_PIXEL_SPACING,
        PIXEL_SPACING,
        REGION,
        SPACINGS,
        Frame,
        Geometry,
        Grayscale,
        Lut,
        Points,
        Spacing,
        UltrasoundRegion,
        Window,
    )
    from edgeai.api.instances import InstanceRef
    from edgeai.api.options import Options, OptionSpec
    from edgeai.api.results import (
        RESULT_SCHEMA,
        Attachment,
        Concept,
        Degradation,
        EngineRef,
        Failure,
        Finding,
        Findings,
        GuardFigure,
        InstanceIds,
        Measurement,
        ModelRef,
        Note,
        Outcome,
        Region,
        Result,
        SignerRef,
    )
    from edgeai.api.sinks import Message, Receipt, Sink, SinkRequest, SinkSpec
    from edgeai.api.specs import (
        BackendSpec,
        Described,
        Device,
        FrameContext,
        MaskTask,
        OpenRequest,
        Session,
        Source,
        SourceRequest,
        SourceSpec,
        Task,
        TaskRequest,
        TaskSpec,
        Transform,
        TransformSpec,
    )
    from edgeai.api.tensors import (
        Array,
        Tensors,
        TensorSpec,
        check_tensors,
    )
    from edgeai.api.version import (
        API_VERSION,
        is_compatible,
    )

__all__ = [
    "API_VERSION",
    "ENTRY_POINT_GROUP",
    "IMAGER_PIXEL_SPACING",
    "IN_THE_PATIENT",
    "NOMINAL_SCANNED_PIXEL_SPACING",
    "PIXEL_SPACING",
    "PROJECT",
    "REGION",
    "RESULT_SCHEMA",
    "SPACINGS",
    "Array",
    "Attachment",
    "BackendError",
    "BackendSpec",
    "BackendUnavailable",
    "Batch",
    "BundleRejected",
    "CompressRequest",
    "Compressed",
    "CompressionFailed",
    "CompressorSpec",
    "Concept",
    "ConfigError",
    "ConversionFailed",
    "ConvertRequest",
    "Converted",
    "ConverterSpec",
    "DataRejected",
    "Degradation",
    "Described",
    "Device",
    "DicomRejected",
    "EdgeaiError",
    "EngineRef",
    "EvaluationFailed",
    "Failure",
    "Finding",
    "Findings",
    "Frame",
    "FrameContext",
    "GateFailed",
    "Geometry",
    "Grayscale",
    "GuardFigure",
    "Infer",
    "InferenceFailed",
    "InputRejected",
    "InstanceIds",
    "InstanceRef",
    "JobFailed",
    "Lut",
    "MaskTask",
    "Measurement",
    "Message",
    "ModelRef",
    "ModelRejected",
    "MqttError",
    "Note",
    "Objective",
    "OpenRequest",
    "OptionSpec",
    "Options",
    "Outcome",
    "PixelsRejected",
    "PluginConflict",
    "PluginError",
    "PluginFault",
    "PluginIncompatible",
    "PluginNotFound",
    "PluginQuarantined",
    "Points",
    "Receipt",
    "Region",
    "Result",
    "Session",
    "SessionClosed",
    "SignerRef",
    "Sink",
    "SinkFailed",
    "SinkRequest",
    "SinkSpec",
    "Source",
    "SourceRequest",
    "SourceSpec",
    "Spacing",
    "SpoolError",
    "SpoolFull",
    "Task",
    "TaskFailed",
    "TaskRequest",
    "TaskSpec",
    "TensorMismatch",
    "TensorSpec",
    "Tensors",
    "Transform",
    "TransformFailed",
    "TransformSpec",
    "UltrasoundRegion",
    "Window",
    "check_tensors",
    "hookimpl",
    "hookspec",
    "is_compatible",
]

_WITHOUT_NUMPY = ("errors", "results", "version", "hooks", "options", "sinks", "instances")
_CHEAPEST_FIRST = (*_WITHOUT_NUMPY, "tensors", "imaging", "specs", "building")


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _CHEAPEST_FIRST:
            module = importlib.import_module(f"edgeai.api.{home}")
            if hasattr(module, name):
                value: object = getattr(module, name)
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
