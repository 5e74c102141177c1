"""The Storage and Verification SCP: listens, limits who may connect, and gives each connection a thread."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeai.api.errors import ConfigError
from edgeai.dicom.arrival import Intake
from edgeai.dicom.association import Association, Report, Service
from edgeai.dicom.negotiation import AssociationRules
from edgeai.logs import Log

_log = Log(__name__)
_SPARE_CONNECTIONS: Final = 16
"""Connections beyond ``max_associations`` that may negotiate, so that one too many is told so and not just dropped."""
_ACCEPT_POLL_S: Final = 0.5
_TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScpOptions:
    """How to listen. ``port`` 0 takes any free one; ``tls`` as ``server_tls`` makes it."""

    rules: AssociationRules
    host: str = "127.0.0.1"
    port: int = 11112
    max_associations: int = 10
    idle_timeout_s: float = 60.0
    negotiation_timeout_s: float = 10.0
    max_instance_bytes: int = 2_000_000_000
    tls: ssl.SSLContext | None = None


class StorageScp:
    """Receives instances into ``intake`` from ``start`` until ``stop``; a context manager does both."""

    def __init__(self, options: ScpOptions, intake: Intake, report: Report) -> None:
        self._options = options
        self._service = Service(
            intake=intake,
            rules=options.rules,
            report=report,
            slots=threading.Semaphore(options.max_associations),
            idle_timeout_s=options.idle_timeout_s,
            negotiation_timeout_s=options.negotiation_timeout_s,
            max_instance_bytes=options.max_instance_bytes,
        )
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, Association | None] = {}

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
        with self._lock:
            return len(self._open)

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
            raise ConfigError(
                f"the DICOM port cannot be opened: {host}:{port}: {error}",
                code="config.scp-address",
                remedy="is another service on that port, or the address not this machine's? see ingest.scp",
            ) from error
        self._listener.settimeout(_ACCEPT_POLL_S)
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
        deadline = time.monotonic() + grace_s
        for association in self._associations():
            association.wake()
        for thread in self._threads():
            thread.join(max(0.0, deadline - time.monotonic()))
        for association in self._associations():
            association.cut()
        for thread in self._threads():
            thread.join(3.0)

    def _associations(self) -> list[Association]:
        with self._lock:
            return [association for association in self._open.values() if association is not None]

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._open)

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
            if self.connections >= self._options.max_associations + _SPARE_CONNECTIONS:
                _log.warning("connection.too-many", address=address[0])
                connection.close()
                continue
            self._spawn(connection, str(address[0]))

    def _spawn(self, connection: socket.socket, address: str) -> None:
        thread = threading.Thread(target=self._serve, args=(connection, address), name=f"dicom-{address}", daemon=True)
        with self._lock:
            self._open[thread] = None
        try:
            thread.start()
        except RuntimeError as error:  # no more threads to be had
            _log.warning("connection.not-served", address=address, why=str(error))
            connection.close()
            with self._lock:
                del self._open[thread]

    def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            connection = self._secured(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            association = Association(connection, address, self._service)
            with self._lock:
                self._open[threading.current_thread()] = association
            if self._stopping.is_set():
                association.wake()
            association.serve()
        except OSError as error:
            _log.warning("connection.broke", address=address, why=str(error))
        except Exception:  # noqa: BLE001 - one connection's bug must not end the service
            _log.error("ingest.failed", address=address, trace=True)
        finally:
            connection.close()
            with self._lock:
                del self._open[threading.current_thread()]

    def _secured(self, connection: socket.socket) -> socket.socket:
        # On this connection's own thread: a peer that never finishes its handshake holds up nobody else.
        connection.settimeout(self._options.negotiation_timeout_s)
        if self._options.tls is None:
            return connection
        try:
            return self._options.tls.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()
            raise


def server_tls(certificate: Path, key: Path, ca: Path | None = None) -> ssl.SSLContext:
    """TLS as PS3.15 B.9 (BCP 195) wants it: 1.2 or later, forward secrecy; with ``ca``, client certificates too.

    Raises:
        ConfigError: ``config.tls``, a file that cannot be read or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_CIPHERS)
    try:
        context.load_cert_chain(certificate, key)
        if ca is not None:
            context.load_verify_locations(ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the TLS files of the DICOM port cannot be used ({certificate}, {key}, {ca or 'no ca'}): {error}",
            code="config.tls",
            remedy="PEM files, readable by the service; the key unencrypted and that of the certificate",
        ) from error
    return context
