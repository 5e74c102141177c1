"""What goes to and fro between the build host and the child: an object of JSON and arrays, each length first.

Only plain data is read, since the other side may be what a hostile file made of it: nothing is unpacked or unpickled,
and what is claimed must be there.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, BinaryIO, Final

import numpy as np

from edgeai.api import Array, Tensors
from edgeai.api.tensors import DTYPES

NOT_STARTED: Final = 71
"""Exit status of a child that cannot even load the plugin (EX_OSERR)."""
_LENGTHS: Final = struct.Struct(">QQ")
_MOST_HEAD: Final = 16 << 20
_MOST_BODY: Final = 2 << 30


def write(stream: BinaryIO, head: dict[str, Any], arrays: Tensors) -> None:
    """Send one message."""
    packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    layout = [[name, array.dtype.name, list(array.shape)] for name, array in packed.items()]
    data, body = json.dumps({**head, "arrays": layout}).encode(), b"".join(one.tobytes() for one in packed.values())
    stream.write(_LENGTHS.pack(len(data), len(body)) + data + body)
    stream.flush()


def read(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, Array]]:
    """Receive one message.

    Raises:
        EOFError: the other side is gone.
        ValueError: it sent something else.
    """
    head_bytes, body_bytes = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if head_bytes > _MOST_HEAD or body_bytes > _MOST_BODY:
        raise ValueError(f"a message of {head_bytes} and {body_bytes} bytes")
    data, body = _exactly(stream, head_bytes), _exactly(stream, body_bytes)
    try:
        head = json.loads(data)
        return head, _arrays(head.pop("arrays"), body)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no message: {error!r}") from error


def _arrays(layout: Any, body: bytes) -> dict[str, Array]:
    """Arrays out of their bytes, which must be exactly theirs."""
    arrays: dict[str, Array] = {}
    at = 0
    for name, dtype, shape in layout:
        if dtype not in DTYPES or not all(type(extent) is int and extent >= 0 for extent in shape):
            raise ValueError(f"array {name!r} of {dtype} {shape}")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if at + size > len(body):
            raise ValueError(f"array {name!r} has more than is there")
        arrays[str(name)] = np.frombuffer(body[at : at + size], dtype).reshape(shape).copy()
        at += size
    if at != len(body):
        raise ValueError("bytes that are of no array")
    return arrays


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError("the other side is gone")
    return data
