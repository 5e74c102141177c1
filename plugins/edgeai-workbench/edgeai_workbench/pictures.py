"""One file of a data set -> one Frame: PNG and JPEG by Pillow, everything else as DICOM.

What a file is, its first bytes say and not its name: DICOM files seldom have a suffix.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from edgeai.api import Array, DataRejected, Frame, Geometry, InputRejected, InstanceRef
from edgeai.api.imaging import PIXEL_SPACING
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import read_frames

_PNG, _JPEG, _DICOM = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"DICM"
_PREAMBLE = 128
_GREY_BITS = {"uint8": 8, "uint16": 16}


def kind_of(path: Path) -> str:
    """``picture``, ``dicom`` or an empty string, by the first bytes; and ``dicom`` for the suffix ``.dcm``."""
    with path.open("rb") as file:
        start = file.read(_PREAMBLE + len(_DICOM))
    if start.startswith((_PNG, _JPEG)):
        return "picture"
    return "dicom" if start[_PREAMBLE:] == _DICOM or path.suffix.lower() == ".dcm" else ""


def load(path: Path, *, modality: str = "", spacing_mm: tuple[float, float] | None = None) -> Frame:
    """The one frame of a file; its ``instance`` says where it came from.

    Args:
        path: the file.
        modality: of a PNG or JPEG, which do not say.
        spacing_mm: millimetres from row to row and from column to column, where a table says so.

    Raises:
        DataRejected: ``data.file-unreadable``, or ``data.several-frames``.
    """
    try:
        if kind_of(path) == "picture":
            return frame_of(pixels_of(path), name=path.as_posix(), modality=modality, spacing_mm=spacing_mm)
        return _dicom(path, spacing_mm)
    except (OSError, ValueError, SyntaxError, InputRejected, Image.DecompressionBombError) as error:
        raise DataRejected(
            f"{path}: cannot be read: {error}",
            code="data.file-unreadable",
            remedy="PNG, JPEG (8 or 16 bit grey, or RGB) and DICOM are read",
        ) from error


def pixels_of(path: Path) -> Array:
    """A PNG or JPEG as it is stored: (rows, columns) uint8 or uint16, or (rows, columns, 3) uint8; no transparency.

    Raises:
        OSError, ValueError: it does not decode, or is of a kind that edgeai has no use for.
    """
    with Image.open(path) as opened:
        opened.load()
        image: Image.Image = opened
    if image.mode in ("P", "PA"):
        image = image.convert("RGB")
    if image.mode in ("RGBA", "LA"):
        image = image.convert(image.mode[:-1])
    if image.mode == "1":
        image = image.convert("L")
    if image.mode == "I" and image.getextrema()[0] >= 0 and image.getextrema()[1] < 2**16:  # type: ignore[operator]
        return np.asarray(image).astype(np.uint16)
    if image.mode not in ("L", "RGB", "I;16", "I;16L", "I;16B"):
        raise ValueError(f"a picture of mode {image.mode}")
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))


def frame_of(pixels: Array, *, name: str, modality: str = "", spacing_mm: tuple[float, float] | None = None) -> Frame:
    """Pixels out of a picture or an array as a Frame of an instance whose UID comes from ``name``.

    Raises:
        ValueError: pixels that are no plane of grey levels or RGB.
    """
    if pixels.dtype.name not in _GREY_BITS or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):
        raise ValueError(f"pixels of shape {pixels.shape} and dtype {pixels.dtype}")
    rows, columns = int(pixels.shape[0]), int(pixels.shape[1])
    photometric = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    instance = InstanceRef(
        sop_class_uid="",
        sop_instance_uid=f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}",
        modality=modality,
        rows=rows,
        columns=columns,
        samples_per_pixel=3 if pixels.ndim == 3 else 1,
        photometric_interpretation=photometric,
        bits_stored=_GREY_BITS[pixels.dtype.name],
    )
    return Frame(
        pixels=pixels,
        number=1,
        geometry=Geometry(source_rows=rows, source_columns=columns, pixel_spacing_mm=spacing_mm),
        instance=instance,
        photometric_interpretation=photometric,
        bits_stored=instance.bits_stored,
    )


def _dicom(path: Path, spacing_mm: tuple[float, float] | None) -> Frame:
    header = read_header(path)
    if header.instance.number_of_frames > 1:
        raise DataRejected(
            f"{path}: has {header.instance.number_of_frames} frames, a sample is one",
            code="data.several-frames",
            remedy="write the frames that are meant to files of their own",
        )
    frame = next(iter(read_frames(path, header=header)))
    if spacing_mm is None:
        return frame
    return replace(frame, geometry=replace(frame.geometry, pixel_spacing_mm=spacing_mm, spacing_from=PIXEL_SPACING))
