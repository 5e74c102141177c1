"""The broker is down, goes away, or breaks in the middle of a packet: all results arrive, in order."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from edgeai.testing.mqtt_peers import BreakingWire, Subscriber

pytestmark = pytest.mark.system


def uids(phantoms: list[Any]) -> list[str]:
    return [phantom.instance.sop_instance_uid for phantom in phantoms]


def arrived(heard: Any, deployment: str = "guard") -> list[str]:
    """SOP Instance UIDs in the order of first deliveries."""
    return [result["instance"]["sop_instance_uid"] for result in heard.results(deployment).values()]


def test_a_broker_that_is_down_at_the_start(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.deploy("other")
    wire = cart.through_a_wire()
    wire.is_up = False  # until the subscriber is there: nobody keeps for it what came before
    cart.start()
    sent = cart.send(count=12)
    health = until(lambda: (now := cart.health()[1])["jobs_waiting"] == 0 and now)
    assert health["messages_waiting"] >= 24
    until(lambda: "sink.down" in cart.problems())
    status, health = cart.health()
    assert (status, health["serving"], health["delivering"]) == (503, True, False)
    assert cart.get("/health/serving")[0] == 200  # images are taken and run all the same
    heard = cart.listen()
    wire.is_up = True
    until(lambda: len(arrived(heard)) == 12 and len(arrived(heard, "other")) == 12)
    assert arrived(heard) == arrived(heard, "other") == uids(sent)
    until(lambda: heard.events("sink.recovered"))
    until(lambda: cart.health()[1]["messages_waiting"] == 0)


def test_a_broker_that_is_killed_while_results_flow_and_comes_back(cart: Any, until: Any) -> None:
    """Three times; the wire holds the cart back until the subscriber is there again, since Mosquitto keeps
    what it queues for others in memory."""
    cart.deploy()
    wire = cart.through_a_wire()
    heard = cart.listen()
    cart.start()
    sent: list[Any] = []
    for round_number in range(3):
        sending = threading.Thread(target=lambda: sent.extend(cart.send(count=40)))
        sending.start()
        until(lambda count=40 * round_number + 5: len(arrived(heard)) > count)
        wire.is_up = False
        cart.end_broker(kill=True)
        wire.drop_all()
        sending.join(600)
        assert len(sent) == 40 * (round_number + 1)
        until(lambda: cart.health()[1]["jobs_waiting"] == 0)
        cart.start_broker()
        wire.is_up = True
        until(lambda count=40 * (round_number + 1): len(arrived(heard)) == count)
    assert arrived(heard) == uids(sent)


@pytest.mark.parametrize("where", ["mid-publish", "before-puback"])
def test_a_connection_that_breaks_in_the_middle_of_a_publish(cart: Any, where: Any, until: Any) -> None:
    cart.deploy()
    wire = cart.through_a_wire()
    heard = cart.listen()
    cart.start()
    wire.cut(where, times=4, after=3)
    wire.drop_all()
    sent = []
    for _ in range(6):
        sent += cart.send(count=5)
        time.sleep(0.1)
    until(lambda: len(arrived(heard)) == len(sent))
    until(lambda: cart.health()[1]["messages_waiting"] == 0)
    assert arrived(heard) == uids(sent)
    assert wire.cuts == 4
    if where == "before-puback":  # the broker had them, and the cart could not know
        until(lambda: len(heard.on("result/guard")) > len(sent))


def test_a_broker_that_accepts_and_then_says_nothing_holds_up_no_image(cart: Any, until: Any) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as mute:
        cart.deploy()
        cart.profile["mqtt"]["port"] = mute.getsockname()[1]
        cart.start()
        cart.send(count=10)
        health = until(lambda: (now := cart.health()[1])["jobs_waiting"] == 0 and now)
        assert health["messages_waiting"] >= 10
        assert cart.stop() == 0
    heard = cart.listen()
    cart.profile["mqtt"]["port"] = cart.broker.port
    cart.write()
    cart.start()
    until(lambda: len(arrived(heard)) == 10)


def test_a_slow_deployment_holds_up_no_other(cart: Any, until: Any) -> None:
    from edgeai.testing.fakes import Misbehaviour

    flag = cart.folder / "slow"
    flag.touch()
    cart.deploy("stuck", misbehave=Misbehaviour(how="hang", flag=str(flag)), deadline_s=300)
    cart.deploy("quick")
    heard = cart.listen()
    cart.start()
    sent = cart.send(count=15)
    until(lambda: len(arrived(heard, "quick")) == 15)
    assert arrived(heard, "quick") == uids(sent)
    assert arrived(heard, "stuck") == []
    flag.unlink()
    cart.kill("infer:stuck")
    until(lambda: len(arrived(heard, "stuck")) == 15)
    assert arrived(heard, "stuck") == uids(sent)
    assert {result["outcome"] for result in heard.results("stuck").values()} == {"completed"}


def test_the_wire_breaks_where_it_says(cart: Any, until: Any) -> None:
    """The instrument itself: half a PUBLISH is nothing, and a lost PUBACK is a message twice."""
    from edgeai.api.errors import MqttError
    from edgeai.mqtt import Broker, Outgoing, connect

    heard = cart.listen()
    wire = BreakingWire(cart.broker.port)
    try:
        for where, count in (("mid-publish", 2), ("before-puback", 3)):
            wire.cut(where, after=2)
            link = connect(Broker(host="127.0.0.1", port=wire.port, client_id=where))
            topic = f"edgeai/1/lab/{where}/none"
            with pytest.raises(MqttError) as caught:
                link.publish([Outgoing(topic=topic, body=b"{}") for _ in range(3)], timeout_s=120)
            assert caught.value.code == "mqtt.lost"
            until(lambda topic=topic, count=count: [i.topic for i in heard.received].count(topic) == count)
            link.close()
        assert wire.cuts == 2
    finally:
        wire.close()
    heard.received.clear()


def test_the_subscriber_misses_nothing_while_it_is_away(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.start()
    cart.send()
    until(lambda: len(arrived(heard)) == 1)
    heard.close()
    cart.send(count=3)
    until(lambda: cart.health()[1]["messages_waiting"] == 0)
    again = Subscriber(cart.broker.port)
    until(lambda: len(arrived(again)) == 3)
    again.close()
