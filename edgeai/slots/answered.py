"""Every model that ever answered on a deployment with slots: a line each, appended, and never taken away.

The state of the slots keeps its last moves; this stays: ``answered.jsonl`` beside it. It decides nothing.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from edgeai.bundle.parts import Count, Record

NAME: Final = "answered.jsonl"
_SCHEMA: Final = 1
_MAX_BYTES: Final = 16 << 20


class Answer(Record, frozen=True, kw_only=True):
    """A bundle that began to answer: since when, by whose signatures, and by which move (``by``) it took its place.

    ``left`` and ``why``: which digest was left by that, and for what reason.
    """

    schema: int = _SCHEMA
    since: str
    digest: str
    model: str
    version: str
    release: Count
    signers: tuple[str, ...] = ()
    by: str = ""
    left: str = ""
    why: str = ""


def read_answers(folder: Path) -> tuple[Answer, ...]:
    """In order, the newest last; a line that a power cut left half, or that nobody can read, is passed over."""
    try:
        with (folder / NAME).open("rb") as file:
            lines = file.read(_MAX_BYTES).splitlines()
    except OSError:
        return ()
    answers = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):  # msgspec's errors are ValueErrors
            answers.append(msgspec.json.decode(line, type=Answer, strict=True))
    return tuple(answers)


def append_answer(folder: Path, answer: Answer) -> None:
    """Add a line; it is on the disk when this returns.

    Raises:
        OSError: it cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(folder / NAME, flags, 0o600)
    try:
        size = os.fstat(file).st_size
        is_half = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        os.write(file, (b"\n" if is_half else b"") + msgspec.json.encode(answer, order="sorted") + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
