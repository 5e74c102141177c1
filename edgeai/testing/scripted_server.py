"""A web server that serves a folder with ranges, and misbehaves as it is told: for whoever must survive any server."""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import unquote, urlsplit

_RANGE: Final = re.compile(r"bytes=([0-9]+)-")


@dataclass(slots=True)
class Way:
    """How it misbehaves, to paths that contain a word.

    Attributes:
        how: of ``WAYS``.
        where: in the path.
        times: so often; then it behaves.
        ranged: only to requests for a range (``True``), only to others (``False``), to both.
    """

    how: str
    where: str = ""
    times: int = 1 << 30
    ranged: bool | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its path, from where on, and what else it said."""

    path: str
    offset: int
    headers: dict[str, str]


class ScriptedServer:
    """Serves a folder on a port of its own, until it is closed; by TLS where there is a context for it.

    Attributes:
        ways: what it does wrong; empty for nothing. May be changed at any time.
        asked: every request, in order.
    """

    def __init__(self, folder: Path, context: ssl.SSLContext | None = None) -> None:
        self.folder = folder
        self.ways: list[Way] = []
        self.asked: list[Asked] = []
        self.over = threading.Event()
        outer = self

        class Answers(_Answers):
            peer = outer

        self._server = _Listener(("127.0.0.1", 0), Answers)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens, on this machine."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Of the folder."""
        scheme = "https" if isinstance(self._server.socket, ssl.SSLSocket) else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def way(self, path: str, *, ranged: bool) -> str:
        """How the next answer to this path is wrong; empty for right."""
        for way in self.ways:
            if way.where in path and way.times > 0 and way.ranged in (None, ranged):
                way.times -= 1
                return way.how
        return ""

    def close(self) -> None:
        """Listen no more; whoever still waits for an answer gets none."""
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Listener(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass  # whoever asked has gone, as clients of such a server do


class _Answers(BaseHTTPRequestHandler):
    peer: ScriptedServer
    protocol_version = "HTTP/1.1"
    server_version = "scripted"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        offset = int(match[1]) if match else 0
        self.peer.asked.append(Asked(path, offset, dict(self.headers.items())))
        where = (self.peer.folder / path).resolve()
        with suppress(OSError):
            how = self.peer.way(path, ranged=match is not None)
            if not where.is_relative_to(self.peer.folder.resolve()) or not where.is_file():
                self.answer(HTTPStatus.NOT_FOUND, b"no such file")
            elif how:
                WAYS[how](self, where.read_bytes(), offset)
            else:
                self.rightly(where.read_bytes(), offset)

    # --- what the ways are made of ----------------------------------------------------------------

    def rightly(self, data: bytes, offset: int) -> None:
        if not offset:
            self.answer(HTTPStatus.OK, data)
        elif offset >= len(data):
            self.answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{len(data)}"})
        else:
            told = {"Content-Range": f"bytes {offset}-{len(data) - 1}/{len(data)}"}
            self.answer(HTTPStatus.PARTIAL_CONTENT, data[offset:], told)

    def answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        told = {"Content-Length": str(len(data)), "Content-Type": "application/octet-stream", **(headers or {})}
        self.send_response(status)
        for name, value in told.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def cut(self, data: bytes, headers: dict[str, str] | None = None) -> None:
        """An answer, and then the connection ends, whatever was promised."""
        self.answer(HTTPStatus.OK, data, headers)
        self.end()

    def end(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def drip(self, data: bytes) -> None:
        """A byte at a time, until whoever waits has gone."""
        for index in range(len(data)):
            if self.peer.over.wait(0.05):
                break
            self.wfile.write(data[index : index + 1])
        self.end()

    def chunked(self, data: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(data), 10_000):
            piece = data[at : at + 10_000]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.end()


def _partly(change: Callable[[bytes, int], tuple[bytes, str]]) -> Callable[[_Answers, bytes, int], None]:
    """A 206 whose bytes and Content-Range are made up; a whole answer where no range was asked for."""

    def way(to: _Answers, data: bytes, offset: int) -> None:
        if not offset:
            to.rightly(data, offset)
            return
        part, told = change(data, offset)
        to.answer(HTTPStatus.PARTIAL_CONTENT, part, {"Content-Range": told})

    return way


def _endless(to: _Answers, data: bytes, offset: int) -> None:
    to.send_response(HTTPStatus.OK)
    to.end_headers()
    while not to.peer.over.is_set():
        to.wfile.write(data + b"x" * 1000)
    to.end()


def _drips(to: _Answers, data: bytes, offset: int) -> None:
    to.send_response(HTTPStatus.OK)
    to.end_headers()
    to.drip(data)


def _continues(to: _Answers, data: bytes, offset: int) -> None:
    while not to.peer.over.wait(0.02):
        to.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _waits(to: _Answers, data: bytes, offset: int) -> None:
    to.peer.over.wait()
    to.end()


def _multipart(to: _Answers, data: bytes, offset: int) -> None:
    body = b"--x\r\nContent-Range: bytes 0-1/2\r\n\r\n" + data[offset:] + b"\r\n--x--\r\n"
    to.answer(HTTPStatus.PARTIAL_CONTENT, body, {"Content-Type": "multipart/byteranges; boundary=x"})


def _status(status: int, **headers: str) -> Callable[[_Answers, bytes, int], None]:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda to, data, offset: to.answer(status, b"something else", told)


def _other(data: bytes) -> bytes:
    return bytes(each ^ 0x55 for each in data)


WAYS: Final[dict[str, Callable[[_Answers, bytes, int], None]]] = {
    # Of the range that is asked for.
    "ignores-range": lambda to, data, offset: to.answer(HTTPStatus.OK, data),
    "another-range": _partly(lambda data, at: (data[at // 2 :], f"bytes {at // 2}-{len(data) - 1}/{len(data)}")),
    "range-of-nothing": _partly(lambda data, at: (data[at:], "")),
    "range-that-is-none": _partly(lambda data, at: (data[at:], "bytes some-more/all")),
    "range-of-other-bytes": _partly(lambda data, at: (_other(data[at:]), f"bytes {at}-{len(data) - 1}/{len(data)}")),
    "range-of-the-begin": _partly(lambda data, at: (data[: len(data) - at], f"bytes {at}-{len(data) - 1}/{len(data)}")),
    "range-that-is-short": _partly(lambda data, at: (data[at : at + 10], f"bytes {at}-{at + 9}/{len(data)}")),
    "multipart": _multipart,
    "refuses-range": _status(416),
    "partial-unasked": lambda to, data, offset: to.answer(
        HTTPStatus.PARTIAL_CONTENT, data[:-5], {"Content-Range": f"bytes 0-{len(data) - 6}/{len(data)}"}
    ),
    # Of the bytes.
    "other-bytes": lambda to, data, offset: to.answer(HTTPStatus.OK, _other(data)),
    "page": lambda to, data, offset: to.answer(HTTPStatus.OK, b"<html>log in</html>", {"Content-Type": "text/html"}),
    "nothing": lambda to, data, offset: to.answer(HTTPStatus.OK, b""),
    "shorter": lambda to, data, offset: to.answer(HTTPStatus.OK, data[: len(data) // 2]),
    "longer": lambda to, data, offset: to.answer(HTTPStatus.OK, data + b"more"),
    "longer-chunked": lambda to, data, offset: to.chunked(data + b"more"),
    "endless": _endless,
    "half": lambda to, data, offset: to.cut(data[offset : offset + len(data) // 2], {"Content-Length": str(len(data))}),
    "length-too-great": lambda to, data, offset: to.cut(data, {"Content-Length": str(len(data) + 1000)}),
    "length-too-small": lambda to, data, offset: to.cut(data, {"Content-Length": "10"}),
    "length-that-is-none": lambda to, data, offset: to.cut(data, {"Content-Length": "-1"}),
    "gzip": lambda to, data, offset: to.answer(HTTPStatus.OK, gzip.compress(data), {"Content-Encoding": "gzip"}),
    "unpacked": lambda to, data, offset: to.answer(HTTPStatus.OK, data, {"Content-Encoding": "deflate"}),
    # Right, though not as usual.
    "chunked": lambda to, data, offset: to.chunked(data),
    "wrong-type": lambda to, data, offset: to.answer(HTTPStatus.OK, data, {"Content-Type": "text/html"}),
    "closes": lambda to, data, offset: to.cut(data, {"Connection": "close"}),
    # Of time.
    "drips": _drips,
    "drips-head": lambda to, data, offset: to.drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 60_000),
    "continues": _continues,
    "waits": _waits,
    # Of the answer.
    "elsewhere": lambda to, data, offset: to.answer(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"}),
    "elsewhere-for-ever": lambda to, data, offset: to.answer(308, b"", {"Location": to.path}),
    "not-found": _status(404),
    "gone": _status(410),
    "forbidden": _status(403),
    "unauthorised": _status(401),
    "broken": _status(500),
    "busy": _status(429),
    "drops": lambda to, data, offset: to.end(),
    "garbage": lambda to, data, offset: to.raw(b"\x16\x03\x01 this is no HTTP \r\n\r\n" * 50),
    "many-headers": lambda to, data, offset: to.raw(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n"),
    "long-header": lambda to, data, offset: to.raw(b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 200_000 + b"\r\n\r\n"),
}
"""Name -> what it does in place of an answer."""
