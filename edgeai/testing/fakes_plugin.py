"""A plugin of fakes. It is not an entry point of edgeai; ``write_fake_distribution`` puts it on a path.

``fake-works`` works; the others misbehave as ``edgeai.testing.fakes.WAYS`` and ``fake_parts`` say.
"""

from __future__ import annotations

from edgeai.api import (
    BackendSpec,
    CompressorSpec,
    ConverterSpec,
    SinkSpec,
    SourceSpec,
    TaskSpec,
    TransformSpec,
    hookimpl,
)
from edgeai.testing import fake_compressor, fake_detect, fake_parts, fake_unsure, fakes

EDGEAI_API = (1, 4)


@hookimpl
def edgeai_backends() -> tuple[BackendSpec, ...]:
    """One backend that works, one without a device, one for each way to misbehave, and two that die when opened."""
    return (
        fakes.backend("fake-works"),
        fakes.backend("fake-absent", devices=()),
        *(fakes.backend(f"fake-{how}", how=how) for how in fakes.WAYS),
        fakes.backend("fake-abort-open", how="abort", at="open"),
        fakes.backend("fake-raise-open", how="raise", at="open"),
    )


@hookimpl
def edgeai_transforms() -> tuple[TransformSpec, ...]:
    """``fake-subsample`` works."""
    ways = ("raises", "writes-input", "drifts", "forgets-geometry", "starts-geometry-anew", "prints")
    return (fake_parts.transform("fake-subsample"), *(fake_parts.transform(f"fake-{how}", how) for how in ways))


@hookimpl
def edgeai_tasks() -> tuple[TaskSpec, ...]:
    """``fake-classify`` works, and so do ``fake-detect`` and ``fake-unsure``."""
    return (
        fake_parts.task("fake-classify"),
        *(fake_parts.task(f"fake-{how}", how) for how in ("silent", "blind", "prints")),
        fake_unsure.task("fake-unsure"),
        *(fake_unsure.task(f"fake-{how}", how) for how in fake_unsure.WAYS),
        fake_detect.task("fake-detect"),
        *(fake_detect.task(f"fake-{how}", how) for how in fake_detect.WAYS),
    )


@hookimpl
def edgeai_sinks() -> tuple[SinkSpec, ...]:
    """``fake-file`` works, and so does ``fake-receipts``."""
    ways = ("forgets", "reorders", "open-again", "receipts", "boasts", "sulks", "prints")
    return (fake_parts.sink("fake-file"), *(fake_parts.sink(f"fake-{how}", how) for how in ways))


@hookimpl
def edgeai_sources() -> tuple[SourceSpec, ...]:
    """``fake-ramp`` works."""
    return (
        fake_parts.source("fake-ramp"),
        *(fake_parts.source(f"fake-{how}", how) for how in ("reuses-buffer", "goes-on", "prints")),
    )


@hookimpl
def edgeai_converters() -> tuple[ConverterSpec, ...]:
    """``fake-unpack`` works."""
    ways = ("litters", "disagrees", "prints")
    return (fake_parts.converter("fake-unpack"), *(fake_parts.converter(f"fake-{how}", how) for how in ways))


@hookimpl
def edgeai_compressors() -> tuple[CompressorSpec, ...]:
    """``fake-round`` works."""
    ways = ("litters", "drifts", "gullible", "prints")
    names = ((f"fake-round-{how}", how) for how in ways)
    return (fake_compressor.compressor("fake-round"), *(fake_compressor.compressor(name, how) for name, how in names))
