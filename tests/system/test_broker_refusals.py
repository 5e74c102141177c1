"""A real broker that refuses some messages for good: they are set aside and said, and delay nothing."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from edgeai.spool.ledger import Ledger, read_ledger
from edgeai.testing.broker import Mosquitto

pytestmark = pytest.mark.system


def copies(heard: Any, deployment: str = "guard") -> Counter[str]:
    """Result id -> how often it came."""
    return Counter(body["result_id"] for body in heard.on(f"result/{deployment}"))


def with_broker(cart: Any, extra: str, *, acl: str = "") -> None:
    """Put another Mosquitto in the place of the cart's."""
    folder = cart.folder / "strict"
    folder.mkdir()
    if acl:
        (folder / "acl").write_text(acl)
        extra += f"acl_file {folder}/acl\n"
    cart.broker = Mosquitto(folder, port=cart.broker.port, extra=extra)


def ledger(cart: Any) -> Ledger:
    from edgeai.config import load_config
    from edgeai.spool import Spool

    spool = Spool.of(load_config(cart.path))
    try:
        return read_ledger(spool.db)
    finally:
        spool.close()


def listed(cart: Any, *words: str) -> list[dict[str, Any]]:
    done = cart.command("messages", "list", str(cart.path), "--json", *words)
    assert done.returncode == 0, done.stderr
    aside: list[dict[str, Any]] = json.loads(done.stdout)["set_aside"]
    return aside


NO_EVENTS = "topic read #\ntopic write edgeai/1/lab/cart/result/guard\ntopic write edgeai/1/lab/cart/status\n"


def test_a_broker_that_refuses_events_gets_every_result_once(cart: Any, until: Any) -> None:
    with_broker(cart, "", acl=NO_EVENTS)
    cart.deploy()
    lines = cart.folder / "lines.jsonl"
    cart.profile["jsonl"] = {"path": str(lines)}
    heard = cart.listen()
    cart.start()
    sent = cart.send(count=150, level=cart.DULL)
    cart.kill("infer:guard")  # an event more
    until(lambda: len(copies(heard)) == len(sent))
    until(lambda: listed(cart))
    assert set(copies(heard).values()) == {1}, "nothing was sent twice, since no connection broke"
    assert {(item["sink"], item["lane"], item["code"]) for item in listed(cart)} == {
        ("mqtt", "event", "mqtt.not-authorised")
    }
    status = cart.command("status", str(cart.path))
    assert "set aside" in status.stdout
    told = until(lambda: [item for item in cart.lines(lines) if item.get("kind") == "message.set-aside"])
    facts = told[0]["facts"]
    assert (facts["sink"], facts["lane"], facts["code"]) == ("mqtt", "event", "mqtt.not-authorised")
    until(lambda: cart.health()[1]["messages_waiting"] == 0)
    assert cart.stop() == 0
    places = {(entry.sink, entry.lane): entry for entry in ledger(cart).messages}
    assert all(entry.missing == 0 for entry in places.values())
    assert places["mqtt", "result"].delivered == len(sent)
    assert places["mqtt", "result"].aside == places["mqtt", "result"].waiting == 0
    assert places["mqtt", "event"].delivered == 0


def test_a_refused_status_is_said_until_the_access_list_takes_it(cart: Any, until: Any) -> None:
    """Results, events and self-tests leave: without a word only the fleet's picture would be wrong."""
    own = "edgeai/1/lab/cart"
    allowed = "".join(f"topic write {own}/{channel}\n" for channel in ("result/#", "event", "selftest"))
    with_broker(cart, "", acl=f"topic read #\n{allowed}")
    cart.deploy()
    heard = cart.listen()
    cart.start()
    sent = cart.send(count=3)
    until(lambda: len(copies(heard)) == len(sent))
    told = until(lambda: cart.problems().get("status.refused"))
    assert (told["about"], told["cause"], told["stops"]) == ("mqtt", "mqtt.not-authorised", [])
    assert "access list" in told["remedy"]
    until(lambda: "status.refused" in cart.command("status", str(cart.path)).stdout)
    assert heard.on("status") == []
    (cart.folder / "strict" / "acl").write_text("topic readwrite #\n")
    cart.end_broker()
    cart.broker.start()
    until(lambda: heard.on("status") and "status.refused" not in cart.problems())
    until(lambda: heard.on("status")[-1]["state"] == "online")


def test_what_was_set_aside_leaves_once_the_access_list_is_right(cart: Any, until: Any) -> None:
    with_broker(cart, "", acl="topic read #\ntopic write edgeai/1/lab/cart/status\n")
    cart.deploy()
    heard = cart.listen()
    cart.start()
    sent = cart.send(count=5)
    until(lambda: len(listed(cart, "--lane", "result")) == len(sent))
    assert copies(heard) == {}
    (cart.folder / "strict" / "acl").write_text("topic readwrite #\n")
    cart.end_broker()
    cart.start_broker()
    done = cart.command("messages", "retry", str(cart.path), "--lane", "result")
    assert "5 retried" in done.stdout
    until(lambda: len(copies(heard)) == len(sent))
    received = [body["instance"]["sop_instance_uid"] for body in heard.results("guard").values()]
    assert received == [phantom.instance.sop_instance_uid for phantom in sent], "in their old order"
    assert listed(cart, "--lane", "result") == []


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_results_larger_than_the_broker_takes_hold_up_no_other(cart: Any, until: Any, protocol: str) -> None:
    """Every second result is. In MQTT 3.1.1 the broker does not say why: it hangs up."""
    with_broker(cart, "max_packet_size 2600\n")
    cart.deploy()
    absent = [f"a-backend-that-is-not-installed-{number:030}" for number in range(10)]
    cart.deploy("long", backends=[*absent, "fake-works"])  # a result says of each why it was not taken
    cart.profile["mqtt"]["protocol"] = protocol
    heard = cart.listen()
    cart.start()
    sent = cart.send(count=4)
    until(lambda: len(copies(heard)) == len(sent))
    aside = until(lambda: len(each := listed(cart, "--lane", "result")) == 4 and each)
    code = "mqtt.too-large" if protocol == "5" else "mqtt.breaks-connection"
    assert {item["code"] for item in aside} == {code}
    assert {item["channel"] for item in aside} == {"result/long"}
    assert copies(heard, "long") == {}
    sent += cart.send(count=3)
    until(lambda: len(copies(heard)) == len(sent))
    assert max(copies(heard).values()) <= 2
    assert code in {told["facts"]["code"] for told in until(lambda: heard.events("message.set-aside"))}
    until(lambda: _is_unverified(cart) == (protocol == "3.1.1"))


def _is_unverified(cart: Any) -> bool:
    health = cart.health()[1]
    return "delivery.unverified" in {each["code"] for each in (*health["problems"], *health["warnings"])}


def test_what_just_fits_when_it_is_made_smaller_arrives_whole_in_meaning(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    phantom = cart.send()[0]
    whole = cart.result_of(phantom)
    assert cart.stop() == 0
    cart.end_broker()
    with_broker(cart, f"max_packet_size {len(json.dumps(whole)) - 20}\n")
    cart.start_broker()
    cart.start()
    smaller = cart.result_of(cart.send()[0])
    assert set(smaller) == set(whole)
    assert smaller["findings"] == whole["findings"]
    assert listed(cart) == []
