"""The publish role: what is queued in the spool goes to every sink, in order, at least once.

Each sink has a thread and a place in the queue of its own (`edgeai.roles.delivery`), so that a broker that is away
holds up nothing but itself. The role also serves ``/health`` and ``/metrics``, and keeps the retained status true.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from edgeai.api.errors import EdgeaiError
from edgeai.api.sinks import Message, SinkRequest
from edgeai.config import DeviceConfig
from edgeai.health import StatusNews, Watch, read_health, status_body
from edgeai.health_server import HealthServer
from edgeai.logs import Log
from edgeai.plugins import Registry
from edgeai.roles import STOPPING, SUPERVISOR
from edgeai.roles.delivery import Delivery
from edgeai.roles.stopping import stop_by_signal
from edgeai.spool import Spool, is_held

ROLE = "publish"
STOP_S = 5.0
"""For each sink to finish the batch under way."""

log = Log("edgeai.publish")


def sink_requests(config: DeviceConfig) -> dict[str, tuple[str, dict[str, Any]]]:
    """Sink name -> (kind, settings), for every sink that the profile enables."""
    requests: dict[str, tuple[str, dict[str, Any]]] = {}
    if config.mqtt.enabled:
        requests["mqtt"] = ("mqtt", config.mqtt.model_dump())
    if config.jsonl is not None and config.jsonl.enabled:
        requests["jsonl"] = ("jsonl", config.jsonl.model_dump())
    for name, sink in config.sinks.items():
        requests[name] = (sink.kind, dict(sink.settings))
    return requests


def _deliveries(config: DeviceConfig, spool: Spool) -> list[Delivery]:
    wanted = sink_requests(config)
    plugins = {kind for kind, _ in wanted.values() if kind in ("mqtt", "jsonl")}
    if config.sinks:
        plugins |= set(config.plugins.allow)
    registry = Registry.of(sorted(plugins), on_fault=lambda e: log.error("plugin.fault", code=e.code, why=str(e)))
    spool.enable_sinks(wanted)
    deliveries = []
    for name, (kind, settings) in wanted.items():
        spec = registry.sinks.get(kind)
        if spec is None:
            log.error("sink.unknown", sink=name, kind=kind, remedy="add its plugin to plugins.allow")
            with suppress(EdgeaiError):  # a full disk must not keep the other sinks from emptying the spool
                spool.event("sink.unknown", f"no allowed plugin provides the sink {kind}", sink=name)
            continue
        request = SinkRequest(device_id=config.device.id, site=config.device.site, settings=settings)
        deliveries.append(Delivery(name, spec, request, spool))
    return deliveries


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
        self._status_failed = ""
        self._died: str | None = None

    def run(self, stopping: threading.Event) -> None:
        """Until ``stopping`` is set.

        Raises:
            EdgeaiError: ``role.thread-died``: one thread's end is that of the role, which is then started anew.
        """
        threading.excepthook = self._thread_died
        for delivery in self._deliveries:
            delivery.start()
        beat_s, next_beat = self._config.supervise.heartbeat_s, 0.0
        while not stopping.is_set():
            if self._spool.wait(ROLE, beat_s):
                for delivery in self._deliveries:
                    delivery.ring()
            self._check_threads()
            if time.monotonic() < next_beat:
                continue  # a burst of results must not be slowed by looking at the device's health
            next_beat = time.monotonic() + beat_s
            self._beat()
        for delivery in self._deliveries:
            delivery.ask_to_stop()
        for delivery in self._deliveries:
            delivery.join(STOP_S)

    def _thread_died(self, what: threading.ExceptHookArgs) -> None:
        name = what.thread.name if what.thread else "a thread"
        self._died = f"{name}: {type(what.exc_value).__name__}: {what.exc_value}"
        self._spool.ring(ROLE)

    def _check_threads(self) -> None:
        for delivery in self._deliveries:
            if not delivery.is_alive():
                error = delivery.death
                self._died = f"{delivery.name}: {type(error).__name__}: {error}"
        if self._died is not None:
            raise EdgeaiError(f"a thread of this role has ended: {self._died}", code="role.thread-died")

    def _beat(self) -> None:
        """Say that this role lives and how its sinks do; then the status, where it changed."""
        sinks = {delivery.sink_name: delivery.state() for delivery in self._deliveries}
        problem = self._server.problem if self._server else None
        self._spool.beat(ROLE, "ready", sinks=sinks, watch=self._watch.detail(), health_problem=problem)
        try:
            body = status_body(self._config, read_health(self._spool, self._config), self._since)
        except Exception as error:  # noqa: BLE001  # publishing must go on, whatever is wrong with the account
            code = getattr(error, "code", "edgeai.internal")
            if code != self._status_failed:
                log.error("status.failed", trace=not isinstance(error, EdgeaiError), code=code, why=str(error))
            self._status_failed = code
            return
        self._status_failed = ""
        if self._is_planned_stop():
            return  # roles that were asked to end are no trouble; the sinks say offline when they are closed
        if self._news.is_news(body):
            message = Message(key="status", channel="status", body=json.dumps(body).encode())
            for delivery in self._deliveries:
                delivery.say(message)

    def _is_planned_stop(self) -> bool:
        """Whether the supervisor is ending the roles. Ask after the account was read: it says so before they go."""
        note = self._spool.notes().get(SUPERVISOR)
        return note is not None and note.state == STOPPING and is_held(self._spool.roles / f"{SUPERVISOR}.note")


def main(config: DeviceConfig) -> int:
    """Run the role until SIGTERM."""
    spool = Spool.of(config)
    spool.beat(ROLE, "starting")
    stopping = stop_by_signal(spool, ROLE)
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
