"""The publish role: what is queued in the spool goes to every sink, in order, at least once.

Each sink has a thread and a place in the queue of its own, so that a broker that is away holds up nothing but
itself. The role also serves ``/health`` and ``/metrics``, and keeps the retained MQTT status true.
"""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from datetime import UTC, datetime
from typing import Any

from edgeai.api.errors import EdgeaiError
from edgeai.api.specs import Message, Sink, SinkRequest, SinkSpec
from edgeai.config import DeviceConfig
from edgeai.health import StatusNews, Watch, read_health, status_body
from edgeai.health_server import HealthServer
from edgeai.logs import Log
from edgeai.plugins import Registry
from edgeai.spool import Spool

ROLE = "publish"
BATCH = 100
"""Messages offered at a time; between batches the spool is told which are done."""

BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 15.0

log = Log("edgeai.publish")


class Delivery(threading.Thread):
    """Takes one sink's messages to it until ``stop``; ``trouble`` says why it cannot, or is ``None``."""

    def __init__(self, name: str, spec: SinkSpec, request: SinkRequest, spool: Spool) -> None:
        super().__init__(name=f"sink-{name}", daemon=True)
        self.sink_name = name
        self.trouble: str | None = None
        self._spec, self._request, self._spool = spec, request, spool
        self._sink: Sink | None = None
        self._status: Message | None = None
        self._rung = threading.Event()
        self._stopping = threading.Event()
        self._backoff_s = BACKOFF_MIN_S

    def ring(self) -> None:
        """There may be something to take."""
        self._rung.set()

    def say(self, status: Message) -> None:
        """Deliver this status next; an older one that was not delivered yet is forgotten."""
        self._status = status
        self.ring()

    def stop(self, timeout_s: float) -> None:
        """Finish the batch under way and close the sink."""
        self._stopping.set()
        self.ring()
        self.join(timeout_s)

    def run(self) -> None:
        """Until ``stop``: deliver, or wait for the bell, or back off."""
        while not self._stopping.is_set():
            self._rung.clear()
            try:
                delivered = self._deliver()
            except EdgeaiError as error:
                self._fail(error)
                continue
            if not delivered:
                self._rung.wait(1.0)
        if self._sink is not None:
            self._sink.close()

    def _deliver(self) -> bool:
        status, messages = self._status, self._spool.pending(BATCH, sink=self.sink_name)
        if status is None and not messages:
            return False
        if self._sink is None:
            self._sink = self._spec.open(self._request)
        if status is not None:
            self._sink.put([status])
            if self._status is status:
                self._status = None
        if messages:
            self._sink.put(messages)
            self._spool.published(self.sink_name, [message.sequence for message in messages])
        self._recover()
        return True

    def _fail(self, error: EdgeaiError) -> None:
        if self.trouble is None:
            log.warning("sink.trouble", sink=self.sink_name, code=error.code, why=str(error), remedy=error.remedy)
            self._tell("sink.trouble", f"{self.sink_name}: {error}", code=error.code)
        self.trouble = str(error)
        pause = self._backoff_s * random.uniform(0.8, 1.2)  # noqa: S311  # spreads reconnects, keeps no secret
        self._backoff_s = min(BACKOFF_MAX_S, self._backoff_s * 2)
        self._stopping.wait(pause)

    def _recover(self) -> None:
        if self.trouble is not None:
            log.info("sink.recovered", sink=self.sink_name)
            self.trouble = None
            self._tell("sink.recovered", f"{self.sink_name} takes messages again")
        self._backoff_s = BACKOFF_MIN_S

    def _tell(self, kind: str, message: str, **facts: object) -> None:
        try:
            self._spool.event(kind, message, sink=self.sink_name, **facts)
        except EdgeaiError as error:  # a full disk must not stop what would empty the spool
            log.error("event.lost", kind=kind, code=error.code)


def sink_requests(config: DeviceConfig) -> dict[str, tuple[str, dict[str, Any]]]:
    """Sink name -> (kind, settings), for every sink that the profile enables."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    if config.mqtt.enabled:
        found["mqtt"] = ("mqtt", config.mqtt.model_dump())
    if config.jsonl is not None and config.jsonl.enabled:
        found["jsonl"] = ("jsonl", config.jsonl.model_dump())
    for name, sink in config.sinks.items():
        found[name] = (sink.kind, dict(sink.settings))
    return found


def _deliveries(config: DeviceConfig, spool: Spool) -> list[Delivery]:
    wanted = sink_requests(config)
    plugins = {kind for kind, _ in wanted.values() if kind in ("mqtt", "jsonl")}
    if config.sinks:
        plugins |= set(config.plugins.allow)
    registry = Registry.of(sorted(plugins), on_fault=lambda e: log.error("plugin.fault", code=e.code, why=str(e)))
    spool.enable_sinks(wanted)
    found = []
    for name, (kind, settings) in wanted.items():
        spec = registry.sinks.get(kind)
        if spec is None:
            log.error("sink.unknown", sink=name, kind=kind, remedy="add its plugin to plugins.allow")
            spool.event("sink.unknown", f"no allowed plugin provides the sink {kind}", sink=name)
            continue
        request = SinkRequest(device_id=config.device.id, site=config.device.site, settings=settings)
        found.append(Delivery(name, spec, request, spool))
    return found


class Publisher:
    """The role's main loop: bells to deliveries, heartbeats, and a status whenever it changes."""

    def __init__(self, config: DeviceConfig, spool: Spool, watch: Watch, server: HealthServer | None) -> None:
        self._config = config
        self._spool = spool
        self._watch = watch
        self._server = server
        self._deliveries = _deliveries(config, spool)
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._news = StatusNews()

    def run(self, stopping: threading.Event) -> None:
        """Until ``stopping`` is set."""
        for delivery in self._deliveries:
            delivery.start()
        beat_s, next_beat = self._config.supervise.heartbeat_s, 0.0
        while not stopping.is_set():
            if self._spool.wait(ROLE, beat_s):
                for delivery in self._deliveries:
                    delivery.ring()
            if time.monotonic() < next_beat:
                continue  # a burst of results must not be slowed by looking at the device's health
            next_beat = time.monotonic() + beat_s
            sinks = {d.sink_name: {"up": d.trouble is None, "why": d.trouble} for d in self._deliveries}
            health_problem = self._server.problem if self._server else None
            self._spool.beat(ROLE, "ready", sinks=sinks, watch=self._watch.detail(), health_problem=health_problem)
            self._say_status()
        for delivery in self._deliveries:
            delivery.stop(5.0)

    def _say_status(self) -> None:
        body = status_body(self._config, read_health(self._spool, self._config), self._since)
        if not self._news.is_news(body):
            return
        message = Message(key="status", channel="status", body=json.dumps(body).encode())
        for delivery in self._deliveries:
            delivery.say(message)


def main(config: DeviceConfig) -> int:
    """Run the role until SIGTERM."""
    stopping = threading.Event()
    spool = Spool.of(config)
    spool.beat(ROLE, "starting")

    def stop(*_: object) -> None:
        stopping.set()
        spool.ring(ROLE)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server = HealthServer(spool, config) if config.health.enabled else None
    watch = Watch(config, spool, config.source)
    watch.start()
    try:
        Publisher(config, spool, watch, server).run(stopping)
    finally:
        watch.close()
        if server is not None:
            server.close()
        spool.close()
    return 0
