"""paho's client with bounds on what the other side may make it hold, and with a voice when its thread ends."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

MAX_UNANSWERED = 4096
"""Packets that wait to be sent or to be completed, above which the other side gives without taking."""


class BoundedClient(paho.Client):
    """A ``paho.Client`` that reads no packet above ``max_incoming`` bytes, and tells ``on_death`` why its thread ended.

    paho itself would take a packet of 256 MiB into memory before it looks at it, whatever was subscribed to.
    """

    max_incoming = 1 << 28
    on_death: Callable[[str], None] = staticmethod(lambda _why: None)
    on_alert: Callable[[ssl.SSLError], None] = staticmethod(lambda _error: None)
    """Told of the alert that ended the connection: paho takes it for a lost one and forgets it."""
    has_hung_up = False
    """Whether the other side closed the connection in good order, and not the network in between."""

    def loop_forever(self, *arguments: Any, **named: Any) -> MQTTErrorCode:
        """As paho's; whatever it raises on its thread is said, since nobody waits for that thread."""
        try:
            return super().loop_forever(*arguments, **named)
        except Exception as error:  # noqa: BLE001  # packets that nobody foresaw end up here
            self.on_death(f"what the broker sent cannot be read: {type(error).__name__}: {error}")
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def let_go(self) -> None:
        """End the thread and close every descriptor. Twice is fine.

        paho keeps the pair of sockets that wakes its thread until the garbage is collected, and a broker that comes and
        goes is faster than that.
        """
        self.loop_stop()
        self._reset_sockets()

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        """As paho's, which leaves the socket of a handshake that fails open for as long as anyone has the error."""
        assert self._ssl_context is not None
        return self._ssl_context.wrap_socket(tcp_sock, server_hostname=self._host)

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho asks for the rest of the packet at hand at once, and takes an OSError for a lost connection.
        if bufsize > self.max_incoming:
            self._give_up(f"the broker sent a packet of {bufsize} bytes, and {self.max_incoming} are taken")
        if len(self._out_packet) + len(self._in_messages) > MAX_UNANSWERED:
            self._give_up(f"the broker sends on and on, and takes no answer to more than {MAX_UNANSWERED} packets")
        try:
            data: bytes = super()._sock_recv(bufsize)
        except ssl.SSLError as error:
            self._hear(error)
            raise
        if bufsize and not data:
            self.has_hung_up = True
        return data

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            return int(super()._sock_send(buf))
        except BlockingIOError:
            raise
        except OSError:
            # Who refuses our certificate says so and hangs up: what it said lies there, and paho would not look.
            with suppress(OSError, ValueError):
                sock: Any = self.socket()
                if isinstance(sock, ssl.SSLSocket):
                    try:
                        sock.recv(1)
                    except ssl.SSLError as error:
                        self._hear(error)
            raise

    def _hear(self, error: ssl.SSLError) -> None:
        if "ALERT" in str(error.reason):
            self.on_alert(error)

    def _give_up(self, why: str) -> None:
        self.on_death(why)
        raise OSError(errno.EMSGSIZE, why)
