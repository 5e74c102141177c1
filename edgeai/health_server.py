"""``/health`` and ``/metrics`` over HTTP, on one thread of the publish role.

One thread answers everybody, in turn and without ever waiting for any one of them: so there is one connection to the
spool however often and by however many it is asked, and a client that is slow or silent costs a socket for a few
seconds. What it takes is a small part of HTTP/1.1 (RFC 9112): GET and HEAD without a body, one request a connection.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from edgeai.api.errors import EdgeaiError
from edgeai.config import DeviceConfig
from edgeai.health import Health, read_health
from edgeai.health.http_request import BadRequest, Hosts, Request, parse_request
from edgeai.logs import Log
from edgeai.metrics import SpoolCollector
from edgeai.ports import why_not
from edgeai.spool import Spool

MAX_CLIENTS: Final = 32
"""At a time; the oldest goes when another one comes."""
MAX_REQUEST_BYTES: Final = 8192
CLIENT_S: Final = 5.0
"""For a client to say what it wants, and again to take the answer."""
RETRY_S: Final = 2.0
"""Between attempts to listen on a port that is taken."""

_JSON: Final = "application/json"
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

log = Log("edgeai.health")


@dataclass(slots=True, eq=False)
class _Client:
    """One connection: what came, what is still to go, and until when."""

    socket: socket.socket
    until: float
    received: bytes = b""
    answer: memoryview = field(default_factory=lambda: memoryview(b""))


class HealthServer:
    """Serves until ``close``. A port that is taken is tried again until it is free; ``problem`` says so meanwhile."""

    def __init__(self, spool: Spool, config: DeviceConfig) -> None:
        self._config = config
        self._answers = Answers(spool, config)
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self._listen_at = 0.0
        self._problem: str | None = None
        self._clients: dict[_Client, None] = {}
        self._stopping = False
        self._listen(time.monotonic())
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """Why nobody can ask at present, one sentence; None while it listens."""
        return self._problem

    def close(self) -> None:
        """Stop listening. Twice is fine."""
        self._stopping = True
        with suppress(OSError):
            self._waker.send(b"\0")
        self._thread.join(10.0)
        self._waker.close()

    # --- the thread -------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._stopping:
                try:
                    self._round()
                except Exception:  # noqa: BLE001 - one client's bytes must not end the endpoint
                    log.error("health.failed", trace=True)
                    time.sleep(0.1)
        finally:
            for client in list(self._clients):
                self._drop(client)
            if self._listener is not None:
                self._listener.close()
            self._wake.close()
            self._selector.close()

    def _round(self) -> None:
        now = time.monotonic()
        if self._listener is None and now >= self._listen_at:
            self._listen(now)
        for client in [client for client in self._clients if client.until < now]:
            self._drop(client)
        dues = [client.until for client in self._clients] + ([self._listen_at] if self._listener is None else [])
        pause = max(0.0, min([1.0, *(due - now for due in dues)]))
        for key, _ in self._selector.select(pause):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.data, _Client) and key.data in self._clients:
                self._attend(key.data)

    def _listen(self, now: float) -> None:
        host, port = self._config.health.host, self._config.health.port
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
            listener = socket.create_server((host, port), family=family, backlog=64)
        except OSError as error:
            cause, remedy = why_not(error, port)
            message = f"the health endpoint cannot listen on {host}:{port}: {cause}"
            if self._problem != message:
                log.error("health.port", message=message, remedy=f"{remedy} ([health])")
            self._problem, self._listen_at = message, now + RETRY_S
            return
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        if self._problem is not None:
            log.info("health.listening", host=host, port=port)
        self._listener, self._problem = listener, None

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # gone already, or no descriptor left: the next round looks again
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(next(iter(self._clients)))
        connection.setblocking(False)
        client = _Client(connection, time.monotonic() + CLIENT_S)
        self._clients[client] = None
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _attend(self, client: _Client) -> None:
        try:
            if client.answer:
                self._send(client)
            else:
                self._receive(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _receive(self, client: _Client) -> None:
        data = client.socket.recv(MAX_REQUEST_BYTES)
        if not data:
            self._drop(client)
            return
        client.received += data
        head, complete, _ = client.received.partition(b"\r\n\r\n")
        if not complete and len(client.received) <= MAX_REQUEST_BYTES:
            return
        too_long = len(head) > MAX_REQUEST_BYTES
        answer = _answer(431, {"error": "the request is too long"}) if too_long else self._answers(head, _here(client))
        client.answer, client.until = memoryview(answer), time.monotonic() + CLIENT_S
        self._selector.modify(client.socket, selectors.EVENT_WRITE, client)
        self._send(client)

    def _send(self, client: _Client) -> None:
        sent = client.socket.send(client.answer)
        client.answer = client.answer[sent:]
        if not client.answer:
            with suppress(OSError):
                client.socket.shutdown(socket.SHUT_WR)
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        del self._clients[client]
        self._selector.unregister(client.socket)
        client.socket.close()


def _here(client: _Client) -> str:
    """This machine's address, as the client reached it."""
    return str(client.socket.getsockname()[0])


class Answers:
    """The bytes that answer a request. Called on one thread."""

    def __init__(self, spool: Spool, config: DeviceConfig) -> None:
        self._spool, self._config = spool, config
        self._hosts = Hosts(config.health.host, config.health.allow_hosts)
        self._registry = CollectorRegistry()
        self._registry.register(SpoolCollector(spool, config))
        self._paths: dict[str, Callable[[], bytes]] = {
            "/": lambda: self._health(lambda health: health.is_well),
            "/health": lambda: self._health(lambda health: health.is_well),
            "/health/serving": lambda: self._health(lambda health: health.is_serving),
            "/health/delivering": lambda: self._health(lambda health: health.is_delivering),
            "/metrics": self._metrics,
        }

    def __call__(self, head: bytes, here: str) -> bytes:
        """Answer one request head, which came to the address ``here`` of this machine."""
        try:
            request = parse_request(head)
        except BadRequest as error:
            return _answer(400, {"error": str(error)})
        answer = self._to(request, here)
        return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else answer

    def _to(self, request: Request, here: str) -> bytes:
        if not self._hosts.allow(request.host, here):
            # Any page in a browser may have a name of its own point here (DNS rebinding); its requests say that name.
            return _answer(421, {"error": "not this device's name", "remedy": "add it to health.allow_hosts"})
        if request.method not in ("GET", "HEAD"):
            return _answer(405, {"error": "GET or HEAD"}, "Allow: GET, HEAD")
        path = self._paths.get(request.path)
        if path is None:
            return _answer(404, {"paths": [name for name in self._paths if name != "/"]})
        try:
            return path()
        except EdgeaiError as error:
            return _answer(503, {"serving": False, "delivering": False, "error": str(error), "code": error.code})
        except Exception:  # noqa: BLE001 - it is said, and the next one may fare better
            log.error("health.failed", path=request.path, trace=True)
            return _answer(500, {"error": "see the log"})

    def _health(self, is_well: Callable[[Health], bool]) -> bytes:
        health = read_health(self._spool, self._config)
        return _answer(200 if is_well(health) else 503, health.as_dict())

    def _metrics(self) -> bytes:
        return _message(200, CONTENT_TYPE_LATEST, generate_latest(self._registry))


def _answer(status: int, body: dict[str, Any], *headers: str) -> bytes:
    return _message(status, _JSON, json.dumps(body, indent=1).encode() + b"\n", *headers)


def _message(status: int, content_type: str, body: bytes, *headers: str) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *headers,
    )
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
