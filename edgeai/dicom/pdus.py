"""PDUs off a socket (PS3.8 9.3): bounded in time and memory, and each byte of a data set copied once.

pynetdicom reads 4 KiB at a time into growing arrays, polls every millisecond, and waits for ever for the
rest of a PDU. Here one buffer is filled with whatever the kernel has, the fragments in it are handed out
as views, and silence, or fragments that never come to anything, end the association.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

RELEASE_RQ: Final = 5
ABORT: Final = 7
P_DATA: Final = 4
ASSOCIATE_RQ: Final = 1

HEADER: Final = Struct(">BxL")
_PDV: Final = Struct(">LBB")
_BUFFER_BYTES: Final = 256 * 1024
_MAX_OTHER_PDU_BYTES: Final = 1024
_PROGRESS_BYTES: Final = 4096
"""What must come within the idle timeout while a message arrives."""
_FREE_FRAGMENTS: Final = 4096
_MEAN_FRAGMENT_BYTES: Final = 16
"""A message may have so many fragments, and one more for each so many bytes: empty ones never end otherwise."""
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)

UNRECOGNISED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
INVALID_PARAMETER: Final = 6


class AssociationEnded(Exception):
    """Ends an association's loop; never leaves ``edgeai.dicom``.

    Attributes:
        abort_reason: the provider's reason for the A-ABORT to send (PS3.8 table 9-26), or ``None`` to send none.
        orderly: the peer released the association, or closed it between messages.
        timed_out: the peer did not send in time what it had to.
    """

    def __init__(
        self, why: str, *, abort_reason: int | None = None, orderly: bool = False, timed_out: bool = False
    ) -> None:
        super().__init__(why)
        self.abort_reason = abort_reason
        self.orderly = orderly
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class Pdv:
    """The header of a Presentation Data Value (PS3.8 9.3.5.1, annex E.2); ``size`` is that of its fragment."""

    context_id: int
    size: int
    is_command: bool
    is_last: bool


def _nothing() -> None:
    return None


class PduStream:
    """Reads PDUs. One thread uses it; ``before_refill`` is called before views handed out become invalid."""

    def __init__(self, connection: socket.socket, *, idle_timeout_s: float) -> None:
        self.before_refill: Callable[[], None] = _nothing
        self._connection = connection
        self._idle_timeout_s = idle_timeout_s
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._left_in_pdu = 0
        self._deadline = 0.0
        self._latest = math.inf
        self._since_progress = 0
        self._fragments = 0
        self._data_bytes = 0
        self.expect()

    def expect(self) -> None:
        """From now on the peer must send 4 KiB within the idle timeout, or all that is still awaited."""
        self._deadline = time.monotonic() + self._idle_timeout_s
        self._since_progress = 0

    def until(self, latest: float) -> None:
        """Nothing is read after this moment (``time.monotonic``), however much still comes; ``inf``: no such moment."""
        self._latest = latest

    def begin(self) -> None:
        """A message begins, or is waited for: its fragments are counted from here."""
        self._fragments = self._data_bytes = 0
        self.expect()

    def header(self) -> tuple[int, int]:
        """Type and length of the next PDU.

        Raises:
            AssociationEnded: closed, silent for too long.
        """
        kind, length = HEADER.unpack(self.take(HEADER.size))
        return kind, length

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes. The caller bounds it. Raises as ``header``."""
        if self._end - self._start >= size:
            self._start += size
            return bytes(self._view[self._start - size : self._start])
        parts = [bytes(piece) for piece in self.pieces(size)]
        return b"".join(parts)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """``size`` bytes as views, each valid until ``before_refill`` is called. Raises as ``header``."""
        while size > 0:
            if self._start == self._end:
                self._refill()
            end = min(self._end, self._start + size)
            piece = self._view[self._start : end]
            size -= len(piece)
            self._start = end
            yield piece

    def pdv(self) -> Pdv:
        """The header of the next PDV, whichever P-DATA-TF PDU it is in.

        Raises:
            AssociationEnded: released, aborted, closed, silent for too long, or not the protocol.
        """
        if self._left_in_pdu == 0:
            kind, length = self.header()
            if kind != P_DATA:
                self._end_of_data(kind, length)
            self._left_in_pdu = length
        if self._left_in_pdu < _PDV.size:
            raise AssociationEnded("a P-DATA-TF PDU too short for a PDV", abort_reason=INVALID_PARAMETER)
        length, context_id, control = _PDV.unpack(self.take(_PDV.size))
        if not 2 <= length <= self._left_in_pdu - 4:
            raise AssociationEnded("a PDV that does not fit into its PDU", abort_reason=INVALID_PARAMETER)
        self._left_in_pdu -= 4 + length
        self._fragments += 1
        self._data_bytes += length - 2
        surplus = self._fragments - _FREE_FRAGMENTS
        if surplus > 0 and surplus * _MEAN_FRAGMENT_BYTES > self._data_bytes:
            raise AssociationEnded("fragments of next to nothing, without end", abort_reason=INVALID_PARAMETER)
        return Pdv(context_id, length - 2, bool(control & 1), bool(control & 2))

    def _end_of_data(self, kind: int, length: int) -> None:
        if kind not in range(1, 8):
            raise AssociationEnded(f"a PDU of unknown type 0x{kind:02X}", abort_reason=UNRECOGNISED_PDU)
        if length > _MAX_OTHER_PDU_BYTES or kind not in (RELEASE_RQ, ABORT):
            raise AssociationEnded(f"a PDU of type {kind} where data belongs", abort_reason=UNEXPECTED_PDU)
        self.take(length)
        if kind == RELEASE_RQ:
            raise AssociationEnded("released", orderly=True)
        raise AssociationEnded("aborted by the peer")

    def acknowledge_soon(self) -> None:
        """Have the kernel acknowledge at once; it forgets that with each exchange, so call it after sending too.

        Without it a sender whose next segment waits for an acknowledgement (Nagle) loses 40 ms.
        """
        if _QUICKACK is not None:
            self._connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _refill(self) -> None:
        self.before_refill()
        now = time.monotonic()
        left = min(self._deadline, self._latest) - now
        if now >= self._latest:
            raise AssociationEnded("not done in time", abort_reason=0, timed_out=True)
        try:
            self._connection.settimeout(max(left, 0.001))
            count = self._connection.recv_into(self._buffer)
            if count < len(self._buffer):  # all that had come: whoever sends may be waiting for an acknowledgement
                self.acknowledge_soon()
        except TimeoutError as error:
            raise AssociationEnded("silent for too long", abort_reason=0, timed_out=True) from error
        except OSError as error:
            raise AssociationEnded(f"the connection broke: {error}") from error
        if count == 0:
            raise AssociationEnded("the peer closed the connection")
        self._start, self._end = 0, count
        self._since_progress += count
        if self._since_progress >= _PROGRESS_BYTES:
            self.expect()


def p_data(context_id: int, command: bytes, max_length: int) -> bytes:
    """P-DATA-TF PDUs that carry one command set, none longer than the peer's Maximum Length (0: no bound)."""
    room = max(max_length - 6, 2) if max_length else len(command)
    out = []
    for start in range(0, len(command), room):
        part = command[start : start + room]
        control = 0b11 if start + room >= len(command) else 0b01
        out.append(HEADER.pack(P_DATA, len(part) + 6) + _PDV.pack(len(part) + 2, context_id, control) + part)
    return b"".join(out)
