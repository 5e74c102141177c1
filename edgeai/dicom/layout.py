"""What the Image Pixel module (PS3.3 C.7.6.3) promises, and whether that can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeai.api.errors import PixelsRejected
from edgeai.api.tensors import Array
from edgeai.dicom.attributes import TAGS, label
from edgeai.dicom.limits import PixelLimits
from edgeai.dicom.syntaxes import TransferSyntax

GREY = ("MONOCHROME1", "MONOCHROME2")
_SAMPLES = {
    **dict.fromkeys((*GREY, "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"), 3),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Palette:
    """Red, green and blue palette LUTs (PS3.3 C.7.9): descriptor (entries, first, bits) and data, in that order."""

    descriptors: tuple[tuple[int, int, int], ...]
    data: tuple[Array, ...]
    segmented: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelLayout:
    """Pixel Data as the header describes it; nothing is checked until ``check``.

    Attributes:
        offset: of the value, in the file or (deflated) in the inflated data set.
        value_bytes: length that the element states, or ``None`` when encapsulated.
        file_bytes: size of the file when the header was read.
        deflated_from: where in the file a deflated data set begins.
        tag: of Pixel Data (7FE0,0010), or of its float sisters.
        palette_fault: why there is no palette although the header has one.
        missing: attributes (keywords) that the pixels need and the header lacks.
        overlay_bits: whether an overlay lies in the bits that pixels leave free (retired, PS3.5 8.1.2).
        extended_offsets: Extended Offset Table and its lengths (PS3.3 C.7.6.3.1.8-9), in bytes.
    """

    syntax: TransferSyntax
    tag: int
    offset: int
    value_bytes: int | None
    file_bytes: int
    rows: int
    columns: int
    frames: int
    samples: int
    photometric_interpretation: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: int
    swapped_words: bool = False
    deflated_from: int = 0
    palette: Palette | None = None
    palette_fault: str = ""
    overlay_bits: bool = False
    missing: frozenset[str] = frozenset()
    extended_offsets: tuple[Array, Array] | None = None

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of decoded stored values, in native byte order; single bits are unpacked to uint8."""
        if self.tag != 0x7FE00010:
            return np.dtype(np.float32 if self.tag == 0x7FE00008 else np.float64)
        bits = max(self.bits_allocated, 8)
        return np.dtype(f"{'i' if self.signed else 'u'}{bits // 8}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns) or (rows, columns, samples) of one decoded frame."""
        grey = (self.rows, self.columns)
        return grey if self.samples == 1 else (*grey, self.samples)

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest value that Bits Stored can hold; of what was not ``check``ed, some that can be."""
        bits = min(max(self.bits_stored, 1), 64)
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.signed else (0, (1 << bits) - 1)

    @property
    def stored_bits(self) -> int:
        """Bits that one frame takes in native Pixel Data; 4:2:2 stores two samples a pixel (C.7.6.3.1.2)."""
        native_422 = self.syntax.uncompressed and self.photometric_interpretation == "YBR_FULL_422"
        samples = 2 if native_422 else self.samples
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def needed_bytes(self) -> int:
        """Bytes that all frames take in native Pixel Data; whole words where bytes are swapped in words."""
        needed = (self.stored_bits * self.frames + 7) // 8
        return needed + (needed % 2 if self.swapped_words else 0)

    @property
    def most_padding(self) -> int:
        """Bytes after the frames that are no padding (PS3.5 8.1.1) any more, but a frame that the header denies."""
        return 2 if self.syntax.deflated else max(2, (self.stored_bits + 7) // 8)

    @property
    def there_bytes(self) -> int:
        """Bytes of native Pixel Data that there are: fewer than stated where the file ends inside."""
        stated = self.value_bytes or 0
        return stated if self.syntax.deflated else max(0, min(stated, self.file_bytes - self.offset))

    @property
    def lacks_padding(self) -> bool:
        """Whether the file ends after the frames, and inside the padding that the stated length leaves room for."""
        stated, there = self.value_bytes or 0, self.there_bytes
        return there < stated and 0 < self.needed_bytes <= there and stated - self.needed_bytes < self.most_padding


def check(layout: PixelLayout, limits: PixelLimits) -> None:
    """Refuse what cannot be, or is too much, before a byte is allocated.

    Raises:
        PixelsRejected: ``pixels.unsupported-syntax``, ``pixels.dimensions``, ``pixels.too-large``,
            ``pixels.photometric``, ``pixels.bits``, ``pixels.empty``.
    """
    if layout.syntax.codec == "none":
        raise PixelsRejected(
            f"transfer syntax {layout.syntax.uid} cannot be decoded here",
            code="pixels.unsupported-syntax",
            remedy="have the sender propose an uncompressed or a still-image transfer syntax",
        )
    check_extent(layout)
    _check_size(layout, limits)
    _check_samples(layout)
    _check_bits(layout)
    if layout.value_bytes == 0:
        raise PixelsRejected("Pixel Data is empty", code="pixels.empty")
    if (layout.value_bytes is None) != (layout.syntax.codec != "native"):
        raise PixelsRejected(
            "Pixel Data is encapsulated in a native transfer syntax, or native in an encapsulated one",
            code="pixels.encapsulation",
        )


def check_extent(layout: PixelLayout) -> None:
    """Refuse what has no pixel at all. To be asked before anything is decided by rows or columns.

    Raises:
        PixelsRejected: ``pixels.dimensions``.
    """
    _refuse_missing(layout, "pixels.dimensions", "Rows", "Columns")
    if layout.rows < 1 or layout.columns < 1 or layout.frames < 1:
        raise PixelsRejected(
            f"{layout.frames} frames of {layout.rows}x{layout.columns} is no image", code="pixels.dimensions"
        )


def _refuse_missing(layout: PixelLayout, code: str, *keywords: str) -> None:
    for keyword in keywords:
        if keyword in layout.missing:
            raise PixelsRejected(f"{label(TAGS[keyword][0])} is missing", code=code)


def _check_size(layout: PixelLayout, limits: PixelLimits) -> None:
    frame_bytes = layout.rows * layout.columns * layout.samples * max(1, layout.bits_allocated // 8)
    faults = [
        f"{value} {what} are more than {most}"
        for what, value, most in (
            ("rows", layout.rows, limits.max_rows),
            ("columns", layout.columns, limits.max_columns),
            ("frames", layout.frames, limits.max_frames),
            ("bytes a frame", frame_bytes, limits.max_frame_bytes),
            ("bytes in all", frame_bytes * layout.frames, limits.max_total_bytes),
        )
        if value > most
    ]
    if faults:
        raise PixelsRejected(
            "; ".join(faults), code="pixels.too-large", remedy="raise the pixel limits if such images are expected"
        )


def _check_samples(layout: PixelLayout) -> None:
    _refuse_missing(layout, "pixels.photometric", "PhotometricInterpretation")
    samples = _SAMPLES.get(layout.photometric_interpretation)
    if samples is None:
        raise PixelsRejected(
            f"Photometric Interpretation {layout.photometric_interpretation!r} is not supported",
            code="pixels.photometric",
        )
    if samples != layout.samples:
        _refuse_missing(layout, "pixels.photometric", "SamplesPerPixel")
        raise PixelsRejected(
            f"{layout.photometric_interpretation} has {samples} samples a pixel, not {layout.samples}",
            code="pixels.photometric",
        )
    if layout.planar not in (0, 1):
        raise PixelsRejected(f"Planar Configuration {layout.planar} does not exist", code="pixels.photometric")
    ybr_422 = layout.photometric_interpretation == "YBR_FULL_422"
    if ybr_422 and layout.syntax.uncompressed and (layout.columns % 2 or layout.planar or layout.bits_allocated != 8):
        raise PixelsRejected("4:2:2 needs an even number of columns of 8-bit pixels", code="pixels.photometric")
    if layout.photometric_interpretation == "PALETTE COLOR" and layout.palette is None:
        raise PixelsRejected(layout.palette_fault or "PALETTE COLOR without a palette", code="pixels.palette")


def _check_bits(layout: PixelLayout) -> None:
    _refuse_missing(layout, "pixels.bits", "BitsAllocated")
    if layout.tag != 0x7FE00010:
        if layout.syntax.codec != "native" or layout.bits_allocated != (32 if layout.tag == 0x7FE00008 else 64):
            raise PixelsRejected("float pixel data that is not native 32 or 64 bit", code="pixels.bits")
        if layout.samples != 1:
            raise PixelsRejected("float pixel data with more than one sample a pixel", code="pixels.bits")
        return
    _refuse_missing(layout, "pixels.bits", "BitsStored", "PixelRepresentation")
    possible = layout.bits_allocated in (1, 8, 16, 32)
    fits = 1 <= layout.bits_stored <= layout.bits_allocated and layout.bits_stored - 1 <= layout.high_bit
    if not possible or not fits or layout.high_bit >= layout.bits_allocated:
        raise PixelsRejected(
            f"Bits Allocated {layout.bits_allocated}, Bits Stored {layout.bits_stored}, "
            f"High Bit {layout.high_bit} do not go together",
            code="pixels.bits",
        )
    if layout.bits_allocated == 1 and (layout.samples != 1 or not layout.syntax.uncompressed or layout.signed):
        raise PixelsRejected("single bits must be uncompressed, unsigned and grey", code="pixels.bits")
    if layout.samples == 3 and (layout.signed or layout.bits_allocated not in (8, 16)):
        raise PixelsRejected("colour must be unsigned, 8 or 16 bits a sample", code="pixels.bits")
