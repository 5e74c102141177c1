"""Brokers as they ship: TLS and who is let in, and a site's broker that is bridged to the fleet's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeai.api.errors import MqttError
from edgeai.mqtt import Broker, Connection, Outgoing, connect, tls_context
from edgeai.roles.hints import Hints
from edgeai.testing.broker import Mosquitto, find_mosquitto, free_port
from edgeai.testing.carts import Carts
from edgeai.testing.certificates import Authority, Identity
from edgeai.testing.mqtt_peers import Subscriber
from edgeai.testing.require import require
from edgeai.testing.shipped_broker import ShippedMosquitto
from edgeai_fleet.conducting import hearing
from edgeai_fleet.conducting.conductor import Conductor
from edgeai_fleet.conducting.databases import url_of
from edgeai_fleet.conducting.hearing import Ears
from edgeai_fleet.conducting.store import Store

CONFIGS = Path(__file__).parents[3] / "firmware-configs/brokers"
SITE = "st-elsewhere"


class Relay:
    """A line between two brokers that can be cut."""

    def __init__(self, to: int) -> None:
        self.port, self._to = free_port(), to
        self._server: socket.socket | None = None
        self._open: list[socket.socket] = []

    def mend(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        assert self._server is not None
        for each in (self._server, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, _ = server.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                self._open += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


class Fleet:
    """The fleet's broker, a site's that is bridged to it over a line, and who is let in at either."""

    def __init__(self, folder: Path) -> None:
        for name in ("centre", "site"):
            (folder / f"{name}-ca").mkdir()
        self.authority, self.of_site = Authority(folder / "centre-ca"), Authority(folder / "site-ca")
        self.centre = ShippedMosquitto(folder / "centre", CONFIGS, self.authority, acl="centre.acl")
        self.site = ShippedMosquitto(folder / "site", CONFIGS, self.of_site)
        self.line = Relay(self.centre.port)
        self.site.bridge(SITE, self.line.port, self.authority, self.authority.issue(SITE))

    def at_centre(self, name: str) -> Connection:
        return connect(self.place(name))

    def place(self, name: str) -> Broker:
        return Broker(host="localhost", port=self.centre.port, client_id=name, tls=tls_of(self.authority, name))

    def hears(self, name: str, *, at_site: bool = False) -> Subscriber:
        broker, authority = (self.site, self.of_site) if at_site else (self.centre, self.authority)
        return Subscriber(broker.port, client_id=f"hears-{name}-{os.urandom(3).hex()}", tls=tls_of(authority, name))


def tls_of(authority: Authority, name: str) -> Any:
    identity = authority.issue(name)
    return tls_context(authority.ca, identity.certificate, identity.key)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    require("mosquitto", find_mosquitto() is not None, "a bridge needs two real brokers")
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    made.line.mend()
    with made.centre, made.site:
        yield made
    made.line.cut()


@pytest.fixture
def begun(ops: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(hearing, "_QUIET_S", 0.3)
    ops.begin_rollout()
    return ops


def until(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 240
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def bodies(heard: Subscriber) -> set[tuple[str, bytes]]:
    return {(each.topic, each.payload) for each in heard.received}


@contextmanager
def conducting(ops: Any, fleet: Fleet) -> Iterator[tuple[Conductor, Ears]]:
    store, ears = Store(url_of(ops.repo, None)), Ears(fleet.place("conductor"))
    try:
        yield Conductor(folder=ops.folder, store=store), ears
    finally:
        ears.close()
        store.close()


def test_what_carts_say_reaches_the_conductor_over_a_bridge_and_after_it_was_down(begun: Any, fleet: Fleet) -> None:
    offers = {each["release"]: each["digest"] for each in begun.told("status", begun.repo)["offers"]}
    names = Carts.early_of(SITE)[:2]
    carts = [
        Carts(fleet.site.port, SITE, offers[1], offers[2], tls_of(fleet.of_site, f"{SITE}/{name}")) for name in names
    ]
    try:
        carts[0].status(names[0])  # before anybody listens: it is retained on both sides
        until(lambda: _retained(fleet, f"edgeai/1/{SITE}/{names[0]}/status"), "the status at the centre")
        with conducting(begun, fleet) as (conductor, ears):
            ears.settle()

            def words() -> dict[str, str]:
                (seen,) = conductor.round(ears)
                return {each.device: each.verdict.word for each in seen.kept}

            assert words() == {names[0]: "waiting"}
            carts[0].succeeds(names[0])
            until(lambda: words() == {names[0]: "succeeded"}, "results over the bridge")
            fleet.line.cut()
            carts[1].succeeds(names[1])  # queued at the site
            assert words() == {names[0]: "succeeded"}
            fleet.line.mend()
            until(lambda: words() == dict.fromkeys(names, "succeeded"), "what was said while the line was down")
    finally:
        for each in carts:
            each.close()


def _retained(fleet: Fleet, topic: str) -> bool:
    heard = hearing.Retained(fleet.place("receiver"), [topic])
    try:
        return topic in heard.bodies()
    finally:
        heard.close()


def test_a_hint_at_the_centre_reaches_the_cart_and_after_the_bridge_was_down(fleet: Fleet) -> None:
    name = "xray-017"
    identity = fleet.of_site.issue(f"{SITE}/{name}")
    heard: list[float] = []
    hints = Hints(_profile(fleet, name, identity), lambda: heard.append(time.monotonic()), pause_s=0.1)
    hints.start()
    operations = fleet.at_centre("operations")
    hint = Outgoing(topic=f"edgeai/1/{SITE}/{name}/update/request", body=b"{}")
    try:

        def arrives() -> bool:  # a cart that does not listen yet hears none: hints are not retained
            operations.publish([hint])
            time.sleep(0.1)
            return bool(heard)

        until(arrives, "a hint")
        fleet.line.cut()
        time.sleep(0.2)
        heard.clear()
        operations.publish([hint])
        assert heard == []
        fleet.line.mend()
        until(lambda: bool(heard), "the hint of while the line was down")
    finally:
        operations.close()
        hints.close()


def _profile(fleet: Fleet, name: str, identity: Identity) -> Any:
    """As much of a profile as hints ask for."""
    from edgeai.config import Mqtt

    tls = {"ca": fleet.of_site.ca, "certificate": identity.certificate, "key": identity.key}
    mqtt = Mqtt.model_validate({"host": "localhost", "port": fleet.site.port, "tls": tls})
    return SimpleNamespace(device=SimpleNamespace(site=SITE, id=name), mqtt=mqtt)


def test_nothing_else_goes_over_the_bridge(fleet: Fleet) -> None:
    """Neither what a cart says beside, nor what the centre says to carts beside hints."""
    own = f"edgeai/1/{SITE}/xray-018"
    at_centre, at_site = fleet.hears("receiver"), fleet.hears("receiver", at_site=True)
    cart = connect(
        Broker(host="localhost", port=fleet.site.port, client_id="c", tls=tls_of(fleet.of_site, f"{SITE}/xray-018"))
    )
    conductor, operations = fleet.at_centre("conductor"), fleet.at_centre("operations")
    try:
        cart.publish([Outgoing(topic=f"{own}/selftest/guard", body=b"kept here")])
        cart.publish([Outgoing(topic=f"{own}/event", body=b"handed on")])
        until(lambda: (f"{own}/event", b"handed on") in bodies(at_centre), "the event")
        conductor.publish([Outgoing(topic="edgeai/1/rollouts/one", body=b"of the centre", retain=True)])
        operations.publish([Outgoing(topic="edgeai/1/other-site/xray-018/update/request", body=b"elsewhere")])
        operations.publish([Outgoing(topic=f"{own}/update/request", body=b"a hint")])
        until(lambda: (f"{own}/update/request", b"a hint") in bodies(at_site), "the hint")
        assert (f"{own}/selftest/guard", b"kept here") in bodies(at_site)
        assert not {topic for topic, _ in bodies(at_centre) if topic.endswith(("selftest/guard", "own"))}
        assert not {body for _, body in bodies(at_site)} & {b"of the centre", b"elsewhere"}
    finally:
        for each in (at_centre, at_site, cart, conductor, operations):
            each.close()


def test_a_sites_bridge_speaks_for_its_own_site_alone_whatever_it_is_told_to_carry(fleet: Fleet) -> None:
    """A broker whose certificate was stolen, or whose configuration hands on everything."""
    heard = fleet.hears("receiver")
    bridge = fleet.at_centre(SITE)
    listens = fleet.hears(SITE)
    operations = fleet.at_centre("operations")
    try:
        for topic in (
            "edgeai/1/other-site/xray-017/status",
            "edgeai/1/other-site/xray-017/result/guard",
            f"edgeai/1/{SITE}/xray-017/update/request",
            f"edgeai/1/{SITE}/xray-017/selftest/guard",
            "edgeai/1/rollouts/tiny-2",
            "elsewhere",
        ):
            with pytest.raises(MqttError) as refused:
                bridge.publish([Outgoing(topic=topic, body=b"stolen")])
            assert refused.value.code == "mqtt.not-authorised", topic
        for topic in ("status", "result/guard", "event"):
            bridge.publish([Outgoing(topic=f"edgeai/1/{SITE}/xray-019/{topic}", body=b"its own")])
        for site in ("other-site", SITE):
            operations.publish([Outgoing(topic=f"edgeai/1/{site}/xray-019/update/request", body=site.encode())])
        until(lambda: len([body for _, body in bodies(heard) if body == b"its own"]) == 3, "its own")
        until(lambda: bool(listens.received), "its own site's hint")
        assert {each.payload for each in listens.received} == {SITE.encode()}
        assert not [body for _, body in bodies(heard) if body == b"stolen"]
    finally:
        for each in (heard, bridge, listens, operations):
            each.close()


def _who(authority: Authority, identity: Identity) -> tuple[str | Path, ...]:
    return ("--ca", authority.ca, "--certificate", identity.certificate, "--tls-key", identity.key)


def test_conduct_watch_and_explain_by_tls_with_a_certificate(begun: Any, fleet: Fleet) -> None:
    where = ("--broker", f"localhost:{fleet.centre.port}")
    mine = _who(fleet.authority, fleet.authority.issue("conductor"))
    assert "tiny-2 (running, phase 1 of 2)" in begun.do("conduct", begun.repo, *where, *mine, "--once")
    reader = _who(fleet.authority, fleet.authority.issue("operations"))
    assert "tiny-2" in begun.do("watch", "--once", *where, *reader)
    status, out, _ = begun.call("explain", f"{SITE}/nobody", *where, *reader)
    assert (status, "never said its status" in out) == (1, True)
    assert begun.refused("conduct", begun.repo, *where, *reader, "--once") == "mqtt.not-authorised", "it may not tell"


def test_who_is_not_of_the_same_authority_is_refused(begun: Any, fleet: Fleet) -> None:
    where = ("--broker", f"localhost:{fleet.centre.port}")
    good = fleet.authority.issue("conductor")
    stranger = fleet.of_site.issue("conductor")
    late = fleet.authority.issue("conductor-late", valid_days=-2)
    refusals = {
        "the broker's authority is another": (_who(fleet.of_site, good), "mqtt.tls"),
        "the client's authority is another": (_who(fleet.authority, stranger), "mqtt.tls"),
        "its certificate has ended": (_who(fleet.authority, late), "mqtt.tls"),
        "no certificate": (("--ca", fleet.authority.ca), "mqtt.tls"),
        "no TLS": ((), "mqtt.lost"),
        "not its key": (
            ("--ca", fleet.authority.ca, "--certificate", good.certificate, "--tls-key", late.key),
            "mqtt.tls",
        ),
        "no such file": (("--ca", "nowhere.pem"), "mqtt.tls"),
        "a key without its certificate": (("--ca", fleet.authority.ca, "--tls-key", good.key), "fleet.broker"),
    }
    codes = {what: begun.refused("watch", "--once", *where, *who) for what, (who, _) in refusals.items()}
    assert codes == {what: code for what, (_, code) in refusals.items()}
    for command in (("conduct", begun.repo, "--once"), ("explain", f"{SITE}/nobody")):
        assert begun.refused(*command, *where, *_who(fleet.authority, stranger)) == "mqtt.tls"


def test_a_name_and_a_password_from_a_file(begun: Any, fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "conductor", "right"], check=True, capture_output=True)
    identity = fleet.authority.issue("localhost")
    port = free_port()
    extra = (
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
        f"certfile {identity.certificate}\nkeyfile {identity.key}\ncafile {fleet.authority.ca}\n"
    )
    (tmp_path / "right").write_text("right\n")
    (tmp_path / "wrong").write_text("wrong\n")
    (tmp_path / "key").write_text("x")
    with Mosquitto(tmp_path / "broker", port=port, extra=extra):
        place = ("--broker", f"localhost:{port}", "--ca", fleet.authority.ca)
        where = (*place, "--once")
        named = (*where, "--username", "conductor", "--password-file")
        assert "tiny-2" in begun.do("conduct", begun.repo, *named, tmp_path / "right")
        assert "tiny-2" in begun.do("watch", *named, tmp_path / "right")
        for command in (("conduct", begun.repo), ("watch",)):
            assert begun.refused(*command, *named, tmp_path / "wrong") == "mqtt.not-authorised"
            assert begun.refused(*command, *named, tmp_path / "none") == "mqtt.password-file"
            assert begun.refused(*command, *where) == "mqtt.not-authorised"
            lacks = begun.refused(*command, *where, "--password-file", tmp_path / "right")
            assert lacks == "fleet.broker", "a password without a name"
        tls = tls_context(fleet.authority.ca, None, None)
        carts = Broker(host="localhost", port=port, client_id="carts", username="conductor", password="right", tls=tls)
        link = connect(carts)
        status = {"schema": 2, "site": SITE, "device_id": "us-1", "state": "online", "deployments": []}
        link.publish([Outgoing(topic=f"edgeai/1/{SITE}/us-1/status", body=json.dumps(status).encode(), retain=True)])
        link.close()
        asks = ("inventory", *place, "--username", "conductor", "--password-file")
        (cart,) = begun.told(*asks, tmp_path / "right")["carts"]
        assert (cart["site"], cart["device_id"]) == (SITE, "us-1")
        assert begun.refused(*asks, tmp_path / "wrong") == "mqtt.not-authorised"
        assert begun.refused("inventory", *place) == "mqtt.not-authorised"
        plain = ("inventory", "--broker", f"localhost:{port}", "--username", "conductor", "--password-file")
        assert begun.refused(*plain, tmp_path / "right") == "mqtt.lost"
        another = ("--ca", fleet.of_site.ca, "--username", "conductor", "--password-file", tmp_path / "right")
        assert begun.refused("inventory", "--broker", f"localhost:{port}", *another) == "mqtt.tls"
