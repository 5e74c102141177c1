"""The Storage and Verification SCP: listens, limits who may connect, and gives each connection a thread."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeai import defaults
from edgeai.api.errors import ConfigError
from edgeai.dicom.arrival import Intake
from edgeai.dicom.association import Association, Report, Service
from edgeai.dicom.door import Door, Place
from edgeai.dicom.negotiation import AssociationRules, Reason
from edgeai.logs import Log
from edgeai.ports import why_not
from edgeai.tls import cause_of_files, cause_of_handshake, show
from edgeai.tls_files import TlsFiles

_log = Log(__name__)
_ACCEPT_POLL_S: Final = 0.5
_END_S: Final = 3.0
"""For connections that were cut to end."""
_TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScpOptions:
    """How to listen. ``port`` 0 takes any free one; ``tls`` as ``server_tls`` makes it; `TlsFiles` follow a renewal."""

    rules: AssociationRules
    host: str = defaults.LOOPBACK
    port: int = defaults.SCP_PORT
    max_associations: int = defaults.MAX_ASSOCIATIONS
    max_associations_per_host: int = defaults.MAX_ASSOCIATIONS_PER_HOST
    idle_timeout_s: float = defaults.IDLE_TIMEOUT_S
    negotiation_timeout_s: float = 10.0
    max_instance_bytes: int = defaults.MAX_INSTANCE_BYTES
    tls: ssl.SSLContext | TlsFiles | None = None


class StorageScp:
    """Receives instances into ``intake`` from ``start`` until ``stop``; a context manager does both."""

    def __init__(self, options: ScpOptions, intake: Intake, report: Report) -> None:
        self._options = options
        self._hosts = options.rules.hosts()
        self._door = Door(
            max_associations=options.max_associations,
            max_per_address=options.max_associations_per_host,
            hosts=self._hosts,
        )
        self._service = Service(
            intake=intake,
            rules=options.rules,
            report=report,
            door=self._door,
            idle_timeout_s=options.idle_timeout_s,
            max_instance_bytes=options.max_instance_bytes,
        )
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._stopping = threading.Event()

    def __enter__(self) -> StorageScp:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._listener is not None, "not started"
        return int(self._listener.getsockname()[1])

    @property
    def is_listening(self) -> bool:
        """Whether connections are being accepted."""
        return self._acceptor is not None and self._acceptor.is_alive()

    @property
    def connections(self) -> int:
        """How many connections are open, negotiating ones included."""
        return len(self._door.places())

    @property
    def rejections(self) -> Mapping[str, int]:
        """Reason (``negotiation.Reason``) -> how many did not come in since the start; every reason is there."""
        return self._door.refusals

    def tls_detail(self) -> dict[str, Any] | None:
        """Which certificates new connections use (``TlsFiles.detail``); None where files are not followed."""
        tls = self._options.tls
        return tls.detail() if isinstance(tls, TlsFiles) else None

    def start(self) -> None:
        """Listen, and accept on a thread of its own.

        Raises:
            ConfigError: ``config.scp-address``, the address cannot be listened on.
        """
        host, port = self._options.host, self._options.port
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
            self._listener = socket.create_server((host, port), family=family, backlog=64)
        except OSError as error:
            cause, remedy = why_not(error, port)
            message = f"the DICOM port {host}:{port} cannot be opened: {cause}"
            raise ConfigError(message, code="config.scp-address", remedy=f"{remedy} (ingest.scp)") from error
        self._listener.settimeout(_ACCEPT_POLL_S)
        self._hosts.start()
        self._acceptor = threading.Thread(target=self._accept, name="dicom-accept", daemon=True)
        self._acceptor.start()

    def stop(self, grace_s: float = 5.0) -> None:
        """Accept no more; let instances that are arriving arrive, for so many seconds; then end. Twice is fine."""
        self._stopping.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the acceptor; elsewhere than on Linux its poll does
        if self._acceptor is not None:
            self._acceptor.join()
        if self._listener is not None:
            self._listener.close()
        self._hosts.stop()
        deadline = time.monotonic() + grace_s
        for place in self._door.places():
            if place.wake is not None:
                place.wake()
            else:
                self._door.cut(place)
        self._join(deadline)
        for place in self._door.places():
            self._door.cut(place)
        self._join(time.monotonic() + _END_S)

    def _join(self, deadline: float) -> None:
        for place in self._door.places():
            if place.thread is not None:
                place.thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._stopping.is_set():
            try:
                connection, address = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if self._stopping.is_set():
                    return
                # Out of file descriptors, or the peer was gone already: neither ends the service.
                _log.warning("connection.not-accepted", why=str(error))
                self._stopping.wait(0.1)
                continue
            self._spawn(connection, str(address[0]))

    def _spawn(self, connection: socket.socket, address: str) -> None:
        place = self._door.enter(connection, address)
        if place is None:
            _log.warning("connection.too-many", address=address)
            connection.close()
            self._service.refuse(Reason.TOO_MANY, address)
            return
        place.thread = threading.Thread(target=self._serve, args=(place,), name=f"dicom-{address}", daemon=True)
        try:
            place.thread.start()
        except RuntimeError as error:  # no more threads to be had
            _log.warning("connection.not-served", address=address, why=str(error))
            self._door.leave(place)
            connection.close()
            self._service.refuse(Reason.TOO_MANY, address)

    def _serve(self, place: Place) -> None:
        try:
            negotiated_by = time.monotonic() + self._options.negotiation_timeout_s
            if not self._secured(place):
                return
            place.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            association = Association(place, self._service, negotiated_by=negotiated_by)
            place.wake = association.wake
            if self._stopping.is_set():
                association.wake()
            association.serve()
        except OSError as error:
            _log.warning("connection.broke", address=place.address, why=str(error))
        except Exception:  # noqa: BLE001 - one connection's bug must not end the service
            _log.error("ingest.failed", address=place.address, trace=True)
        finally:
            self._door.leave(place)
            place.connection.close()

    def _secured(self, place: Place) -> bool:
        """Whether the connection is as secure as it has to be; a handshake that fails is said."""
        # On this connection's own thread: a peer that never finishes its handshake holds up nobody else.
        tls = self._options.tls
        place.connection.settimeout(self._options.negotiation_timeout_s)
        if tls is None:
            return True
        try:
            context = tls.context() if isinstance(tls, TlsFiles) else tls
            secured = self._door.wrap(
                place, lambda plain: context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            )
            secured.do_handshake()  # all of it within the timeout
            return True
        except OSError as error:
            reason = Reason.TIMED_OUT if isinstance(error, TimeoutError) else Reason.TLS
            reason = Reason.EVICTED if place.is_evicted else reason
            why = cause_of_handshake(error, peer="the sender").text if reason is Reason.TLS else str(error)
            _log.warning("connection.broke", address=place.address, why=why)
            if not self._stopping.is_set():
                self._service.refuse(reason, place.address, why=why if reason is Reason.TLS else "")
            return False


def server_tls(certificate: Path, key: Path, ca: Path | None = None) -> ssl.SSLContext:
    """TLS as PS3.15 B.9 (BCP 195) wants it: 1.2 or later, forward secrecy; with ``ca``, client certificates too.

    Raises:
        ConfigError: ``config.tls``, a file that cannot be read or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION  # one handshake a connection: more only cost this side
    try:
        show(context, certificate, key)
        if ca is not None:
            context.load_verify_locations(ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        cause = cause_of_files(error, ca=ca, certificate=certificate, key=key)
        raise ConfigError(
            f"the TLS files of the DICOM port cannot be used: {cause.text}", code="config.tls", remedy=cause.remedy
        ) from error
    return context
