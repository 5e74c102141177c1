"""The endpoint over real sockets: who may ask, who cannot hold it up, and what it costs to be asked."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edgeai.config import DeviceConfig, load_config
from edgeai.health.http_request import BadRequest, Hosts, parse_request
from edgeai.health_server import MAX_CLIENTS, MAX_REQUEST_BYTES, HealthServer
from edgeai.spool import Spool
from edgeai.testing.broker import free_port
from edgeai.testing.waiting import until


@pytest.fixture
def config(tmp_path: Path) -> DeviceConfig:
    port = free_port()
    (tmp_path / "profile.toml").write_text(
        '[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n[ingest.scp]\nenabled = false\n'
        f'[health]\nport = {port}\nallow_hosts = ["cart-17.hospital.example"]\n'
    )
    return load_config(tmp_path / "profile.toml")


@pytest.fixture
def server(config: DeviceConfig) -> Iterator[HealthServer]:
    spool = Spool.of(config)
    running = HealthServer(spool, config)
    yield running
    running.close()
    spool.close()


def ask(config: DeviceConfig, request: bytes, timeout_s: float = 240.0) -> bytes:
    """Everything that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", config.health.port), timeout=timeout_s) as connection:
        connection.sendall(request)
        answer = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                answer += part
    return answer


def get(config: DeviceConfig, path: str = "/health", host: str = "localhost", method: str = "GET") -> tuple[int, bytes]:
    answer = ask(config, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


# --- who may ask --------------------------------------------------------------------------------


def test_health_and_metrics_are_answered(server: HealthServer, config: DeviceConfig) -> None:
    status, body = get(config)
    assert status == 503
    assert json.loads(body)["serving"] is False
    assert get(config, "/health/serving")[0] == get(config, "/health/delivering")[0] == 503
    status, body = get(config, "/metrics?x=1")
    assert status == 200
    assert b"edgeai_serving 0.0" in body
    status, body = get(config, "/elsewhere")
    assert status == 404
    assert "/health" in json.loads(body)["paths"]
    assert get(config, method="HEAD") == (503, b"")
    assert get(config, method="POST")[0] == 405


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:9464", "127.0.0.1", "127.0.0.1:1", "localhost.", "cart-17.hospital.example"),
        *("[::1]", "[::1]:9464", "[0:0:0:0:0:0:0:1]"),
    ],
)
def test_this_devices_names_may_be_asked(server: HealthServer, config: DeviceConfig, host: str) -> None:
    assert get(config, host=host)[0] == 503


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "localhost.evil.example", "192.0.2.9", "127.0.0.2", "[::2]", "[::]"]
)
def test_a_name_of_somebody_elses_that_leads_here_learns_nothing(
    server: HealthServer, config: DeviceConfig, host: str
) -> None:
    for path in ("/health", "/metrics", "/nothing"):
        status, body = get(config, path, host)
        assert status == 421
        assert b"serving" not in body
        assert b"cart" not in body


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost evil.example\r\n\r\n",
        b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    ],
)
def test_what_is_no_plain_request_is_a_bad_one(server: HealthServer, config: DeviceConfig, request_head: bytes) -> None:
    assert ask(config, request_head).startswith(b"HTTP/1.1 400 ")
    assert get(config)[0] == 503


def test_a_request_without_host_is_a_clients_of_http_1_0() -> None:
    assert parse_request(b"GET /health HTTP/1.0").host == ""
    with pytest.raises(BadRequest):
        parse_request(b"GET /health HTTP/1.1")


@pytest.mark.parametrize(
    ("host", "here", "allowed"),
    [
        ("::1", "::1", True),
        ("::1", "192.0.2.1", True),
        ("127.0.0.1", "::1", True),
        ("::2", "::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.2", "192.0.2.1", False),
        ("cart.localhost", "127.0.0.1", True),
        ("notlocalhost", "127.0.0.1", False),
        ("0.0.0.0", "192.0.2.1", True),
    ],
)
def test_addresses_of_this_machine_and_no_others(host: str, here: str, allowed: bool) -> None:
    assert Hosts("0.0.0.0", ()).allow(host, here) == allowed


# --- who cannot hold it up ----------------------------------------------------------------------


def test_silent_and_slow_clients_hold_up_nobody(
    server: HealthServer, config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeai.health_server.CLIENT_S", 3600.0)
    silent = [socket.create_connection(("127.0.0.1", config.health.port)) for _ in range(MAX_CLIENTS + 20)]
    try:
        for number, connection in enumerate(silent):
            with suppress(OSError):
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: local"[: number % 30])
        assert get(config)[0] == 503
        silent[0].settimeout(60)
        with suppress(ConnectionResetError):
            assert silent[0].recv(1) == b"", "the oldest went when others came"
    finally:
        for connection in silent:
            connection.close()


def test_a_client_that_says_nothing_is_let_go(
    server: HealthServer, config: DeviceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeai.health_server.CLIENT_S", 0.2)
    with socket.create_connection(("127.0.0.1", config.health.port), timeout=600) as connection:
        assert connection.recv(1) == b""


def test_a_request_that_never_ends_is_cut_off(server: HealthServer, config: DeviceConfig) -> None:
    with socket.create_connection(("127.0.0.1", config.health.port), timeout=600) as connection:
        with suppress(OSError):
            connection.sendall(b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * MAX_REQUEST_BYTES)
        with suppress(ConnectionResetError):
            assert connection.recv(100).startswith(b"HTTP/1.1 431 ")
    assert get(config)[0] == 503


def test_a_client_that_does_not_read_its_answer_holds_up_nobody(server: HealthServer, config: DeviceConfig) -> None:
    connections = []
    for _ in range(8):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(("127.0.0.1", config.health.port))
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connections.append(connection)
    assert get(config)[0] == 503
    for connection in connections:
        connection.close()


# --- what it costs ------------------------------------------------------------------------------


def test_being_asked_costs_no_descriptor_and_no_thread(server: HealthServer, config: DeviceConfig) -> None:
    """Each request used to leave three descriptors behind, of a connection to the spool for a thread of its own."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    for path in ("/health", "/metrics", "/nothing"):
        get(config, path)
    before, threads = descriptors(), len(os.listdir("/proc/self/task"))
    for number in range(300):
        get(config, ("/health", "/metrics")[number % 2])
    until(lambda: descriptors() <= before + 2)
    assert len(os.listdir("/proc/self/task")) <= threads


@pytest.mark.slow
def test_a_port_that_is_taken_is_a_problem_until_it_is_free(tmp_path: Path, config: DeviceConfig) -> None:
    taken = socket.create_server(("127.0.0.1", config.health.port))
    spool = Spool.of(config)
    server = HealthServer(spool, config)
    try:
        assert server.problem is not None
        assert str(config.health.port) in server.problem
        assert f"(pid {os.getpid()})" in server.problem
        taken.close()
        until(lambda: server.problem is None)
        assert get(config)[0] == 503
    finally:
        taken.close()
        server.close()
        spool.close()
    with pytest.raises(ConnectionRefusedError):
        get(config)
    server.close()
