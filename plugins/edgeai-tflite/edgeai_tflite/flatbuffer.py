"""Is this file a whole TensorFlow Lite flatbuffer? Bounds of every table, vector and string, by the schema.

Source: the FlatBuffers binary format ("FlatBuffer Internals", flatbuffers.dev) and TensorFlow Lite's
``schema.fbs`` version 3. Only fields that hold offsets are walked; scalars have no bounds to break.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

IDENTIFIER: Final = b"TFL3"
_MAX_TABLES: Final = 5_000_000

# Field number in the vtable -> what its offset points at. "str"; "t:<Table>"; "v<n>": a vector of n-byte
# scalars; "vt:<Table>": a vector of tables; "union": a table of a kind that this walk need not know.
_SCHEMA: Final[Mapping[str, Mapping[int, str]]] = {
    "Model": {
        1: "vt:OperatorCode",
        2: "vt:SubGraph",
        3: "str",
        4: "vt:Buffer",
        5: "v4",
        6: "vt:Metadata",
        7: "vt:SignatureDef",
    },
    "OperatorCode": {1: "str"},
    "SubGraph": {0: "vt:Tensor", 1: "v4", 2: "v4", 3: "vt:Operator", 4: "str"},
    "Tensor": {0: "v4", 3: "str", 4: "t:Quantization", 6: "t:Sparsity", 7: "v4", 9: "vt:union"},
    "Quantization": {0: "v4", 1: "v4", 2: "v4", 3: "v8", 5: "union"},
    "Sparsity": {0: "v4", 1: "v4", 2: "vt:Dimension"},
    "Dimension": {3: "union", 5: "union"},
    "Operator": {1: "v4", 2: "v4", 4: "union", 5: "v1", 7: "v1", 8: "v4", 12: "union"},
    "Buffer": {0: "v1"},
    "Metadata": {0: "str"},
    "SignatureDef": {0: "vt:TensorMap", 1: "vt:TensorMap", 2: "str"},
    "TensorMap": {0: "str"},
    "union": {},
}


class _Broken(Exception):
    """The first thing found wrong."""


def verify(path: Path, *, deep: bool) -> str:
    """What is wrong with the file, or an empty string.

    Args:
        path: the file.
        deep: walk every table; else look at the header alone.
    """
    size = path.stat().st_size
    if size < 16:
        return f"{size} bytes"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[4:8] != IDENTIFIER:
            return f"its identifier is {data[4:8]!r}, not {IDENTIFIER!r}"
        walk = _Walk(data, size)
        try:
            walk.table(walk.offset(0), "Model", follow=deep)
        except _Broken as fault:
            return str(fault)
    return ""


class _Walk:
    """A bounds-checked walk over one buffer."""

    def __init__(self, data: mmap.mmap, size: int) -> None:
        self._data = data
        self._size = size
        self._tables = 0

    def _need(self, position: int, length: int) -> None:
        if position < 0 or length < 0 or position + length > self._size:
            raise _Broken(f"an offset points {position + length - self._size} bytes past its end")

    def _u32(self, position: int) -> int:
        self._need(position, 4)
        return int(struct.unpack_from("<I", self._data, position)[0])

    def offset(self, position: int) -> int:
        """Where the unsigned offset at ``position`` points."""
        return position + self._u32(position)

    def table(self, position: int, kind: str, *, follow: bool = True) -> None:
        """Check one table, and what it points at if ``follow``."""
        self._tables += 1
        if self._tables > _MAX_TABLES:
            raise _Broken("it has too many tables")
        self._need(position, 4)
        vtable = position - int(struct.unpack_from("<i", self._data, position)[0])
        self._need(vtable, 4)
        vtable_bytes, table_bytes = struct.unpack_from("<HH", self._data, vtable)
        if vtable_bytes < 4 or vtable_bytes % 2 or table_bytes < 4:
            raise _Broken(f"the {kind} table at byte {position} has no sense")
        self._need(vtable, vtable_bytes)
        self._need(position, table_bytes)
        slots = struct.unpack_from(f"<{(vtable_bytes - 4) // 2}H", self._data, vtable + 4)
        if any(slot >= table_bytes for slot in slots if slot):
            raise _Broken(f"a field of the {kind} table at byte {position} lies outside it")
        if not follow:
            return
        for field, points_at in _SCHEMA[kind].items():
            slot = slots[field] if field < len(slots) else 0
            if slot:
                self._follow(self.offset(position + slot), points_at)

    def _follow(self, position: int, points_at: str) -> None:
        if points_at == "str":
            self._need(position + 4, self._u32(position) + 1)
        elif points_at == "union":
            self.table(position, "union")
        elif points_at.startswith("t:"):
            self.table(position, points_at[2:])
        elif points_at.startswith("vt:"):
            count = self._u32(position)
            self._need(position + 4, 4 * count)
            for index in range(count):
                self.table(self.offset(position + 4 + 4 * index), points_at[3:])
        else:
            self._need(position + 4, int(points_at[1:]) * self._u32(position))
