"""What goes to and fro between the build host and the child: an object of JSON and arrays, each length first.

Only plain data is read, since the other side may be what a hostile file made of it: nothing is unpacked or unpickled,
and what is claimed must be there.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from edgeai.api import Array, OpenRequest, Tensors, TensorSpec
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
    found: dict[str, Array] = {}
    at = 0
    for name, dtype, shape in layout:
        if dtype not in DTYPES or not all(type(extent) is int and extent >= 0 for extent in shape):
            raise ValueError(f"array {name!r} of {dtype} {shape}")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if at + size > len(body):
            raise ValueError(f"array {name!r} has more than is there")
        found[str(name)] = np.frombuffer(body[at : at + size], dtype).reshape(shape).copy()
        at += size
    if at != len(body):
        raise ValueError("bytes that are of no array")
    return found


def request(asked: OpenRequest) -> dict[str, Any]:
    """A request as JSON."""
    return {
        "artifact": str(asked.artifact.absolute()),
        "device": asked.device,
        "inputs": spec_dicts(asked.inputs),
        "outputs": spec_dicts(asked.outputs),
        "threads": asked.threads,
        "options": dict(asked.options),
        "settings": dict(asked.settings),
    }


def request_of(said: dict[str, Any]) -> OpenRequest:
    """The request of such JSON."""
    return OpenRequest(
        artifact=Path(said["artifact"]),
        device=said["device"],
        inputs=specs(said["inputs"]),
        outputs=specs(said["outputs"]),
        threads=said["threads"],
        options=said["options"],
        settings=said["settings"],
    )


def spec_dicts(of: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Tensors as JSON."""
    return [{"name": one.name, "dtype": one.dtype, "shape": list(one.shape), "layout": one.layout} for one in of]


def specs(said: Sequence[Any]) -> tuple[TensorSpec, ...]:
    """The tensors of such JSON.

    Raises:
        TensorMismatch: of a kind that no manifest has.
    """
    return tuple(
        TensorSpec(
            name=str(one["name"]),
            dtype=str(one["dtype"]),
            shape=tuple(None if extent is None else int(extent) for extent in one["shape"]),
            layout=str(one["layout"]),
        )
        for one in said
    )


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError("the other side is gone")
    return data
