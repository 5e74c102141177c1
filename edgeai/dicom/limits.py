"""How much of a foreign file edgeai is willing to read, walk and decode."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderLimits:
    """Bounds of the part of a file before its Pixel Data.

    Attributes:
        max_header_bytes: bytes (after inflating, for Deflated Explicit VR) before Pixel Data.
        max_depth: sequences within sequences. Real images nest fewer than ten.
        max_elements: data elements and items walked, at every level; bounds the time.
    """

    max_header_bytes: int = 16 * MIB
    max_depth: int = 32
    max_elements: int = 250_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLimits:
    """Bounds of what is decoded. The defaults hold the largest mammogram and an hour-long cine.

    Attributes:
        max_rows, max_columns: pixels.
        max_frames: number of frames the header may declare.
        max_frame_bytes: one decoded frame in memory.
        max_total_bytes: all frames of an instance, decoded; they are never in memory together.
    """

    max_rows: int = 32_768
    max_columns: int = 32_768
    max_frames: int = 100_000
    max_frame_bytes: int = 1024 * MIB
    max_total_bytes: int = 64 * 1024 * MIB
