"""A broker in this process, where no Mosquitto is installed. amqtt speaks MQTT 3.1.1 only."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

from edgeai.testing.broker import free_port, wait_for_port

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0


class EmbeddedBroker:
    """amqtt on a loopback port, on a thread of its own. For demonstrations, not for a cart."""

    def __init__(self, *, port: int = 0) -> None:
        self.port = port or free_port()
        self._loop = asyncio.new_event_loop()
        self._broker: Any = None
        self._thread = threading.Thread(target=self._serve, name="broker", daemon=True)

    def start(self) -> EmbeddedBroker:
        """Start it and wait until it accepts connections.

        Raises:
            RuntimeError: it does not come up.
        """
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._thread.start()
        if not wait_for_port(self.port, _START_TIMEOUT_S):
            raise RuntimeError(f"the embedded broker did not come up on port {self.port}")
        return self

    def stop(self) -> None:
        """Close every connection. Twice is fine."""
        if self._thread.is_alive():
            done = asyncio.run_coroutine_threadsafe(self._broker.shutdown(), self._loop)
            try:
                done.result(timeout=_STOP_TIMEOUT_S)
            except TimeoutError:  # amqtt may wait for the task of a client that is gone
                done.cancel()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)

    def _serve(self) -> None:
        from amqtt.broker import Broker

        asyncio.set_event_loop(self._loop)
        listener = {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}
        anonymous = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        self._broker = Broker({"listeners": {"default": listener}, "plugins": anonymous}, loop=self._loop)
        self._loop.run_until_complete(self._broker.start())
        self._loop.run_forever()
        # Whatever still waits would be thrown away half-way, and amqtt's loops complain about that at any later moment.
        waiting = asyncio.all_tasks(self._loop)
        for task in waiting:
            task.cancel()
        if waiting:
            self._loop.run_until_complete(asyncio.wait(waiting, timeout=_STOP_TIMEOUT_S))

    def __enter__(self) -> EmbeddedBroker:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
