"""Hints over MQTT that something new is offered: they carry no authority, and their content is not even read.

Whoever may write to ``edgeai/1/<site>/<device>/update/request`` can make a device look sooner, and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from edgeai.api.errors import EdgeaiError
from edgeai.config import DeviceConfig
from edgeai.logs import Log
from edgeai.mqtt import Broker, Connection, connect
from edgeai.sinks.mqtt_settings import broker_of

MAX_INCOMING_BYTES: Final = 64 << 10
"""A hint needs none of it; the connection is dropped on a larger packet."""
_PAUSE_S: Final = 5.0
_LONGEST_S: Final = 300.0

log = Log("edgeai.update")


def topic_of(config: DeviceConfig) -> str:
    """Where hints for this device go."""
    return f"edgeai/1/{config.device.site}/{config.device.id}/update/request"


class Hints:
    """Listens on a thread of its own, with a connection of its own, for as long as the role runs.

    Args:
        config: the profile.
        heard: called for each hint, on another thread.
        pause_s: before the first attempt to connect again; doubles.
    """

    def __init__(self, config: DeviceConfig, heard: Callable[[], None], *, pause_s: float = _PAUSE_S) -> None:
        self._config = config
        self._heard = heard
        self._pause_s = pause_s
        self._over = threading.Event()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._listen, name="hints", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._over.set()
        connection = self._connection
        if connection is not None:
            connection.close()
        self._thread.join(5.0)

    def _listen(self) -> None:
        pause_s, told = self._pause_s, ""
        while not self._over.is_set():
            try:
                self._once()
                pause_s, told = self._pause_s, ""
            except (EdgeaiError, OSError) as error:
                code = getattr(error, "code", "mqtt.unreachable")
                if code != told:  # a hint that does not come is no trouble: the timer does
                    log.info("update.no-hints", code=code, message=str(error))
                told = code
            self._over.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_S)

    def _once(self) -> None:
        """Connect, and listen until that ends."""
        connection = self._connection = connect(self._broker())
        try:
            connection.subscribe(topic_of(self._config), lambda topic, body: self._heard())
            while not self._over.is_set() and not connection.wait_lost(1.0):
                pass
        finally:
            with suppress(EdgeaiError, OSError):
                connection.close()

    def _broker(self) -> Broker:
        device = self._config.device
        place = broker_of(self._config.mqtt, site=device.site, device_id=device.id)
        return replace(place, client_id=f"{place.client_id}-update", max_incoming_bytes=MAX_INCOMING_BYTES)
