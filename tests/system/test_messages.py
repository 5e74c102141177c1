"""What leaves the cart is what ``docs/asyncapi.yaml`` and the schemas promise, on a real broker."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.system


def test_every_channel_of_the_contract_carries_messages_that_obey_it(cart: Any, contract: Any, until: Any) -> None:
    cart.deploy(misbehave=None)
    cart.deploy("other", backends=[cart.add_backend("liar", "nan"), "fake-works"])
    heard = cart.listen()
    cart.start()
    first = cart.send(count=4)[0]
    assert cart.result_of(first)["outcome"] == "completed"
    assert cart.result_of(first, "other")["outcome"] == "failed"
    until(lambda: len(heard.results("other")) == 4)
    assert until(lambda: heard.events("plugin.quarantined"))
    cart.command("selftest", str(cart.path))
    until(lambda: heard.on("selftest/guard"))
    assert cart.stop() == 0
    until(lambda: heard.on("status")[-1]["state"] == "offline")
    channels = {contract.check(item.topic, item.body) for item in heard.received}
    assert channels == contract.of_a_device
    assert {item.qos for item in heard.received} == {1}
    assert {item.content_type for item in heard.received if "/status" not in item.topic} == {"application/json"}


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("edgeai/1/lab/cart/results/guard", {}),
        ("edgeai/2/lab/cart/event", {}),
        ("edgeai/1/lab/cart/result", {}),
    ],
)
def test_a_topic_that_is_not_in_the_contract_is_caught(contract: Any, topic: str, body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unpack"):
        contract.check(topic, body)


def test_the_status_is_retained_and_says_what_runs(cart: Any, until: Any) -> None:
    from edgeai.testing.mqtt_peers import Subscriber

    cart.deploy()
    heard = cart.listen()
    cart.start()
    until(lambda: heard.on("status") and heard.on("status")[-1]["state"] == "online")
    late = Subscriber(cart.broker.port, client_id="late")
    try:
        status = until(lambda: late.on("status"))[-1]
        assert late.received[0].retained
        assert status["deployments"][0]["backend"] == "fake-works"
        cart.kill("publish")
        until(lambda: any(body["state"] == "offline" for body in late.on("status")), what="the last will")
        until(lambda: late.on("status")[-1]["state"] == "online", what="the true status after the will")
    finally:
        late.close()
