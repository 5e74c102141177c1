"""Converters and compressors as the host has them; of the build host alone."""

from __future__ import annotations

from typing import Any

from edgeai.api.building import Compressed, CompressRequest, Converted, ConverterSpec, ConvertRequest
from edgeai.api.errors import CompressionFailed, ConversionFailed
from edgeai.hosting.faults import PluginInfo, broken
from edgeai.hosting.kinds import Kind, Maker, options


def _precision(what: str, spec: ConverterSpec, request: ConvertRequest) -> None:
    if request.precision not in spec.precisions:
        raise ConversionFailed(
            f"{what} has no precision {request.precision!r}",
            code="convert.precision",
            remedy=f"use one of {', '.join(spec.precisions)}",
        )


def _converted(info: PluginInfo, what: str, converted: Any, request: ConvertRequest) -> Converted:
    if not isinstance(converted, Converted) or not converted.artifact.exists():
        raise broken(info, f"{what}: convert", "returned no artifact that exists")
    if not converted.artifact.resolve().is_relative_to(request.output.resolve()):
        raise broken(info, f"{what}: convert", f"wrote {converted.artifact}, outside {request.output}")
    return converted


def _compressed(info: PluginInfo, what: str, compressed: Any, request: CompressRequest) -> Compressed:
    if not isinstance(compressed, Compressed) or not compressed.model.is_file():
        raise broken(info, f"{what}: compress", "returned no model that exists")
    if compressed.model.resolve() != request.output.resolve():
        raise broken(info, f"{what}: compress", f"wrote {compressed.model}, not {request.output}")
    return compressed


CONVERTER = Kind(
    "converter",
    {"convert": Maker(_converted, (options(ConversionFailed, "convert.options"), _precision))},
)
COMPRESSOR = Kind("compressor", {"compress": Maker(_compressed, (options(CompressionFailed, "compress.options"),))})
