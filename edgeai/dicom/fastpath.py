"""Fast paths: decoding less than the whole, which changes the numbers, so each has a name that a manifest must give.

``luma``     JPEG colour of 8 bits straight to its Y plane by libjpeg; no chroma, no colour conversion.
``reduced``  JPEG 2000 at the smallest resolution level (ISO/IEC 15444-1 annex B.5), or JPEG at the smallest
             scaled DCT, that is not under twice the rows and columns asked for.
``smallest`` The same, not under the rows and columns asked for: a quarter of the pixels, and no antialiasing of the
             model's own resize on top. Where both are given, this one counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np

from edgeai.api.errors import PixelsRejected
from edgeai.api.imaging import Geometry
from edgeai.api.tensors import Array
from edgeai.dicom.codecs import converts_itself, is_ybr, open_jpeg
from edgeai.dicom.codestream import Codestream
from edgeai.dicom.layout import PixelLayout

NAMES: Final = frozenset({"luma", "reduced", "smallest"})
_MARGINS: Final = (("smallest", 1), ("reduced", 2))
"""Name -> how many times what the model takes in is kept at least; with 2 its own resize still antialiases."""
_LEAST_BITS: Final = 8
_DCT_SCALES: Final = 3  # libjpeg: 1/2, 1/4, 1/8
_AT_ONCE: Final = {"L": "GRAY", "RGB": "RGB"}
"""Pillow's word for a colour space -> libjpeg-turbo's."""
_LEAST_SIDE: Final = 8  # from here on each eighth of a side is a row or column more: sizes tell scales apart


@dataclass(frozen=True, slots=True)
class Shortcut:
    """How one frame is decoded: Y plane alone or not, and halved how often."""

    luma: bool = False
    halvings: int = 0


def plan(
    layout: PixelLayout, stream: Codestream | None, fast: frozenset[str], min_rows: int, min_columns: int
) -> Shortcut | None:
    """The shortcut that ``fast`` allows for this frame, or ``None`` where the exact path is all there is."""
    if stream is None or stream.bits > 16:
        return None
    margin = next((margin for name, margin in _MARGINS if name in fast), 0)
    least = (margin * min_rows, margin * min_columns)
    if layout.syntax.codec == "jpeg" and stream.bits == 8:
        luma = "luma" in fast and converts_itself(layout, stream)
        halvings = _halvings(layout, _DCT_SCALES, *least)
        return Shortcut(luma, halvings) if luma or halvings else None
    if layout.syntax.codec in ("jpeg2000", "htj2k") and _is_reducible(layout, stream):
        halvings = _halvings(layout, stream.levels, *least)
        return Shortcut(False, halvings) if halvings else None
    return None


def decoded_alike(layout: PixelLayout, fast: frozenset[str], min_rows: int, min_columns: int) -> str:
    """What two readers of this image must have in common here, so that every frame decodes to the same pixels.

    How often a frame is halved is the least of what is asked for and what its codestream has; the first is enough.
    """
    codec = layout.syntax.codec
    if codec not in ("jpeg", "jpeg2000", "htj2k"):
        return "exact"
    margin = next((margin for name, margin in _MARGINS if name in fast), 0)
    halvings = _halvings(layout, max(layout.rows, layout.columns).bit_length(), margin * min_rows, margin * min_columns)
    return f"{'luma' if codec == 'jpeg' and 'luma' in fast else 'whole'}/{halvings}"


def _halvings(layout: PixelLayout, most: int, min_rows: int, min_columns: int) -> int:
    """How often rows and columns can be halved and not fall under the minimum; 0 without a minimum."""
    if min_rows < 1 or min_columns < 1:
        return 0
    count = 0
    while count < most:
        step = 2 << count
        if -(-layout.rows // step) < min_rows or -(-layout.columns // step) < min_columns:
            break
        count += 1
    return count


def _is_reducible(layout: PixelLayout, stream: Codestream) -> bool:
    """Whether low-pass samples mean what pixels mean.

    Not where two's complement was coded as unsigned (the transform then averages across the wrap), where the
    image is not at the grid's origin (levels fall elsewhere), for deep colour (Pillow makes it 8 bits), for indices of
    a palette (there is nothing between two of them), or where few bits would round the picture away.
    """
    return (
        stream.signed == layout.signed
        and layout.photometric_interpretation != "PALETTE COLOR"
        and layout.bits_stored >= _LEAST_BITS
        and stream.at_origin
        and (layout.samples == 1 or (stream.bits == 8 and not stream.signed))
    )


def decode_shortcut(data: bytes, layout: PixelLayout, stream: Codestream, shortcut: Shortcut) -> tuple[Array, str]:
    """Pixels by a shortcut of ``plan``, and their photometric interpretation.

    Raises:
        PixelsRejected: ``pixels.codec``.
    """
    try:
        if layout.syntax.codec == "jpeg":
            return _jpeg(data, layout, stream, shortcut)
        return _jpeg2000(data, layout, stream, shortcut.halvings)
    except Exception as error:
        raise PixelsRejected(f"the decoder refuses the frame: {error}", code="pixels.codec") from error


def reduced_geometry(geometry: Geometry, layout: PixelLayout, halvings: int) -> Geometry:
    """Where the pixels of a plane halved so often lie in the source.

    A scaled DCT averages blocks, so a pixel covers ``step`` source pixels. A JPEG 2000 low-pass sample is
    centred on every ``step``-th source pixel instead (both filters are symmetric about it), half a step less
    half a pixel before the centre of such a block.
    """
    step = float(1 << halvings)
    shift = 0.0 if layout.syntax.codec == "jpeg" else 0.5 - step / 2
    return geometry.cropped(shift, shift).scaled(step, step)


def _jpeg(data: bytes, layout: PixelLayout, stream: Codestream, shortcut: Shortcut) -> tuple[Array, str]:
    mode, photometric = _wanted(layout, stream, shortcut)
    step = 1 << shortcut.halvings
    rows, columns = -(-layout.rows // step), -(-layout.columns // step)
    values = _at_once(data, mode, rows, columns)
    if values is not None:
        return values, photometric
    image = open_jpeg(data)
    image.draft(mode, (max(1, layout.columns // step), max(1, layout.rows // step)))
    if image.size != (columns, rows):
        raise ValueError(f"its size is {image.size}, not {(columns, rows)}")
    return np.asarray(image), photometric


def _wanted(layout: PixelLayout, stream: Codestream, shortcut: Shortcut) -> tuple[str, str]:
    """What libjpeg shall give, in Pillow's words, and the photometric interpretation of that."""
    if shortcut.luma:
        return "L", "MONOCHROME2"
    if layout.samples == 1:
        return "L", layout.photometric_interpretation
    if converts_itself(layout, stream):
        return "RGB", "RGB"
    # Either way the components as they are.
    return "YCbCr" if stream.libjpeg_ybr else "RGB", "YBR_FULL" if is_ybr(layout, stream) else "RGB"


def _at_once(data: bytes, mode: str, rows: int, columns: int) -> Array | None:
    """The same pixels by libjpeg-turbo's own interface, in nine tenths of the time that they take through Pillow.

    ``None`` where Pillow is to be asked, and so to say what is wrong: components without conversion, which this
    interface does not give; planes so small that two scales have one size; a file with anything that libjpeg warns
    of; another size than the header's, for which the buffer is too small or too large.
    """
    if mode not in _AT_ONCE or min(rows, columns) < _LEAST_SIDE:
        return None
    import simplejpeg  # uncompressed images never need it

    samples = 1 if mode == "L" else 3
    buffer = np.empty((rows, columns, samples), np.uint8)
    try:
        values: Array = simplejpeg.decode_jpeg(
            data, _AT_ONCE[mode], min_height=rows, min_width=columns, buffer=buffer, strict=True
        )
    except ValueError:
        return None
    if values.shape != buffer.shape:
        return None
    return values[..., 0] if mode == "L" else values


def _jpeg2000(data: bytes, layout: PixelLayout, stream: Codestream, halvings: int) -> tuple[Array, str]:
    from PIL import Image  # as in codecs

    image = Image.open(BytesIO(data), formats=("JPEG2000",))
    # Pillow's own ``reduce`` rounds the size to nearest; the Standard rounds it up (B-15), and OpenJPEG then
    # refuses the smaller buffer. So the tile is told the right size here.
    step = 1 << halvings
    size = (-(-layout.columns // step), -(-layout.rows // step))
    tile = image.tile[0]
    assert isinstance(tile.args, tuple)
    codec, _, *rest = tile.args
    image.tile = [tile._replace(extents=(0, 0, *size), args=(codec, halvings, *rest))]
    image._size = size
    values: Array = np.asarray(image)
    if layout.samples == 3:
        return values, "RGB" if layout.photometric_interpretation != "YBR_FULL" else "YBR_FULL"
    # Pillow scales up to 8 or 16 bits and makes signed samples unsigned (Jpeg2KDecode.c); undo both.
    container = 8 if stream.bits <= 8 else 16
    values = values >> (container - stream.bits)
    if stream.signed:
        values = values.astype(np.int32) - (1 << stream.bits - 1)
    return values.astype(layout.dtype), layout.photometric_interpretation
