"""Whose an error code is: who has to do something before the same image can give a result.

One table for all who ask: holding (what is not the image's is cured, and its jobs wait), blame, health and what a
resend means. ``docs/reference/errors.md`` says the same, and a test holds the two together.

A plugin from elsewhere may use narrower codes of its own; they belong to whom their area belongs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

Owner = Literal["image", "device", "bundle", "plugin"]
"""``image``: what was sent cannot be used, and stays so until something else is sent. ``device``: the installation, its
configuration, disk, network or edgeai itself. ``bundle``: what was packed, signed or declared. ``plugin``: an engine or
another plugin that is installed and does not do what it promises."""

AREAS: Final[Mapping[str, Owner]] = {
    "input": "image",
    "dicom": "image",
    "pixels": "image",
    "guard": "image",
    "requires": "image",
    "tensor": "bundle",
    "transform": "image",
    "task": "bundle",
    "backend": "plugin",
    "bundle": "bundle",
    "keys": "device",
    "slots": "device",
    "plugin": "plugin",
    "job": "plugin",
    "spool": "device",
    "ingest": "device",
    "mqtt": "device",
    "result": "device",
    "sink": "device",
    "run": "device",
    "role": "device",
    "health": "device",
    "selftest": "device",
    "config": "device",
    "convert": "bundle",
    "build": "bundle",
    "import": "bundle",
    "compress": "bundle",
    "gate": "bundle",
    "data": "bundle",
    "evaluate": "bundle",
    "fleet": "device",
    "update": "device",
    "rollout": "device",
    "trace": "bundle",
    "demo": "device",
    "scu": "device",
    "support": "device",
    "edgeai": "device",
}
"""Area -> whose its codes are, but for those in ``CODES``. Those of the build host speak of a bundle in the making."""

_DEVICE: Final = (
    "requires.failed",
    "requires.no-answer",
    "input.unreadable",
    "transform.memory",
    "task.extra-missing",
    "backend.unavailable",
    "backend.engine-missing",
    "backend.engine-broken",
    "backend.unknown-device",
    "backend.no-candidate",
    "backend.int8-slow",
    "bundle.needs-newer-edgeai",
    "bundle.unreadable",
    "bundle.unknown-schema",
    "bundle.not-honoured",
    "bundle.cache-unwritable",
    "bundle.bad-held-file",
    "bundle.floors-unreadable",
    "plugin.not-found",
    "plugin.not-allowed",
    "plugin.conflict",
    "job.interrupted",
    "convert.engine-missing",
    "compress.engine-missing",
    "build.extra-missing",
    "build.workbench-missing",
    "trace.no-result",
    "trace.no-bundle",
    "trace.other-bundle",
    "trace.other-image",
    "trace.other-engine",
    "trace.masked",
    "trace.not-run",
)
_BUNDLE: Final = (
    "slots.bad",
    "slots.other-bundle",
    "slots.rehearsal-died",
    "slots.shadow-died",
    "slots.disagrees",
    "slots.not-shown",
    "slots.failures",
    "slots.slow",
    "slots.withheld",
    "slots.shifted",
    "transform.options",
    "backend.model-rejected",
    "backend.artifact-missing",
    "backend.artifact-damaged",
    "backend.artifact-unsafe",
    "backend.op-unsupported",
    "backend.tensors-differ",
    "backend.option-unknown",
    "backend.options",
    "backend.stateful",
    "backend.random",
    "backend.opening-died",
    "backend.int8-overflows",
    "config.card-missing",
    "config.card-unreadable",
    "config.card-syntax",
    "config.card-invalid",
    "config.card-model-missing",
    "config.card-model-changed",
    "config.card-attachment-missing",
    "config.card-metric-unknown",
    "config.card-column-unknown",
    "config.card-gate-direction",
    "config.card-abstention",
    "config.card-choice",
    "config.card-robustness",
    "config.golden-missing",
    "config.golden-stale",
    "config.golden-invalid",
    "config.augment",
    "config.guard-missing",
    "config.guard-changed",
    "config.guard-label",
    "config.guard-unfit",
    "config.guard-engines",
)
_IMAGE: Final = (
    "task.no-frames",
    "task.no-spacing",
    "task.unequal-spacing",
    "task.out-of-range",
    "task.indeterminate",
    "task.not-applicable",
)
_PLUGIN: Final = ("convert.outside", "convert.nothing")

CODES: Final[Mapping[str, Owner]] = {
    **dict.fromkeys(_DEVICE, "device"),
    **dict.fromkeys(_BUNDLE, "bundle"),
    **dict.fromkeys(_IMAGE, "image"),
    **dict.fromkeys(_PLUGIN, "plugin"),
}
"""Codes that belong to another than their area does."""


ENDS_BY: Final = ("task",)
"""Areas of edgeai's own of which a task may end an image without a statement."""

FAILS_BY: Final = ("task", "transform", "tensor", "backend", "plugin", "dicom")
"""Those of which a transform, a task or an engine may fail; ``dicom`` is what ``Geometry.trusted`` raises."""


def is_of_plugins(code: str, areas: Collection[str]) -> bool:
    """Whether a plugin may end an image by this code: of one of the areas, or of one that edgeai itself does not use.

    By the others probation, status and robustness know who ended the image, and why.
    """
    area = code.partition(".")[0]
    return area in areas or area not in AREAS


def owner_of(code: str) -> Owner:
    """Whose this code is; ``device`` for an area that nobody knows, so that no image is blamed for it."""
    return CODES.get(code) or AREAS.get(code.partition(".")[0], "device")
