"""Every error that edgeai raises on purpose: one tree, each with a stable code.

::

    EdgeaiError                     edgeai.error
    ├── ConfigError                 config.invalid
    ├── InputRejected               input.rejected
    │   ├── DicomRejected           dicom.rejected        (header: not DICOM, truncated, too deep, ...)
    │   └── PixelsRejected          pixels.rejected       (pixel data: length, dimensions, codec, ...)
    ├── TensorMismatch              tensor.mismatch
    ├── TransformFailed             transform.failed
    ├── NoStatement                 task.indeterminate    (``edgeai.api.endings``: on purpose, no failure)
    │   ├── NotApplicable           task.not-applicable
    │   └── Indeterminate           task.indeterminate
    ├── TaskFailed                  task.failed
    │   └── TaskMisfit              task.misfit           (an output of another kind of task)
    ├── BackendError                backend.error
    │   ├── BackendUnavailable      backend.unavailable   (no engine or no such device here)
    │   ├── ModelRejected           backend.model-rejected
    │   ├── InferenceFailed         backend.inference-failed
    │   └── SessionClosed           backend.session-closed
    ├── ConversionFailed            convert.failed
    ├── CompressionFailed           compress.failed
    ├── GateFailed                  gate.failed
    ├── EvaluationFailed            evaluate.failed
    ├── DataRejected                data.rejected
    ├── BundleRejected              bundle.rejected
    ├── PluginError                 plugin.error
    │   ├── PluginNotFound          plugin.not-found
    │   ├── PluginIncompatible      plugin.incompatible
    │   ├── PluginConflict          plugin.conflict
    │   ├── PluginFault             plugin.fault
    │   └── PluginQuarantined       plugin.quarantined
    ├── JobFailed                   job.failed            (a role died on it, or it outlived its deadline)
    ├── SpoolError                  spool.error
    │   └── SpoolFull               spool.full
    ├── MqttError                   mqtt.error
    └── SinkFailed                  sink.failed

A class's own ``code`` is the default; a raiser may give a narrower one that keeps the
first part (``DicomRejected("...", code="dicom.truncated")``). Codes are part of the
contract: they appear in results, logs and ``docs/reference/errors.md``, and are never reused.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

_CODE: Final = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")


def is_code(word: object) -> bool:
    """Whether it is ``<area>.<what>`` in lower case with hyphens, as every code is that leaves a device."""
    return isinstance(word, str) and _CODE.fullmatch(word) is not None


class EdgeaiError(Exception):
    """The root. ``str(error)`` is one clear sentence.

    Attributes:
        code: stable identifier, ``<area>.<what>`` in lower case with hyphens.
        remedy: what the reader can do about it, or ``None`` when nothing is known.
    """

    default_code: ClassVar[str] = "edgeai.error"

    def __init__(self, message: str, *, code: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own pickling would drop the keyword-only arguments.
        return (_rebuild, (type(self), str(self), self.code, self.remedy))


def _rebuild(kind: type[EdgeaiError], message: str, code: str, remedy: str | None) -> EdgeaiError:
    return kind(message, code=code, remedy=remedy)


class ConfigError(EdgeaiError):
    """A configuration file, option or command line that cannot be used as it stands."""

    default_code = "config.invalid"


class InputRejected(EdgeaiError):
    """An image that cannot be used. The sender's data is at fault, not the device."""

    default_code = "input.rejected"


class DicomRejected(InputRejected):
    """A file or data set whose header cannot be trusted."""

    default_code = "dicom.rejected"


class PixelsRejected(InputRejected):
    """Pixel data that does not decode to what the header promises."""

    default_code = "pixels.rejected"


class TensorMismatch(EdgeaiError):
    """Arrays whose names, dtypes or shapes are not those that were declared."""

    default_code = "tensor.mismatch"


class TransformFailed(EdgeaiError):
    """A transform that cannot be applied to this frame, or options that make no sense."""

    default_code = "transform.failed"


class TaskFailed(EdgeaiError):
    """Outputs that a task cannot interpret, or options that make no sense."""

    default_code = "task.failed"


class TaskMisfit(TaskFailed):
    """An output of a kind that this task does not read; another task may."""

    default_code = "task.misfit"


class BackendError(EdgeaiError):
    """Whatever goes wrong in an inference engine. The engine's own words are in the message."""

    default_code = "backend.error"


class BackendUnavailable(BackendError):
    """The engine is not installed, does not start, or has no such device on this machine."""

    default_code = "backend.unavailable"


class ModelRejected(BackendError):
    """The engine cannot open this artifact: missing, damaged, or using what it lacks."""

    default_code = "backend.model-rejected"


class InferenceFailed(BackendError):
    """The engine opened the artifact but this run failed. The session stays usable."""

    default_code = "backend.inference-failed"


class SessionClosed(BackendError):
    """``run`` or ``stream`` after ``close``."""

    default_code = "backend.session-closed"


class ConversionFailed(EdgeaiError):
    """A Keras model that cannot become the artifact that was asked for; names the layer if known."""

    default_code = "convert.failed"


class CompressionFailed(EdgeaiError):
    """A compressor refused the model or could not follow it; names the layer where known."""

    default_code = "compress.failed"


class GateFailed(EdgeaiError):
    """A model is worse, larger or slower than its card allows; there is no bundle."""

    default_code = "gate.failed"


class EvaluationFailed(EdgeaiError):
    """A metric cannot be computed from these answers and labels; says why."""

    default_code = "evaluate.failed"


class FigureUndefined(EvaluationFailed):
    """A figure that these samples do not determine: said, with the reason, and never given a neutral value."""

    default_code = "evaluate.undefined"


class DataRejected(EdgeaiError):
    """A table of samples, one of its files, or a label is missing or cannot be used."""

    default_code = "data.rejected"


class BundleRejected(EdgeaiError):
    """A bundle that is damaged, incomplete, of an unknown schema or not what it says it is."""

    default_code = "bundle.rejected"


class PluginError(EdgeaiError):
    """Whatever goes wrong in finding, loading or calling a plugin."""

    default_code = "plugin.error"


class PluginNotFound(PluginError):
    """Nothing installed provides this plugin, backend, transform, task, sink or converter."""

    default_code = "plugin.not-found"


class PluginIncompatible(PluginError):
    """The plugin states no ``EDGEAI_API``, or one that this host cannot serve."""

    default_code = "plugin.incompatible"


class PluginConflict(PluginError):
    """Two distributions provide the same name; the message names both."""

    default_code = "plugin.conflict"


class PluginFault(PluginError):
    """A plugin raised something outside this tree, or broke the contract; names the plugin."""

    default_code = "plugin.fault"


class PluginQuarantined(PluginError):
    """The plugin killed its role too often at one step and is skipped until its version changes."""

    default_code = "plugin.quarantined"


class JobFailed(EdgeaiError):
    """A job that was given up: its role died on it too often, or it outlived its deadline."""

    default_code = "job.failed"


class SpoolError(EdgeaiError):
    """The durable store cannot be read or written."""

    default_code = "spool.error"


class SpoolFull(SpoolError):
    """The disk reserve is reached: nothing more is accepted until space is free."""

    default_code = "spool.full"


class MqttError(EdgeaiError):
    """The broker cannot be reached, or refuses this client."""

    default_code = "mqtt.error"


class SinkFailed(EdgeaiError):
    """A sink could not take a message. The message stays queued and is offered again."""

    default_code = "sink.failed"
