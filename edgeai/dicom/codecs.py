"""One compressed frame to stored values, each codec by one named decoder.

What it reads never depends on what else is installed. A frame that it refuses goes to the others that are, and is
taken, aloud, where they read it and agree (ADR 0028).
JPEG of 8 bits goes to libjpeg-turbo through Pillow (scaled: ``fastpath``); lossless JPEG and JPEG of 12 bits to
GDCM, in a process of its own because it ends the one that feeds it damage; everything else through pydicom's decoder
plugins: OpenJPEG, CharLS and pylibjpeg-rle.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from io import BytesIO
from struct import pack
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgeai.api.errors import PixelsRejected
from edgeai.api.results import Note
from edgeai.api.tensors import Array
from edgeai.dicom.codestream import Codestream, without_marks
from edgeai.dicom.layout import PixelLayout
from edgeai.dicom.native import decode_native
from edgeai.dicom.notes import OTHER_DECODER

if TYPE_CHECKING:
    from PIL import Image

_PLUGINS: Final = {
    "rle": "pylibjpeg",
    "jpeg-ls": "pyjpegls",
    "jpeg2000": "pylibjpeg",
    "htj2k": "pylibjpeg",
}
_END: Final = b"\xff\xd9"
"""End of image. Entropy-coded JPEG-LS never has a byte above 0x7F behind 0xFF (ISO/IEC 14495-1 A.1)."""
_GDCM: Final = "gdcm"
_LIBJPEG: Final = "pillow"
_LENIENT: Final = frozenset({"pydicom"})
"""Decoders that make pictures of damage: of 12 frames that pylibjpeg-rle refused, pydicom's own gave 3 wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One frame's stored values, their photometric interpretation, and what a reader should know of their decoding."""

    values: Array
    photometric_interpretation: str
    notes: tuple[Note, ...] = ()


def decode_frame(data: bytes, layout: PixelLayout, stream: Codestream | None) -> Decoded:
    """Stored values of one frame, and their photometric interpretation (JPEG 2000 undoes its own transform).

    Raises:
        PixelsRejected: ``pixels.codec``, the decoder refuses the data (its own words are in the message) or
            gives something else than the header promises, and no other does better.
    """
    if layout.syntax.codec == "fragments":
        return Decoded(_stored(data, layout), layout.photometric_interpretation)
    if layout.syntax.codec == "jpeg-ls" and _END not in data:
        # No decoder takes it, and CharLS may look for its end for half a minute.
        raise PixelsRejected("the jpeg-ls frame is cut short: it has no end", code="pixels.codec")
    first = _first(layout, stream)
    try:
        return _by(first, data, layout, stream)
    except PixelsRejected as refused:
        return _by_another(first, data, layout, stream, refused)


def _first(layout: PixelLayout, stream: Codestream | None) -> str:
    codec = layout.syntax.codec
    if codec == "jpeg" and stream is not None:
        return _GDCM if stream.bits > 8 else _LIBJPEG
    return _GDCM if codec == "jpeg-lossless" else _PLUGINS[codec]


def _by_another(
    first: str, data: bytes, layout: PixelLayout, stream: Codestream | None, refused: PixelsRejected
) -> Decoded:
    """The frame as the other decoders that are installed read it. They are never left to disagree in silence.

    Raises:
        PixelsRejected: ``pixels.codec``.
    """
    answers: dict[str, Decoded] = {}
    for name in _others(first, layout, stream):
        with suppress(PixelsRejected):
            answers[name] = _by(name, data, layout, stream)
    if not answers:
        raise refused
    (taken, decoded), *more = answers.items()
    for name, other in more:
        if not np.array_equal(other.values, decoded.values):
            raise PixelsRejected(f"{first} refuses the frame, {taken} and {name} disagree on it", code="pixels.codec")
    note = Note(code=OTHER_DECODER, text=f"{first} refused a frame ({layout.syntax.codec}); it was read by {taken}")
    return replace(decoded, notes=(note,))


def _others(first: str, layout: PixelLayout, stream: Codestream | None) -> list[str]:
    """Decoders that are installed, beside the first: GDCM, then whatever pydicom finds.

    Not for JPEG colour, since each has a conversion of its own, nor GDCM where JPEG 2000 has another sign than the
    header, which it does not set right. In its own process it is no pydicom plugin.
    """
    from pydicom.pixels.decoders.base import get_decoder

    if layout.syntax.codec == "jpeg" and layout.samples > 1:
        return []
    others = [name for name in get_decoder(layout.syntax.uid).available_plugins if name not in (_GDCM, *_LENIENT)]
    same_sign = stream is None or layout.syntax.codec != "jpeg2000" or stream.signed == layout.signed
    if layout.syntax.codec != "htj2k" and same_sign and find_spec(_GDCM) is not None:
        others.insert(0, _GDCM)
    return [name for name in others if name != first]


def _by(name: str, data: bytes, layout: PixelLayout, stream: Codestream | None) -> Decoded:
    """The frame as the decoder of this name reads it.

    Raises:
        PixelsRejected: ``pixels.codec``.
    """
    try:
        if name == _LIBJPEG and layout.syntax.codec == "jpeg" and stream is not None:
            values, photometric = _jpeg(data, layout, stream)
        elif name == _GDCM:
            values, photometric = _by_gdcm(data, layout)
        else:
            values, photometric = _by_pydicom(name, data, layout)
    except (PixelsRejected, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in pylibjpeg-rle (Rust) is no Exception
        raise PixelsRejected(
            f"the {layout.syntax.codec} decoder refuses the frame: {str(error).strip() or type(error).__name__}",
            code="pixels.codec",
        ) from error
    if values.shape != layout.shape:
        raise PixelsRejected(f"decoded to {values.shape}, not {layout.shape}", code="pixels.codec")
    return Decoded(values.astype(layout.dtype, copy=False), photometric)


def _by_gdcm(data: bytes, layout: PixelLayout) -> tuple[Array, str]:
    from edgeai.dicom.gdcm_process import decode_gdcm  # the last to be asked

    is_jpeg = layout.syntax.codec in ("jpeg", "jpeg-lossless")
    photometric = layout.photometric_interpretation
    undone = layout.syntax.codec == "jpeg2000" and photometric in ("YBR_RCT", "YBR_ICT")
    return decode_gdcm(without_marks(data) if is_jpeg else data, layout), "RGB" if undone else photometric


def _stored(data: bytes, layout: PixelLayout) -> Array:
    """An encapsulated uncompressed frame (PS3.5 A.4.11): native, little endian, a zero byte more where it is odd."""
    expected = (layout.stored_bits + 7) // 8
    if len(data) < expected:
        raise PixelsRejected(f"a frame has {len(data)} bytes, the dimensions need {expected}", code="pixels.short")
    if len(data) > expected + expected % 2 or any(data[expected:]):
        raise PixelsRejected(f"a frame has {len(data)} bytes, the dimensions need {expected}", code="pixels.surplus")
    return decode_native(np.frombuffer(data, np.uint8, expected), layout, 1)


def _jpeg(data: bytes, layout: PixelLayout, stream: Codestream) -> tuple[Array, str]:
    image = open_jpeg(data)
    if layout.samples == 3:
        if stream.libjpeg_ybr:
            image.draft("YCbCr", image.size)  # so that libjpeg leaves the components alone
        photometric = "YBR_FULL" if is_ybr(layout, stream) else "RGB"
    else:
        photometric = layout.photometric_interpretation
    return np.array(image), photometric


def open_jpeg(data: bytes) -> Image.Image:
    """A JPEG frame, its header read but nothing decoded."""
    from PIL import Image, ImageFile  # uncompressed images never need it, and a cold start pays for every import

    image = Image.open(BytesIO(data), formats=("JPEG",))
    assert isinstance(image, ImageFile.ImageFile)
    # All at once: libjpeg starts its row of blocks again wherever what it was given ends, by default every 64 KiB.
    image.decodermaxblock = len(data)
    return image


def converts_itself(layout: PixelLayout, stream: Codestream) -> bool:
    """Whether libjpeg would turn this frame into RGB by itself, in the right way."""
    return layout.samples == 3 and stream.bits == 8 and is_ybr(layout, stream) and stream.libjpeg_ybr


def jpeg_rgb(data: bytes, layout: PixelLayout) -> Array:
    """A YCbCr JPEG as RGB, by libjpeg.

    Raises:
        PixelsRejected: ``pixels.codec``.
    """
    try:
        values: Array = np.array(open_jpeg(data))
    except Exception as error:
        raise PixelsRejected(f"the jpeg decoder refuses the frame: {error}", code="pixels.codec") from error
    if values.shape != layout.shape:
        raise PixelsRejected(f"decoded to {values.shape}, not {layout.shape}", code="pixels.codec")
    return values


def is_ybr(layout: PixelLayout, stream: Codestream) -> bool:
    """Whether the components of a JPEG are YCbCr. The codestream's own marks win over the header's attribute."""
    if stream.ybr is not None:
        return stream.ybr
    return layout.photometric_interpretation.startswith("YBR")


def _by_pydicom(name: str, data: bytes, layout: PixelLayout) -> tuple[Array, str]:
    from pydicom.pixels.decoders.base import get_decoder

    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric_interpretation,
        "planar_configuration": layout.planar,
        "pixel_keyword": "PixelData",
    }
    values, changed = get_decoder(layout.syntax.uid).as_array(
        _encapsulate(data),
        index=0,
        raw=True,
        validate=False,  # done already, and without pydicom's warnings
        decoding_plugin=name,
        **options,
    )
    return np.ascontiguousarray(values), str(changed["photometric_interpretation"])


def _encapsulate(data: bytes) -> bytes:
    """One frame as pydicom's decoders take it: an empty offset table, one fragment (PS3.5 A.4)."""
    padded = data + b"\0" * (len(data) % 2)
    return b"".join(
        (
            pack("<HHL", 0xFFFE, 0xE000, 0),
            pack("<HHL", 0xFFFE, 0xE000, len(padded)),
            padded,
            pack("<HHL", 0xFFFE, 0xE0DD, 0),
        )
    )
