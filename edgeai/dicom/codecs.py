"""One compressed frame to stored values, each codec by one named decoder.

Results so never depend on what else is installed.
JPEG of 8 bits goes to libjpeg-turbo through Pillow; lossless JPEG and JPEG of 12 bits to GDCM, in a process of
its own because it ends the one that feeds it damage; everything else through pydicom's decoder plugins: OpenJPEG,
CharLS and pylibjpeg-rle.
"""

from __future__ import annotations

from io import BytesIO
from struct import pack
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgeai.api.errors import PixelsRejected
from edgeai.api.tensors import Array
from edgeai.dicom.codestream import Codestream, without_marks
from edgeai.dicom.gdcm_process import decode_gdcm
from edgeai.dicom.layout import PixelLayout
from edgeai.dicom.native import decode_native

if TYPE_CHECKING:
    from PIL import Image

_PLUGINS: Final = {
    "rle": "pylibjpeg",
    "jpeg-ls": "pyjpegls",
    "jpeg2000": "pylibjpeg",
    "htj2k": "pylibjpeg",
}


def decode_frame(data: bytes, layout: PixelLayout, stream: Codestream | None) -> tuple[Array, str]:
    """Stored values of one frame, and their photometric interpretation (JPEG 2000 undoes its own transform).

    Raises:
        PixelsRejected: ``pixels.codec``, the decoder refuses the data (its own words are in the message) or
            gives something else than the header promises.
    """
    try:
        if stream is not None and layout.syntax.codec == "jpeg":
            values, photometric = _jpeg(data, layout, stream)
        elif layout.syntax.codec == "fragments":
            values, photometric = _stored(data, layout), layout.photometric_interpretation
        elif layout.syntax.codec == "jpeg-lossless":
            values, photometric = decode_gdcm(without_marks(data), layout), layout.photometric_interpretation
        else:
            values, photometric = _by_pydicom(data, layout)
    except (PixelsRejected, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in pylibjpeg-rle (Rust) is no Exception
        raise PixelsRejected(
            f"the {layout.syntax.codec} decoder refuses the frame: {str(error).strip() or type(error).__name__}",
            code="pixels.codec",
        ) from error
    if values.shape != layout.shape:
        raise PixelsRejected(f"decoded to {values.shape}, not {layout.shape}", code="pixels.codec")
    return values.astype(layout.dtype, copy=False), photometric


def _stored(data: bytes, layout: PixelLayout) -> Array:
    """An encapsulated uncompressed frame (PS3.5 A.4.11): native, little endian, a zero byte more where it is odd."""
    expected = (layout.stored_bits + 7) // 8
    if len(data) < expected:
        raise PixelsRejected(f"a frame has {len(data)} bytes, the dimensions need {expected}", code="pixels.short")
    if len(data) > expected + expected % 2 or any(data[expected:]):
        raise PixelsRejected(f"a frame has {len(data)} bytes, the dimensions need {expected}", code="pixels.surplus")
    return decode_native(np.frombuffer(data, np.uint8, expected), layout, 1)


def _jpeg(data: bytes, layout: PixelLayout, stream: Codestream) -> tuple[Array, str]:
    if stream.bits > 8:
        return decode_gdcm(without_marks(data), layout), layout.photometric_interpretation
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
    from PIL import Image  # uncompressed images never need it, and a cold start pays for every import

    return Image.open(BytesIO(data), formats=("JPEG",))


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


def _by_pydicom(data: bytes, layout: PixelLayout) -> tuple[Array, str]:
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
        decoding_plugin=_PLUGINS[layout.syntax.codec],
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
