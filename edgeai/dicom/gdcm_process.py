"""GDCM at arm's length: one child process, started at the first frame that needs it, replaced when it dies."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from typing import Any, Final

import numpy as np

from edgeai.api.errors import PixelsRejected
from edgeai.api.tensors import Array
from edgeai.dicom.layout import PixelLayout

DEADLINE_S: Final = 60.0
"""A frame that takes longer is given up. The largest take about two seconds."""

_lock = threading.Lock()
_children: list[subprocess.Popen[bytes]] = []


def decode_gdcm(data: bytes, layout: PixelLayout) -> Array:
    """Stored values of one lossless or 12-bit JPEG frame.

    Raises:
        PixelsRejected: ``pixels.codec``, GDCM refuses the frame, ends its process on it or takes too long.
    """
    request = {
        "length": len(data),
        "rows": layout.rows,
        "columns": layout.columns,
        "samples": layout.samples,
        "photometric_interpretation": layout.photometric_interpretation,
        "transfer_syntax_uid": layout.syntax.uid,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "signed": int(layout.signed),
    }
    with _lock:
        answer, values = _ask(_child(), json.dumps(request).encode() + b"\n" + data)
    expected = int(np.prod(layout.shape)) * layout.dtype.itemsize
    if answer is None:
        raise PixelsRejected("GDCM ended its process on the frame, or took too long", code="pixels.codec")
    if answer["error"] or len(values) != expected:
        raise PixelsRejected(
            f"GDCM refuses the frame: {answer['error'] or f'{len(values)} bytes, not {expected}'}",
            code="pixels.codec",
        )
    return np.frombuffer(values, dtype=layout.dtype).reshape(layout.shape)


def _child() -> subprocess.Popen[bytes]:
    """The running child, or a new one."""
    if _children and _children[0].poll() is None:
        return _children[0]
    close()
    child = subprocess.Popen(
        [sys.executable, "-m", "edgeai.dicom.gdcm_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    _children.append(child)
    return child


def _ask(child: subprocess.Popen[bytes], request: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """The answer, or ``None`` when the child dies of the request or outlives the deadline."""
    assert child.stdin is not None
    assert child.stdout is not None
    timer = threading.Timer(DEADLINE_S, child.kill)
    timer.daemon = True
    timer.start()
    try:
        child.stdin.write(request)
        child.stdin.flush()
        line = child.stdout.readline()
        answer: dict[str, Any] | None = json.loads(line) if line else None
        values = child.stdout.read(answer["length"]) if answer else b""
    except BrokenPipeError:
        answer, values = None, b""
    finally:
        timer.cancel()
    if answer is None:
        close()
    return answer, values


def close() -> None:
    """End the child, if there is one."""
    while _children:
        child = _children.pop()
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # what was left to be written has no reader any more


atexit.register(close)
