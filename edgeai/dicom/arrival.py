"""From received bytes to an instance that is never lost: the part that the SCP and watched folders share."""

from __future__ import annotations

import ctypes
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import Final, Protocol

from edgeai.api.errors import DicomRejected
from edgeai.api.instances import InstanceRef
from edgeai.dicom.content import ContentDigest
from edgeai.dicom.header import Header, read_header
from edgeai.dicom.storage import IMAGE_CLASSES

IMPLEMENTATION_CLASS_UID: Final = "2.25.190434617082340186104389420217526613043"
IMPLEMENTATION_VERSION_NAME: Final = "EDGEAI"
CHECK_ROOM_BYTES: Final = 16 * 1024 * 1024
_WRITE_BACK_BYTES: Final = 4 * 1024 * 1024
_SYNC_FILE_RANGE_WRITE: Final = 2
_MAX_VIEWS: Final = 512
"""Below IOV_MAX (1024 on Linux)."""
_SHORT: Final = Struct("<HH2sH")


class Intake(Protocol):
    """Where arriving instances go: the spool, as ingest uses it."""

    @property
    def tmp(self) -> Path:
        """Folder for arriving bytes, on the file system where they stay."""
        ...

    def check_room(self, extra_bytes: int = 0) -> None:
        """Raises ``SpoolFull`` when nothing more may be accepted."""
        ...

    def admit(self, instance: InstanceRef, received: Path, *, content: Callable[[], str], source: str) -> bool:
        """Keep it for good; ``received`` is gone afterwards. False when this very instance was known already.

        ``content`` gives ``sha256:<hex>`` of its content, and may still be computing it.
        """
        ...


def take(
    intake: Intake,
    received: Path,
    *,
    source: str,
    sop_class_uid: str = "",
    sop_instance_uid: str = "",
    digest: ContentDigest | None = None,
    header: Header | None = None,
) -> tuple[InstanceRef, bool]:
    """Read the header of a file in ``intake.tmp``, hold it against what was announced, and admit it.

    Args:
        intake: where it goes.
        received: the file.
        source: where it came from, for the spool's row.
        sop_class_uid: what was announced; empty when nothing was.
        sop_instance_uid: the same.
        digest: of its content, where that was begun while it arrived.
        header: where it was read already.

    Returns:
        The instance, and whether it is new. Whatever happens, ``received`` is gone.

    Raises:
        DicomRejected: the header's own codes; ``dicom.uid-mismatch``; ``dicom.not-an-image``.
        SpoolFull: no room.
        SpoolError: the spool failed.
    """
    try:
        header = header or read_header(received)
        instance = header.instance
        if sop_instance_uid not in ("", instance.sop_instance_uid):
            raise DicomRejected("the data set holds another SOP Instance than announced", code="dicom.uid-mismatch")
        if sop_class_uid not in ("", instance.sop_class_uid):
            raise DicomRejected("the data set is of another SOP Class than announced", code="dicom.uid-mismatch")
        if header.pixels is None and instance.sop_class_uid not in IMAGE_CLASSES:
            raise DicomRejected(
                "not an image: it has no pixels, and neither have others of its SOP Class",
                code="dicom.not-an-image",
                remedy="send images only; reports, plans and presentation states have nothing to infer from",
            )
        digest = digest or ContentDigest.of_file(received)
        return instance, intake.admit(instance, received, content=digest.result, source=source)
    finally:
        received.unlink(missing_ok=True)
        if digest is not None:
            digest.close()


def new_file(tmp: Path) -> Path:
    """A name that no other arrival uses."""
    return tmp / f"arriving-{uuid.uuid4().hex}.dcm"


def sweep(tmp: Path) -> int:
    """Remove what a killed ingest left half received; call before anything arrives. Returns how many."""
    left = [path for path in tmp.glob("arriving-*.dcm") if path.is_file()]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


class ReceivedFile:
    """A data set on its way from a socket into a Part 10 file, its bytes neither parsed nor copied in between.

    Raises:
        SpoolFull: while adding, when the disk reserve is reached.
        DicomRejected: ``dicom.too-large``, more bytes than may be.
        OSError: the disk failed.
    """

    def __init__(self, intake: Intake, meta: bytes, *, max_bytes: int, transfer_syntax_uid: str) -> None:
        intake.check_room()
        self.path = new_file(intake.tmp)
        self.size = 0
        self._intake = intake
        self._max_bytes = max_bytes
        self._checked = 0
        self._written = 0
        self._sent_to_disk = 0
        self._views: list[memoryview | bytes] = [meta]
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.digest = ContentDigest(os.dup(self._file), transfer_syntax_uid, start=len(meta))

    def add(self, view: memoryview) -> None:
        """Take the next bytes. The view must stay valid until ``flush``."""
        self.size += len(view)
        if self.size > self._max_bytes:
            raise DicomRejected(
                f"the instance is larger than {self._max_bytes} bytes",
                code="dicom.too-large",
                remedy="raise spool.max_instance_bytes if such instances are expected",
            )
        if self.size - self._checked >= CHECK_ROOM_BYTES:
            self._checked = self.size
            self._intake.check_room()
        self._views.append(view)
        if len(self._views) >= _MAX_VIEWS:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        views, self._views = self._views, []
        left = sum(len(view) for view in views)
        while left > 0:
            written = os.writev(self._file, views)
            left -= written
            self._written += written
            views = _after(views, written) if left else []
        if self._written - self._sent_to_disk >= _WRITE_BACK_BYTES:
            _begin_write_back(self._file, self._sent_to_disk, self._written - self._sent_to_disk)
            self._sent_to_disk = self._written
        self.digest.reach(self._written)

    def close(self) -> Path:
        """Write the rest; the file, complete but not yet durable: admitting it makes it so."""
        try:
            self.flush()
            self.digest.finish(self._written)
        finally:
            os.close(self._file)
            self._file = -1
        return self.path

    def discard(self) -> None:
        """Leave nothing behind. Twice is fine."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._views = []
        self.digest.close()
        self.path.unlink(missing_ok=True)


def _write_back() -> ctypes._NamedFuncPointer | None:
    if sys.platform != "linux":
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function


_SYNC_FILE_RANGE: Final = _write_back()


def _begin_write_back(file: int, offset: int, size: int) -> None:
    """Have the disk begin with what is written while the rest still arrives: the fsync at the end is then short.

    Only a hint. It promises nothing, and a kernel or file system that does not take it changes nothing.
    """
    if _SYNC_FILE_RANGE is not None:
        _SYNC_FILE_RANGE(file, offset, size, _SYNC_FILE_RANGE_WRITE)


def _after(views: list[memoryview | bytes], written: int) -> list[memoryview | bytes]:
    """What is left of ``views`` after so many bytes."""
    for index, view in enumerate(views):
        if written < len(view):
            return [memoryview(view)[written:], *views[index + 1 :]]
        written -= len(view)
    return []


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae_title: str) -> bytes:
    """Preamble and File Meta Information (PS3.10 7.1) before a data set received by C-STORE."""
    elements = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
            _element(0x0002, b"UI", sop_class_uid),
            _element(0x0003, b"UI", sop_instance_uid),
            _element(0x0010, b"UI", transfer_syntax_uid),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _element(0x0016, b"AE", calling_ae_title),
        )
    )
    return bytes(128) + b"DICM" + _SHORT.pack(2, 0, b"UL", 4) + len(elements).to_bytes(4, "little") + elements


def _element(number: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return _SHORT.pack(2, number, vr, len(value)) + value
