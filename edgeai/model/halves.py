"""A frame half-way through the steps as text and bytes, for another process, and back to the same to the last bit."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, fields, replace
from typing import Any, Final

import numpy as np

from edgeai.api.imaging import Frame, Grayscale, Lut, Window
from edgeai.api.results import GuardFigure, Note
from edgeai.api.tensors import Array
from edgeai.dicom.header import Header
from edgeai.pipeline import Halfway

_PLAIN: Final = ("photometric_interpretation", "bits_stored", "stored_units")
_KEPT: Final = frozenset({"pixels", "number", "geometry", "instance", "grayscale", "whole_range", "notes", *_PLAIN})
_KEPT_GREY: Final = ("rescale_slope", "rescale_intercept", "voi_lut_function")


class NotShared(Exception):
    """The frame holds what cannot be told exactly."""


def packed(halfway: Halfway, decoded: tuple[Note, ...], header: Header) -> tuple[bytes, memoryview]:
    """Head and pixels of a frame of this header.

    Args:
        halfway: the frame.
        decoded: what was noted when it was decoded.
        header: of its file, which whoever unpacks has read too.

    Raises:
        NotShared: not without losing something.
    """
    frame = halfway.frame
    geometry, grey = header.of_frame(frame.number)
    if frame.instance != header.instance or replace(frame.geometry, affine=geometry.affine) != geometry:
        raise NotShared
    pixels = frame.pixels
    if pixels.dtype.kind not in "biuf" or not pixels.dtype.isnative or not pixels.size:
        raise NotShared
    told = {
        "shape": pixels.shape,
        "dtype": pixels.dtype.str,
        "affine": frame.geometry.affine,
        "grey": None if frame.grayscale is grey else _told_grey(frame.grayscale),
        "range": frame.whole_range,
        "notes": [_told_note(note) for note in frame.notes],
        "decoded": [_told_note(note) for note in decoded],
        "trail": halfway.trail,
        "cuts": halfway.cuts,
        "figures": None if halfway.figures is None else [asdict(figure) for figure in halfway.figures],
        **{name: getattr(frame, name) for name in _PLAIN},
    }
    try:
        head = json.dumps(told).encode()
    except (TypeError, ValueError) as error:
        raise NotShared from error
    flat: Array = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    return head, flat.data


def unpacked(head: bytes, pixels: memoryview, header: Header, number: int) -> tuple[Halfway, tuple[Note, ...]]:
    """The frame again, and what was noted when it was decoded; its pixels are a view of ``pixels``."""
    told: dict[str, Any] = json.loads(head)
    geometry, grey = header.of_frame(number)
    values: Array = np.frombuffer(pixels, dtype=np.dtype(told["dtype"])).reshape(told["shape"])
    frame = Frame(
        pixels=values,
        number=number,
        geometry=replace(geometry, affine=tuple(told["affine"])),
        instance=header.instance,
        grayscale=grey if told["grey"] is None else _heard_grey(told["grey"]),
        whole_range=None if told["range"] is None else tuple(told["range"]),
        notes=tuple(Note(**note) for note in told["notes"]),
        **{name: told[name] for name in _PLAIN},
    )
    trail = tuple((name, what) for name, what in told["trail"])
    cuts = tuple((rows, columns) for rows, columns in told["cuts"])
    figures = None if told["figures"] is None else tuple(GuardFigure(**figure) for figure in told["figures"])
    return Halfway(frame, trail, cuts, frame, figures), tuple(Note(**note) for note in told["decoded"])


def _told_note(note: Note) -> dict[str, str]:
    return {"code": note.code, "text": note.text}


def _told_grey(grey: Grayscale) -> dict[str, Any]:
    return {
        "modality_lut": None if grey.modality_lut is None else _told_lut(grey.modality_lut),
        "windows": [(window.center, window.width) for window in grey.windows],
        "voi_luts": [_told_lut(lut) for lut in grey.voi_luts],
        "pixel_padding": grey.pixel_padding,
        "unusable": {name: _told_note(note) for name, note in grey.unusable.items()},
        **{name: getattr(grey, name) for name in _KEPT_GREY},
    }


def _heard_grey(told: dict[str, Any]) -> Grayscale:
    lut, padding = told["modality_lut"], told["pixel_padding"]
    return Grayscale(
        modality_lut=None if lut is None else _heard_lut(lut),
        windows=tuple(Window(center=center, width=width) for center, width in told["windows"]),
        voi_luts=tuple(_heard_lut(lut) for lut in told["voi_luts"]),
        pixel_padding=None if padding is None else tuple(padding),
        unusable={name: Note(**note) for name, note in told["unusable"].items()},
        **{name: told[name] for name in _KEPT_GREY},
    )


def _told_lut(lut: Lut) -> dict[str, Any]:
    data = np.ascontiguousarray(lut.data)
    text = base64.b64encode(data.tobytes()).decode("ascii")
    return {"first": lut.first, "bits": lut.bits, "dtype": data.dtype.str, "data": text}


def _heard_lut(told: dict[str, Any]) -> Lut:
    data: Array = np.frombuffer(base64.b64decode(told["data"]), dtype=np.dtype(told["dtype"]))
    return Lut(first=told["first"], data=data, bits=told["bits"])


assert {field.name for field in fields(Frame)} == _KEPT, "a field of Frame is not told"
