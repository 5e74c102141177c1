"""DIMSE command sets (PS3.7): the requests a Storage SCP understands, and its responses.

A command set is always Implicit VR Little Endian with one level of elements (PS3.7 6.3.1), so it is read
and written here in a few lines. pydicom would validate the values, and a modality whose UIDs have a
leading zero would be answered with an exception.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from edgeai.api.errors import DicomRejected

NO_DATA_SET: Final = 0x0101
MAX_COMMAND_BYTES: Final = 64 * 1024
_ELEMENT: Final = Struct("<HHL")
_US: Final = Struct("<H")


class Field(IntEnum):
    """Command Field (0000,0100); a response has bit 15 set."""

    C_STORE = 0x0001
    C_ECHO = 0x0030
    C_CANCEL = 0x0FFF


class Status(IntEnum):
    """Status (0000,0900): PS3.4 B.2.3 and PS3.7 annex C."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    INVALID_OBJECT_INSTANCE = 0x0117
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A request, as far as a Storage SCP needs it. Texts are empty where the element is absent."""

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool


def read_command(encoded: bytes) -> Command:
    """Decode a command set.

    Raises:
        DicomRejected: ``dicom.command``, the bytes are no command set.
    """
    values: dict[int, bytes] = {}
    position = 0
    try:
        while position < len(encoded):
            group, number, length = _ELEMENT.unpack_from(encoded, position)
            position += 8 + length
            if group != 0 or position > len(encoded):
                raise DicomRejected("a command set with foreign or truncated elements", code="dicom.command")
            values[number] = encoded[position - length : position]
        return Command(
            field=_US.unpack(values[0x0100])[0],
            message_id=_US.unpack(values[0x0110])[0] if 0x0110 in values else 0,
            sop_class_uid=_text(values.get(0x0002, b"")),
            sop_instance_uid=_text(values.get(0x1000, b"")),
            has_data_set=_US.unpack(values[0x0800])[0] != NO_DATA_SET,
        )
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise DicomRejected(f"not a command set: {error}", code="dicom.command") from error


def response(request: Command, status: int, comment: str = "") -> bytes:
    """The encoded response to a request; ``comment`` goes into Error Comment (0000,0902), LO, 64 characters."""
    elements = [
        (0x0002, _padded(request.sop_class_uid, "\0")),
        (0x0100, _US.pack(request.field | 0x8000)),
        (0x0120, _US.pack(request.message_id)),
        (0x0800, _US.pack(NO_DATA_SET)),
        (0x0900, _US.pack(status)),
    ]
    if comment:
        elements.append((0x0902, _padded(comment.replace("\\", "/")[:64], " ")))
    if request.sop_instance_uid:
        elements.append((0x1000, _padded(request.sop_instance_uid, "\0")))
    body = b"".join(_ELEMENT.pack(0, number, len(value)) + value for number, value in elements)
    return _ELEMENT.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


def _text(value: bytes) -> str:
    return value.decode("ascii").rstrip("\0 ").lstrip(" ")


def _padded(text: str, pad: str) -> bytes:
    value = "".join(c if " " <= c <= "~" else "?" for c in text).encode("ascii")
    return value + pad.encode() * (len(value) % 2)
