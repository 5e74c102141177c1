"""What SQLite is about to forget: commits in a write-ahead log that was damaged while nobody had it open.

SQLite takes the log up to the first frame that is not whole, and says nothing of what comes behind. After a crash
that is right: what was being written is torn, and was never acknowledged. But when whole commits stand behind a frame
that is damaged, images may go that were acknowledged. So it is looked at before the database is opened, as the file
format describes it (https://www.sqlite.org/fileformat2.html#walformat).
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from edgeai.spool.station import is_held

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = {0x377F0682: "little", 0x377F0683: "big"}
_USUAL_PAGE: Final = 4096
_PAGES: Final = tuple(512 << power for power in range(8))


def reason_to_doubt(spool: Path) -> str:
    """Why the database may know less than was acknowledged; empty when nothing speaks for it.

    Call before the spool is opened. While others have it open nothing is said: the log is theirs to read.
    """
    if any(is_held(note) for note in (spool / "roles").glob("*.note")):
        return ""
    database = spool / "spool.sqlite"
    try:
        if not database.exists():
            has_images = any((spool / "instances").glob("*.dcm"))
            return "the database is gone, and received images are there" if has_images else ""
        lost = lost_commits(Path(f"{database}-wal"))
    except OSError:
        return ""  # opening it says what is wrong
    return f"the write-ahead log was damaged: {lost} commits behind the damage are lost" if lost else ""


def lost_commits(log: Path) -> int:
    """How many whole commits stand behind the first frame that SQLite would not take."""
    try:
        with log.open("rb") as file:
            return sum(_behind_the_damage(file))
    except FileNotFoundError:
        return 0


def _behind_the_damage(file: BinaryIO) -> Iterator[bool]:
    """Of each frame of the present generation behind the first damaged one, whether it ends a commit.

    Behind a header that is damaged itself nobody can tell generations apart: all count.
    """
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return
    magic, _, page_size, _, salt_1, salt_2, *written = _HEADER.unpack(head)
    order = _MAGIC.get(magic, "")
    sums = _checksum(order or "little", (0, 0), head[:24])
    sound = bool(order) and page_size in _PAGES and sums == tuple(written)
    salts = (salt_1, salt_2) if sound else None
    page_size = page_size if page_size in _PAGES else _USUAL_PAGE
    while True:
        frame = file.read(_FRAME.size + page_size)
        if len(frame) < _FRAME.size + page_size:
            return
        number, size_after, frame_salt_1, frame_salt_2, sum_1, sum_2 = _FRAME.unpack_from(frame)
        if salts not in (None, (frame_salt_1, frame_salt_2)):
            sound = False  # of an older generation: the log ends here, unless more of the present one follows
        elif sound:
            sums = _checksum(order, sums, frame[:8] + frame[_FRAME.size :])
            sound = sums == (sum_1, sum_2)
        else:
            yield number > 0 and size_after > 0


def _checksum(order: str, start: tuple[int, int], data: bytes) -> tuple[int, int]:
    words = array("I", data)
    if order != sys.byteorder:
        words.byteswap()
    first, second = start
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return first, second


__all__ = ["lost_commits", "reason_to_doubt"]
