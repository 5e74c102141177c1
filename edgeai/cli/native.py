"""What native libraries print while a build host works: TensorFlow greets at every start, converters dump their graphs.

None of it is an answer, and a page of it hides the one line that is. It goes into a file, of which the end is shown
where a command ends by something that nobody foresaw; the file stays where the process dies.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from edgeai.api.errors import EdgeaiError
from edgeai.process import flush_native

_SHOWN = 4000
"""Bytes, from the end."""


@contextmanager
def kept_aside() -> Iterator[None]:
    """Descriptor 2 leads into a file; ``sys.stderr`` stays what it was for everyone who asks Python.

    ``EDGEAI_TRACEBACK=1`` leaves all as it is.
    """
    if os.environ.get("EDGEAI_TRACEBACK") == "1":
        yield
        return
    sys.stderr.flush()
    flush_native()
    try:
        own = os.dup(2)
    except OSError:  # started without standard error
        yield
        return
    number, path = tempfile.mkstemp(prefix="edgeai-printed-", suffix=".log")
    before, stream = sys.stderr, os.fdopen(own, "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    os.dup2(number, 2)
    if _is_real(before):  # a test may have put another in its place
        sys.stderr = stream
    told = faulthandler.is_enabled()
    if not told:
        faulthandler.enable(stream)  # a crash is told where people look
    unforeseen = False
    try:
        yield
    except EdgeaiError:
        raise
    except Exception:
        unforeseen = True
        raise
    finally:
        flush_native()
        if not told:
            faulthandler.disable()
        if unforeseen:
            _show(number, stream)
        sys.stderr = before
        os.dup2(own, 2)
        stream.close()
        os.close(number)
        with suppress(OSError):
            Path(path).unlink()


def _is_real(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError, AttributeError):
        return False


def _show(number: int, stream: TextIO) -> None:
    size = os.fstat(number).st_size
    text = os.pread(number, _SHOWN, max(0, size - _SHOWN)).decode("utf-8", "replace")
    with suppress(OSError):
        stream.write(text)
        stream.flush()
