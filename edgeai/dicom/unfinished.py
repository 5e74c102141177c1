"""Whether a file may still be on its way: open for writing somewhere, or cut short by what it says of itself.

Neither is certain everywhere. Linux tells of open files on this machine's own file systems, to their owner and to
whoever has CAP_LEASE. What another machine writes to a share shows only in the file.
"""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path
from typing import Final

from edgeai.api.errors import DicomRejected
from edgeai.dicom.encapsulated import ends_in_time
from edgeai.dicom.header import Header
from edgeai.dicom.storage import IMAGE_CLASSES

_CUT: Final = frozenset(("dicom.truncated", "dicom.structure", "dicom.deflate"))
_BEGINNING_BYTES: Final = 132
_DELIMITER: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"


def is_open_for_writing(descriptor: int) -> bool:
    """Whether somebody has the file open for writing; False where that cannot be told.

    A lease for reading is granted only while nobody has. It is given back at once: who opens the file for writing in
    that moment waits as long. The signal that would tell us of it is one that is ignored: SIGIO would end the process.

    Args:
        descriptor: of the file, open for reading alone.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:  # not our file, or a file system without leases
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def refuses_a_part(error: DicomRejected, path: Path) -> bool:
    """Whether a header that was refused may be the beginning of one that is not."""
    if error.code == "dicom.not-dicom":
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING_BYTES)
        return not any(beginning)  # nothing yet, part of the preamble, or room that was taken before it is filled
    return error.code in _CUT


def is_whole(header: Header, path: Path) -> bool:
    """Whether the file has all that its own structure announces; of one that is deflated only its header tells."""
    pixels = header.pixels
    if pixels is None:
        return header.instance.sop_class_uid not in IMAGE_CLASSES
    if pixels.value_bytes is not None or pixels.syntax.deflated:
        return pixels.there_bytes == (pixels.value_bytes or 0)
    with path.open("rb") as file:
        file.seek(-len(_DELIMITER), os.SEEK_END)
        return file.read() == _DELIMITER or ends_in_time(file, pixels)
