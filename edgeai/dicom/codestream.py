"""What a compressed frame says of itself, read before a decoder sees it.

A decoder allocates what the codestream asks for, whatever the DICOM header says; so the two are held
against each other first. JPEG: ISO/IEC 10918-1 annex B; JPEG-LS: ISO/IEC 14495-1 annex C;
JPEG 2000: ISO/IEC 15444-1 annex A.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import error as StructError  # noqa: N812 - it is a class
from struct import unpack_from
from typing import Final

from edgeai.api.errors import PixelsRejected
from edgeai.dicom.layout import PixelLayout

_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_JP2: Final = b"\x00\x00\x00\x0cjP  "
_JP2_HEADER_BYTES: Final = 4096
_NOT_FRAMES: Final = frozenset({0xC4, 0xC8, 0xCC})  # DHT, reserved, DAC


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """The frame header of a codestream.

    Attributes:
        ybr: JPEG: True when its markers say YCbCr, False when they say RGB, ``None`` when they are silent.
        libjpeg_ybr: JPEG: whether libjpeg takes the components for YCbCr (its ``default_decompress_parms``).
        levels: JPEG 2000: decomposition levels, so how often it can be halved.
        at_origin: JPEG 2000: image and tile grid begin at (0, 0).
        process: JPEG: the SOF marker (0xC0 baseline, 0xC1 extended, 0xC2 progressive, 0xC3 lossless).
    """

    rows: int
    columns: int
    components: int
    bits: int
    signed: bool = False
    ybr: bool | None = None
    libjpeg_ybr: bool = True
    levels: int = 0
    at_origin: bool = True
    subsampled: bool = False
    process: int = 0


def bare_codestream(data: bytes, layout: PixelLayout) -> bytes:
    """The frame without a JP2 file wrapper, which PS3.5 A.4.4 forbids but writers produce.

    What the wrapper says of size and colour is so never believed.
    """
    if layout.syntax.codec in ("jpeg2000", "htj2k") and data.startswith(_JP2):
        return data[max(0, data.find(_SOC_SIZ, 0, _JP2_HEADER_BYTES)) :]
    return data


def without_marks(data: bytes) -> bytes:
    """A JPEG without its application and comment segments (APPn, COM), for a decoder that trips over them.

    GDCM ends the process where an Adobe segment and Photometric Interpretation disagree. Call it only after
    ``read_codestream``, which has walked the same segments.
    """
    kept, position = [data[:2]], 2
    while position + 4 <= len(data):
        marker, length = unpack_from(">HH", data, position)
        if marker == 0xFFFF:
            position += 1
            continue
        end = position + 2 + max(length, 2)
        if not (0xFFE0 <= marker <= 0xFFEF or marker == 0xFFFE):
            if marker == 0xFFDA or marker >> 8 != 0xFF:
                break
            kept.append(data[position:end])
        position = end
    return b"".join((*kept, data[position:]))


def read_codestream(data: bytes, layout: PixelLayout) -> Codestream | None:
    """Parse what comes before the entropy-coded data; ``None`` for RLE and uncompressed frames, where nothing does.

    Raises:
        PixelsRejected: ``pixels.codestream``, not the codestream that the transfer syntax names;
            ``pixels.mismatch``, it is sound but of another size, depth or number of components.
    """
    codec = layout.syntax.codec
    if codec in ("rle", "fragments"):
        return None
    try:
        stream = _jpeg2000(data) if codec in ("jpeg2000", "htj2k") else _jpeg(data)
    except (StructError, IndexError) as error:
        raise PixelsRejected("the codestream ends inside its header", code="pixels.codestream") from error
    _check(stream, layout)
    return stream


def _check(stream: Codestream, layout: PixelLayout) -> None:
    faults = [
        f"{what} {ours} in the header, {theirs} in the codestream"
        for what, ours, theirs in (
            ("rows", layout.rows, stream.rows),
            ("columns", layout.columns, stream.columns),
            ("samples", layout.samples, stream.components),
        )
        if ours != theirs
    ]
    if not 1 <= stream.bits <= layout.bits_allocated:
        faults.append(f"{layout.bits_allocated} bits allocated, {stream.bits} in the codestream")
    if faults:
        raise PixelsRejected("; ".join(faults), code="pixels.mismatch")
    lossless = stream.process in (0xC3, 0xF7)
    expected = {"jpeg": not lossless, "jpeg-lossless": stream.process == 0xC3, "jpeg-ls": stream.process == 0xF7}
    if not expected.get(layout.syntax.codec, True) or stream.subsampled:
        raise PixelsRejected(
            f"the codestream is of another kind than transfer syntax {layout.syntax.uid}", code="pixels.codestream"
        )


def _jpeg(data: bytes) -> Codestream:
    """Walk marker segments up to the frame header (SOFn)."""
    if data[:2] != b"\xff\xd8":
        raise PixelsRejected("a JPEG frame that does not begin as one", code="pixels.codestream")
    position, jfif, adobe = 2, False, None
    while True:
        (marker,) = unpack_from(">H", data, position)
        if marker == 0xFFFF:  # fill byte (B.1.1.2)
            position += 1
            continue
        if marker >> 8 != 0xFF or marker in (0xFFD9, 0xFFDA):
            raise PixelsRejected("a JPEG frame without a frame header", code="pixels.codestream")
        (length,) = unpack_from(">H", data, position + 2)
        body = data[position + 4 : position + 2 + length]
        code = marker & 0xFF
        if (0xC0 <= code <= 0xCF and code not in _NOT_FRAMES) or code == 0xF7:
            return _jpeg_frame(body, code, jfif=jfif, adobe=adobe)
        if code == 0xE0 and body.startswith(b"JFIF"):
            jfif = True
        elif code == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        position += 2 + max(length, 2)


def _jpeg_frame(body: bytes, process: int, *, jfif: bool, adobe: int | None) -> Codestream:
    bits, rows, columns, components = unpack_from(">BHHB", body, 0)
    ids = bytes(body[6 + 3 * number] for number in range(components))
    ybr: bool | None = None
    if adobe is not None:
        ybr = adobe == 1
    elif ids in (b"RGB", b"rgb"):
        ybr = False
    elif jfif:
        ybr = True
    return Codestream(
        rows=rows,
        columns=columns,
        components=components,
        bits=bits,
        ybr=ybr,
        libjpeg_ybr=jfif or (adobe != 0 if adobe is not None else ids != b"RGB"),
        process=process,
    )


def _jpeg2000(data: bytes) -> Codestream:
    """SIZ (A.5.1) and COD (A.6.1)."""
    if not data.startswith(_SOC_SIZ):
        raise PixelsRejected("a JPEG 2000 frame that does not begin as one", code="pixels.codestream")
    x1, y1, x0, y0, _, _, tile_x0, tile_y0, components = unpack_from(">8LH", data, 8)
    parts = [unpack_from(">BBB", data, 42 + 3 * number) for number in range(min(components, 4))]
    (siz_length,) = unpack_from(">H", data, 4)
    return Codestream(
        rows=y1 - y0,
        columns=x1 - x0,
        components=components,
        bits=max((part[0] & 0x7F for part in parts), default=0) + 1,
        signed=any(part[0] & 0x80 for part in parts),
        subsampled=any(part[1:] != (1, 1) for part in parts),
        at_origin=not (x0 or y0 or tile_x0 or tile_y0),
        levels=_levels(data, 4 + siz_length),
    )


def _levels(data: bytes, position: int) -> int:
    """Decomposition levels of the COD segment in the main header."""
    while True:
        marker, length = unpack_from(">HH", data, position)
        if marker == 0xFF52:
            return int(data[position + 9])
        if marker in (0xFF90, 0xFFD9) or marker < 0xFF00:
            raise PixelsRejected("a JPEG 2000 frame without coding defaults", code="pixels.codestream")
        position += 2 + max(length, 2)
