"""What decides about the pixels on their way to a model, to compare with what other models' pixels go through."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

import edgeai
from edgeai.dicom.fastpath import decoded_alike

if TYPE_CHECKING:
    from edgeai.bundle.manifest import TransformStep
    from edgeai.bundle.uses import GuardUse
    from edgeai.dicom.layout import PixelLayout
    from edgeai.dicom.pixels import DecodeOptions
    from edgeai.hosting import PluginInfo

_DECIDING: Final = (
    *("pydicom", "pillow", "simplejpeg", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "python-gdcm"),
    *("numpy", "opencv-python-headless"),
)
"""Distributions whose version decides about pixels: decoders, and what transforms are made of."""


def _versions() -> str:
    versions = [edgeai.__version__]
    for name in _DECIDING:
        with suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    return ", ".join(versions)


_VERSIONS: Final = _versions()
"""As this process was started: what is installed meanwhile is not what works here."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model's pixels are decoded, and each of its steps.

    Attributes:
        fast, min_rows, min_columns: as ``DecodeOptions``.
        steps: the versions of all that takes part, then after each step a digest of everything up to it.
    """

    fast: tuple[str, ...]
    min_rows: int
    min_columns: int
    steps: tuple[str, ...]

    @classmethod
    def of(
        cls,
        decoding: DecodeOptions,
        steps: Sequence[TransformStep],
        plugins: Sequence[PluginInfo],
        guard: GuardUse | None = None,
    ) -> Recipe:
        """Of a model that is open: what it is decoded by, its steps, the plugin of each, and who looks before it.

        Planes that nobody has looked at serve nobody who looks, but for those that are only decoded. These alone are
        shared by a model with another before it, which takes a frame as it was decoded.
        """
        looked = guard is not None and guard.content
        digests = [_digest(_VERSIONS)]
        if guard is not None and guard.model is not None:
            steps, plugins = (), ()
        for step, plugin in zip(steps, plugins, strict=True):
            told = [step.transform, step.options, plugin.name, plugin.distribution, plugin.version, looked]
            digests.append(_digest(digests[-1] + json.dumps(told, sort_keys=True)))
        return cls(tuple(sorted(decoding.fast)), decoding.min_rows, decoding.min_columns, tuple(digests))

    def told(self) -> bytes:
        """For the others."""
        return json.dumps([self.fast, self.min_rows, self.min_columns, self.steps]).encode()

    @classmethod
    def heard(cls, told: bytes) -> Recipe | None:
        """Of another model; None for what makes no sense (of another version, say)."""
        try:
            fast, min_rows, min_columns, steps = json.loads(told)
            return cls(tuple(map(str, fast)), int(min_rows), int(min_columns), tuple(map(str, steps)))
        except (ValueError, TypeError):
            return None

    def decoding(self, layout: PixelLayout) -> str:
        """What has to be the same for frames of this image to be decoded to the same pixels."""
        return decoded_alike(layout, frozenset(self.fast), self.min_rows, self.min_columns)

    def common(self, other: Recipe, layout: PixelLayout) -> int | None:
        """How many steps both do alike on this image; None where they do not even decode it alike."""
        if self.decoding(layout) != other.decoding(layout):
            return None
        alike = 0
        for own, others in zip(self.steps, other.steps, strict=False):
            if own != others:
                break
            alike += 1
        return alike - 1 if alike else None

    def name(self, layout: PixelLayout, steps: int) -> str:
        """Of the planes after so many steps; another name for whatever differs up to there."""
        return _digest(f"{self.decoding(layout)} {self.steps[steps]}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def deepest(own: Recipe, others: Sequence[Recipe], layout: PixelLayout) -> set[int]:
    """For each of the others that share anything with it, after how many steps they part."""
    return {steps for other in others if (steps := own.common(other, layout)) is not None}
