"""The publish role as a process of its own, against a real broker."""

from __future__ import annotations

import json
import queue
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgeai.config import DeviceConfig, load_config
from edgeai.mqtt import Broker, connect
from edgeai.spool import Spool
from edgeai.spool.aside import Choice
from edgeai.testing.broker import Mosquitto, free_port
from edgeai.testing.waiting import until

_ENDS = ExitStack()
"""What is closed when a test ends."""


@pytest.fixture(autouse=True)
def _end_all() -> Iterator[None]:
    with _ENDS:
        yield


class Cart:
    """A profile with a publish role, and what a subscriber sees of it."""

    def __init__(self, folder: Path, broker_port: int, more: str = "") -> None:
        self.health_port = free_port()
        self.profile = folder / "profile.toml"
        self.profile.write_text(
            f'schema = 1\n[device]\nid = "cart"\nsite = "lab"\ndata_dir = "{folder}/data"\n'
            f"[mqtt]\nport = {broker_port}\n[health]\nport = {self.health_port}\n"
            f"[ingest.scp]\nenabled = false\n[spool]\nreserve_bytes = 1000\n"
            f"[supervise]\nheartbeat_s = 0.1\n{more}"
        )
        self.config: DeviceConfig = load_config(self.profile)
        self.spool = _ENDS.enter_context(closing(Spool.of(self.config)))
        self.spool.enable_sinks(["mqtt", *(["jsonl"] if self.config.jsonl else [])])

    @contextmanager
    def publishing(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "edgeai.roles", "publish", "--config", str(self.profile)]
        process = subprocess.Popen(command)
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(120) in (0, -signal.SIGKILL)

    def said(self, key: str) -> Any:
        """What the role's last heartbeat says under ``key``."""
        note = self.spool.notes().get("publish")
        return note.detail.get(key) if note else None

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""


def _subscribe(port: int, topic: str) -> queue.Queue[dict[str, Any]]:
    received: queue.Queue[dict[str, Any]] = queue.Queue()
    connection = _ENDS.enter_context(closing(connect(Broker(host="127.0.0.1", port=port, client_id=f"sub-{topic}"))))
    connection.subscribe(topic, lambda _, body: received.put(json.loads(body)))
    return received


def _events(cart: Cart, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        cart.spool.event("test.counted", f"number {number}", number=number)


def _numbers(received: queue.Queue[dict[str, Any]], count: int) -> list[int]:
    numbers: list[int] = []
    while len(numbers) < count:
        event = received.get(timeout=240)
        if event["kind"] == "test.counted":
            numbers.append(event["facts"]["number"])
    return numbers


def test_what_is_queued_arrives_in_order_and_leaves_the_spool(broker: Mosquitto, tmp_path: Path) -> None:
    cart = Cart(tmp_path, broker.port)
    received = _subscribe(broker.port, "edgeai/1/lab/cart/event")
    _events(cart, 250)
    with cart.publishing():
        assert _numbers(received, 250) == list(range(250))
        until(lambda: cart.spool.backlog()[1] == 0)


def test_events_and_status_are_what_the_schemas_say(broker: Mosquitto, tmp_path: Path, repo_root: Path) -> None:
    cart = Cart(tmp_path, broker.port)
    events = _subscribe(broker.port, "edgeai/1/lab/cart/event")
    status = _subscribe(broker.port, "edgeai/1/lab/cart/status")
    _events(cart, 1)
    with cart.publishing():
        for name, message in (("event-1", events.get(timeout=240)), ("status-2", status.get(timeout=240))):
            schema = json.loads((repo_root / f"edgeai/schemas/{name}.json").read_text())
            Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(message)
    offline = status.get(timeout=240)
    while offline["state"] != "offline":
        offline = status.get(timeout=240)


def test_a_broker_that_is_down_at_start_and_dies_later_loses_nothing(mosquitto: str, tmp_path: Path) -> None:
    cart = Cart(tmp_path, port := free_port())
    (folder := tmp_path / "broker").mkdir()
    broker = Mosquitto(folder, port=port)
    _events(cart, 30)
    with cart.publishing() as process:
        until(lambda: "sink mqtt" in cart.get("/health")[1])
        broker.start()
        received = _subscribe(port, "edgeai/1/lab/cart/event")
        _events(cart, 30, first=30)
        first = _numbers(received, 30)
        broker.kill()
        _events(cart, 30, first=60)
        process.send_signal(signal.SIGSTOP)  # so that this subscriber is back before the cart is
        broker.start()
        again = _subscribe(port, "edgeai/1/lab/cart/event")
        process.send_signal(signal.SIGCONT)
        until(lambda: cart.spool.backlog()[1] == 0)
        rest: list[int] = []
        while not set(range(60, 90)) <= set(rest):
            rest += _numbers(again, 1)
    seen = list(dict.fromkeys([*first, *rest]))
    assert seen == sorted(seen), "first deliveries are in order"
    broker.stop()


def test_a_sink_that_fails_does_not_hold_up_another(tmp_path: Path) -> None:
    lines = tmp_path / "results.jsonl"
    cart = Cart(tmp_path, free_port(), more=f'[jsonl]\npath = "{lines}"\n')
    _events(cart, 5)
    with cart.publishing():
        until(lambda: lines.exists() and lines.read_text().count("test.counted") == 5)
    assert cart.spool.backlog()[1] >= 5, "the broker was never there: its copies are still queued"


def test_killed_in_the_middle_it_goes_on_where_it_was(broker: Mosquitto, tmp_path: Path) -> None:
    cart = Cart(tmp_path, broker.port)
    received = _subscribe(broker.port, "edgeai/1/lab/cart/event")
    _events(cart, 600)
    with cart.publishing() as process:
        _numbers(received, 20)
        process.kill()
    with cart.publishing():
        until(lambda: cart.spool.backlog()[1] == 0)
    rest: set[int] = set()
    while not rest >= set(range(20, 600)):
        rest.update(_numbers(received, 1))


def test_health_says_503_and_why_while_roles_are_missing(broker: Mosquitto, tmp_path: Path) -> None:
    cart = Cart(tmp_path, broker.port, more='[[deployments]]\nname = "guard"\nbundle = "absent.edgeai"\n')
    with cart.publishing():
        until(lambda: cart.get("/health")[0] != 0)
        status, body = cart.get("/health")
    assert status == 503
    assert "infer:guard is not running" in body
    assert json.loads(body)["serving"] is False


def test_metrics_are_prometheus_text_with_stage_histograms(broker: Mosquitto, tmp_path: Path) -> None:
    cart = Cart(tmp_path, broker.port)
    cart.spool.count("restarts", role="infer:guard")
    with cart.publishing():
        until(lambda: 'edgeai_role_up{role="publish"} 1.0' in cart.get("/metrics")[1])
        text = cart.get("/metrics")[1]
    assert 'edgeai_restarts_total{role="infer:guard"} 1.0' in text
    assert 'edgeai_role_up{role="publish"} 1.0' in text
    assert "# TYPE edgeai_stage_seconds histogram" in text
    assert "edgeai_serving 0.0" in text


def test_an_unknown_path_is_404(broker: Mosquitto, tmp_path: Path) -> None:
    cart = Cart(tmp_path, broker.port)
    with cart.publishing():
        until(lambda: cart.get("/health")[0] != 0)
        assert cart.get("/secret")[0] == 404


def test_a_health_port_that_is_taken_is_said_and_stops_no_message(broker: Mosquitto, tmp_path: Path) -> None:
    cart = Cart(tmp_path, broker.port)
    received = _subscribe(broker.port, "edgeai/1/lab/cart/event")
    with socket.create_server(("127.0.0.1", cart.health_port)):
        _events(cart, 5)
        with cart.publishing():
            assert _numbers(received, 5) == list(range(5))
            until(lambda: "cannot listen" in str(cart.said("health_problem")))
    with cart.publishing():
        until(lambda: cart.get("/health")[0] != 0)


@pytest.mark.parametrize("position", [0, 7, 19])
def test_a_row_that_cannot_be_read_stops_neither_the_role_nor_another_message(
    broker: Mosquitto, tmp_path: Path, position: int
) -> None:
    lines = tmp_path / "events.jsonl"
    cart = Cart(tmp_path, broker.port, more=f'[jsonl]\npath = "{lines}"\n')
    received = _subscribe(broker.port, "edgeai/1/lab/cart/event")
    _events(cart, 20)
    with cart.spool.db.write() as db:
        db.execute("UPDATE messages SET body = 'damaged' WHERE sequence = ?", (position + 1,))
    expected = [number for number in range(20) if number != position]
    with cart.publishing() as process:
        assert _numbers(received, 19) == expected
        until(lambda: lines.exists() and lines.read_text().count("test.counted") == 19)
        until(lambda: len(cart.spool.set_aside(Choice(code="spool.row-unreadable"))) == 2)
        assert process.poll() is None


def test_the_heartbeat_says_of_each_sink_how_it_does(mosquitto: str, tmp_path: Path) -> None:
    cart = Cart(tmp_path, free_port(), more=f'[jsonl]\npath = "{tmp_path}/lines"\n')
    _events(cart, 1)
    with cart.publishing():
        until(lambda: (cart.said("sinks") or {}).get("mqtt", {}).get("up") is False)
        until(lambda: cart.said("sinks")["jsonl"]["up"] is True)
        mqtt = cart.said("sinks")["mqtt"]
        assert mqtt["code"] == "mqtt.unreachable"
        assert mqtt["remedy"]
        assert time.time() - 600 < mqtt["since"] <= time.time()
        assert not mqtt["taken"]
        with Mosquitto(tmp_path, port=cart.config.mqtt.port):
            until(lambda: cart.said("sinks")["mqtt"]["up"] is True)
            assert cart.said("sinks")["mqtt"]["code"] is None


@pytest.mark.parametrize("kind", ["absent"])
def test_an_unknown_sink_is_said_aloud_and_the_others_go_on(broker: Mosquitto, tmp_path: Path, kind: str) -> None:
    cart = Cart(tmp_path, broker.port, more=f'[sinks.x]\nkind = "{kind}"\n')
    received = _subscribe(broker.port, "edgeai/1/lab/cart/event")
    with cart.publishing():
        assert received.get(timeout=240)["kind"] == "sink.unknown"
