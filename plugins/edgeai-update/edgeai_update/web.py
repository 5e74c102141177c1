"""A repository on a server, over the standard library's HTTP client.

A server may be broken or hostile: it is given no say in where we go (no redirects), in how bytes are to be read (no
Content-Encoding), nor in how long we wait. What it sends is held to what was signed elsewhere.
"""

from __future__ import annotations

import base64
import http.client
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from threading import Timer
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import edgeai
from edgeai.api.errors import ConfigError
from edgeai_update.errors import AGAIN, UpdateError, wrong_range
from edgeai_update.sources import PIECE, Reply, missing

if TYPE_CHECKING:
    from ssl import SSLContext

_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:[0-9]{1,18}|\*)", re.ASCII)
_PORTS: Final = {"http": 80, "https": 443}
_BROKEN: Final = (OSError, http.client.HTTPException, ValueError)
"""How a connection ends, or an answer that is none; ``ValueError`` of numbers that are none."""
_ABSENT: Final = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_BUSY: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How patient a device is, and how much of a link it takes.

    Attributes:
        timeout_s: without a byte for so long, or without the head of an answer, a connection is given up.
        patience_s: over so long, ``least_bytes_per_s`` must have come.
        max_bytes_per_s: no more is taken; 0 for no bound.
    """

    timeout_s: float = 30.0
    patience_s: float = 60.0
    least_bytes_per_s: float = 100.0
    max_bytes_per_s: int = 0


class WebSource:
    """A server. One connection is kept from file to file.

    Args:
        url: of ``public/``.
        manners: towards it.
        proxy: ``http://host:port``; what the environment says without (``https_proxy``, ``no_proxy``).
        context: for TLS; the system's authorities without.
        sleep: between two pieces, where the link is not to be filled.

    Raises:
        ConfigError: ``update.proxy``.
    """

    def __init__(
        self,
        url: str,
        *,
        manners: Manners | None = None,
        proxy: str | None = None,
        context: SSLContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url.rstrip("/") + "/")
        self._scheme, self._host = parts.scheme, parts.hostname or ""
        self._port, self._base = parts.port or _PORTS[parts.scheme], parts.path
        self._manners = manners or Manners()
        self._proxy = _proxy(proxy, self._scheme, self._host)
        self._context = context
        self._sleep = sleep
        self._connection: http.client.HTTPConnection | None = None
        self._handle: socket.socket | None = None
        self._has_answered = False

    def open(self, path: str, offset: int = 0) -> Reply:
        """A file of the server; with an offset the rest of it, or the whole where the server knows no ranges.

        Raises:
            UpdateError: ``update.unreachable``, ``update.too-slow``, ``update.missing``, ``update.redirected``,
                ``update.encoded``, ``update.refused``, ``update.wrong-range``.
        """
        was_kept = self._connection is not None
        try:
            response = self._asked(path, offset)
        except _BROKEN as error:
            self.close()
            if not was_kept or isinstance(error, TimeoutError):
                raise self._unreachable(path, error) from error
            return self.open(path, offset)  # the server had closed it meanwhile
        try:
            begins = self._judged(response, path, offset)
        except UpdateError:
            self.close()
            raise
        return Reply(
            offset=begins,
            length=response.length,
            pieces=self._pieces(response, path),
            close=lambda: self._done(response),
        )

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        if self._handle is not None:
            self._handle.close()
        self._connection = self._handle = None

    # --- asking -----------------------------------------------------------------------------------

    def _asked(self, path: str, offset: int) -> http.client.HTTPResponse:
        with self._watched(path):
            if self._connection is None:
                self._connection = self._connected()
            target = self._base + quote(path, safe="/%")
            headers = {"Accept-Encoding": "identity", "User-Agent": f"edgeai/{edgeai.__version__}"}
            if self._proxy and self._scheme == "http":
                target = f"http://{self._authority()}{target}"
                headers |= self._proxy.headers
            if offset:
                headers["Range"] = f"bytes={offset}-"
            self._connection.request("GET", target, headers=headers)
            response = self._connection.getresponse()
            self._has_answered = True
            return response

    def _connected(self) -> http.client.HTTPConnection:
        timeout = self._manners.timeout_s
        peer = (self._proxy.host, self._proxy.port) if self._proxy else (self._host, self._port)
        sock = socket.create_connection(peer, timeout)
        try:
            # Another name of the same connection: shutting it down ends whatever waits for it, TLS or not.
            self._handle = sock.dup()
            if self._scheme == "https":
                sock = self._secured(self._through(sock))
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
            connection.auto_open = 0  # else it would connect again by itself, past proxy and TLS
            connection.sock = sock
        except BaseException:
            sock.close()
            raise
        return connection

    def _through(self, sock: socket.socket) -> socket.socket:
        """Past the proxy, where there is one."""
        if self._proxy is None:
            return sock
        head = {"Host": self._authority(), **self._proxy.headers}
        lines = [f"CONNECT {self._authority()} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
        response = http.client.HTTPResponse(sock, method="CONNECT")
        response.begin()
        if response.status != HTTPStatus.OK:
            raise ConnectionError(f"the proxy answered {response.status} {response.reason}")
        return sock

    def _secured(self, sock: socket.socket) -> socket.socket:
        import ssl

        context = self._context or ssl.create_default_context()
        return context.wrap_socket(sock, server_hostname=self._host)

    def _authority(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return host if self._port == _PORTS[self._scheme] and self._scheme == "http" else f"{host}:{self._port}"

    @contextmanager
    def _watched(self, path: str) -> Iterator[None]:
        """A head may come a byte at a time, each within the time-out: it is given so long, all of it."""
        is_over = False

        def end() -> None:
            nonlocal is_over
            is_over = True
            if self._handle is not None:
                with suppress(OSError):
                    self._handle.shutdown(socket.SHUT_RDWR)

        timer = Timer(2 * self._manners.timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except _BROKEN as error:
            if is_over or isinstance(error, TimeoutError):
                self.close()
                raise self._slow(path) from error
            raise
        finally:
            timer.cancel()
        if is_over:  # a head that ends with the connection passes for a whole one
            self.close()
            raise self._slow(path)

    # --- judging ----------------------------------------------------------------------------------

    def _judged(self, response: http.client.HTTPResponse, path: str, offset: int) -> int:
        """Where the bytes begin that are to come."""
        status = response.status
        if status in _ABSENT:
            raise missing(path)
        if 300 <= status < 400:
            where = response.getheader("Location", "nowhere")
            raise UpdateError(
                f"the server sends us elsewhere for {path}: to {where[:200]!r}",
                code="update.redirected",
                remedy="name in repository.url where the files are: no redirect is followed",
            )
        if status >= 500 or status in _BUSY:
            raise UpdateError(f"the server answers {status} to {path}", code="update.unreachable", remedy=AGAIN)
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) and not (
            status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset
        ):
            raise UpdateError(
                f"the server answers {status} to {path}",
                code="update.refused",
                remedy="look at repository.url, and at what the server asks of its clients",
            )
        encoding = response.getheader("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise UpdateError(
                f"the server sends {path} as {encoding[:40]}, which nobody asked for",
                code="update.encoded",
                remedy="let it serve these files as they are, without Content-Encoding",
            )
        if status == HTTPStatus.OK:
            return 0
        return self._range(response, path, offset)

    @staticmethod
    def _range(response: http.client.HTTPResponse, path: str, offset: int) -> int:
        told = _RANGE.fullmatch(response.getheader("Content-Range", "").strip())
        length = response.length
        is_sound = (
            response.status == HTTPStatus.PARTIAL_CONTENT
            and offset
            and told is not None
            and int(told[1]) == offset
            and (length is None or length == int(told[2]) - offset + 1)
        )
        if not is_sound:
            raise wrong_range(path)
        return offset

    # --- reading ----------------------------------------------------------------------------------

    def _pieces(self, response: http.client.HTTPResponse, path: str) -> Iterator[bytes]:
        manners, fill = self._manners, 0
        began, slept = time.monotonic(), 0.0
        since, came = began, 0
        piece_size = min(PIECE, max(1024, manners.max_bytes_per_s)) if manners.max_bytes_per_s else PIECE
        while True:
            try:
                piece = response.read1(piece_size)
            except TimeoutError as error:
                raise self._slow(path) from error
            except _BROKEN as error:
                raise self._unreachable(path, error) from error
            if not piece:
                break
            fill += len(piece)
            came += len(piece)
            yield piece
            now = time.monotonic() - slept
            if now - since > manners.patience_s:
                if came < manners.least_bytes_per_s * (now - since):
                    raise self._slow(path)
                since, came = now, 0
            if manners.max_bytes_per_s and (pause := fill / manners.max_bytes_per_s - (now + slept - began)) > 0:
                self._sleep(pause)
                slept += pause
        if response.length:  # http.client says so of no chunked answer, where it raises
            raise self._unreachable(path, ConnectionError(f"{response.length} bytes did not come"))

    def _done(self, response: http.client.HTTPResponse) -> None:
        is_read = response.isclosed() or response.length == 0
        response.close()
        if not is_read:  # what is left of it would be read as the next answer
            self.close()

    def _slow(self, path: str) -> UpdateError:
        return UpdateError(f"{path} comes too slowly, or not at all", code="update.too-slow", remedy=AGAIN)

    def _unreachable(self, path: str, error: Exception) -> UpdateError:
        via = f" through the proxy {self._proxy.host}:{self._proxy.port}" if self._proxy else ""
        why, remedy = getattr(error, "strerror", None) or str(error) or type(error).__name__, AGAIN
        if self._scheme == "https" and (cause := _tls_cause(error)) is not None:
            why, remedy = cause
        elif isinstance(error, socket.gaierror | ConnectionRefusedError):
            names = "repository.proxy (or the environment's)" if self._proxy else "repository.url"
            remedy = f"look at {names}: name and port; where they are right, {AGAIN.removeprefix('nothing; ')}"
        elif self._scheme == "http" and not self._has_answered and _wants_tls(error):
            why = f"the server hung up without an answer, as one does that speaks TLS here ({why})"
            remedy = "where it speaks TLS, write https:// in repository.url; else look at the server's log"
        return UpdateError(
            f"{path} cannot be fetched from {self._host}:{self._port}{via}: {why}",
            code="update.unreachable",
            remedy=remedy,
        )


def _wants_tls(error: Exception) -> bool:
    """Whether it may be: it hung up at our first words, or answered them by a record of TLS (an alert)."""
    told = str(error).lstrip("'\"")
    return isinstance(error, ConnectionResetError | BrokenPipeError) or told.startswith(("\\x15\\x03", "\x15\x03"))


def _tls_cause(error: Exception) -> tuple[str, str] | None:
    import ssl

    from edgeai.tls import cause_of_handshake

    if not isinstance(error, ssl.SSLError):
        return None
    cause = cause_of_handshake(error, peer="the server")
    return cause.text, cause.remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proxy:
    """Where it is, and what it is told of who we are."""

    host: str
    port: int
    headers: dict[str, str]


def _proxy(wished: str | None, scheme: str, host: str) -> _Proxy | None:
    """The proxy for a host: the profile's, or the environment's, which may name user and password."""
    named = wished
    if named is None:
        proxies = getproxies()
        named = None if proxy_bypass(host) else proxies.get(scheme) or proxies.get("all")
    if not named:
        return None
    parts, port = _parts(named)
    headers = {}
    if parts.username is not None:
        told = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(told).decode('ascii')}"
    return _Proxy(host=parts.hostname or "", port=port, headers=headers)


def _parts(named: str) -> tuple[SplitResult, int]:
    """The parts of a proxy's address, of which none is shown: there may be a password among them."""
    try:
        parts = urlsplit(named if "://" in named else f"http://{named}")
        port = parts.port or _PORTS["http"]
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(
            "the proxy that the environment (or repository.proxy) names is no http://host:port",
            code="update.proxy",
            remedy="correct https_proxy, http_proxy or all_proxy of the service, or name one as repository.proxy",
        )
    return parts, port
