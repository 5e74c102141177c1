"""A hand-made MQTT broker that answers each PUBLISH as a test says: for what no real broker can be brought to do."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _PINGREQ, _DISCONNECT = 0x10, 0x20, 0x30, 0x40, 0xC0, 0xE0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One PUBLISH that came in, whole or again.

    Attributes:
        connection: which, counted from 0.
        size: of the packet, its fixed header included.
        in_flight: how many of this connection had no answer when it came, itself included.
    """

    connection: int
    topic: str
    payload: bytes
    retain: bool
    size: int
    in_flight: int

    @property
    def channel(self) -> str:
        """``result/<deployment>``, ``event`` or ``status``."""
        return self.topic.split("/", 4)[-1]

    @property
    def body(self) -> dict[str, Any]:
        """Its JSON."""
        body: dict[str, Any] = json.loads(self.payload)
        return body


@dataclass(frozen=True, slots=True)
class Puback:
    """Answer with a reason code, other than 0 in MQTT 5 alone. ``and_close``: then hang up, as Mosquitto 2.0 does."""

    code: int = 0
    and_close: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer, now or later."""


@dataclass(frozen=True, slots=True)
class Close:
    """Break the connection; in MQTT 5 after a DISCONNECT with ``code``, where there is one."""

    code: int | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """Write these bytes, then go on."""

    data: bytes
    times: int = 1


Move: TypeAlias = Puback | Hang | Close | Raw
Script: TypeAlias = Callable[[Sent], Move]


@dataclass(slots=True)
class ScriptedBroker:
    """Speaks just enough MQTT 5 and 3.1.1 for one publisher, and does with each PUBLISH as ``script`` says.

    Attributes:
        script: asked for each PUBLISH, on the connection's own thread; may be replaced at any time.
        properties: of the CONNACK (MQTT 5), as bytes behind their length.
        greeting: sent behind the CONNACK.
        versions: which it speaks: 5, 4 (that is 3.1.1) or both.
        sent: all that came in.
        connects: the client's CONNECT packets, without their fixed headers.
    """

    script: Script = lambda _sent: Puback()
    properties: bytes = b""
    greeting: bytes = b""
    connack: int = 0
    versions: tuple[int, ...] = (4, 5)
    sent: list[Sent] = field(default_factory=list)
    connects: list[bytes] = field(default_factory=list)
    open_now: set[socket.socket] = field(default_factory=set)
    _listener: socket.socket | None = None

    @property
    def port(self) -> int:
        """Where to connect."""
        assert self._listener is not None
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> ScriptedBroker:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True, name="scripted-broker").start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._listener is not None
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_all()

    def drop_all(self) -> None:
        """Break whatever is connected."""
        for client in list(self.open_now):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def on(self, channel: str) -> list[Sent]:
        """What came in on one channel, in order, repeats included."""
        return [sent for sent in list(self.sent) if sent.channel == channel]

    def wait(self, true: Callable[[], object], timeout_s: float = 240.0) -> None:
        """Until it is true.

        Raises:
            TimeoutError: it does not become true in time.
        """
        end = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {timeout_s:g} s; {len(self.sent)} messages came in")
            time.sleep(0.01)

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True, name="scripted-broker").start()

    def _serve(self, client: socket.socket) -> None:
        self.open_now.add(client)
        with suppress(OSError, EOFError), client:
            kind, packet = _read(client)
            if kind != _CONNECT:
                return
            self.connects.append(packet)
            number, version = len(self.connects) - 1, packet[6]
            if version not in self.versions:
                client.sendall(b"\x20\x02\x00\x01" if version == 4 else b"\x20\x03\x00\x84\x00")
                return
            tail = bytes([len(self.properties)]) + self.properties if version == 5 else b""
            client.sendall(bytes([_CONNACK, 2 + len(tail), 0, self.connack]) + tail + self.greeting)
            in_flight = 0
            while True:
                kind, packet = _read(client)
                if kind == _PINGREQ:
                    client.sendall(b"\xd0\x00")
                elif kind == _DISCONNECT:
                    return
                elif kind & 0xF0 == _PUBLISH:
                    in_flight += 1
                    mid, sent = _parse(number, kind, packet, version, in_flight)
                    self.sent.append(sent)
                    move = self.script(sent)
                    if isinstance(move, Puback):
                        in_flight -= 1
                    if not _do(client, version, mid, move):
                        return
        self.open_now.discard(client)


def _do(client: socket.socket, version: int, mid: int, move: Move) -> bool:
    """Whether the connection goes on."""
    if isinstance(move, Puback):
        if move.code and version == 5:
            client.sendall(struct.pack("!BBHB", _PUBACK, 3, mid, move.code))
        else:
            client.sendall(struct.pack("!BBH", _PUBACK, 2, mid))
        return not move.and_close
    if isinstance(move, Hang):
        return True
    if isinstance(move, Raw):
        for _ in range(move.times):
            client.sendall(move.data)
    if isinstance(move, Close):
        if move.code is not None and version == 5:
            client.sendall(bytes([_DISCONNECT, 1, move.code]))
        return False
    return True


def _parse(number: int, kind: int, packet: bytes, version: int, in_flight: int) -> tuple[int, Sent]:
    length = struct.unpack_from("!H", packet)[0]
    topic, at = packet[2 : 2 + length].decode(), 2 + length
    mid = struct.unpack_from("!H", packet, at)[0]
    at += 2
    if version == 5:
        properties, width = _varint(packet[at : at + 4])
        at += width + properties
    size = 1 + len(_packed(len(packet))) + len(packet)
    return mid, Sent(
        connection=number,
        topic=topic,
        payload=packet[at:],
        retain=bool(kind & 1),
        size=size,
        in_flight=in_flight,
    )


def _packed(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def publish_packet(topic: str, size: int, *, qos: int = 0, mid: int = 1, version: int = 5) -> tuple[bytes, int]:
    """The head of a PUBLISH whose payload has ``size`` bytes, and that size: the payload is the caller's to write."""
    name = topic.encode()
    head = struct.pack("!H", len(name)) + name + (struct.pack("!H", mid) if qos else b"")
    head += b"\x00" if version == 5 else b""
    return bytes([_PUBLISH | qos << 1]) + _packed(len(head) + size) + head, size


def _varint(data: bytes) -> tuple[int, int]:
    """A variable byte integer, and how many bytes it takes."""
    value = 0
    for index, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, index + 1
    raise EOFError


def _read(client: socket.socket) -> tuple[int, bytes]:
    """First byte and the rest of one packet.

    Raises:
        EOFError: the client has gone.
    """
    kind = _exactly(client, 1)[0]
    length = b""
    while not length or length[-1] & 0x80:
        length += _exactly(client, 1)
    return kind, _exactly(client, _varint(length)[0])


def _exactly(client: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = client.recv(min(65536, count - len(data)))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
