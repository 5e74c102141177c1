"""One association, from its first PDU to its end, on the thread that owns it.

pynetdicom's acceptor needs two polling threads, decodes every fragment three times, and cannot bound a
peer that stays silent in the middle of a PDU.
"""

from __future__ import annotations

import contextlib
import errno
import math
import re
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgeai.api.errors import DicomRejected, EdgeaiError, InputRejected, SpoolError, SpoolFull
from edgeai.dicom.arrival import Intake, ReceivedFile, file_meta, take
from edgeai.dicom.dimse import MAX_COMMAND_BYTES, Command, Field, Status, read_command, response
from edgeai.dicom.door import Door, Place
from edgeai.dicom.negotiation import WHY, Accepted, AssociationRules, Reason, Rejected, negotiate
from edgeai.dicom.pdus import (
    ABORT,
    ASSOCIATE_RQ,
    HEADER,
    INVALID_PARAMETER,
    UNEXPECTED_PDU,
    UNRECOGNISED_PDU,
    AssociationEnded,
    PduStream,
    Pdv,
    p_data,
)
from edgeai.dicom.proposal import MAX_REQUEST_BYTES
from edgeai.dicom.storage import VERIFICATION
from edgeai.logs import Log

_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 16 * 1024 * 1024
_MAX_CANCELS: Final = 100
"""C-CANCEL requests in a row. None is answered, so nothing else slows down who sends them without end."""
_RELEASE_RP: Final = HEADER.pack(6, 4) + bytes(4)
_SERVICE_PROVIDER: Final = 2
_UID: Final = re.compile(r"[0-9.]{1,64}")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_log = Log(__name__)

Report = Callable[[str, str, dict[str, object]], None]
"""(kind, message, facts) of something ops should know; no patient data, no UIDs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What every association of a server shares; ``door`` says how many there may be."""

    intake: Intake
    rules: AssociationRules
    report: Report
    door: Door
    idle_timeout_s: float
    max_instance_bytes: int

    def refuse(self, reason: Reason, address: str, calling_ae_title: str = "?", *, why: str = "") -> None:
        """Count one that did not come in, and say it; ``why`` says more than the reason does."""
        self.door.refuse(reason)
        facts: dict[str, object] = {"reason": str(reason), "calling_ae_title": calling_ae_title, "address": address}
        self.report("association.rejected", f"association rejected: {WHY[reason]}{why and f': {why}'}", facts)


class Association:
    """Serves C-STORE and C-ECHO on one connection, which has until ``negotiated_by`` to say what it wants."""

    def __init__(self, place: Place, service: Service, *, negotiated_by: float) -> None:
        self.busy = False
        self.closing = False
        self._place = place
        self._connection = place.connection
        self._service = service
        self._negotiated_by = negotiated_by
        self._cancels = 0
        self._stream = PduStream(place.connection, idle_timeout_s=service.idle_timeout_s)
        self._terms: Accepted | None = None

    @property
    def peer(self) -> str:
        """Calling AE title and address, for logs."""
        return f"{self._terms.calling_ae_title if self._terms else '?'}@{self._place.address}"

    def wake(self) -> None:
        """From another thread: end now if idle, else after the instance that is arriving."""
        self.closing = True
        if not self.busy:
            self._service.door.cut(self._place, socket.SHUT_RD)

    def serve(self) -> None:
        """Run to the end. Closing the connection is the caller's."""
        try:
            self._negotiate()
            while not self.closing:
                self._serve_one()
            raise AssociationEnded("this side shuts down", abort_reason=0)
        except AssociationEnded as end:
            with contextlib.suppress(AssociationEnded):
                self._end(end)

    def _end(self, end: AssociationEnded) -> None:
        say = _log.debug if end.orderly else _log.warning
        say("association.ended", peer=self.peer, why=str(end))
        if end.orderly and self._terms:
            self._send(_RELEASE_RP)
        elif self.closing or end.abort_reason is not None:
            self._send(HEADER.pack(ABORT, 4) + bytes([0, 0, _SERVICE_PROVIDER, end.abort_reason or 0]))
        else:
            return
        self._linger()

    def _negotiate(self) -> None:
        self._stream.until(self._negotiated_by)
        try:
            outcome = negotiate(
                self._request(),
                self._service.rules,
                address=self._place.address,
                hosts=self._service.door.hosts,
                admit=lambda: self._service.door.admit(self._place),
            )
        except AssociationEnded as end:
            reason = self._reason(end)
            if reason is not None:
                self._service.refuse(reason, self._place.address)
            raise
        if isinstance(outcome, Rejected):
            self._service.refuse(outcome.reason, self._place.address, outcome.calling_ae_title)
            self._send(outcome.answer)
            self._linger()
            raise AssociationEnded(f"rejected {outcome.calling_ae_title!r}: {WHY[outcome.reason]}")
        self._send(outcome.answer)
        self._terms = outcome
        self._stream.until(math.inf)
        _log.debug("association.established", peer=self.peer, contexts=len(outcome.contexts))

    def _reason(self, end: AssociationEnded) -> Reason | None:
        """Why it did not come about; none for who hung up: a look whether the port is open is no fault."""
        if self._place.is_evicted:
            return Reason.EVICTED
        if end.timed_out:
            return Reason.TIMED_OUT
        return None if end.abort_reason is None else Reason.MALFORMED

    def _request(self) -> bytes:
        kind, length = self._stream.header()
        if kind != ASSOCIATE_RQ:
            reason = UNEXPECTED_PDU if kind in range(1, 8) else UNRECOGNISED_PDU
            raise AssociationEnded("it does not begin with an A-ASSOCIATE-RQ", abort_reason=reason)
        if length > MAX_REQUEST_BYTES:
            raise AssociationEnded(f"an A-ASSOCIATE-RQ of {length} bytes", abort_reason=INVALID_PARAMETER)
        return HEADER.pack(kind, length) + self._stream.take(length)

    def _serve_one(self) -> None:
        self._stream.begin()
        first = self._stream.pdv()
        self.busy = True
        try:
            self._stream.expect()
            command = self._command(first)
            self._cancels = self._cancels + 1 if command.field == Field.C_CANCEL else 0
            if 0 < self._cancels <= _MAX_CANCELS:
                return
            assert self._terms is not None
            sop_class, syntax = self._terms.contexts[first.context_id]
            if command.field == Field.C_ECHO and sop_class == VERIFICATION and not command.has_data_set:
                self._answer(first.context_id, command, Status.SUCCESS)
            elif command.field == Field.C_STORE and sop_class != VERIFICATION and command.has_data_set:
                self._store(first.context_id, command, sop_class, syntax)
            else:
                raise AssociationEnded(f"command 0x{command.field:04X} is not served here", abort_reason=0)
        finally:
            self.busy = False

    def _command(self, pdv: Pdv) -> Command:
        assert self._terms is not None
        parts: list[bytes] = []
        context_id, total = pdv.context_id, 0
        if context_id not in self._terms.contexts:
            raise AssociationEnded(
                f"presentation context {context_id} was not accepted", abort_reason=INVALID_PARAMETER
            )
        while True:
            total += pdv.size
            if not pdv.is_command or pdv.context_id != context_id or total > MAX_COMMAND_BYTES:
                raise AssociationEnded("no proper command where one belongs", abort_reason=INVALID_PARAMETER)
            parts.append(self._stream.take(pdv.size))
            if pdv.is_last:
                break
            pdv = self._stream.pdv()
        try:
            return read_command(b"".join(parts))
        except DicomRejected as error:
            raise AssociationEnded(str(error), abort_reason=INVALID_PARAMETER) from error

    def _store(self, context_id: int, command: Command, sop_class: str, syntax: str) -> None:
        started = time.perf_counter()
        refusal = _malformed(command, sop_class)
        file: ReceivedFile | None = None
        if refusal is None:
            assert self._terms is not None
            meta = file_meta(sop_class, command.sop_instance_uid, syntax, self._terms.calling_ae_title)
            try:
                file = ReceivedFile(
                    self._service.intake,
                    meta,
                    max_bytes=self._service.max_instance_bytes,
                    transfer_syntax_uid=syntax,
                )
            except (EdgeaiError, OSError) as error:
                refusal = error
        try:
            refusal = self._receive(context_id, file) or refusal
            if refusal is None and file is not None:
                refusal = self._take(file, command, sop_class)
        finally:
            self._stream.before_refill = lambda: None
            if file is not None:
                file.discard()
        size = file.size if file else 0
        status, comment = self._verdict(refusal)
        self._answer(context_id, command, status, comment)
        elapsed_ms = round((time.perf_counter() - started) * 1000, 1)
        _log.debug("instance.answered", peer=self.peer, status=f"0x{status:04X}", bytes=size, ms=elapsed_ms)

    def _receive(self, context_id: int, file: ReceivedFile | None) -> Exception | None:
        """Read the data set, into the file while that goes well; what went wrong with it, if anything."""
        target = _Target(file)
        self._stream.begin()
        self._stream.before_refill = target.flush
        while True:
            pdv = self._stream.pdv()
            if pdv.is_command or pdv.context_id != context_id:
                raise AssociationEnded("something else in the middle of a data set", abort_reason=INVALID_PARAMETER)
            try:
                for piece in self._stream.pieces(pdv.size):
                    target.add(piece)
            except DicomRejected as error:
                self._service.report("instance.refused", str(error), {"source": self.peer, "code": error.code})
                raise AssociationEnded(str(error), abort_reason=0) from error
            if target.discarded > self._service.max_instance_bytes:
                raise AssociationEnded("it sends without end", abort_reason=0)
            if pdv.is_last:
                return target.failure

    def _take(self, file: ReceivedFile, command: Command, sop_class: str) -> Exception | None:
        try:
            take(
                self._service.intake,
                file.close(),
                source=self.peer,
                sop_class_uid=sop_class,
                sop_instance_uid=command.sop_instance_uid,
                digest=file.digest,
            )
        except Exception as error:  # noqa: BLE001 - the sender must hear of any failure, and never of a success
            return error
        return None

    def _verdict(self, refusal: Exception | None) -> tuple[int, str]:
        """Status and Error Comment, PS3.4 table B.2-1; says aloud what is not a success."""
        if refusal is None:
            return Status.SUCCESS, ""
        if isinstance(refusal, OSError):
            refusal = _of_disk(refusal)
        code = refusal.code if isinstance(refusal, EdgeaiError) else "ingest.failed"
        status = Status.PROCESSING_FAILURE
        if isinstance(refusal, SpoolFull):
            status = Status.OUT_OF_RESOURCES
        elif code == "dicom.uid-mismatch":
            status = Status.DOES_NOT_MATCH
        elif code == "dicom.invalid-uid":
            status = Status.INVALID_OBJECT_INSTANCE
        elif code == "dicom.sop-class":
            status = Status.SOP_CLASS_NOT_SUPPORTED
        elif isinstance(refusal, InputRejected):
            status = Status.CANNOT_UNDERSTAND
        unexpected = not isinstance(refusal, EdgeaiError)
        facts: dict[str, object] = {"source": self.peer, "code": code, "status": f"0x{status:04X}"}
        _log.warning("instance.refused", why=str(refusal), **facts)
        if unexpected:
            _log.error("ingest.failed", error="".join(traceback.format_exception(refusal)))
        kind = "spool.full" if status == Status.OUT_OF_RESOURCES else "instance.refused"
        message = str(refusal) if isinstance(refusal, EdgeaiError) else f"internal: {type(refusal).__name__}"
        # The message may quote a UID, which leaves the device only as the configuration says; the code never does.
        told = str(refusal) if isinstance(refusal, SpoolError) else f"an instance was refused: {code}"
        self._service.report(kind, told, facts)
        return status, f"{code}: {message}"

    def _answer(self, context_id: int, command: Command, status: int, comment: str = "") -> None:
        assert self._terms is not None
        self._send(p_data(context_id, response(command, status, comment), self._terms.max_length))

    def _send(self, data: bytes) -> None:
        left = self._service.idle_timeout_s if self._terms else self._negotiated_by - time.monotonic()
        self._connection.settimeout(max(left, 0.1))
        try:
            self._connection.sendall(data)
            self._stream.acknowledge_soon()
        except OSError as error:
            raise AssociationEnded(f"the connection broke: {error}") from error

    def _linger(self) -> None:
        """Let the peer read the last PDU: closing with bytes unread would reset the connection under it."""
        deadline = time.monotonic() + _LINGER_S
        left = _LINGER_BYTES
        try:
            socket.socket.shutdown(self._connection, socket.SHUT_WR)
            while left > 0 and (wait := deadline - time.monotonic()) > 0:
                self._connection.settimeout(wait)
                got = len(self._connection.recv(65536))
                if got == 0:
                    return
                left -= got
        except OSError as error:
            _log.debug("association.linger", why=str(error))


class _Target:
    """The file while all goes well, and nowhere after that: the sender is heard to its end either way."""

    def __init__(self, file: ReceivedFile | None) -> None:
        self.failure: Exception | None = None
        self.discarded = 0
        self._file = file

    def add(self, piece: memoryview) -> None:
        if self._file is None:
            self.discarded += len(piece)
            return
        try:
            self._file.add(piece)
        except (SpoolError, OSError) as error:
            self._fail(error)

    def flush(self) -> None:
        try:
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._file is not None:
            self._file.discard()  # gives the space back now, not when the sender is done
        self._file = None
        self.failure = error


def _malformed(command: Command, sop_class: str) -> Exception | None:
    if command.sop_class_uid != sop_class:
        return DicomRejected("the command's SOP Class is not that of its context", code="dicom.sop-class")
    if not _UID.fullmatch(command.sop_instance_uid):
        return DicomRejected("the command names no valid SOP Instance UID", code="dicom.invalid-uid")
    return None


def _of_disk(error: OSError) -> SpoolError:
    """What the disk said while the file was written, in the words of the spool where it was to lie."""
    if error.errno in _FULL:
        return SpoolFull(f"keeping the instance: {error.strerror}", remedy="free disk space, or inodes (`df -i`)")
    return SpoolError(
        f"keeping the instance: {error.strerror}", code="spool.io", remedy="check the disk (dmesg, smartctl)"
    )
