"""``/health`` and ``/metrics`` over HTTP, on a thread of the publish role.

``/health`` answers 200 while the device serves and 503 while it does not, with the same JSON either way.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app

from edgeai.api.errors import ConfigError, EdgeaiError
from edgeai.config import DeviceConfig
from edgeai.health import read_health
from edgeai.metrics import SpoolCollector
from edgeai.spool import Spool


class _Quiet(WSGIRequestHandler):
    """A scrape each few seconds is not news."""

    timeout = 10  # seconds; a silent client must not hold a thread

    def log_message(self, format: str, *args: Any) -> None:  # the base class's own name
        pass


class HealthServer:
    """Serves until ``close``.

    Raises:
        ConfigError: ``health.port`` when the address cannot be taken.
    """

    def __init__(self, spool: Spool, config: DeviceConfig) -> None:
        registry = CollectorRegistry()
        registry.register(SpoolCollector(spool, config))
        app = _Application(spool, config, make_wsgi_app(registry))
        host, port = config.health.host, config.health.port
        try:
            self._server = make_server(host, port, app, ThreadingWSGIServer, handler_class=_Quiet)
        except OSError as error:
            raise ConfigError(
                f"the health endpoint cannot listen on {host}:{port}: {error}",
                code="health.port",
                remedy="choose another health.port, or stop what listens there",
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Application:
    def __init__(self, spool: Spool, config: DeviceConfig, metrics: Callable[..., Iterable[bytes]]) -> None:
        self._spool = spool
        self._config = config
        self._metrics = metrics

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        try:
            if path == "/metrics":
                return self._metrics(environ, start)
            if path in ("/", "/health"):
                return self._health(start)
        except EdgeaiError as error:
            body = {"serving": False, "state": "degraded", "problems": [str(error)], "code": error.code}
            return _answer(start, "503 Service Unavailable", body)
        return _answer(start, "404 Not Found", {"paths": ["/health", "/metrics"]})

    def _health(self, start: Callable[..., Any]) -> Iterable[bytes]:
        health = read_health(self._spool, self._config)
        return _answer(start, "200 OK" if health.is_serving else "503 Service Unavailable", health.as_dict())


def _answer(start: Callable[..., Any], status: str, body: dict[str, Any]) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
    return [json.dumps(body, indent=1).encode() + b"\n"]
